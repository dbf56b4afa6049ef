// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include "slot_copy.h"

#include <string.h>

bool copy_slot(struct copy *to, const struct weir_slot *from)
{
	const struct weir_slot *s = &to->slot;
	size_t head = WEIR_KEY_AT, len;

	to->slot = *from;
	len = (size_t)s->lines * WEIR_LINE;
	if (len <= WEIR_SLOT_HDR || len > sizeof(to->bytes))
		return false;
	memcpy(to->bytes, from, len);
	head += s->key_len + 1;
	return s->lines * WEIR_LINE == (int)len && s->key_len && head <= s->head_len &&
	       WEIR_SLOT_HDR + s->head_len + s->value_len + WEIR_TAIL_LEN <= (int)len &&
	       s->svc < WEIR_SERVICES_MAX;
}

bool copy_of_key(struct copy *to, const struct hotset *h, __u8 svc, const char *key, size_t len)
{
	for (int tries = 0; tries < 100; tries++) {
		const struct weir_slot *slot = hotset_find(h, svc, key, len);

		if (!slot)
			return false;
		if (copy_slot(to, slot) && hotset_find(h, svc, key, len) == slot &&
		    to->slot.key_len == len && !memcmp(slot_key(&to->slot), key, len))
			return true;
	}
	return false;
}

bool copy_key(struct key_copy *to, const struct hotset_mem *mem, const struct weir_slot *from)
{
	size_t at = ((const __u8 *)from - mem->slabs->bytes) % WEIR_SLAB_SIZE;

	to->slot = *from;
	if (at + WEIR_SLOT_HDR + WEIR_KEY_AT + to->slot.key_len > WEIR_SLAB_SIZE ||
	    to->slot.entry >= mem->ctl->entries || to->slot.svc >= WEIR_SERVICES_MAX)
		return false;
	memcpy(to->slot.text, from->text, WEIR_KEY_AT + to->slot.key_len);
	return hotset_key_ok(slot_key(&to->slot), to->slot.key_len);
}
