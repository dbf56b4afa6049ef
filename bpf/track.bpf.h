/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stage 2b: what clients write over TCP to a cached service. Each connection's stream is read in order, command by
 * command: writes raise their key's fence when their line passes, before the server can have it whole. Lines are
 * copied into the work area, and read by what reads datagrams (slow.bpf.h); data is not looked at. What cannot be
 * read for certain ends in LOST, whose segments fence the service: never a write unseen.
 *
 * References: RFC 9293 (TCP), RFC 5961; memcached doc/protocol.txt, and its code for how it goes on behind a command
 * that it refused.
 */
#ifndef WEIR_TRACK_BPF_H
#define WEIR_TRACK_BPF_H

#include "classify.bpf.h"
#include "conn.bpf.h"
#include "slow.bpf.h"

#define TRACK_COMMANDS 512	 /* in a segment, */
#define TRACK_PLAIN    8	 /* the first of them without bpf_loop() */
#define TRACK_KEYS     32	 /* of a gat, behind the first */
#define TRACK_LINE     512	 /* of a command that is whole in its segment, bytes */
#define MG_SIMPLE      32	 /* bytes behind the key of an mg that is read without calls */
#define TRACK_DATA     (1U << 30) /* of one command; sequence numbers are compared within twice that */
#define TRACK_NEAR     0xf000	 /* offset in a frame; the verifier wants none beyond 64K to be possible */
#define TAKEN_LINE     (1U << 31)

_Static_assert(WEIR_CONN_LINE <= TRACK_LINE && WEIR_CONN_LINE % 8 == 0, "a line fits, in words");
_Static_assert(BIN_KEY_AT - WEIR_FRAME_HDR + 20 + WEIR_KEY_MAX <= WEIR_CONN_LINE, "and so does a binary head");

/* ---- bytes into the work area ------------------------------------------------------------------ */

/* Behind the frame header's place, as text_line() and binary_request() look for it. */
static __always_inline __u8 *area_at(struct weir_work *w, __u32 at)
{
	return AT(w, WEIR_FRAME_HDR + at);
}

/* Marks the first byte of a word that is `c`, and perhaps bytes behind it. */
static __always_inline __u64 bytes_of(__u64 word, __u8 c)
{
	word ^= ONES * c;
	return (word - ONES) & ~word & HIGHS;
}

/* take_part() where the frame may be in several buffers, or is very long: copies first, then looks. */
static __always_inline __u32 take_far(struct xdp_md *ctx, struct weir_work *w, __u32 off, __u32 left, __u32 at,
				      bool line)
{
	if (!one_to(&left, TRACK_LINE) || bpf_xdp_load_bytes(ctx, off, area_at(w, at), left))
		return 0;
	if (!line)
		return left;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < TRACK_LINE; i += 8) {
		__u64 mark;

		if (i >= left)
			break;
		mark = bytes_of(LOAD(__u64, area_at(w, at + i)), '\n');
		if (mark) /* or it is of what was there before */
			return i + bytes_below(mark) < left ? (i + bytes_below(mark) + 1) | TAKEN_LINE : left;
	}
	return left;
}

/*
 * Copies the frame's bytes [off, end) to the area's byte `at` and on, as many as the area takes, and (line) as far as
 * the first newline: how many they are, with TAKEN_LINE when the last one is a newline. (Up to seven more follow.)
 */
static __always_inline __u32 take_part(struct xdp_md *ctx, struct weir_work *w, __u32 off, __u32 end, __u32 at,
				       bool line)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end, *first, *from;
	__u32 left = end - off, i, last;
	__u64 word, mark;

	if (!at_most(&at, TRACK_LINE - 1) || !one_to(&left, 0xffff))
		return 0;
	if (left > TRACK_LINE - at)
		left = TRACK_LINE - at;
	if (cfg.frags || off > TRACK_NEAR)
		return take_far(ctx, w, off, left, at, line);
	last = off + left - 8; /* of the word that ends with them: there are headers in front */
	if (!at_most(&off, TRACK_NEAR))
		return 0;
	first = data + off;
	OPAQUE(first);
