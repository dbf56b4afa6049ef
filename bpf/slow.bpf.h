/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stage 3, the rest: meta and binary lookups, writes, and everything that is only passed on. Global
 * functions, so that each is verified once and costs the fast path nothing.
 *
 * The rule for what is not understood: if it could be a write, the service is fenced. A datagram
 * with more than one command is not understood. (Commands over TCP are read by the same functions: track.bpf.h.)
 *
 * References: memcached doc/protocol.txt; the binary protocol's "Command Opcodes" (BinaryProtocolRevamped).
 */
#ifndef WEIR_SLOW_BPF_H
#define WEIR_SLOW_BPF_H

#include "request.bpf.h"

#define AT(w, off) ((w)->req + ((off) & (REQ_SIZE - 1)))

/* "\r\n" or "\n" at `end`, and nothing after it. */
static __always_inline bool ends_line(struct weir_work *w, __u32 end, __u32 len)
{
	__u16 t = LOAD(__u16, AT(w, end));

	return (t == CRLF && end + 2 == len) || ((t & 0xff) == '\n' && end + 1 == len);
}

/* Offset of the first space or control byte at or after `off`, within 264 bytes. */
__noinline __u32 token_end(__u32 off)
{
	struct weir_work *w = work_area();

	if (!w)
		return off;
	off &= REQ_SIZE - 1;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < 264; i += 8) {
		__u64 mark = find_delimiter(LOAD(__u64, w->req + off + (i < 256 ? i : 256)));

		if (mark)
			return off + i + bytes_below(mark);
	}
	return off + 264;
}

/* Offset of the first newline after the frame header, or len. */
__noinline __u32 line_end(__u32 len)
{
	struct weir_work *w = work_area();

	if (!w)
		return len;
#pragma clang loop unroll(disable)
	for (__u32 i = WEIR_FRAME_HDR; i < REQ_MAX; i += 8) {
		__u64 x = LOAD(__u64, w->req + i) ^ ONES * '\n';
		__u64 mark = (x - ONES) & ~x & HIGHS;

		if (i >= len)
			break;
		if (mark) {
			__u32 at = i + bytes_below(mark);

			return at < len ? at : len;
		}
	}
	return len;
}

/* The decimal number at `off`; -1: not 1 to 18 digits and a delimiter. */
__noinline __s64 number_at(__u32 off)
{
	struct weir_work *w = work_area();
	__s64 n = 0;
	__u32 i;

	if (!w)
		return -1;
	off &= REQ_SIZE - 1;
#pragma clang loop unroll(disable)
	for (i = 0; i < 18; i++) {
		__u8 c = w->req[off + i];

		if (c < '0' || c > '9')
			break;
		n = n * 10 + (c - '0');
	}
	return i && w->req[off + i] <= ' ' ? n : -1;
}

/* Values plus one, 0: not in the alphabet (RFC 4648, section 4). */
static const __u8 base64_value[256] = {
	['A'] = 1,  ['B'] = 2,	['C'] = 3,  ['D'] = 4,	['E'] = 5,  ['F'] = 6,	['G'] = 7,  ['H'] = 8,
	['I'] = 9,  ['J'] = 10, ['K'] = 11, ['L'] = 12, ['M'] = 13, ['N'] = 14, ['O'] = 15, ['P'] = 16,
	['Q'] = 17, ['R'] = 18, ['S'] = 19, ['T'] = 20, ['U'] = 21, ['V'] = 22, ['W'] = 23, ['X'] = 24,
	['Y'] = 25, ['Z'] = 26, ['a'] = 27, ['b'] = 28, ['c'] = 29, ['d'] = 30, ['e'] = 31, ['f'] = 32,
	['g'] = 33, ['h'] = 34, ['i'] = 35, ['j'] = 36, ['k'] = 37, ['l'] = 38, ['m'] = 39, ['n'] = 40,
	['o'] = 41, ['p'] = 42, ['q'] = 43, ['r'] = 44, ['s'] = 45, ['t'] = 46, ['u'] = 47, ['v'] = 48,
	['w'] = 49, ['x'] = 50, ['y'] = 51, ['z'] = 52, ['0'] = 53, ['1'] = 54, ['2'] = 55, ['3'] = 56,
	['4'] = 57, ['5'] = 58, ['6'] = 59, ['7'] = 60, ['8'] = 61, ['9'] = 62, ['+'] = 63, ['/'] = 64,
};

/* Three bytes of four characters, in the low 24 bits; -1: one is not in the alphabet. '=' must have
 * been replaced. */
