/* SPDX-License-Identifier: GPL-2.0-only */
/* Places in a frame that the verifier knows to be inside it. XDP and tc share it, as parse.bpf.h. */
#ifndef WEIR_FRAME_BPF_H
#define WEIR_FRAME_BPF_H

#include "common.bpf.h"

#define FRAME_OFF_MAX 1024 /* of anything that is written word by word */

/* The frame is at least `need` bytes long from `off`, an offset that the verifier knows nothing of: the
 * place, or NULL. */
static __always_inline void *frame_at(PKT_CTX *ctx, __u32 off, __u32 need)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	if (!at_most(&off, FRAME_OFF_MAX))
		return NULL;
	data += off;
	OPAQUE(data);
	return data + need > end ? NULL : data;
}

/* The first 24 bytes of a frame: both addresses and up to two VLAN tags. */
struct l2_words {
	__u64 w[3];
};

static __always_inline bool save_l2(struct l2_words *l2, void *data, void *end)
{
	if (data + sizeof(*l2) > end)
		return false;
	l2->w[0] = LOAD(__u64, data); /* a memcpy() would go byte by byte */
	l2->w[1] = LOAD(__u64, data + 8);
	l2->w[2] = LOAD(__u64, data + 16);
	return true;
}

#endif