#pragma clang loop unroll(disable)
	for (i = 0; i < TRACK_LINE; i += i ? 8 : 4) { /* behind "get " and "set " words are read as they are stored */
		if (i + 8 > left)
			break;
		from = first + i;
		if (from + 8 > data_end)
			return 0;
		word = LOAD(__u64, from);
		*(__u64 *)area_at(w, at + i) = word;
		mark = bytes_of(word, '\n');
		if (line && mark)
			return (i + bytes_below(mark) + 1) | TAKEN_LINE;
	}
	FORGET(i, w);
	if (i >= left)
		return left;
	if (!at_most(&last, TRACK_NEAR + TRACK_LINE))
		return 0;
	from = data + last;
	if (from + 8 > data_end)
		return 0;
	word = LOAD(__u64, from) >> ((8 - (left - i)) & 7) * 8;
	*(__u64 *)area_at(w, at + i) = word;
	mark = bytes_of(word, '\n');
	return line && mark ? (i + bytes_below(mark) + 1) | TAKEN_LINE : left;
}

/* Not of a line. */
__noinline __u32 take_bytes(struct xdp_md *ctx, __u32 off, __u32 end, __u32 at)
{
	struct weir_work *w = work_area();

	return w ? take_part(ctx, w, off, end, at, false) : 0;
}

/* What was saved of a command that the segment before cut. */
__noinline int restore(__u32 at)
{
	struct weir_conn *c = conn_at(at);
	struct weir_work *w = work_area();

	if (!c || !w)
		return 0;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < WEIR_CONN_LINE; i += 8) {
		if (i >= c->saved)
			break;
		*(__u64 *)area_at(w, i) = LOAD(__u64, c->line + i);
	}
	return 0;
}

__noinline int save(__u32 at, __u32 len)
{
	struct weir_conn *c = conn_at(at);
	struct weir_work *w = work_area();

	if (!c || !w)
		return 0;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < WEIR_CONN_LINE; i += 8) {
		if (i >= len)
			break;
		*(__u64 *)(c->line + i) = LOAD(__u64, area_at(w, i));
	}
	c->saved = len;
	return 0;
}

/* ---- commands --------------------------------------------------------------------------------- */

static __always_inline void asked(struct weir_conn *c)
{
	if (c->asked)
		c->flags |= WEIR_CONN_PIPED;
	c->asked = 1;
}

static __always_inline void came_to(struct weir_work *w, __u32 reason)
{
	if (reason > w->worst)
		w->worst = reason;
}
_Static_assert(WEIR_R_TCP < WEIR_R_TCP_WRITE && WEIR_R_TCP_WRITE < WEIR_R_TCP_WRITE_ALL &&
		       WEIR_R_TCP_WRITE_ALL < WEIR_R_TCP_UNSURE,
	       "the worst is the highest");

/* The key that was taken last is written to. */
static __always_inline void write_taken(struct weir_conn *c, struct weir_work *w)
{
	__u32 stripe = weir_stripe(w->hash);
	__u64 now = now_coarse(w);

	fence_stripe_at(stripe, now);
	pend_add(c, stripe, now >> WEIR_CONN_TIME);
	came_to(w, WEIR_R_TCP_WRITE);
}

__noinline int stream_write(__u32 at)
{
	struct weir_conn *c = conn_at(at);
	struct weir_work *w = work_area();

	if (c && w)
		write_taken(c, w);
	return 0;
}

static __always_inline void stream_write_all(struct weir_conn *c, struct weir_work *w, __u32 svc)
{
	fence_service_at(svc, now_coarse(w));
	crowd_add(c, conn_now(w) << WEIR_CONN_STRIPE, true);
	track_count(svc, WEIR_TRACK_FLUSH);
	came_to(w, WEIR_R_TCP_WRITE_ALL);
}

/* Takes the next key of a gat. WEIR_R_WRITE; WEIR_NEXT: there is none; WEIR_R_READ_OTHER: one space more;
 * WEIR_R_UNKNOWN: they are not parted by spaces, or one is too long. */
__noinline int next_key(__u32 nl, __u32 svc)
{
	struct weir_work *w = work_area();
	__u32 key, end;

	if (!w)
		return WEIR_R_UNKNOWN;
	key = w->more + 1;
	if (ends_line(w, w->more, nl + 1))
		return WEIR_NEXT;
	if (*AT(w, w->more) != ' ')
		return WEIR_R_UNKNOWN;
	end = token_end(key);
	w->more = end;
	return end == key ? WEIR_R_READ_OTHER : write_key(w, key, end - key, svc);
}

