#ifndef BERTH_REGION_H
#define BERTH_REGION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/err.h>

/*
 * Memory that a server and one worker share: two lanes, each for one command at a time and its
 * answer.  The file is large and sparse (only what was written takes memory) and sealed, so that a
 * worker cannot shrink it under the server's hands.
 *
 * The server trusts nothing in here: it keeps its own numbers, and copies what it parses.
 */
enum berth_lane_name {
    BERTH_LANE_RUN,  /* load, run, step, reset: the instance's thread */
    BERTH_LANE_ASIDE /* tokenize: any thread, one at a time, while the other lane works */
};
enum { BERTH_LANES = 2, BERTH_SEQUENCES_MAX = 1024 };

struct berth_lane {
    _Alignas(64) _Atomic uint32_t posted;   /* number of the command there; the server's */
    _Alignas(64) _Atomic uint32_t answered; /* number of the command that is done; the worker's */
    _Alignas(64) _Atomic uint32_t worker_sleeps;
    _Alignas(64) _Atomic uint32_t server_sleeps;
    uint32_t command;  /* which; the server's, before posted */
    uint32_t threads;  /* for the engine from now on; 0: as before */
    uint64_t in_len;   /* of the command's message */
    int64_t result;    /* the worker's, before answered */
    uint64_t out_len;  /* of the answer's message */
    uint64_t out_used; /* end of what was written behind it */
    uint64_t cpu_ns;   /* of the thread that ran the engine */
};

struct berth_region_head {
    struct berth_lane lanes[BERTH_LANES];
    _Atomic uint32_t fatal_signal; /* that the worker was about to die of */
    _Atomic uint8_t cancelled[BERTH_SEQUENCES_MAX];
};

struct berth_region {
    int fd; /* of the shared memory; -1: none */
    unsigned char *base;
    struct berth_region_head *head;
};

/* A message stands at the area's begin, bytes of tensors behind BERTH_MESSAGE_BYTES_MAX. */
#define BERTH_MESSAGE_BYTES_MAX ((size_t)1 << 20)
struct berth_area {
    unsigned char *at;
    size_t cap;
};
struct berth_area berth_region_in(const struct berth_region *g, enum berth_lane_name lane);
struct berth_area berth_region_out(const struct berth_region *g, enum berth_lane_name lane);

int berth_region_new(struct berth_region *ret, struct berth_err *e);
/* Map what another process made; fd is taken when it works.  -BERTH_EINVAL: not such memory. */
int berth_region_attach(int fd, struct berth_region *ret, struct berth_err *e);
void berth_region_fini(struct berth_region *g);

/* Server: hand over the command whose message was written. */
void berth_lane_post(struct berth_lane *l, uint32_t seq);
/* Server: true once seq is answered; false after about slice_ns, or earlier when somebody called
 * berth_lane_stir().  Sleeps at once: to look for a while first costs more than it gains where
 * cores are few (docs/performance.md). */
bool berth_lane_wait_answer(struct berth_lane *l, uint32_t seq, uint64_t slice_ns);
/* Wake whoever waits for an answer, so that it looks around. */
void berth_lane_stir(struct berth_lane *l);
/* Worker: the number of a command other than `last`, or `last` after about slice_ns. */
uint32_t berth_lane_wait_post(struct berth_lane *l, uint32_t last, uint64_t slice_ns);
/* Worker: the command is done. */
void berth_lane_answer(struct berth_lane *l, uint32_t seq);
/* Give the memory of large messages back.  Server, between commands. */
void berth_region_trim(const struct berth_region *g, enum berth_lane_name lane, size_t in_used,
                       size_t out_used);

#endif
