// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "why.h"

#include <string.h>

#include "weir/reason.h"

/* ---- the agent's part ------------------------------------------------------------------------- */

static json_t *json_needs(__u64 n)
{
	return n == WEIR_NEVER ? json_null() : json_integer(n);
}

json_t *why_promotion(const struct config_promote *how, const struct admit_why *w, __u32 sample, __u64 now_ns)
{
	bool known = w->held || w->asked;
	__u64 left = w->until_ns > now_ns ? w->until_ns - now_ns : 0;
	json_t *doc = json_pack("{s:i, s:f, s:i, s:i, s:I, s:I}", "min_hits", (int)how->min_hits,
				"window_seconds", how->window_ns / 1e9, "top", (int)how->top, "sample",
				(int)sample, "held", (json_int_t)w->nheld, "room", (json_int_t)w->room);

	json_object_set_new(doc, "state", json_string(w->held ? "held" : w->asked ? "asked" : "out"));
	json_object_set_new(doc, "since_seconds",
			    known ? json_real((now_ns - w->since_ns) / 1e9) : json_null());
	json_object_set_new(doc, "hits", w->held ? json_integer(w->hits) : json_null());
	json_object_set_new(doc, "misses", json_integer(w->misses));
	json_object_set_new(doc, "misses_over", json_integer(w->over));
	json_object_set_new(doc, "writes", w->held ? json_integer(w->writes) : json_null());
	json_object_set_new(doc, "needs", json_needs(w->needs));
	json_object_set_new(doc, "rank", json_integer(w->rank));
	json_object_set_new(doc, "denied",
			    w->deny ? json_string(printable(w->deny, strlen(w->deny))) : json_null());
	json_object_set_new(doc, "refused",
			    w->refused ? json_string(admit_refusal_name(w->refusal)) : json_null());
	json_object_set_new(doc, "refused_seconds",
			    w->refused ? json_real(left / 1e9) : json_null());
	return doc;
}

/* ---- what the maps tell ----------------------------------------------------------------------- */

static json_t *of_slot(const struct session *s, const struct weir_slot *slot)
{
	__u64 now = monotonic_ns(), ends = slot->expires_ns;
	__u64 left = ends == WEIR_NEVER ? WEIR_NEVER : ends > now ? ends - now : 0;
	bool counted = s->ctl->hit_entries && slot->entry < s->ctl->hit_entries;

	return json_pack("{s:s, s:s, s:I, s:o, s:o}", "state",
			 hotset_state_name(hotset_state(s->hot, slot, now)), "by",
			 slot->flags & WEIR_SLOT_PROMOTED ? "promotion" : "others", "value_bytes",
			 (json_int_t)slot->value_len, "ttl_seconds", json_seconds(left), "hits",
			 counted ? json_integer(hotset_hits(s->hot, slot)) : json_null());
}

static json_t *document(const struct session *s, unsigned svc, const char *key, size_t len)
{
	const struct weir_slot *slot = hotset_key_ok(key, len) ? hotset_find(s->hot, svc, key, len) : NULL;
	__u64 write = hotset_last_write(s->hot, svc, key, len), now = monotonic_ns();
	json_t *doc = json_pack("{s:s#, s:o}", "service", s->ctl->services[svc].name,
				(int)strnlen(s->ctl->services[svc].name, WEIR_NAME_MAX), "copy",
				slot ? of_slot(s, slot) : json_null());

	json_set_bytes(doc, "key", key, len);
	json_object_set_new(doc, "last_write_seconds",
			    write ? json_real(now > write ? (now - write) / 1e9 : 0) : json_null());
	return doc;
}

/* ---- the verdict ------------------------------------------------------------------------------ */

static const char *text_of(const json_t *doc, const char *field)
{
	return json_string_value(json_object_get(doc, field));
}

static json_int_t number_of(const json_t *doc, const char *field)
{
	return json_integer_value(json_object_get(doc, field));
}

static const char *duration_of(const json_t *doc, const char *field)
{
	return human_duration(json_number_value(json_object_get(doc, field)) * 1e9);
}

struct verdict {
	const char *word;
	char says[320];
};

#define SAY(v, name, ...) ((v)->word = (name), (void)snprintf((v)->says, sizeof((v)->says), __VA_ARGS__))

static void of_copy(struct verdict *v, const char *state)
{
	if (!strcmp(state, "hit"))
		SAY(v, "held", "it is held, and answered");
	else if (!strcmp(state, "fenced"))
		SAY(v, "fenced",
		    "it is held, but a write came after it was fetched: lookups pass until it is fetched "
		    "again");
	else
		SAY(v, "expired", "it is held, but its time is over: lookups pass until it is fetched again");
}

static void of_refusal(struct verdict *v, const char *reason, const char *left)
{
	static const struct {
		const char *reason, *says;
	} words[] = {
		{"too_large", "its value is longer than value_max, or than a datagram"},
		{"too_volatile", "it is written more often than it would be answered"},
		{"missing", "the origin does not have it, or not for long"},
		{"full", "the hot set has no room"},
		{"origin_error", "the origin cannot be asked"},
		{"dropped", "it was dropped while it was fetched"},
	};
	const char *says = reason;

	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (!strcmp(words[i].reason, reason))
			says = words[i].says;
	SAY(v, reason, "%s: it stays out for %s", says, left);
}

