#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "template/fn_priv.h"

/* sprig's arithmetic.  Whole numbers wrap around at 64 bits, as Go's do. */

/* A text as a whole number of a base that its prefix names, without a fraction of zeros; 0 when it
 * is none. */
static int64_t
text_int(struct berth_slice s)
{
    char at[80];
    int64_t v = 0;
    size_t n = s.len;

    while (n > 0 && s.at[n - 1] == '0')
        n--;
    if (n > 0 && n < s.len && s.at[n - 1] == '.')
        s.len = n - 1;
    if (s.len == 0 || s.len >= sizeof at || memchr(s.at, '\0', s.len) != NULL)
        return 0;
    memcpy(at, s.at, s.len);
    at[s.len] = '\0';
    return berth_twhole(at, &v) ? v : 0;
}

int64_t
berth_tto_int(const struct berth_tvalue *v)
{
    switch ((enum berth_tkind)v->kind) {
    case BERTH_T_BOOL:
        return v->b;
    case BERTH_T_INT:
    case BERTH_T_UINT:
        return v->i;
    case BERTH_T_FLOAT: /* beyond 64 bits, as an amd64 processor has it */
        return v->f >= -9223372036854775808.0 && v->f < 9223372036854775808.0 ? (int64_t)v->f
                                                                              : INT64_MIN;
    case BERTH_T_STRING:
        return text_int(v->s);
    case BERTH_T_NONE:
    case BERTH_T_NIL:
    case BERTH_T_LIST:
    case BERTH_T_MAP:
    case BERTH_T_OBJECT:
        break;
    }
    return 0;
}

double
berth_tto_float(const struct berth_tvalue *v)
{
    char at[80], *end;

    if (v->kind == BERTH_T_FLOAT)
        return v->f;
    if (v->kind == BERTH_T_UINT)
        return (double)v->u;
    if (v->kind != BERTH_T_STRING)
        return (double)berth_tto_int(v);
    if (v->s.len == 0 || v->s.len >= sizeof at || berth_ttrim_space(v->s).len != v->s.len ||
        memchr(v->s.at, '\0', v->s.len) != NULL)
        return 0;
    memcpy(at, v->s.at, v->s.len);
    at[v->s.len] = '\0';
    const double f = strtod(at, &end);
    return *end == '\0' ? f : 0;
}

BERTH_TFN(to_int)
{
    *ret = berth_tv_int(berth_tto_int(&argv[0]));
    return 0;
}

BERTH_TFN(to_int64)
{
    *ret = berth_tv_int64(berth_tto_int(&argv[0]));
    return 0;
}

BERTH_TFN(to_float)
{
    *ret = berth_tv_float(berth_tto_float(&argv[0]));
    return 0;
}

BERTH_TFN(tf_atoi)
{
    char at[32], *end;
    const struct berth_slice s = argv[0].s;
    long long v = 0;

    if (s.len > 0 && s.len < sizeof at &&
        (s.at[0] == '-' || s.at[0] == '+' || (s.at[0] >= '0' && s.at[0] <= '9'))) {
        memcpy(at, s.at, s.len);
        at[s.len] = '\0';
        v = strtoll(at, &end, 10); /* what is too large is the largest, as Go's */
        v = end == at + s.len && (at[0] >= '0' || (at[1] >= '0' && at[1] <= '9')) ? v : 0;
    }
    *ret = berth_tv_int(v);
    return 0;
}

/* Octal, as a file's mode is written. */
BERTH_TFN(to_decimal)
{
    struct berth_slice s;
    uint64_t v = 0;
    const int err = berth_trun_strval(r, &argv[0], &s);

    if (err < 0)
        return err;
    const bool minus = s.len > 0 && s.at[0] == '-';
    const size_t from = minus || (s.len > 0 && s.at[0] == '+');
    bool ok = s.len > from && s.len < 24;
    for (size_t i = from; i < s.len && ok; i++) {
        ok = s.at[i] >= '0' && s.at[i] <= '7' && v >> 60 == 0;
        v = v << 3 | (uint64_t)(s.at[i] & 7);
    }
    *ret = berth_tv_int64(ok ? (minus ? -(int64_t)v : (int64_t)v) : 0);
    return 0;
}

BERTH_TFN(add1)
{
    *ret = berth_tv_int64((int64_t)((uint64_t)berth_tto_int(&argv[0]) + 1));
    return 0;
}

BERTH_TFN(add)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < argc; i++)
        sum += (uint64_t)berth_tto_int(&argv[i]);
    *ret = berth_tv_int64((int64_t)sum);
    return 0;
}

BERTH_TFN(sub)
{
    *ret = berth_tv_int64(
        (int64_t)((uint64_t)berth_tto_int(&argv[0]) - (uint64_t)berth_tto_int(&argv[1])));
    return 0;
}

BERTH_TFN(mul)
{
    uint64_t product = 1;

    for (size_t i = 0; i < argc; i++)
        product *= (uint64_t)berth_tto_int(&argv[i]);
    *ret = berth_tv_int64((int64_t)product);
    return 0;
}

static int
divided(struct berth_trun *r, const struct berth_tvalue *argv, bool rest, struct berth_tvalue *ret)
{
    const int64_t x = berth_tto_int(&argv[0]), y = berth_tto_int(&argv[1]);

    if (y == 0)
        return berth_trun_fail(r, "division by zero");
    if (y == -1) /* the least number has no opposite */
        *ret = berth_tv_int64(rest ? 0 : (int64_t)(0 - (uint64_t)x));
    else
        *ret = berth_tv_int64(rest ? x % y : x / y);
    return 0;
}

