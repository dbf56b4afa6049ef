/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the tests of the configuration share: text "w" read, and rows of what is wrong in it. */
#ifndef WEIR_CONFIG_TEXT_H
#define WEIR_CONFIG_TEXT_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../test.h"
#include "config.h"

static int parse(struct config **c, const void *text, size_t len, char **said)
{
	size_t n = 0;
	FILE *f = open_memstream(said, &n);
	int err = config_parse(c, "w", text, len, f);

	fclose(f);
	return err;
}

static struct config *parse_good(const char *text)
{
	struct config *c = NULL;
	char *said = NULL;

	CHECK_INT(parse(&c, text, strlen(text), &said), 0);
	CHECK_STR(said, "");
	free(said);
	return c;
}

struct fault_row {
	const char *name;
	const char *text;
	const char *want;
};

static void test_faults(const char *what, const struct fault_row *rows, size_t n)
{
	char sentence[128];

	for (size_t i = 0; i < n; i++) {
		struct config *c = NULL;
		char *said = NULL;

		snprintf(sentence, sizeof(sentence), "%s: %s", what, rows[i].name);
		test_begin(sentence);
		CHECK_INT(parse(&c, rows[i].text, strlen(rows[i].text), &said), -EINVAL);
		CHECK_STR(said, rows[i].want);
		CHECK(!c);
		config_free(c);
		free(said);
		test_end();
	}
}

#define FAULTS(what, rows) test_faults(what, rows, sizeof(rows) / sizeof(*(rows)))

#endif
