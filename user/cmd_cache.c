/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* weir cache show, get, put, flush: the hot set, key by key. */
#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "invalidate.h"
#include "session.h"
#include "slot_copy.h"
#include "warm.h"
#include "weir/reason.h"

/* ---- a key, in words and in JSON -------------------------------------------------------------- */

/* What a key is, apart from its value. */
struct facts {
	const char *service, *state, *key;
	size_t key_len, value_len;
	__u32 flags;
	bool cas_known, hits_known;
	__u64 cas, hits, left_ns; /* WEIR_NEVER: does not expire */
};

static __u64 time_left(__u64 expires_ns, __u64 now_ns)
{
	if (expires_ns == WEIR_NEVER)
		return WEIR_NEVER;
	return expires_ns > now_ns ? expires_ns - now_ns : 0;
}

static struct facts facts_of(const struct session *s, const struct weir_slot *slot)
{
	__u64 now = monotonic_ns();
	bool counted = s->ctl->hit_entries && slot->entry < s->ctl->hit_entries;

	return (struct facts){
		.service = s->ctl->services[slot->svc].name,
		.state = hotset_state_name(hotset_state(s->hot, slot, now)),
		.key = slot_key(slot),
		.key_len = slot->key_len,
		.value_len = slot->value_len,
		.flags = slot->client_flags,
		.cas_known = slot->flags & WEIR_SLOT_CAS,
		.cas = slot->cas,
		.hits_known = counted,
		.hits = counted ? hotset_hits(s->hot, slot) : 0,
		.left_ns = time_left(slot->expires_ns, now),
	};
}

static json_t *json_facts(const struct facts *f)
{
	char cas[24];
	json_t *doc = json_pack("{s:s, s:I, s:I, s:o, s:o, s:s}", "service", f->service, "value_bytes",
				(json_int_t)f->value_len, "flags", (json_int_t)f->flags, "ttl_seconds",
				json_seconds(f->left_ns), "hits",
				f->hits_known ? json_integer(f->hits) : json_null(), "state", f->state);

	snprintf(cas, sizeof(cas), "%llu", f->cas);
	json_object_set_new(doc, "cas", f->cas_known ? json_string(cas) : json_null());
	json_set_bytes(doc, "key", f->key, f->key_len);
	return doc;
}

/* ---- show ------------------------------------------------------------------------------------- */

struct row {
	struct facts facts;
	char *key;
};

struct table {
	struct session *s;
	const char *pattern;
	int svc;    /* -1: all */
	size_t top; /* 0: all */
	struct row *rows;
	size_t n, cap;
	__u64 matched;
};

static int by_hits(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	size_t len = x->facts.key_len < y->facts.key_len ? x->facts.key_len : y->facts.key_len;
	int order;

	if (x->facts.hits != y->facts.hits)
		return x->facts.hits < y->facts.hits ? 1 : -1;
	order = memcmp(x->key, y->key, len);
	if (order)
		return order;
	return x->facts.key_len < y->facts.key_len ? -1 : x->facts.key_len > y->facts.key_len;
}

static void free_rows(struct table *t, size_t from)
{
	for (size_t i = from; i < t->n; i++)
		free(t->rows[i].key);
	t->n = from;
}

static void keep_top(struct table *t)
{
	qsort(t->rows, t->n, sizeof(*t->rows), by_hits);
	if (t->top && t->n > t->top)
		free_rows(t, t->top);
}

/* With --top, no more rows are held than twice those that will be shown. */
static int make_room(struct table *t)
{
	size_t cap = t->cap ? t->cap * 2 : 1024;
	struct row *rows;

	if (t->n < t->cap)
		return 0;
	if (t->top && t->n >= 2 * t->top) {
		keep_top(t);
		return 0;
	}
	rows = realloc(t->rows, cap * sizeof(*rows));
	if (!rows)
		return -ENOMEM;
	t->rows = rows;
	t->cap = cap;
	return 0;
}

