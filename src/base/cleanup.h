#ifndef BERTH_CLEANUP_H
#define BERTH_CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

/* Released when the variable goes out of scope, on every return path. */
#define BERTH_CLEANUP(fn) __attribute__((cleanup(fn)))

static inline void
berth_freep(void *p)
{
    free(*(void **)p);
}

static inline void
berth_closep(const int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
}

#define BERTH_AUTO_FREE  BERTH_CLEANUP(berth_freep)
#define BERTH_AUTO_CLOSE BERTH_CLEANUP(berth_closep)

/* Hand ownership on: yields the pointer and empties the variable. */
#define BERTH_TAKE(p)                     \
    ({                                    \
        __typeof__(p) berth_taken_ = (p); \
        (p) = NULL;                       \
        berth_taken_;                     \
    })

#endif
