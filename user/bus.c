// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Why what is answered is never older than stale_after: `fresh_ns` is a moment, and all that stood in the stream
 * then has been applied; nothing is answered later than stale_after behind it, whether this loop runs or not.
 * That all has been applied is told by counting: the stream says how many entries were ever added to it, and we
 * know how many we have read. An entry that was trimmed or deleted before we came, or lost by Redis, is missing
 * there.
 */
#include "bus.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent_lease.h"
#include "bus_entry.h"
#include "bus_position.h"
#include "journal.h"
#include "out.h"

#define TICK_US	      250000
#define SAVE_NS	      1000000000ULL
#define SILENT_NS     3000000000ULL /* an idle stream is heard of each second */
#define RETRY_MIN_NS  250000000ULL
#define RETRY_MAX_NS  5000000000ULL
#define FAULT_SAY_NS  10000000000ULL

struct bus {
	sd_event *event;
	sd_event_source *tick;
	struct invalidate *v;
	struct config_bus c; /* redis.family 0: there is none */
	struct redis_link *link; /* NULL: not connected */
	bool known;	     /* the position is */
	struct bus_position at;
	bool unsaved;
	__u64 saved_ns;
	bool whole;	     /* all was applied, once, since this connection was made */
	__u64 made_up;	     /* entries since then and until that */
	__u64 retry_ns, retry_in_ns;
	bool failure_said, position_said;
	__u64 faults, faults_said_ns; /* malformed entries that were not yet said */
	struct bus_counts counts;
	bus_event_fn on_event;
	void *on_event_arg;
};

static bool is_on(const struct bus *b)
{
	return b->c.redis.family;
}

/* ---- the lease -------------------------------------------------------------------------------- */

static bool is_fresh(const struct bus *b)
{
	return b->counts.fresh_ns && monotonic_ns() - b->counts.fresh_ns < b->c.stale_ns;
}

static void limit_lease(struct bus *b)
{
	if (!is_on(b) || b->c.fail == BUS_SERVE)
		agent_limit_lease(WEIR_NEVER);
	else
		agent_limit_lease(b->counts.fresh_ns ? b->counts.fresh_ns + b->c.stale_ns : 0);
}

__u64 bus_first_lease(const struct config *c)
{
	return c->bus.redis.family && c->bus.fail == BUS_PASS ? 0 : WEIR_NEVER;
}

/* ---- the position ----------------------------------------------------------------------------- */

static void save(struct bus *b)
{
	int err;

	if (!b->unsaved)
		return;
	err = bus_position_write(&b->at, BUS_POSITION_FILE, &b->c);
	b->saved_ns = monotonic_ns();
	b->unsaved = err;
	if (err && !b->position_said)
		say(LOG_ERR, "bus: %s cannot be written: %s: an agent that starts again will fence all services",
		    BUS_POSITION_FILE, strerror(-err));
	b->position_said = err;
}

static void moved(struct bus *b)
{
	b->unsaved = true;
	if (monotonic_ns() - b->saved_ns >= SAVE_NS)
		save(b);
}

static void read_position(struct bus *b)
{
	int err = bus_position_read(&b->at, BUS_POSITION_FILE, &b->c);

	b->known = !err;
	b->unsaved = false;
	if (err && err != -ENOENT)
		say(LOG_WARNING, "bus: %s cannot be used: %s", BUS_POSITION_FILE, strerror(-err));
}

static const struct stream_id *on_position(void *arg)
{
	const struct bus *b = arg;

	return b->known ? &b->at.id : NULL;
}

/* ---- hanging up ------------------------------------------------------------------------------- */

static void hang_up(struct bus *b)
{
	redis_close(b->link);
	b->link = NULL;
	b->counts.up = false;
	b->whole = false;
	b->made_up = 0;
	b->retry_ns = monotonic_ns() + b->retry_in_ns;
}

/*
 * The agent notices within a second that what was loaded has been replaced. What would be applied until then, the new
 * hot set would never hear of; so it is read again from here, once that is taken up.
 */
