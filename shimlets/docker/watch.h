#ifndef BERTH_SHIMLETS_DOCKER_WATCH_H
#define BERTH_SHIMLETS_DOCKER_WATCH_H

#include <stdbool.h>

#include <berth/err.h>
#include <berth/shimlet.h>

struct berth_docker_conf;
struct berth_docker_engine;
struct berth_docker_health;

/*
 * The daemon's events of our containers, on a thread of its own that sleeps while nothing happens:
 * each becomes a changed() of its service.  When the stream ends it is opened again, with a
 * back-off from 100 ms to 30 s, and then every service that has containers is said to have changed.
 */
struct berth_docker_watch;

/* All but *ret are borrowed until berth_docker_watch_free(). */
int berth_docker_watch_new(const struct berth_shimlet_host *h, void *who,
                           const struct berth_docker_conf *conf, struct berth_docker_engine *g,
                           struct berth_docker_health *health, struct berth_docker_watch **ret,
                           struct berth_err *e);
void berth_docker_watch_free(struct berth_docker_watch *w);
/* The stream is open.  Any thread. */
bool berth_docker_watch_is_open(struct berth_docker_watch *w);

#endif
