#ifndef BERTH_NUM_H
#define BERTH_NUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Size arithmetic on numbers from outside.  False, and *ret untouched, on overflow. */
static inline bool
berth_add(size_t a, size_t b, size_t *ret)
{
    size_t r;

    if (__builtin_add_overflow(a, b, &r))
        return false;
    *ret = r;
    return true;
}

static inline bool
berth_mul(size_t a, size_t b, size_t *ret)
{
    size_t r;

    if (__builtin_mul_overflow(a, b, &r))
        return false;
    *ret = r;
    return true;
}

/* Whole decimal text of len bytes to a number within [min, max]; no sign but '-', no blanks. */
bool berth_int_parse(const char *text, size_t len, int64_t min, int64_t max, int64_t *ret);
/* What a hexadecimal digit of either case stands for, or -1. */
int berth_hex_digit(char c);
/* Whole text to a finite double. */
bool berth_float_parse(const char *text, size_t len, double *ret);

/* IEEE half precision and bfloat16, round to nearest even. */
float berth_half_to_float(uint16_t h);
uint16_t berth_float_to_half(float f);
float berth_bf16_to_float(uint16_t b);
uint16_t berth_float_to_bf16(float f);

#endif
