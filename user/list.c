/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Warming lists. A plain file is mapped, everything else is held in memory, so that all readers
 * below walk over one run of bytes and hand out pointers into it.
 */
#include "list.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>
#include <zlib.h>

#define INPUT_MAX      (4ULL << 30) /* bytes held in memory */
#define LINE_MAX_BYTES (1UL << 20)
#define SAMPLE_LINES   20
#define PROGRESS_BYTES (64 << 10)
#define PROGRESS_LINES 10000
#define CSV_COLUMNS    4
#define NSEC           1000000000ULL
#define TTL_MAX        INT64_MAX /* so that a time to come can be added up */

struct list {
	char *name;
	const char *data;
	size_t len;
	size_t text; /* where the text begins: after a byte order mark */
	enum { BORROWED, HEAP, MAPPED } held;
	enum list_format seen, format;
};

/* One pass over a list. */
struct reader {
	const struct list_sink *sink;
	const char *start, *at, *end;
	unsigned long line;      /* lines begun so far */
	const char *told;        /* progress was last told here, */
	unsigned long told_line; /* and at this line */
	bool first;              /* no significant line yet */
	time_t now;
	char *scratch;
	size_t scratch_cap;
	char why[200];
};

struct span {
	const char *p;
	size_t len;
	bool doubled; /* quoted, with doubled quotes inside */
};

/* ---- opening --------------------------------------------------------------------------------- */

static void release_data(struct list *l)
{
	if (l->held == MAPPED)
		munmap((void *)l->data, l->len);
	else if (l->held == HEAP)
		free((void *)l->data);
	l->data = NULL;
	l->held = BORROWED;
}

static void hold_heap(struct list *l, char *data, size_t len)
{
	release_data(l);
	l->data = data;
	l->len = len;
	l->held = HEAP;
}

/* Doubles a buffer that is full. */
static int grow(char **buf, size_t *cap)
{
	size_t want = *cap ? *cap * 2 : 1 << 16;
	char *p;

	if (want > 2 * INPUT_MAX)
		return -EFBIG;
	p = realloc(*buf, want);
	if (!p)
		return -ENOMEM;
	*buf = p;
	*cap = want;
	return 0;
}

static int read_to_end(struct list *l, int fd)
{
	size_t cap = 0, len = 0;
	char *buf = NULL;
	ssize_t n;
	int err = 0;

	for (;;) {
		if (len == cap)
			err = grow(&buf, &cap);
		if (err)
			break;
		n = read(fd, buf + len, cap - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			err = -errno;
		if (n <= 0)
			break;
		len += n;
		if (len > INPUT_MAX)
			err = -EFBIG;
	}
	if (err)
		free(buf);
	else
		hold_heap(l, buf, len);
	return err;
}

/* A file that somebody shortens while it is read costs us a SIGBUS, as with every mapped file. */
static int map_file(struct list *l, int fd, size_t len)
{
	void *p = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0);

	if (p == MAP_FAILED)
		return read_to_end(l, fd);
	madvise(p, len, MADV_WILLNEED);
	l->data = p;
	l->len = len;
	l->held = MAPPED;
	return 0;
}

static int take_file(struct list *l, const char *path)
{
	struct stat st;
	int fd, err;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st))
		err = -errno;
	else if (S_ISREG(st.st_mode) && st.st_size > 0)
		err = map_file(l, fd, st.st_size);
	else
		err = read_to_end(l, fd);
	close(fd);
	return err;
}

static bool gzip_magic(const char *p, size_t len)
{
	return len >= 2 && !memcmp(p, "\x1f\x8b", 2);
}

/* After a member: another one, or the zeros that tapes and block devices pad with. */
static int next_member(z_stream *z, const char *p, size_t left)
{
	size_t i;

	if (gzip_magic(p, left))
		return inflateReset(z) == Z_OK ? 1 : -EBADMSG;
	for (i = 0; i < left && !p[i]; i++)
		;
	return i == left ? 0 : -EBADMSG;
}

/* One call of inflate() with as much as its 32-bit counters hold. */
static int inflate_some(z_stream *z, const char **in, const char *end, char *out, size_t room, size_t *made)
{
	size_t give = end - *in;
	int rc;

	give = give > 1 << 30 ? 1 << 30 : give;
	room = room > 1 << 30 ? 1 << 30 : room;
	z->next_in = (Bytef *)*in;
	z->avail_in = give;
	z->next_out = (Bytef *)out;
	z->avail_out = room;
	rc = inflate(z, Z_NO_FLUSH);
	*in += give - z->avail_in;
	*made = room - z->avail_out;
	return rc;
}

