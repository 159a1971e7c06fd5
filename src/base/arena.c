#include "base/arena.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <berth/err.h>

#include "base/num.h"

struct berth_arena_chunk {
    struct berth_arena_chunk *next;
    size_t cap, len; /* of bytes[] */
    void *raw;       /* what malloc() gave; NULL: lent by berth_arena_lend(), not ours to free */
    alignas(64) unsigned char bytes[];
};

struct berth_arena_defer {
    struct berth_arena_defer *next;
    void (*fn)(void *);
    void *arg;
};

enum { CHUNK_BYTES = 16 * 1024, SMALL_CHUNK_BYTES = 2048, RAW_ALIGN = 64 };

void
berth_arena_init(struct berth_arena *a, size_t max_bytes)
{
    *a = (struct berth_arena){.max_bytes = max_bytes, .chunk_bytes = CHUNK_BYTES};
}

void
berth_arena_init_small(struct berth_arena *a, size_t max_bytes)
{
    *a = (struct berth_arena){.max_bytes = max_bytes, .chunk_bytes = SMALL_CHUNK_BYTES};
}

void
berth_arena_lend(struct berth_arena *a, void *bytes, size_t n)
{
    struct berth_arena_chunk *c = bytes;

    if (bytes == NULL || n <= sizeof *c)
        return;
    *c = (struct berth_arena_chunk){.next = a->head, .cap = n - sizeof *c};
    a->head = c;
}

/*
 * Not by aligned_alloc(): glibc up to 2.37 never gives out again a block of it of the same size
 * that was freed, so that a program which makes arenas and keeps small things in between grows
 * many times over.
 */
static struct berth_arena_chunk *
new_chunk(size_t cap)
{
    size_t bytes;

    if (!berth_add(sizeof(struct berth_arena_chunk) + RAW_ALIGN - alignof(max_align_t), cap,
                   &bytes))
        return NULL;
    unsigned char *raw = malloc(bytes);
    if (raw == NULL)
        return NULL;
    /* A multiple of 64 from here, by pointer arithmetic: raw may not be made from a number. */
    struct berth_arena_chunk *c = (void *)(raw + (-(uintptr_t)raw & (RAW_ALIGN - 1)));
    *c = (struct berth_arena_chunk){.cap = cap, .raw = raw};
    return c;
}

static void *
take(struct berth_arena *a, size_t n, size_t align)
{
    struct berth_arena_chunk *c = a->head;
    size_t start = c != NULL ? (c->len + align - 1) & ~(align - 1) : 0;

    if (n > a->max_bytes - a->used_bytes)
        return NULL;
    if (c == NULL || start > c->cap || n > c->cap - start) {
        size_t cap = n > a->chunk_bytes ? n : a->chunk_bytes;
        c = new_chunk(cap);
        if (c == NULL)
            return NULL;
        start = 0;
        if (a->head != NULL && n > a->chunk_bytes) { /* keep filling the small chunk */
            c->next = a->head->next;
            a->head->next = c;
        } else {
            c->next = a->head;
            a->head = c;
        }
    }
    c->len = start + n;
    a->used_bytes += n;
    return c->bytes + start;
}

void *
berth_arena_alloc(struct berth_arena *a, size_t n)
{
    void *p = take(a, n, alignof(max_align_t));

    return p != NULL ? memset(p, 0, n) : NULL;
}

void *
berth_arena_alloc_raw(struct berth_arena *a, size_t n)
{
    return take(a, n, RAW_ALIGN);
}

void *
berth_arena_alloc_n(struct berth_arena *a, size_t n, size_t each)
{
    size_t bytes;

    return berth_mul(n, each, &bytes) ? berth_arena_alloc(a, bytes) : NULL;
}

char *
berth_arena_strndup(struct berth_arena *a, const char *text, size_t len)
{
    size_t bytes;
    char *copy = berth_add(len, 1, &bytes) ? take(a, bytes, 1) : NULL;

    if (copy == NULL)
        return NULL;
    if (len > 0)
        memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

char *
berth_arena_strdup(struct berth_arena *a, const char *text)
{
    return berth_arena_strndup(a, text, strlen(text));
}

char *
berth_arena_printf(struct berth_arena *a, const char *fmt, ...)
{
    va_list ap;
    char *text;

    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0 || (text = take(a, (size_t)n + 1, 1)) == NULL)
        return NULL;
    va_start(ap, fmt);
    (void)vsnprintf(text, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return text;
}

int
berth_arena_defer(struct berth_arena *a, void (*fn)(void *), void *arg)
{
    struct berth_arena_defer *d = BERTH_NEW(a, struct berth_arena_defer);

    if (d == NULL)
        return -BERTH_ENOMEM;
    *d = (struct berth_arena_defer){.next = a->defers, .fn = fn, .arg = arg};
    a->defers = d;
    return 0;
}

static void
release(struct berth_arena *a, struct berth_arena_chunk *keep)
{
    for (struct berth_arena_defer *d = a->defers; d != NULL; d = d->next)
        d->fn(d->arg);
    for (struct berth_arena_chunk *c = a->head, *next; c != NULL; c = next) {
        next = c->next;
        if (c != keep)
            free(c->raw);
    }
    if (keep != NULL) {
        keep->next = NULL;
        keep->len = 0;
    }
    a->head = keep;
    a->defers = NULL;
    a->used_bytes = 0;
}

void
berth_arena_reset(struct berth_arena *a)
{
    struct berth_arena_chunk *keep = a->head;

    while (keep != NULL && (keep->raw == NULL || keep->cap != a->chunk_bytes))
        keep = keep->next;
    release(a, keep);
}

void
berth_arena_fini(struct berth_arena *a)
{
    release(a, NULL);
}
