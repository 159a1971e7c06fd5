#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "template/fn_priv.h"

/* sprig's arithmetic with fractions: decimal, so that 0.1 and 0.2 are 0.3.  What has more digits
 * than 128 bits hold is computed in binary. */

struct decimal {
    __int128 n; /* times ten to the exp */
    int exp;
    bool ok;
    double f; /* the same in binary */
};

static struct decimal
decimal_of(double f)
{
    struct decimal d = {.f = f, .ok = isfinite(f)};
    char at[40];
    int prec = 0;

    do
        (void)snprintf(at, sizeof at, "%.*e", prec, f);
    while (strtod(at, NULL) != f && isfinite(f) && prec++ < 16);
    for (const char *c = at; d.ok && *c != '\0' && *c != 'e'; c++)
        if (*c >= '0' && *c <= '9')
            d.n = d.n * 10 + (*c - '0');
    const char *e = strchr(at, 'e');
    d.exp = e != NULL ? (int)strtol(e + 1, NULL, 10) - prec : 0;
    d.n = at[0] == '-' ? -d.n : d.n;
    return d;
}

/* Its value in binary, of the digits when they are known. */
static double
value_of(struct decimal d)
{
    char at[64], *to = at + sizeof at;
    unsigned __int128 n = d.n < 0 ? -(unsigned __int128)d.n : (unsigned __int128)d.n;

    if (!d.ok)
        return d.f;
    to -= 12;
    (void)snprintf(to, 12, "e%d", d.exp);
    do
        *--to = (char)('0' + (int)(n % 10));
    while ((n /= 10) > 0);
    if (d.n < 0)
        *--to = '-';
    return strtod(to, NULL);
}

/* n with `digits` more zeros behind it. */
static bool
scale(__int128 *n, int digits)
{
    if (digits > 38)
        return *n == 0;
    for (; digits > 0; digits--)
        if (__builtin_mul_overflow(*n, 10, n))
            return false;
    return true;
}

static struct decimal
sum(struct decimal x, struct decimal y, bool minus)
{
    struct decimal d = {.ok = x.ok && y.ok, .f = minus ? x.f - y.f : x.f + y.f};

    d.exp = x.exp < y.exp ? x.exp : y.exp;
    d.ok =
        d.ok && scale(&x.n, x.exp - d.exp) && scale(&y.n, y.exp - d.exp) &&
        !(minus ? __builtin_sub_overflow(x.n, y.n, &d.n) : __builtin_add_overflow(x.n, y.n, &d.n));
    return d;
}

static struct decimal
product(struct decimal x, struct decimal y)
{
    struct decimal d = {.ok = x.ok && y.ok, .f = x.f * y.f, .exp = x.exp + y.exp};

    d.ok = d.ok && !__builtin_mul_overflow(x.n, y.n, &d.n);
    return d;
}

/* Sixteen digits behind the point, the last one rounded. */
static struct decimal
quotient(struct decimal x, struct decimal y)
{
    enum { DIGITS = 16 };
    struct decimal d = {.ok = x.ok && y.ok, .f = x.f / y.f, .exp = -DIGITS};
    const int more = x.exp - y.exp + DIGITS;

    d.ok = d.ok && y.n != 0 && (more >= 0 ? scale(&x.n, more) : scale(&y.n, -more));
    if (!d.ok)
        return d;
    d.n = x.n / y.n;
    const __int128 rest = x.n % y.n;
    const __int128 rest_abs = rest < 0 ? -rest : rest, y_abs = y.n < 0 ? -y.n : y.n;
    if (rest_abs >= y_abs - rest_abs)
        d.n += (x.n < 0) == (y.n < 0) ? 1 : -1;
    return d;
}

static int
computed(struct berth_trun *r, struct decimal d, const struct berth_tvalue *argv, size_t argc,
         char how, struct berth_tvalue *ret)
{
    for (size_t i = 0; i < argc; i++) {
        const double f = berth_tto_float(&argv[i]);
        if (!isfinite(f))
            return berth_trun_fail(r, "computes with finite numbers alone");
        const struct decimal y = decimal_of(f);
        if (how == '/' && y.n == 0)
            return berth_trun_fail(r, "division by zero");
        d = how == '*' ? product(d, y) : how == '/' ? quotient(d, y) : sum(d, y, how == '-');
    }
    *ret = berth_tv_float(value_of(d));
    return 0;
}

BERTH_TFN(add1f)
{
    const struct berth_tvalue one = berth_tv_float(1);

    return computed(r, decimal_of(berth_tto_float(&argv[0])), &one, 1, '+', ret);
}

BERTH_TFN(addf)
{
    return computed(r, decimal_of(0), argv, argc, '+', ret);
}

BERTH_TFN(subf)
{
    return computed(r, decimal_of(berth_tto_float(&argv[0])), argv + 1, argc - 1, '-', ret);
}

BERTH_TFN(mulf)
{
    return computed(r, decimal_of(berth_tto_float(&argv[0])), argv + 1, argc - 1, '*', ret);
}

BERTH_TFN(divf)
{
    return computed(r, decimal_of(berth_tto_float(&argv[0])), argv + 1, argc - 1, '/', ret);
}

/* clang-format off */
const struct berth_tfn berth_tfns_floats[] = {
    {"add1f", "a", add1f}, {"addf", "a*", addf}, {"subf", "aa*", subf}, {"mulf", "aa*", mulf},
    {"divf", "aa*", divf},
    {0},
};
/* clang-format on */