/* The other keys of a gat. False: not read for certain. */
static __always_inline bool more_keys(__u32 at, __u32 nl, __u32 svc)
{
#pragma clang loop unroll(disable)
	for (int i = 0; i <= TRACK_KEYS; i++) { /* and the line's end */
		int r = next_key(nl, svc);

		if (r == WEIR_NEXT)
			return true;
		if (r == WEIR_R_UNKNOWN)
			return false;
		if (r == WEIR_R_WRITE)
			stream_write(at);
	}
	return false;
}

/* What a command has come to. False: lost. */
static __always_inline bool stream_command(struct weir_conn *c, struct weir_work *w, __u32 at, int reason, __u32 svc)
{
	asked(c);
	if (reason == WEIR_R_WRITE) {
		stream_write(at);
	} else if (reason == WEIR_R_WRITE_ALL) {
		stream_write_all(c, w, svc);
	} else if (reason == WEIR_R_UNKNOWN) {
		conn_lose(at, svc, WEIR_TRACK_COMMAND);
		return false;
	}
	return true;
}

static __always_inline bool is_get(struct weir_work *w)
{
	__u32 verb = LOAD(__u32, area_at(w, 0));

	return verb == WORD4('g', 'e', 't', ' ') || (verb == WORD4('g', 'e', 't', 's') && *area_at(w, 4) == ' ');
}

/* ---- text ------------------------------------------------------------------------------------- */

/* The line is not whole: `n` bytes of it came. How many bytes were read, 0: lost. */
static __always_inline __u32 line_cut(struct weir_conn *c, struct weir_work *w, __u32 at, __u32 n, bool at_end,
				      __u32 svc)
{
	__u32 total = c->saved + n;

	if (at_end && total <= WEIR_CONN_LINE) {
		save(at, total);
	} else if (total >= 5 && is_get(w)) {
		c->state = WEIR_CONN_SKIP;
		c->saved = 0;
	} else {
		conn_lose(at, svc, WEIR_TRACK_LINE);
		return 0;
	}
	return n;
}

/* The rest of a long line. */
static __always_inline void skip_line(struct weir_conn *c, __u32 taken)
{
	if (!(taken & TAKEN_LINE))
		return;
	asked(c);
	c->state = WEIR_CONN_TEXT;
}

/* Hashes the key at `off` of the area, as take_key() would: where it ends, or 0: it is too long. */
static __always_inline __u32 hash_key(struct weir_work *w, __u32 off, __u32 svc)
{
	__u64 h = weir_hash_start(cfg.hash_seed, svc), word = 0, mark = 0;
	__u32 i, len;

#pragma clang loop unroll(disable)
	for (i = 0; i < KEY_WORDS * 8; i += 8) {
		word = LOAD(__u64, w->req + off + i);
		mark = find_delimiter(word);
		if (mark)
			break;
		h = weir_hash_word(h, word);
	}
	FORGET(i, w);
	len = i + bytes_below(mark);
	w->hash = weir_hash_end(weir_hash_word(h, word & mask_below(mark)), len);
	return mark && len - 1 < WEIR_KEY_MAX ? off + len : 0;
}

/* With how many digits a word begins, 1 to 7; 0: none, or more. */
static __always_inline __u32 digits_of(__u64 word)
{
	__u64 x = word ^ ONES * '0', mark = (((x & ~HIGHS) + ONES * 0x76) | x) & HIGHS; /* of what is 10 or more now */

	return mark ? bytes_below(mark) : 0;
}

/* The number of the n digits, 1 to 7, with which a word begins: all at once, in pairs, then fours, then eight. */
static __always_inline __u32 digits_value(__u64 word, __u32 n)
{
	__u64 x = (word ^ ONES * '0') << ((8 - n) & 7) * 8;

	x = x * 10 + (x >> 8);
	return ((x & 0x000000ff000000ff) * (100 + (1000000ULL << 32)) +
		(x >> 16 & 0x000000ff000000ff) * (1 + (10000ULL << 32))) >> 32;
}

/* The line ends at `pos`. */
static __always_inline bool line_ends(struct weir_work *w, __u32 pos)
{
	__u16 two = LOAD(__u16, AT(w, pos));

	return two == CRLF || (__u8)two == '\n';
}

/* What stands behind the key of a `set`, from its space at `pos` on, where it is three numbers of at most seven
 * digits and nothing more: takes w->data of it. The flags are one digit, mostly: one step less to get there. */
