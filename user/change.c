/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "change.h"

#include <stdarg.h>
#include <string.h>

int change_start(struct change *c, const struct cmd *cmd, char **values, const char *name)
{
	int status;

	*c = (struct change){};
	snprintf(c->what, sizeof(c->what), "%s %s", cmd->noun, cmd->verb);
	status = session_open(&c->s, c->what, DP_WRITE);
	if (status)
		return status;
	c->m = dp_pools(c->s.dp);
	status = find_pool(&c->s, opt_value(cmd, values, "pool"), &c->pool);
	if (!status && name)
		status = find_backend(&c->s, c->pool, name, &c->backend);
	return status ? session_close(&c->s, status) : EXIT_OK;
}

void change_look(struct change *c)
{
	snprintf(c->name, sizeof(c->name), "%s", backend_name(c->m, c->backend));
	if (out_json)
		c->looked = json_backend(&c->s, c->backend);
}

void change_done(struct change *c, const char *result, const char *fmt, ...)
{
	va_list ap;

	if (!*c->name)
		change_look(c);
	if (out_json) {
		c->doc = json_pack("{s:s, s:o}", "result", result, "backend", c->looked);
	} else {
		printf("%s: ", c->name);
		va_start(ap, fmt);
		vprintf(fmt, ap);
		va_end(ap);
		printf("\n");
	}
	if (strcmp(result, "unchanged"))
		note("`weir reload` goes back to what the configuration says");
}

int change_failed(const struct change *c, int err)
{
	return fail(exit_of(err), "%s: %s", c->what, strerror(-err));
}

int change_end(struct change *c, int status)
{
	char kind[32];

	snprintf(kind, sizeof(kind), "%s", c->what);
	*strchr(kind, ' ') = '.';
	if (c->doc)
		out_document(kind, c->doc);
	return session_close(&c->s, status);
}

const char *connections(__u32 n)
{
	static char texts[4][40];
	static unsigned next;
	char *text = texts[next++ % 4];

	snprintf(text, sizeof(texts[0]), "%s connection%s", human_count(n), n == 1 ? "" : "s");
	return text;
}
