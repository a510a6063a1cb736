/* SPDX-License-Identifier: GPL-2.0 */

/* What lib/lzo needs of <linux/module.h>, in user space. */

#define EXPORT_SYMBOL_GPL(name)
#define MODULE_LICENSE(text)
#define MODULE_DESCRIPTION(text)
