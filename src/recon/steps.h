#ifndef BERTH_STEPS_H
#define BERTH_STEPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/err.h>

/*
 * An ordered list of idempotent goals, and how far a run of them has come.
 *
 * Each step is looked at before anything is done for it (is_achieved), brought about when it is not
 * (ensure), and looked at again; one that is not yet reached is waited for; an error is tried
 * again after a growing wait.  What a run has reached is plain data of the caller, to be saved and
 * restored between any two calls.
 *
 * Pure: time and randomness come from the caller; nothing blocks but the steps' own functions.  A
 * run is advanced by one thread at a time.
 */
enum { BERTH_STEPS_MAX = 32, BERTH_STEP_NAME_MAX = 63, BERTH_STEP_ERROR_MAX = 240 };

/* X(state, "word") */
#define BERTH_STEP_STATES(X)                                                \
    X(PENDING, "pending") /* not begun */                                   \
    X(RUNNING, "running") /* being brought about, or waited for */          \
    X(SUCCEEDED, "succeeded")                                               \
    X(FAILED, "failed")                                                     \
    X(RETRYING, "retrying") /* waits for its next attempt after an error */ \
    X(SKIPPED, "skipped")   /* an earlier step failed */                    \
    X(ROLLEDBACK, "rolledback")
enum berth_step_state {
#define X(name, word) BERTH_STEP_##name,
    BERTH_STEP_STATES(X)
#undef X
        BERTH_STEP_STATE_COUNT
};
const char *berth_step_state_name(enum berth_step_state s);
/* By its word; false: there is none of that name. */
bool berth_step_state_parse(const char *word, enum berth_step_state *ret);

enum berth_step_failure {
    BERTH_STEP_ABORT,    /* the run fails; later steps are skipped */
    BERTH_STEP_CONTINUE, /* the step stays failed, the run goes on */
    BERTH_STEP_ROLLBACK  /* as abort, and what this run did is taken back, last step first */
};

struct berth_step_backoff {
    uint64_t initial_ns;     /* before the first retry; 0: 500 ms */
    uint32_t factor_percent; /* of the wait before, 100..1000; 0: 200, it doubles */
    uint64_t max_ns;         /* 0: 30 s */
    uint32_t jitter_percent; /* 0..100: a wait is lengthened by up to that */
};
struct berth_step_policy {
    uint32_t max_retries; /* after so many errors in a row and one more the step fails */
    uint64_t timeout_ns;  /* for the whole step, its waits included; 0: 5 minutes */
    uint64_t poll_ns;     /* how often one looks whether it is reached; 0: 1 s */
    struct berth_step_backoff backoff;
    uint64_t retry_on; /* bits 1 << enum berth_code; 0: BERTH_STEP_RETRY_ON */
    enum berth_step_failure on_failure;
};
/* What time may mend: all but what is wrong until a person changes it. */
#define BERTH_STEP_RETRY_ON                                                   \
    (~((UINT64_C(1) << BERTH_EINVAL) | (UINT64_C(1) << BERTH_EPERM) |         \
       (UINT64_C(1) << BERTH_EAUTH) | (UINT64_C(1) << BERTH_ECONFIG) |        \
       (UINT64_C(1) << BERTH_EUNSUPPORTED) | (UINT64_C(1) << BERTH_ETOOBIG) | \
       (UINT64_C(1) << BERTH_EABI)))

/*
 * One goal.  The functions get the env's arg and the step, and must be idempotent: each may be
 * called again after it succeeded, after a crash, or when its answer was lost.  -BERTH_ECANCELED
 * says that the call was cut short: no failure, it is gone on with at the next look.
 */
