/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Libraries that are loaded when they are needed: one that is there, and the ways in which one can be missing. */
#include <errno.h>
#include <math.h>

#include "lazy_lib.h"
#include "test.h"

#define MATH(X) X(ldexp) X(erf)
LAZY_LIB(math, "libm.so.6", "libc6", MATH);

int weir_nobody_has_this(void);
#define OLD(X) X(log1p) X(weir_nobody_has_this) X(expm1)
LAZY_LIB(old, "libm.so.6", "libc6", OLD);

#define NONE(X) X(lgamma)
LAZY_LIB(none, "libweir-none.so.7", "libweir-none7", NONE);

static char why[256];

static void test_loads(void)
{
	test_begin("the functions of a library are found, with their types");
	CHECK_INT(lazy_load(&math, why, sizeof(why)), 0);
	CHECK(sym_ldexp && sym_ldexp(3, 4) == 48 && sym_erf(0) == 0);
	math.soname = "libweir-none.so.7";
	CHECK_INT(lazy_load(&math, why, sizeof(why)), 0);
	test_end();
}

static void test_missing(void)
{
	test_begin("one that is missing is named, with its package; it is looked for again");
	for (int i = 0; i < 2; i++) {
		CHECK_INT(lazy_load(&none, why, sizeof(why)), -ELIBACC);
		CHECK_STR(why, "needs the library of Debian's package libweir-none7: libweir-none.so.7: "
			       "cannot open shared object file: No such file or directory");
		CHECK(!sym_lgamma);
	}
	none.soname = "libm.so.6";
	CHECK_INT(lazy_load(&none, why, sizeof(why)), 0);
	CHECK(sym_lgamma && sym_lgamma(1) == 0);
	test_end();

	test_begin("words that do not fit are cut");
	memset(why, 'x', sizeof(why));
	CHECK_INT(lazy_load(&old, why, 9), -ELIBACC);
	CHECK_STR(why, "needs th");
	CHECK_INT(why[9], 'x');
	test_end();
}

static void test_old(void)
{
	test_begin("one without a function that is used counts as missing, and the function is named");
	CHECK_INT(lazy_load(&old, why, sizeof(why)), -ELIBACC);
	CHECK(strstr(why, "package libc6: ") && strstr(why, "undefined symbol: weir_nobody_has_this"));
	CHECK(!sym_weir_nobody_has_this);
	test_end();
}

int main(void)
{
	test_loads();
	test_missing();
	test_old();
	return test_done();
}
