#ifndef BERTH_ARENA_H
#define BERTH_ARENA_H

#include <stddef.h>

/*
 * Memory for one request.  Nothing in it is freed singly; berth_arena_reset() takes it all back
 * at once.  One thread at a time.  Allocation beyond max_bytes fails: that is the request's
 * memory limit, not a bug.
 */
struct berth_arena {
    struct berth_arena_chunk *head; /* newest first */
    size_t used_bytes, max_bytes, chunk_bytes;
    struct berth_arena_defer *defers; /* newest first */
};

void berth_arena_init(struct berth_arena *a, size_t max_bytes);
/* For what is kept and of which there are many: it asks the system for 2 KiB at once, not 16. */
void berth_arena_init_small(struct berth_arena *a, size_t max_bytes);
/* Use these n bytes, aligned to 64, before asking the system: until the next reset.  NULL is fine.
 */
void berth_arena_lend(struct berth_arena *a, void *bytes, size_t n);
/* Zeroed, aligned to max_align_t; NULL when the limit or the system refuses. */
void *berth_arena_alloc(struct berth_arena *a, size_t n);
/* As berth_arena_alloc, but not zeroed and aligned to 64: for tensor bytes. */
void *berth_arena_alloc_raw(struct berth_arena *a, size_t n);
/* A NUL-ended copy of len bytes; NULL as above. */
char *berth_arena_strndup(struct berth_arena *a, const char *text, size_t len);
char *berth_arena_strdup(struct berth_arena *a, const char *text);
__attribute__((format(printf, 2, 3))) char *berth_arena_printf(struct berth_arena *a,
                                                               const char *fmt, ...);
/* Run fn(arg) at the next reset, last registered first.  0, or -BERTH_ENOMEM: not registered. */
int berth_arena_defer(struct berth_arena *a, void (*fn)(void *), void *arg);
/* Run the defers and free everything.  Usable again afterwards, with the same limit.  A small
 * first chunk is kept, so that a connection's next request needs no malloc. */
void berth_arena_reset(struct berth_arena *a);
/* Reset and give the kept chunk back too. */
void berth_arena_fini(struct berth_arena *a);

#define BERTH_NEW(a, type)      ((type *)berth_arena_alloc((a), sizeof(type)))
#define BERTH_NEW_N(a, type, n) ((type *)berth_arena_alloc_n((a), (n), sizeof(type)))
void *berth_arena_alloc_n(struct berth_arena *a, size_t n, size_t each);

#endif
