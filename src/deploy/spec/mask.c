#include "deploy/spec/mask.h"

#include <ctype.h>
#include <string.h>

#include "base/buf.h"
#include "deploy/spec/spec.h"
#include "wire/json.h"

enum { KEY_MAX = 128 };

static const char stars[] = "***";

/* What the flag before a word says of it. */
enum next { NEXT_NONE, NEXT_SECRET, NEXT_HEADER, NEXT_LOGIN };

/* A word of a command line: up to the next blank; one that begins with a quote, also behind a = or
 * a flag of one letter, up to the next of its kind. */
static size_t
word_len(const char *at, size_t len)
{
    size_t i = 0;

    while (i < len && !isspace((unsigned char)at[i])) {
        const char *end = NULL;
        if ((at[i] == '"' || at[i] == '\'') &&
            (i == 0 || at[i - 1] == '=' || (i == 2 && at[0] == '-')))
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

/* ---- headers and logins ---- */

/* A word without the quotes around it: where it begins and ends. */
static void
inside(const char *at, size_t len, size_t *ret_from, size_t *ret_to)
{
    const bool quoted = len > 0 && (at[0] == '"' || at[0] == '\'');

    *ret_from = quoted;
    *ret_to = quoted && len > 1 && at[len - 1] == at[0] ? len - 1 : len;
}

/* Is it "NAME: value" of a header that lets one in?  *ret_keep: the bytes before the secret, with
 * "Bearer " or "Basic ".  blank: there has to be one behind the colon, since "NAME:value" without a
 * flag that says so may be anything. */
static bool
is_header(const char *at, size_t len, bool blank, size_t *ret_keep)
{
    static const char *const names[] = {"authorization", "proxy-authorization", "cookie"};
    const char *colon = memchr(at, ':', len);
    const size_t n = colon != NULL ? (size_t)(colon - at) : 0;
    char name[KEY_MAX];
    size_t i = n + 1;

    if (n == 0 || n >= sizeof name)
        return false;
    memcpy(name, at, n);
    name[n] = '\0';
    bool is = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == n;
    bool secret = is && berth_key_is_secret(name);
    for (size_t k = 0; is && k < sizeof names / sizeof names[0]; k++)
        secret |= strcasecmp(name, names[k]) == 0;
    while (i < len && isspace((unsigned char)at[i]))
        i++;
    *ret_keep = i + (i < len ? scheme_len(at, len, i) : 0);
    return secret && (i > n + 1 || !blank);
}

/* Is it "USER:password"?  Numbers alone are those of a user and a group. */
static bool
is_login(const char *at, size_t len, size_t *ret_keep)
{
    const char *colon = memchr(at, ':', len);
    bool digits = true;

    if (colon == NULL || colon + 1 == at + len || (colon + 2 < at + len && colon[1] == '/'))
        return false;
    for (size_t i = 0; i < len; i++)
        digits &= isdigit((unsigned char)at[i]) || at[i] == ':';
    *ret_keep = (size_t)(colon - at) + 1;
    return !digits;
}

/* Does a word hold what its flag says?  *ret_keep: the bytes of it before the secret. */
static bool
holds(const char *at, size_t len, enum next what, size_t *ret_keep)
{
    return (what == NEXT_HEADER && is_header(at, len, false, ret_keep)) ||
           (what == NEXT_LOGIN && is_login(at, len, ret_keep));
}

/* The word that a flag says something of.  True: it was a header's name alone, and its value is yet
 * to come. */
static bool
put_said(struct berth_buf *b, const char *at, size_t len, enum next what)
{
    size_t from, to, keep = 0;

    inside(at, len, &from, &to);
    const char *text = at + from;
    const size_t n = to - from;
    if (what == NEXT_SECRET) {
        berth_buf_puts(b, stars);
    } else if (holds(text, n, what, &keep)) {
        berth_buf_put(b, at, from + keep);
        if (keep < n)
            berth_buf_puts(b, stars);
        berth_buf_put(b, at + to, len - to);
        return keep == n;
    } else {
        berth_buf_put(b, at, len);
    }
    return false;
}

/* What a flag says of the next word, or of what is behind *ret_keep bytes of its own. */
static enum next
says_next(const char *word, size_t len, size_t *ret_keep)
{
    static const struct {
        const char *flag;
        enum next next;
    } flags[] = {
        {"-H", NEXT_HEADER},         {"--header", NEXT_HEADER}, {"--proxy-header", NEXT_HEADER},
        {"-u", NEXT_LOGIN},          {"-U", NEXT_LOGIN},        {"--user", NEXT_LOGIN},
        {"--proxy-user", NEXT_LOGIN}};

    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        const size_t n = strlen(flags[i].flag);
        size_t from, to, keep;

        if (len < n || memcmp(word, flags[i].flag, n) != 0)
            continue;
        *ret_keep = len > n && word[n] == '=' ? n + 1 : n;
        if (len == n || word[n] == '=')
            return flags[i].next;
        inside(word + n, len - n, &from, &to);
        if (n == 2 && holds(word + n + from, to - from, flags[i].next, &keep))
            return flags[i].next; /* "-uann:p"; but "-up" is another flag */
    }
    return NEXT_NONE;
}

/* One word.  *next: what the one before it says of it; afterwards: what it says of the next one. */
static void
put_word(struct berth_buf *b, const char *at, size_t len, enum next *next)
{
    const enum next said = *next;
    size_t keep = 0, from, to;
    bool then = false;

    *next = NEXT_NONE;
    if (said != NEXT_NONE && at[0] != '-') {
        *next = put_said(b, at, len, said) ? NEXT_SECRET : NEXT_NONE;
    } else if (says_secret(at, len, &keep, &then)) {
        berth_buf_put(b, at, keep);
        berth_buf_puts(b, stars);
    } else if (at[0] == '-' && (*next = says_next(at, len, &keep)) != NEXT_NONE) {
        berth_buf_put(b, at, keep);
        if (keep < len)
            *next = put_said(b, at + keep, len - keep, *next) ? NEXT_SECRET : NEXT_NONE;
    } else if (then) {
        berth_buf_put(b, at, len);
        *next = NEXT_SECRET;
    } else {
        inside(at, len, &from, &to);
        (void)put_said(b, at, len,
                       is_header(at + from, to - from, true, &keep) ? NEXT_HEADER : NEXT_NONE);
    }
}

/* *next: what is said of the first word; afterwards: what the last one says. */
static void
put_text_masked(struct berth_buf *out, const char *at, size_t len, enum next *next)
{
    struct berth_buf b;
    size_t i = 0, keep;

    berth_buf_init(&b, NULL);
    if (*next == NEXT_NONE && is_header(at, len, true, &keep)) { /* all of it is one */
        (void)put_said(&b, at, len, NEXT_HEADER);
        i = len;
    }
    while (i < len) {
        const size_t n = word_len(at + i, len - i);

        if (n == 0) {
            berth_buf_putc(&b, at[i++]);
            continue;
        }
        if (*next == NEXT_SECRET && at[i] != '-' && scheme_len(at, len, i) > 0)
            *next = NEXT_NONE; /* what lets one in is behind "Bearer" */
        put_word(&b, at + i, n, next);
        i += n;
    }
    put_logins_masked(out, b.at, b.len);
    out->failed |= b.failed;
    berth_buf_fini(&b);
}

static void
put_text(struct berth_jw *w, const char *at, size_t len, enum next *next)
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

/* A word of a list that the one before it says something of. */
static void
put_one(struct berth_jw *w, const char *at, size_t len, enum next said)
{
    enum next none = NEXT_NONE;
    struct berth_buf b;

    berth_buf_init(&b, NULL);
    (void)put_said(&b, at, len, said);
    if (b.failed)
        berth_jw_string(w, stars);
    else
        put_text(w, b.len > 0 ? b.at : "", b.len, &none);
    berth_buf_fini(&b);
}

const char *
berth_mask_text(const char *key, const char *value, struct berth_arena *a)
{
    struct berth_buf b;
    enum next next = NEXT_NONE;

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

static void put(struct berth_jw *w, const struct berth_json *v, bool secret, enum next *next);

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
put(struct berth_jw *w, const struct berth_json *v, bool secret, enum next *next)
{
    const enum berth_json_type type = berth_json_type(v);
    struct berth_slice text;
    enum next word_next = NEXT_NONE;

    if (type == BERTH_JSON_OBJECT) {
        put_object(w, v, secret);
    } else if (type == BERTH_JSON_ARRAY) {
        berth_jw_array(w);
        for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);)
            put(w, it.value, secret, &word_next);
        berth_jw_array_end(w);
    } else if (secret && type != BERTH_JSON_NULL) {
        berth_jw_string(w, stars);
    } else if (berth_json_string(v, &text) && *next != NEXT_NONE &&
               (text.len == 0 || text.at[0] != '-')) { /* blanks in it are its own */
        put_one(w, text.at, text.len, *next);
        *next = NEXT_NONE;
    } else if (berth_json_string(v, &text)) {
        put_text(w, text.at, text.len, next);
    } else {
        berth_jw_value(w, v);
    }
}

void
berth_mask_put(struct berth_jw *w, const struct berth_json *v, bool secret)
{
    enum next next = NEXT_NONE;

    put(w, v, secret, &next);
}