static bool hung_up_on_replaced(struct bus *b)
{
	struct dataplane *dp = invalidate_dp(b->v);

	if (dp && !dp_current(dp))
		return false;
	hang_up(b);
	return true;
}

/* ---- entries ---------------------------------------------------------------------------------- */

static void say_fault(struct bus *b, struct stream_id id, const char *fault)
{
	__u64 now = monotonic_ns();

	b->counts.malformed++;
	b->faults++;
	if (b->faults_said_ns && now - b->faults_said_ns < FAULT_SAY_NS)
		return;
	say(LOG_WARNING, "bus: entry %llu-%llu of %s: %s (%llu such since this was last said)", id.ms, id.seq,
	    b->c.stream, fault, b->faults);
	b->faults = 0;
	b->faults_said_ns = now;
}

static void apply_keys(struct bus *b, const struct inval *by, __u8 svc, const struct bus_field *fields, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (bus_is_key(&fields[i]))
			invalidate_key(b->v, by, svc, fields[i].value, fields[i].value_len);
	}
}

static void apply_prefixes(struct bus *b, const struct inval *by, __u8 svc, const struct bus_field *fields,
			   unsigned n)
{
	struct inval_prefix prefixes[INVAL_PREFIXES_MAX];
	unsigned used = 0;

	for (unsigned i = 0; i < n && used <= INVAL_PREFIXES_MAX; i++) {
		if (!bus_is_prefix(&fields[i]))
			continue;
		if (used < INVAL_PREFIXES_MAX)
			prefixes[used] = (struct inval_prefix){ fields[i].value, fields[i].value_len };
		used++;
	}
	if (used)
		invalidate_prefixes(b->v, by, svc, prefixes, used);
}

static void apply_to(struct bus *b, const struct bus_entry *e, __u8 svc, const struct bus_field *fields,
		     unsigned n)
{
	struct inval by = { WEIR_INVAL_BUS, *e->reason ? e->reason : NULL };

	if (e->all)
		invalidate_service(b->v, &by, svc);
	if (e->nkeys)
		apply_keys(b, &by, svc, fields, n);
	if (e->nprefixes)
		apply_prefixes(b, &by, svc, fields, n);
}

static __u64 age_ms(struct stream_id id)
{
	struct timespec t;
	__u64 now;

	clock_gettime(CLOCK_REALTIME, &t);
	now = t.tv_sec * 1000ULL + t.tv_nsec / 1000000;
	return now > id.ms ? now - id.ms : 0;
}

static void tell_event(struct bus *b, const struct bus_entry *e, struct stream_id id, int svc,
		       const struct bus_field *fields, unsigned n)
{
	struct bus_event event = { svc, e->event->value, fields, n, age_ms(id) };

	b->counts.events++;
	if (b->on_event)
		b->on_event(&event, b->on_event_arg);
}

/* Without a service it concerns each of them. */
static void apply(struct bus *b, const struct bus_entry *e, struct stream_id id, const struct bus_field *fields,
		  unsigned n)
{
	int svc = e->service ? invalidate_named(b->v, e->service->value, e->service->value_len) : -1;

	if (e->service && svc < 0) {
		b->counts.elsewhere++;
		return;
	}
	b->counts.keys += e->nkeys > 0;
	b->counts.prefixes += e->nprefixes > 0;
	b->counts.services += e->all;
	if (svc >= 0)
		apply_to(b, e, svc, fields, n);
	for (int i = invalidate_next(b->v, -1); svc < 0 && i >= 0; i = invalidate_next(b->v, i))
		apply_to(b, e, i, fields, n);
	if (e->event)
		tell_event(b, e, id, svc, fields, n);
}

static void on_entry(struct stream_id id, const struct bus_field *fields, unsigned n, void *arg)
{
	struct bus *b = arg;
	struct bus_entry e;

	if (hung_up_on_replaced(b))
		return;
	b->counts.entries++;
	if (bus_entry_read(&e, fields, n))
		apply(b, &e, id, fields, n);
	if (e.fault)
		say_fault(b, id, e.fault);
	b->at.id = id;
	b->at.added++;
	b->made_up += !b->whole;
	moved(b);
}