struct berth_step {
    const char *name; /* borrowed; unique in the list */
    /* 1 reached, 0 not (yet), < 0 it cannot be seen.  NULL: reached once ensure has succeeded. */
    int (*is_achieved)(void *arg, const struct berth_step *s, struct berth_err *e);
    /* Bring it about, or get it under way.  NULL: it is only waited for. */
    int (*ensure)(void *arg, const struct berth_step *s, struct berth_err *e);
    /* Take back what ensure did.  Optional. */
    int (*rollback)(void *arg, const struct berth_step *s, struct berth_err *e);
    /* Before an ensure; after the step is reached by one.  An error counts as the step's.
     * Optional. */
    int (*pre)(void *arg, const struct berth_step *s, struct berth_err *e);
    int (*post)(void *arg, const struct berth_step *s, struct berth_err *e);
    struct berth_step_policy policy;
    bool in_rounds; /* ensure takes one round: it is called at every look that finds it not reached
                     */
    void *own;      /* for the functions; untouched */
};

struct berth_step_run {
    enum berth_step_state state;
    enum berth_code code; /* of the last error */
    uint32_t attempts;    /* times that it was to be brought about; 0: it was so already */
    uint32_t failures;    /* errors in a row */
    uint64_t started_wall_ns, finished_wall_ns; /* since 1970; 0: not yet */
    uint64_t spent_ns; /* of its time, while somebody advanced it: a stop is not counted */
    char error[BERTH_STEP_ERROR_MAX + 1]; /* the last one; "" when it was got over */
};
enum berth_run_state { BERTH_RUN_GOING, BERTH_RUN_TAKING_BACK, BERTH_RUN_DONE, BERTH_RUN_FAILED };

/* How far a list of steps has come.  Begin with berth_run_init(). */
struct berth_run {
    enum berth_run_state state;
    uint32_t step_count;
    uint32_t at;           /* the step that is brought about, or taken back */
    uint32_t failed;       /* the step that ended it, when TAKING_BACK or FAILED */
    uint64_t wait_left_ns; /* of the back-off or of the time to the next look */
    uint64_t seen_ns;      /* the clock at the last advance; 0: none by this process */
    bool ensured;          /* ensure of the step at `at` has succeeded in this process */
    struct berth_step_run steps[BERTH_STEPS_MAX];
};
void berth_run_init(struct berth_run *run, uint32_t step_count); /* 1..BERTH_STEPS_MAX */
/* How many of its bytes are in use: a copy of so many is a copy of the run. */
size_t berth_run_bytes(uint32_t step_count);
/* After it was read back: the clock may be another one, and nothing is known to have been done:
 * the step at hand is looked at, and brought about, anew. */
void berth_run_restored(struct berth_run *run);
/* Step `from` and those behind it are to be looked at again; what they counted is forgotten. */
void berth_run_restart(struct berth_run *run, uint32_t from);

struct berth_steps_env {
    void *arg; /* given to every function here and in the steps */
    /* A clock that does not go back, and the time of day. */
    void (*clock)(void *arg, uint64_t *ret_now_ns, uint64_t *ret_wall_ns);
    uint64_t (*random)(void *arg); /* NULL: no jitter */
    /*
     * A step's state changed, or an attempt begins: log it, count it, save the run (it is
     * consistent).  An error stops the advance before anything more is done.  Optional.
     */
    int (*observe)(void *arg, const struct berth_run *run, uint32_t step,
                   enum berth_step_state was);
};

enum berth_advance {
    BERTH_ADVANCE_DONE,  /* the end is reached (steps with on_failure CONTINUE may have failed) */
    BERTH_ADVANCE_WAIT,  /* call again after *ret_wait_ns, or earlier when something happened */
    BERTH_ADVANCE_FAILED /* run->failed says which step, its error why */
};
/*
 * Go on with the run until it is done, has failed or must wait.  Called early it looks whether the
 * step is reached, but does not cut a back-off short.  Returns one of enum berth_advance, or
 * observe's error (then call again).  steps: the list that the run was begun with.
 */
int berth_steps_advance(const struct berth_step *steps, uint32_t step_count, struct berth_run *run,
                        const struct berth_steps_env *env, uint64_t *ret_wait_ns);
/* 0, or -BERTH_EINVAL with what is wrong with the list: too long, a name twice, a policy out of its
 * range, neither is_achieved nor ensure. */
int berth_steps_check(const struct berth_step *steps, uint32_t step_count, struct berth_err *e);

#endif
