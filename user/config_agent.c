// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The agent in the configuration: where it answers HTTP. */
#include <arpa/inet.h>
#include <string.h>

#include "config_build.h"

#define HTTP_PORT 9844

const cyaml_schema_field_t agent_fields[] = {
	TEXT(raw_agent, http, OPTIONAL),
	CYAML_FIELD_END,
};

int parse_http(const char *text, struct config_vip *at)
{
	if (strcmp(text, "none"))
		return parse_endpoint(text, at);
	memset(at, 0, sizeof(*at));
	return 0;
}

void build_agent(struct source *s, const struct raw *raw, struct config *c)
{
	const char *http = raw->agent ? raw->agent->http : NULL;

	c->http = (struct config_vip){ .family = 4, .port = htons(HTTP_PORT) };
	c->http.addr.w[0] = htonl(INADDR_LOOPBACK);
	if (http && parse_http(http, &c->http))
		fault(s, "agent.http",
		      "'%.60s' is not ADDRESS:PORT, as in 127.0.0.1:9844 or \"[::1]:9844\", or none", http);
}
