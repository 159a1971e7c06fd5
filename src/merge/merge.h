#ifndef BERTH_MERGE_H
#define BERTH_MERGE_H

#include <stddef.h>

#include <berth/err.h>

struct berth_arena;
struct berth_json;

/*
 * Kubernetes objects merged: an overlay over a base, both trees of wire/json.h.  What is there is
 * meant: 0, false and "" override.  Objects merge member by member, the last of members of one name
 * counting; scalars (quantities and int-or-strings too) are opaque; everything else is replaced by
 * the overlay's, but for what a rule names.  Unknown members are kept.  Which list merges how is
 * data; the tables for the kinds we know are in rules.h.
 */
enum berth_merge_mode {
    BERTH_MERGE_REPLACE, /* the overlay's, if it has any element (what lists do without a rule) */
    BERTH_MERGE_APPEND, /* the base's, then the overlay's that are not equal to one that is there */
    BERTH_MERGE_PREPEND, /* the overlay's, then the base's (args: a model's name comes first); with
                          * keys "distinct" without those of the base that are there already */
    BERTH_MERGE_FLAGS, /* as PREPEND, and a "--flag" of the base's that the overlay gives, too, goes
                        * with its value; of what is given several times, or may be several
                        * values, nothing goes */
    BERTH_MERGE_KEYED, /* by `keys`: pairs merge, others of the overlay are appended */
    BERTH_MERGE_KEYED_UNITS, /* by `keys`: the overlay's takes the place of the base's as a whole */
    BERTH_MERGE_AND,    /* node selector terms: each of the base's and each of the overlay's in one,
                         * since terms are alternatives and both sides must hold */
    BERTH_MERGE_ATOMIC, /* an object or list that is replaced as a whole, also by an empty one */
    BERTH_MERGE_ONE_OF, /* an object of which only one of `keys` may be there: "exec,httpGet", or
                         * "!name" for all but name; the overlay's choice removes the base's.  With
                         * "type=RollingUpdate:rollingUpdate" a member that belongs to a value of
                         * another (which is the default, too): it goes when that gets another
                         * value, and an overlay that has the member but not the value resets it */
};

/*
 * path: members with dots between, "a|b" for either, "[]" for the elements of a list, "**" in front
 * for any number of steps: "spec.template.spec.containers|initContainers[].env", "**.spec.volumes".
 * The first rule that fits counts.
 *
 * keys: members that tell elements apart, eight at most; without a default a missing one is "".
 *   "containerPort,protocol=TCP"   with the default of a missing one
 *   "name,sectionName?"            missing or empty on either side, it fits any
 *   "name,port*"                   does not matter for pairs, but the overlay's own elements that
 *                                  differ in it (or in a "?") are different ones and all stay
 * Of the overlay's elements with one key the last one pairs; if none does, all are appended.  Each
 * of the base's elements with that key is merged.
 */
struct berth_merge_rule {
    const char *path;
    enum berth_merge_mode mode;
    const char *keys;
};

/* The overlay's list of strings begins with this: the rest of it replaces the base's, whatever the
 * rule says (args: ["$replace", "serve", "--port", "9000"]); alone, it empties the list. */
#define BERTH_MERGE_REPLACE_MARK "$replace"

/*
 * null in the overlay: the member is taken away (as JSON merge patch and kubectl have it).  An
 * empty list keeps the base's, except where a rule says ATOMIC.  base or overlay may be NULL:
 * nothing. The result lives in the arena and shares nothing with base and overlay.  Any thread.
 *   -BERTH_EINVAL   with the path: "spec.template.spec.containers: a list is merged with an object"
 *   -BERTH_ETOOBIG  lists and objects so long that comparing them takes too much work; likewise
 *   -BERTH_ENOMEM
 */
int berth_merge(const struct berth_merge_rule *rules, size_t rule_count,
                const struct berth_json *base, const struct berth_json *overlay,
                struct berth_arena *a, const struct berth_json **ret, struct berth_err *e);

#endif
