#ifndef BERTH_LANE_H
#define BERTH_LANE_H

struct berth_loop;
struct berth_model;

/*
 * A loop's way to run a model's requests itself: all that came in one round of events, at its end,
 * as the batches that they make together.  For this the loop borrows an instance whose thread
 * sleeps; while another loop has it, that one runs these requests as well.  A loop gives at most
 * a millisecond of a round to all its models; what is left then goes to the threads.
 *
 * Requests are in the model's queue meanwhile, so that cancelling, deadlines and limits are the
 * same as for threads.
 */
struct berth_lane;

/* A request of this loop was queued: run what waits at the end of the round.  On the loop, under
 * the model's lock. */
void berth_lane_note_locked(struct berth_model *m, struct berth_loop *loop);
/* Those of a model that nobody refers to. */
void berth_lanes_free(struct berth_lane *first);

#endif
