#ifndef BERTH_SHIMLETS_TEST_HOST_H
#define BERTH_SHIMLETS_TEST_HOST_H

#include <pthread.h>
#include <stdatomic.h>

#include <berth/shimlet.h>

/* A host for the tests of shimlets, and short ways to ask one. */

struct berth_op {
    uint64_t until_ns; /* 0: a minute from now on */
    atomic_bool cut;
};

/* open()'s who: counts changed(). */
struct test_who {
    pthread_mutex_t mu;
    pthread_cond_t wake;
    uint64_t changes;
};
void test_who_init(struct test_who *w);
void test_who_fini(struct test_who *w);
uint64_t test_who_changes(struct test_who *w);
/* Wait until changed() was called more than `than` times; false after 20 s. */
bool test_who_wait(struct test_who *w, uint64_t than);

/* What drain() was called for, in order, each followed by a blank; cleared by the test. */
extern char test_drained[4096];
extern const struct berth_shimlet_host test_host;

enum { TEST_REPLICAS_MAX = 64 };
/* A copy of what status() told. */
struct test_seen {
    bool exists, drifted;
    char hash[128], message[512];
    uint32_t desired;
    size_t count, ready;
    struct test_replica {
        char id[128], hash[128], endpoint[128], reason[512], node[64];
        uint64_t revision, memory_bytes, cpu_milli;
        uint32_t restarts;
        enum berth_replica_state state;
    } r[TEST_REPLICAS_MAX];
};
/* status() succeeds. */
struct test_seen test_look(const struct berth_shimlet_ops *ops, struct berth_shimlet *s,
                           const char *unit);
/* Apply and look until every replica is ready and of the unit's hash; false after 20 s. */
bool test_settle(const struct berth_shimlet_ops *ops, struct berth_shimlet *s,
                 const struct berth_unit *u);
/* Remove until nothing is left; false after 20 s. */
bool test_remove(const struct berth_shimlet_ops *ops, struct berth_shimlet *s, const char *unit);
/* Take up to 20 s for cond(arg) to get true. */
bool test_until(bool (*cond)(void *arg), void *arg);

#endif
