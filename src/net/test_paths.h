#ifndef BERTH_NET_TEST_PATHS_H
#define BERTH_NET_TEST_PATHS_H

#include "net/test_support.h"

/*
 * Paths of the test server that take their bodies in pieces, or answer piece by piece for long:
 *
 *   /pieces        starts its answer at once and echoes each piece; trailer x-bytes
 *   /sink          takes all pieces, then answers how many bytes there were
 *   /quiet         takes pieces and never answers
 *   /early         ends at the first piece: no body, trailers x-why and x-more
 *   /only          ends at once: no body, trailer x-why
 *   /paused/NAME   as /sink, paused until test_resume()
 *   /lend          "head", lent 1 MiB, "mid", lent 1 MiB, "few" lent; trailer x-why
 *   /feed          TEST_FEED_BYTES of 64 KiB pieces, waiting for writable() at -BERTH_EAGAIN
 */
enum { TEST_FEED_BYTES = 24 * 1024 * 1024 };

/* Sets x up if it is one of these. */
void test_paths_begin(struct test_server *t, struct berth_exchange *x);
/* Handles x, or returns false. */
bool test_paths_handle(struct test_server *t, struct berth_exchange *x);
/* Let the paused exchange of that name go on. */
void test_resume(struct test_server *t, const char *name);

#endif
