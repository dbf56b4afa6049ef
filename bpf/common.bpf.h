/* SPDX-License-Identifier: GPL-2.0-only */
/* What every stage needs: helpers, byte order, checksum folding. */
#ifndef WEIR_COMMON_BPF_H
#define WEIR_COMMON_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include <stdbool.h>
#include <stddef.h>

#include "weir/limits.h"
#include "weir/reason.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "words of packets are read in little-endian order"
#endif

#define LOAD(type, p) (*(type *)(p))

/*
 * Lets the compiler forget what it derived about a value, so that the bounds check that follows
 * stays in the program, on the register that the verifier looks at.
 */
#define OPAQUE(x) asm volatile("" : "+r"(x))

/*
 * Whether *x is at most `max`. For the verifier of Linux 6.1 a bound holds for the very register that
 * was compared: not for what it was computed from, nor for a copy spilled before. So the compiler
 * forgets the value before the check and after it.
 */
static __always_inline bool at_most(__u32 *x, __u32 max)
{
	OPAQUE(*x);
	if (*x > max)
		return false;
	OPAQUE(*x);
	return true;
}

/* The same for 1..max. */
static __always_inline bool one_to(__u32 *x, __u32 max)
{
	__u32 less = *x - 1;

	if (!at_most(&less, max - 1))
		return false;
	*x = less + 1;
	return true;
}

/* Folds a sum of 16-bit words (RFC 1071) to 16 bits. */
static __always_inline __u16 csum_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

/* A sum of bytes that begin at an odd offset has its bytes swapped (RFC 1071, 2.B). */
static __always_inline __u16 csum_at(__u16 sum, __u32 offset)
{
	return offset & 1 ? (__u16)(sum << 8 | sum >> 8) : sum;
}

#endif
