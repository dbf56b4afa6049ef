/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Three passes over the text:
 *   scan   libyaml's events: is it YAML, and which line does each field stand on (libcyaml forgets)
 *   load   libcyaml and the schema: which keys, lists and mappings there are; stops at the first fault
 *   build  what the values mean; finds all faults
 * Values are strings in the schema, because libcyaml takes "5x" for 5, "010" for 8 and "maybe" for true.
 * Pools, flows and what services have to do with them: config_pool.c.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yaml.h>

#include "config_build.h"
#include "weir/reason.h"

#define FILE_MAX	(1 << 20)
#define DEPTH_MAX	16 /* the schema needs five */
#define SLAB_BYTES	((__u64)WEIR_SLAB_LINES * WEIR_LINE)
#define MEMORY_MAX	(WEIR_SLABS_MAX * SLAB_BYTES)
#define CAPACITY_DFLT	100000
#define CONNS_DFLT	(1 << 14)
#define SAMPLE_DFLT	16
#define SAMPLE_MAX	1000000
#define MEMORY_PER_KEY	256
#define MEMORY_MIN_DFLT (4ULL << 20)
#define TTL_DFLT	(300ULL * 1000000000)

/* ---- values ----------------------------------------------------------------------------------- */

/* Decimal digits only, at least one; end is set behind them. */
static int parse_digits(const char *s, __u64 *n, const char **end)
{
	char *e;

	if (!isdigit((unsigned char)*s))
		return -EINVAL;
	errno = 0;
	*n = strtoull(s, &e, 10);
	*end = e;
	return errno == ERANGE ? -ERANGE : 0;
}

int parse_number(const char *s, __u64 min, __u64 max, __u64 *n)
{
	const char *end;
	int err = parse_digits(s, n, &end);

	if (err == -EINVAL || *end || (*s == '0' && s[1]))
		return -EINVAL;
	return err || *n < min || *n > max ? -ERANGE : 0;
}

static bool is_word(const char *s, size_t len, const char *word)
{
	return strlen(word) == len && !strncmp(s, word, len);
}

int parse_duration(const char *s, __u64 *ns)
{
	static const struct {
		const char *name;
		__u64 ns;
	} units[] = { { "d", 86400000000000 }, { "h", 3600000000000 }, { "m", 60000000000 },
		      { "s", 1000000000 },     { "ms", 1000000 },    { "us", 1000 } };
	unsigned unit = 0, nunits = sizeof(units) / sizeof(*units);
	__u64 n, part, total = 0;
	bool over = false;

	if (!strcmp(s, "never") || !strcmp(s, "0")) {
		*ns = WEIR_NEVER;
		return 0;
	}
	do {
		int err = parse_digits(s, &n, &s);
		size_t len = strspn(s, "dhmsu");

		while (unit < nunits && !is_word(s, len, units[unit].name))
			unit++;
		if (err == -EINVAL || unit == nunits)
			return -EINVAL;
		over |= err || __builtin_mul_overflow(n, units[unit++].ns, &part) ||
			__builtin_add_overflow(total, part, &total);
		s += len;
	} while (*s);
	if (over || total > INT64_MAX)
		return -ERANGE;
	*ns = total;
	return total ? 0 : -EINVAL;
}

int parse_size(const char *s, __u64 *bytes)
{
	static const char letters[] = "KMGT";
	const char *at;
	unsigned shift = 0;
	__u64 n;
	int err = parse_digits(s, &n, &s);

	if (err == -EINVAL)
		return err;
	at = *s ? strchr(letters, toupper((unsigned char)*s)) : NULL;
	if (at) {
		shift = 10 * (at - letters + 1);
		s++;
	}
	if (*s && strcmp(s, at ? "iB" : "B"))
		return -EINVAL;
	if (err || n > UINT64_MAX >> shift)
		return -ERANGE;
	*bytes = n << shift;
	return 0;
}

/* An address of len characters. Its family, or -EINVAL. */
static int parse_addr(const char *s, size_t len, struct weir_addr *a)
{
	char text[INET6_ADDRSTRLEN];

	memset(a, 0, sizeof(*a));
	if (len >= sizeof(text))
		return -EINVAL;
	memcpy(text, s, len);
	text[len] = '\0';
	if (inet_pton(AF_INET, text, a) == 1)
		return 4;
	return inet_pton(AF_INET6, text, a) == 1 ? 6 : -EINVAL;
}

static void mask_of(unsigned prefix, struct weir_addr *mask)
{
	for (unsigned i = 0; i < 4; i++) {
		unsigned bits = prefix > 32 * i ? prefix - 32 * i : 0;

		mask->w[i] = !bits ? 0 : bits >= 32 ? ~0U : htonl(~0U << (32 - bits));
	}
}

static unsigned prefix_of(const struct weir_addr *mask)
{
	unsigned bits = 0;

	for (unsigned i = 0; i < 4; i++)
		bits += __builtin_popcount(mask->w[i]);
	return bits;
}

int parse_net(const char *s, struct weir_net *net, int *family)
{
	const char *slash = strchrnul(s, '/');
	struct weir_addr addr;
	__u64 prefix;
	int af = parse_addr(s, slash - s, &addr);
	bool host_bits = false;

	if (af < 0)
		return -EINVAL;
	prefix = af == 4 ? 32 : 128;
	if (*slash && parse_number(slash + 1, 0, prefix, &prefix))
		return -EINVAL;
	*family = af;
	mask_of(prefix, &net->mask);
	for (unsigned i = 0; i < 4; i++) {
		net->addr.w[i] = addr.w[i] & net->mask.w[i];
		host_bits |= net->addr.w[i] != addr.w[i];
	}
	return host_bits ? -EDOM : 0;
}

int parse_endpoint(const char *s, struct config_vip *vip)
{
	const char *colon = strrchr(s, ':');
	bool bracket = *s == '[';
	size_t len;
	__u64 port;
	int af;

	if (!colon || parse_number(colon + 1, 1, 65535, &port))
		return -EINVAL;
	len = colon - s;
	if (bracket && (len < 2 || s[len - 1] != ']'))
		return -EINVAL;
	af = parse_addr(s + bracket, len - 2 * bracket, &vip->addr);
	if (af != (bracket ? 6 : 4))
		return -EINVAL;
	vip->port = htons(port);
	vip->family = af;
	return 0;
}

