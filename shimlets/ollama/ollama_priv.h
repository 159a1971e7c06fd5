#ifndef BERTH_SHIMLETS_OLLAMA_PRIV_H
#define BERTH_SHIMLETS_OLLAMA_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/shimlet.h>

#include "base/arena.h"
#include "base/buf.h"
#include "wire/json.h"

/*
 * A unit is at most one model of an Ollama server, called berth-OWNER/UNIT:rREVISION-gN-HASH: the
 * name says whose it is and what it was made for.  What a name cannot say is in the unit's record.
 */
enum {
    BERTH_OLLAMA_HOST = 256,      /* of a server's URL with its NUL */
    BERTH_OLLAMA_NAME = 256,      /* of a model's name with its NUL */
    BERTH_OLLAMA_MADE_MAX = 16,   /* models of one unit: while rolling there are two */
    BERTH_OLLAMA_LINE_MAX = 8192, /* bytes of a line of progress; longer ones are left out */
    BERTH_OLLAMA_ARENA_MAX = 64 * 1024 * 1024,
};

/* One opened environment.  Nothing in it changes after open(): any thread. */
struct berth_shimlet {
    const struct berth_shimlet_host *h;
    char host[BERTH_OLLAMA_HOST]; /* for services that name none */
    char keep_alive[32];
    char *owner, *dir;
};

/* ---- names.c: pure ---- */

/* "127.0.0.1:11434", "https://gpu.lan" -> a URL without a path.  -BERTH_EINVAL */
int berth_ollama_host(const char *text, char ret[BERTH_OLLAMA_HOST], struct berth_err *e);

struct berth_ollama_tag {
    uint64_t revision, number; /* number: of all that were made for the unit, this one's */
    char hash[40];
};
/* The model's whole name.  False: it would be longer than Ollama takes. */
bool berth_ollama_name(const char *owner, const char *unit, const struct berth_ollama_tag *tag,
                       char ret[BERTH_OLLAMA_NAME]);
/* Is it a model of that owner and unit (NULL: any; *ret_unit, which may be NULL, gets it)? */
bool berth_ollama_name_parse(struct berth_slice name, const char *owner, const char *unit,
                             struct berth_ollama_tag *ret, struct berth_slice *ret_unit);

/* Lines out of pieces.  Zeroed to begin with. */
struct berth_ollama_lines {
    char held[BERTH_OLLAMA_LINE_MAX];
    size_t len;
    bool over; /* the line that comes is too long, and left out */
};
void berth_ollama_lines_feed(struct berth_ollama_lines *l, const char *bytes, size_t len,
                             void (*line)(void *arg, const char *text, size_t len), void *arg);

/* ---- server.c ---- */

struct berth_ollama_ask {
    const char *host, *method, *path;
    const struct berth_buf *json; /* the body; NULL: none */
    const int *file;              /* or a file's first file_bytes */
    uint64_t file_bytes;
    /* Progress, line by line: then the answer has to end with "success". */
    void (*progress)(void *arg, const struct berth_json *said);
    void *arg;
    uint64_t total_ns_max; /* 0: until the operation's deadline */
};

/*
 * *ret (may be NULL) is the answer's JSON in the arena, NULL when it has none.  Ends when the
 * operation is cancelled.
 *   -BERTH_ENETWORK no server, -BERTH_ENOENT 404, -BERTH_EINVAL 400, -BERTH_EPERM 401 and 403,
 *   -BERTH_EBACKEND it could not do it, -BERTH_EIO the answer broke off, -BERTH_ECANCELED, ...
 * with the server's own words.
 */
int berth_ollama_ask(struct berth_shimlet *s, const struct berth_op *op,
                     const struct berth_ollama_ask *ask, struct berth_arena *a,
                     const struct berth_json **ret, struct berth_err *e);

/* ---- plan.c: what a unit is to be ---- */

