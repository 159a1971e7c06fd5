#ifndef BERTH_SHIMLET_PROCESS_TEST_BENCH_H
#define BERTH_SHIMLET_PROCESS_TEST_BENCH_H

#include <limits.h>

#include "shimlets/process/process.h"
#include "shimlets/process/process_priv.h"
#include "shimlets/test_host.h"

/* What the tests of the process shimlet share. */

extern const struct berth_shimlet_ops *const ops;
extern char engine[PATH_MAX], berth[PATH_MAX]; /* below and beside the test's program */
extern const char *const plain[];              /* the engine's command */
extern const char quick[];                     /* settings */

/* Sets engine and berth: first in main(). */
void bench_init(void);

/* A shimlet in a folder of its own. */
struct bench {
    char dir[64];
    const char *program;                   /* what "berth" is; NULL: the engine */
    const struct berth_shimlet_host *host; /* NULL: test_host */
    struct berth_shimlet *s;
    struct test_who who;
};

void begin(struct bench *b, const char *settings);
int open_again(struct bench *b, const char *settings, struct berth_err *e);
/* Remove the unit; nothing may be left of it, and then of the bench. */
void end(struct bench *b, const char *unit);

struct berth_unit unit(const char *hash, uint32_t replicas, const char *const *command);
int apply(struct bench *b, const struct berth_unit *u);
/* Wait until the first replica is so: reason is in its own, restarts at least. */
void await(struct bench *b, enum berth_replica_state state, const char *reason, uint32_t restarts);

/* Processes that were started for this folder. */
size_t running(const char *dir);
/* Wait until there are so many: what was killed needs a moment to go. */
bool await_running(const struct bench *b, size_t n);
/* A replica that failed need not wait for its time any more. */
void restart_now(struct bench *b, const char *id);
pid_t pid_of(const struct bench *b, const char *id);

#endif
