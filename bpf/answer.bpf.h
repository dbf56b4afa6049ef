/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stage 4b: the reply, as memcached 1.6.18 words it. It is one rendered part in the work area (may
 * be empty) and one part copied from the slot; for `get` the slot holds the whole of it.
 */
#ifndef WEIR_ANSWER_BPF_H
#define WEIR_ANSWER_BPF_H

#include "hotset.bpf.h"
#include "slow.bpf.h"

#define OUT_MASK 511

/* Copies up to 256 bytes behind what stands in out; what is beyond them is overwritten by the next
 * part. */
static __always_inline __u32 put(struct weir_work *w, __u32 pos, const __u8 *src, __u32 len)
{
	pos &= OUT_MASK;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < 256; i += 8) {
		if (i >= len)
			break;
		*(__u64 *)(w->out + pos + i) = LOAD(__u64, src + i);
	}
	pos += len;
	FORGET(pos, w);
	return pos;
}

static __always_inline __u32 put_char(struct weir_work *w, __u32 pos, __u8 c)
{
	w->out[pos & OUT_MASK] = c;
	return pos + 1;
}

static __always_inline __u32 put_crlf(struct weir_work *w, __u32 pos)
{
	*(__u16 *)(w->out + (pos & OUT_MASK)) = CRLF;
	return pos + 2;
}

/* Parts of the slot's text, copied: its decimal numbers and its key. Their offsets are bounded for the
 * verifier; the writer of slots keeps them far below. */
static __always_inline __u32 put_text(struct weir_work *w, __u32 pos, const struct weir_slot *s, __u32 off, __u32 len)
{
	if (off > WEIR_DGRAM_MAX)
		return pos;
	return put(w, pos, s->text + off, len);
}

static __always_inline __u32 put_length(struct weir_work *w, __u32 pos, const struct weir_slot *s)
{
	return put_text(w, pos, s, (s->head_len - 2 - s->len_digits) & OUT_MASK, s->len_digits);
}

static __always_inline __u32 put_cas(struct weir_work *w, __u32 pos, const struct weir_slot *s)
{
	return put_text(w, pos, s, s->head_len + s->value_len + WEIR_TAIL_LEN, s->cas_digits);
}

/* get: all of it stands in the slot. */
static __always_inline int answer_get(const struct weir_slot *s, struct weir_reply *r)
{
	r->len = s->head_len + s->value_len + WEIR_TAIL_LEN;
	r->csum = s->csum_text;
	return WEIR_NEXT;
}

/* One's complement sum of the value and the `tail` (of at most eight bytes) behind it. */
static __always_inline __u16 csum_with_tail(const struct weir_slot *s, __u64 tail)
{
	return csum_fold(s->csum_value + (__u64)csum_at(csum_fold(tail), s->value_len));
}

#define TAIL_END 0x0a0d444e450a0dULL /* "\r\nEND\r\n" */

/* gets: "VALUE key flags length cas\r\n". */
static __always_inline int answer_gets(struct weir_work *w, const struct weir_slot *s, struct weir_reply *r)
{
	__u32 pos;

	if (!(s->flags & WEIR_SLOT_CAS))
		return WEIR_R_CAS_UNKNOWN;
	pos = put(w, 0, s->text, 256);
	pos = put_text(w, 256, s, 256, 32); /* a head has at most 274 bytes */
	pos = put_char(w, s->head_len - 2, ' ');
	pos = put_cas(w, pos, s);
	r->out_len = put_crlf(w, pos);
	r->off = s->head_len;
	r->len = s->value_len + WEIR_TAIL_LEN;
	r->csum = csum_with_tail(s, TAIL_END);
	return WEIR_NEXT;
}

/* One returned flag of a meta get: " " letter value. The new length of out, or 0: not exactly known. */
__noinline __u32 meta_item(__u32 pos, __u32 letter)
{
	struct weir_work *w = work_area();
	struct weir_slot *s = w ? slot_of(w->word) : NULL;

	if (!s)
		return 0;
	pos = put_char(w, pos, ' ');
	if (letter == 'O')
		return put(w, pos, AT(w, w->opaque), w->opaque_len);
	pos = put_char(w, pos, letter);
	switch (letter) {
	case 'k':
		if (s->flags & WEIR_SLOT_KEY_B64)
			return 0;
		return put_text(w, pos, s, WEIR_KEY_AT, s->key_len);
	case 's':
		return put_length(w, pos, s);
	case 'f':
		return put_text(w, pos, s, (s->head_len - 3 - s->len_digits - s->flags_digits) & OUT_MASK,
				s->flags_digits);
	case 'c':
		return s->flags & WEIR_SLOT_CAS ? put_cas(w, pos, s) : 0;
	case 't': /* the origin's clock alone knows the second */
		if (!(s->flags & WEIR_SLOT_IMMORTAL))
			return 0;
		pos = put_char(w, pos, '-');
		return put_char(w, pos, '1');
	}
	return 0;
}

