#ifndef BERTH_SHIMLETS_DOCKER_STREAM_H
#define BERTH_SHIMLETS_DOCKER_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/*
 * What the daemon sends piece by piece, taken apart.  Feed pieces of any length; one thread at a
 * time.  Nothing here trusts a length: a line longer than its maximum is handed on in parts.
 */

/* ---- lines: events, the progress of a pull, what a container printed ---- */

struct berth_docker_lines {
    struct berth_buf held; /* the beginning of a line whose end has not come */
    size_t line_bytes_max;
    bool over; /* the line's beginning was handed on already (or dropped) */
    bool drop; /* a longer line is dropped whole, as JSON in parts helps nobody */
    bool (*line)(void *arg, const char *text, size_t len); /* without its end; false: stop */
    void *arg;
};

void berth_docker_lines_init(struct berth_docker_lines *l, size_t line_bytes_max, bool drop,
                             bool (*line)(void *arg, const char *text, size_t len), void *arg);
void berth_docker_lines_fini(struct berth_docker_lines *l);
/* False: line() said stop, or out of memory. */
bool berth_docker_lines_feed(struct berth_docker_lines *l, const char *bytes, size_t len);
/* The last line, if its end never came. */
bool berth_docker_lines_end(struct berth_docker_lines *l);

/* ---- frames: a container's two outputs in one stream ----
 *
 * A frame is its stream's number (0, 1 or 2), three zeros, its length as a big-endian number, and
 * so many bytes.
 */

enum { BERTH_DOCKER_STREAMS = 3 };

struct berth_docker_frames {
    unsigned char head[8];
    size_t head_len;
    uint32_t left;   /* bytes of the frame that are still to come */
    unsigned stream; /* that they belong to */
    bool (*part)(void *arg, unsigned stream, const char *bytes, size_t len);
    void *arg;
    bool plain; /* what came has no frames (a container with a terminal): all is stream 1 */
};

/* False: part() said stop. */
bool berth_docker_frames_feed(struct berth_docker_frames *f, const char *bytes, size_t len);

/* ---- what lines say ---- */

enum { BERTH_DOCKER_ID = 64 };

struct berth_docker_event {
    char action[32];              /* "start", "die", "health_status: ..." cut at the colon */
    char id[BERTH_DOCKER_ID + 1]; /* of the container */
    char service_id[128];         /* by its label; "" without */
    uint64_t time_ns;             /* since 1970; 0: not said */
};
/* One line of /events.  service_label: the label that names the service.  False: not one that
 * concerns a container. */
bool berth_docker_event_parse(const char *text, size_t len, const char *service_label,
                              struct berth_docker_event *ret);

/* "2026-11-21T15:59:33.329349560Z text": the time in nanoseconds since 1970, and where the text
 * begins.  False: no time there. */
bool berth_docker_stamp(const char *text, size_t len, uint64_t *ret_ns, size_t *ret_skip);

#endif
