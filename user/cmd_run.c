// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* weir run: the agent. */
#include "agent.h"
#include "cmd.h"

int cmd_run(const struct cmd *cmd, char **values, int argc, char **argv)
{
	const char *http = opt_value(cmd, values, "http");
	struct config_vip at;
	struct agent_opts o = {
		.path = opt_value(cmd, values, "config"),
		.load = !opt_value(cmd, values, "no-load"),
		.unload_on_exit = opt_value(cmd, values, "unload-on-exit"),
	};

	if (http && parse_http(http, &at))
		return fail(EXIT_USAGE, "run: --http takes ADDRESS:PORT or none, not '%.60s'", http);
	o.http = http ? &at : NULL;
	if (!o.path)
		return fail(EXIT_USAGE, "run: name the configuration with -c FILE");
	out_lines = out_json; /* one document for each change */
	return agent_run(&o);
}