static int show_slot(const struct weir_slot *slot, void *arg)
{
	struct table *t = arg;
	char key[WEIR_KEY_MAX + 1];
	struct copy copy;
	struct row *row;

	if (!copy_slot(&copy, slot) || (t->svc >= 0 && copy.slot.svc != t->svc))
		return 0;
	memcpy(key, slot_key(&copy.slot), copy.slot.key_len);
	key[copy.slot.key_len] = 0;
	if (t->pattern && fnmatch(t->pattern, key, 0))
		return 0;
	t->matched++;
	if (make_room(t))
		return -ENOMEM;
	row = &t->rows[t->n];
	row->facts = facts_of(t->s, &copy.slot);
	row->key = malloc(copy.slot.key_len + 1);
	if (!row->key)
		return -ENOMEM;
	memcpy(row->key, key, copy.slot.key_len + 1);
	row->facts.key = row->key;
	t->n++;
	return 0;
}

static void print_table(const struct table *t)
{
	printf("%15s %7s %9s %-8s %s\n", "hits", "bytes", "ttl left", "state", "key");
	for (size_t i = 0; i < t->n; i++) {
		const struct facts *f = &t->rows[i].facts;

		printf("%15s %7zu %9s %-8s %s", f->hits_known ? human_count(f->hits) : "-", f->value_len,
		       human_duration(f->left_ns), f->state, printable(f->key, f->key_len));
		if (t->svc < 0)
			printf("  (%s)", f->service);
		printf("\n");
	}
	if (!out_quiet && t->n < t->matched)
		printf("%s of %s keys\n", human_count(t->n), human_count(t->matched));
	if (!t->matched)
		note("no key%s", t->pattern ? " matches" : " is in the hot set");
}

static void print_show(const struct table *t, const char *service)
{
	json_t *keys;

	if (!out_json) {
		print_table(t);
		return;
	}
	keys = json_array();
	for (size_t i = 0; i < t->n; i++)
		json_array_append_new(keys, json_facts(&t->rows[i].facts));
	out_document("cache.show",
		     json_pack("{s:s?, s:o, s:I, s:o}", "service", service, "pattern",
			       t->pattern ? json_string(printable(t->pattern, strlen(t->pattern)))
					  : json_null(),
			       "matched", (json_int_t)t->matched, "keys", keys));
}

static unsigned count_services(const struct weir_ctl *ctl)
{
	unsigned n = 0;

	for (int i = 0; i < WEIR_SERVICES_MAX; i++)
		n += *ctl->services[i].name != 0;
	return n;
}

static int show(struct table *t, const char *service)
{
	int err;

	t->svc = -1;
	if (service || count_services(t->s->ctl) == 1)
		t->svc = session_service(t->s, service);
	if (service && t->svc < 0)
		return EXIT_FAILED;
	err = hotset_each(t->s->hot, show_slot, t);
	if (err)
		return fail(EXIT_FAILED, "cache show: %s", strerror(-err));
	keep_top(t);
	print_show(t, service);
	return EXIT_OK;
}

/* A whole number of at most `max`. */
static bool read_number(const char *text, __u64 max, __u64 *n)
{
	char *end;

	errno = 0;
	*n = strtoull(text, &end, 10);
	return *text >= '0' && *text <= '9' && !*end && !errno && *n <= max;
}

int cmd_cache_show(const struct cmd *cmd, char **values, int argc, char **argv)
{
	const char *top = opt_value(cmd, values, "top");
	struct session s;
	struct table t = {.s = &s, .pattern = argc ? argv[0] : NULL};
	__u64 n = 0;
	int status;

	if (top && (!read_number(top, WEIR_ENTRIES_MAX, &n) || !n))
		return fail(EXIT_USAGE, "cache show: --top takes a number from 1 to %d, not '%s'",
			    WEIR_ENTRIES_MAX, top);
	t.top = n;
	status = session_open(&s, "cache show", DP_READ);
	if (status)
		return status;
	status = show(&t, opt_value(cmd, values, "service"));
	free_rows(&t, 0);
	free(t.rows);
	return session_close(&s, status);
}

/* ---- get -------------------------------------------------------------------------------------- */

static void print_key(const struct facts *f, const char *value)
{
	printf("key      %s\n", printable(f->key, f->key_len));
	printf("service  %s\n", f->service);
	printf("state    %s\n", f->state);
	printf("flags    %u\n", f->flags);
	if (f->cas_known)
		printf("cas      %llu\n", f->cas);
	else
		printf("cas      not known\n");
	printf("ttl      %s\n", human_duration(f->left_ns));
	if (f->hits_known)
		printf("hits     %s\n", human_count(f->hits));
	else
		printf("hits     not counted\n");
	printf("bytes    %zu\n", f->value_len);
	printf("value    %s\n", printable(value, f->value_len));
}