int parse_address(const char *s, struct config_vip *vip)
{
	int af;

	if (!parse_endpoint(s, vip))
		return 0;
	af = parse_addr(s, strlen(s), &vip->addr);
	if (af < 0)
		return af;
	vip->port = 0;
	vip->family = af;
	return 0;
}

/* ---- faults and lines ------------------------------------------------------------------------- */

/* Where a field stands. Fields are known by the hash of their path, "services[0].vips[1]". */
struct mark {
	__u64 path;
	unsigned line;
};

#define PATH_ROOT 0xcbf29ce484222325ULL /* FNV-1a of "" */

static __u64 path_add(__u64 path, const char *text)
{
	for (; *text; text++)
		path = (path ^ (unsigned char)*text) * 0x100000001b3ULL;
	return path;
}

static int mark_add(struct source *s, __u64 path, unsigned line)
{
	if (s->nmarks == s->room) {
		size_t room = s->room ? 2 * s->room : 64;
		struct mark *m = reallocarray(s->marks, room, sizeof(*m));

		if (!m)
			return -ENOMEM;
		s->marks = m;
		s->room = room;
	}
	s->marks[s->nmarks++] = (struct mark){ path, line };
	return 0;
}

/* The last line with this path (a second mention is the one at fault), or 0. */
static unsigned mark_find(const struct source *s, __u64 path)
{
	for (size_t i = s->nmarks; i-- > 0;)
		if (s->marks[i].path == path)
			return s->marks[i].line;
	return 0;
}

unsigned line_of(const struct source *s, const char *field)
{
	char path[PATH_MAX_SHOWN];
	unsigned line;

	snprintf(path, sizeof(path), "%s", field);
	while (!(line = mark_find(s, path_add(PATH_ROOT, path))) && *path) {
		size_t len = strlen(path) - 1;

		while (len && path[len] != '.' && path[len] != '[')
			len--;
		path[len] = '\0';
	}
	return line;
}

/* The text comes from the file: keep a fault on one line and terminals and JSON safe. */
static void make_printable(char *s)
{
	for (; *s; s++)
		if (*s < ' ' || *s > '~')
			*s = '?';
}

void fault_at(struct source *s, unsigned line, const char *field, const char *fmt, ...)
{
	char message[512], where[PATH_MAX_SHOWN];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	snprintf(where, sizeof(where), "%s", field);
	make_printable(message);
	make_printable(where);
	s->faults++;
	s->fn(&(struct config_fault){ s->name, line, where, message }, s->arg);
}

const char *at(struct source *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(s->path, sizeof(s->path), fmt, ap);
	va_end(ap);
	return s->path;
}

/* ---- scan ------------------------------------------------------------------------------------- */

struct level {
	__u64 path;
	bool map, in_value;
	__u64 value_path; /* of a mapping's key that waits for its value */
	unsigned items;
};

struct scan {
	struct source *src;
	struct level stack[DEPTH_MAX];
	unsigned depth, documents;
};

static unsigned event_line(const yaml_event_t *e)
{
	return e->start_mark.line + 1;
}

static const char *event_anchor(const yaml_event_t *e)
{
	switch (e->type) {
	case YAML_ALIAS_EVENT:
		return (const char *)e->data.alias.anchor;
	case YAML_SCALAR_EVENT:
		return (const char *)e->data.scalar.anchor;
	case YAML_SEQUENCE_START_EVENT:
		return (const char *)e->data.sequence_start.anchor;
	case YAML_MAPPING_START_EVENT:
		return (const char *)e->data.mapping_start.anchor;
	default:
		return NULL;
	}
}

static bool scan_is_key(const struct scan *c)
{
	return c->depth && c->stack[c->depth - 1].map && !c->stack[c->depth - 1].in_value;
}

static int scan_key(struct scan *c, const yaml_event_t *e)
{
	struct level *l = &c->stack[c->depth - 1];

	l->value_path = path_add(l->path == PATH_ROOT ? l->path : path_add(l->path, "."),
				 (const char *)e->data.scalar.value);
	l->in_value = true;
	return mark_add(c->src, l->value_path, event_line(e));
}

/* A value begins: its path. A mapping's was marked with the key. */
static int scan_value(struct scan *c, const yaml_event_t *e, __u64 *path)
{
	struct level *l = c->depth ? &c->stack[c->depth - 1] : NULL;
	char item[16];

	if (l && l->map) {
		l->in_value = false;
		*path = l->value_path;
		return 0;
	}
	*path = PATH_ROOT;
	if (l) {
		snprintf(item, sizeof(item), "[%u]", l->items++);
		*path = path_add(l->path, item);
	}
	return mark_add(c->src, *path, event_line(e));
}

static int scan_open(struct scan *c, const yaml_event_t *e)
{
	__u64 path;
	int err;

	if (scan_is_key(c)) {
		fault_at(c->src, event_line(e), "", "a key must be a word, not a list or a mapping");
		return -EINVAL;
	}
	if (c->depth == DEPTH_MAX) {
		fault_at(c->src, event_line(e), "", "nested more than %u deep", DEPTH_MAX);
		return -EINVAL;
	}
	err = scan_value(c, e, &path);
	c->stack[c->depth++] = (struct level){ .path = path, .map = e->type == YAML_MAPPING_START_EVENT };
	return err;
}

static int scan_scalar(struct scan *c, const yaml_event_t *e)
{
	__u64 path;

	if (strlen((const char *)e->data.scalar.value) != e->data.scalar.length) {
		fault_at(c->src, event_line(e), "", "a value contains a NUL character");
		return -EINVAL;
	}
	return scan_is_key(c) ? scan_key(c, e) : scan_value(c, e, &path);
}

static int scan_document(struct scan *c, const yaml_event_t *e)
{
	if (c->documents++ == 0)
		return 0;
	fault_at(c->src, event_line(e), "", "a second document begins; there must be only one");
	return -EINVAL;
}

