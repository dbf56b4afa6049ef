// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "policy_surge.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DAY	   86400
#define QUARTER	   (DAY / SURGE_SLOTS)
#define FAST	   10 /* seconds */
#define SLOW	   3600
#define DAYS	   0.3	 /* what a day changes of what is usual */
#define YOUNG	   30	 /* seconds until there is something to compare with */
#define LEAST_RATE 10.0	 /* below it nothing needs to be warmed */
#define RATE_MAX   1e12
#define FORMAT	   "weir-usual-1"

void surge_begin(struct surge *s)
{
	*s = (struct surge){ .slot = -1 };
	for (int i = 0; i < SURGE_SLOTS; i++)
		s->usual[i] = -1;
}

/* A quarter of which little was seen says nothing. */
static void close_slot(struct surge *s)
{
	double *usual = &s->usual[s->slot];
	double mean = s->seconds ? s->sum / s->seconds : 0;

	if (s->seconds >= QUARTER / 3)
		*usual = *usual < 0 ? mean : *usual + DAYS * (mean - *usual);
	s->sum = s->seconds = 0;
}

static double smooth(double mean, double n, __u64 seen, unsigned over)
{
	return mean + (n - mean) / (seen < over ? seen + 1 : over);
}

/* The time before there was any traffic is not what is usual. */
void surge_second(struct surge *s, double n, unsigned second_of_day)
{
	int slot = second_of_day % DAY / QUARTER;

	if (!s->seen && !(n > 0))
		return;
	if (s->slot >= 0 && slot != s->slot)
		close_slot(s);
	s->slot = slot;
	s->sum += n;
	s->seconds++;
	s->rate = smooth(s->rate, n, s->seen++, FAST);
	s->slow = smooth(s->slow, n, s->age++, SLOW);
}

double surge_usual(const struct surge *s)
{
	double now, next;

	if (s->slot < 0)
		return -1;
	now = s->usual[s->slot];
	next = s->usual[(s->slot + 1) % SURGE_SLOTS];
	if (now >= 0)
		return now > next ? now : next;
	return s->age < YOUNG ? -1 : s->slow;
}

bool surge_now(const struct surge *s, unsigned above)
{
	double usual = surge_usual(s);

	return usual >= 0 && s->seen >= FAST && s->rate >= LEAST_RATE && s->rate > usual * (1 + above / 100.0);
}

/* ---- as text ---------------------------------------------------------------------------------- */

size_t surge_write(const struct surge *s, const char *whose, __u64 now, char *text, size_t room)
{
	size_t len = snprintf(text, room, FORMAT " %s %llu %.6g %llu", whose, now, s->slow, s->age);

	for (int i = 0; i < SURGE_SLOTS && len < room; i++)
		len += snprintf(text + len, room - len, s->usual[i] < 0 ? " -" : " %.6g", s->usual[i]);
	if (len < room)
		len += snprintf(text + len, room - len, " end\n");
	return len < room ? len : 0;
}

static bool word(const char **text, char to[64])
{
	int len = 0;

	if (sscanf(*text, "%63s%n", to, &len) != 1)
		return false;
	*text += len;
	return true;
}

/* Digits first: strtod() takes "nan", "inf" and "0x1p9", too. */
static bool rate(const char *text, double *n)
{
	char *end;

	if (strspn(text, "0123456789.e+-") != strlen(text) || *text < '0' || *text > '9')
		return false;
	*n = strtod(text, &end);
	return !*end && isfinite(*n) && *n <= RATE_MAX;
}

static bool read_slots(struct surge *s, const char **text)
{
	char w[64];

	for (int i = 0; i < SURGE_SLOTS; i++) {
		if (!word(text, w))
			return false;
		if (strcmp(w, "-") && !rate(w, &s->usual[i]))
			return false;
	}
	return word(text, w) && !strcmp(w, "end");
}

bool surge_read(struct surge *s, const char *whose, __u64 now, const char *text)
{
	char of[64], format[64], w[3][64];
	double then, age;
	struct surge r;

	surge_begin(&r);
	if (!word(&text, format) || strcmp(format, FORMAT) || !word(&text, of) || strcmp(of, whose))
		return false;
	if (!word(&text, w[0]) || !rate(w[0], &then) || !word(&text, w[1]) || !rate(w[1], &r.slow) ||
	    !word(&text, w[2]) || !rate(w[2], &age) || !read_slots(&r, &text))
		return false;
	r.age = age;
	if (now < then || now - then > SLOW)
		r.slow = r.age = 0;
	*s = r;
	return true;
}