static int inflate_all(z_stream *z, const char *in, const char *end, char **buf, size_t *len)
{
	size_t cap = 0, made;
	int rc, err;

	for (;;) {
		err = *len == cap ? grow(buf, &cap) : 0;
		if (err)
			return err;
		rc = inflate_some(z, &in, end, *buf + *len, cap - *len, &made);
		*len += made;
		if (*len > INPUT_MAX)
			return -EFBIG;
		if (rc == Z_MEM_ERROR)
			return -ENOMEM;
		if (rc == Z_STREAM_END) {
			err = next_member(z, in, end - in);
			if (err <= 0)
				return err;
		} else if (rc != Z_OK) { /* also Z_BUF_ERROR: the input ended before the stream */
			return -EBADMSG;
		}
	}
}

static int gunzip(struct list *l)
{
	z_stream z = {0};
	char *buf = NULL;
	size_t len = 0;
	int err;

	if (inflateInit2(&z, 15 + 16) != Z_OK)
		return -ENOMEM;
	err = inflate_all(&z, l->data, l->data + l->len, &buf, &len);
	inflateEnd(&z);
	if (err)
		free(buf);
	else
		hold_heap(l, buf, len);
	return err;
}

static enum list_format recognise(const struct list *l);

static int settle(struct list *l)
{
	int err = 0;

	if (gzip_magic(l->data, l->len))
		err = gunzip(l);
	if (err)
		return err;
	if (l->len >= 3 && !memcmp(l->data, "\xef\xbb\xbf", 3))
		l->text = 3;
	l->seen = recognise(l);
	l->format = l->seen;
	return 0;
}

static struct list *list_new(const char *name)
{
	struct list *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->data = "";
	l->name = strdup(name);
	if (l->name)
		return l;
	free(l);
	return NULL;
}

static int list_finish(struct list **out, struct list *l, int err)
{
	if (!err)
		err = settle(l);
	if (err)
		list_close(l);
	else
		*out = l;
	return err;
}

int list_open(struct list **out, const char *path)
{
	bool in = !strcmp(path, "-");
	struct list *l = list_new(in ? "(standard input)" : path);

	if (!l)
		return -ENOMEM;
	return list_finish(out, l, in ? read_to_end(l, STDIN_FILENO) : take_file(l, path));
}

int list_open_mem(struct list **out, const char *name, const void *data, size_t len)
{
	struct list *l = list_new(name);

	if (!l)
		return -ENOMEM;
	if (len) {
		l->data = data;
		l->len = len;
	}
	return list_finish(out, l, 0);
}

void list_close(struct list *l)
{
	if (!l)
		return;
	release_data(l);
	free(l->name);
	free(l);
}

const char *list_name(const struct list *l)
{
	return l->name;
}

enum list_format list_format(const struct list *l)
{
	return l->format;
}

const char *list_format_name(enum list_format f)
{
	static const char *const names[] = {
		[LIST_AUTO] = "auto",   [LIST_KEYS] = "keys",         [LIST_CSV] = "csv",
		[LIST_JSONL] = "jsonl", [LIST_METADUMP] = "metadump",
	};

	return (unsigned)f < sizeof(names) / sizeof(*names) ? names[f] : "?";
}

void list_set_format(struct list *l, enum list_format f)
{
	l->format = f == LIST_AUTO ? l->seen : f;
}

/* ---- lines ----------------------------------------------------------------------------------- */

static void tell_progress(struct reader *r)
{
	r->told = r->at;
	r->told_line = r->line;
	if (r->sink->progress)
		r->sink->progress(r->at - r->start, r->end - r->start, r->sink->arg);
}

/* The next line without its end; false at the end of the list. */
static bool next_line(struct reader *r, struct span *s)
{
	const char *nl;

	if (r->at - r->told >= PROGRESS_BYTES || r->line - r->told_line >= PROGRESS_LINES)
		tell_progress(r);
	if (r->at == r->end)
		return false;
	nl = memchr(r->at, '\n', r->end - r->at);
	s->p = r->at;
	s->len = (nl ? nl : r->end) - s->p;
	s->doubled = false;
	if (s->len && s->p[s->len - 1] == '\r')
		s->len--;
	r->at = nl ? nl + 1 : r->end;
	r->line++;
	return true;
}

