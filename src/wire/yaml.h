#ifndef BERTH_YAML_H
#define BERTH_YAML_H

#include <stddef.h>

#include <berth/err.h>

struct berth_arena;
struct berth_json;

/*
 * One YAML 1.1 document into the tree of wire/json.h, scalars typed by the JSON schema plus the
 * usual spellings of true, false and null.  An empty document is an empty object.  Anchors and
 * aliases are refused beyond a bound on values (no billion laughs), depth as for JSON.
 *   -BERTH_EINVAL  with the place: "line 3, column 14: ..."      -BERTH_ENOMEM
 */
int berth_yaml_parse(struct berth_arena *a, const char *text, size_t len,
                     const struct berth_json **ret, struct berth_err *e);
/* The line, from 1, of the key at a path such as "server.port"; 0 when there is none.  Reads the
 * text anew: for error messages. */
size_t berth_yaml_line(const char *text, size_t len, const char *path);

#endif