static int scan_event(struct scan *c, const yaml_event_t *e)
{
	if (event_anchor(e)) {
		fault_at(c->src, event_line(e), "",
			 "anchors and aliases (&name, *name) are not supported: write the value out");
		return -EINVAL;
	}
	switch (e->type) {
	case YAML_DOCUMENT_START_EVENT:
		return scan_document(c, e);
	case YAML_MAPPING_START_EVENT:
	case YAML_SEQUENCE_START_EVENT:
		return scan_open(c, e);
	case YAML_MAPPING_END_EVENT:
	case YAML_SEQUENCE_END_EVENT:
		c->depth--;
		return 0;
	case YAML_SCALAR_EVENT:
		return scan_scalar(c, e);
	default:
		return 0;
	}
}

/* What libyaml did not like. The reader knows an offset only, the others a line. */
static int scan_problem(struct source *s, const yaml_parser_t *p, const char *text)
{
	unsigned line = p->problem_mark.line + 1;

	if (p->error == YAML_MEMORY_ERROR)
		return -ENOMEM;
	if (p->error == YAML_READER_ERROR) {
		line = 1;
		for (size_t i = 0; i < p->problem_offset; i++)
			line += text[i] == '\n';
		fault_at(s, line, "", "not UTF-8 text: %s", p->problem);
	} else if (p->context) {
		fault_at(s, line, "", "not YAML: %s (%s from line %zu)", p->problem, p->context,
			 p->context_mark.line + 1);
	} else {
		fault_at(s, line, "", "not YAML: %s", p->problem);
	}
	return -EINVAL;
}

static int scan_events(struct scan *c, yaml_parser_t *p, const char *text)
{
	bool end = false;
	yaml_event_t e;
	int err = 0;

	while (!err && !end) {
		if (!yaml_parser_parse(p, &e))
			return scan_problem(c->src, p, text);
		end = e.type == YAML_STREAM_END_EVENT;
		err = scan_event(c, &e);
		yaml_event_delete(&e);
	}
	if (!err && !c->documents) {
		fault_at(c->src, 0, "", "holds no configuration: the file is empty");
		err = -EINVAL;
	}
	return err;
}

static int scan(struct source *s, const void *text, size_t len)
{
	struct scan c = { .src = s };
	yaml_parser_t p;
	int err;

	if (!yaml_parser_initialize(&p))
		return -ENOMEM;
	yaml_parser_set_input_string(&p, text, len);
	yaml_parser_set_encoding(&p, YAML_UTF8_ENCODING);
	err = scan_events(&c, &p, text);
	yaml_parser_delete(&p);
	return err;
}

/* ---- load ------------------------------------------------------------------------------------- */

const cyaml_schema_value_t text_entry = {
	CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, CYAML_UNLIMITED),
};

static const cyaml_schema_field_t iface_fields[] = {
	TEXT(raw_iface, name, REQUIRED),
	TEXT(raw_iface, mode, OPTIONAL),
	CYAML_FIELD_END,
};

static const cyaml_schema_value_t iface_entry = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_iface, iface_fields),
};

static const cyaml_schema_field_t cache_fields[] = {
	TEXT(raw_cache, capacity, OPTIONAL),
	TEXT(raw_cache, memory, OPTIONAL),
	TEXT(raw_cache, hit_counters, OPTIONAL),
	TEXT(raw_cache, connections, OPTIONAL),
	TEXT(raw_cache, sample, OPTIONAL),
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t service_fields[] = {
	TEXT(raw_service, name, REQUIRED),
	LIST(raw_service, "vips", REQUIRED, vips, &text_entry, WEIR_VIPS_MAX),
	LIST(raw_service, "clients", OPTIONAL, clients, &text_entry, 2 * WEIR_CLIENTS_MAX),
	TEXT(raw_service, strangers, OPTIONAL),
	TEXT(raw_service, origin, OPTIONAL),
	TEXT(raw_service, ttl, OPTIONAL),
	TEXT(raw_service, value_max, OPTIONAL),
	TEXT(raw_service, udp_checksum, OPTIONAL),
	LIST(raw_service, "replicas", OPTIONAL, replicas, &text_entry, CONFIG_REPLICAS),
	TEXT(raw_service, refresh, OPTIONAL),
	TEXT(raw_service, protocol, OPTIONAL),
	TEXT(raw_service, cache, OPTIONAL),
	TEXT(raw_service, pool, OPTIONAL),
	TEXT(raw_service, fallback, OPTIONAL),
	TEXT(raw_service, fragments, OPTIONAL),
	PART(raw_service, migrate, migrate_fields),
	PART(raw_service, quic, quic_fields),
	PART(raw_service, promote, promote_fields),
	CYAML_FIELD_END,
};

static const cyaml_schema_value_t service_entry = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_service, service_fields),
};

static const cyaml_schema_field_t file_fields[] = {
	LIST(raw, "interfaces", REQUIRED, ifaces, &iface_entry, WEIR_IFACES_MAX),
	PART(raw, cache, cache_fields),
	PART(raw, flows, flows_fields),
	PART(raw, latency, latency_fields),
	PART(raw, agent, agent_fields),
	PART(raw, bus, bus_fields),
	LIST(raw, "policies", OPTIONAL, policies, &policy_entry, CONFIG_POLICIES_MAX),
	LIST(raw, "pools", OPTIONAL, pools, &pool_entry, WEIR_POOLS_MAX),
	LIST(raw, "services", REQUIRED, services, &service_entry, WEIR_SERVICES_MAX),
	CYAML_FIELD_END,
};

static const cyaml_schema_value_t file_schema = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw, file_fields),
};

/*
 * libcyaml says what is wrong, then where, from the inside out:
 *   Load: Unexpected key: foo
 *   Load: Backtrace:
 *     in mapping (line: 2, column: 11)
 *     in sequence entry '1' (line: 2, column: 5)
 *     in mapping field 'services' (line: 2, column: 3)
 * Entries count from 1.
 */
struct complaint {
	char what[256];
	char path[PATH_MAX_SHOWN];
	unsigned frames;
};