static bool is(const struct span *s, const char *word)
{
	return s->len == strlen(word) && !memcmp(s->p, word, s->len);
}

static bool is_nocase(const struct span *s, const char *word)
{
	return s->len == strlen(word) && !strncasecmp(s->p, word, s->len);
}

/* Empty lines and comments. */
static bool blank(const struct span *s)
{
	return !s->len || *s->p == '#';
}

/* Formats a reason. It may quote the list, so that bytes a terminal would act on are replaced. */
static const char *because(struct reader *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->why, sizeof(r->why), fmt, ap);
	va_end(ap);
	for (char *c = r->why; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
	return r->why;
}

static const char *line_fault(const struct span *s)
{
	if (s->len > LINE_MAX_BYTES)
		return "line is longer than 1 MiB";
	if (memchr(s->p, 0, s->len))
		return "line contains a NUL byte";
	return NULL;
}

static const char *key_fault(struct reader *r, const char *key, size_t len)
{
	unsigned bad = 0;

	if (!len)
		return "key is empty";
	if (len > WEIR_KEY_MAX)
		return because(r, "key is %zu bytes, the limit is %d", len, WEIR_KEY_MAX);
	for (size_t i = 0; i < len; i++)
		bad |= ((unsigned char)key[i] <= 0x20) | (key[i] == 0x7f);
	return bad ? "key contains a space or control byte" : NULL;
}

/* Hands on what a format's reader made of a line: the entry, or what is wrong with it. */
static int deliver(struct reader *r, const struct list_entry *e, const char *why)
{
	if (!why)
		why = key_fault(r, e->key, e->key_len);
	if (why)
		return r->sink->bad(e->line, why, r->sink->arg);
	return r->sink->entry(e, r->sink->arg);
}

static char *scratch(struct reader *r, size_t need)
{
	char *p;

	if (need <= r->scratch_cap)
		return r->scratch;
	p = realloc(r->scratch, need * 2);
	if (!p)
		return NULL;
	r->scratch = p;
	r->scratch_cap = need * 2;
	return p;
}

/* ---- numbers --------------------------------------------------------------------------------- */

/* Decimal digits; where they end, NULL when there are none. Saturates. */
static const char *digits(const char *p, const char *end, __u64 *n)
{
	const char *from = p;

	for (*n = 0; p < end && *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(*n, 10, n) || __builtin_add_overflow(*n, (__u64)(*p - '0'), n))
			*n = ~0ULL;
	return p == from ? NULL : p;
}

static const char ttl_fault[] = "ttl is not a duration such as 30, 90s, 1h30m or never";
static const char ttl_long[] = "ttl is too long";

static const struct ttl_unit {
	const char *name;
	__u64 ns;
} ttl_units[] = {
	{"d", 86400 * NSEC}, {"h", 3600 * NSEC}, {"ms", NSEC / 1000}, {"m", 60 * NSEC}, {"s", NSEC},
};

/* The unit at p, or NULL. "ms" stands before "m" in the table so that it is found first. */
static const struct ttl_unit *ttl_unit(const char *p, const char *end)
{
	for (size_t i = 0; i < sizeof(ttl_units) / sizeof(*ttl_units); i++) {
		size_t len = strlen(ttl_units[i].name);

		if ((size_t)(end - p) >= len && !memcmp(p, ttl_units[i].name, len))
			return &ttl_units[i];
	}
	return NULL;
}

/* "90s", "1h30m", "500ms": a sum, each unit smaller than the one before. At most TTL_MAX. */
static const char *sum_units(const char *p, const char *end, __u64 *ns)
{
	const struct ttl_unit *u;
	__u64 n, part, last = ~0ULL;

	for (*ns = 0; p < end; p += strlen(u->name)) {
		p = digits(p, end, &n);
		u = p ? ttl_unit(p, end) : NULL;
		if (!u || u->ns >= last)
			return ttl_fault;
		last = u->ns;
		if (__builtin_mul_overflow(n, u->ns, &part) || part > TTL_MAX - *ns)
			return ttl_long;
		*ns += part;
	}
	return *ns ? NULL : ttl_fault;
}

