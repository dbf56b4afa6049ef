# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#
# `make help` lists the targets. Everything is built under build/, whose tree mirrors the source's:
#
#	build/user, build/tests, ...	objects and test programs; build/weir, build/libweir.a
#	build/bpf/*.bpf.o, *.skel.h	BPF objects and their skeletons (those of tests: build/tests/...)
#	build/asan			the same C once more, under ASan and UBSan, for the user tests
#	build/fuzz			and for libFuzzer
#
# Files are found by wildcard: a new one needs no change here.

VERSION := 0.1.0

PREFIX ?= /usr/local
SHARE = $(DESTDIR)$(PREFIX)/share
DESTDIR ?=
CC := gcc
CLANG ?= clang
BPFTOOL ?= $(or $(shell command -v bpftool),/usr/sbin/bpftool)
CFLAGS ?= -O2 -g
B := build

ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(shell nproc) --no-print-directory
endif
ifndef V
QUIET = @printf '  %-8s %s\n' $(1) $(2);
endif

# The last commit, where there is one: 0.1.0+1a2b3c4, -dirty with changes of one's own.
FULL_VERSION := $(VERSION)$(addprefix +,$(shell git describe --always --dirty --exclude '*' 2>/dev/null))

### Sources

BPF_OBJS := $(patsubst %.c,$B/%.o,$(wildcard bpf/*.bpf.c))
TEST_BPF_OBJS := $(patsubst %.c,$B/%.o,$(wildcard tests/*/*.bpf.c))
SKELS := $(patsubst %.bpf.o,%.skel.h,$(BPF_OBJS) $(TEST_BPF_OBJS))