/* How libcyaml puts it, and how we do. */
static const struct saying {
	const char *start;
	const char *message;
	bool names_key;	  /* what follows is the key at fault */
	bool inner_frame; /* the innermost frame names a neighbour, not the fault */
} sayings[] = {
	{ "Unexpected key: ", "unknown key", true, false },
	{ "Missing required mapping field: ", "is required, and missing", true, true },
	{ "Mapping field already seen: ", "is given twice", false, false },
	{ "Insufficient entries ", "needs at least one entry", false, true },
	{ "Expecting STRING", "must be a single value", false, false },
	{ "Expecting SEQUENCE", "must be a list: lines that begin with '- '", false, false },
	{ "Expecting MAPPING", "must be a mapping: lines of 'key: value'", false, false },
	{ "Excessive entries ", NULL, false, true },
};

static const struct saying *saying_of(const char *what)
{
	for (size_t i = 0; i < sizeof(sayings) / sizeof(*sayings); i++)
		if (!strncmp(what, sayings[i].start, strlen(sayings[i].start)))
			return &sayings[i];
	return NULL;
}

static void path_prepend(char *path, const char *part)
{
	char rest[PATH_MAX_SHOWN];
	const char *dot = *path && *path != '[' ? "." : "";

	memcpy(rest, path, sizeof(rest));
	if (snprintf(path, PATH_MAX_SHOWN, "%s%s%s", part, dot, rest) >= PATH_MAX_SHOWN)
		path[PATH_MAX_SHOWN - 1] = '\0';
}

static void complaint_frame(struct complaint *c, const char *line)
{
	const struct saying *s = saying_of(c->what);
	char part[40], field[32];
	unsigned entry;

	if (c->frames++ == 0 && s && s->inner_frame)
		return;
	if (sscanf(line, " in mapping field '%31[^']'", field) == 1) {
		path_prepend(c->path, field);
	} else if (sscanf(line, " in sequence entry '%u'", &entry) == 1 && entry) {
		snprintf(part, sizeof(part), "[%u]", entry - 1);
		path_prepend(c->path, part);
	}
}

static void complaint_log(cyaml_log_t level, void *ctx, const char *fmt, va_list ap)
{
	struct complaint *c = ctx;
	char line[256];
	size_t len;

	vsnprintf(line, sizeof(line), fmt, ap);
	len = strlen(line);
	if (len && line[len - 1] == '\n')
		line[len - 1] = '\0';
	if (!strncmp(line, "  in ", 5))
		complaint_frame(c, line);
	else if (!*c->what && !strncmp(line, "Load: ", 6))
		snprintf(c->what, sizeof(c->what), "%s", line + 6);
}

static void complaint_report(struct source *s, const struct complaint *c, cyaml_err_t err)
{
	const struct saying *say = saying_of(c->what);
	const char *path = c->path;
	unsigned max = 0;

	if (say && say->names_key)
		path = at(s, "%s%s%s", c->path, *c->path ? "." : "", c->what + strlen(say->start));
	if (say && say->message)
		fault(s, path, "%s", say->message);
	else if (say && sscanf(c->what, "Excessive entries (%u", &max) == 1)
		fault(s, path, "has more than %u entries", max);
	else
		fault(s, path, "%s", *c->what ? c->what : cyaml_strerror(err));
}

static int load(struct source *s, const void *text, size_t len, struct raw **raw)
{
	struct complaint c = { 0 };
	const cyaml_config_t config = {
		.log_fn = complaint_log,
		.log_ctx = &c,
		.mem_fn = cyaml_mem,
		.log_level = CYAML_LOG_ERROR,
		.flags = CYAML_CFG_NO_ALIAS,
	};
	cyaml_err_t err = cyaml_load_data(text, len, &config, &file_schema, (cyaml_data_t **)raw, NULL);

	/* What libyaml refuses, the scan has refused: here it can only want memory. */
	if (err == CYAML_ERR_OOM || err == CYAML_ERR_LIBYAML_PARSER || err == CYAML_ERR_LIBYAML_PARSER_INIT)
		return -ENOMEM;
	if (err == CYAML_OK && *raw)
		return 0;
	complaint_report(s, &c, err);
	return -EINVAL;
}

static void raw_free(struct raw *raw)
{
	const cyaml_config_t config = { .mem_fn = cyaml_mem };

	cyaml_free(&config, &file_schema, raw, 0);
}

/* ---- build ------------------------------------------------------------------------------------ */

static const char *const modes[] = { "auto", "native", "generic", NULL };
static const char *const stranger_ways[] = { "drop", "pass", NULL };
const char *const booleans[] = { "false", "true", NULL };

int build_choice(struct source *s, const char *field, const char *word, const char *const *words, int dflt)
{
	char list[128] = "";
	size_t len = 0;

	if (!word)
		return dflt;
	for (int i = 0; words[i]; i++) {
		if (!strcmp(word, words[i]))
			return i;
		len += snprintf(list + len, sizeof(list) - len, "%s%s", i ? ", " : "", words[i]);
	}
	fault(s, field, "'%.60s' is not one of %s", word, list);
	return dflt;
}

__u64 build_number(struct source *s, const char *field, const char *text, __u64 min, __u64 max, __u64 dflt)
{
	__u64 n;

	if (!text)
		return dflt;
	if (!parse_number(text, min, max, &n))
		return n;
	fault(s, field, "'%.60s' is not a number from %llu to %llu", text, min, max);
	return dflt;
}

bool config_name_ok(const char *name)
{
	static const char first[] = "abcdefghijklmnopqrstuvwxyz0123456789";
	static const char rest[] = "abcdefghijklmnopqrstuvwxyz0123456789_-";
	size_t len = strlen(name);

	return len && len < WEIR_NAME_MAX && strspn(name, first) && strspn(name, rest) == len;
}

bool build_name(struct source *s, const char *field, const char *text, char *name)
{
	if (config_name_ok(text)) {
		strcpy(name, text);
		return true;
	}
	fault(s, field, "'%.60s' is not a name: 1 to %u of a-z, 0-9, '_' and '-', a letter or digit first", text,
	      WEIR_NAME_MAX - 1);
	return false;
}

