#include "wire/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yyjson.h>

#include "wire/json_priv.h"

enum { SHORT_MAX = 256 };

/* ---- the shape: commas, colons, depth ---- */

/* The top level holds one value; below it, bit depth-1 of filled says whether a comma is due. */
static void
before_value(struct berth_jw *w)
{
    if (w->after_key) {
        w->after_key = false;
        return;
    }
    if (w->depth == 0)
        return;
    const uint64_t bit = UINT64_C(1) << (w->depth - 1);
    if ((w->filled & bit) != 0)
        berth_buf_putc(w->b, ',');
    w->filled |= bit;
}

static void
open_with(struct berth_jw *w, char bracket)
{
    before_value(w);
    if (w->depth == BERTH_JSON_DEPTH_MAX) {
        w->b->failed = true;
        return;
    }
    berth_buf_putc(w->b, bracket);
    w->filled &= ~(UINT64_C(1) << w->depth);
    w->depth++;
}

static void
close_with(struct berth_jw *w, char bracket)
{
    if (w->depth == 0) {
        w->b->failed = true; /* more ends than beginnings */
        return;
    }
    w->depth--;
    berth_buf_putc(w->b, bracket);
}

void
berth_jw_init(struct berth_jw *w, struct berth_buf *b)
{
    *w = (struct berth_jw){.b = b};
}

void
berth_jw_object(struct berth_jw *w)
{
    open_with(w, '{');
}

void
berth_jw_object_end(struct berth_jw *w)
{
    close_with(w, '}');
}

void
berth_jw_array(struct berth_jw *w)
{
    open_with(w, '[');
}

void
berth_jw_array_end(struct berth_jw *w)
{
    close_with(w, ']');
}

/* Nearly every string is short and plain: one look for room, one pass. */
static void
put_string(struct berth_jw *w, const char *text, size_t len)
{
    char *to = len <= SHORT_MAX ? berth_buf_reserve(w->b, len + 2) : NULL;
    const size_t n = to != NULL ? berth_json_quote_plain(to, text, len) : 0;

    if (n > 0)
        w->b->len += n;
    else
        berth_json_quote(w->b, text, len);
}

void
berth_jw_key_n(struct berth_jw *w, const char *key, size_t len)
{
    before_value(w);
    put_string(w, key, len);
    berth_buf_putc(w->b, ':');
    w->after_key = true;
}

void
berth_jw_key(struct berth_jw *w, const char *key)
{
    berth_jw_key_n(w, key, strlen(key));
}

/* ---- scalars ---- */

void
berth_jw_string_n(struct berth_jw *w, const char *text, size_t len)
{
    before_value(w);
    put_string(w, text, len);
}

void
berth_jw_string(struct berth_jw *w, const char *text)
{
    if (text == NULL)
        berth_jw_null(w);
    else
        berth_jw_string_n(w, text, strlen(text));
}

void
berth_jw_uint(struct berth_jw *w, uint64_t v)
{
    char digits[20];
    size_t n = 0;

    before_value(w);
    do {
        digits[sizeof digits - ++n] = (char)('0' + v % 10);
        v /= 10;
    } while (v != 0);
    berth_buf_put(w->b, digits + sizeof digits - n, n);
}

void
berth_jw_pair(struct berth_jw *w, const char *key, const char *text)
{
    berth_jw_key(w, key);
    berth_jw_string(w, text);
}

void
berth_jw_pair_uint(struct berth_jw *w, const char *key, uint64_t v)
{
    berth_jw_key(w, key);
    berth_jw_uint(w, v);
}

void
berth_jw_int(struct berth_jw *w, int64_t v)
{
    if (v >= 0) {
        berth_jw_uint(w, (uint64_t)v);
        return;
    }
    before_value(w);
    berth_buf_putc(w->b, '-');
    w->after_key = true; /* the digits follow at once */
    berth_jw_uint(w, -(uint64_t)v);
}

void
berth_jw_bool(struct berth_jw *w, bool v)
{
    before_value(w);
    berth_buf_puts(w->b, v ? "true" : "false");
}

void
berth_jw_null(struct berth_jw *w)
{
    before_value(w);
    berth_buf_puts(w->b, "null");
}

/* yyjson asks for memory to write one number into: give it the buffer's own end. */
static void *
lend(void *room, size_t n)
{
    return n <= BERTH_JSON_NUMBER_MAX ? room : NULL;
}

static void *
lend_more(void *room, void *old, size_t old_size, size_t n)
{
    (void)old;
    (void)old_size;
    return lend(room, n);
}

static void
lend_back(void *room, void *at)
{
    (void)room;
    (void)at;
}

void
berth_jw_double(struct berth_jw *w, double v)
{
    yyjson_val number = {.tag = YYJSON_TYPE_NUM | YYJSON_SUBTYPE_REAL, .uni.f64 = v};
    size_t len = 0;

    if (!isfinite(v)) {
        berth_jw_null(w);
        return;
    }
    before_value(w);
    char *room = berth_buf_reserve(w->b, BERTH_JSON_NUMBER_MAX);
    const yyjson_alc alc = {lend, lend_more, lend_back, room};
    if (room == NULL)
        return;
    if (yyjson_val_write_opts(&number, YYJSON_WRITE_NOFLAG, &alc, &len, NULL) == NULL)
        w->b->failed = true;
    else
        w->b->len += len;
}

void
berth_jw_float(struct berth_jw *w, float v)
{
    if (!isfinite(v)) {
        berth_jw_null(w);
        return;
    }
    before_value(w);
    char *room = berth_buf_reserve(w->b, BERTH_JSON_NUMBER_MAX);
    if (room != NULL)
        w->b->len += berth_json_float_text(v, room);
}

/* ---- whole values ---- */

void
berth_jw_raw(struct berth_jw *w, const char *text, size_t len)
{
    before_value(w);
    berth_buf_put(w->b, text, len);
}

void
berth_jw_value(struct berth_jw *w, const struct berth_json *v)
{
    before_value(w);
    berth_json_put(w->b, v);
}

void
berth_json_put(struct berth_buf *b, const struct berth_json *v)
{
    struct berth_jw w;
    struct berth_json_iter stack[BERTH_JSON_DEPTH_MAX];
    size_t depth = 0;
    const struct berth_json *now = v;

    berth_jw_init(&w, b);
    for (;;) { /* bounded: every round writes one value of a finite tree, or closes one */
        const enum berth_json_type type = berth_json_type(now);
        if (type == BERTH_JSON_ARRAY || type == BERTH_JSON_OBJECT) {
            if (depth == BERTH_JSON_DEPTH_MAX) {
                b->failed = true;
                return;
            }
            open_with(&w, type == BERTH_JSON_ARRAY ? '[' : '{');
            stack[depth++] = berth_json_iter(now);
        } else {
            berth_json_put_scalar(&w, now);
        }
        while (depth > 0 && !berth_json_next(&stack[depth - 1]))
            close_with(&w, stack[--depth].object_ ? '}' : ']');
        if (depth == 0)
            return;
        if (stack[depth - 1].object_)
            berth_jw_key_n(&w, stack[depth - 1].key.at, stack[depth - 1].key.len);
        now = stack[depth - 1].value;
    }
}
