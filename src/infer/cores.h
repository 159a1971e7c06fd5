#ifndef BERTH_CORES_H
#define BERTH_CORES_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct berth_metrics;

/*
 * Who may use how many cores now.  Engines' threads spin at their barriers, so two engines that
 * share a core cost each other far more than half: an engine asks before each run or step and
 * gives back after it, and the threads that run never pass the cores that there are.
 *
 * Turns are given by core-seconds used, divided by weight, least first (start-time fair queueing).
 * An engine that can do with fewer threads than it was loaded with gets its share of what is left
 * by the active ones; one that cannot waits until all its threads fit, and nobody overtakes it
 * meanwhile.  So no wait is longer than the runs that go on plus one round of the others'; and if
 * a run does not end at all, who has waited for BERTH_CORES_WAIT_NS runs beside it, and from then
 * on its cores are counted as free: the others wait for it once and not each time.
 *
 * The book below is pure: no lock, no clock, no memory of its own.  Times are CLOCK_MONOTONIC, ns.
 */
#define BERTH_CORES_WAIT_NS   UINT64_C(1000000000)
#define BERTH_CORES_ACTIVE_NS UINT64_C(20000000) /* a pause shorter than this is none */
#define BERTH_CORES_TINY_NS   UINT64_C(100000)   /* runs shorter than this do not ask */

/* Of one model: its instances share it.  Zeroed, then kept by the book. */
struct berth_cores_account {
    uint64_t spent_ns; /* core-nanoseconds by weight */
    uint64_t idle_ns;  /* since when it neither runs nor waits */
    uint32_t turns;    /* instances that run or wait */
    uint32_t least;    /* cores that a run of it needs */
    bool flexible, listed;
    struct berth_cores_account *next;
};

enum berth_cores_state { BERTH_CORES_IDLE, BERTH_CORES_WAITS, BERTH_CORES_RUNS };

/* Of one instance.  The first part is set by its owner before the first ask. */
struct berth_cores_turn {
    struct berth_cores_account *account;
    uint32_t threads; /* it was loaded with: it never gets more */
    bool flexible;    /* can do with fewer, told before each run */
    uint32_t weight;  /* of the next run; at least 1 */
    /* The book's. */
    enum berth_cores_state state;
    uint32_t given;
    bool overdue; /* runs, but its cores are counted as free */
    uint64_t asked_ns, given_ns;
    struct berth_cores_turn *next; /* of those that wait, or of those that run */
    /* Others than us use the cores too (seen by time lost while running): fewer for a while. */
    uint32_t lost_permille, cap;
    uint64_t cap_until_ns, cap_ns;
    /* The layer's. */
    pthread_cond_t cond;
    bool in_line;    /* since give(): others may give it its turn, so its state needs the lock */
    uint64_t cpu_ns; /* of the thread, at the start of the run */
    uint64_t run_ns; /* moving average of its runs */
    uint32_t seen;   /* of them, a few */
};

struct berth_cores_book {
    uint32_t cores, used; /* used may pass cores by what was forced */
    uint64_t floor_ns; /* spent_ns of the account that had the last turn: where newcomers begin */
    struct berth_cores_account *active;
    struct berth_cores_turn *first, **last; /* that wait, oldest first */
    struct berth_cores_turn *running;       /* latest first */
};

void berth_cores_book_init(struct berth_cores_book *b, uint32_t cores);
/* IDLE to WAITS.  The turn's account must stay while the book lists it: see leave(). */
void berth_cores_book_ask(struct berth_cores_book *b, struct berth_cores_turn *t, uint64_t now_ns);
/* The account goes: nothing of it runs or waits. */
void berth_cores_book_leave(struct berth_cores_book *b, struct berth_cores_account *a);
/* WAITS to RUNS for the one whose turn it is, with t->given cores; NULL: it must wait, or nobody
 * does.  To be called until NULL after each ask and end. */
struct berth_cores_turn *berth_cores_book_next(struct berth_cores_book *b, uint64_t now_ns);
/* WAITS to IDLE. */
void berth_cores_book_unask(struct berth_cores_book *b, struct berth_cores_turn *t,
                            uint64_t now_ns);
/* WAITS to RUNS although no core is free, and count as free what those have that began their runs
 * longer than BERTH_CORES_WAIT_NS ago: next() may have turns to give. */
void berth_cores_book_force(struct berth_cores_book *b, struct berth_cores_turn *t,
                            uint64_t now_ns);
/* RUNS to IDLE.  cpu_ns: what the asking thread itself ran of that time; it spins or computes as
 * long as the run lasts, so what is missing went to others.  UINT64_MAX: not known. */
void berth_cores_book_end(struct berth_cores_book *b, struct berth_cores_turn *t, uint64_t cpu_ns,
                          uint64_t now_ns);

/*
 * The governor: the book under a lock.  Any thread; take() and give() on the turn's own.
 */
struct berth_cores;

struct berth_cores *berth_cores_new(uint32_t cores, struct berth_metrics *metrics); /* or NULL */
/* NULL is fine.  Kept for good when an engine that does not end still has cores. */
void berth_cores_free(struct berth_cores *c);

/* Memory of the caller's; the account outlives its turns. */
void berth_cores_turn_init(struct berth_cores_turn *t, struct berth_cores_account *account,
                           uint32_t threads, bool flexible);
void berth_cores_turn_fini(struct berth_cores_turn *t);
/* Its turns are over: forget it. */
void berth_cores_leave(struct berth_cores *c, struct berth_cores_account *account);

/* Wait for cores: how many threads the run may use.  Without a lock, and all of them, for a turn
 * whose runs are tiny.  *ret_waited_ns: 0 when there was no wait. */
uint32_t berth_cores_take(struct berth_cores *c, struct berth_cores_turn *t, uint32_t weight,
                          uint64_t *ret_waited_ns);
/* After the run, which took run_ns.  again: take() follows at once (a generation goes on), so it
 * stays in line and is not overtaken by everyone who waits at this moment. */
void berth_cores_give(struct berth_cores *c, struct berth_cores_turn *t, uint64_t run_ns,
                      bool again);
/* Out of line, whatever its state: take() does not follow after all. */
void berth_cores_drop(struct berth_cores *c, struct berth_cores_turn *t);

#endif
