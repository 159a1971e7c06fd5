#ifndef BERTH_DEPLOY_SPEC_PRIV_H
#define BERTH_DEPLOY_SPEC_PRIV_H

#include <stddef.h>

#include "deploy/spec/spec.h"

struct berth_json;

/* How a member of a spec is read and written. */
enum berth_spec_type {
    BERTH_SPEC_TEXT,
    BERTH_SPEC_NAME, /* text of [A-Za-z0-9._-] */
    BERTH_SPEC_PATH,
    BERTH_SPEC_WORD, /* one of choices */
    BERTH_SPEC_COUNT,
    BERTH_SPEC_PORT,
    BERTH_SPEC_MS,
    BERTH_SPEC_BOOL,
    BERTH_SPEC_CPU,
    BERTH_SPEC_BYTES,
    BERTH_SPEC_STRINGS,
    BERTH_SPEC_PAIRS,  /* [{key, value}], or an object */
    BERTH_SPEC_LABELS, /* an object */
    BERTH_SPEC_OBJECT, /* kept as it is */
    BERTH_SPEC_STRATEGY,
    BERTH_SPEC_STEPS,
    BERTH_SPEC_NESTED, /* an object whose members have rows of their own */
    BERTH_SPEC_IGNORED,
};

/* One row a member, by its path; aliases are rows of their own behind the one that is written. */
struct berth_spec_row {
    const char *path;
    enum berth_spec_type type;
    size_t offset;
    uint32_t min, max;
    const char *choices;
    bool alias; /* read, not written */
    bool light; /* running replicas need not be replaced when it changes */
};
extern const struct berth_spec_row berth_spec_rows[]; /* ended by a NULL path */

/* A spec that is being read; fault and error may be NULL. */
struct berth_spec_reader {
    struct berth_spec *s;
    struct berth_arena *a;
    struct berth_spec_fault *f;
    struct berth_err *e;
    bool count_given; /* acceleratorCount */
};
/* Say where and what; returns -BERTH_EINVAL, -BERTH_ENOMEM. */
__attribute__((format(printf, 3, 4))) int berth_spec_bad(struct berth_spec_reader *r,
                                                         const char *path, const char *fmt, ...);
int berth_spec_no_memory(struct berth_spec_reader *r);
/* Read the row's member into r->s. */
int berth_spec_read_row(struct berth_spec_reader *r, const struct berth_spec_row *row,
                        const struct berth_json *v);

/* Fill in json and hash from the members. */
int berth_spec_finish(struct berth_spec *s, struct berth_arena *a, struct berth_err *e);

#endif