static __always_inline bool simple_numbers(struct weir_work *w, __u32 pos)
{
	__u64 word = LOAD(__u64, AT(w, pos));
	__u32 flags = 1, exptime, bytes;

	if ((__u8)word != ' ')
		return false;
	if ((word >> 16 & 0xff) != ' ' || (word >> 8 & 0xff) - '0' > 9) {
		flags = digits_of(LOAD(__u64, AT(w, pos + 1)));
		if (!flags || *AT(w, pos + 1 + flags) != ' ')
			return false;
	}
	pos += flags + 2;
	exptime = digits_of(LOAD(__u64, AT(w, pos)));
	pos += exptime + 1;
	word = LOAD(__u64, AT(w, pos));
	bytes = digits_of(word);
	if (!exptime || !bytes || *AT(w, pos - 1) != ' ' || !line_ends(w, pos + bytes))
		return false;
	w->data = digits_value(word, bytes) + 2;
	return true;
}

/*
 * `set KEY FLAGS EXPTIME BYTES` and `delete KEY`: most writes, read without calls. True: the key is hashed, and
 * w->data is how much follows.
 */
static __always_inline bool simple_write(struct weir_work *w, __u32 svc)
{
	__u64 head = LOAD(__u64, area_at(w, 0));
	bool set = (__u32)head == WORD4('s', 'e', 't', ' ');
	__u32 end;

	if (!set && head << 8 != VERB7('d', 'e', 'l', 'e', 't', 'e', ' ') << 8)
		return false;
	end = hash_key(w, WEIR_FRAME_HDR + (set ? 4 : 7), svc);
	if (!end)
		return false;
	w->data = 0;
	return set ? simple_numbers(w, end) : line_ends(w, end);
}

/* `mg KEY FLAG..`, a line of `len` bytes, that is no write: none of its letters behind the key is a flag that makes
 * it one, see MG_WRITES. */
static __always_inline bool simple_mg(struct weir_work *w, __u32 len)
{
	__u64 word, mark = 0, bad = 0;
	__u32 i, at;

	if ((LOAD(__u32, area_at(w, 0)) & 0xffffff) != WORD4('m', 'g', ' ', 0))
		return false;
#pragma clang loop unroll(disable)
	for (i = 3; i < KEY_WORDS * 8; i += 8) {
		mark = find_delimiter(LOAD(__u64, area_at(w, i)));
		if (mark)
			break;
	}
	FORGET(i, w);
	at = i + bytes_below(mark);
	if (!mark || len - at > MG_SIMPLE)
		return false;
#pragma clang loop unroll(disable)
	for (i = 0; i < MG_SIMPLE; i += 8) {
		if (at + i >= len)
			break;
		word = LOAD(__u64, area_at(w, at + i));
		bad |= bytes_of(word, 'N') | bytes_of(word, 'R') | bytes_of(word, 'T');
	}
	return !bad;
}

/* A whole line, its newline at `nl`: how many bytes of data follow it. Or TAKEN_LINE: lost. */
static __always_inline __u32 stream_line(struct weir_conn *c, struct weir_work *w, __u32 at, __u32 nl, __u32 svc)
{
	int reason;

	if (*area_at(w, 0) == '\n' || LOAD(__u16, area_at(w, 0)) == CRLF) { /* memcached: ERROR */
		asked(c);
		return 0;
	}
	reason = text_line(nl, svc);
	if (w->data > TRACK_DATA)
		reason = WEIR_R_UNKNOWN;
	if (!stream_command(c, w, at, reason, svc))
		return TAKEN_LINE;
	if (w->more && !more_keys(at, nl, svc)) {
		conn_lose(at, svc, WEIR_TRACK_COMMAND);
		return TAKEN_LINE;
	}
	return w->data;
}

/*
 * Copies one line of the bytes [off, end) of the frame, or what there is of it, to the area. If it is whole, and one
 * of those that most are: how many bytes of the stream it takes with its data, also of those that are yet to come.
 * Else 0, and stream_rest() goes on.
 */