/* What parse_duration() in config.h takes, and a bare number of seconds. */
static const char *parse_ttl(const struct span *s, __u64 *ns)
{
	const char *end = s->p + s->len;
	bool never = is(s, "never");

	if (!never && digits(s->p, end, ns) != end)
		return sum_units(s->p, end, ns);
	if (!never && *ns > TTL_MAX / NSEC)
		return ttl_long;
	*ns = never || !*ns ? WEIR_NEVER : *ns * NSEC;
	return NULL;
}

static const char flags_fault[] = "flags is not a whole number from 0 to 4294967295";

static const char *parse_flags(const struct span *s, __u32 *flags)
{
	const char *end = s->p + s->len;
	__u64 n;

	if (digits(s->p, end, &n) != end || n > 0xffffffff)
		return flags_fault;
	*flags = n;
	return NULL;
}

/* ---- keys ------------------------------------------------------------------------------------ */

static int read_keys(struct reader *r)
{
	struct span s;
	int rc = 0;

	while (!rc && next_line(r, &s)) {
		struct list_entry e = {.key = s.p, .key_len = s.len, .line = r->line};

		if (!blank(&s))
			rc = deliver(r, &e, line_fault(&s));
	}
	return rc;
}

/* ---- metadump -------------------------------------------------------------------------------- */

/* The value of a "name=value" word in a line of them. */
static bool find_word(const struct span *line, const char *name, struct span *value)
{
	const char *p = line->p, *end = p + line->len, *stop;
	size_t len = strlen(name);

	for (; p < end; p = stop + 1) {
		stop = memchr(p, ' ', end - p);
		stop = stop ? stop : end;
		if ((size_t)(stop - p) >= len && !memcmp(p, name, len)) {
			*value = (struct span){p + len, stop - p - len, false};
			return true;
		}
	}
	return false;
}

