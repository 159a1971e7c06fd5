#include "base/num.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

bool
berth_int_parse(const char *text, size_t len, int64_t min, int64_t max, int64_t *ret)
{
    bool negative = len > 0 && text[0] == '-';
    size_t i = negative ? 1 : 0;
    int64_t n = 0;

    if (i == len)
        return false;
    for (; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        int digit = text[i] - '0';
        if (__builtin_mul_overflow(n, 10, &n) || __builtin_sub_overflow(n, digit, &n))
            return false;
    }
    if (!negative && __builtin_sub_overflow((int64_t)0, n, &n))
        return false;
    if (n < min || n > max)
        return false;
    *ret = n;
    return true;
}

int
berth_hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool
berth_float_parse(const char *text, size_t len, double *ret)
{
    char copy[64];
    char *end;

    if (len == 0 || len >= sizeof copy || strchr("+-.0123456789", text[0]) == NULL)
        return false;
    memcpy(copy, text, len);
    copy[len] = '\0';
    errno = 0;
    double d = strtod(copy, &end);
    if (end != copy + len || !isfinite(d))
        return false;
    *ret = d;
    return true;
}

static float
bits_float(uint32_t bits)
{
    float f;

    memcpy(&f, &bits, sizeof f);
    return f;
}

static uint32_t
float_bits(float f)
{
    uint32_t bits;

    memcpy(&bits, &f, sizeof bits);
    return bits;
}

float
berth_half_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t exponent = (h >> 10) & 0x1fu;
    uint32_t fraction = h & 0x3ffu;

    if (exponent == 0x1f)
        return bits_float(sign | 0x7f800000u | (fraction << 13));
    if (exponent != 0)
        return bits_float(sign | ((exponent + 112) << 23) | (fraction << 13));
    /* Subnormal: fraction * 2^-24, exact in single precision. */
    float f = (float)fraction * 0x1p-24f;
    return sign != 0 ? -f : f;
}

uint16_t
berth_float_to_half(float f)
{
    uint32_t bits = float_bits(f);
    uint16_t sign = (uint16_t)((bits >> 16) & 0x8000u);
    uint32_t magnitude = bits & 0x7fffffffu;

    if (magnitude > 0x7f800000u) /* NaN: keep it one, quiet */
        return (uint16_t)(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
    if (magnitude >= 0x477ff000u) /* 65520 and more round to infinity */
        return (uint16_t)(sign | 0x7c00u);
    if (magnitude < 0x38800000u) { /* below 2^-14: subnormal; the FPU rounds to nearest even */
        float scaled = bits_float(magnitude) * 0x1p24f;
        return (uint16_t)(sign | (uint16_t)lrintf(scaled));
    }
    uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
    return (uint16_t)(sign | (uint16_t)((rounded - 0x38000000u) >> 13));
}

float
berth_bf16_to_float(uint16_t b)
{
    return bits_float((uint32_t)b << 16);
}

uint16_t
berth_float_to_bf16(float f)
{
    uint32_t bits = float_bits(f);

    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)((bits >> 16) | 0x40u);
    return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
