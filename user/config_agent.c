// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The agent in the configuration: where it answers HTTP, and who may tell it that values changed. */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "config_build.h"

#define HTTP_PORT 9844

const cyaml_schema_field_t agent_fields[] = {
	TEXT(raw_agent, http, OPTIONAL),
	TEXT(raw_agent, token_file, OPTIONAL),
	CYAML_FIELD_END,
};

int parse_http(const char *text, struct config_vip *at)
{
	if (strcmp(text, "none"))
		return parse_endpoint(text, at);
	memset(at, 0, sizeof(*at));
	return 0;
}

int build_agent(struct source *s, const struct raw *raw, struct config *c)
{
	const char *http = raw->agent ? raw->agent->http : NULL;
	const char *token_file = raw->agent ? raw->agent->token_file : NULL;

	c->http = (struct config_vip){ .family = 4, .port = htons(HTTP_PORT) };
	c->http.addr.w[0] = htonl(INADDR_LOOPBACK);
	if (http && parse_http(http, &c->http))
		fault(s, "agent.http",
		      "'%.60s' is not ADDRESS:PORT, as in 127.0.0.1:9844 or \"[::1]:9844\", or none", http);
	if (token_file && *token_file != '/')
		fault(s, "agent.token_file", "'%.60s' is no path from the root", token_file);
	c->token_file = token_file ? strdup(token_file) : NULL;
	return token_file && !c->token_file ? -ENOMEM : 0;
}