/* ---- what the stream says --------------------------------------------------------------------- */

static void fence_all(struct bus *b, const char *reason)
{
	struct inval by = { WEIR_INVAL_BUS, reason };

	for (int i = invalidate_next(b->v, -1); i >= 0; i = invalidate_next(b->v, i))
		invalidate_service(b->v, &by, i);
	invalidate_rewarm(b->v);
}

static void begin_at(struct bus *b, const struct redis_look *look)
{
	b->at = (struct bus_position){ look->last, look->added };
	b->known = true;
	moved(b);
}

static void begin_anew(struct bus *b, const struct redis_look *look)
{
	fence_all(b, "bus-start");
	begin_at(b, look);
	say(LOG_NOTICE, "bus: %s is read from %llu-%llu on; what was held before answers no more", b->c.stream,
	    look->last.ms, look->last.seq);
}

static void lost_some(struct bus *b, const struct redis_look *look)
{
	b->counts.resets++;
	fence_all(b, "bus-gap");
	say(LOG_WARNING,
	    "bus: entries of %s are missing (%llu were added, %llu were seen; the last is %llu-%llu, %llu-%llu "
	    "was seen): all services are fenced", b->c.stream, look->added, b->at.added, look->last.ms,
	    look->last.seq, b->at.id.ms, b->at.id.seq);
	begin_at(b, look);
}

static void all_applied(struct bus *b, __u64 when_ns)
{
	if (!b->whole && b->made_up) {
		b->counts.replays++;
		say(LOG_NOTICE, "bus: %llu entries were made up for", b->made_up);
	}
	b->whole = true;
	b->made_up = 0;
	b->counts.fresh_ns = when_ns;
	limit_lease(b);
	agent_extend_lease(dp_ctl(invalidate_dp(b->v)));
}

static void on_looked(const struct redis_look *look, void *arg)
{
	struct bus *b = arg;

	if (hung_up_on_replaced(b))
		return;
	if (!b->known)
		begin_anew(b, look);
	else if (!look->whole)
		return;
	else if (b->at.added != look->added || stream_id_cmp(b->at.id, look->last))
		lost_some(b, look);
	all_applied(b, look->asked_ns);
}

/* ---- the connection --------------------------------------------------------------------------- */

static void failed(struct bus *b, const char *why)
{
	hang_up(b);
	b->counts.failures++;
	b->retry_in_ns = 2 * b->retry_in_ns < RETRY_MAX_NS ? 2 * b->retry_in_ns : RETRY_MAX_NS;
	if (!b->failure_said)
		say(LOG_WARNING, "bus: no connection to Redis: %s%s", printable(why, strlen(why)),
		    b->c.fail == BUS_PASS ? "; without it nothing is answered from the hot set before long" : "");
	b->failure_said = true;
}

static void on_down(const char *why, void *arg)
{
	failed(arg, why);
}

static void on_up(void *arg)
{
	struct bus *b = arg;

	b->counts.up = true;
	b->counts.connects++;
	b->retry_in_ns = RETRY_MIN_NS;
	b->failure_said = false;
	say(LOG_INFO, "bus: connected");
}

static void connect_now(struct bus *b)
{
	static const struct redis_ops ops = { on_position, on_entry, on_looked, on_up, on_down };
	char why[160];

	if (redis_connect(&b->link, b->event, &b->c, &ops, b, why)) {
		b->link = NULL;
		failed(b, why);
	}
}

