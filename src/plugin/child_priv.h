#ifndef BERTH_CHILD_PRIV_H
#define BERTH_CHILD_PRIV_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/backend.h>

#include "base/arena.h"
#include "plugin/message.h"
#include "plugin/region.h"

struct berth_plugins;

/* A request as a worker has it: one of a run, or a sequence. */
struct berth_request {
    struct berth_child *child;
    const struct berth_tensor *inputs;
    size_t input_count;
    const char **wanted;
    size_t wanted_count;
    struct berth_tensor *outputs; /* bytes in the out area */
    uint32_t output_count, output_cap;
    enum berth_code failed; /* 0: not */
    char msg[480];
    /* Sequences. */
    bool in_use;
    uint32_t slot;
    struct berth_arena arena; /* what gen points to */
    struct berth_gen gen;
    struct berth_request *next; /* waits for the backend */
};

struct berth_child {
    /* The main thread's. */
    int dir_fd, listen_fd;
    const char *socket_name;
    uint64_t lonely_ns; /* since when there is no server; 0: there is one */
    _Atomic uint64_t adopt_ns;

    pthread_mutex_t mu;
    pthread_cond_t changed;     /* on CLOCK_MONOTONIC */
    int control_fd;             /* -1: no server; under mu */
    struct berth_region region; /* changed under mu while all lanes are parked */
    struct berth_region coming; /* a new server's, for when they are; under mu */
    uint32_t parked;            /* lane threads that do not use the region; under mu */
    bool attached;              /* there is a region to work in; under mu */
    uint32_t cancelling;        /* calls of ops->cancel() going on; under mu */
    _Atomic uint32_t run_seq;   /* of the command that the engine works on; 0: none */
    atomic_bool run_cancelled, lonely;

    /* The run lane's thread's. */
    struct berth_plugins *plugins;
    const struct berth_backend_ops *ops;
    char *key;
    uint64_t loaded_bytes; /* what this process took after the load */
    struct berth_area in, out;
    struct berth_pack answer;
    size_t out_used;
    struct berth_arena run_arena;
    struct berth_request *sequences[BERTH_SEQUENCES_MAX]; /* by slot; made when first used */
    struct berth_request *wait_first, **wait_last;
    uint32_t wait_len, hand_len;
    uint32_t threads;                        /* the engine was told of last; 0: never */
    _Atomic(struct berth_instance *) engine; /* set once */
};

/* child_host.c: what the backend calls. */
const struct berth_host *berth_child_host(void);
void berth_child_free_sequence(struct berth_request *r);

/* child_run.c: on the run lane's thread.  Return the answer's result. */
int64_t berth_child_load(struct berth_child *c, struct berth_unpack *u);
int64_t berth_child_run(struct berth_child *c, struct berth_unpack *u);
int64_t berth_child_step(struct berth_child *c, struct berth_unpack *u);
void berth_child_reset(struct berth_child *c);
/* On the other lane's. */
int64_t berth_child_tokenize(struct berth_child *c, struct berth_unpack *u, struct berth_pack *p);

/* Loud and fatal: the server is told by our end. */
__attribute__((noreturn, format(printf, 1, 2))) void berth_child_die(const char *fmt, ...);

#endif
