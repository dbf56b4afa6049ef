/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stage 3: what the datagram asks for. The payload is copied once into a per-CPU work area, where
 * parsing needs no bounds checks against the frame. `get` and `gets` of one key, as clients write
 * them, are recognised here; everything else goes through request_slow(), see slow.bpf.h.
 *
 * References: memcached doc/protocol.txt ("UDP protocol", "Retrieval command").
 */
#ifndef WEIR_REQUEST_BPF_H
#define WEIR_REQUEST_BPF_H

#include "maps.bpf.h"
#include "weir/hash.h"

#define REQ_SHORT   384	 /* holds any request that can be answered */
#define REQ_MAX	    1408 /* longer ones are not understood */
#define REQ_DECODED 1536 /* where a decoded base64 key is put */
#define REQ_SIZE    2048
#define MG_FLAGS_MAX 16

enum weir_op { OP_GET, OP_GETS, OP_META, OP_BINARY };

struct weir_work {
	__u8 req[REQ_SIZE + 264]; /* the datagram; room to read a longest key from any offset */
	__u8 out[768];		  /* the rendered part of the reply */
	__u64 hash;		  /* of the key of a lookup or a write */
	__u32 key;		  /* offset in req, */
	__u32 key_len;		  /* and length, of the key to look up */
	__u32 op;		  /* enum weir_op */
	__u64 seen;		  /* meta: flags on the line, see flag_bit() */
	__u32 nflags;		  /* meta: flags to return, in the request's order */
	__u8 flags[MG_FLAGS_MAX];
	__u32 opaque;		  /* meta: offset in req, */
	__u32 opaque_len;	  /* and length with the O, 0: none */
	__u32 zero;		  /* always 0, which the verifier does not know: see FORGET */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_work);
} work SEC(".maps");

static __always_inline struct weir_work *work_area(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&work, &zero);
}

/*
 * Takes from the verifier what it knows about a number, so that the paths that lead here (each length
 * of a key, each header layout) are one to it, and what follows is verified once. Costs an addition.
 */
#define FORGET(x, w) ((x) += *(volatile __u32 *)&(w)->zero)

#define ONES  0x0101010101010101ULL
#define HIGHS 0x8080808080808080ULL

/* Marks the lowest byte of a word that is a space or control; 0: none ("hasless", Bit Twiddling Hacks). */
static __always_inline __u64 find_delimiter(__u64 word)
{
	return (word - ONES * 0x21) & ~word & HIGHS;
}

/* The mask of the bytes below a mark, and how many they are. */
static __always_inline __u64 mask_below(__u64 mark)
{
	return ((mark & -mark) >> 7) - 1;
}

static __always_inline __u32 bytes_below(__u64 mark)
{
	return (mask_below(mark) & ONES) * ONES >> 56;
}

/*
 * Finds where the key at `off` ends and hashes it on the way. Sets w->key, key_len and hash;
 * key_len is over WEIR_KEY_MAX when no end was found.
 */
static __always_inline void scan_key(struct weir_work *w, __u32 off, __u32 svc)
{
	__u64 h = weir_hash_start(cfg.hash_seed, svc);
	__u64 word = 0, mark = 0;
	__u32 i;

#pragma clang loop unroll(disable)
	for (i = 0; i < 256; i += 8) {
		word = LOAD(__u64, w->req + off + i);
		mark = find_delimiter(word);
		if (mark)
			break;
		h = weir_hash_word(h, word);
	}
	FORGET(i, w);
	w->key = off;
	w->key_len = i + (mark ? bytes_below(mark) : 0);
	w->hash = weir_hash_end(weir_hash_word(h, word & mask_below(mark)), w->key_len);
}

/* Hashes a key of known length, which may hold any bytes. */
static __always_inline __u64 hash_key(struct weir_work *w, __u32 off, __u32 len, __u32 svc)
{
	__u64 h = weir_hash_start(cfg.hash_seed, svc);
	__u32 i;

	off &= REQ_SIZE - 1;
#pragma clang loop unroll(disable)
	for (i = 0; i < 256; i += 8) {
		if (i + 8 > len)
			break;
		h = weir_hash_word(h, LOAD(__u64, w->req + off + i));
	}
	FORGET(i, w);
	/* i <= 248 here for every legal length, and the area reaches 264 bytes further. */
	h = weir_hash_word(h, LOAD(__u64, w->req + off + (i & 0xf8)) & ((1ULL << (len & 7) * 8) - 1));
	return weir_hash_end(h, len);
}

#define WORD4(a, b, c, d) ((__u32)(a) | (b) << 8 | (c) << 16 | (__u32)(d) << 24)

/* "\r\n" or "\n" at `end`, and nothing after it. */
static __always_inline bool ends_line(struct weir_work *w, __u32 end, __u32 len)
{
	__u16 t = LOAD(__u16, w->req + (end & (REQ_SIZE - 1)));

	return (t == ('\r' | '\n' << 8) && end + 2 == len) || ((t & 0xff) == '\n' && end + 1 == len);
}

/* `get KEY` or `gets KEY`, one key and nothing else: true, and the key is scanned. */
static __always_inline bool simple_get(struct weir_work *w, __u32 len, __u32 svc)
{
	__u32 verb = LOAD(__u32, w->req + WEIR_FRAME_HDR);
	__u32 key_len;

	if (verb == WORD4('g', 'e', 't', ' ')) {
		w->op = OP_GET;
		scan_key(w, WEIR_FRAME_HDR + 4, svc);
	} else if (verb == WORD4('g', 'e', 't', 's') && w->req[WEIR_FRAME_HDR + 4] == ' ') {
		w->op = OP_GETS;
		scan_key(w, WEIR_FRAME_HDR + 5, svc);
	} else {
		return false;
	}
	key_len = w->key_len;
	return key_len - 1 < WEIR_KEY_MAX && ends_line(w, w->key + key_len, len);
}

#endif