static int on_tick(sd_event_source *s, uint64_t usec, void *arg)
{
	struct bus *b = arg;
	__u64 now = monotonic_ns();

	if (b->link && now - redis_heard_ns(b->link) > SILENT_NS)
		failed(b, "it is silent");
	if (!b->link && now >= b->retry_ns)
		connect_now(b);
	if (b->unsaved && now - b->saved_ns >= SAVE_NS)
		save(b);
	sd_event_source_set_time_relative(s, TICK_US);
	return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

/* ---- life ------------------------------------------------------------------------------------- */

static bool same_text(const char *x, const char *y)
{
	return x == y || (x && y && !strcmp(x, y));
}

static bool same_redis(const struct config_bus *x, const struct config_bus *y)
{
	return x->redis.family == y->redis.family && x->redis.port == y->redis.port && x->db == y->db &&
	       !memcmp(&x->redis.addr, &y->redis.addr, sizeof(x->redis.addr)) && !strcmp(x->stream, y->stream) &&
	       same_text(x->user, y->user) && same_text(x->password_file, y->password_file);
}

static void forget(struct bus *b)
{
	free(b->c.user);
	free(b->c.password_file);
	b->c = (struct config_bus){};
	b->known = false;
	b->counts.fresh_ns = 0;
}

static int take_config(struct bus *b, const struct config_bus *c)
{
	forget(b);
	b->c = *c;
	b->c.user = c->user ? strdup(c->user) : NULL;
	b->c.password_file = c->password_file ? strdup(c->password_file) : NULL;
	if ((c->user && !b->c.user) || (c->password_file && !b->c.password_file)) {
		forget(b);
		return -ENOMEM;
	}
	read_position(b);
	return 0;
}

/* A bus that stays what it is keeps its connection, whatever else has changed. */
int bus_begin(struct bus *b, const struct config *c)
{
	int err = 0;

	if (!same_redis(&b->c, &c->bus)) {
		bus_stop(b);
		if (c->bus.redis.family)
			err = take_config(b, &c->bus);
		else
			forget(b);
	}
	b->c.stale_ns = c->bus.stale_ns;
	b->c.fail = c->bus.fail;
	limit_lease(b);
	if (err || !is_on(b) || b->link)
		return err;
	b->retry_ns = 0;
	b->retry_in_ns = RETRY_MIN_NS;
	b->failure_said = false;
	err = sd_event_source_set_time_relative(b->tick, 0);
	return err < 0 ? err : sd_event_source_set_enabled(b->tick, SD_EVENT_ONESHOT);
}

void bus_stop(struct bus *b)
{
	sd_event_source_set_enabled(b->tick, SD_EVENT_OFF);
	redis_close(b->link);
	b->link = NULL;
	b->counts.up = false;
	b->whole = false;
	b->made_up = 0;
	if (is_on(b))
		save(b);
}

void bus_on_event(struct bus *b, bus_event_fn fn, void *arg)
{
	b->on_event = fn;
	b->on_event_arg = arg;
}

const char *bus_not_ready(const struct bus *b)
{
	if (!is_on(b) || is_fresh(b))
		return NULL;
	if (b->c.fail == BUS_SERVE)
		return b->link && b->counts.up ? "bus: what was missed is being made up for" : NULL;
	if (!b->counts.up)
		return "bus: there is no connection to Redis";
	return "bus: what was missed is being made up for";
}

const struct bus_counts *bus_counts(const struct bus *b)
{
	return is_on(b) ? &b->counts : NULL;
}

int bus_new(struct bus **out, sd_event *event, struct invalidate *v)
{
	struct bus *b = calloc(1, sizeof(*b));
	int err;

	if (!b)
		return -ENOMEM;
	b->event = event;
	b->v = v;
	err = sd_event_add_time(event, &b->tick, CLOCK_MONOTONIC, 0, 10000, on_tick, b);
	if (err >= 0)
		err = sd_event_source_set_enabled(b->tick, SD_EVENT_OFF);
	if (err < 0) {
		bus_free(b);
		return err;
	}
	*out = b;
	return 0;
}

void bus_free(struct bus *b)
{
	if (!b)
		return;
	if (b->tick)
		bus_stop(b);
	sd_event_source_disable_unref(b->tick);
	forget(b);
	free(b);
}