USER_SRCS := $(wildcard user/*.c)
LIB_SRCS := $(filter-out user/main.c,$(USER_SRCS))

USER_TESTS := $(patsubst %.c,%,$(wildcard tests/user/test_*.c))
BPF_TESTS := $(patsubst %.c,%,$(wildcard tests/bpf/test_*.c))
FUZZERS := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
BENCHES := $(patsubst tests/bench/%.c,%,$(filter-out %.bpf.c,$(wildcard tests/bench/*.c)))
VERIFIER_STATS := $B/tests/bpf/verifier_stats
# What several tests share: every other C file beside them.
HELPER_SRCS := $(filter-out %.bpf.c tests/bpf/verifier_stats.c $(addsuffix .c,$(USER_TESTS) $(BPF_TESTS)), \
	$(wildcard tests/*.c tests/user/*.c tests/bpf/*.c))

### Flags

PKGS := libxdp libbpf libcyaml yaml-0.1 jansson zlib libsystemd libcap ncursesw
# Not linked: see user/lazy_lib.h.
LAZY_PKGS := libcurl libmicrohttpd hiredis
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) $(LAZY_PKGS) 2>/dev/null)
PKG_LIBS := $(shell pkg-config --libs $(PKGS) 2>/dev/null)
INCLUDES := -Iinclude -Iuser -I$B/bpf
TEST_INCLUDES := -Itests -Itests/bpf -Itests/bench -I$B/tests/bpf -I$B/tests/bench
WARNINGS := -Wall -Wextra -Wno-unused-parameter
COMMON = -std=gnu11 -D_GNU_SOURCE= $(WARNINGS) $(PKG_CFLAGS) \
	$(INCLUDES) $(if $(findstring tests/,$<),$(TEST_INCLUDES)) \
	-DWEIR_VERSION='"$(FULL_VERSION)"' -MMD -MP
HARDEN := -fstack-protector-strong -fPIE $(if $(filter -O1 -O2 -O3 -Os,$(CFLAGS)),-D_FORTIFY_SOURCE=2)
HARDEN_LD := -pie -Wl,-z,relro,-z,now -Wl,--as-needed
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
LIBS = $(PKG_LIBS) -lm -pthread

MULTIARCH := $(shell $(CC) -print-multiarch 2>/dev/null)
BPF_CFLAGS = -target bpf -mcpu=v3 -O2 -g -Wall -Werror -Iinclude -Ibpf $(if $(findstring tests/,$<),-Itests) \
	$(addprefix -I/usr/include/,$(MULTIARCH)) -MMD -MP

### Targets for people

.DEFAULT_GOAL := all
.PHONY: all deps deps-vm check demo bench fuzz model verifier-stats vm-check vm-shell vm-demo kernels-table \
	install uninstall clean help test-programs FORCE
.SECONDARY:
.DELETE_ON_ERROR:

all: $B/weir $(BPF_OBJS) ## build the weir command and its BPF programs (the default)

deps: ## install the Debian packages that are missing
	@scripts/deps

deps-vm:
	@scripts/deps --vm

# The tests, in the order in which they run; `make check TESTS='tests/bpf/*'` runs some.
ALL_TESTS = $(addsuffix .c,$(USER_TESTS)) $(wildcard tests/user/*.sh) $(addsuffix .c,$(BPF_TESTS)) \
	scripts/verifier-stats $(patsubst %,tests/fuzz/%.c,$(FUZZERS)) $(wildcard tests/net/test_*.sh) \
	$(wildcard tests/vm/test_*.sh)
TESTS ?= $(ALL_TESTS)
SELECTED = $(filter $(ALL_TESTS),$(wildcard $(TESTS)))
PROGRAMS = $(foreach t,$(SELECTED),$(call programs,$t))
programs = $(if $(filter tests/user/%.c,$1),$B/asan/$(1:.c=) $B/$(1:.c=), \
	   $(if $(filter tests/fuzz/%,$1),$(patsubst tests/fuzz/%.c,$B/fuzz/%,$1), \
	   $(if $(filter %.c,$1),$B/$(1:.c=),$1)))

# Whatever does not build, the rest is tested all the same.
check: deps-vm ## build everything and run all tests; TESTS='tests/bpf/*' runs some
	$(if $(PROGRAMS),,$(error no test matches TESTS='$(TESTS)'))
	@status=0; $(MAKE) -k test-programs || status=$$?; \
	scripts/run-tests --build-status $$status $(PROGRAMS)

test-programs: all $(filter $B/%,$(PROGRAMS)) $(TEST_BPF_OBJS) $(VERIFIER_STATS)
ifeq ($(origin TESTS),file)
test-programs: $(BENCHES:%=$B/bench/%)
endif
test-programs: $(if $(filter tests/net/test_workload.sh,$(SELECTED)),$B/bench/load)

demo: deps ## a real memcached behind a veth "NIC": hits, misses, counters, speed-up; steering; build/demo.svg
	@$(MAKE) all $(TEST_BPF_OBJS) $(BENCHES:%=$B/bench/%)
	@scripts/demo

bench: deps ## measure; writes build/bench.json, which scripts/bench-compare compares
	@$(MAKE) all $(TEST_BPF_OBJS) $(BENCHES:%=$B/bench/%)
	@scripts/bench

fuzz: deps ## fuzz each target for FUZZ_SECONDS (600)
	@$(MAKE) -k $(FUZZERS:%=$B/fuzz/%)
	@FUZZ_SECONDS=$${FUZZ_SECONDS:-600} scripts/run-tests $(FUZZERS:%=$B/fuzz/%)

model: deps ## search the model of coherence (docs/model) at its larger sizes: some minutes
	@MODEL=full TEST_TIMEOUT=3600 scripts/run-tests tests/user/test_model.sh

verifier-stats: $(BPF_OBJS) $(VERIFIER_STATS) ## record the verifier's counts in docs/verifier.txt
	@scripts/verifier-stats --update

### Virtual machines; KERNEL is a name in vm/kernels.txt, or the path of a bzImage

# What a guest gets: tests and benches, and the objects they load.
GUEST_PROGRAMS = all $(BPF_TESTS:%=$B/%) $(TEST_BPF_OBJS) $(VERIFIER_STATS) $(BENCHES:%=$B/bench/%)

vm-check: deps-vm ## the bpf and net suites, and tests of NICs, on the kernels of vm/kernels.txt or KERNEL; ALL=1: each on each
	@$(MAKE) $(GUEST_PROGRAMS)
	@vm/check $(if $(KERNEL),--kernel $(KERNEL)) $(if $(ALL),--all)

vm-shell: deps-vm ## an interactive guest with weir on its NIC; Ctrl-] leaves
	@$(MAKE) $(GUEST_PROGRAMS)
	@vm/run.sh $(or $(KERNEL),$(shell vm/kernel.sh --list | head -1)) --nic hub=lan --nic hub=lan \
		--shell -- . vm/guest/stage

vm-demo: deps-vm ## guests as client, edge host and backend, on virtio NICs
	@$(MAKE) $(GUEST_PROGRAMS)
	@vm/demo.sh $(KERNEL)

kernels-table: ## write docs/kernels.md from what the last vm-check found
	@scripts/kernels-table

MAN_PAGES = $(wildcard docs/*.[1-9])
installed_page = $(SHARE)/man/man$(subst .,,$(suffix $1))/$(notdir $1)
COMPLETION = scripts/completion/weir.bash
UNITS = $(wildcard scripts/systemd/*)
UNIT_DIR = $(DESTDIR)$(PREFIX)/lib/systemd/system
MONITORING = $(wildcard docs/monitoring/*)

install: all ## install under PREFIX (/usr/local)
	install -D -m 755 $B/weir $(DESTDIR)$(PREFIX)/bin/weir
	$(foreach p,$(MAN_PAGES),install -D -m 644 $p $(call installed_page,$p) &&) true
	$(if $(COMPLETION),install -D -m 644 $(COMPLETION) $(SHARE)/bash-completion/completions/weir)
	install -D -m 644 -t $(SHARE)/weir/monitoring $(MONITORING)
	install -D -m 644 -t $(UNIT_DIR) $(UNITS)
	sed -i 's|/usr/local/bin/weir|$(PREFIX)/bin/weir|' $(UNIT_DIR)/weir.service

uninstall: ## remove what install put there
	rm -f $(DESTDIR)$(PREFIX)/bin/weir $(SHARE)/bash-completion/completions/weir
	rm -f $(addprefix $(UNIT_DIR)/,$(notdir $(UNITS)))
	rm -f $(foreach p,$(MAN_PAGES),$(call installed_page,$p))
	rm -f $(addprefix $(SHARE)/weir/monitoring/,$(notdir $(MONITORING)))

clean: ## remove build/
	rm -rf $B

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(firstword $(MAKEFILE_LIST)) | \
		while IFS='|' read -r t h; do printf '%-18s %s\n' "$$t" "$$h"; done

### Rules

# Says what is missing before a compiler says it less clearly.
$B/.tools: scripts/deps
	@mkdir -p $B && scripts/deps --check && touch $@

# Changes only when the version does.
$B/version: FORCE
	@mkdir -p $B && echo '$(FULL_VERSION)' | cmp -s - $@ || echo '$(FULL_VERSION)' >$@

VERSIONED := $(patsubst %.c,%.o,$(if $(USER_SRCS),$(shell grep -l WEIR_VERSION $(USER_SRCS))))
$(VERSIONED:%=$B/%) $(VERSIONED:%=$B/asan/%) $(VERSIONED:%=$B/fuzz/%): $B/version

# The linker of bpftool leaves DWARF behind and keeps BTF, so that skeletons stay small.
$B/%.bpf.o: %.bpf.c Makefile | $B/.tools
	$(call QUIET,CLANG,$<) mkdir -p $(@D) && \
	$(CLANG) $(BPF_CFLAGS) -MF $(@:.o=.d) -MT $@ -c $< -o $(@:.o=.raw.o) && \
	$(BPFTOOL) gen object $@ $(@:.o=.raw.o)

$B/%.skel.h: $B/%.bpf.o
	$(call QUIET,SKEL,$@) $(BPFTOOL) gen skeleton $< name $(notdir $*) >$@

$B/%.o: %.c Makefile | $B/.tools $(SKELS)
	$(call QUIET,CC,$<) mkdir -p $(@D) && \
	$(CC) $(CFLAGS) $(HARDEN) $(COMMON) -Werror -c $< -o $@

$B/asan/%.o: %.c Makefile | $B/.tools $(SKELS)
	$(call QUIET,ASAN,$<) mkdir -p $(@D) && \
	$(CC) -O1 -g $(SANITIZE) $(COMMON) -c $< -o $@

# A fuzz target that needs flags of its own: FUZZ_CFLAGS_fuzz_NAME.
# The BPF code itself, compiled for the host: it loads words from anywhere, and shifts signs.
FUZZ_CFLAGS_fuzz_packet := -Itests/fuzz/shim -fno-sanitize=alignment,shift
FUZZ_CFLAGS_fuzz_steer := $(FUZZ_CFLAGS_fuzz_packet)
FUZZ_CFLAGS_fuzz_track := $(FUZZ_CFLAGS_fuzz_packet)
FUZZ_SANITIZE := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined
$B/fuzz/%.o: %.c Makefile | $B/.tools $(SKELS)
	$(call QUIET,FUZZ,$<) mkdir -p $(@D) && \
	$(CLANG) -O1 -g $(FUZZ_SANITIZE) $(COMMON) -Ibpf $(FUZZ_CFLAGS_$(basename $(@F))) -c $< -o $@

define archive # VARIANT/
$B/$(1)libweir.a: $(LIB_SRCS:%.c=$B/$(1)%.o)
	$$(call QUIET,AR,$$@) rm -f $$@ && mkdir -p $$(@D) && ar rcs $$@ $$^
$B/$(1)libtest.a: $(HELPER_SRCS:%.c=$B/$(1)%.o)
	$$(call QUIET,AR,$$@) rm -f $$@ && mkdir -p $$(@D) && ar rcs $$@ $$^
endef
$(eval $(call archive,))
$(eval $(call archive,asan/))
$(eval $(call archive,fuzz/))

LINK = $(call QUIET,LINK,$@) mkdir -p $(@D) && $(1) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LIBS)

$B/weir: $B/user/main.o $B/libweir.a
	$(call LINK,$(CC) $(HARDEN_LD))

$(VERIFIER_STATS): %: %.o
	$(call LINK,$(CC) $(HARDEN_LD))

$(USER_TESTS:%=$B/%) $(BPF_TESTS:%=$B/%): $B/%: $B/%.o $B/libtest.a $B/libweir.a
	$(call LINK,$(CC) $(HARDEN_LD))

$(USER_TESTS:%=$B/asan/%): $B/asan/%: $B/asan/%.o $B/asan/libtest.a $B/asan/libweir.a
	$(call LINK,$(CC) $(SANITIZE))

$(BENCHES:%=$B/bench/%): $B/bench/%: $B/tests/bench/%.o $B/libtest.a $B/libweir.a
	$(call LINK,$(CC) $(HARDEN_LD))

$(FUZZERS:%=$B/fuzz/%): $B/fuzz/%: $B/fuzz/tests/fuzz/%.o $B/fuzz/libweir.a
	$(call LINK,$(CLANG) -fsanitize=fuzzer$(comma)address$(comma)undefined)

comma := ,

-include $(shell find $B -name '*.d' 2>/dev/null)
