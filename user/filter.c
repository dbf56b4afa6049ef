/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "filter.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* ---- words ------------------------------------------------------------------------------------ */

struct why {
	char *text;
	size_t len;
};

static int bad(const struct why *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int bad(const struct why *w, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(w->text, w->len, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static const struct {
	const char *name;
	unsigned states;
} state_words[] = {
	{"open", 1 << WEIR_FLOW_TCP},
	{"half-open", 1 << WEIR_FLOW_SYN},
	{"closing", 1 << WEIR_FLOW_FIN_C | 1 << WEIR_FLOW_FIN_B},
	{"closed", 1 << WEIR_FLOW_CLOSED},
	{"udp", 1 << WEIR_FLOW_UDP},
	{"found", 1 << WEIR_FLOW_FOUND},
	{"resting", 1 << WEIR_FLOW_RESTING},
	{"reset", 1 << WEIR_FLOW_RESET},
};
#define STATE_WORDS (sizeof(state_words) / sizeof(state_words[0]))

const char *flow_state_name(unsigned state)
{
	for (unsigned i = 0; i < STATE_WORDS; i++) {
		if (state < 32 && state_words[i].states >> state & 1)
			return state_words[i].name;
	}
	return "unknown";
}

/* ---- values ----------------------------------------------------------------------------------- */

static int read_name(const char **name, const char *value, const struct why *w)
{
	*name = value;
	return *value ? 0 : bad(w, "a name is missing");
}

static int read_backend(struct filter *f, const char *value, const struct why *w)
{
	return read_name(&f->backend, value, w);
}

static int read_pool(struct filter *f, const char *value, const struct why *w)
{
	return read_name(&f->pool, value, w);
}

static int read_service(struct filter *f, const char *value, const struct why *w)
{
	return read_name(&f->service, value, w);
}

/* One of the two last groups of what flow_client_text() prints of IPv6; end is set behind it. */
static bool read_group(const char *s, __u32 *n, const char **end)
{
	size_t len = strspn(s, "0123456789abcdefABCDEF");

	*n = strtoul(s, NULL, 16);
	*end = s + len;
	return len >= 1 && len <= 4;
}

static bool read_tail(const char *value, struct weir_net *net)
{
	__u32 high, low;

	if (strncmp(value, "*:", 2) || !read_group(value + 2, &high, &value) || *value != ':' ||
	    !read_group(value + 1, &low, &value) || *value)
		return false;
	*net = (struct weir_net){.addr.w[3] = htonl(high << 16 | low), .mask.w[3] = ~0U};
	return true;
}

static int read_client(struct filter *f, const char *value, const struct why *w)
{
	char net[64];
	int err;

	f->client_family = 6;
	f->by_client = read_tail(value, &f->client);
	if (f->by_client)
		return 0;
	err = parse_net(value, &f->client, &f->client_family);
	if (err == -EDOM) {
		format_net(&f->client, f->client_family, net, sizeof(net));
		return bad(w, "it is an address in %s, not a network", net);
	}
	if (err)
		return bad(w, "it is no address or network, as in 10.7.0.0/16, fd00::1 or *:1234:5678");
	if (f->client_family == 6 && !f->client.mask.w[3])
		return bad(w,
			   "of IPv6 clients only the last 32 bits are known, which this network leaves open");
	f->by_client = true;
	return 0;
}

static int read_port(struct filter *f, const char *value, const struct why *w)
{
	size_t len = strspn(value, "0123456789");
	unsigned long n = len && len <= 5 && !value[len] ? strtoul(value, NULL, 10) : 0;

	if (!n || n > 65535)
		return bad(w, "a port is 1 to 65535");
	f->port = htons(n);
	return 0;
}

static int read_state(struct filter *f, const char *value, const struct why *w)
{
	for (unsigned i = 0; i < STATE_WORDS; i++) {
		if (!strcmp(value, state_words[i].name)) {
			f->states = state_words[i].states;
			return 0;
		}
	}
	return bad(w, "a state is open, half-open, closing, closed, udp, found, resting or reset");
}

static int read_family(struct filter *f, const char *value, const struct why *w)
{
	f->family = !strcmp(value, "4") ? 4 : !strcmp(value, "6") ? 6 : 0;
	return f->family ? 0 : bad(w, "a family is 4 or 6");
}

static int read_proto(struct filter *f, const char *value, const struct why *w)
{
	f->proto = !strcmp(value, "tcp") ? IPPROTO_TCP : !strcmp(value, "udp") ? IPPROTO_UDP : 0;
	return f->proto ? 0 : bad(w, "a protocol is tcp or udp");
}

static int read_idle(__u64 *ns, const char *value, const struct why *w)
{
	if (parse_duration(value, ns) || *ns == WEIR_NEVER)
		return bad(w, "a duration is missing, as in 90s, 5m, 1h30m");
	return 0;
}

static int read_idle_above(struct filter *f, const char *value, const struct why *w)
{
	return read_idle(&f->idle_above, value, w);
}

static int read_idle_below(struct filter *f, const char *value, const struct why *w)
{
	return read_idle(&f->idle_below, value, w);
}

/* ---- the filter ------------------------------------------------------------------------------- */

static const struct {
	const char *name; /* with what stands before the value */
	int (*read)(struct filter *f, const char *value, const struct why *w);
} keys[] = {
	{"backend=", read_backend}, {"pool=", read_pool},   {"service=", read_service},
	{"client=", read_client},   {"port=", read_port},   {"state=", read_state},
	{"family=", read_family},   {"proto=", read_proto}, {"idle>", read_idle_above},
	{"idle<", read_idle_below},
};

static bool is_given(const struct filter *f, unsigned key)
{
	const bool given[] = {f->backend,         f->pool,           f->service,     f->by_client,
			      f->port != 0,       f->states != 0,    f->family != 0, f->proto != 0,
			      f->idle_above != 0, f->idle_below != 0};

	_Static_assert(sizeof(given) == sizeof(keys) / sizeof(keys[0]), "a key without its mark");
	return given[key];
}

void filter_init(struct filter *f)
{
	memset(f, 0, sizeof(*f));
	f->svc = -1;
}

int filter_add(struct filter *f, const char *word, char *text, size_t len)
{
	const struct why w = {text, len};

	for (unsigned i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		size_t n = strlen(keys[i].name);

		if (strncmp(word, keys[i].name, n))
			continue;
		return is_given(f, i) ? bad(&w, "%.*s is there twice", (int)n - 1, word)
				      : keys[i].read(f, word + n, &w);
	}
	return bad(&w,
		   "a filter is backend=NAME, pool=NAME, service=NAME, client=ADDRESS, port=N, state=STATE, "
		   "family=4, proto=tcp, idle>DURATION or idle<DURATION");
}

/* Of IPv6 clients only the last word is known. */
static bool is_client(const struct filter *f, const struct flow_seen *flow)
{
	const struct weir_net *net = &f->client;

	if ((int)flow->family != f->client_family)
		return false;
	if (flow->family == 6)
		return (flow->client.w[3] & net->mask.w[3]) == net->addr.w[3];
	return (flow->client.w[0] & net->mask.w[0]) == net->addr.w[0];
}

bool filter_match(const struct filter *f, const struct flow_seen *flow)
{
	if (f->backends && (flow->backend >= WEIR_BACKENDS_MAX || !f->backends[flow->backend]))
		return false;
	if ((f->svc >= 0 && (int)flow->svc != f->svc) || (f->by_client && !is_client(f, flow)))
		return false;
	if ((f->port && flow->port != f->port) || (f->states && !(f->states >> flow->state & 1)))
		return false;
	if ((f->family && flow->family != f->family) || (f->proto && (f->proto == IPPROTO_TCP) != flow->tcp))
		return false;
	return (!f->idle_above || flow->idle_ns > f->idle_above) &&
	       (!f->idle_below || flow->idle_ns < f->idle_below);
}

const char *flow_client_text(const struct flow_seen *flow, char *text, size_t len)
{
	__u32 last = ntohl(flow->client.w[3]);

	if (flow->family != 6)
		inet_ntop(AF_INET, &flow->client, text, len);
	else
		snprintf(text, len, "*:%x:%x", last >> 16, last & 0xffff);
	return text;
}

const char *flow_client_port(const struct flow_seen *flow, char *text, size_t len)
{
	char address[INET6_ADDRSTRLEN];

	snprintf(text, len, flow->family == 6 ? "[%s]:%u" : "%s:%u",
		 flow_client_text(flow, address, sizeof(address)), ntohs(flow->port));
	return text;
}
