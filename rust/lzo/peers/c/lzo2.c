// SPDX-License-Identifier: GPL-2.0

/* liblzo2 with plain C types: its prototypes depend on macros of its headers. */

#include <stddef.h>
#include <lzo/lzo1x.h>

int peer_lzo2_init(void)
{
	return lzo_init();
}

size_t peer_lzo2_work(void)
{
	return LZO1X_999_MEM_COMPRESS > LZO1X_1_MEM_COMPRESS ?
		LZO1X_999_MEM_COMPRESS : LZO1X_1_MEM_COMPRESS;
}

/* Level 1 is lzo1x_1, others are lzo1x_999. */
int peer_lzo2_compress(const unsigned char *src, size_t src_len,
		       unsigned char *dst, size_t *dst_len, void *work,
		       int level)
{
	lzo_uint len = *dst_len;
	int err;

	if (level == 1)
		err = lzo1x_1_compress(src, src_len, dst, &len, work);
	else
		err = lzo1x_999_compress(src, src_len, dst, &len, work);
	*dst_len = len;
	return err;
}

int peer_lzo2_decompress(const unsigned char *src, size_t src_len,
			 unsigned char *dst, size_t *dst_len)
{
	lzo_uint len = *dst_len;
	int err = lzo1x_decompress_safe(src, src_len, dst, &len, NULL);

	*dst_len = len;
	return err;
}
