/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Small files under /run that outlive the agent, not the machine's next start. */
#ifndef WEIR_STATE_FILE_H
#define WEIR_STATE_FILE_H

#include <stddef.h>

#define STATE_DIR "/run/weir"

/* The whole file as text: 0; -EFBIG: it has no room in there; or -errno. */
int state_read(const char *path, char *text, size_t room);
/* In one step, and the directory where it is missing. 0 or -errno. */
int state_write(const char *path, const char *text, size_t len);

#endif