static __always_inline __u32 text_command(struct xdp_md *ctx, struct weir_conn *c, struct weir_work *w, __u32 at,
					  __u32 off, __u32 end, __u32 svc)
{
	__u32 n;

	if (c->saved)
		restore(at);
	w->taken = take_part(ctx, w, off, end, c->saved, true);
	n = *(volatile __u32 *)&w->taken; /* what it was before is nothing to the verifier, unlike with FORGET */
	if (!(n & TAKEN_LINE) || c->state != WEIR_CONN_TEXT)
		return 0;
	n &= ~TAKEN_LINE;
	if (simple_write(w, svc)) {
		write_taken(c, w);
		n += w->data;
	} else if (!is_get(w) && !simple_mg(w, c->saved + n)) {
		return 0;
	}
	asked(c);
	c->saved = 0;
	c->pos += n;
	return n;
}

/* The same, for those behind the first of a segment: a global function, as the next two, to be verified once. */
__noinline __u32 stream_text(struct xdp_md *ctx, __u32 at, __u32 off, __u32 end, __u32 svc)
{
	struct weir_conn *c = conn_at(at);
	struct weir_work *w = work_area();

	return c && w ? text_command(ctx, c, w, at, off, end, svc) : 0;
}

/* All other text. 0: lost. */
__noinline __u32 stream_rest(__u32 at, __u32 off, __u32 end, __u32 svc)
{
	struct weir_conn *c = conn_at(at);
	struct weir_work *w = work_area();
	__u32 n, data;

	if (!c || !w)
		return 0;
	n = w->taken & ~TAKEN_LINE;
	if (c->state == WEIR_CONN_SKIP) {
		skip_line(c, w->taken);
	} else if (!(w->taken & TAKEN_LINE)) {
		n = line_cut(c, w, at, n, off + n == end, svc);
	} else {
		data = stream_line(c, w, at, WEIR_FRAME_HDR + c->saved + n - 1, svc);
		n = data == TAKEN_LINE ? 0 : n + data;
		c->saved = 0;
	}
	c->pos += n;
	return n;
}

/* ---- binary ----------------------------------------------------------------------------------- */

/* What is read of a request: its header, extras and key. */
static __always_inline __u32 binary_head(const struct bin_request *b)
{
	return sizeof(*b) + b->ext_len + bpf_ntohs(b->key_len);
}

/* A header that memcached takes: others it closes the connection for. (Extras and key are part of the body.) */
static __always_inline bool head_ok(const struct bin_request *b)
{
	__u32 body = bpf_ntohl(b->body_len);

	return b->magic == BIN_REQ && body <= TRACK_DATA && binary_head(b) <= sizeof(*b) + body &&
	       binary_head(b) <= WEIR_CONN_LINE;
}

/* Whether memcached reads on behind this body, for a request that only reads; see dispatch_bin_command() there. */
static __always_inline bool reads_on(const struct bin_request *b, __u64 op)
{
	__u32 body = bpf_ntohl(b->body_len), key_len = bpf_ntohs(b->key_len);

	if (op & BIN_GETS)
		return !b->ext_len && key_len && body == key_len;
	if (op & (OPS(0x21) | OPS(0x22))) /* SASL AUTH, STEP */
		return !b->ext_len && key_len && body >= key_len;
	return !body || (op & OPS(0x10) && !b->ext_len && body == key_len); /* STAT */
}

/* The head is whole: what it has come to. */
static __always_inline int binary_command(struct weir_work *w, const struct bin_request *b, __u32 svc)
{
	__u64 op = OPS(b->opcode & 63);

	if (b->opcode < 64 && op & (BIN_GETS | BIN_READS))
		return reads_on(b, op) ? WEIR_R_READ_OTHER : WEIR_R_UNKNOWN;
	return binary_request(BIN_KEY_AT + bpf_ntohl(b->body_len), svc);
}

/* One request, or a part of one, at [off, end) of the frame: how many bytes of the stream it takes. 0: lost. */
__noinline __u32 stream_binary(struct xdp_md *ctx, __u32 at, __u32 off, __u32 end, __u32 svc)
{
	struct weir_conn *c = conn_at(at);
	struct weir_work *w = work_area();
	__u32 had, have, need = sizeof(struct bin_request);
	struct bin_request *b;

	if (!c || !w)
		return 0;
	b = (struct bin_request *)area_at(w, 0);
	had = have = c->saved;
	if (had)
		restore(at);
#pragma clang loop unroll(disable)
	for (int i = 0; i < 2; i++) {
		if (have < need && off < end) {
			__u32 part = end - off < need - have ? end : off + (need - have);

			part = take_bytes(ctx, off, part, have);
			have += part;
			off += part;
		}
		if (have < need) {
			save(at, have);
			c->pos += have - had;
			return have - had;
		}
		if (!head_ok(b)) {
			conn_lose(at, svc, WEIR_TRACK_COMMAND);
			return 0;
		}
		need = binary_head(b);
	}
	c->saved = 0;
	need = sizeof(*b) + bpf_ntohl(b->body_len) - had;
	if (!stream_command(c, w, at, binary_command(w, b, svc), svc))
		return 0;
	c->pos += need;
	return need;
}

