#ifndef BERTH_TEST_ASKER_H
#define BERTH_TEST_ASKER_H

#include <stdatomic.h>
#include <stdbool.h>

#include "infer/test_fake.h"
#include "infer/waits.h"

/* For tests: somebody who asks for a model as a dialect does, and waits while it is loaded. */
struct asker {
    struct berth_model_wait w;
    struct berth_registry *g;
    const char *name;
    struct berth_model *model; /* when ready with result 0: to be given back, unless it runs */
    int result;
    struct berth_err err;
    atomic_bool ready;
    bool runs;
    struct client client; /* of one that runs: to be waited for and ended */
};
/* Ask; name is borrowed until it is ready. */
void asker_ask(struct asker *a, struct bench *b, const char *name);
/* The same, and send a request when it is ready; nothing is held but by that. */
void asker_run(struct asker *a, struct bench *b, const char *name);
/* Until something came of it; fails the test after PATIENCE_NS. */
void asker_wait(struct asker *a);
/* Its patience is over: it is not ready (BERTH_ENOTREADY). */
void asker_end(struct asker *a);
/* Ask, wait, use, let go; fails the test if it does not get it. */
void bench_use(struct bench *b, const char *name);

#endif