static __always_inline __s32 base64_quad(__u32 chars)
{
	__s32 a = base64_value[chars & 0xff] - 1, b = base64_value[chars >> 8 & 0xff] - 1;
	__s32 c = base64_value[chars >> 16 & 0xff] - 1, d = base64_value[chars >> 24] - 1;

	/* Negative when one of them is: no branches, which the verifier would have to follow. */
	return a << 18 | b << 12 | c << 6 | d | ((a | b | c | d) & (__s32)0x80000000);
}

__noinline bool base64_put(__u32 at, __u32 chars)
{
	struct weir_work *w = work_area();
	__s32 bits = base64_quad(chars);
	__u8 *to;

	if (!w)
		return false;
	to = AT(w, REQ_DECODED + at);
	to[0] = bits >> 16;
	to[1] = bits >> 8;
	to[2] = bits;
	return bits >= 0;
}

/*
 * Decodes the base64 key at `off` to REQ_DECODED. Its length, or 0: not what a client writes
 * (memcached also skips foreign characters; such keys are left to it).
 */
__noinline __u32 base64_key(__u32 off, __u32 len)
{
	struct weir_work *w = work_area();
	__u32 at = 0, pad = 0, chars;
	bool ok = true;

	if (!w || !len || len > WEIR_KEY_MAX || len & 3)
		return 0;
#pragma clang loop unroll(disable)
	for (int i = 0; i < WEIR_KEY_MAX / 4; i++) {
		if (at / 3 * 4 + 4 >= len)
			break;
		ok &= base64_put(at, LOAD(__u32, AT(w, off + i * 4)));
		at += 3;
	}
	chars = LOAD(__u32, AT(w, off + len - 4));
	if (chars >> 24 == '=') {
		pad = (chars >> 16 & 0xff) == '=' ? 2 : 1;
		chars = (pad == 2 ? (chars & 0xffff) | 'A' << 16 : chars & 0xffffff) | (__u32)'A' << 24;
	}
	ok &= base64_put(at, chars);
	return ok ? at + 3 - pad : 0;
}

/* The write to the key at `off`: fences it, unless its length is none that memcached takes. */
static __always_inline int write_key(struct weir_work *w, __u32 off, __u32 len, __u32 svc)
{
	if (len - 1 >= WEIR_KEY_MAX)
		return WEIR_R_UNKNOWN;
	take_key(w, off, len, svc);
	return WEIR_R_WRITE;
}

/* Whether a flag that begins with `letter` stands on the line from `pos`; -1: cannot tell. */
__noinline int has_flag(__u32 pos, __u32 nl, __u32 letter)
{
	struct weir_work *w = work_area();
	int found = 0;

	if (!w)
		return -1;
#pragma clang loop unroll(disable)
	for (int i = 0; i < 16; i++) { /* memcached takes no more */
		__u32 end;

		if (pos >= nl || (*AT(w, pos) == '\r' && pos + 1 == nl))
			return found;
		if (*AT(w, pos) != ' ')
			return -1;
		end = token_end(pos + 1);
		found |= end > pos + 1 && *AT(w, pos + 1) == letter;
		pos = end;
	}
	return -1;
}

/* A meta write (ms, md, ma): its key may be in base64. `flags` is where the flags begin. */
static __always_inline int write_meta(struct weir_work *w, __u32 key, __u32 end, __u32 flags, __u32 nl, __u32 svc)
{
	int b64 = has_flag(flags, nl, 'b');
	__u32 len;

	if (b64 < 0)
		return WEIR_R_UNKNOWN;
	if (!b64)
		return write_key(w, key, end - key, svc);
	len = base64_key(key, end - key);
	return write_key(w, REQ_DECODED, len, svc);
}

/* Start of the token behind the one that ends at `end`, where exactly one space parts them; else 0. */
static __always_inline __u32 next_token(struct weir_work *w, __u32 end)
{
	return *AT(w, end) == ' ' && *AT(w, end + 1) > ' ' ? end + 1 : 0;
}

/* A number of at most `max` stands at `at`, perhaps negative. */
static __always_inline bool number_ok(struct weir_work *w, __u32 at, __s64 max, bool negative)
{
	__s64 n;

	if (!at)
		return false;
	n = number_at(negative && *AT(w, at) == '-' ? at + 1 : at);
	return n >= 0 && n <= max;
}

