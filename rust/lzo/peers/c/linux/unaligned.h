/* SPDX-License-Identifier: GPL-2.0 */

/* What lib/lzo needs of <linux/unaligned.h>, in user space. */

#include <linux/kernel.h>

#define get_unaligned(ptr)						\
	(((const struct {						\
		__typeof__(*(ptr)) value;				\
	} __attribute__((packed)) *)(ptr))->value)
#define put_unaligned(val, ptr)						\
	(((struct {							\
		__typeof__(*(ptr)) value;				\
	} __attribute__((packed)) *)(ptr))->value = (val))

static inline u16 get_unaligned_le16(const void *ptr)
{
	return le16toh(get_unaligned((const u16 *)ptr));
}

static inline u32 get_unaligned_le32(const void *ptr)
{
	return le32toh(get_unaligned((const u32 *)ptr));
}

static inline void put_unaligned_le32(u32 val, void *ptr)
{
	put_unaligned(htole32(val), (u32 *)ptr);
}