/* ---- the stream -------------------------------------------------------------------------------- */

/* memcached tells by the first byte, for good. */
static __always_inline void first_byte(struct xdp_md *ctx, struct weir_conn *c, struct weir_work *w, __u32 off)
{
	if (take_bytes(ctx, off, off + 1, 0) && *area_at(w, 0) == BIN_REQ)
		c->state = WEIR_CONN_BINARY;
	c->flags &= ~WEIR_CONN_FIRST;
}

/* The next command, as far as it is in [off, end): how many bytes of the stream it takes. 0: lost. */
static __always_inline __u32 next_command(struct xdp_md *ctx, const struct weir_conn *c, __u32 at, __u32 off,
					  __u32 end, __u32 svc)
{
	if (c->state == WEIR_CONN_BINARY)
		return stream_binary(ctx, at, off, end, svc);
	return stream_text(ctx, at, off, end, svc) ?: stream_rest(at, off, end, svc);
}

/* The next one of bpf_loop(); 1: there is none. */
static long command_step(__u32 i, void *arg)
{
	struct weir_work *w = work_area();
	struct xdp_md **ctx = arg;
	struct stream_at *s;
	struct weir_conn *c;

	if (!w)
		return 1;
	s = &w->stream;
	c = conn_at(s->at);
	if (!c || !s->n || s->n >= s->end - s->off)
		return 1;
	s->off += s->n;
	s->n = next_command(*ctx, c, s->at, s->off, s->end, s->svc);
	return 0;
}

/* All commands of a segment's new bytes, which stand at [off, end) of the frame. False: lost. */
static __always_inline bool stream_read(struct xdp_md *ctx, struct weir_conn *c, struct weir_work *w, __u32 at,
					__u32 off, __u32 end, __u32 svc)
{
	__u32 n;

	if (c->flags & WEIR_CONN_FIRST)
		first_byte(ctx, c, w, off);
	if (c->state != WEIR_CONN_BINARY)
		n = text_command(ctx, c, w, at, off, end, svc) ?: stream_rest(at, off, end, svc);
	else
		n = stream_binary(ctx, at, off, end, svc);
#pragma clang loop unroll(disable)
	for (int i = 1; i < TRACK_PLAIN; i++) {
		if (!n || n >= end - off)
			return n;
		off += n;
		n = next_command(ctx, c, at, off, end, svc);
	}
	/* A loop is verified turn by turn, this one's body once; a turn of it costs more. */
	w->stream = (struct stream_at){.at = at, .off = off, .end = end, .svc = svc, .n = n};
	bpf_loop(TRACK_COMMANDS - TRACK_PLAIN, command_step, &ctx, 0);
	return w->stream.n && w->stream.n >= end - w->stream.off;
}

/* ---- segments --------------------------------------------------------------------------------- */

/* Bytes before `pos`: data of a value, which the server waits for, or sent again: writes count from now. */
static __always_inline int stream_old(struct weir_conn *c, struct weir_work *w, __u32 svc, bool again)
{
	__u32 i = again ? 0 : c->npend - 1;

	if (!c->npend && !(again && c->flags & WEIR_CONN_CROWDED))
		return WEIR_R_TCP;
	if (again && c->flags & WEIR_CONN_CROWDED)
		crowd_renew(c, w, svc);
#pragma clang loop unroll(disable)
	for (int k = 0; k < WEIR_CONN_PEND; k++) {
		if (i + k >= c->npend)
			break;
		pend_renew(c, i + k, w);
	}
	return again ? WEIR_R_TCP_WRITE : WEIR_R_TCP;
}

/* Whether the segment is one that may come now. Until the server has acknowledged some of the stream, there is no
 * knowing that it is the one which the server reads: then only what follows at once. */
static __always_inline bool in_range(const struct weir_conn *c, __u32 seq)
{
	return seq - c->floor <= c->high - c->floor + (c->flags & WEIR_CONN_HEARD ? CONN_WINDOW : 0);
}

