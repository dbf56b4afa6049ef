/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Metrics as StatsD lines: weir.packets.SERVICE.REASON:12|c. Labels are parts of the name, in their order; there
 * is no other way that all servers know.
 */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <string.h>

#include "latency.h"
#include "metrics.h"

struct statsd {
	FILE *f;
	const struct metrics *ms, *before;
	const char *prefix;
	unsigned mtu, used; /* of the datagram */
	int err;
};

/* ---- lines ------------------------------------------------------------------------------------ */

/* One part of a name: dots, and what means something in a line or to a file system, are replaced. */
static void put_part(char *name, size_t len, const char *part)
{
	size_t at = strlen(name);

	if (!*part)
		part = "_none";
	for (name += at; *part && at + 2 < len; part++, at++)
		*name++ = isalnum((unsigned char)*part) || *part == '-' ? *part : '_';
	*name = 0;
}

static void put_name(const struct statsd *d, const struct metric_family *m, const struct metric_sample *s,
		     char name[512])
{
	snprintf(name, 512, "%.100s.%s", d->prefix, strncmp(m->name, "weir_", 5) ? m->name : m->name + 5);
	for (unsigned i = 0; i < s->nlabels; i++) {
		strcat(name, ".");
		put_part(name, 510, s->labels[i].value);
	}
}

/* Without an exponent, which not every server reads; to a nanosecond. */
static const char *plain(double value, char text[40])
{
	size_t len;

	if (value == rint(value) || fabs(value) >= 1e17)
		return metrics_number(value, text);
	len = snprintf(text, 40, "%.9f", value);
	while (text[len - 1] == '0')
		text[--len] = 0;
	if (text[len - 1] == '.')
		text[--len] = 0;
	return text;
}

static void put_line(struct statsd *d, const char *name, const char *suffix, double value, char type)
{
	char number[40], line[640];
	unsigned len;

	if (!isfinite(value))
		return;
	len = snprintf(line, sizeof(line), "%s%s:%s|%c\n", name, suffix, plain(value, number), type);
	if (len > d->mtu) {
		d->err = -EMSGSIZE;
		return;
	}
	if (d->used + len > d->mtu) {
		putc('\n', d->f);
		d->used = 0;
	}
	fputs(line, d->f);
	d->used += len;
}

/* Of an interval without values there is nothing to say: the last gauges stay. */
static void put_histogram(struct statsd *d, const char *name, const struct weir_histogram *h)
{
	char suffix[16];

	if (!latency_count(h))
		return;
	put_line(d, name, ".count", latency_count(h), 'c');
	for (unsigned i = 0; i < METRICS_QUANTILES; i++) {
		snprintf(suffix, sizeof(suffix), ".%s", metrics_quantiles[i].name);
		put_line(d, name, suffix, latency_quantile(h, metrics_quantiles[i].q) / 1e9, 'g');
	}
}

static void put_sample(struct statsd *d, const struct metric_family *m, unsigned place)
{
	struct weir_histogram h;
	char name[512];
	double added;

	put_name(d, m, &m->samples[place], name);
	switch (m->type) {
	case METRIC_HISTOGRAM:
		metrics_added_hist(d->ms, d->before, m, place, &h);
		put_histogram(d, name, &h);
		break;
	case METRIC_COUNTER:
		added = metrics_added(d->ms, d->before, m, place);
		if (added > 0)
			put_line(d, name, "", added, 'c');
		break;
	case METRIC_GAUGE:
		put_line(d, name, "", m->samples[place].value, 'g');
		break;
	case METRIC_INFO:
		break;
	}
}

int metrics_statsd(FILE *f, const struct metrics *ms, const struct metrics *before, const char *prefix,
		   unsigned mtu)
{
	struct statsd d = {.f = f, .ms = ms, .before = before, .prefix = prefix, .mtu = mtu};

	errno = 0;
	for (unsigned i = 0; i < ms->n; i++) {
		for (unsigned k = 0; k < ms->families[i].n; k++)
			put_sample(&d, &ms->families[i], k);
	}
	return ferror(f) ? -(errno ?: EIO) : d.err;
}
