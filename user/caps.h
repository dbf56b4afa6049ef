/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Giving up what this process may do. */
#ifndef WEIR_CAPS_H
#define WEIR_CAPS_H

#include <sys/capability.h>

/* No program that this process starts from now on gets more than it has itself. 0 or -errno. */
int caps_no_new(void);
/* Keeps of these capabilities those that it has, and no other, for good. 0 or -errno. */
int caps_keep(const cap_value_t *keep, int n);

#endif