static void document_absent(const char *service, const char *key)
{
	json_t *doc = json_pack("{s:b, s:s}", "found", false, "service", service);

	json_set_bytes(doc, "key", key, strlen(key));
	out_document("cache.get", doc);
}

static int get(const struct session *s, unsigned svc, const char *key)
{
	const char *service = s->ctl->services[svc].name;
	struct copy copy;
	struct facts f;
	json_t *doc;

	if (!copy_of_key(&copy, s->hot, svc, key, strlen(key))) {
		if (out_json)
			document_absent(service, key);
		return fail(EXIT_FAILED, "cache get: no key '%s' in the hot set of %s", key, service);
	}
	f = facts_of(s, &copy.slot);
	if (!out_json) {
		print_key(&f, slot_value(&copy.slot));
		return EXIT_OK;
	}
	doc = json_facts(&f);
	json_object_set_new(doc, "found", json_true());
	json_set_bytes(doc, "value", slot_value(&copy.slot), copy.slot.value_len);
	out_document("cache.get", doc);
	return EXIT_OK;
}

/* ---- put -------------------------------------------------------------------------------------- */

struct put {
	struct hot_item item;
	__u64 ttl_ns; /* 0: the service's */
};

static int put_options(struct put *p, const struct cmd *cmd, char **values, char **argv)
{
	const char *ttl = opt_value(cmd, values, "ttl"), *flags = opt_value(cmd, values, "flags");
	__u64 n = 0;

	if (ttl && parse_duration(ttl, &p->ttl_ns))
		return fail(EXIT_USAGE, "cache put: '%s' is not a TTL, as in 90s, 5m or never", ttl);
	if (flags && !read_number(flags, 0xffffffff, &n))
		return fail(EXIT_USAGE, "cache put: flags are a number from 0 to 4294967295, not '%s'",
			    flags);
	p->item = (struct hot_item){.key = argv[0],
				    .key_len = strlen(argv[0]),
				    .value = argv[1],
				    .value_len = strlen(argv[1]),
				    .client_flags = n};
	if (!hotset_key_ok(p->item.key, p->item.key_len))
		return fail(EXIT_USAGE,
			    "cache put: a key has 1 to %d bytes, and no space or control character",
			    WEIR_KEY_MAX);
	return EXIT_OK;
}

static int put_failed(const struct session *s, const struct hot_item *it, int err)
{
	switch (err) {
	case -ENOSPC:
		return fail(EXIT_FAILED, "cache put: the hot set is full: %s",
			    usage_text(&(struct hotset_usage[]){hotset_usage(s->hot)}[0]));
	case -EXFULL:
		return fail(EXIT_FAILED, "cache put: both buckets that the key may stand in are full");
	case -EMSGSIZE:
		return fail(EXIT_FAILED,
			    "cache put: with %zu bytes the reply would be longer than one datagram",
			    it->value_len);
	}
	return fail(exit_of(err), "cache put: %s", strerror(-err));
}

static int set_expiry(const struct session *s, struct hot_item *it, __u64 ttl_ns)
{
	const char *service = s->ctl->services[it->svc].name;
	__u64 now = monotonic_ns(), cap;
	int err = warm_flush_cap(dp_hotset_mem(s->dp), it->svc, now, &cap);

	if (err || !cap)
		return fail(EXIT_FAILED,
			    "cache put: service %s: a flush_all with a date is pending; "
			    "`weir cache flush` clears it",
			    service);
	it->expires_ns = ttl_ns == WEIR_NEVER ? WEIR_NEVER : now + ttl_ns;
	if (it->expires_ns > cap)
		it->expires_ns = cap;
	return EXIT_OK;
}

static void print_put(const struct session *s, const struct hot_item *it, int result)
{
	static const char *const results[] = {"added", "replaced", "unchanged"};
	__u64 left = time_left(it->expires_ns, monotonic_ns());
	const char *service = s->ctl->services[it->svc].name;
	json_t *doc;

	if (!out_json) {
		printf("%s: %s, %zu bytes, ttl %s\n", printable(it->key, it->key_len), results[result],
		       it->value_len, human_duration(left));
		return;
	}
	doc = json_pack("{s:s, s:s, s:I, s:I, s:o}", "result", results[result], "service", service,
			"value_bytes", (json_int_t)it->value_len, "flags", (json_int_t)it->client_flags,
			"ttl_seconds", json_seconds(left));
	json_set_bytes(doc, "key", it->key, it->key_len);
	out_document("cache.put", doc);
}

