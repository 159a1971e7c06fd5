#include "api/forward.h"

#include <string.h>

#include "base/arena.h"
#include "wire/json.h"

/*
 * A walk over JSON's bytes that looks at the outermost object alone.  It accepts more than JSON
 * (the text was parsed by whoever needs its values) and never reads beyond the end.
 */
struct walk {
    const char *at, *end;
};

static void
skip_blanks(struct walk *w)
{
    while (w->at < w->end && (*w->at == ' ' || *w->at == '\t' || *w->at == '\n' || *w->at == '\r'))
        w->at++;
}

static bool
skip_byte(struct walk *w, char c)
{
    skip_blanks(w);
    if (w->at == w->end || *w->at != c)
        return false;
    w->at++;
    return true;
}

/* A string with its quotes. */
static bool
skip_string(struct walk *w)
{
    if (!skip_byte(w, '"'))
        return false;
    for (; w->at < w->end; w->at++) {
        if (*w->at == '\\' && w->at + 1 < w->end)
            w->at++;
        else if (*w->at == '"') {
            w->at++;
            return true;
        }
    }
    return false;
}

/* Any value: how deep it is does not matter, as only its end is looked for. */
static bool
skip_value(struct walk *w)
{
    size_t depth = 0;

    skip_blanks(w);
    const char *from = w->at;
    while (w->at < w->end) {
        const char c = *w->at;

        if (c == '"') {
            if (!skip_string(w))
                return false;
        } else if (c == '{' || c == '[') {
            depth++;
            w->at++;
        } else if (depth == 0 && (c == ',' || c == '}' || c == ']')) {
            break;
        } else {
            depth -= c == '}' || c == ']';
            w->at++;
        }
        if (depth == 0 && (c == '"' || c == '}' || c == ']'))
            return true;
    }
    while (w->at > from && strchr(" \t\n\r", w->at[-1]) != NULL) /* behind a number or a word */
        w->at--;
    return depth == 0 && w->at > from;
}

/* "model", however it is written. */
static bool
is_model(struct berth_arena *a, struct berth_slice key)
{
    const struct berth_json *v;
    struct berth_slice text;

    if (memchr(key.at, '\\', key.len) == NULL)
        return berth_slice_is(key, "\"model\"");
    return berth_json_parse(a, key.at, key.len, NULL, &v, NULL) == 0 &&
           berth_json_string(v, &text) && berth_slice_is(text, "model");
}

int
berth_forward_rename(struct berth_arena *a, struct berth_slice body, const char *name,
                     struct berth_slice *ret, bool *ret_streams)
{
    struct walk w = {body.at, body.at + body.len};
    const char *copied = body.at; /* up to here it is in b */
    struct berth_buf b, quoted;
    struct berth_jw jw;

    berth_buf_init(&b, a);
    berth_buf_init(&quoted, a);
    berth_jw_init(&jw, &quoted);
    berth_jw_string(&jw, name);
    *ret_streams = false;
    if (quoted.failed)
        return -BERTH_ENOMEM;
    if (!skip_byte(&w, '{'))
        return -BERTH_EINVAL;
    for (bool more = !skip_byte(&w, '}'); more; more = skip_byte(&w, ',')) {
        skip_blanks(&w);
        struct berth_slice key = {w.at, 0};
        if (!skip_string(&w))
            return -BERTH_EINVAL;
        key.len = (size_t)(w.at - key.at);
        if (!skip_byte(&w, ':'))
            return -BERTH_EINVAL;
        skip_blanks(&w);
        const struct berth_slice value = {w.at, 0};
        if (!skip_value(&w))
            return -BERTH_EINVAL;
        const size_t len = (size_t)(w.at - value.at);
        if (len == 4 && berth_slice_is(key, "\"stream\"") && memcmp(value.at, "true", 4) == 0)
            *ret_streams = true;
        if (!is_model(a, key) || (len == quoted.len && memcmp(value.at, quoted.at, len) == 0))
            continue;
        if (copied == body.at) /* so that it grows once, whatever the names' lengths are */
            (void)berth_buf_reserve(&b, body.len + quoted.len);
        berth_buf_put(&b, copied, (size_t)(value.at - copied));
        berth_buf_put(&b, quoted.at, quoted.len);
        copied = w.at;
    }
    if (copied == body.at) {
        *ret = body;
        return 0;
    }
    berth_buf_put(&b, copied, (size_t)(body.at + body.len - copied));
    *ret = (struct berth_slice){b.at, b.len};
    return b.failed ? -BERTH_ENOMEM : 0;
}