/* Nothing but the line's end at `end`, or one word more (noreply). */
static __always_inline bool line_closes(struct weir_work *w, __u32 end, __u32 nl)
{
	if (*AT(w, end) == ' ' && *AT(w, end + 1) == 'n')
		end = token_end(end + 1);
	return ends_line(w, end, nl + 1);
}

#define DATA_MAX 0x7ffffffd /* memcached refuses longer data, and does not read it */

/*
 * set, add, replace, append, prepend: VERB KEY FLAGS EXPTIME BYTES [noreply], and cas with one number
 * more. Anything but this form is not understood: memcached reads the data of a line that it refused
 * as the next command.
 */
static __always_inline int storage(struct weir_work *w, __u32 pos, __u32 nl, __u32 svc, bool cas)
{
	__u32 key = next_token(w, pos), key_end = token_end(key);
	__u32 flags = next_token(w, key_end);
	__u32 exptime = next_token(w, token_end(flags));
	__u32 bytes = next_token(w, token_end(exptime));
	__u32 last = cas ? next_token(w, token_end(bytes)) : bytes;
	__s64 last_max = cas ? 0x7fffffffffffffff : 0x7fffffff;

	if (!key || !number_ok(w, flags, 0xffffffff, false) || !number_ok(w, exptime, 0x7fffffff, true) ||
	    !number_ok(w, bytes, DATA_MAX, false) || !number_ok(w, last, last_max, false))
		return WEIR_R_UNKNOWN;
	if (!line_closes(w, token_end(last), nl))
		return WEIR_R_UNKNOWN;
	w->data = number_at(bytes) + 2;
	return write_key(w, key, key_end - key, svc);
}

/* ms KEY BYTES FLAG.. */
static __always_inline int meta_set(struct weir_work *w, __u32 pos, __u32 nl, __u32 svc)
{
	__u32 key = next_token(w, pos), end = token_end(key);
	__u32 bytes = next_token(w, end);

	if (!key || !number_ok(w, bytes, DATA_MAX, false))
		return WEIR_R_UNKNOWN;
	w->data = number_at(bytes) + 2;
	return write_meta(w, key, end, token_end(bytes), nl, svc);
}

/* Notes when a delayed flush strikes, so that nothing filled before it outlives it. */
static __always_inline int flush(__u32 svc, __s64 delay)
{
	struct weir_svc_fence *f;

	svc &= WEIR_SERVICES_MAX - 1;
	f = bpf_map_lookup_elem(&svc_fence, &svc);
	if (!f)
		return WEIR_R_WRITE_ALL;
	if (delay < 0 || delay > 60 * 60 * 24 * 30) /* memcached: beyond 30 days it is a date */
		f->flush_at_ns = WEIR_NEVER;
	else if (delay)
		f->flush_at_ns = bpf_ktime_get_coarse_ns() + delay * 1000000000ULL;
	return WEIR_R_WRITE_ALL;
}

/* flush_all [DELAY] [noreply] */
static __always_inline int flush_all(struct weir_work *w, __u32 pos, __u32 svc)
{
	__u8 next = *AT(w, pos + 1);

	if (*AT(w, pos) != ' ' || next == 'n')
		return flush(svc, 0);
	return flush(svc, number_at(pos + 1));
}

/* gat, gats: VERB EXPTIME KEY..; the first key. */
static __always_inline int get_and_touch(struct weir_work *w, __u32 pos, __u32 nl, __u32 svc)
{
	__u32 exptime = next_token(w, pos), key = exptime ? next_token(w, token_end(exptime)) : 0, end;

	if (!key)
		return WEIR_R_UNKNOWN;
	end = token_end(key);
	if (!ends_line(w, end, nl + 1))
		w->more = end;
	return write_key(w, key, end - key, svc);
}

static __always_inline __u64 flag_bit(__u8 letter)
{
	return 1ULL << ((letter - 'A') & 63);
}

#define FLAG_IN(set, letter) ((set) & flag_bit(letter))
#define NOT_OURS  (1ULL << 63) /* a flag that only the origin can answer */
#define MG_WRITES (flag_bit('N') | flag_bit('R') | flag_bit('T'))

/*
 * Takes in one flag of a meta get: into w->seen, and into what the reply returns. WEIR_NEXT, or
 * WEIR_R_BAD_REQUEST when memcached refuses the line for it (not a flag, or a second time).
 */
