#ifndef BERTH_SHIMLETS_DOCKER_HEALTH_H
#define BERTH_SHIMLETS_DOCKER_HEALTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/err.h>
#include <berth/shimlet.h>

/*
 * Which running containers answer on their health path, asked from outside: often while one starts,
 * then at the interval.  Two to four threads of its own, asleep until the next look is due: the
 * first looks at those that answered last alone, so that silent ones (1 s each) do not delay it.
 * changed() is called when an answer changes, from any of them.  Any thread.
 */
struct berth_docker_health;

enum {
    BERTH_DOCKER_HEALTH_MAX = 4096, /* containers looked after; more: -BERTH_ELIMIT */
    BERTH_DOCKER_HEALTH_FAILS = 3,  /* in a row, before one that was ready no longer is */
};

int berth_docker_health_new(const struct berth_shimlet_host *h, void *who, uint64_t interval_ns,
                            struct berth_docker_health **ret, struct berth_err *e);
/* Waits for a look that is under way (1 s at most). */
void berth_docker_health_free(struct berth_docker_health *k);

/* A container while it runs. */
struct berth_docker_patient {
    const char *id;
    const char *run; /* when it was started, as the daemon says it: another text is another run */
    const char *url; /* NULL: running is all that is asked */
    const char *service_id, *unit;
    uint64_t start_timeout_ns;
};

struct berth_docker_verdict {
    bool ready;
    bool was_ready;  /* since this run began */
    bool overdue;    /* not ready for start_timeout_ns since the run began, or since it was */
    char why[200];   /* not ready: what the last look met */
    uint64_t for_ns; /* since the run began, or since it was ready last */
    uint64_t memory_bytes, cpu_milli; /* as last told by berth_docker_health_measured() */
    bool measure;                     /* those are older than 10 s */
};

/* Look after it from now on, and say how it is.  The first time it is looked at here and now. */
int berth_docker_health_see(struct berth_docker_health *k, const struct berth_docker_patient *p,
                            struct berth_docker_verdict *ret, struct berth_err *e);
/* Figures of the daemon: cpu_ns is the sum since the run began. */
void berth_docker_health_measured(struct berth_docker_health *k, const char *id,
                                  uint64_t memory_bytes, uint64_t cpu_ns,
                                  struct berth_docker_verdict *ret);
/* It does not run any more. */
void berth_docker_health_forget(struct berth_docker_health *k, const char *id);
/* Forget those of a unit that are not among the ids. */
void berth_docker_health_keep(struct berth_docker_health *k, const char *unit,
                              const char *const *ids, size_t count);

#endif