static __always_inline void reach(struct weir_conn *c, __u32 end)
{
	c->high = end;
	if (end - c->floor <= 2 * CONN_WINDOW)
		return;
	c->floor = end - CONN_WINDOW;
	if ((__s32)(c->mark - c->floor) < 0) /* or they could not be compared some time */
		c->mark = c->floor;
}

/* Bytes that were not read yet: reads them, if nothing is missing in front. */
static __always_inline int stream_new(struct xdp_md *ctx, struct weir_conn *c, struct weir_work *w, __u32 at,
				      const struct tcp_part *s, __u32 svc)
{
	if (c->state == WEIR_CONN_CLOSED)
		return conn_lose(at, svc, WEIR_TRACK_UNSEEN);
	if ((__s32)(s->seq - c->pos) > 0) {
		c->flags |= WEIR_CONN_GAP;
		return WEIR_R_TCP;
	}
	w->worst = WEIR_R_TCP;
	if (!stream_read(ctx, c, w, at, s->off + (c->pos - s->seq), s->off + s->len, svc))
		return conn_lose(at, svc, WEIR_TRACK_MANY); /* or so it was before */
	if (c->flags & WEIR_CONN_GAP) {
		if ((__s32)(c->pos - c->high) < 0)
			return conn_lose(at, svc, WEIR_TRACK_GAP);
		c->flags &= ~WEIR_CONN_GAP;
	}
	return w->worst;
}

static __always_inline int stream_data(struct xdp_md *ctx, struct weir_conn *c, struct weir_work *w, __u32 at,
				       const struct tcp_part *s, __u32 svc)
{
	__u32 end = s->seq + s->len;
	bool again;

	/* Where the server's word, SYN and ACK, is not seen, the data must do. */
	if (c->flags & WEIR_CONN_AGAIN && s->seq == c->syn && !(c->flags & WEIR_CONN_HEARD))
		conn_begin(c, s->seq);
	if (c->state == WEIR_CONN_LOST)
		return conn_lose(at, svc, c->cause);
	if (s->flags & TCP_URG) /* the server may take a byte out of it */
		return conn_lose(at, svc, WEIR_TRACK_COMMAND);
	if (!in_range(c, s->seq))
		return conn_lose(at, svc, WEIR_TRACK_RANGE);
	again = (__s32)(s->seq - c->high) < 0; /* some of it, at least */
	if ((__s32)(end - c->high) > 0)
		reach(c, end);
	if ((__s32)(s->seq - c->pos) < 0) { /* it has the last of a write's data, perhaps, or was sent again */
		int r = stream_old(c, w, svc, again);

		if ((__s32)(end - c->pos) <= 0)
			return r;
	}
	return stream_new(ctx, c, w, at, s, svc);
}

/*
 * A SYN to a connection that is there. One that is over makes room. An open one goes on as it was: a SYN may be
 * forged, and the server does not heed it then. It begins anew when the server says so: see track_reply.bpf.h.
 */
static __always_inline int stream_syn(struct weir_conn *c, __u32 at, const struct tcp_part *s, __u32 svc)
{
	if (c->state == WEIR_CONN_CLOSED) {
		conn_begin(c, s->seq);
	} else if (c->floor != s->seq || c->state == WEIR_CONN_LOST) {
		c->syn = s->seq;
		c->flags |= WEIR_CONN_AGAIN;
		if (s->len) /* nobody knows whether the server takes it */
			return conn_lose(at, svc, WEIR_TRACK_RANGE);
	}
	return WEIR_R_TCP;
}

/* The client has nothing more to say. If it is not true, what comes yet fences the service. */
static __always_inline void stream_end(struct weir_conn *c, const struct tcp_part *s)
{
	__u32 end = s->seq + s->len;

	if (c->state == WEIR_CONN_LOST)
		c->flags |= WEIR_CONN_OVER;
	else if (s->flags & TCP_RST ? in_range(c, s->seq) : in_range(c, s->seq) && (__s32)(c->pos - end) >= 0)
		c->state = WEIR_CONN_CLOSED;
	if (s->flags & TCP_FIN && in_range(c, s->seq) && (__s32)(end + 1 - c->high) > 0)
		reach(c, end + 1);
}