__noinline int meta_flag(__u32 at, __u32 len)
{
	struct weir_work *w = work_area();
	__u8 letter;

	if (!w)
		return WEIR_R_UNKNOWN;
	letter = *AT(w, at);
	if (letter < 'A' || letter > 'z' || FLAG_IN(w->seen, letter))
		return WEIR_R_BAD_REQUEST;
	w->seen |= flag_bit(letter);
	switch (letter) {
	case 'O':
		w->opaque = at;
		w->opaque_len = len;
		w->flags[w->nflags++ & (MG_FLAGS_MAX - 1)] = letter;
		return WEIR_NEXT;
	case 'k': case 's': case 't': case 'f': case 'c':
		w->flags[w->nflags++ & (MG_FLAGS_MAX - 1)] = letter;
		break;
	case 'b': case 'q': case 'u': case 'v':
		break;
	default:
		w->seen |= NOT_OURS;
	}
	if (len != 1)
		w->seen |= NOT_OURS;
	return WEIR_NEXT;
}

/* All flags of a meta get, from `pos`. WEIR_NEXT, or the reason: WEIR_R_UNKNOWN for a byte at which
 * memcached might not split. */
__noinline int meta_flags(__u32 pos, __u32 nl)
{
	struct weir_work *w = work_area();

	if (!w)
		return WEIR_R_UNKNOWN;
	w->seen = 0;
	w->nflags = 0;
	w->opaque_len = 0;
#pragma clang loop unroll(disable)
	for (int i = 0; i < 24; i++) {
		__u32 end;

		if (pos >= nl || (*AT(w, pos) == '\r' && pos + 1 == nl))
			return WEIR_NEXT;
		if (*AT(w, pos) != ' ')
			break;
		end = token_end(pos + 1);
		if (end > pos + 1) {
			int r = meta_flag(pos + 1, end - pos - 1);

			if (r != WEIR_NEXT)
				return r;
		}
		pos = end;
	}
	return WEIR_R_UNKNOWN;
}

/* mg KEY FLAG..: a lookup; with N, R or T a write. */
static __always_inline int meta_get(struct weir_work *w, __u32 pos, __u32 nl, __u32 svc)
{
	__u32 key = pos + 1, end = token_end(key), key_len = end - key;
	int r;

	/* Behind two spaces memcached takes the next word for the key; other bytes belong to the verb. */
	if (!key_len || *AT(w, pos) != ' ')
		return WEIR_R_UNKNOWN;
	r = meta_flags(end, nl);
	if (r != WEIR_NEXT)
		return r;
	if (key_len - 1 >= WEIR_KEY_MAX)
		return WEIR_R_BAD_REQUEST;
	if (FLAG_IN(w->seen, 'b')) {
		key_len = base64_key(key, key_len);
		key = REQ_DECODED;
		if (!key_len) /* memcached may see a key in it, and N would write to it */
			return w->seen & MG_WRITES ? WEIR_R_UNKNOWN : WEIR_R_FLAG;
	}
	take_key(w, key, key_len, svc);
	if (w->seen & MG_WRITES)
		return WEIR_R_WRITE;
	if (w->seen & NOT_OURS || w->opaque_len > WEIR_OPAQUE_MAX)
		return WEIR_R_FLAG;
	w->op = OP_META;
	return WEIR_NEXT;
}

#define VERB2(a, b)		  ((__u64)(a) | (b) << 8)
#define VERB3(a, b, c)		  (VERB2(a, b) | (__u64)(c) << 16)
#define VERB4(a, b, c, d)	  (VERB3(a, b, c) | (__u64)(d) << 24)
#define VERB5(a, b, c, d, e)	  (VERB4(a, b, c, d) | (__u64)(e) << 32)
#define VERB6(a, b, c, d, e, f)	  (VERB5(a, b, c, d, e) | (__u64)(f) << 40)
#define VERB7(a, b, c, d, e, f, g) (VERB6(a, b, c, d, e, f) | (__u64)(g) << 48)
#define VERB8(a, b, c, d, e, f, g, h) (VERB7(a, b, c, d, e, f, g) | (__u64)(h) << 56)

/* Commands of more than eight letters, by their first eight. */
static __always_inline int long_verb(struct weir_work *w, __u64 verb, __u32 pos, __u32 svc)
{
	if (pos == WEIR_FRAME_HDR + 11 && verb == VERB8('l', 'r', 'u', '_', 'c', 'r', 'a', 'w') &&
	    LOAD(__u32, AT(w, pos - 3)) << 8 == VERB4(0, 'l', 'e', 'r')) /* dumps keys, mostly */
		return WEIR_R_READ_OTHER;
	if (pos != WEIR_FRAME_HDR + 9)
		return WEIR_R_UNKNOWN;
	if (verb == VERB8('f', 'l', 'u', 's', 'h', '_', 'a', 'l') && *AT(w, pos - 1) == 'l')
		return flush_all(w, pos, svc);
	if (verb == VERB8('v', 'e', 'r', 'b', 'o', 's', 'i', 't') && *AT(w, pos - 1) == 'y')
		return WEIR_R_READ_OTHER;
	return WEIR_R_UNKNOWN;
}

