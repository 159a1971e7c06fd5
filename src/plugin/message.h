#ifndef BERTH_MESSAGE_H
#define BERTH_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/backend.h>

#include "plugin/pack.h"
#include "plugin/region.h"

struct berth_arena;

/*
 * What a server and its worker say to each other in a lane.  Each get_ function checks all that it
 * takes and never reads outside the message; what it hands out points into the message, or into
 * the arena where one is given.  The server reads its own copy of a message, since a worker gone
 * wild could change the shared one while it is read.
 */
/* Raised when a message or the region changes its meaning: an older worker is then not adopted. */
#define BERTH_WORKER_PROTOCOL 1u

enum berth_command {
    BERTH_COMMAND_LOAD = 1, /* berth_worker_load -> status text, describe, u64 bytes it takes */
    BERTH_COMMAND_RUN,      /* requests -> status text, results */
    BERTH_COMMAND_STEP,     /* new sequences -> events */
    BERTH_COMMAND_RESET,    /* nothing -> nothing */
    BERTH_COMMAND_TOKENIZE, /* text -> tokens */
};

/* ---- load ---- */

struct berth_worker_load {
    const char *key; /* a worker that is loaded already answers only to the same one */
    const char *name, *backend, *plugin_dir, *path, *settings_json;
    const char *core_dir; /* "": no core file is kept */
    uint32_t threads;
    uint64_t memory_bytes_max; /* 0: no limit */
    uint64_t adopt_ns;         /* how long it waits for a new server; 0: not at all */
};
void berth_message_put_load(struct berth_pack *p, const struct berth_worker_load *l);
bool berth_message_get_load(struct berth_unpack *u, struct berth_worker_load *ret);

void berth_message_put_describe(struct berth_pack *p, const struct berth_describe *d);
/* NULL: at fault, or the arena is full. */
struct berth_describe *berth_message_get_describe(struct berth_unpack *u, struct berth_arena *a);

/* ---- tensors ---- */

enum { BERTH_TENSORS_MAX = 256, BERTH_NAME_LEN_MAX = 4096 };

/* t with its bytes at `offset` of an area. */
void berth_message_put_tensor(struct berth_pack *p, const struct berth_tensor *t, size_t offset);
/* Its bytes are in the area, its size fits its shape; elements of BYTES are not looked at. */
bool berth_message_get_tensor(struct berth_unpack *u, struct berth_area area,
                              struct berth_tensor *ret);
/* The elements of a BYTES tensor are as many as its shape says and fill its size. */
bool berth_message_bytes_fit(const struct berth_tensor *t, const void *bytes);

/* ---- sequences ---- */

void berth_message_put_gen(struct berth_pack *p, const struct berth_gen *g);
/* All in the arena. */
bool berth_message_get_gen(struct berth_unpack *u, struct berth_arena *a, struct berth_gen *ret);

enum berth_event_kind { BERTH_EVENT_EMIT, BERTH_EVENT_FINISH, BERTH_EVENT_FAIL, BERTH_EVENT_ERROR };
struct berth_event {
    enum berth_event_kind kind;
    uint32_t slot; /* of the sequence; not for ERROR */
    struct berth_delta delta;
    struct berth_finish finish;
    enum berth_code code; /* FAIL */
    const char *msg;      /* FAIL, ERROR: of the step */
};
void berth_message_put_emit(struct berth_pack *p, uint32_t slot, const struct berth_delta *d);
void berth_message_put_finish(struct berth_pack *p, uint32_t slot, const struct berth_finish *f);
void berth_message_put_fail(struct berth_pack *p, uint32_t slot, enum berth_code code,
                            const char *msg);
void berth_message_put_error(struct berth_pack *p, const char *msg);
/* Arrays are in the arena, texts in the message. */
bool berth_message_get_event(struct berth_unpack *u, struct berth_arena *a,
                             struct berth_event *ret);

/* A code as an engine may give it, else BERTH_EBACKEND. */
enum berth_code berth_message_code(int64_t code);
/* Likewise of a result that is -code; whatever else it is. */
enum berth_code berth_message_failure(int64_t result);

#endif
