#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/arena.h"

enum { FIRST_BYTES = 256, MAX_BYTES_DEFAULT = 1 << 30 };

bool
berth_slice_is_nocase(struct berth_slice s, const char *text)
{
    return strlen(text) == s.len && strncasecmp(s.at, text, s.len) == 0;
}

void
berth_buf_init(struct berth_buf *b, struct berth_arena *arena)
{
    *b = (struct berth_buf){.arena = arena};
}

void
berth_buf_fini(struct berth_buf *b)
{
    if (b->arena == NULL)
        free(b->at);
    *b = (struct berth_buf){.arena = b->arena};
}

static bool
enlarge(struct berth_buf *b, size_t need)
{
    size_t max = b->max != 0 ? b->max : MAX_BYTES_DEFAULT;
    size_t cap = b->cap != 0 ? b->cap : FIRST_BYTES;
    char *at;

    if (need > max)
        return false;
    while (cap < need)
        cap *= 2;
    cap = cap < max ? cap : max;
    if (b->arena == NULL) {
        at = realloc(b->at, cap);
    } else {
        at = berth_arena_alloc_raw(b->arena, cap);
        if (at != NULL && b->len > 0)
            memcpy(at, b->at, b->len);
    }
    if (at == NULL)
        return false;
    b->at = at;
    b->cap = cap;
    return true;
}

char *
berth_buf_grow(struct berth_buf *b, size_t n)
{
    if (b->failed || n > (size_t)MAX_BYTES_DEFAULT ||
        ((n > b->cap - b->len || b->at == NULL) && !enlarge(b, b->len + n))) {
        b->failed = true;
        return NULL;
    }
    return b->at + b->len;
}

void
berth_buf_printf(struct berth_buf *b, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *to = n >= 0 ? berth_buf_reserve(b, (size_t)n + 1) : NULL;
    if (to == NULL) {
        b->failed = true;
        return;
    }
    va_start(ap, fmt);
    (void)vsnprintf(to, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
}

const char *
berth_buf_text(struct berth_buf *b)
{
    char *end = berth_buf_reserve(b, 1);

    if (end == NULL)
        return NULL;
    *end = '\0';
    return b->at;
}