/*
 * What the line asks for that stands behind the frame header, and whose newline is at `nl`. Also w->data: how many
 * bytes follow that are its data; and w->more.
 */
__noinline int text_line(__u32 nl, __u32 svc)
{
	struct weir_work *w = work_area();
	__u32 pos, key;
	__u64 verb;

	if (!w)
		return WEIR_R_UNKNOWN;
	w->data = 0;
	w->more = 0;
	pos = token_end(WEIR_FRAME_HDR);
	verb = LOAD(__u64, w->req + WEIR_FRAME_HDR);
	if (pos > WEIR_FRAME_HDR + 8)
		return long_verb(w, verb, pos, svc);
	if (pos < WEIR_FRAME_HDR + 8)
		verb &= (1ULL << ((pos - WEIR_FRAME_HDR) & 7) * 8) - 1;
	switch (verb) {
	case VERB3('g', 'e', 't'):
	case VERB4('g', 'e', 't', 's'): /* not the simple form, which never comes here over UDP */
		return WEIR_R_MULTI_KEY;
	case VERB2('m', 'g'):
		return meta_get(w, pos, nl, svc);
	case VERB2('m', 'n'):
	case VERB2('m', 'e'):
	case VERB4('q', 'u', 'i', 't'):
	case VERB5('s', 't', 'a', 't', 's'):
	case VERB7('v', 'e', 'r', 's', 'i', 'o', 'n'):
		return WEIR_R_READ_OTHER;
	case VERB3('s', 'e', 't'):
	case VERB3('a', 'd', 'd'):
	case VERB6('a', 'p', 'p', 'e', 'n', 'd'):
	case VERB7('r', 'e', 'p', 'l', 'a', 'c', 'e'):
	case VERB7('p', 'r', 'e', 'p', 'e', 'n', 'd'):
		return storage(w, pos, nl, svc, false);
	case VERB3('c', 'a', 's'):
		return storage(w, pos, nl, svc, true);
	case VERB2('m', 's'):
		return meta_set(w, pos, nl, svc);
	case VERB2('m', 'd'):
	case VERB2('m', 'a'):
		key = next_token(w, pos);
		return key ? write_meta(w, key, token_end(key), token_end(key), nl, svc) : WEIR_R_UNKNOWN;
	case VERB4('i', 'n', 'c', 'r'):
	case VERB4('d', 'e', 'c', 'r'):
	case VERB5('t', 'o', 'u', 'c', 'h'):
	case VERB6('d', 'e', 'l', 'e', 't', 'e'):
		key = next_token(w, pos);
		return key ? write_key(w, key, token_end(key) - key, svc) : WEIR_R_UNKNOWN;
	case VERB3('g', 'a', 't'):
	case VERB4('g', 'a', 't', 's'):
		return get_and_touch(w, pos, nl, svc);
	}
	return WEIR_R_UNKNOWN;
}

/* The text protocol, ASCII and meta: a datagram with one command and nothing behind it. */
__noinline int text_request(__u32 len, __u32 svc)
{
	struct weir_work *w = work_area();
	__u32 nl;
	int r;

	if (!w)
		return WEIR_R_UNKNOWN;
	nl = line_end(len);
	if (nl == len) /* memcached waits for the rest, which never comes */
		return len > REQ_MAX ? WEIR_R_UNKNOWN : WEIR_R_BAD_REQUEST;
	r = text_line(nl, svc);
	return nl + 1 + w->data == len && !w->more ? r : WEIR_R_UNKNOWN;
}

struct bin_request {
	__u8 magic, opcode;
	__be16 key_len;
	__u8 ext_len, data_type;
	__be16 vbucket;
	__be32 body_len;
	__be32 opaque;
	__be64 cas;
};
_Static_assert(sizeof(struct bin_request) == 24, "bin_request");

#define BIN_REQ	    0x80
#define BIN_KEY_AT  (WEIR_FRAME_HDR + sizeof(struct bin_request))
#define BIN_GET	    0x00
#define BIN_GETQ    0x09
#define BIN_GETK    0x0c
#define BIN_GETKQ   0x0d

