#ifndef BERTH_JSON_H
#define BERTH_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/err.h>

#include "base/buf.h"

struct berth_arena;

/*
 * JSON (RFC 8259) as an immutable tree.  Values are borrowed from the tree, which lives in the
 * arena it was parsed into, until that is reset.  Any thread may read a tree.
 */
struct berth_json; /* one value */

enum berth_json_type {
    BERTH_JSON_NULL,
    BERTH_JSON_BOOL,
    BERTH_JSON_INT,  /* a number without fraction or exponent that fits int64_t or uint64_t */
    BERTH_JSON_REAL, /* any other number */
    BERTH_JSON_STRING,
    BERTH_JSON_ARRAY,
    BERTH_JSON_OBJECT,
};

enum { BERTH_JSON_DEPTH_MAX = 64 }; /* arrays and objects within each other */

struct berth_json_parse {
    bool allow_nan; /* take NaN, Infinity and -Infinity as numbers */
};

/*
 * Parse one value and nothing after it but blanks.  Well-formed UTF-8 only; duplicate keys: the
 * last one wins.  how may be NULL.  text is copied from where needed and may go afterwards.
 *   -BERTH_EINVAL  with the place: "line 3, column 14: unexpected character"
 *   -BERTH_ENOMEM  the arena's limit
 */
int berth_json_parse(struct berth_arena *a, const char *text, size_t len,
                     const struct berth_json_parse *how, const struct berth_json **ret,
                     struct berth_err *e);

/* All readers take NULL for "not there" and answer false, 0 or NULL. */
enum berth_json_type berth_json_type(const struct berth_json *v); /* of NULL: BERTH_JSON_NULL */
const char *berth_json_type_name(const struct berth_json *v);     /* "a string", "an object", ... */
bool berth_json_bool(const struct berth_json *v, bool *ret);
bool berth_json_int(const struct berth_json *v,
                    int64_t *ret); /* false for 1.0, 1e3 and > INT64_MAX */
bool berth_json_uint(const struct berth_json *v, uint64_t *ret); /* false for negative ones */
bool berth_json_real(const struct berth_json *v, double *ret);   /* any number */
/* The text is NUL-ended (and may contain NULs before: compare len). */
bool berth_json_string(const struct berth_json *v, struct berth_slice *ret);
/* The elements of an array as floats, at most cap of them: how many from the first on are numbers
 * that are finite as float.  Fast: for tensors. */
size_t berth_json_floats(const struct berth_json *v, float *ret, size_t cap);
/* Elements of an array, members of an object; else 0. */
size_t berth_json_len(const struct berth_json *v);
/* Member by key (NUL-ended), or NULL when v is no object or has none. */
const struct berth_json *berth_json_get(const struct berth_json *v, const char *key);

/* A member's value, or the default when it is missing or of another type: 0, false, dflt.  The text
 * is borrowed; copy cuts what has no room. */
uint64_t berth_json_member_uint(const struct berth_json *v, const char *key);
bool berth_json_member_bool(const struct berth_json *v, const char *key);
const char *berth_json_member_text(const struct berth_json *v, const char *key, const char *dflt);
void berth_json_member_copy(const struct berth_json *v, const char *key, char *ret, size_t cap);

/* for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);) ... it.key, it.value
 * Works on arrays (key empty) and objects; on anything else the body never runs. */
struct berth_json_iter {
    struct berth_slice key;
    const struct berth_json *value;
    size_t index;
    const struct berth_json *next_; /* private */
    size_t left_;
    bool object_;
};
struct berth_json_iter berth_json_iter(const struct berth_json *v);
bool berth_json_next(struct berth_json_iter *it);

/* Write a value back as compact JSON text. */
void berth_json_put(struct berth_buf *b, const struct berth_json *v);

/*
 * Writing: append to a buffer; commas and colons come by themselves.  Look at b->failed (or
 * berth_buf_text()) at the end.  Depth at most BERTH_JSON_DEPTH_MAX.
 */
struct berth_jw {
    struct berth_buf *b;
    uint64_t filled; /* a bit per depth: something was written there */
    unsigned depth;
    bool after_key;
};
void berth_jw_init(struct berth_jw *w, struct berth_buf *b);
void berth_jw_object(struct berth_jw *w); /* { */
void berth_jw_object_end(struct berth_jw *w);
void berth_jw_array(struct berth_jw *w); /* [ */
void berth_jw_array_end(struct berth_jw *w);
void berth_jw_key(struct berth_jw *w, const char *key);
void berth_jw_key_n(struct berth_jw *w, const char *key, size_t len);
void berth_jw_string(struct berth_jw *w, const char *text); /* NULL writes null */
void berth_jw_string_n(struct berth_jw *w, const char *text,
                       size_t len); /* bad UTF-8 becomes U+FFFD */
void berth_jw_pair(struct berth_jw *w, const char *key, const char *text); /* a key, a string */
void berth_jw_pair_uint(struct berth_jw *w, const char *key, uint64_t v);
void berth_jw_int(struct berth_jw *w, int64_t v);
void berth_jw_uint(struct berth_jw *w, uint64_t v);
void berth_jw_double(struct berth_jw *w,
                     double v); /* shortest that reads back the same; NaN and Inf: null */
void berth_jw_float(struct berth_jw *w,
                    float v); /* likewise for single precision: 0.1, not 0.10000000149 */
void berth_jw_bool(struct berth_jw *w, bool v);
void berth_jw_null(struct berth_jw *w);
void berth_jw_value(struct berth_jw *w, const struct berth_json *v);
/* v with patch applied to it (RFC 7386): members replace members, null takes them away.  v NULL:
 * an empty object. */
void berth_jw_merged(struct berth_jw *w, const struct berth_json *v,
                     const struct berth_json *patch);
void berth_jw_raw(struct berth_jw *w, const char *json, size_t len); /* text that is JSON already */

/* Append what a writer wrote, laid out for people: a member or element a line, two spaces a depth.
 */
void berth_json_indent(struct berth_buf *b, const char *json, size_t len);

#endif
