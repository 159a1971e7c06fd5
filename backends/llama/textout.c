#include "textout.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <berth/err.h>

static const char replacement[] = "\xEF\xBF\xBD";

void
berth_textout_init(struct berth_textout *t, const char *const *stop, size_t stop_count)
{
    *t = (struct berth_textout){.stop = stop, .stop_count = stop_count};
}

void
berth_textout_fini(struct berth_textout *t)
{
    free(t->text);
    *t = (struct berth_textout){0};
}

static int
append(struct berth_textout *t, const void *bytes, size_t n)
{
    if (n > SIZE_MAX / 4 - t->text_len)
        return -BERTH_ENOMEM;
    if (t->text_len + n > t->cap) {
        const size_t cap = (t->text_len + n) * 2 + 64;
        char *const bigger = realloc(t->text, cap);

        if (bigger == NULL)
            return -BERTH_ENOMEM;
        t->text = bigger;
        t->cap = cap;
    }
    (void)memcpy(t->text + t->text_len, bytes, n);
    t->text_len += n;
    return 0;
}

/* How many bytes a character has that begins with b; 0 when none begins so. */
static size_t
char_len(unsigned char b)
{
    if (b < 0x80)
        return 1;
    if (b >= 0xC2 && b <= 0xDF)
        return 2;
    if (b >= 0xE0 && b <= 0xEF)
        return 3;
    return b >= 0xF0 && b <= 0xF4 ? 4 : 0;
}

/* May b follow the n >= 1 bytes in p?  The second byte is narrower for some first ones: no
 * surrogates, nothing over U+10FFFF, no longer form than needed. */
static bool
may_follow(const unsigned char *p, size_t n, unsigned char b)
{
    if (n == 1) {
        switch (p[0]) {
        case 0xE0:
            return b >= 0xA0 && b <= 0xBF;
        case 0xED:
            return b >= 0x80 && b <= 0x9F;
        case 0xF0:
            return b >= 0x90 && b <= 0xBF;
        case 0xF4:
            return b >= 0x80 && b <= 0x8F;
        default:
            break;
        }
    }
    return b >= 0x80 && b <= 0xBF;
}

static int
push_byte(struct berth_textout *t, unsigned char b)
{
    if (t->part_len > 0 && !may_follow(t->part, t->part_len, b)) {
        t->part_len = 0;
        if (append(t, replacement, 3) < 0)
            return -BERTH_ENOMEM;
    }
    if (t->part_len == 0 && char_len(b) == 0)
        return append(t, replacement, 3);
    t->part[t->part_len++] = b;
    if (t->part_len == char_len(t->part[0])) {
        const size_t n = t->part_len;

        t->part_len = 0;
        return append(t, t->part, n);
    }
    return 0;
}

int
berth_textout_push(struct berth_textout *t, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (push_byte(t, (unsigned char)bytes[i]) < 0)
            return -BERTH_ENOMEM;
    return 0;
}

int
berth_textout_end(struct berth_textout *t)
{
    if (t->part_len == 0)
        return 0;
    t->part_len = 0;
    return append(t, replacement, 3);
}

/* Where in t->text, at or after `from`, the stop string or a beginning of it at the very end of the
 * text starts; text_len when nowhere. */
static size_t
find(const struct berth_textout *t, const char *stop, bool *ret_whole)
{
    const size_t stop_len = strlen(stop);

    *ret_whole = false;
    for (size_t at = 0; at < t->text_len; at++) {
        const size_t left = t->text_len - at;
        const size_t n = left < stop_len ? left : stop_len;

        if (memcmp(t->text + at, stop, n) == 0) {
            *ret_whole = n == stop_len;
            return at;
        }
    }
    return t->text_len;
}

size_t
berth_textout_ready(const struct berth_textout *t, bool last, const char **ret_stop)
{
    size_t stop_at = t->text_len, hold_at = t->text_len;

    *ret_stop = NULL;
    for (size_t i = 0; i < t->stop_count; i++) {
        bool whole;
        const size_t at = find(t, t->stop[i], &whole);

        if (whole && (*ret_stop == NULL || at < stop_at)) {
            stop_at = at;
            *ret_stop = t->stop[i];
        } else if (!whole && at < hold_at) {
            hold_at = at;
        }
    }
    if (*ret_stop != NULL || last)
        return stop_at;
    return hold_at;
}

void
berth_textout_take(struct berth_textout *t, size_t n)
{
    assert(n <= t->text_len);
    t->text_len -= n;
    if (t->text_len > 0)
        (void)memmove(t->text, t->text + n, t->text_len);
}
