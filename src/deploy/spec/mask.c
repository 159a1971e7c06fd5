#include "deploy/spec/mask.h"

#include <ctype.h>
#include <string.h>

#include "base/buf.h"
#include "deploy/spec/spec.h"
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

/* Of "bearer" or "basic", as a word before another: its length with the blanks; otherwise 0. */
static size_t
scheme_len(const char *at, size_t len, size_t i)
{
    static const char *const schemes[] = {"bearer", "basic"};

    if (i > 0 && (isalnum((unsigned char)at[i - 1]) || at[i - 1] == '-' || at[i - 1] == '_'))
        return 0;
    for (size_t k = 0; k < sizeof schemes / sizeof schemes[0]; k++) {
        const size_t word = strlen(schemes[k]);
        size_t n = word;

        if (len - i < word || strncasecmp(at + i, schemes[k], word) != 0)
            continue;
        while (i + n < len && isspace((unsigned char)at[i + n]))
            n++;
        return n > word && i + n < len ? n : 0;
    }
    return 0;
}

/* Behind "://": the bytes up to a password ("user:"), and its own; *ret_secret 0: there is none. */
static size_t
login_len(const char *at, size_t len, size_t *ret_secret)
{
    size_t host = 0, colon = 0;

    *ret_secret = 0;
    for (size_t i = 0; i < len && !isspace((unsigned char)at[i]) && strchr("/?#\"'", at[i]) == NULL;
         i++) {
        if (at[i] == ':' && colon == 0)
            colon = i + 1;
        else if (at[i] == '@')
            host = i;
    }
    if (colon > 0 && host > colon)
        *ret_secret = host - colon;
    return colon;
}

/* What one sends to be let in: the word after Bearer or Basic, the password in an address. */
static void
put_logins_masked(struct berth_buf *b, const char *at, size_t len)
{
    for (size_t i = 0; i < len;) {
        size_t secret = 0, n = scheme_len(at, len, i);

        if (n > 0) {
            while (i + n + secret < len && strchr(" \t\r\n\"'", at[i + n + secret]) == NULL)
                secret++;
        } else if (len - i > 3 && memcmp(at + i, "://", 3) == 0) {
            n = 3 + login_len(at + i + 3, len - i - 3, &secret);
        } else {
            n = 1;
        }
        berth_buf_put(b, at + i, n);
        if (secret > 0)
            berth_buf_puts(b, stars);
        i += n + secret;
    }
}

/* *next: the first word follows a flag whose value is secret; afterwards: the last one is such. */
static void
put_text_masked(struct berth_buf *out, const char *at, size_t len, bool *next)
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
    put_logins_masked(out, b.at, b.len);
    out->failed |= b.failed;
    berth_buf_fini(&b);
}

static void
put_text(struct berth_jw *w, const char *at, size_t len, bool *next)
{
    struct berth_buf b;

    berth_buf_init(&b, NULL);
    put_text_masked(&b, at, len, next);
    if (b.failed)
        berth_jw_string(w, stars);
    else
        berth_jw_string_n(w, b.len > 0 ? b.at : "", b.len);
    berth_buf_fini(&b);
}

const char *
berth_mask_text(const char *key, const char *value, struct berth_arena *a)
{
    struct berth_buf b;
    bool next = false;

    if (berth_mask_whole(key))
        return stars;
    berth_buf_init(&b, a);
    put_text_masked(&b, value, strlen(value), &next);
    return b.len == 0 && !b.failed ? "" : berth_buf_text(&b);
}

bool
berth_mask_whole(const char *path)
{
    const char *dot = strrchr(path, '.');
    const char *key = dot != NULL ? dot + 1 : path;

    /* Lines for a shell hide secrets in more ways than can be told. */
    return strcmp(key, "preHook") == 0 || strcmp(key, "postHook") == 0 || berth_key_is_secret(path);
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
                       secret || berth_mask_whole(it.key.at) ||
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
