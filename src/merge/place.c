#include <string.h>

#include "base/arena.h"
#include "merge/merge_priv.h"

/* One of "a|b|c". */
static bool
is_one(const char *names, size_t len, struct berth_slice name)
{
    while (len > 0) {
        const char *bar = memchr(names, '|', len);
        const size_t n = bar != NULL ? (size_t)(bar - names) : len;

        if (n == name.len && memcmp(names, name.at, n) == 0)
            return true;
        if (bar == NULL)
            return false;
        names += n + 1;
        len -= n + 1;
    }
    return false;
}

/* From the end, where paths differ soonest. */
bool
place_fits(const struct place *at, const char *path)
{
    size_t len = strlen(path), depth = at->depth;

    while (len > 0) {
        const struct step *s = depth > 0 ? &at->steps[depth - 1] : NULL;

        if (len == 2 && memcmp(path, "**", 2) == 0)
            return true;
        if (s == NULL)
            return false;
        depth--;
        if (len > 2 && memcmp(path + len - 2, "[]", 2) == 0) {
            if (!s->element)
                return false;
            len -= 2;
            continue;
        }
        const char *dot = memrchr(path, '.', len);
        const size_t from = dot != NULL ? (size_t)(dot - path) + 1 : 0;
        if (s->element || !is_one(path + from, len - from, s->name))
            return false;
        len = from > 0 ? from - 1 : 0;
    }
    return depth == 0;
}

bool
place_enter(struct place *at, struct berth_slice name, bool element)
{
    if (at->depth == BERTH_JSON_DEPTH_MAX)
        return false;
    at->steps[at->depth++] = (struct step){name, element};
    return true;
}

const char *
place_text(const struct place *at, struct berth_arena *a)
{
    struct berth_buf b;

    berth_buf_init(&b, a);
    for (size_t i = 0; i < at->depth; i++) {
        const struct step *s = &at->steps[i];
        const int shown = s->name.len < 64 ? (int)s->name.len : 64; /* names come from outside */

        berth_buf_printf(&b, s->element ? "[%.*s]" : i > 0 ? ".%.*s" : "%.*s", shown, s->name.at);
    }
    return at->depth > 0 ? berth_buf_text(&b) : "(all of it)";
}
