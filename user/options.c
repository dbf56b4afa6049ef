/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "out.h"

int option_number(const char *what, const char *option, const char *text, __u64 min, __u64 max, __u64 *n)
{
	__u64 value;

	if (!text)
		return EXIT_OK;
	errno = 0;
	value = strtoull(text, NULL, 10);
	if (*text && strspn(text, "0123456789") == strlen(text) && !errno && value >= min && value <= max) {
		*n = value;
		return EXIT_OK;
	}
	if (max == ~0ULL)
		return fail(EXIT_USAGE, "%s: %s takes a number, not '%.60s'", what, option, text);
	return fail(EXIT_USAGE, "%s: %s takes a number from %llu to %llu, not '%.60s'", what, option, min,
		    max, text);
}

int option_choice(const char *what, const char *option, const char *text, const char *const *words,
		  int *choice)
{
	char list[160] = "";

	for (int i = 0; text && words[i]; i++) {
		size_t at = strlen(list);

		if (!strcmp(text, words[i])) {
			*choice = i;
			return EXIT_OK;
		}
		snprintf(list + at, sizeof(list) - at, "%s%s",
			 !i             ? ""
			 : words[i + 1] ? ", "
					: " or ",
			 words[i]);
	}
	return text ? fail(EXIT_USAGE, "%s: %s is %s, not '%.60s'", what, option, list, text) : EXIT_OK;
}
