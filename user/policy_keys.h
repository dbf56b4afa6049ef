/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Keys of a run, one behind the other in one piece of memory; and lists of such, from files and from replies. */
#ifndef WEIR_POLICY_KEYS_H
#define WEIR_POLICY_KEYS_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

struct keys {
	char *bytes; /* a byte with the length, then the key */
	size_t len, room;
	__u32 n;
};

/* A file as it was read last. */
struct keys_file {
	struct keys keys;
	__u32 bad; /* lines that are none, or too many */
	struct stat is;
};

/* 0; -EMSGSIZE: not a key; -ENOSPC: there are max; -ENOMEM. */
int keys_add(struct keys *k, const char *key, size_t len, __u32 max);
/* The key at *at, which moves on; NULL: there is no other. */
const char *keys_next(const struct keys *k, size_t *at, size_t *len);
void keys_free(struct keys *k);

/*
 * Lines of a list that somebody sent, JSON Lines; how many are none is added to *bad. 0 or -errno; -EBADMSG: more
 * than a thousand were none, or it is packed.
 */
int keys_parse(struct keys *k, __u32 *bad, __u32 max, const char *name, const void *data, size_t len);
/* A list of any format, unless the file is as it was. 0 or -errno: then there are no keys. */
int keys_file_read(struct keys_file *f, const char *path, __u32 max);
void keys_file_free(struct keys_file *f);

#endif
