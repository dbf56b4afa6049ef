/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the attached programs were loaded with. */
#ifndef WEIR_RUNNING_H
#define WEIR_RUNNING_H

#include "weir/abi.h"

/* The constants of a program that ctl names. -ENOENT: none of them exists any more; -EPERM. */
int running_config(const struct weir_ctl *ctl, struct weir_config *out);

#endif
