/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What an entry of the bus says, read from its fields. Anybody may have written it: nothing is trusted. */
#ifndef WEIR_BUS_ENTRY_H
#define WEIR_BUS_ENTRY_H

#include "bus.h"

struct bus_entry {
	const struct bus_field *service, *event; /* NULL: not there */
	char reason[WEIR_INVAL_REASON_MAX + 1];	 /* "": none, or none that can be counted */
	bool all;
	unsigned nkeys, nprefixes; /* that can be used */
	const char *fault;	   /* what is wrong with it, or with a part that is left out; NULL: nothing */
};

/* False: there is nothing in it to be done, and `fault` says why. */
bool bus_entry_read(struct bus_entry *e, const struct bus_field *fields, unsigned n);
/* Whether it is a key, or a prefix, that can be used. */
bool bus_is_key(const struct bus_field *f);
bool bus_is_prefix(const struct bus_field *f);

#endif
