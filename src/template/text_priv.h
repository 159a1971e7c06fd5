#ifndef BERTH_TEMPLATE_TEXT_PRIV_H
#define BERTH_TEMPLATE_TEXT_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct berth_trun;
struct berth_tvalue;

enum { BERTH_TRUNE_BAD = 0xfffd };

/* The first character of text (len > 0): how many bytes it has.  What is not UTF-8 is one byte of
 * BERTH_TRUNE_BAD. */
size_t berth_trune(const char *text, size_t len, uint32_t *ret);
/* Its bytes; how many. */
size_t berth_trune_put(uint32_t rune, char ret[4]);
void berth_trune_append(struct berth_buf *b, uint32_t rune);
/* Characters in text. */
size_t berth_trune_count(struct berth_slice s);

/* Go's unicode package. */
uint32_t berth_trune_upper(uint32_t rune);
uint32_t berth_trune_lower(uint32_t rune);
bool berth_trune_is_upper(uint32_t rune);
bool berth_trune_is_lower(uint32_t rune);
bool berth_trune_is_letter(uint32_t rune);
bool berth_trune_is_digit(uint32_t rune);
bool berth_trune_is_space(uint32_t rune);
bool berth_trune_is_print(uint32_t rune);

/* Go's strconv.ParseInt with base 0, of at most 79 characters: false, and ret untouched, for what
 * is no whole number of 64 bits. */
bool berth_twhole(const char *s, int64_t *ret);

/* Go's strconv.Quote, with `quote` around it. */
void berth_tquote(struct berth_buf *b, struct berth_slice s, char quote, bool ascii);

/* A number as strconv.FormatFloat has it; verb one of eEfgG, prec -1: as many digits as it needs.
 * a %g of those has an exponent from 10 to the exp_from on: 6 as printed, 21 in JSON. */
void berth_tfloat_put(struct berth_buf *b, double f, char verb, int prec, int exp_from);

/* How one value is to be printed: the flags of a verb, and what they write to. */
struct berth_tfmt {
    struct berth_trun *r;
    struct berth_buf *b;
    bool plus, minus, sharp, space, zero, has_width, has_prec;
    bool plus_v, sharp_v; /* %+v, %#v */
    int width, prec;
};
/* As fmt.Print, fmt.Sprintf, fmt.Println; verb is 'v' or any other character. */
int berth_tfmt_value(struct berth_tfmt *f, uint32_t verb, const struct berth_tvalue *v,
                     unsigned depth);
int berth_tprint(struct berth_trun *r, struct berth_buf *b, const struct berth_tvalue *argv,
                 size_t argc);
int berth_tprintln(struct berth_trun *r, struct berth_buf *b, const struct berth_tvalue *argv,
                   size_t argc);
int berth_tprintf(struct berth_trun *r, struct berth_buf *b, struct berth_slice fmt,
                  const struct berth_tvalue *argv, size_t argc);

#endif
