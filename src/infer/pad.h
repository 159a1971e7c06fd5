#ifndef BERTH_PAD_H
#define BERTH_PAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/err.h>
#include <berth/tensor.h>

struct berth_arena;
struct berth_describe;
struct berth_request;

/*
 * Requests whose inputs differ in length run together: shorter inputs are filled up before the run,
 * and outputs are cut back to what is theirs.  The backend sees equal shapes.  No lock; a batch
 * belongs to its instance's thread.
 */

/* Which inputs of a model may differ in length, and what shorter ones are filled with. */
enum { BERTH_PAD_INPUTS_MAX = 8, BERTH_PAD_CUTS_MAX = 8, BERTH_PAD_BUCKETS_MAX = 32 };

struct berth_pad_input {
    const char *name;
    uint32_t dim; /* at least 1: dimension 0 is the batch's */
    double value;
};

struct berth_pad_cut {
    const char *name;
    uint32_t dim; /* 0: the output is left as it is */
};

struct berth_pad_conf {
    struct berth_pad_input inputs[BERTH_PAD_INPUTS_MAX];
    uint32_t input_len; /* 0: nothing is padded */
    struct berth_pad_cut cuts[BERTH_PAD_CUTS_MAX];
    uint32_t cut_len;                       /* outputs not named: where a free dimension fits */
    int64_t buckets[BERTH_PAD_BUCKETS_MAX]; /* ascending */
    uint32_t bucket_len;                    /* 0: a batch is as long as its longest */
};

/* A copy with names of its own.  False: no memory. */
bool berth_pad_copy(struct berth_arena *a, const struct berth_pad_conf *from,
                    struct berth_pad_conf *ret);
/* Does it fit what the model takes and gives?  -BERTH_EINVAL names what does not. */
int berth_pad_check(const struct berth_pad_conf *p, const struct berth_describe *d,
                    struct berth_err *e);

/* The dimension of t that may differ; 0: none. */
uint32_t berth_pad_dim(const struct berth_pad_conf *p, const struct berth_tensor *t);
/* The bucket of a request: requests of different buckets do not meet. */
uint32_t berth_pad_bucket(const struct berth_pad_conf *p, const struct berth_request *r);

/* What an instance needs for it; zeroed at first. */
struct berth_pad_room {
    void *bytes; /* of the padded inputs and the tensors that tell of them */
    size_t cap;
};
void berth_pad_room_fini(struct berth_pad_room *room);

/* What was done to a batch. */
struct berth_pad_seen {
    bool any;               /* something was padded */
    uint64_t data, padding; /* elements of the inputs that may differ */
    uint32_t bucket;        /* index; bucket_len: longer than all */
};
/*
 * Before a run: r->run_inputs of each is NULL (as they are) or padded tensors in the room, valid
 * until the next call.  All have the same conf, and shapes that may meet.
 *   -BERTH_ENOMEM  it would need more than a room may have: run them one by one
 */
int berth_pad_begin(struct berth_pad_room *room, struct berth_request *const reqs[], uint32_t n,
                    struct berth_pad_seen *ret, struct berth_err *e);
/* After a run: cut an output of r, in place, to the length that r's own inputs have.  spec: what
 * the model says of it, or NULL. */
void berth_pad_cut(const struct berth_request *r, const struct berth_tensor_spec *spec,
                   struct berth_tensor *t);

#endif
