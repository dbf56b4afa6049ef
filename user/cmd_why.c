/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* weir cache why: the maps are read here; what misses say only the agent knows. */
#include <string.h>

#include "agent_client.h"
#include "cmd.h"
#include "pools.h"
#include "why.h"

#define PATH "/api/v1/cache/why?service=%s&key=%s"

/* The agent's part, null where there is no promotion; NULL: not known, and why. */
static json_t *ask_agent(const struct session *s, const struct config_vip *at, unsigned svc, const char *key,
			 char *why, size_t len)
{
	char quoted[3 * WEIR_KEY_MAX + 1], path[sizeof(quoted) + sizeof(PATH) + WEIR_NAME_MAX],
		name[WEIR_NAME_MAX + 1];
	json_t *doc, *promotion;

	if (!agent_is_here(s->ctl)) {
		snprintf(why, len, "no agent runs");
		return NULL;
	}
	agent_quote(quoted, key, strlen(key));
	snprintf(name, sizeof(name), "%.*s", WEIR_NAME_MAX, s->ctl->services[svc].name);
	snprintf(path, sizeof(path), PATH, name, quoted);
	doc = agent_get(at, path, why, len);
	promotion = doc ? json_incref(json_object_get(doc, "promotion")) : NULL;
	if (doc && !promotion)
		snprintf(why, len, "the agent does not say");
	json_decref(doc);
	return promotion;
}

static int explain(const struct session *s, const char *service, const char *http, const char *key)
{
	int svc = session_service(s, service);
	struct config_vip at;
	char why[320] = "";
	json_t *promotion;

	if (svc < 0)
		return service ? EXIT_FAILED : EXIT_USAGE;
	if (!(s->ctl->services[svc].flags & WEIR_SVC_CACHE))
		return fail(EXIT_FAILED, "cache why: service %.31s has no cache", s->ctl->services[svc].name);
	if (http)
		parse_http(http, &at);
	else
		agent_where(s->ctl, &at);
	promotion = ask_agent(s, &at, svc, key, why, sizeof(why));
	if (!promotion)
		note("%s: this is what the maps tell alone", why);
	return show_why(s, svc, key, promotion, why);
}

int cmd_cache_why(const struct cmd *cmd, char **values, int argc, char **argv)
{
	const char *http = opt_value(cmd, values, "http");
	struct config_vip at;
	struct session s;
	int status;

	if (http && parse_http(http, &at))
		return fail(EXIT_USAGE, "cache why: --http takes ADDRESS:PORT, not '%.60s'", http);
	if (!hotset_key_ok(argv[0], strlen(argv[0])))
		return fail(EXIT_USAGE,
			    "cache why: a key has 1 to %d bytes, and no space or control character",
			    WEIR_KEY_MAX);
	status = session_open(&s, "cache why", DP_READ);
	if (status)
		return status;
	return session_close(&s, explain(&s, opt_value(cmd, values, "service"), http, argv[0]));
}
