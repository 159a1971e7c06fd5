#ifndef BERTH_LLAMA_GUARD_H
#define BERTH_LLAMA_GUARD_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * What the engine does instead of returning an error: it throws C++ exceptions, and where it finds
 * something that it holds impossible it ends the program.  A damaged model file can bring about
 * both, and must cost no more than its own load.
 */

/* Call fn(arg).  Exceptions end here, and so do the engine's failed assertions on this thread when
 * `asserts`; what the engine held at that moment is lost, so that is for loading only.  An
 * assertion anywhere else is logged through the host and ends the program, as the engine wants it.
 * Returns 0, or -1 with the reason in berth_engine_last_error(). */
int berth_guard_call(bool asserts, void (*fn)(void *arg), void *arg);

/* Put the guard in place; once, before the first call. */
void berth_guard_open(void);

#ifdef __cplusplus
}
#endif

#endif