/* mg: "VA length flags..\r\nvalue\r\n", without v "HD flags..\r\n". */
static __always_inline int answer_meta(struct weir_work *w, const struct weir_slot *s, struct weir_reply *r)
{
	__u32 pos = 2, n = w->nflags;

	if (FLAG_IN(w->seen, 'v')) {
		*(__u32 *)w->out = WORD4('V', 'A', ' ', 0);
		pos = put_length(w, 3, s);
	} else {
		*(__u32 *)w->out = WORD4('H', 'D', 0, 0);
	}
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < MG_FLAGS_MAX; i++) {
		if (i >= n)
			break;
		pos = meta_item(pos, w->flags[i]);
		if (!pos)
			return w->flags[i] == 'c' ? WEIR_R_CAS_UNKNOWN : WEIR_R_INEXACT;
	}
	r->out_len = put_crlf(w, pos);
	if (!FLAG_IN(w->seen, 'v'))
		return WEIR_NEXT;
	r->off = s->head_len;
	r->len = s->value_len + 2;
	r->csum = csum_with_tail(s, CRLF);
	return WEIR_NEXT;
}

struct bin_reply {
	__u8 magic, opcode;
	__be16 key_len;
	__u8 ext_len, data_type;
	__be16 status;
	__be32 body_len;
	__be32 opaque;
	__be64 cas;
	__be32 flags; /* the extras of a get */
};

/* GET, GETQ, GETK, GETKQ: always with the CAS. */
static __always_inline int answer_binary(struct weir_work *w, const struct weir_slot *s, struct weir_reply *r)
{
	struct bin_request *q = (struct bin_request *)(w->req + WEIR_FRAME_HDR);
	struct bin_reply *b = (struct bin_reply *)w->out;
	__u32 key_len = q->opcode == BIN_GETK || q->opcode == BIN_GETKQ ? s->key_len : 0;

	if (!(s->flags & WEIR_SLOT_CAS))
		return WEIR_R_CAS_UNKNOWN;
	b->magic = 0x81;
	b->opcode = q->opcode;
	b->key_len = bpf_htons(key_len);
	b->ext_len = 4;
	b->data_type = 0;
	b->status = 0;
	b->body_len = bpf_htonl(4 + key_len + s->value_len);
	b->opaque = q->opaque;
	b->cas = bpf_cpu_to_be64(s->cas);
	b->flags = bpf_htonl(s->client_flags);
	r->out_len = put_text(w, 28, s, WEIR_KEY_AT, key_len);
	r->off = s->head_len;
	r->len = s->value_len;
	r->csum = s->csum_value;
	return WEIR_NEXT;
}

/* The sum of the rendered part; its odd last byte counts as if followed by zero. */
static __always_inline __u64 out_csum(struct weir_work *w, __u32 len)
{
	if (!one_to(&len, OUT_MASK))
		return 0;
	*(__u32 *)(w->out + len) = 0;
	return bpf_csum_diff(NULL, 0, (__be32 *)w->out, (len + 3) & ~3U, 0) & 0xffffffff;
}

/* What is not `get`, from w->op and w->word into w->reply. A global function, to be verified once and
 * to cost `get` nothing. */
__noinline int render(void)
{
	struct weir_work *w = work_area();
	struct weir_slot *s;

	if (!w)
		return WEIR_R_INEXACT;
	s = slot_of(w->word);
	if (!s)
		return WEIR_R_INEXACT;
	w->reply = (struct weir_reply){};
	if (w->op == OP_GETS)
		return answer_gets(w, s, &w->reply);
	if (w->op == OP_META)
		return answer_meta(w, s, &w->reply);
	return answer_binary(w, s, &w->reply);
}

static __always_inline int answer_words(struct weir_work *w, const struct weir_slot *s, struct weir_reply *r)
{
	int reason;

	if (w->op == OP_GET)
		return answer_get(s, r);
	reason = render();
	*r = w->reply;
	return reason;
}

#endif
