#ifndef BERTH_YAML_H
#define BERTH_YAML_H

#include <stdbool.h>
#include <stddef.h>

#include <berth/err.h>

struct berth_arena;
struct berth_buf;
struct berth_json;

/*
 * One YAML 1.1 document into the tree of wire/json.h, scalars typed by the JSON schema plus the
 * usual spellings of true, false and null.  Documents with nothing in them, such as what is behind
 * a last "---", do not count; where there is no other it is an empty object.  Anchors and
 * aliases are refused beyond a bound on values (no billion laughs), depth as for JSON.
 *   -BERTH_EINVAL  with the place: "line 3, column 14: ..."      -BERTH_ENOMEM
 */
int berth_yaml_parse(struct berth_arena *a, const char *text, size_t len,
                     const struct berth_json **ret, struct berth_err *e);

/*
 * The same as kubectl and its kin read YAML, and what a person should be told of it.  Merge keys
 * ("<<") work.  Of keys that are there twice the last counts, and no other is in the tree.  Of many
 * documents the first is read.  Plain scalars are typed as YAML 1.1 has it: yes, no, on, off, y and
 * n, 0777, 0x1f, 0o17, 0b101 and 1_000; keys stay as they are written.  No document is null.
 */
struct berth_yaml_note {
    size_t line, column;
    const char *text; /* "replicas is on line 3 already: the last one counts"; in the arena */
};
struct berth_yaml_notes {
    const struct berth_yaml_note *at; /* in the order of the text */
    size_t count;                     /* BERTH_YAML_NOTES_MAX at most */
    size_t beyond;                    /* how many more there are */
};
enum { BERTH_YAML_NOTES_MAX = 100 };
int berth_yaml_parse_told(struct berth_arena *a, const char *text, size_t len,
                          const struct berth_json **ret, struct berth_yaml_notes *ret_notes,
                          struct berth_err *e);

/* The line, from 1, of the key at a path such as "server.port"; 0 when there is none.  Reads the
 * text anew: for error messages. */
size_t berth_yaml_line(const char *text, size_t len, const char *path);
/*
 * Where what is at a path such as "spec.containers[2].args[0]" stands, or the last step of it that
 * is written there (what comes by an alias is not); of the last where a key is there twice.  Of the
 * first document that has something in it.  Lines and columns are from 1.
 */
struct berth_yaml_place {
    size_t line, column; /* of the key or the element; 0: no step of the path is there */
    /* Of a scalar, where all of the path is there; else value_line is 0. */
    size_t value_line, value_column; /* of its quote, its "|" or its first letter */
    size_t value_end;                /* line */
    bool literal;                    /* "|": its lines are those that follow value_line */
};
/* ret[i] is for paths[i].  All in one reading of the text, and memory by their count: that is
 * BERTH_YAML_PATHS_MAX at most.  Without memory none is found. */
enum { BERTH_YAML_PATHS_MAX = 256 };
void berth_yaml_places_near(const char *text, size_t len, const char *const *paths, size_t count,
                            struct berth_yaml_place *ret);

/*
 * A tree as one document of block YAML, appended: members in the order of their names, texts quoted
 * where a reader of YAML 1.1 or 1.2 would take them for something else, no "---".  Scratch memory
 * comes from the arena.  -BERTH_ENOMEM: what was appended is no document.
 */
int berth_yaml_put(struct berth_buf *to, const struct berth_json *v, struct berth_arena *a);

#endif
