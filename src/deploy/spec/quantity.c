#include <string.h>

#include "base/num.h"
#include "deploy/spec/spec.h"

/*
 * Kubernetes' quantities: a decimal number with a suffix (k M G T P E, their binary kin Ki ... Ei,
 * m for thousandths, n and u below that) or an exponent.  Exact: numbers are kept as integers.
 * Source: the Quantity type of Kubernetes' API conventions.
 */
struct number {
    uint64_t digits;   /* all of them, without the point */
    uint32_t decimals; /* how many of them stand behind it */
    const char *rest;
};

enum { DIGITS_MAX = 18 };

static bool
read_number(const char *text, struct number *ret)
{
    uint32_t count = 0;
    bool point = false;

    *ret = (struct number){.rest = text};
    if (*ret->rest == '+')
        ret->rest++;
    for (; (*ret->rest >= '0' && *ret->rest <= '9') || (*ret->rest == '.' && !point); ret->rest++) {
        if (*ret->rest == '.') {
            point = true;
            continue;
        }
        if (++count > DIGITS_MAX)
            return false;
        ret->digits = ret->digits * 10 + (uint64_t)(*ret->rest - '0');
        ret->decimals += point;
    }
    return count > 0;
}

/* digits * mul / 10^(decimals + down), rounded up, as Kubernetes does. */
static bool
scale(const struct number *n, uint64_t mul, uint32_t down, uint64_t *ret)
{
    unsigned __int128 v = (unsigned __int128)n->digits * mul;

    for (uint32_t i = 0; i < n->decimals + down; i++)
        v = (v + 9) / 10;
    if (v > INT64_MAX)
        return false;
    *ret = (uint64_t)v;
    return true;
}

static bool
power(uint64_t base, uint32_t times, uint64_t *ret)
{
    for (*ret = 1; times > 0; times--)
        if (__builtin_mul_overflow(*ret, base, ret))
            return false;
    return true;
}

/* The quantity in units of 10^-down_wanted: 0 for bytes, 3 for thousandths. */
static bool
parse(const char *text, uint32_t thousandths, uint64_t *ret)
{
    static const char big[] = "kMGTPE", binary[] = "KMGTPE";
    struct number n;
    uint64_t mul;
    uint32_t down = 0;
    const char *at;
    int64_t exponent = 0;

    if (!read_number(text, &n) || !power(10, thousandths, &mul))
        return false;
    uint64_t unit = 1;
    if (n.rest[0] == '\0')
        ;
    else if (n.rest[1] == 'i' && n.rest[2] == '\0' && (at = strchr(binary, n.rest[0])) != NULL) {
        if (!power(1024, (uint32_t)(at - binary) + 1, &unit))
            return false;
    } else if (n.rest[1] == '\0' && (at = strchr(big, n.rest[0])) != NULL) {
        if (!power(1000, (uint32_t)(at - big) + 1, &unit))
            return false;
    } else if (strcmp(n.rest, "m") == 0 || strcmp(n.rest, "u") == 0 || strcmp(n.rest, "n") == 0) {
        down = n.rest[0] == 'm' ? 3 : n.rest[0] == 'u' ? 6 : 9;
    } else if ((n.rest[0] == 'e' || n.rest[0] == 'E') &&
               berth_int_parse(n.rest + 1 + (n.rest[1] == '+'),
                               strlen(n.rest + 1 + (n.rest[1] == '+')), -18, 18, &exponent)) {
        down = exponent < 0 ? (uint32_t)-exponent : 0;
        if (exponent > 0 && !power(10, (uint32_t)exponent, &unit))
            return false;
    } else {
        return false;
    }
    return !__builtin_mul_overflow(mul, unit, &mul) && scale(&n, mul, down, ret);
}

int
berth_quantity_cpu(const char *text, uint64_t *ret_milli, struct berth_err *e)
{
    if (!parse(text, 3, ret_milli))
        return berth_err_set(e, BERTH_EINVAL,
                             "\"%.60s\" is no number of cores; write 4, 1.5 or 500m", text);
    return 0;
}

int
berth_quantity_bytes(const char *text, uint64_t *ret_bytes, struct berth_err *e)
{
    if (!parse(text, 0, ret_bytes))
        return berth_err_set(
            e, BERTH_EINVAL,
            "\"%.60s\" is no amount of memory; write 16Gi, 512Mi or a number of bytes", text);
    return 0;
}
