/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stage 3: what the datagram asks for. `get` and `gets` of one key, as clients write them, are read
 * here, straight from the frame. For everything else the datagram is copied into the per-CPU work
 * area, where parsing needs no bounds checks: see slow.bpf.h. Either way the key ends up there in
 * words, hashed.
 *
 * References: memcached doc/protocol.txt ("UDP protocol", "Retrieval command").
 */
#ifndef WEIR_REQUEST_BPF_H
#define WEIR_REQUEST_BPF_H

#include "maps.bpf.h"
#include "parse.bpf.h"
#include "weir/hash.h"

#define PAYLOAD_OFF_MAX 512 /* of what is answered: no options, no extension headers */
#define REQ_MAX	    1408 /* longer ones are not understood */
#define REQ_DECODED 1536 /* where a decoded base64 key is put */
#define REQ_SIZE    2048
#define MG_FLAGS_MAX 16

enum weir_op { OP_GET, OP_GETS, OP_META, OP_BINARY };

#define KEY_WORDS 32

/* A reply: a part rendered in the work area, then a part of the slot. */
struct weir_reply {
	__u32 out_len; /* bytes of w->out */
	__u32 off;     /* part of slot->text, */
	__u32 len;     /* its length, */
	__u32 csum;    /* and its checksum from an even offset */
};

/* Translation: what stands in a packet, and what shall; see nat.bpf.h. */
struct nat_edit {
	struct weir_addr old, new;
	__be16 old_port, new_port;
	__u16 l3, l4;  /* of the IP header (the quoted one, in an ICMP error); l4 0: only addresses */
	__u8 family, proto;
	__u8 source;   /* 1: the source changes, 0: the destination */
	__u8 l4_check; /* whether the L4 checksum is there to change */
};

/* A TCP segment of a connection that is followed: see conn.bpf.h. */
struct tcp_part {
	__u32 seq, ack; /* of the first byte of payload */
	__u32 off, len; /* of the payload, in the frame */
	__u32 flags;
};

/* Where command_step() is in a segment: at the last command that was read, and how many bytes that took. */
struct stream_at {
	__u32 at, off, end, svc, n;
};

struct weir_work {
	__u64 key[KEY_WORDS];	  /* of a lookup or a write, the last word padded with zeroes */
	__u64 hash;		  /* of the key */
	__u32 key_len;
	__u32 op;		  /* enum weir_op */
	__u32 id;		  /* memcached's request id, wire order */
	__u32 zero;		  /* always 0, which the verifier does not know: see FORGET */
	__u64 seen;		  /* meta: flags on the line, see flag_bit() */
	__u32 nflags;		  /* meta: flags to return, in the request's order */
	__u8 flags[MG_FLAGS_MAX];
	__u32 opaque;		  /* meta: offset in req, */
	__u32 opaque_len;	  /* and length with the O, 0: none */
	__u32 sample_in;	  /* so many misses until one is sampled: see sample.bpf.h */
	__u64 now_ns;		  /* the coarse clock, */
	__u64 now_jiffies;	  /* and the tick at which it was read */
	__u64 hit_jiffies;	  /* the tick whose first packet was timed, */
	__u64 hit_ns;		  /* and since when this packet is; 0: it is not */
	__u32 begun_at;		  /* how many samples were begun in this tick, */
	__u32 begun;		  /* see may_begin() */
	__u64 word;		  /* the index word of the slot that answers */
	struct weir_reply reply;  /* rendered by render() */
	struct weir_pkt quote;	  /* what an ICMP error is about: see parse_quote() */
	__u32 answers_tick;	  /* how many ICMP errors and resets were sent in this tick */
	__u32 answers;
	struct bpf_fib_lookup fib;
	struct nat_edit front, quoted; /* of a packet, and of what an ICMP error is about */
	__u32 back_svc;		  /* the service whose backend sent a reply */
	__u32 back_vip;		  /* number of the address that its client knows, */
	struct weir_nat_back back; /* and what else is known of it */
	__u64 sample_random;	  /* state of the generator; 0: none yet */
	__u32 data;		  /* bytes of data behind a command's line, with their "\r\n"; see text_line() */
	__u32 ip_id;		  /* of tunnels' packets that may be fragmented */
	__u32 more;		  /* where the line goes on behind the first key of a gat; 0: it does not */
	struct tcp_part part;
	struct stream_at stream;
	__u32 taken;		  /* of its bytes, by stream_text() */
	__u32 worst;		  /* what the commands of a TCP segment have come to: WEIR_R_TCP.. */
	__u8 out[768];		  /* the rendered part of the reply */
	__u8 req[REQ_SIZE + 264]; /* the datagram; room to read a longest key from any offset */
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
 * CLOCK_MONOTONIC as bpf_ktime_get_coarse_ns() gives it, which changes at each tick, as jiffies do: so it
 * is read once a tick and CPU. (20 ns a call where returns are mitigated; the kernel inlines the read of
 * jiffies.)
 */
static __always_inline __u64 now_coarse(struct weir_work *w)
{
	__u64 jiffies = bpf_jiffies64();

	if (w->now_jiffies != jiffies) {
		w->now_ns = bpf_ktime_get_coarse_ns();
		w->now_jiffies = jiffies;
	}
	return w->now_ns;
}

/*
 * Takes from the verifier what it knows about a number, so that the paths that lead here (each length
 * of a key, each header layout) are one to it, and what follows is verified once. Costs an addition. (OPAQUE: here,
 * and not where the number is used next.)
 */
#define FORGET(x, w)                                                                                     \
	do {                                                                                             \
		(x) += *(volatile __u32 *)&(w)->zero;                                                    \
		OPAQUE(x);                                                                               \
	} while (0)

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

/* Takes the key of `len` bytes (1..WEIR_KEY_MAX) at `off` of the copied datagram, whatever they are. */
static __always_inline void take_key(struct weir_work *w, __u32 off, __u32 len, __u32 svc)
{
	__u64 h = weir_hash_start(cfg.hash_seed, svc), word;
	__u32 i;

	off &= REQ_SIZE - 1;
#pragma clang loop unroll(disable)
	for (i = 0; i < KEY_WORDS - 1; i++) {
		if (i * 8 + 8 > len)
			break;
		word = LOAD(__u64, w->req + off + i * 8);
		w->key[i] = word;
		h = weir_hash_word(h, word);
	}
	FORGET(i, w);
	i &= KEY_WORDS - 1;
	word = LOAD(__u64, w->req + off + i * 8) & ((1ULL << (len & 7) * 8) - 1);
	w->key[i] = word;
	w->key_len = len;
	w->hash = weir_hash_end(weir_hash_word(h, word), len);
}

#define WORD4(a, b, c, d) ((__u32)(a) | (b) << 8 | (c) << 16 | (__u32)(d) << 24)
#define CRLF		  ((__u16)('\r' | '\n' << 8))

/*
 * Reads the key of `len` bytes at `off` of the frame, eight at a time. False: a space or control
 * byte stands in it, or the frame is shorter. The last bytes are read by the word that ends with
 * them: there are headers in front of every key, but nothing need follow it.
 */
static __always_inline bool read_key(struct xdp_md *ctx, struct weir_work *w, __u32 off, __u32 len, __u32 svc)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end, *at;
	__u64 h = weir_hash_start(cfg.hash_seed, svc), word, bad = 0;
	__u32 i, rest = len & 7;

#pragma clang loop unroll(disable)
	for (i = 0; i < KEY_WORDS - 1; i++) {
		if (i * 8 + 8 > len)
			break;
		at = data + off + i * 8;
		if (at + 8 > end)
			return false;
		word = LOAD(__u64, at);
		bad |= find_delimiter(word);
		w->key[i] = word;
		h = weir_hash_word(h, word);
	}
	FORGET(i, w);
	i &= KEY_WORDS - 1;
	word = 0;
	if (rest) {
		at = data + (off + len - 8);
		if (at + 8 > end)
			return false;
		word = LOAD(__u64, at) >> (64 - rest * 8);
		bad |= find_delimiter(word | ~0ULL << rest * 8);
	}
	w->key[i] = word;
	w->key_len = len;
	w->hash = weir_hash_end(weir_hash_word(h, word), len);
	return !bad;
}

