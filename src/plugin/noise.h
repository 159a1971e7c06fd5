#ifndef BERTH_NOISE_H
#define BERTH_NOISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/backend.h>

/*
 * What a worker writes to its standard output and error, made into lines for the log: bounded in
 * length, in lines a second and in bytes a second, and without control characters.  A line that
 * begins with "<0>" to "<3>" has that level (enum berth_log_level); others are what an engine
 * printed by itself.  One thread.
 */
struct berth_noise {
    char line[1024];
    size_t len;
    uint64_t second_ns;
    uint32_t lines, dropped; /* in this second */
    size_t bytes;
};

typedef void berth_noise_fn(void *arg, enum berth_log_level level, const char *line);

/* How many bytes may be taken now, at most; 0: come again at *ret_again_ns. */
size_t berth_noise_room(struct berth_noise *n, uint64_t now_ns, uint64_t *ret_again_ns);
void berth_noise_put(struct berth_noise *n, uint64_t now_ns, const char *bytes, size_t len,
                     berth_noise_fn *say, void *arg);
/* The last line, which has no newline, and how many were dropped. */
void berth_noise_end(struct berth_noise *n, berth_noise_fn *say, void *arg);

#endif
