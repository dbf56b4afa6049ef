/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Values of options. Each reader leaves its target as it is when the option was not given (text NULL). */
#ifndef WEIR_OPTIONS_H
#define WEIR_OPTIONS_H

#include <linux/types.h>

/* A whole number in digits. 0, or EXIT_USAGE after it was told: `what` is the command, `option` as "--limit". */
int option_number(const char *what, const char *option, const char *text, __u64 min, __u64 max, __u64 *n);
/* The number of one of the words, which end with NULL. */
int option_choice(const char *what, const char *option, const char *text, const char *const *words,
		  int *choice);

#endif