/* The datagram begins with a frame header and at least five bytes: its place in the frame. */
static __always_inline void *datagram(struct xdp_md *ctx, const struct weir_pkt *p, __u32 skip)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 off = p->payload + skip;

	if (!at_most(&off, PAYLOAD_OFF_MAX + REQ_MAX))
		return NULL;
	data += off;
	OPAQUE(data);
	return data + WEIR_FRAME_HDR + 5 > end ? NULL : data;
}

/* How long the line of a datagram is without its "\r\n" or "\n", which must end it; 0: it has none. */
static __always_inline __u32 line_len(struct xdp_md *ctx, const struct weir_pkt *p)
{
	__u32 len = p->payload_len;
	__u8 *last = datagram(ctx, p, len - WEIR_FRAME_HDR - 5);

	if (!last)
		return 0;
	last += WEIR_FRAME_HDR + 3;
	if (LOAD(__u16, last) == CRLF)
		return len - 2;
	return last[1] == '\n' ? len - 1 : 0;
}

/* `get KEY` or `gets KEY`, one key and nothing else: true, and the key is taken. */
static __always_inline bool simple_get(struct xdp_md *ctx, const struct weir_pkt *p, struct weir_work *w, __u32 svc)
{
	__u8 *d = datagram(ctx, p, 0);
	__u32 verb, key = WEIR_FRAME_HDR + 4, len;

	if (!d || p->payload_len < WEIR_FRAME_HDR + 5 || p->payload_len > REQ_MAX)
		return false;
	verb = LOAD(__u32, d + WEIR_FRAME_HDR);
	w->op = OP_GET;
	if (verb == WORD4('g', 'e', 't', 's') && d[WEIR_FRAME_HDR + 4] == ' ') {
		w->op = OP_GETS;
		key++;
	} else if (verb != WORD4('g', 'e', 't', ' ')) {
		return false;
	}
	len = line_len(ctx, p) - key;
	if (!one_to(&len, WEIR_KEY_MAX))
		return false;
	key += p->payload;
	if (!at_most(&key, PAYLOAD_OFF_MAX))
		return false;
	return read_key(ctx, w, key, len, svc);
}

#endif