/* What the kernel takes as a name (dev_valid_name). */
static bool iface_name_ok(const char *name)
{
	size_t len = strlen(name);

	if (!len || len > 15 || !strcmp(name, ".") || !strcmp(name, ".."))
		return false;
	for (; *name; name++)
		if (*name == '/' || *name == ':' || isspace((unsigned char)*name))
			return false;
	return true;
}

static void build_iface(struct source *s, const struct raw *raw, unsigned i, struct config *c)
{
	const char *name = raw->ifaces[i].name;
	struct config_iface *iface = &c->ifaces[i];

	iface->mode = build_choice(s, at(s, "interfaces[%u].mode", i), raw->ifaces[i].mode, modes, 0);
	if (!iface_name_ok(name)) {
		fault(s, at(s, "interfaces[%u].name", i), "'%.60s' cannot be an interface's name", name);
		return;
	}
	snprintf(iface->name, sizeof(iface->name), "%s", name);
	for (unsigned j = 0; j < i; j++) {
		if (strcmp(name, c->ifaces[j].name))
			continue;
		fault(s, at(s, "interfaces[%u].name", i), "'%s' is already interfaces[%u]", name, j);
		return;
	}
}

static __u64 whole_slabs(__u64 bytes)
{
	return (bytes + SLAB_BYTES - 1) / SLAB_BYTES * SLAB_BYTES;
}

static __u64 build_memory(struct source *s, const char *text, __u32 capacity)
{
	__u64 bytes = (__u64)capacity * MEMORY_PER_KEY;
	int err = 0;

	if (text)
		err = parse_size(text, &bytes);
	else if (bytes < MEMORY_MIN_DFLT)
		bytes = MEMORY_MIN_DFLT;
	if (err == -EINVAL)
		fault(s, "cache.memory", "'%.60s' is not a size, as in 512K, 64M or 1G", text);
	else if (err || !bytes || bytes > MEMORY_MAX)
		fault(s, "cache.memory", "'%.60s' is not from 1 byte to %lluG", text, MEMORY_MAX >> 30);
	else
		return whole_slabs(bytes);
	return MEMORY_MIN_DFLT;
}

/* TCP connections that are followed. */
static __u32 build_conns(struct source *s, const char *text)
{
	if (text && !strcmp(text, "0"))
		return 0;
	return build_flow_count(s, "cache.connections", text, WEIR_CONNS_MIN, WEIR_CONNS_MAX, CONNS_DFLT,
				"connections from 256 to 1M, as in 5000 or 16K, or 0: TCP is not followed");
}

static void build_cache(struct source *s, const struct raw *raw, struct config *c)
{
	static const struct raw_cache none;
	const struct raw_cache *cache = raw->cache ? raw->cache : &none;

	c->capacity = build_number(s, "cache.capacity", cache->capacity, 1, WEIR_ENTRIES_MAX, CAPACITY_DFLT);
	c->memory = build_memory(s, cache->memory, c->capacity);
	c->hit_counters = build_choice(s, "cache.hit_counters", cache->hit_counters, booleans, 1);
	c->conns = build_conns(s, cache->connections);
	c->sample = build_number(s, "cache.sample", cache->sample, 0, SAMPLE_MAX, SAMPLE_DFLT);
}

static void build_service_name(struct source *s, const struct raw *raw, unsigned i, struct config *c)
{
	const char *name = raw->services[i].name;

	if (!build_name(s, at(s, "services[%u].name", i), name, c->services[i].name))
		return;
	for (unsigned j = 0; j < i; j++) {
		if (strcmp(name, c->services[j].name))
			continue;
		fault(s, at(s, "services[%u].name", i), "'%s' is already services[%u]", name, j);
		return;
	}
}

static bool is_multicast(const struct weir_addr *a, int family)
{
	__u32 first = ntohl(a->w[0]);

	return family == 4 ? first >> 28 == 0xe : first >> 24 == 0xff;
}

static bool is_loopback(const struct weir_addr *a, int family)
{
	if (family == 4)
		return ntohl(a->w[0]) >> 24 == 127;
	return !(a->w[0] | a->w[1] | a->w[2]) && ntohl(a->w[3]) == 1;
}

/* Why no single host has this address, or NULL. */
static const char *not_unicast(const struct weir_addr *a, int family)
{
	if (!(a->w[0] | a->w[1] | a->w[2] | a->w[3]))
		return "stands for all addresses: name one";
	if (is_multicast(a, family))
		return "is a multicast address: a unicast one is needed";
	if (family == 4 && ntohl(a->w[0]) >> 24 == 0)
		return "is in 0.0.0.0/8, which no host has";
	if (family == 4 && ntohl(a->w[0]) == 0xffffffff)
		return "is the broadcast address: a unicast one is needed";
	if (family == 6 && !(a->w[0] | a->w[1]) && ntohl(a->w[2]) == 0xffff)
		return "is an IPv4 address in IPv6 form: write it as IPv4";
	return NULL;
}

const char *config_not_host(const struct weir_addr *a, int family)
{
	if (is_loopback(a, family))
		return "is a loopback address, which no packet leaves this host for";
	return not_unicast(a, family);
}

static void build_vip(struct source *s, unsigned i, unsigned j, const char *text, struct config_vip *vip)
{
	const char *why = "is not ADDRESS:PORT, as in 10.0.0.1:11211 or [fd00::1]:11211";

	if (!parse_endpoint(text, vip))
		why = not_unicast(&vip->addr, vip->family);
	if (!why && is_loopback(&vip->addr, vip->family))
		why = "is a loopback address, which no NIC sees";
	if (!why)
		return;
	fault(s, at(s, "services[%u].vips[%u]", i, j), "'%.60s' %s", text, why);
	memset(vip, 0, sizeof(*vip));
}

bool same_vip(const struct config_vip *a, const struct config_vip *b)
{
	return a->family == b->family && a->port == b->port && !memcmp(&a->addr, &b->addr, sizeof(a->addr));
}

/* Reports vip j of service i when an earlier one is the same; those at fault have no family. */
static void check_vip_unique(struct source *s, const struct config *c, unsigned i, unsigned j,
			     const char *text)
{
	const struct config_vip *vip = &c->services[i].vips[j];

	for (unsigned k = 0; vip->family && k <= i; k++) {
		for (unsigned l = 0; l < (k == i ? j : c->services[k].nvips); l++) {
			if (!same_vip(vip, &c->services[k].vips[l]))
				continue;
			fault(s, at(s, "services[%u].vips[%u]", i, j),
			      "'%.60s' is already services[%u].vips[%u]", text, k, l);
			return;
		}
	}
}

