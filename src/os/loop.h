#ifndef BERTH_LOOP_H
#define BERTH_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/err.h>

struct uv_loop_s;

/*
 * One event loop on one thread.  Everything that a loop owns (connections, timers) is touched on
 * its thread alone; berth_loop_post() is the only way in from elsewhere.
 */
struct berth_loop;

/*
 * A message to a loop.  Posting gives it away: the sender must not touch it again.  Intrusive, so
 * that a post cannot fail for want of memory.
 */
struct berth_msg {
    struct berth_msg *next;
    void (*run)(struct berth_msg *m); /* on the loop's thread; owns m */
};

/* Make a loop and start its thread ("berth-NAME" in ps).  Stop it with berth_loop_free(). */
int berth_loop_new(const char *name, struct berth_loop **ret, struct berth_err *e);
/* Ask the thread to end once its handles are closed, wait for that, and free the loop.  Messages
 * that are still waiting are run first.  Not from the loop itself.  NULL is fine. */
void berth_loop_free(struct berth_loop *l);

/* Any thread.  Messages from one thread run in the order of their posts; the loop's own at the end
 * of the round, after what is late. */
void berth_loop_post(struct berth_loop *l, struct berth_msg *m);
/* Run fn(arg) on the loop and wait for it; at once when called on the loop itself.  For start and
 * stop, never for requests. */
void berth_loop_call(struct berth_loop *l, void (*fn)(void *arg), void *arg);

/* Is the caller on the loop's thread?  For berth_assert(). */
bool berth_loop_is_mine(const struct berth_loop *l);
/*
 * Something to do once at the end of this round of events: what came together is known then.  It is
 * not called from within the event that asks for it.
 */
struct berth_late {
    void (*run)(struct berth_late *t); /* on the loop; may ask again, for the next round */
    bool queued;
    struct berth_late *next;
};
/* On the loop.  False when t is queued already.  t must stay until it ran. */
bool berth_loop_late(struct berth_loop *l, struct berth_late *t);
/* In run(): when the loop began with what is late, CLOCK_MONOTONIC ns. */
uint64_t berth_loop_late_ns(const struct berth_loop *l);
/* The time at the start of this round of events, CLOCK_MONOTONIC ns.  On the loop. */
uint64_t berth_loop_now_ns(const struct berth_loop *l);
/* For folders that make libuv handles (src/net).  On the loop. */
struct uv_loop_s *berth_loop_uv(struct berth_loop *l);

/* A one-shot timer on a loop, embedded in its owner.  All on the loop's thread. */
struct berth_timer {
    void (*fire)(struct berth_timer *t);
    void *impl; /* NULL: never started */
    struct berth_loop *loop;
};
/*
 * (Re)arm: fire in the first round that begins at at_ns (CLOCK_MONOTONIC) or later, never before;
 * in the next one when that has passed.  A time and not a delay, because there are two nows to
 * count from, and the one of the round is behind by what the round did so far. -BERTH_ENOMEM: not
 * armed.  t must stay until it fired or berth_timer_stop().
 */
int berth_timer_arm(struct berth_timer *t, struct berth_loop *l, uint64_t at_ns,
                    void (*fire)(struct berth_timer *t));
/* Idempotent; t may be freed afterwards.  Also needed after it fired. */
void berth_timer_stop(struct berth_timer *t);

#endif