static bool looks_metadump(const struct span *s)
{
	struct span exp;

	return s->len > 4 && !memcmp(s->p, "key=", 4) && find_word(s, "exp=", &exp);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes %XX. `to` has room for in->len bytes. */
static const char *url_decode(const struct span *in, char *to, size_t *len)
{
	const char *p = in->p, *end = p + in->len;
	char *at = to;
	int hi, lo;

	for (; p < end; p++) {
		if (*p != '%') {
			*at++ = *p;
			continue;
		}
		hi = end - p > 2 ? hex_digit(p[1]) : -1;
		lo = end - p > 2 ? hex_digit(p[2]) : -1;
		if (hi < 0 || lo < 0)
			return "key has a broken %XX escape";
		*at++ = hi << 4 | lo;
		p += 2;
	}
	*len = at - to;
	return NULL;
}

static const char *exp_fault(const struct reader *r, const struct span *exp)
{
	const char *end = exp->p + exp->len;
	__u64 n;

	if (is(exp, "-1"))
		return NULL;
	if (digits(exp->p, end, &n) != end)
		return "exp is not -1 or a unix time";
	return n <= (__u64)r->now ? "expired" : NULL;
}

static const char *metadump_line(struct reader *r, const struct span *s, struct list_entry *e)
{
	const char *why = line_fault(s);
	struct span key, exp;
	char *to;

	if (why)
		return why;
	if (s->len < 4 || memcmp(s->p, "key=", 4) || !find_word(s, "key=", &key))
		return "line does not begin with key=";
	if (!find_word(s, "exp=", &exp))
		return "exp= is missing";
	to = scratch(r, key.len + 1);
	if (!to)
		return "out of memory";
	e->key = to;
	why = url_decode(&key, to, &e->key_len);
	return why ? why : exp_fault(r, &exp);
}

static int read_metadump(struct reader *r)
{
	struct span s;
	int rc = 0;

	while (!rc && next_line(r, &s)) {
		struct list_entry e = {.line = r->line};

		if (s.len && !is(&s, "END"))
			rc = deliver(r, &e, metadump_line(r, &s, &e));
	}
	return rc;
}

/* ---- csv ------------------------------------------------------------------------------------- */

struct record {
	struct span col[CSV_COLUMNS];
	unsigned ncol;       /* columns found; those past CSV_COLUMNS are only counted */
	const char *end;     /* after its line end */
	unsigned long lines; /* how many it spans */
};

static void add_column(struct record *rec, const char *p, size_t len, bool doubled)
{
	if (rec->ncol < CSV_COLUMNS)
		rec->col[rec->ncol] = (struct span){p, len, doubled};
	rec->ncol++;
}

/* A record without a quote is its line. */
static void split_plain(struct record *rec, const struct span *line)
{
	const char *p = line->p, *end = p + line->len, *comma;

	while ((comma = memchr(p, ',', end - p))) {
		add_column(rec, p, comma - p, false);
		p = comma + 1;
	}
	add_column(rec, p, end - p, false);
}

/* From after the opening quote: where the closing one stands, or NULL. */
static const char *closing_quote(const char *p, const char *limit, bool *doubled)
{
	*doubled = false;
	while ((p = memchr(p, '"', limit - p))) {
		if (p + 1 == limit || p[1] != '"')
			return p;
		*doubled = true;
		p += 2;
	}
	return NULL;
}

/* From a column's first byte: where its comma, line end or the limit stands. */
static const char *plain_column(struct record *rec, const char *p, const char *limit, const char **why)
{
	const char *from = p;

	for (; p < limit && *p != ',' && *p != '\n'; p++)
		if (*p == '"')
			*why = "quote inside a column that does not begin with one";
	add_column(rec, from, p - from - (p > from && p[-1] == '\r' && (p == limit || *p == '\n')), false);
	return p;
}

static const char *quoted_column(struct record *rec, const char *p, const char *limit, const char **why)
{
	bool doubled;
	const char *close = closing_quote(p + 1, limit, &doubled);

	if (!close) {
		*why = "quote is never closed";
		return limit;
	}
	add_column(rec, p + 1, close - p - 1, doubled);
	p = close + 1;
	if (p < limit && *p == '\r' && (p + 1 == limit || p[1] == '\n'))
		p++;
	if (p < limit && *p != ',' && *p != '\n')
		*why = "text after a closing quote";
	return p;
}

static unsigned long count_lines(const char *p, const char *end)
{
	unsigned long n = 0;

	while (p < end && (p = memchr(p, '\n', end - p))) {
		n++;
		p++;
	}
	return n;
}

/* A record with quotes, which may reach beyond the line that it begins on. */
static const char *split_quoted(struct record *rec, const char *from, const char *end)
{
	const char *limit = (size_t)(end - from) > LINE_MAX_BYTES ? from + LINE_MAX_BYTES : end;
	const char *p = from, *why = NULL;

	for (;; p++) {
		if (p < limit && *p == '"')
			p = quoted_column(rec, p, limit, &why);
		else
			p = plain_column(rec, p, limit, &why);
		if (p == limit && limit != end)
			return "record is longer than 1 MiB, or a quote is never closed";
		if (why)
			return why;
		if (p == limit || *p == '\n')
			break;
	}
	rec->lines = count_lines(from, p) + 1;
	rec->end = p < end ? p + 1 : end;
	return NULL;
}

/* Splits the record that begins with this line, the rest of the list being up to `end`. */
static const char *split_record(struct record *rec, const struct span *line, const char *next,
				const char *end)
{
	const char *why;

	rec->ncol = 0;
	rec->end = next;
	rec->lines = 1;
	if (line->len > LINE_MAX_BYTES)
		return line_fault(line);
	if (memchr(line->p, '"', line->len)) {
		why = split_quoted(rec, line->p, end);
		if (why)
			return why;
	} else {
		split_plain(rec, line);
	}
	return memchr(line->p, 0, rec->end - line->p) ? "line contains a NUL byte" : NULL;
}

static int undouble(struct reader *r, struct record *rec, const char *from)
{
	char *to = NULL;

	for (unsigned i = 0; i < rec->ncol && i < CSV_COLUMNS; i++) {
		struct span *c = &rec->col[i];
		const char *p = c->p, *end = p + c->len;

		if (!c->doubled)
			continue;
		if (!to)
			to = scratch(r, rec->end - from);
		if (!to)
			return -ENOMEM;
		for (c->p = to; p < end; p += *p == '"' ? 2 : 1)
			*to++ = *p;
		c->len = to - c->p;
	}
	return 0;
}

static const char *csv_entry(const struct record *rec, struct list_entry *e)
{
	const struct span *c = rec->col;
	const char *why = NULL;

	if (rec->ncol < 2)
		return "value is missing: there is no comma";
	if (rec->ncol > CSV_COLUMNS)
		return "more than 4 columns";
	e->key = c[0].p;
	e->key_len = c[0].len;
	e->value = c[1].p;
	e->value_len = c[1].len;
	if (rec->ncol > 2 && c[2].len)
		why = parse_ttl(&c[2], &e->ttl_ns);
	if (!why && rec->ncol > 3 && c[3].len)
		why = parse_flags(&c[3], &e->client_flags);
	return why;
}

static bool csv_header(const struct record *rec)
{
	return rec->ncol >= 2 && is_nocase(&rec->col[0], "key") && is_nocase(&rec->col[1], "value");
}

static int csv_record(struct reader *r, const struct span *s)
{
	struct list_entry e = {.line = r->line};
	struct record rec;
	const char *why = split_record(&rec, s, r->at, r->end);
	bool first = r->first;

	r->first = false;
	r->at = rec.end;
	r->line += rec.lines - 1;
	if (!why && first && csv_header(&rec))
		return 0;
	if (!why && undouble(r, &rec, s->p))
		return -ENOMEM;
	return deliver(r, &e, why ? why : csv_entry(&rec, &e));
}

static int read_csv(struct reader *r)
{
	struct span s;
	int rc = 0;

	while (!rc && next_line(r, &s))
		if (!blank(&s))
			rc = csv_record(r, &s);
	return rc;
}

/* ---- jsonl ----------------------------------------------------------------------------------- */

static const char *json_key(struct reader *r, json_t *v, struct list_entry *e)
{
	if (!json_is_string(v))
		return "key is not a string";
	e->key = json_string_value(v);
	e->key_len = json_string_length(v);
	return NULL;
}

static const char *json_value(struct reader *r, json_t *v, struct list_entry *e)
{
	if (!json_is_string(v))
		return "value is not a string";
	if (e->value)
		return "value and value_base64 are both given";
	e->value = json_string_value(v);
	e->value_len = json_string_length(v);
	return NULL;
}

static int base64_digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* One group of four characters to one to three bytes; 0 when it is damaged. */
static int base64_group(const char *in, bool last, char *out)
{
	int pad = last && in[3] == '=' ? 1 + (in[2] == '=') : 0;
	int bits = 0, d;

	for (int i = 0; i < 4; i++) {
		d = i < 4 - pad ? base64_digit(in[i]) : 0;
		if (d < 0)
			return 0;
		bits = bits << 6 | d;
	}
	if (bits & ((1 << 8 * pad) - 1))
		return 0;
	for (int i = 0; i < 3 - pad; i++)
		out[i] = bits >> (16 - 8 * i);
	return 3 - pad;
}

static const char *json_value_base64(struct reader *r, json_t *v, struct list_entry *e)
{
	static const char fault[] = "value_base64 is not base64 (RFC 4648, padded)";
	size_t len = json_string_length(v), made = 0;
	const char *in = json_string_value(v);
	char *to;
	int n;

	if (!in || len % 4)
		return fault;
	if (e->value)
		return "value and value_base64 are both given";
	to = scratch(r, len / 4 * 3 + 1);
	if (!to)
		return "out of memory";
	for (size_t i = 0; i < len; i += 4, made += n) {
		n = base64_group(in + i, i + 4 == len, to + made);
		if (!n)
			return fault;
	}
	e->value = to;
	e->value_len = made;
	return NULL;
}

static const char *json_ttl_number(json_t *v, __u64 *ns)
{
	double s = json_number_value(v);

	if (s < 0)
		return "ttl is negative";
	if (s > TTL_MAX / NSEC)
		return ttl_long;
	*ns = json_is_integer(v) ? json_integer_value(v) * NSEC : (__u64)(s * NSEC + 0.5);
	if (!*ns && s > 0)
		return "ttl is less than a nanosecond";
	if (!*ns)
		*ns = WEIR_NEVER;
	return NULL;
}

static const char *json_ttl(struct reader *r, json_t *v, struct list_entry *e)
{
	struct span s = {json_string_value(v), json_string_length(v), false};

	if (json_is_number(v))
		return json_ttl_number(v, &e->ttl_ns);
	if (!s.p || !s.len)
		return "ttl is not a number of seconds or a duration";
	return parse_ttl(&s, &e->ttl_ns);
}

static const char *json_flags(struct reader *r, json_t *v, struct list_entry *e)
{
	json_int_t n = json_integer_value(v);

	if (!json_is_integer(v) || n < 0 || n > 0xffffffff)
		return flags_fault;
	e->client_flags = n;
	return NULL;
}

static const struct json_field {
	const char *name;
	const char *(*take)(struct reader *r, json_t *v, struct list_entry *e);
} json_fields[] = {
	{"key", json_key}, {"value", json_value}, {"value_base64", json_value_base64},
	{"ttl", json_ttl}, {"flags", json_flags},
};

static const struct json_field *json_field(const char *name)
{
	for (size_t i = 0; i < sizeof(json_fields) / sizeof(*json_fields); i++)
		if (!strcmp(json_fields[i].name, name))
			return &json_fields[i];
	return NULL;
}

static const char *json_object_entry(struct reader *r, json_t *o, struct list_entry *e)
{
	const struct json_field *f;
	const char *name, *why;
	json_t *v;

	if (!json_is_object(o))
		return "not a JSON object";
	json_object_foreach (o, name, v) {
		f = json_field(name);
		why = f ? f->take(r, v, e) : because(r, "field \"%.60s\" is not known", name);
		if (why)
			return why;
	}
	return e->key ? NULL : "key is missing";
}

static int json_line(struct reader *r, const struct span *s)
{
	struct list_entry e = {.line = r->line};
	const char *why = line_fault(s);
	json_t *o = NULL;
	json_error_t je;
	int rc;

	if (!why) {
		o = json_loadb(s->p, s->len, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &je);
		why = o ? json_object_entry(r, o, &e) : because(r, "not JSON: %s", je.text);
	}
	rc = deliver(r, &e, why);
	json_decref(o);
	return rc;
}

static bool json_blank(const struct span *s)
{
	for (size_t i = 0; i < s->len; i++)
		if (s->p[i] != ' ' && s->p[i] != '\t')
			return false;
	return true;
}

static int read_jsonl(struct reader *r)
{
	struct span s;
	int rc = 0;

	while (!rc && next_line(r, &s))
		if (!json_blank(&s))
			rc = json_line(r, &s);
	return rc;
}

/* ---- recognising ----------------------------------------------------------------------------- */

/* A key may begin with '{' too ("{user}:1"); an object goes on with a name or its end. */
static bool looks_json(const struct span *s)
{
	const char *p = s->p, *end = p + s->len;

	while (p < end && (*p == ' ' || *p == '\t'))
		p++;
	if (p == end || *p++ != '{')
		return false;
	while (p < end && (*p == ' ' || *p == '\t'))
		p++;
	return p == end || *p == '"' || *p == '}';
}

/* What one line, or for csv one record, speaks for. */
static enum list_format line_format(struct reader *r, const struct span *s)
{
	struct record rec;

	if (looks_json(s))
		return LIST_JSONL;
	if (looks_metadump(s) || is(s, "END"))
		return LIST_METADUMP;
	if (split_record(&rec, s, r->at, r->end) || rec.ncol < 2)
		return LIST_KEYS;
	r->at = rec.end;
	return LIST_CSV;
}

/* The rule stands in list.h. */
static enum list_format recognise(const struct list *l)
{
	static const struct list_sink none;
	const char *from = l->data + l->text, *end = l->data + l->len;
	struct reader r = {.sink = &none, .start = from, .at = from, .end = end, .told = from};
	unsigned votes[LIST_METADUMP + 1] = {0}, n = 0;
	struct span s;

	while (n < SAMPLE_LINES && next_line(&r, &s))
		if (!blank(&s)) {
			votes[line_format(&r, &s)]++;
			n++;
		}
	for (int f = LIST_CSV; f <= LIST_METADUMP; f++)
		if (votes[f] * 2 > n)
			return f;
	return LIST_KEYS;
}

/* ---- reading --------------------------------------------------------------------------------- */

int list_read(struct list *l, const struct list_sink *sink)
{
	static int (*const readers[])(struct reader *) = {
		[LIST_KEYS] = read_keys,
		[LIST_CSV] = read_csv,
		[LIST_JSONL] = read_jsonl,
		[LIST_METADUMP] = read_metadump,
	};
	const char *from = l->data + l->text;
	struct reader r = {
		.sink = sink,
		.start = from,
		.at = from,
		.told = from,
		.end = l->data + l->len,
		.first = true,
		.now = time(NULL),
	};
	int rc;

	if (l->format < LIST_KEYS || l->format > LIST_METADUMP)
		return -EINVAL;
	rc = readers[l->format](&r);
	if (!rc)
		tell_progress(&r);
	free(r.scratch);
	return rc;
}