#define OPS(op) (1ULL << (op))

/* Writes, and their quiet forms, by the length of their extras. Only those of the first and the
 * last group carry a value. */
#define BIN_SETS    (OPS(0x01) | OPS(0x02) | OPS(0x03) | OPS(0x11) | OPS(0x12) | OPS(0x13)) /* SET ADD REPLACE: 8 */
#define BIN_COUNTS  (OPS(0x05) | OPS(0x06) | OPS(0x15) | OPS(0x16))	    /* INCREMENT DECREMENT: 20 */
#define BIN_TOUCHES (OPS(0x1c) | OPS(0x1d) | OPS(0x1e) | OPS(0x23) | OPS(0x24)) /* TOUCH GAT..: 4 */
#define BIN_DELETES (OPS(0x04) | OPS(0x14))				    /* 0 */
#define BIN_APPENDS (OPS(0x0e) | OPS(0x0f) | OPS(0x19) | OPS(0x1a))	    /* APPEND PREPEND: 0 */
#define BIN_WRITES  (BIN_SETS | BIN_COUNTS | BIN_TOUCHES | BIN_DELETES | BIN_APPENDS)
#define BIN_GETS    (OPS(BIN_GET) | OPS(BIN_GETQ) | OPS(BIN_GETK) | OPS(BIN_GETKQ))
/* QUIT NOOP VERSION STAT QUITQ VERBOSITY, SASL LIST AUTH STEP */
#define BIN_READS   (OPS(0x07) | OPS(0x0a) | OPS(0x0b) | OPS(0x10) | OPS(0x17) | OPS(0x1b) | OPS(0x20) | \
		     OPS(0x21) | OPS(0x22))
#define BIN_FLUSHES (OPS(0x08) | OPS(0x18))

static __always_inline int binary_get(struct weir_work *w, const struct bin_request *b, __u32 len, __u32 svc)
{
	__u32 key_len = bpf_ntohs(b->key_len);

	if (b->ext_len || key_len + BIN_KEY_AT != len || key_len - 1 >= WEIR_KEY_MAX)
		return WEIR_R_UNKNOWN;
	w->op = OP_BINARY;
	take_key(w, BIN_KEY_AT, key_len, svc);
	return WEIR_NEXT;
}

static __always_inline int binary_write(struct weir_work *w, const struct bin_request *b, __u64 op, __u32 len,
					__u32 svc)
{
	__u32 key_len = bpf_ntohs(b->key_len);
	__u32 ext = op & BIN_SETS ? 8 : op & BIN_COUNTS ? 20 : op & BIN_TOUCHES ? 4 : 0;
	__u32 least = BIN_KEY_AT + ext + key_len;

	if (b->ext_len != ext || len < least || (len > least && !(op & (BIN_SETS | BIN_APPENDS))))
		return WEIR_R_UNKNOWN;
	return write_key(w, BIN_KEY_AT + ext, key_len, svc);
}

static __always_inline int binary_flush(struct weir_work *w, const struct bin_request *b, __u32 len, __u32 svc)
{
	__u32 delay = bpf_ntohl(LOAD(__be32, w->req + BIN_KEY_AT));

	if (b->key_len || len != BIN_KEY_AT + b->ext_len || (b->ext_len && b->ext_len != 4))
		return WEIR_R_UNKNOWN;
	return flush(svc, b->ext_len ? delay : 0);
}

/* The binary protocol. memcached reads what is left of a request that it refused as the next one, so
 * only exact forms are understood. */
__noinline int binary_request(__u32 len, __u32 svc)
{
	struct weir_work *w = work_area();
	struct bin_request *b;
	__u64 op;

	if (!w)
		return WEIR_R_UNKNOWN;
	if (len < BIN_KEY_AT) /* memcached waits for the rest, which never comes */
		return WEIR_R_BAD_REQUEST;
	b = (struct bin_request *)(w->req + WEIR_FRAME_HDR);
	if (len != (__u64)BIN_KEY_AT + bpf_ntohl(b->body_len) || b->opcode > 63)
		return WEIR_R_UNKNOWN;
	op = OPS(b->opcode & 63);
	if (op & BIN_GETS)
		return binary_get(w, b, len, svc);
	if (op & BIN_WRITES)
		return binary_write(w, b, op, len, svc);
	if (op & BIN_FLUSHES)
		return binary_flush(w, b, len, svc);
	return op & BIN_READS ? WEIR_R_READ_OTHER : WEIR_R_UNKNOWN;
}

#endif
