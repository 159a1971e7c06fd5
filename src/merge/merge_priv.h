#ifndef BERTH_MERGE_PRIV_H
#define BERTH_MERGE_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "merge/merge.h"
#include "wire/json.h"

/* Where we are: a member's name, or an element of a list (with what names it in messages). */
struct step {
    struct berth_slice name;
    bool element;
};

struct place {
    struct step steps[BERTH_JSON_DEPTH_MAX];
    size_t depth;
};

/* Does the path of a rule fit this place? */
bool place_fits(const struct place *at, const char *path);
const char *place_text(const struct place *at, struct berth_arena *a);     /* NULL: no memory */
bool place_enter(struct place *at, struct berth_slice name, bool element); /* false: too deep */

enum { KEYS_MAX = 8 };
enum key_grade {
    KEY_PLAIN,    /* must be equal */
    KEY_OPTIONAL, /* "?": missing or empty fits any */
    KEY_APART,    /* "*": tells the overlay's own apart */
};
struct key {
    struct berth_slice name, dflt; /* dflt.at NULL: none */
    enum key_grade grade;
};
struct keys {
    struct key each[KEYS_MAX];
    size_t count;
    bool graded; /* one of them is not plain */
};
void keys_read(struct keys *k, const char *text);

/* An element of a keyed list: what its keys say, "" with len 0 for a missing one. */
struct keyed {
    const struct berth_json *value;
    struct berth_slice text[KEYS_MAX];
};
/* -BERTH_EINVAL: an element is no object.  *ret: berth_json_len(list) of them. */
int keyed_read(const struct keys *k, const struct berth_json *list, const struct place *at,
               struct berth_arena *a, struct keyed **ret, struct berth_err *e);
bool keyed_pair(const struct keys *k, const struct keyed *base, const struct keyed *overlay);
bool keyed_same(const struct keys *k, const struct keyed *a, const struct keyed *b);
/* What names it in messages: "name=vllm", or its index.  NULL: no memory. */
const char *keyed_label(const struct keys *k, const struct keyed *el, size_t index,
                        struct berth_arena *a);

struct merge {
    const struct berth_merge_rule *rules;
    size_t rule_count;
    struct berth_arena *arena;
    struct berth_jw out;
    struct place at;
    uint64_t work; /* comparisons so far */
    struct berth_err *e;
};

const struct berth_merge_rule *merge_rule(const struct merge *m);
/* Count n comparisons; -BERTH_ETOOBIG when it is enough. */
int merge_work(struct merge *m, size_t n);
/* b NULL: nothing is there; o NULL or null: nothing said.  Exactly one value is written. */
int merge_value(struct merge *m, const struct berth_json *b, const struct berth_json *o);
int merge_list(struct merge *m, const struct berth_json *b, const struct berth_json *o);
/* The base's arguments, without the flags that the overlay gives. */
int merge_flags(struct merge *m, const struct berth_json *b, const struct berth_json *o);
int merge_enter(struct merge *m, struct berth_slice name, bool element);

#endif
