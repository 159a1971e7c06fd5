#ifndef BERTH_MSVC_PROBLEMS_H
#define BERTH_MSVC_PROBLEMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "operator/modelservice/names.h"
#include "operator/modelservice/origin.h"

struct berth_arena;
struct berth_err;
struct berth_json;
struct berth_limit;
struct berth_shape;

#define BERTH_MSVC_IN_SERVICE "modelservice"
#define BERTH_MSVC_IN_BASE    "baseconfig"

/* What is wrong with what a person wrote. */
struct berth_msvc_problem {
    const char *in;      /* whose: one of the above, or a key of the base configuration */
    const char *path;    /* of the member; "" for all of it */
    const char *text;    /* one line: "a string is wanted, this is a number" */
    size_t line, column; /* of what `in` is, as it was written (of a key: of its value); 0: not
                          * known.  After berth_msvc_in_files(): of the file. */
    /* Until berth_msvc_locate(): it is there within this text, which stands at path; borrowed. */
    struct berth_slice value; /* at NULL: it is the member itself */
    struct berth_msvc_spot within;
    bool warning;
    bool is_wrong;   /* an error, or a warning for the sake of a preview alone */
    bool in_service; /* after berth_msvc_in_files(): the line is of the service's file */
    bool is_placed;  /* by it */
};
enum {
    BERTH_MSVC_PROBLEMS_MAX = 100,
    BERTH_MSVC_PROBLEMS_ROOM = 256, /* before those are chosen that are kept */
    BERTH_MSVC_CHOICES_MAX = 64,    /* how often, and by how much reading of the texts */
    BERTH_MSVC_CHOOSING_BYTES = 16 << 20,
    BERTH_MSVC_WORK_MAX = 16 << 20,
    BERTH_MSVC_FULL_BYTES = 200
};

/*
 * All of it in one go.  Where there is no more room errors take that of warnings.  Of files those
 * are kept that come first there, in whatever order they are found; where this takes too much
 * choosing, and without files, those that are told first.
 */
struct berth_msvc_problems {
    struct berth_msvc_problem at[BERTH_MSVC_PROBLEMS_ROOM];
    size_t count; /* in at; BERTH_MSVC_PROBLEMS_MAX at most after berth_msvc_in_files() */
    bool of_files;
    size_t choices, choosing_bytes;
    struct {
        const char *in, *path; /* NULL: there is none */
    } last[2];                 /* of the chosen warnings and errors, when there were enough */
    size_t errors, warnings;   /* that there are, with those that did not fit */
    struct berth_arena *arena;
    /* All templates together, so that no one service takes the time of the others. */
    uint64_t work;                /* that they took; at most BERTH_MSVC_WORK_MAX */
    bool (*cancelled)(void *arg); /* asked often: is it to end?  NULL: never */
    void *cancel_arg;
    bool is_preview;      /* nothing is applied: see berth_msvc_invalid() */
    bool base_in_cluster; /* lines of keys stay those of their values: there is no file */
    struct berth_msvc_text texts[BERTH_MSVC_CHILDREN + 2]; /* each `in` once */
    size_t text_count;
    bool is_full; /* memory ended, which is told; what would be told after it is not certain */
    char full[BERTH_MSVC_FULL_BYTES]; /* the text of it */
};

/* `in` lives as long as p.  What is given back may be given a line; NULL: there was no room. */
__attribute__((format(printf, 5, 6))) struct berth_msvc_problem *
berth_msvc_problem(struct berth_msvc_problems *p, bool warning, const char *in, const char *path,
                   const char *fmt, ...);

/* May one more be kept?  Else it is but counted, and where it is need not be found out. */
bool berth_msvc_has_room(const struct berth_msvc_problems *p, bool warning);
void berth_msvc_one_more(struct berth_msvc_problems *p, bool warning); /* that is not kept */
/*
 * What llm-d takes and a cluster would have no use for, such as a volume that is nowhere: an error
 * or, where nothing comes of it but what is read by a person (is_preview), a warning.
 */
__attribute__((format(printf, 4, 5))) void berth_msvc_invalid(struct berth_msvc_problems *p,
                                                              const char *in, const char *path,
                                                              const char *fmt, ...);

/*
 * Memory ended while something was read or made: which ("decodeDeployment", "" for all of it), how
 * much there was and what can be done.  As a problem (of which there is one, however little memory
 * is left, and none after it), and as -BERTH_ENOMEM.
 */
void berth_msvc_no_room(struct berth_msvc_problems *p, const char *in, const char *path);
int berth_msvc_no_memory(const struct berth_arena *a, const char *what, struct berth_err *e);

/* The text in which problems of `in` stand, as it was written; borrowed.  The one given back is to
 * be told of what it is rendered to.  Without a text problems have no lines. */
struct berth_msvc_text *berth_msvc_text_of(struct berth_msvc_problems *p, const char *in,
                                           struct berth_slice written);
/* NULL: there is none. */
const struct berth_msvc_text *berth_msvc_find_text(const struct berth_msvc_problems *p,
                                                   const char *in);

/* One document as kubectl reads it; what a person should be told of it goes to p as warnings.
 * False: it is none, and that is told. */
bool berth_msvc_parse(struct berth_msvc_problems *p, const char *in, struct berth_slice text,
                      const struct berth_json **ret);
/*
 * The document as its kind has it: texts where texts are wanted, quantities as Kubernetes prints
 * them; what it may not have goes to p, and is left out of a service, as its definition has it. at:
 * where it is, before each path.  NULL: no memory.
 */
const struct berth_json *berth_msvc_shaped(struct berth_msvc_problems *p, const char *in,
                                           const struct berth_shape *shape, const char *at,
                                           const struct berth_json *v);

/*
 * What breaks a limit of the document's definition goes to p, but where that place, or what it is
 * in, is told to be wrong already: as an error, or, of limits that llm-d does not have, as by
 * berth_msvc_invalid(). -BERTH_ENOMEM, -BERTH_ETOOBIG
 */
int berth_msvc_limited(struct berth_msvc_problems *p, const char *in,
                       const struct berth_limit *limits, size_t count, const struct berth_json *v,
                       struct berth_err *e);

/* Find the lines of those problems that have none, by their paths: each text is read once. */
void berth_msvc_locate(struct berth_msvc_problems *p);
/* Then, where the text of BERTH_MSVC_IN_BASE is the ConfigMap's file: those of keys as lines of it.
 * Without one, what is wrong with a key is the service's matter, unless base_in_cluster.  Every
 * problem of a file has a line afterwards, and they are in the order of the files, without those
 * that are too many. */
void berth_msvc_in_files(struct berth_msvc_problems *p);

#endif