static int build_vips(struct source *s, const struct raw *raw, unsigned i, struct config *c, unsigned *total)
{
	const struct raw_service *r = &raw->services[i];
	struct config_service *svc = &c->services[i];

	svc->vips = calloc(r->vips_count, sizeof(*svc->vips));
	if (!svc->vips)
		return -ENOMEM;
	for (unsigned j = 0; j < r->vips_count; j++) {
		svc->nvips++;
		build_vip(s, i, j, r->vips[j], &svc->vips[j]);
		check_vip_unique(s, c, i, j, r->vips[j]);
		if (++*total == WEIR_VIPS_MAX + 1)
			fault(s, at(s, "services[%u].vips[%u]", i, j),
			      "more than %u addresses in all services", WEIR_VIPS_MAX);
	}
	return 0;
}

void format_net(const struct weir_net *net, int family, char *text, size_t len)
{
	char addr[INET6_ADDRSTRLEN] = "";

	inet_ntop(family == 4 ? AF_INET : AF_INET6, &net->addr, addr, sizeof(addr));
	snprintf(text, len, "%s/%u", addr, prefix_of(&net->mask));
}

/* Why a well-formed network is not answered to, or NULL. */
static const char *not_clients(const struct weir_net *net, int family)
{
	if (!prefix_of(&net->mask))
		return "would answer anyone, and UDP memcached that answers anyone amplifies attacks "
		       "from forged sources: name the clients' networks";
	if (is_multicast(&net->addr, family))
		return "is multicast, which no client sends from";
	if (!(net->addr.w[0] | net->addr.w[1] | net->addr.w[2] | net->addr.w[3]) &&
	    prefix_of(&net->mask) == (family == 4 ? 32 : 128))
		return "is not an address that a client sends from";
	return NULL;
}

/* Parses and judges client network j of service i. Its family, or 0. */
static int read_client(struct source *s, unsigned i, unsigned j, const char *text, bool cache,
		       struct weir_net *net)
{
	const char *why = "is not a network, as in 10.0.0.0/8, fd00::/16 or 10.0.0.1";
	char right[INET6_ADDRSTRLEN + 4];
	int family = 0, err = parse_net(text, net, &family);

	if (err == -EDOM) {
		format_net(net, family, right, sizeof(right));
		fault(s, at(s, "services[%u].clients[%u]", i, j),
		      "'%.60s' has bits set behind its prefix: the network is %s", text, right);
		return 0;
	}
	if (!err)
		why = cache || prefix_of(&net->mask) ? not_clients(net, family) : NULL;
	if (!why)
		return family;
	fault(s, at(s, "services[%u].clients[%u]", i, j), "'%.60s' %s", text, why);
	return 0;
}

/* -EINVAL: what was meant is not known. */
static int build_client(struct source *s, unsigned i, unsigned j, const char *text,
			struct config_service *svc)
{
	struct weir_net net, *nets;
	int family = read_client(s, i, j, text, svc->flags & WEIR_SVC_CACHE, &net);
	unsigned *n;

	if (!family)
		return -EINVAL;
	nets = family == 4 ? svc->clients4 : svc->clients6;
	n = family == 4 ? &svc->nclients4 : &svc->nclients6;
	for (unsigned k = 0; k < *n; k++) {
		if (memcmp(&nets[k], &net, sizeof(net)))
			continue;
		fault(s, at(s, "services[%u].clients[%u]", i, j), "'%.60s' is listed twice", text);
		return -EEXIST;
	}
	if (*n == WEIR_CLIENTS_MAX) {
		fault(s, at(s, "services[%u].clients[%u]", i, j), "more than %u IPv%d networks",
		      WEIR_CLIENTS_MAX, family);
		return -ENOSPC;
	}
	nets[(*n)++] = net;
	return 0;
}

/* A family with addresses but without clients answers nobody. */
static void check_family(struct source *s, const struct raw *raw, unsigned i,
			 const struct config_service *svc, int family)
{
	if (family == 4 ? svc->nclients4 : svc->nclients6)
		return;
	for (unsigned j = 0; j < svc->nvips; j++) {
		if (svc->vips[j].family != family)
			continue;
		fault(s, at(s, "services[%u].clients", i),
		      "no IPv%d network: nobody would be answered at %.60s", family,
		      raw->services[i].vips[j]);
		return;
	}
}

/* Only a service without a cache can be there for anyone. */
static void build_any_client(struct source *s, const struct raw_service *r, unsigned i,
			     struct config_service *svc)
{
	if (svc->flags & WEIR_SVC_CACHE) {
		fault(s, at(s, "services[%u].clients", i), "is required, and missing");
		return;
	}
	svc->flags |= WEIR_SVC_ANY_CLIENT;
	if (r->strangers)
		fault(s, at(s, "services[%u].strangers", i), "says nothing without clients: nobody is a stranger");
}

static void build_clients(struct source *s, const struct raw *raw, unsigned i, struct config *c)
{
	const struct raw_service *r = &raw->services[i];
	struct config_service *svc = &c->services[i];
	bool bad = false;

	if (!r->clients) {
		build_any_client(s, r, i, svc);
		return;
	}
	for (unsigned j = 0; j < r->clients_count; j++)
		bad |= build_client(s, i, j, r->clients[j], svc) == -EINVAL;
	if (bad) /* a network at fault could be the one that is missed */
		return;
	check_family(s, raw, i, svc, 4);
	check_family(s, raw, i, svc, 6);
}

bool build_endpoint(struct source *s, const char *field, const char *text, char *to)
{
	const char *why = "is not ADDRESS:PORT, as in 127.0.0.1:11211 or [::1]:11211";
	struct config_vip origin;

	if (!parse_endpoint(text, &origin))
		why = not_unicast(&origin.addr, origin.family);
	if (why)
		fault(s, field, "'%.60s' %s", text, why);
	else
		snprintf(to, WEIR_ORIGIN_MAX, "%s", text);
	return !why;
}

