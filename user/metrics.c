/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The list of metrics, and those of Weir as a whole: interfaces, lease, agent, hot set. metrics_traffic.c has
 * those of services, pools and flows.
 */
#include "metrics.h"

#include <errno.h>
#include <float.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "backends.h"
#include "metrics_build.h"
#include "nic.h"
#include "out.h"

#define SAMPLE_BUCKETS (1U << 17)     /* of the hot set's index, about a million slots: 0.1 s */

/* ---- the list --------------------------------------------------------------------------------- */

static const struct metric_family families[FAMILY_COUNT] = {
#define FAMILY(id, name_, type_, unit_, help_) \
	[FAMILY_##id] = {.name = name_, .help = help_, .unit = unit_, .type = METRIC_##type_},
	METRIC_FAMILIES(FAMILY)};

void metrics_free(struct metrics *ms)
{
	if (!ms)
		return;
	for (unsigned i = 0; i < ms->n; i++)
		free(ms->families[i].samples);
	for (unsigned i = 0; i < ms->nstrings; i++)
		free(ms->strings[i]);
	for (unsigned i = 0; i < ms->nhists; i++)
		free(ms->hists[i]);
	free(ms->families);
	free(ms->strings);
	free(ms->hists);
	free(ms);
}

static struct metrics *new_list(void)
{
	struct metrics *ms = calloc(1, sizeof(*ms));

	if (!ms)
		return NULL;
	ms->families = malloc(sizeof(families));
	if (!ms->families) {
		free(ms);
		return NULL;
	}
	memcpy(ms->families, families, sizeof(families));
	ms->n = FAMILY_COUNT;
	/* Backends are many: theirs have half as many bounds. */
	ms->families[FAMILY_LATENCY].halves = true;
	for (int i = FAMILY_IFACE_RX_BYTES; i <= FAMILY_IFACE_TX_PACKETS; i++)
		ms->families[i].foreign = true;
	return ms;
}

/* The next element of a list that grows; NULL after an error. */
static void *grow(struct build *b, void *list, unsigned *n, unsigned *room, size_t size)
{
	void **at = list, *more;

	if (b->err)
		return NULL;
	if (*n == *room) {
		more = realloc(*at, (*room ? 2 * *room : 4) * size);
		if (!more) {
			b->err = -ENOMEM;
			return NULL;
		}
		*at = more;
		*room = *room ? 2 * *room : 4;
	}
	return (char *)*at + (*n)++ * size;
}

const char *build_text(struct build *b, const char *text, size_t len)
{
	char *copy = strdup(printable(text, strnlen(text, len)));
	char **at = copy ? grow(b, &b->ms->strings, &b->ms->nstrings, &b->ms->strings_room, sizeof(copy)) : NULL;

	if (!copy && !b->err)
		b->err = -ENOMEM;
	if (!at) {
		free(copy);
		return "";
	}
	return *at = copy;
}

static struct metric_sample *add(struct build *b, enum family_id id, va_list ap)
{
	struct metric_family *f = &b->ms->families[id];
	struct metric_sample *s = grow(b, &f->samples, &f->n, &f->room, sizeof(*s));
	const char *name;

	if (!s)
		return NULL;
	memset(s, 0, sizeof(*s));
	while ((name = va_arg(ap, const char *)) && s->nlabels < METRIC_LABELS_MAX) {
		s->labels[s->nlabels].name = name;
		s->labels[s->nlabels++].value = va_arg(ap, const char *);
	}
	return s;
}

void build_add(struct build *b, enum family_id id, double value, ...)
{
	struct metric_sample *s;
	va_list ap;

	va_start(ap, value);
	s = add(b, id, ap);
	va_end(ap);
	if (s)
		s->value = value;
}

void build_add_hist(struct build *b, enum family_id id, const struct weir_histogram *h, ...)
{
	struct weir_histogram *copy = malloc(sizeof(*copy));
	struct weir_histogram **at =
		copy ? grow(b, &b->ms->hists, &b->ms->nhists, &b->ms->hists_room, sizeof(copy)) : NULL;
	struct metric_sample *s;
	va_list ap;

	if (!copy && !b->err)
		b->err = -ENOMEM;
	if (!at) {
		free(copy);
		return;
	}
	*copy = *h;
	*at = copy;
	va_start(ap, h);
	s = add(b, id, ap);
	va_end(ap);
	if (s)
		s->hist = copy;
}

const char *metrics_full_name(const struct metric_family *f)
{
	static char name[128];

	snprintf(name, sizeof(name), "%s%s", f->name,
		 f->type == METRIC_COUNTER ? "_total" : f->type == METRIC_INFO ? "_info" : "");
	return name;
}

/* Most numbers are some: a large /metrics has hundreds of thousands, and printf() takes its time for each. */
static const char *integer(__s64 value, char text[32])
{
	__u64 left = value < 0 ? -value : value;
	char *at = text + 31;

	*at = 0;
	do
		*--at = '0' + left % 10;
	while (left /= 10);
	if (value < 0)
		*--at = '-';
	return at;
}

/*
 * Of a double that is normal, 15 digits are enough or too few for any text of at most 15 that reads back the same,
 * and "%g" leaves out its zeroes; fewer need not be tried.
 */
const char *metrics_number(double value, char text[32])
{
	if (isnan(value))
		return "NaN";
	if (isinf(value))
		return value > 0 ? "+Inf" : "-Inf";
	if (fabs(value) < 1e17 && value == (__s64)value)
		return integer(value, text);
	for (int digits = isnormal(value) ? DBL_DIG : 1; digits <= DBL_DECIMAL_DIG; digits++) {
		snprintf(text, 32, "%.*g", digits, value);
		if (strtod(text, NULL) == value)
			break;
	}
	return text;
}

/* ---- interfaces ------------------------------------------------------------------------------- */

static double link_speed(const char *name) /* bytes a second; 0: not known */
{
	struct ethtool_cmd cmd = {.cmd = ETHTOOL_GSET};
	struct ifreq ifr = {.ifr_data = (void *)&cmd};
	__u32 mbits = nic_ioctl(name, SIOCETHTOOL, &ifr) ? 0 : ethtool_cmd_speed(&cmd);

	return mbits == (__u32)SPEED_UNKNOWN ? 0 : mbits * 1e6 / 8;
}

/* Of the link, whatever Weir has of it. */
static void collect_link(struct build *b, const struct weir_ctl_iface *ci, const char *name)
{
	double speed = link_speed(ci->name);
	struct nic_traffic t;

	if (speed > 0)
		build_add(b, FAMILY_IFACE_SPEED, speed, "interface", name, NULL);
	if (nic_traffic(ci->ifindex, &t))
		return;
	build_add(b, FAMILY_IFACE_RX_BYTES, t.rx_bytes, "interface", name, NULL);
	build_add(b, FAMILY_IFACE_TX_BYTES, t.tx_bytes, "interface", name, NULL);
	build_add(b, FAMILY_IFACE_RX_PACKETS, t.rx_packets, "interface", name, NULL);
	build_add(b, FAMILY_IFACE_TX_PACKETS, t.tx_packets, "interface", name, NULL);
}

static void collect_iface(struct build *b, const struct weir_ctl_iface *ci, bool elsewhere)
{
	const char *name = build_text(b, ci->name, sizeof(ci->name));
	bool dispatcher = ci->flags & WEIR_IF_DISPATCHER;
	struct dp_iface_state st = {};
	unsigned mode = ci->mode;

	if (!elsewhere && !dp_iface_state(b->dp, ci, &st)) {
		mode = st.mode ?: mode;
		dispatcher = st.attached ? st.dispatcher : dispatcher;
		build_add(b, FAMILY_IFACE_ATTACHED, st.attached, "interface", name, NULL);
	}
	build_add(b, FAMILY_IFACE, 1, "interface", name, "mode", mode == WEIR_MODE_GENERIC ? "generic" : "native",
		  "dispatcher", dispatcher ? "yes" : "no", NULL);
	if (st.present)
		collect_link(b, ci, name);
}

static void collect_ifaces(struct build *b)
{
	bool elsewhere = dp_elsewhere(b->dp);

	for (int i = 0; i < WEIR_IFACES_MAX; i++) {
		if (b->ctl->ifaces[i].ifindex)
			collect_iface(b, &b->ctl->ifaces[i], elsewhere);
	}
}

/* ---- lease and agent -------------------------------------------------------------------------- */

static double seconds(__u64 ns)
{
	return ns / 1e9;
}

static __u64 since(const struct build *b, __u64 then)
{
	return b->now > then ? b->now - then : 0;
}

static void collect_lease(struct build *b)
{
	__u64 deadline = __atomic_load_n(&b->ctl->lease_deadline_ns, __ATOMIC_RELAXED), seen = b->ctl->agent_ns;
	__u64 left = deadline > b->now ? deadline - b->now : 0;

	build_add(b, FAMILY_LEASE_VALID, left > 0, NULL);
	if (deadline != WEIR_NEVER) {
		build_add(b, FAMILY_LEASE_AGE, seconds(since(b, seen)), NULL);
		build_add(b, FAMILY_LEASE_LEFT, seconds(left), NULL);
	}
	if (seen)
		build_add(b, FAMILY_AGENT_SEEN, seconds(since(b, seen)), NULL);
	if (!b->agent)
		build_add(b, FAMILY_AGENT_UP, agent_is_here(b->ctl), NULL);
}

static void collect_agent(struct build *b)
{
	const struct metrics_agent *a = b->agent;

	build_add(b, FAMILY_AGENT_UP, 1, NULL);
	build_add(b, FAMILY_AGENT_START, a->up_since, NULL);
	build_add(b, FAMILY_AGENT_RELOADS, a->reloads, "result", "ok", NULL);
	build_add(b, FAMILY_AGENT_RELOADS, a->reload_failures, "result", "failed", NULL);
	build_add(b, FAMILY_AGENT_CHECKS, a->checks_ok, "result", "ok", NULL);
	build_add(b, FAMILY_AGENT_CHECKS, a->checks_failed, "result", "failed", NULL);
	build_add(b, FAMILY_AGENT_SLOW, a->slow_flows, NULL);
	build_add(b, FAMILY_AGENT_REQUESTS, a->http_requests, NULL);
	build_add(b, FAMILY_AGENT_ERRORS, a->http_errors, NULL);
	if (a->hot)
		collect_fills(b, a->hot);
	collect_bus(b);
}

/* ---- the hot set ------------------------------------------------------------------------------ */

/* Lines of the slot that a word of the index names. It may be another's by now: that is a line more or less. */
static unsigned lines_of(const struct hotset_mem *m, __u64 word)
{
	__u32 slab = (__u32)word >> 10, line = word & (WEIR_SLAB_LINES - 1);

	return slab < m->ctl->slabs ? ((struct weir_slot *)(m->slabs[slab].bytes + line * WEIR_LINE))->lines : 0;
}

/* Every bucket, or of a large index as many as take no noticeable time, spread over it: keys lie by their hash. */
static void collect_cache(struct build *b)
{
	const struct hotset_mem *m = dp_hotset_mem(b->dp);
	__u32 buckets = b->ctl->index_buckets, step = buckets > SAMPLE_BUCKETS ? buckets / SAMPLE_BUCKETS : 1;
	__u64 keys = 0, lines = 0;

	for (__u32 i = 0; i < buckets; i += step) {
		for (int w = 0; w < WEIR_BUCKET_WORDS; w++) {
			__u64 word = __atomic_load_n(&m->index[i].word[w], __ATOMIC_ACQUIRE);

			keys += !!word;
			lines += word ? lines_of(m, word) : 0;
		}
	}
	build_add(b, FAMILY_CACHE_ENTRIES, keys * step, NULL);
	build_add(b, FAMILY_CACHE_CAPACITY, b->ctl->entries, NULL);
	build_add(b, FAMILY_CACHE_MEMORY, (double)b->ctl->slabs * WEIR_SLAB_LINES * WEIR_LINE, NULL);
	build_add(b, FAMILY_CACHE_USED, (double)lines * step * WEIR_LINE, NULL);
}

static bool has_cache(const struct weir_ctl *ctl)
{
	for (int i = 0; i < WEIR_SERVICES_MAX; i++) {
		if (*ctl->services[i].name && ctl->services[i].flags & WEIR_SVC_CACHE)
			return true;
	}
	return false;
}

/* ---- all -------------------------------------------------------------------------------------- */

static void collect_loaded(struct build *b)
{
	build_add(b, FAMILY_LOADED_AT, b->ctl->loaded_at, NULL);
	build_add(b, FAMILY_GENERATION, b->ctl->generation, NULL);
	build_add(b, FAMILY_CONFIG_DRIFT, count_by_hand(dp_pools(b->dp)), NULL);
	collect_ifaces(b);
	collect_lease(b);
	if (has_cache(b->ctl))
		collect_cache(b);
	collect_invalidations(b);
	if (b->agent && b->agent->hot) {
		collect_promotion(b);
		collect_policies(b);
	}
	collect_traffic(b);
}

int metrics_collect(struct metrics **out, struct dataplane *dp, const struct metrics_agent *agent)
{
	struct build b = {.ms = new_list(), .dp = dp, .agent = agent, .now = monotonic_ns()};
	char abi[16];

	if (!b.ms)
		return -ENOMEM;
	snprintf(abi, sizeof(abi), "%d", WEIR_ABI_VERSION);
	build_add(&b, FAMILY_UP, dp != NULL, NULL);
	build_add(&b, FAMILY_BUILD, 1, "version", WEIR_VERSION, "abi", build_text(&b, abi, sizeof(abi)), NULL);
	if (agent)
		collect_agent(&b);
	if (dp) {
		b.ctl = dp_ctl(dp);
		collect_loaded(&b);
	}
	if (b.err) {
		metrics_free(b.ms);
		return b.err;
	}
	*out = b.ms;
	return 0;
}
