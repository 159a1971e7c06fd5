#ifndef BERTH_BUF_H
#define BERTH_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct berth_arena;

/* Bytes that somebody else owns.  Not NUL-ended unless said. */
struct berth_slice {
    const char *at;
    size_t len;
};

#define BERTH_SLICE(literal) ((struct berth_slice){(literal), sizeof(literal) - 1})
/* Here, so that the length of a literal is known to the compiler. */
static inline struct berth_slice
berth_slice_of(const char *text)
{
    return (struct berth_slice){text, strlen(text)};
}

static inline bool
berth_slice_is(struct berth_slice s, const char *text)
{
    const size_t len = strlen(text);

    return len == s.len && memcmp(s.at, text, len) == 0;
}

/* ASCII letters compare equal in both cases. */
bool berth_slice_is_nocase(struct berth_slice s, const char *text);

/*
 * A growing run of bytes in an arena, or in malloc'd memory when arena is NULL (then
 * berth_buf_fini() frees it).  A failed append sets `failed` and leaves what was there: append as
 * much as you like and look once at the end.
 */
struct berth_buf {
    struct berth_arena *arena;
    char *at;
    size_t len, cap;
    size_t max; /* 0: 1 GiB */
    bool failed;
};

void berth_buf_init(struct berth_buf *b, struct berth_arena *arena);
void berth_buf_fini(struct berth_buf *b);
/* Room for n more bytes at b->at + b->len, or NULL and failed.  Add to len what was used. */
char *berth_buf_grow(struct berth_buf *b, size_t n); /* the same, for when there is no room */
static inline char *
berth_buf_reserve(struct berth_buf *b, size_t n)
{
    return n <= b->cap - b->len && n > 0 && !b->failed ? b->at + b->len : berth_buf_grow(b, n);
}

static inline void
berth_buf_put(struct berth_buf *b, const void *bytes, size_t n)
{
    char *to = n > 0 ? berth_buf_reserve(b, n) : NULL;

    if (to == NULL)
        return;
    memcpy(to, bytes, n);
    b->len += n;
}

static inline void
berth_buf_puts(struct berth_buf *b, const char *text)
{
    berth_buf_put(b, text, strlen(text));
}

static inline void
berth_buf_putc(struct berth_buf *b, char c)
{
    char *to = berth_buf_reserve(b, 1);

    if (to == NULL)
        return;
    *to = c;
    b->len++;
}

__attribute__((format(printf, 2, 3))) void berth_buf_printf(struct berth_buf *b, const char *fmt,
                                                            ...);
/* The bytes with a NUL behind them (not counted), or NULL when any append failed. */
const char *berth_buf_text(struct berth_buf *b);

#endif
