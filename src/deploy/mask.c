#include "deploy/mask.h"

#include <ctype.h>
#include <string.h>

#include "base/buf.h"
#include "deploy/spec.h"
#include "wire/json.h"

enum { KEY_MAX = 128 };

static const char stars[] = "***";

/* A word of a command line: up to the next blank; one that begins with a quote, also behind a =, up
 * to the next of its kind. */
static size_t
word_len(const char *at, size_t len)
{
    size_t i = 0;

    while (i < len && !isspace((unsigned char)at[i])) {
        const char *end = NULL;
        if ((at[i] == '"' || at[i] == '\'') && (i == 0 || at[i - 1] == '='))
            end = memchr(at + i + 1, at[i], len - i - 1);
        i = end != NULL ? (size_t)(end - at) + 1 : i + 1;
    }
    return i;
}

/* Does the word say a secret ("API_KEY=x", "--token=x": then what is behind *ret_keep bytes of it),
 * or is the next one such (a flag alone: *ret_next)? */
static bool
says_secret(const char *word, size_t len, size_t *ret_keep, bool *ret_next)
{
    const char *is = memchr(word, '=', len);
    const size_t n = is != NULL ? (size_t)(is - word) : len;
    char key[KEY_MAX];

    *ret_next = false;
    if (n == 0 || n >= sizeof key || (is == NULL && word[0] != '-'))
        return false;
    memcpy(key, word, n);
    key[n] = '\0';
    if (!berth_key_is_secret(key))
        return false;
    *ret_next = is == NULL;
    *ret_keep = n + 1;
    return is != NULL;
}

/* *next: the first word follows a flag whose value is secret; afterwards: the last one is such. */
static void
put_text(struct berth_jw *w, const char *at, size_t len, bool *next)
{
    struct berth_buf b;
    size_t i = 0, keep = 0;

    berth_buf_init(&b, NULL);
    while (i < len) {
        const size_t n = word_len(at + i, len - i);
        if (n == 0) {
            berth_buf_putc(&b, at[i++]);
            continue;
        }
        const bool is_flag = at[i] == '-';
        if (*next && !is_flag) {
            berth_buf_puts(&b, stars);
            *next = false;
        } else if (says_secret(at + i, n, &keep, next)) {
            berth_buf_put(&b, at + i, keep);
            berth_buf_puts(&b, stars);
        } else {
            berth_buf_put(&b, at + i, n);
        }
        i += n;
    }
    if (b.failed)
        berth_jw_string(w, stars);
    else
        berth_jw_string_n(w, b.len > 0 ? b.at : "", b.len);
    berth_buf_fini(&b);
}

static void put(struct berth_jw *w, const struct berth_json *v, bool secret, bool *next);

static void
put_object(struct berth_jw *w, const struct berth_json *v, bool secret)
{
    struct berth_slice name;
    const bool pair =
        berth_json_string(berth_json_get(v, "key"), &name) && berth_key_is_secret(name.at);

    berth_jw_object(w);
    for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);) {
        berth_jw_key_n(w, it.key.at, it.key.len);
        berth_mask_put(w, it.value,
                       secret || berth_key_is_secret(it.key.at) ||
                           (pair && !berth_slice_is(it.key, "key")));
    }
    berth_jw_object_end(w);
}

static void
put(struct berth_jw *w, const struct berth_json *v, bool secret, bool *next)
{
    const enum berth_json_type type = berth_json_type(v);
    struct berth_slice text;
    bool word_next = false;

    if (type == BERTH_JSON_OBJECT) {
        put_object(w, v, secret);
    } else if (type == BERTH_JSON_ARRAY) {
        berth_jw_array(w);
        for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);)
            put(w, it.value, secret, &word_next);
        berth_jw_array_end(w);
    } else if (secret && type != BERTH_JSON_NULL) {
        berth_jw_string(w, stars);
    } else if (berth_json_string(v, &text) && *next && (text.len == 0 || text.at[0] != '-')) {
        berth_jw_string(w, stars); /* blanks in it are its own */
        *next = false;
    } else if (berth_json_string(v, &text)) {
        put_text(w, text.at, text.len, next);
    } else {
        berth_jw_value(w, v);
    }
}

void
berth_mask_put(struct berth_jw *w, const struct berth_json *v, bool secret)
{
    bool next = false;

    put(w, v, secret, &next);
}
