#ifndef BERTH_SHIMLETS_DOCKER_TEST_SCENE_H
#define BERTH_SHIMLETS_DOCKER_TEST_SCENE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shimlets/docker/docker_priv.h"
#include "shimlets/test_host.h"

/* What the tests against a real daemon share. */

extern const struct berth_shimlet_ops *const ops;

/* Before the first scene. */
void scene_init(void);

/* An environment with a folder of its own. */
struct scene {
    struct test_who who;
    struct berth_shimlet *s;
    char dir[64], settings[512];
};
void scene_open(struct scene *x);
/* more: settings, with a comma before them. */
void scene_begin(struct scene *x, const char *more);
/* Nothing may be left in its folder. */
void scene_end(struct scene *x);

struct berth_unit unit(const char *name, const char *hash, uint64_t revision, uint32_t replicas);
/* As in test_host.h, with more patience: a busy machine takes longer than the host of the tests. */
bool settle(struct berth_shimlet *s, const struct berth_unit *u);
bool until(bool (*cond)(void *arg), void *arg);

/* The daemon's own word: the JSON's text, free() it. */
char *inspect(const char *path);
/* Somebody else's order to the daemon; body: JSON, or NULL. */
int order_with(const char *method, const char *path, const char *body);
int order(const char *method, const char *path);
size_t containers(void);

/* Scenes of test_rolls.c. */
void a_fixed_port_of_the_host_is_rolled_over(void **unused);
void a_limit_that_was_not_asked_for_is_no_drift(void **unused);
void one_that_never_gets_ready_is_restarted(void **unused);
void logs_are_followed_through_rollouts(void **unused);

#endif
