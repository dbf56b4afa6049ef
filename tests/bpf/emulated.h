/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A guest without KVM: the same tests, but what is repeated is repeated less often. As in scripts/lab.sh. */
#ifndef WEIR_TEST_EMULATED_H
#define WEIR_TEST_EMULATED_H

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static inline bool emulated(void)
{
	static int known = -1;
	char line[256];
	FILE *f;

	if (known >= 0)
		return known;
	known = 0;
	f = fopen("/proc/cpuinfo", "r");
	while (f && fgets(line, sizeof(line), f))
		known |= !!strstr(line, "TCG CPU");
	if (f)
		fclose(f);
	return known;
}

/* How often to repeat what is to be repeated n times. */
static inline unsigned long rounds(unsigned long n)
{
	return emulated() ? (n + 3) / 4 : n;
}

#endif
