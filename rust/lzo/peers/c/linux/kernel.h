/* SPDX-License-Identifier: GPL-2.0 */

/* What lib/lzo needs of <linux/kernel.h> and of the headers behind it. */

#ifndef PEER_KERNEL_H
#define PEER_KERNEL_H

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The C library defines both of these, the kernel only the one that holds. */
#if __BYTE_ORDER == __LITTLE_ENDIAN
#undef __BIG_ENDIAN
#else
#undef __LITTLE_ENDIAN
#endif

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define likely(x)	__builtin_expect(!!(x), 1)
#define unlikely(x)	__builtin_expect(!!(x), 0)
#define noinline	__attribute__((noinline))

#define min(a, b)	((a) < (b) ? (a) : (b))
#define min_t(t, a, b)	((t)(a) < (t)(b) ? (t)(a) : (t)(b))
#define ALIGN(x, a)	(((x) + (a) - 1) & ~((uintptr_t)(a) - 1))
#define IS_ALIGNED(x, a) (((x) & ((uintptr_t)(a) - 1)) == 0)
#define BUILD_BUG_ON(x)	_Static_assert(!(x), #x)

#endif
