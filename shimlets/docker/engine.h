#ifndef BERTH_SHIMLETS_DOCKER_ENGINE_H
#define BERTH_SHIMLETS_DOCKER_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/err.h>
#include <berth/shimlet.h>

struct berth_arena;
struct berth_client;
struct berth_json;

/*
 * The Docker Engine API of one daemon.  Any thread, several calls at once: each has a connection of
 * its own, some of which are kept.  The version of the API is agreed at the first call, and again
 * after the daemon could not be reached.
 */
struct berth_docker_engine;

/* host: "unix:///var/run/docker.sock", "tcp://10.0.0.5:2375", "https://10.0.0.5:2376".  cert_dir:
 * a folder with ca.pem, cert.pem and key.pem for https; NULL: the system's authorities, no
 * identity.  Nothing is asked yet.  -BERTH_EINVAL, -BERTH_ENOMEM */
int berth_docker_engine_new(const struct berth_shimlet_host *h, const char *host,
                            const char *cert_dir, struct berth_docker_engine **ret,
                            struct berth_err *e);
void berth_docker_engine_free(struct berth_docker_engine *g);
/* The daemon is on this machine. */
bool berth_docker_engine_local(const struct berth_docker_engine *g);
/* The machine's name or address in the URL; "127.0.0.1" of a local one. */
const char *berth_docker_engine_host(const struct berth_docker_engine *g);

struct berth_docker_ask {
    const char *method; /* NULL: GET */
    const char *path;   /* behind the version: "/containers/json?all=1" */
    const char *body;   /* JSON; NULL: none */
    size_t body_len;
    const char *header; /* one more, "Name: value"; NULL: none */
    /* A piece of a good answer's body; return false to stop.  NULL: the body is collected. */
    bool (*part)(void *arg, const char *bytes, size_t len);
    void *arg;
    uint64_t silent_ns_max;      /* 0: 60 s */
    const struct berth_op *op;   /* ends the call when it is cancelled; NULL: nothing does */
    struct berth_client *client; /* of the caller's; NULL: one of the engine's */
};

/*
 * *ret (which may be NULL) is the answer's JSON in the arena, or NULL when it has none; a and ret
 * may both be NULL.  Returns 0 for success (304, "it is so already", included), or
 *   -BERTH_EINVAL 400   -BERTH_EPERM 401, 403, or the socket may not be used   -BERTH_ENOENT 404
 *   -BERTH_EEXIST 409   -BERTH_EIO 5xx   -BERTH_ENETWORK no daemon   -BERTH_EUNSUPPORTED too old
 *   -BERTH_ECANCELED, -BERTH_EDEADLINE, -BERTH_ETOOBIG, -BERTH_ENOMEM
 * with the daemon's own words in the message.
 */
int berth_docker_ask(struct berth_docker_engine *g, const struct berth_docker_ask *ask,
                     struct berth_arena *a, const struct berth_json **ret, struct berth_err *e);
/* Is the daemon's API at least of this version (41: 1.41)?  False before the first call. */
bool berth_docker_engine_is_at_least(struct berth_docker_engine *g, uint32_t minor);

#endif