static void of_counts(struct verdict *v, const json_t *p)
{
	json_int_t needs = number_of(p, "needs"), has = number_of(p, "misses");
	const char *window = duration_of(p, "window_seconds");
	bool full = number_of(p, "held") >= number_of(p, "room");

	if (json_is_null(json_object_get(p, "needs")))
		SAY(v, "no_room",
		    "no held key can give way now: the hot set is full, or the next look decides it");
	else if (has >= needs)
		SAY(v, "next", "it is fetched when the next of its misses is sampled");
	else if (full)
		SAY(v, "not_hot_enough",
		    "the %s keys that are held are asked for more: it needs %s lookups within %s",
		    human_count(number_of(p, "held")), human_count(needs), window);
	else
		SAY(v, "too_few", "it needs %s lookups within %s, %s more", human_count(needs), window,
		    human_count(needs - has));
}

static void judge(struct verdict *v, const json_t *doc, const json_t *p, const char *unknown)
{
	const char *copy = text_of(json_object_get(doc, "copy"), "state"), *key = text_of(doc, "key");

	if (copy)
		of_copy(v, copy);
	else if (!key || !hotset_key_ok(key, strlen(key)))
		SAY(v, "no_key",
		    "the hot set holds no such key: 1 to %d bytes, no space or control character",
		    WEIR_KEY_MAX);
	else if (!p)
		SAY(v, "not_known", "what misses say is not known: %s", unknown);
	else if (json_is_null(p))
		SAY(v, "no_promotion",
		    "the service has no `promote`: a list, `weir cache put` or a policy would bring it in");
	else if (text_of(p, "denied"))
		SAY(v, "denied", "`deny` has its beginning, '%.80s'", text_of(p, "denied"));
	else if (!strcmp(text_of(p, "state") ?: "", "asked"))
		SAY(v, "asked", "the origin is asked for it");
	else if (text_of(p, "refused"))
		of_refusal(v, text_of(p, "refused"), duration_of(p, "refused_seconds"));
	else
		of_counts(v, p);
}

/* ---- in words --------------------------------------------------------------------------------- */

static void print_copy(const json_t *copy)
{
	const json_t *ttl = json_object_get(copy, "ttl_seconds");

	if (json_is_null(copy)) {
		printf("held     no\n");
		return;
	}
	printf("held     yes (%s), brought by %s, %s bytes, ", text_of(copy, "state"), text_of(copy, "by"),
	       human_count(number_of(copy, "value_bytes")));
	if (json_is_null(ttl))
		printf("does not expire\n");
	else
		printf("ttl %s\n", human_duration(json_number_value(ttl) * 1e9));
	if (json_is_integer(json_object_get(copy, "hits")))
		printf("hits     %s since it is held\n", human_count(number_of(copy, "hits")));
}

static void print_promotion(const json_t *p)
{
	const char *window = duration_of(p, "window_seconds");
	json_int_t over = number_of(p, "misses_over");

	if (json_is_integer(json_object_get(p, "hits")))
		printf("window   %s hits and %s writes within %s; known for %s\n",
		       human_count(number_of(p, "hits")), human_count(number_of(p, "writes")), window,
		       duration_of(p, "since_seconds"));
	printf("misses   about %s within %s, by samples of 1 in %lld", human_count(number_of(p, "misses")),
	       window, number_of(p, "sample"));
	if (over)
		printf("; %s more at most that were not counted", human_count(over));
	printf("\n");
	if (json_is_integer(json_object_get(p, "needs")))
		printf("needs    %s lookups within %s (min_hits %s)\n", human_count(number_of(p, "needs")),
		       window, human_count(number_of(p, "min_hits")));
	printf("rank     %s; %s of %s keys are held\n", human_count(number_of(p, "rank")),
	       human_count(number_of(p, "held")), human_count(number_of(p, "room")));
}

static void print_why(const json_t *doc, const json_t *p, const char *key, const struct verdict *v)
{
	printf("key      %s\n", printable(key, strlen(key)));
	printf("service  %s\n", text_of(doc, "service"));
	print_copy(json_object_get(doc, "copy"));
	if (json_is_object(p))
		print_promotion(p);
	if (json_is_null(json_object_get(doc, "last_write_seconds")))
		printf("written  not since load, as far as was seen\n");
	else
		printf("written  %s ago, or another key that shares its fence was\n",
		       duration_of(doc, "last_write_seconds"));
	printf("why      %s\n", v->says);
}

int show_why(const struct session *s, unsigned svc, const char *key, json_t *promotion, const char *unknown)
{
	json_t *doc = document(s, svc, key, strlen(key));
	struct verdict v;

	judge(&v, doc, promotion, unknown);
	json_object_set_new(doc, "verdict", json_string(v.word));
	json_object_set_new(doc, "why", json_string(v.says));
	json_object_set_new(doc, "agent", json_boolean(promotion != NULL));
	if (out_json) {
		json_object_set(doc, "promotion", promotion ? promotion : json_null());
		out_document("cache.why", doc);
	} else {
		print_why(doc, promotion, key, &v);
		json_decref(doc);
	}
	json_decref(promotion);
	return EXIT_OK;
}