BERTH_TFN(tf_div)
{
    return divided(r, argv, false, ret);
}

BERTH_TFN(mod)
{
    return divided(r, argv, true, ret);
}

static int
most(const struct berth_tvalue *argv, size_t argc, bool least, struct berth_tvalue *ret)
{
    int64_t best = berth_tto_int(&argv[0]);

    for (size_t i = 1; i < argc; i++) {
        const int64_t v = berth_tto_int(&argv[i]);
        if (least ? v < best : v > best)
            best = v;
    }
    *ret = berth_tv_int64(best);
    return 0;
}

BERTH_TFN(max)
{
    return most(argv, argc, false, ret);
}

BERTH_TFN(min)
{
    return most(argv, argc, true, ret);
}

static int
most_float(const struct berth_tvalue *argv, size_t argc, bool least, struct berth_tvalue *ret)
{
    double best = berth_tto_float(&argv[0]);

    for (size_t i = 1; i < argc; i++) {
        const double v = berth_tto_float(&argv[i]);
        if (v != v || (least ? v < best : v > best))
            best = v;
    }
    *ret = berth_tv_float(best);
    return 0;
}

BERTH_TFN(maxf)
{
    return most_float(argv, argc, false, ret);
}

BERTH_TFN(minf)
{
    return most_float(argv, argc, true, ret);
}

BERTH_TFN(tf_ceil)
{
    *ret = berth_tv_float(ceil(berth_tto_float(&argv[0])));
    return 0;
}

BERTH_TFN(tf_floor)
{
    *ret = berth_tv_float(floor(berth_tto_float(&argv[0])));
    return 0;
}

BERTH_TFN(tf_round)
{
    const double on = argc > 2 ? argv[2].f : 0.5;
    const double ten = pow(10, (double)argv[1].i), digit = ten * berth_tto_float(&argv[0]);
    double whole;
    const double rest = modf(digit, &whole);

    *ret = berth_tv_float((rest >= on ? ceil(digit) : floor(digit)) / ten);
    return 0;
}

static int
count_to(struct berth_trun *r, int64_t start, int64_t stop, int64_t step, struct berth_tvalue *ret)
{
    uint64_t n = 0;
    int err;

    if (stop < start && step < 0)
        n = ((uint64_t)start - (uint64_t)stop - 1) / (0 - (uint64_t)step) + 1;
    else if (stop > start && step > 0)
        n = ((uint64_t)stop - (uint64_t)start - 1) / (uint64_t)step + 1;
    struct berth_tvalue *at = berth_trun_values(r, n, &err);
    if (at == NULL)
        return err;
    for (uint64_t i = 0; i < n; i++)
        at[i] = berth_tv_int((int64_t)((uint64_t)start + i * (uint64_t)step));
    return berth_trun_list(r, at, n, BERTH_TT_OF_INT, ret);
}

BERTH_TFN(until)
{
    return count_to(r, 0, argv[0].i, argv[0].i < 0 ? -1 : 1, ret);
}

BERTH_TFN(until_step)
{
    return count_to(r, argv[0].i, argv[1].i, argv[2].i, ret);
}

/* The numbers with blanks between, as the shell's seq has them. */
BERTH_TFN(seq)
{
    const int64_t start = argc > 1 ? argv[0].i : 1;
    const int64_t end = argc == 0 ? 0 : argv[argc == 3 ? 2 : argc == 2 ? 1 : 0].i;
    const int64_t toward = end < start ? -1 : 1;
    const int64_t step = argc == 3 ? argv[1].i : toward;
    struct berth_tvalue l;
    struct berth_buf b;

    *ret = berth_tv_slice((struct berth_slice){"", 0});
    if (argc == 0 || argc > 3 || (argc == 3 && toward < 0 && step > 0) || end == INT64_MAX ||
        end == INT64_MIN)
        return 0;
    const int err = count_to(r, start, end + toward, step, &l);
    if (err < 0)
        return err;
    berth_trun_buf(r, &b);
    for (size_t i = 0; i < l.list->len; i++)
        berth_buf_printf(&b, i > 0 ? " %lld" : "%lld", (long long)l.list->at[i].i);
    return berth_trun_text(r, &b, ret);
}

/* clang-format off */
const struct berth_tfn berth_tfns_numbers[] = {
    {"int", "a", to_int}, {"int64", "a", to_int64}, {"float64", "a", to_float},
    {"atoi", "s", tf_atoi}, {"toDecimal", "a", to_decimal}, {"add1", "a", add1},
    {"add", "a*", add}, {"sub", "aa", sub}, {"mul", "aa*", mul}, {"div", "aa", tf_div},
    {"mod", "aa", mod}, {"max", "aa*", max}, {"biggest", "aa*", max}, {"min", "aa*", min},
    {"maxf", "aa*", maxf}, {"minf", "aa*", minf}, {"ceil", "a", tf_ceil}, {"floor", "a", tf_floor},
    {"round", "aif*", tf_round}, {"until", "i", until}, {"untilStep", "iii", until_step},
    {"seq", "i*", seq},
    {0},
};
/* clang-format on */
