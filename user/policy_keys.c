// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "policy_keys.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hotset.h"
#include "list.h"

#define FILE_MAX  (64 << 20) /* bytes: the agent's loop waits while it is read */
#define REPLY_BAD 1000	     /* lines: it is no list of keys */

/* ---- keys ------------------------------------------------------------------------------------- */

int keys_add(struct keys *k, const char *key, size_t len, __u32 max)
{
	if (!hotset_key_ok(key, len))
		return -EMSGSIZE;
	if (k->n >= max)
		return -ENOSPC;
	if (k->len + len + 1 > k->room) {
		size_t room = k->room ? 2 * k->room : 4096;
		char *bytes = realloc(k->bytes, room);

		if (!bytes)
			return -ENOMEM;
		k->bytes = bytes;
		k->room = room;
	}
	k->bytes[k->len] = len;
	memcpy(k->bytes + k->len + 1, key, len);
	k->len += len + 1;
	k->n++;
	return 0;
}

const char *keys_next(const struct keys *k, size_t *at, size_t *len)
{
	const char *key = k->bytes + *at + 1;

	if (*at >= k->len)
		return NULL;
	*len = (__u8)k->bytes[*at];
	*at += *len + 1;
	return key;
}

void keys_free(struct keys *k)
{
	free(k->bytes);
	*k = (struct keys){};
}

/* ---- lists ------------------------------------------------------------------------------------ */

struct reading {
	struct keys *keys;
	__u32 *bad;
	__u32 max, borne; /* bad lines */
};

static int bear(struct reading *r)
{
	return ++*r->bad > r->borne ? -EBADMSG : 0;
}

static int on_entry(const struct list_entry *e, void *arg)
{
	struct reading *r = arg;
	int err = keys_add(r->keys, e->key, e->key_len, r->max);

	if (err == -EMSGSIZE)
		return bear(r);
	*r->bad += err == -ENOSPC;
	return err;
}

static int on_bad(unsigned long line, const char *why, void *arg)
{
	return bear(arg);
}

/* What is more than max is left where it is. */
static int read_list(struct list *l, struct keys *k, __u32 *bad, __u32 max, __u32 borne)
{
	struct reading r = { k, bad, max, borne };
	const struct list_sink sink = { .entry = on_entry, .bad = on_bad, .arg = &r };
	int err = list_read(l, &sink);

	return err == -ENOSPC ? 0 : err;
}

int keys_parse(struct keys *k, __u32 *bad, __u32 max, const char *name, const void *data, size_t len)
{
	struct list *l;
	int err;

	if (!len)
		return 0;
	/* It would be unpacked: a few kilobytes can be gigabytes. */
	if (len >= 2 && !memcmp(data, "\x1f\x8b", 2))
		return -EBADMSG;
	err = list_open_mem(&l, name, data, len);
	if (err)
		return err;
	list_set_format(l, LIST_JSONL);
	err = read_list(l, k, bad, max, REPLY_BAD);
	list_close(l);
	return err;
}

static bool same_file(const struct stat *x, const struct stat *y)
{
	return x->st_dev == y->st_dev && x->st_ino == y->st_ino && x->st_size == y->st_size &&
	       x->st_mtim.tv_sec == y->st_mtim.tv_sec && x->st_mtim.tv_nsec == y->st_mtim.tv_nsec &&
	       x->st_ctim.tv_sec == y->st_ctim.tv_sec && x->st_ctim.tv_nsec == y->st_ctim.tv_nsec;
}

/* No pipe is waited for. */
static int look_at(const char *path, struct stat *is)
{
	if (stat(path, is))
		return -errno;
	if (!S_ISREG(is->st_mode))
		return -EINVAL;
	return is->st_size > FILE_MAX ? -EFBIG : 0;
}

int keys_file_read(struct keys_file *f, const char *path, __u32 max)
{
	struct stat is;
	struct list *l;
	int err = look_at(path, &is);

	if (!err && f->is.st_ino && same_file(&is, &f->is))
		return 0;
	keys_file_free(f);
	if (!err)
		err = list_open(&l, path);
	if (err)
		return err;
	err = read_list(l, &f->keys, &f->bad, max, ~0U);
	list_close(l);
	if (err)
		keys_file_free(f);
	else
		f->is = is;
	return err;
}

void keys_file_free(struct keys_file *f)
{
	keys_free(&f->keys);
	*f = (struct keys_file){};
}