static void build_ttl(struct source *s, unsigned i, const char *text, struct config_service *svc)
{
	int err;

	svc->ttl_ns = TTL_DFLT;
	err = text ? parse_duration(text, &svc->ttl_ns) : 0;
	if (err == -ERANGE)
		fault(s, at(s, "services[%u].ttl", i), "'%.60s' is more than 292 years: write never", text);
	else if (err)
		fault(s, at(s, "services[%u].ttl", i),
		      "'%.60s' is not a duration, as in 90s, 5m, 1h30m or never", text);
}

static void build_hot(struct source *s, const struct raw_service *r, unsigned i, const struct config *c,
		      struct config_service *svc)
{
	if (r->origin)
		build_endpoint(s, at(s, "services[%u].origin", i), r->origin, svc->origin);
	build_ttl(s, i, r->ttl, svc);
	svc->value_max = build_number(s, at(s, "services[%u].value_max", i), r->value_max, 1, WEIR_TEXT_MAX,
				      WEIR_TEXT_MAX);
	if (!build_choice(s, at(s, "services[%u].udp_checksum", i), r->udp_checksum, booleans, 1))
		svc->flags |= WEIR_SVC_NO_CSUM4;
	build_keep(s, r, i, c, svc);
}

static void refuse_hot(struct source *s, const struct raw_service *r, unsigned i)
{
	const struct {
		const char *name, *text;
	} keys[] = { { "origin", r->origin },
		     { "ttl", r->ttl },
		     { "value_max", r->value_max },
		     { "udp_checksum", r->udp_checksum },
		     { "replicas", r->replicas ? "" : NULL },
		     { "refresh", r->refresh } };

	for (unsigned k = 0; k < sizeof(keys) / sizeof(*keys); k++)
		if (keys[k].text)
			fault(s, at(s, "services[%u].%s", i, keys[k].name),
			      "is of a cache, and this service has none: cache: true gives it one");
}

static int build_service(struct source *s, const struct raw *raw, unsigned i, struct config *c,
			 unsigned *total)
{
	const struct raw_service *r = &raw->services[i];
	struct config_service *svc = &c->services[i];
	int err;

	build_service_name(s, raw, i, c);
	err = build_vips(s, raw, i, c, total);
	if (err)
		return err;
	build_steering(s, raw, i, c);
	build_clients(s, raw, i, c);
	if (build_choice(s, at(s, "services[%u].strangers", i), r->strangers, stranger_ways, 0))
		svc->flags |= WEIR_SVC_STRANGERS_PASS;
	if (svc->flags & WEIR_SVC_CACHE)
		build_hot(s, r, i, c, svc);
	else
		refuse_hot(s, r, i);
	return build_promote(s, r->promote, i, c);
}

/* What nobody asked for and no service uses is as small as it can be. */
static void shrink(const struct raw *raw, struct config *c)
{
	bool hot = raw->cache, steered = false;

	for (unsigned i = 0; i < c->nservices; i++) {
		hot |= c->services[i].flags & WEIR_SVC_CACHE;
		steered |= c->services[i].pool != CONFIG_NO_POOL;
	}
	if (!steered)
		c->flow_buckets = 0;
	if (hot)
		return;
	c->capacity = 1;
	c->memory = SLAB_BYTES;
	c->hit_counters = 0;
	c->conns = 0;
	c->sample = 0;
}

static int build_services(struct source *s, const struct raw *raw, struct config *c)
{
	unsigned total = 0;
	int err = 0;

	c->services = calloc(raw->services_count, sizeof(*c->services));
	if (!c->services)
		return -ENOMEM;
	c->nservices = raw->services_count;
	for (unsigned i = 0; !err && i < c->nservices; i++)
		err = build_service(s, raw, i, c, &total);
	return err;
}

static int build(struct source *s, const struct raw *raw, struct config *c)
{
	int err;

	c->path = strdup(s->name);
	c->ifaces = calloc(raw->ifaces_count, sizeof(*c->ifaces));
	if (!c->path || !c->ifaces)
		return -ENOMEM;
	c->nifaces = raw->ifaces_count;
	for (unsigned i = 0; i < c->nifaces; i++)
		build_iface(s, raw, i, c);
	build_cache(s, raw, c);
	build_flows(s, raw, c);
	build_latency(s, raw, c);
	err = build_agent(s, raw, c);
	if (!err)
		err = build_pools(s, raw, c);
	if (!err)
		err = build_services(s, raw, c);
	if (!err)
		err = build_bus(s, raw, c);
	if (!err)
		err = build_policies(s, raw, c);
	if (!err)
		err = check_steering(s, raw, c);
	shrink(raw, c);
	return err ? err : s->faults ? -EINVAL : 0;
}

/* ---- whole files ------------------------------------------------------------------------------ */

void config_free(struct config *c)
{
	if (!c)
		return;
	for (unsigned i = 0; i < c->nservices; i++) {
		free(c->services[i].vips);
		free_promote(&c->services[i]);
	}
	free(c->services);
	free_pools(c);
	free_bus(c);
	free_policies(c);
	free(c->token_file);
	free(c->ifaces);
	free(c->path);
	free(c);
}

static int parse_source(struct source *s, struct config **out, const void *text, size_t len)
{
	struct raw *raw = NULL;
	struct config *c = NULL;
	int err = scan(s, text, len);

	if (!err)
		err = load(s, text, len, &raw);
	if (!err) {
		c = calloc(1, sizeof(*c));
		err = c ? build(s, raw, c) : -ENOMEM;
	}
	raw_free(raw);
	if (err)
		config_free(c);
	else
		*out = c;
	return err;
}

int config_parse_each(struct config **out, const char *name, const void *text, size_t len, config_fault_fn fn,
		      void *arg)
{
	struct source s = { .name = name, .fn = fn, .arg = arg };
	int err;

	*out = NULL;
	if (len >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) { /* a byte order mark: libyaml would count it */
		text = (const char *)text + 3;
		len -= 3;
	}
	if (len > FILE_MAX) {
		fault_at(&s, 0, "", "is larger than 1 MiB: this is no configuration");
		return -EFBIG;
	}
	err = parse_source(&s, out, text, len);
	if (err == -ENOMEM)
		fault_at(&s, 0, "", "%s", strerror(ENOMEM));
	free(s.marks);
	return err;
}

