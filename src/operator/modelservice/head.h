#ifndef BERTH_MSVC_HEAD_H
#define BERTH_MSVC_HEAD_H

struct berth_arena;
struct berth_json;
struct berth_msvc;
struct berth_msvc_kind;
struct berth_msvc_problems;

/*
 * What an object of a base configuration says of itself: its kind, its metadata, its pods'. Another
 * kind or version than its key's does not count, which is told.  What only a cluster may say (who
 * owns it, its uid, its status) is told and left out of the answer; where nothing is applied, and
 * so llm-d's output is wanted as it is, it is told and stays.
 *
 * v is of the shape of its kind, or is not, which has been told; at stands before each path: "" or
 * "[2]".  The answer lives in the arena or is v.  NULL: no memory.
 */
const struct berth_json *berth_msvc_headed(struct berth_msvc_problems *p,
                                           const struct berth_msvc *m,
                                           const struct berth_msvc_kind *kind, const char *at,
                                           const struct berth_json *v, struct berth_arena *a);

#endif
