#ifndef BERTH_LIMITS_H
#define BERTH_LIMITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/err.h>

#include "merge/shape.h"

struct berth_arena;
struct berth_json;

/*
 * What values of a document's fields may be, beyond their types (shape.h): the rules of a
 * definition as a table, and a check of a document by it.  An API server refuses what breaks one.
 */
enum berth_limit_kind {
    BERTH_LIMIT_REQUIRED, /* of an object: the member `text` is there, and not null */
    BERTH_LIMIT_RANGE,    /* of a whole number */
    BERTH_LIMIT_LENGTH,   /* of a text, in characters */
    BERTH_LIMIT_ITEMS,    /* how many elements a list has */
    BERTH_LIMIT_PATTERN,  /* of a text: `text` is an extended regular expression */
    BERTH_LIMIT_DISTINCT, /* of a list of objects: their members `text` tell them apart */
    BERTH_LIMIT_MATCHES,  /* of a text: as PATTERN, but said in a rule (CEL) of the definition */
    BERTH_LIMIT_NO_MATCH, /* the opposite of it */
    BERTH_LIMIT_RULE,     /* `text` is another rule (CEL), and holds() is what it means */
};

struct berth_limit {
    const char *path; /* as that of struct berth_merge_rule, without "**" */
    enum berth_limit_kind kind;
    int64_t min, max; /* both count; INT64_MAX: no limit */
    const char *text;
    const char *says;                             /* to a person who breaks it; NULL: of its own */
    bool (*holds)(const struct berth_json *self); /* NULL: it is about a change of the document */
    const char *at;                               /* the member of the object it is told of */
    bool stricter;                                /* than llm-d's own definition of the kind */
};

/* Of ModelService, by its definition; what that takes of one and Kubernetes has no use for: names
 * (metadata) and ports. */
const struct berth_limit *berth_limits_of_model_service(size_t *ret_count);
const struct berth_limit *berth_limits_beyond_definition(size_t *ret_count);

/*
 * v is of its shape, or has members that are not, which are not looked at.  Each place is told of
 * once, by the first limit that it breaks; is_error: it is not one of the stricter ones.
 * -BERTH_ETOOBIG: more work than a document should be; -BERTH_ENOMEM
 */
int berth_limits_check(const struct berth_limit *limits, size_t count, const struct berth_json *v,
                       struct berth_arena *a, struct berth_shape_problems *ret,
                       struct berth_err *e);

#endif
