#include "cmd/bench_stages.h"

#include <string.h>

#include "base/num.h"

static struct berth_slice
trim(struct berth_slice s)
{
    while (s.len > 0 && (s.at[0] == ' ' || s.at[0] == '\t')) {
        s.at++;
        s.len--;
    }
    while (s.len > 0 && (s.at[s.len - 1] == ' ' || s.at[s.len - 1] == '\t'))
        s.len--;
    return s;
}

/* The part before mark, trimmed; *rest goes behind it. */
static struct berth_slice
cut(struct berth_slice *rest, char mark)
{
    const char *end = rest->len > 0 ? memchr(rest->at, mark, rest->len) : NULL;
    const struct berth_slice part = {rest->at, end != NULL ? (size_t)(end - rest->at) : rest->len};
    const size_t gone = part.len + (end != NULL);

    rest->at += gone;
    rest->len -= gone;
    return trim(part);
}

static void
put(struct berth_stages *s, struct berth_slice name, double ms, uint64_t times)
{
    size_t i = 0;

    if (name.len == 0 || name.len >= BERTH_STAGE_NAME_MAX)
        return;
    while (i < s->count && !berth_slice_is(name, s->at[i].name))
        i++;
    if (i == BERTH_STAGES_MAX)
        return;
    if (i == s->count) {
        s->count++;
        memcpy(s->at[i].name, name.at, name.len);
        s->at[i].name[name.len] = '\0';
        s->at[i].ms = 0;
        s->at[i].times = 0;
    }
    s->at[i].ms += ms;
    s->at[i].times += times;
}

void
berth_stages_parse(struct berth_stages *s, struct berth_slice value)
{
    s->count = 0;
    while (value.len > 0) {
        struct berth_slice entry = cut(&value, ',');
        const struct berth_slice name = cut(&entry, ';');
        while (entry.len > 0) {
            const struct berth_slice word = cut(&entry, ';');
            double ms;
            if (word.len > 4 && memcmp(word.at, "dur=", 4) == 0 &&
                berth_float_parse(word.at + 4, word.len - 4, &ms) && ms >= 0)
                put(s, name, ms, 1);
        }
    }
}

void
berth_stages_add(struct berth_stages *sum, const struct berth_stages *more)
{
    for (size_t i = 0; i < more->count; i++)
        put(sum, berth_slice_of(more->at[i].name), more->at[i].ms, more->at[i].times);
}
