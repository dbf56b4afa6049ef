/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Stands in for libbpf's header of that name where BPF code is compiled for the host. */
#ifndef WEIR_SHIM_BPF_ENDIAN_H
#define WEIR_SHIM_BPF_ENDIAN_H

#include <endian.h>

/* Usable in constant expressions and case labels, which htons() may not be. */
#define bpf_htons(x)	   __builtin_bswap16(x)
#define bpf_ntohs(x)	   __builtin_bswap16(x)
#define bpf_htonl(x)	   __builtin_bswap32(x)
#define bpf_ntohl(x)	   __builtin_bswap32(x)
#define bpf_cpu_to_be64(x) __builtin_bswap64(x)
#define bpf_be64_to_cpu(x) __builtin_bswap64(x)

#endif