static int put(const struct session *s, unsigned svc, struct put *p)
{
	const struct weir_ctl_svc *cs = &s->ctl->services[svc];
	int result;

	p->item.svc = svc;
	if (p->item.value_len > cs->value_max)
		return fail(EXIT_FAILED, "cache put: the value has %zu bytes, value_max of %s is %u",
			    p->item.value_len, cs->name, cs->value_max);
	if (set_expiry(s, &p->item, p->ttl_ns ? p->ttl_ns : cs->ttl_ns))
		return EXIT_FAILED;
	p->item.fence = hotset_fence(s->hot, svc, p->item.key, p->item.key_len);
	result = hotset_put(s->hot, &p->item);
	if (result < 0)
		return put_failed(s, &p->item, result);
	print_put(s, &p->item, result);
	return EXIT_OK;
}

/* ---- flush ------------------------------------------------------------------------------------ */

static bool of_service(const struct weir_slot *slot, void *arg)
{
	const int *svc = arg;

	return *svc < 0 || slot->svc == *svc;
}

/*
 * The date of a delayed flush_all is the one thing in the fences that is not the programs' alone: once
 * nothing is left to be flushed, the user may say that it is over. The map is mapped for writing with
 * DP_WRITE; `const` in hotset_mem keeps the rest of the control plane from writing there.
 */
static void clear_flush_date(const struct hotset_mem *mem, int svc)
{
	struct weir_svc_fence *fences = (struct weir_svc_fence *)mem->svc_fences;

	for (int i = 0; i < WEIR_SERVICES_MAX; i++) {
		if (svc < 0 || svc == i)
			__atomic_store_n(&fences[i].flush_at_ns, 0, __ATOMIC_RELEASE);
	}
}

/* Before anything is dropped: what is being fetched meanwhile is not to be published. */
static void fence(const struct session *s, int svc)
{
	struct inval by = { WEIR_INVAL_CLI, "flush" };

	for (int i = 0; i < WEIR_SERVICES_MAX; i++) {
		if (*s->ctl->services[i].name && s->ctl->services[i].flags & WEIR_SVC_CACHE && (svc < 0 || svc == i))
			inval_service(dp_hotset_mem(s->dp), &by, i);
	}
}

static int flush(const struct session *s, const char *service)
{
	int svc = service ? session_service(s, service) : -1;
	__u64 n;

	if (service && svc < 0)
		return EXIT_FAILED;
	fence(s, svc);
	n = hotset_drop_if(s->hot, of_service, &svc);
	clear_flush_date(dp_hotset_mem(s->dp), svc);
	if (out_json)
		out_document("cache.flush",
			     json_pack("{s:s?, s:I}", "service", service, "dropped", (json_int_t)n));
	else
		printf("dropped %s key%s\n", human_count(n), n == 1 ? "" : "s");
	return EXIT_OK;
}

/* ---- the commands ----------------------------------------------------------------------------- */

/* Opens, and finds the service; 0 or the exit status. */
static int start(struct session *s, const char *what, enum dp_access access, const char *service,
		 unsigned *svc)
{
	int status = session_open(s, what, access), n;

	if (status)
		return status;
	n = session_service(s, service);
	*svc = n;
	return n >= 0 ? EXIT_OK : session_close(s, service ? EXIT_FAILED : EXIT_USAGE);
}

int cmd_cache_get(const struct cmd *cmd, char **values, int argc, char **argv)
{
	struct session s;
	unsigned svc;
	int status = start(&s, "cache get", DP_READ, opt_value(cmd, values, "service"), &svc);

	return status ? status : session_close(&s, get(&s, svc, argv[0]));
}

int cmd_cache_put(const struct cmd *cmd, char **values, int argc, char **argv)
{
	struct put p = {0};
	struct session s;
	unsigned svc;
	int status = put_options(&p, cmd, values, argv);

	if (!status)
		status = start(&s, "cache put", DP_WRITE, opt_value(cmd, values, "service"), &svc);
	return status ? status : session_close(&s, put(&s, svc, &p));
}

int cmd_cache_flush(const struct cmd *cmd, char **values, int argc, char **argv)
{
	struct session s;
	int status = session_open(&s, "cache flush", DP_WRITE);

	return status ? status : session_close(&s, flush(&s, opt_value(cmd, values, "service")));
}