/* SYN and ACK: no server takes that, nor its data. */
static __always_inline bool answers_us(const struct tcp_part *s)
{
	return !(~s->flags & (TCP_SYN | TCP_ACK));
}

/* A segment of a connection that is there, and locked. */
static __always_inline int stream_segment(struct xdp_md *ctx, struct weir_conn *c, struct weir_work *w, __u32 at,
					  const struct tcp_part *s, __u32 svc)
{
	int r = WEIR_R_TCP;

	c->seen = conn_now(w);
	if (c->missed)
		r = conn_lose(at, svc, WEIR_TRACK_BUSY);
	c->missed = 0;
	if (answers_us(s))
		return r;
	if (s->flags & TCP_SYN && !(s->flags & TCP_RST)) {
		r = stream_syn(c, at, s, svc);
		if (c->state == WEIR_CONN_LOST || c->flags & WEIR_CONN_AGAIN)
			return r;
	}
	if (s->flags & TCP_RST) { /* what data it has is not read by anybody */
		stream_end(c, s);
		return r;
	}
	if (s->len)
		r = stream_data(ctx, c, w, at, s, svc);
	if (s->flags & TCP_FIN)
		stream_end(c, s);
	return r;
}

/* A segment of a connection that is not in the table: its place there, or CONN_NONE and *r is what it came to. */
static __always_inline __u32 stream_enter(__u64 hash, struct weir_work *w, const struct tcp_part *s, __u32 svc,
					  int *r)
{
	bool begins = (s->flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN;
	struct weir_conn *c;
	__u32 at;

	*r = WEIR_R_TCP;
	if (s->flags & TCP_RST || answers_us(s) || (!begins && !s->len))
		return CONN_NONE;
	at = conn_add(hash, svc, s->seq, conn_now(w));
	c = conn_at(at);
	if (begins && c)
		return at;
	if (c) {
		*r = conn_lose(at, svc, WEIR_TRACK_UNSEEN);
		return CONN_NONE;
	}
	track_count(svc, WEIR_TRACK_FULL);
	if (s->len) {
		fence_service_at(svc, now_coarse(w));
		*r = WEIR_R_TCP_UNSURE;
	}
	return CONN_NONE;
}

/* The first fragment of a segment: it is not read. */
static __always_inline int track_fragment(__u64 hash, struct weir_work *w, __u32 svc)
{
	__u32 at = conn_find(hash);
	struct weir_conn *c = conn_at(at);

	if (c && conn_lock(c, at)) {
		conn_lose(at, svc, WEIR_TRACK_FRAGMENT);
		conn_unlock(c);
	} else {
		track_count(svc, WEIR_TRACK_FRAGMENT);
		fence_service_at(svc, now_coarse(w));
	}
	return WEIR_R_TCP_UNSURE;
}

/* A client's segment to a cached service. Its reason: WEIR_R_TCP, or what it fenced. */
__noinline int track_request(struct xdp_md *ctx, const struct weir_pkt *p, __u32 svc)
{
	struct weir_work *w = work_area();
	struct weir_conn *c;
	struct tcp_part *s;
	__u64 hash;
	__u32 at;
	int r;

	if (!p || !w || !read_part(ctx, p, &w->part))
		return WEIR_R_TCP;
	s = &w->part;
	svc &= WEIR_SERVICES_MAX - 1;
	if (!(p->flags & PKT_FRAGMENT) && !s->len && !(s->flags & (TCP_SYN | TCP_FIN | TCP_RST)))
		return WEIR_R_TCP;
	hash = flow_hash(&p->saddr, p->sport, p);
	if (p->flags & PKT_FRAGMENT)
		return track_fragment(hash, w, svc);
	at = conn_find(hash);
	if (at == CONN_NONE) {
		at = stream_enter(hash, w, s, svc, &r);
		if (at == CONN_NONE)
			return r;
	}
	c = conn_at(at);
	if (!c)
		return WEIR_R_TCP;
	if (!conn_lock(c, at)) {
		*(volatile __u32 *)&c->missed = 1;
		fence_service_at(svc, now_coarse(w));
		return WEIR_R_TCP_UNSURE;
	}
	if (conn_is(c, hash)) {
		r = stream_segment(ctx, c, w, at, s, svc);
	} else {
		fence_service_at(svc, now_coarse(w));
		r = WEIR_R_TCP_UNSURE;
	}
	conn_unlock(c);
	return r;
}

#endif