struct berth_ollama_plan {
    char host[BERTH_OLLAMA_HOST];
    const char *file;                    /* a GGUF file, or NULL: */
    const char *from;                    /* a name that Ollama knows or can pull */
    const struct berth_json *parameters; /* or NULL */
    uint64_t context_len;                /* 0: the server's */
    const char *system, *prompt;         /* prompt: the template; or NULL */
    bool insecure;
};
/* Texts in the arena, or the unit's.  -BERTH_EINVAL, -BERTH_EUNSUPPORTED: trying again is of no
 * use. */
int berth_ollama_plan(const struct berth_shimlet *s, const struct berth_unit *u,
                      struct berth_arena *a, struct berth_ollama_plan *ret, struct berth_err *e);
/* The body of /api/create.  file_digest: 64 hex digits, for a plan with a file. */
void berth_ollama_create_body(const struct berth_ollama_plan *p, const char *name,
                              const char *file_digest, struct berth_buf *ret);

/* ---- record.c: what is known of a unit, a file of its own ---- */

struct berth_ollama_made {
    const char *name;   /* the model's, whole */
    bool loaded;        /* it was loaded once: it answers, if need be after loading again */
    bool cold;          /* the server was away since */
    const char *reason; /* why it could not be loaded; or NULL */
};
struct berth_ollama_record {
    const char *unit, *service_id, *track, *hash, *host;
    const char *pulled; /* a name that we are pulling, and nobody had before; or NULL */
    uint32_t replicas;
    uint64_t number; /* of the model that was made last */
    uint64_t drain_ns;
    struct berth_ollama_made made[BERTH_OLLAMA_MADE_MAX];
    size_t made_count;
};
/* 1: read, texts in the arena; 0: there is none; or -BERTH_EIO, -BERTH_ENOMEM. */
int berth_ollama_record_get(const struct berth_shimlet *s, const char *unit, struct berth_arena *a,
                            struct berth_ollama_record *ret, struct berth_err *e);
/* Durable when it returns. */
int berth_ollama_record_put(const struct berth_shimlet *s, const struct berth_ollama_record *r,
                            struct berth_err *e);
int berth_ollama_record_drop(const struct berth_shimlet *s, const char *unit, struct berth_err *e);
/* Of each that can be read; one that cannot is told in the log. */
int berth_ollama_record_each(const struct berth_shimlet *s,
                             void (*each)(void *arg, const struct berth_ollama_record *r),
                             void *arg, struct berth_err *e);

/* ---- model.c: steps with one model ---- */

struct berth_ollama_seen {
    const char *name;
    struct berth_ollama_tag tag;
    uint64_t memory_bytes;          /* 0: not loaded now */
    struct berth_ollama_made *made; /* in the record; NULL: it does not know it */
};
/* The unit's models on the server, in the arena. */
int berth_ollama_look(struct berth_shimlet *s, const struct berth_op *op,
                      struct berth_ollama_record *r, struct berth_arena *a,
                      struct berth_ollama_seen **ret, size_t *ret_count, struct berth_err *e);
/* Have `name` made of what the plan says, pulled or uploaded before where need be. */
int berth_ollama_make(struct berth_shimlet *s, const struct berth_op *op,
                      struct berth_ollama_record *r, const struct berth_ollama_plan *p,
                      const char *name, struct berth_arena *a, struct berth_err *e);
/* Load it.  -BERTH_EBACKEND: it cannot be loaded, with the reason; the server's other failures. */
int berth_ollama_load(struct berth_shimlet *s, const struct berth_op *op, const char *host,
                      const char *name, uint64_t limit_ns, struct berth_err *e);
/* Unload and delete it; 0 also when it was gone. */
int berth_ollama_drop(struct berth_shimlet *s, const struct berth_op *op, const char *host,
                      const char *name, struct berth_err *e);

/* ---- apply.c ---- */

int berth_ollama_apply(struct berth_shimlet *s, const struct berth_op *op,
                       const struct berth_unit *u, struct berth_err *e);
int berth_ollama_remove(struct berth_shimlet *s, const struct berth_op *op, const char *unit,
                        struct berth_err *e);

#endif