/* Reads until the end or until one byte more than is allowed. */
static int read_all(int fd, char *text, size_t *len)
{
	*len = 0;
	while (*len <= FILE_MAX) {
		ssize_t n = read(fd, text + *len, FILE_MAX + 1 - *len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		*len += n;
	}
	return 0;
}

static int read_file(const char *path, char **text, size_t *len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int err;

	if (fd < 0)
		return -errno;
	*text = malloc(FILE_MAX + 1);
	err = *text ? read_all(fd, *text, len) : -ENOMEM;
	close(fd);
	return err;
}

int config_load_each(struct config **out, const char *path, config_fault_fn fn, void *arg)
{
	struct source s = { .name = path, .fn = fn, .arg = arg };
	char *text = NULL;
	size_t len = 0;
	int err = read_file(path, &text, &len);

	*out = NULL;
	if (err)
		fault_at(&s, 0, "", "cannot be read: %s", strerror(-err));
	else
		err = config_parse_each(out, path, text, len, fn, arg);
	free(text);
	return err;
}

void config_print_fault(const struct config_fault *f, void *file)
{
	FILE *err = file;

	fprintf(err, "%s:", f->file);
	if (f->line)
		fprintf(err, "%u:", f->line);
	fprintf(err, " %s%s%s\n", f->field, *f->field ? ": " : "", f->message);
}

int config_load(struct config **out, const char *path, FILE *err)
{
	return config_load_each(out, path, config_print_fault, err);
}

int config_parse(struct config **out, const char *name, const void *text, size_t len, FILE *err)
{
	return config_parse_each(out, name, text, len, config_print_fault, err);
}

/* ---- memory ----------------------------------------------------------------------------------- */

#define WORK_BYTES	(2 * 3776) /* both programs' work areas, of each CPU: struct weir_work of bpf/request.bpf.h */
#define BUCKETS_MIN	64
#define NAT_ENTRY	120 /* of nat_back: the kernel's bucket and element, with key and value */

/* The maps of steering but flows: their sizes are fixed. */
static __u64 steering_bytes(unsigned ncpu)
{
	__u64 pool = sizeof(struct weir_pool) + sizeof(struct weir_maglev) + sizeof(struct weir_ctl_pool);
	__u64 backend = sizeof(struct weir_backend) + sizeof(struct weir_ctl_backend) +
			sizeof(struct weir_hop) * ncpu + 2 * NAT_ENTRY;

	return WEIR_POOLS_MAX * pool + WEIR_BACKENDS_MAX * backend + WEIR_FRAGS * sizeof(__u64);
}

/* Flow records, and histograms of services and of backends. */
static __u64 latency_bytes(const struct config *c, unsigned ncpu)
{
	__u64 services = WEIR_SERVICES_MAX * WEIR_LAT_PATHS * ncpu;
	__u64 backends = c->flow_buckets > 1 ? WEIR_BACKENDS_MAX * WEIR_BACKEND_PATHS : 1;

	if (!c->flow_recs)
		return 0;
	return c->flow_recs * sizeof(struct weir_flow_rec) + (services + backends) * sizeof(struct weir_histogram);
}

void config_memory(const struct config *c, unsigned ncpu, struct config_memory *m)
{
	__u64 stats = (WEIR_SERVICES_MAX + 1) * WEIR_REASON_MAX * sizeof(struct weir_count);

	memset(m, 0, sizeof(*m));
	/* At most half of the words are in use, so that two candidate buckets are enough. */
	m->index_buckets = BUCKETS_MIN;
	while ((__u64)m->index_buckets * WEIR_BUCKET_WORDS < 2ULL * c->capacity)
		m->index_buckets *= 2;
	m->nslabs = whole_slabs(c->memory) / SLAB_BYTES;
	m->index = (__u64)m->index_buckets * sizeof(struct weir_bucket);
	m->slabs = (__u64)m->nslabs * sizeof(struct weir_slab);
	m->hits = c->hit_counters ? (__u64)c->capacity * sizeof(__u64) * ncpu : 0;
	m->fences = WEIR_FENCE_STRIPES * sizeof(struct weir_fence) +
		    WEIR_SERVICES_MAX * sizeof(struct weir_svc_fence);
	m->other = WEIR_PENDING * sizeof(__u64) + sizeof(struct weir_ctl) + stats * ncpu;
	m->other += WEIR_SERVICES_MAX * WEIR_TRACK_MAX * sizeof(__u64) * ncpu;
	m->other += (WEIR_INVAL_REASONS + 1) * sizeof(struct weir_invalidation);
	m->other += c->nifaces * (WORK_BYTES * ncpu + 2 * sizeof(struct weir_config)) + steering_bytes(ncpu);
	m->flows = (__u64)c->flow_buckets * sizeof(struct weir_flow_bucket);
	m->latency = latency_bytes(c, ncpu);
	m->conns = (__u64)c->conns * sizeof(struct weir_conn);
	if (c->sample)
		m->other += (__u64)WEIR_SAMPLES * ncpu * sizeof(struct weir_sample);
	m->total = m->index + m->slabs + m->hits + m->fences + m->flows + m->latency + m->conns + m->other;
}

/* Bytes that can be taken without swapping, or 0 when the kernel does not say. */
static __u64 memory_available(void)
{
	FILE *f = fopen("/proc/meminfo", "re");
	unsigned long long kib = 0;
	char line[128];

	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
			break;
	fclose(f);
	return kib * 1024;
}

int config_fits(const struct config_memory *m, char *why, size_t len)
{
	__u64 available = memory_available();

	if (len)
		*why = '\0';
	if (!available || m->total <= available / 5 * 4)
		return 0;
	snprintf(why, len, "does not fit: %llu MiB needed, and 80%% of the available memory is %llu MiB",
		 (m->total + (1 << 20) - 1) >> 20, (available / 5 * 4) >> 20);
	return -ENOSPC;
}
