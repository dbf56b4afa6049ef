// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "caps.h"

#include <errno.h>
#include <sys/prctl.h>

int caps_no_new(void)
{
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ? -errno : 0;
}

static int choose(cap_t from, cap_t to, const cap_value_t *keep, int n)
{
	cap_flag_value_t has;

	for (int i = 0; i < n; i++) {
		if (cap_get_flag(from, keep[i], CAP_PERMITTED, &has))
			continue; /* a kernel that does not know it */
		if (has == CAP_SET && (cap_set_flag(to, CAP_PERMITTED, 1, &keep[i], CAP_SET) ||
				       cap_set_flag(to, CAP_EFFECTIVE, 1, &keep[i], CAP_SET)))
			return -errno;
	}
	return cap_set_proc(to) ? -errno : 0;
}

int caps_keep(const cap_value_t *keep, int n)
{
	cap_t from = cap_get_proc(), to = cap_init();
	int err = from && to ? choose(from, to, keep, n) : -ENOMEM;

	/* What children would inherit, and what they are given. */
	if (!err && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) && errno != EINVAL)
		err = -errno;
	cap_free(from);
	cap_free(to);
	return err;
}
