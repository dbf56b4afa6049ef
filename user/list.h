/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Warming lists: files that name hot keys, recognised by content, plain or gzip.
 *   keys      one key a line; the value comes from the origin
 *   csv       key,value[,ttl[,flags]], RFC 4180 quoting (a quoted value may span lines)
 *   jsonl     {"key": .., "value" or "value_base64": .., "ttl": .., "flags": ..}, one a line
 *   metadump  memcached's `lru_crawler metadump all`: key=<url-encoded> exp=.. la=.. cas=.. ...
 *             names keys as `keys` does (expired ones are skipped)
 * Empty lines and lines starting with '#' are skipped in keys and csv (quote a csv key that begins
 * with one). CRLF and LF both end a line; a UTF-8 byte order mark is skipped. A csv header line
 * ("key,value...") is skipped.
 *
 * Recognition looks at the first 20 lines (csv: records) that are neither empty nor comments; a
 * format must win more than half of them, otherwise the list is keys. A line speaks for
 *   jsonl     when its first non-blank byte is '{', followed by '"', '}' or the line's end
 *             ("{user}:1" is a key)
 *   metadump  when it starts with "key=" and contains " exp=", or is "END"
 *   csv       when it is a well-formed record with an unquoted comma
 *   keys      otherwise
 * Keys may contain commas: a list most of whose keys do needs list_set_format().
 *
 * A ttl is a number of seconds ("30") or a duration ("500ms", "90s", "1h30m", "2d": each unit smaller
 * than the one before), up to 292 years; "never" or "0" means never. In csv an empty ttl or flags
 * is one not given.
 *
 * A bad line never stops the reading. After a csv record with a fault in its quoting, reading goes
 * on with the line after the one that it began on. Lines and csv records end at 1 MiB.
 */
#ifndef WEIR_LIST_H
#define WEIR_LIST_H

#include <stddef.h>

#include "weir/abi.h"

enum list_format { LIST_AUTO, LIST_KEYS, LIST_CSV, LIST_JSONL, LIST_METADUMP };

/* One entry. Pointers are valid during the callback only. */
struct list_entry {
	const char *key;
	size_t key_len;
	const void *value; /* NULL: fetch it from the origin */
	size_t value_len;
	__u64 ttl_ns;	   /* 0: not given; WEIR_NEVER: given as never */
	__u32 client_flags;
	unsigned long line; /* where the entry begins, from 1 */
};

struct list_sink {
	/* Returning non-zero stops the reading, and list_read() returns it. */
	int (*entry)(const struct list_entry *e, void *arg);
	/* A line that could not be used, and why in a few words. */
	int (*bad)(unsigned long line, const char *why, void *arg);
	/* Bytes of (unpacked) input consumed so far, of total, every 64 KiB or 10,000 lines and at the
	 * end; may be NULL. */
	void (*progress)(__u64 done, __u64 total, void *arg);
	void *arg;
};

struct list;

/* Opens a file ("-": standard input, read to its end) and unpacks gzip. 0 or -errno; a damaged
 * gzip is -EBADMSG; more than 4 GiB to hold in memory is -EFBIG. */
int list_open(struct list **out, const char *path);
/* The same over memory that the caller keeps. */
int list_open_mem(struct list **out, const char *name, const void *data, size_t len);
void list_close(struct list *l);
const char *list_name(const struct list *l);
enum list_format list_format(const struct list *l);
const char *list_format_name(enum list_format f);
/* Overrides what was recognised; LIST_AUTO goes back to that. */
void list_set_format(struct list *l, enum list_format f);
/* Reads from the start, as often as wanted. 0, what a callback returned, or -errno. */
int list_read(struct list *l, const struct list_sink *sink);

#endif
