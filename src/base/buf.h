#ifndef BERTH_BUF_H
#define BERTH_BUF_H

#include <stdbool.h>
#include <stddef.h>

struct berth_arena;

/* Bytes that somebody else owns.  Not NUL-ended unless said. */
struct berth_slice {
    const char *at;
    size_t len;
};

#define BERTH_SLICE(literal) ((struct berth_slice){(literal), sizeof(literal) - 1})
struct berth_slice berth_slice_of(const char *text);
bool berth_slice_is(struct berth_slice s, const char *text);
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
char *berth_buf_reserve(struct berth_buf *b, size_t n);
void berth_buf_put(struct berth_buf *b, const void *bytes, size_t n);
void berth_buf_puts(struct berth_buf *b, const char *text);
void berth_buf_putc(struct berth_buf *b, char c);
__attribute__((format(printf, 2, 3))) void berth_buf_printf(struct berth_buf *b, const char *fmt,
                                                            ...);
/* The bytes with a NUL behind them (not counted), or NULL when any append failed. */
const char *berth_buf_text(struct berth_buf *b);

#endif
