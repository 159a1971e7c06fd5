#ifndef BERTH_LLAMA_ENGINE_H
#define BERTH_LLAMA_ENGINE_H

#include <berth/backend.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * llama.cpp itself: brought up once for the process, its log lines sent to the host at debug
 * level.  The last error line that the calling thread caused is kept, because the engine's
 * functions return nothing but NULL.
 */

/* Bring it up; any thread, any number of times.  h must live as long as the process.
 * Returns 0 or -BERTH_EBACKEND. */
int berth_engine_open(const struct berth_host *h, struct berth_err *e);

/* This thread's last error line, "" when there was none since clear; valid till the next one. */
const char *berth_engine_last_error(void);
void berth_engine_clear_error(void);
/* Keep one that did not come through the log, and log it. */
void berth_engine_note_error(const char *text);

#ifdef __cplusplus
}
#endif

#endif
