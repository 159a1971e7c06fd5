#ifndef BERTH_TEST_FAKE_H
#define BERTH_TEST_FAKE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/backend.h>

#include "base/clock.h"
#include "infer/registry.h"
#include "infer/request.h"

struct berth_arena;

/*
 * For tests: a backend whose engine does what the test says, and a client that waits.
 *
 * Files *.fake are its models; one whose text starts with "bad" does not load.  Tensors: input x
 * FP32 [-1,2], output y = 2 x.  A request with a 13 fails its whole batch, one with a 14 itself
 * alone.  Sequences: each step says one character of each prompt; a prompt with '!' fails the step
 * that comes to it.
 *
 * What runs on other threads than the test's (engines, done(), threads of a test) states what must
 * be by berth_assert(): there cmocka's assertions end the process with 255 and without a word.
 */
extern const struct berth_backend_ops fake_ops;

/* What each loaded instance says that it holds, which no process grows by in a test; the registry
 * believes it. */
#define TIB (UINT64_C(1) << 40)

/* For what comes in milliseconds, unless the machine is halted or ten times slower. */
#define PATIENCE_NS (60 * BERTH_S)

/* What the engines have seen, all of them together. */
struct fake_seen {
    unsigned runs, cancels, loads, unloads, resets, steps;
    unsigned held;       /* runs that wait at the gate now */
    size_t batches[256]; /* of run k at [k % 256] */
    size_t in_hand_max;
};
void fake_reset(void);
/* Closed: run(), step(), load() and unload() wait until it is opened (or run() is cancelled). */
void fake_gate_run(bool open);
void fake_gate_load(bool open);
void fake_gate_unload(bool open);
struct fake_seen fake_seen(void);
/* May models that are loaded from now on run on any thread?  (At first: no.)  And where the last
 * run was. */
void fake_any_thread(bool may);
/* What its forecast() says from now on; 0: nothing, as before. */
void fake_forecast(uint64_t bytes);
pthread_t fake_thread(void);
/* Until at least so many runs (begun), cancels, loads (begun) or unloads; fails the test after
 * PATIENCE_NS. */
void fake_wait_runs(unsigned n);
void fake_wait_cancels(unsigned n);
void fake_wait_loads(unsigned n);
void fake_wait_unloads(unsigned n);

/* A request with a client that waits for it. */
struct client {
    struct berth_request r;
    struct berth_model *m;
    float x[16];
    struct berth_tensor input;
    char text[4096];
    size_t text_len;
    int submitted; /* what berth_model_submit() said */
    struct berth_err err;
    bool done;
};
void client_tensor(struct client *c, struct berth_loop *l, float value, int64_t rows);
void client_prompt(struct client *c, struct berth_loop *l, const char *prompt);
void client_submit(struct client *c, struct berth_model *m); /* on its loop; asserts nothing */
void client_cancel(struct client *c);
void client_wait(struct client *c); /* any thread; aborts after PATIENCE_NS, or if not submitted */
bool client_is_done(struct client *c);
void client_fini(struct client *c);

/* A registry with everything around it; the store is in memory unless path is given. */
struct bench {
    struct berth_store *store;
    struct berth_plugins *plugins;
    struct berth_metrics *metrics;
    struct berth_registry *g;
    struct berth_loop *loop;
    struct berth_memory_conf memory; /* at the next open; without a limit at first */
    uint32_t loaders;                /* likewise; 0: two */
    char dir[64];
};
void bench_init(struct bench *b, const struct berth_batch_conf *batch, uint32_t models_max,
                const char *store_path);
/* The same, for 64 models, with room for so many TIB and a half; a load waits for it for 100 ms. */
void bench_init_room(struct bench *b, const struct berth_batch_conf *batch, uint64_t room_tib);
void bench_fini(struct bench *b);
/* Only the registry and the store, as a restart would. */
void bench_close(struct bench *b);
void bench_open(struct bench *b, const struct berth_batch_conf *batch, uint32_t models_max,
                const char *store_path);
/* DIR/name with this text; folders are made. */
const char *bench_file(struct bench *b, const char *name, const char *text);
/* Register; config as JSON text or NULL. */
int bench_register(struct bench *b, const char *name, const char *path, const char *config,
                   struct berth_err *e);
/* Register NAME.fake, which loads; fails the test if it cannot. */
void bench_add(struct bench *b, const char *name, const char *config);
/* The model's state now and, unless why is NULL, why. */
enum berth_model_state bench_state(struct bench *b, const char *name, char why[480]);
/* Wait until the model's state is this; fails the test after PATIENCE_NS. */
void bench_wait_state(struct bench *b, const char *name, enum berth_model_state state);
/* What is known of it, which must be registered; in a. */
struct berth_model_info bench_info(struct bench *b, struct berth_arena *a, const char *name);
struct berth_model *bench_find(struct bench *b, const char *name);

#endif
