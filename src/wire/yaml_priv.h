#ifndef BERTH_YAML_PRIV_H
#define BERTH_YAML_PRIV_H

#include <yaml.h>

#include "base/buf.h"
#include "wire/json.h"
#include "wire/yaml.h"

/*
 * libyaml's events become JSON text, which wire/json.h parses.  Anchored values are remembered as
 * places in that text; an alias copies the piece.  All bounds are on the text: its size bounds
 * every later step.
 */
enum { ANCHORS_MAX = 256, TEXT_BYTES_MAX = 16 << 20, EXPANDED_BYTES_MAX = 1 << 20 };

struct anchor {
    const char *name;
    const char *text; /* NULL: in the JSON text */
    size_t from, to;  /* in the JSON text; to 0: not finished */
};

/* A key of a mapping and its value, in the JSON text: [start, end), with the comma before it. */
struct member {
    struct member *next;
    struct berth_slice name;
    size_t comma, start, value, end; /* comma SIZE_MAX: it is the first */
    size_t line, column;
    bool dead;  /* one of the same name came later, or it was a merge key */
    bool merge; /* "<<" */
};

struct level {
    bool mapping, have_key;
    size_t anchor;               /* index + 1; 0: none */
    size_t brace;                /* behind its "{", in characters of the text; SIZE_MAX: none */
    struct member *first, *last; /* of a mapping, where they are told */
};

struct reader {
    yaml_parser_t parser;
    struct berth_arena *arena;
    struct berth_buf text;
    struct berth_jw out;
    struct level levels[BERTH_JSON_DEPTH_MAX];
    size_t depth;
    struct anchor anchors[ANCHORS_MAX];
    size_t anchor_count, expanded_bytes, compared;
    unsigned documents;            /* with something in them */
    bool begins;                   /* one does, and nothing of it has come yet */
    size_t begin_line;             /* of that one */
    size_t second_line;            /* where the second document begins */
    struct berth_yaml_note *notes; /* NULL: told of nothing, berth_yaml_parse() */
    size_t note_count, notes_beyond;
};

/* Tell a parser of the text: UTF-8, without the mark of its byte order that editors put before it.
 */
void yaml_set_input(yaml_parser_t *parser, const char *text, size_t len);
/* Is this, where a document's value is to come, a document with nothing in it? */
bool yaml_is_nothing(const yaml_event_t *ev);
/* Hand events to see() until it says that it is done, or the text is no YAML: none of documents
 * with nothing in them. */
void yaml_each_event(const char *text, size_t len, bool (*see)(void *arg, const yaml_event_t *ev),
                     void *arg);
int yaml_refuse(const yaml_event_t *at, struct berth_err *e, const char *why);
int yaml_no_memory(struct berth_err *e);
__attribute__((format(printf, 4, 5))) int yaml_note(struct reader *r, size_t line, size_t column,
                                                    const char *fmt, ...);

/* What "{{ .NAME }}" without quotes is: a mapping within a mapping. */
#define YAML_IS_TEMPLATE                                                                          \
    "a template is a text: write it in quotes, \"{{ .NAME }}\", or '{{ f \"x\" }}' where it has " \
    "quotes of its own"

/* yaml_said.c: why the parser failed, where a person's usual mistake is the cause: the place and
 * what is to be written instead, -BERTH_EINVAL.  0: it is another, and e is untouched. */
int yaml_said(const yaml_parser_t *p, const char *text, size_t len, struct berth_err *e);

/* yaml_scalar.c: write a scalar as the value that it means. */
int yaml_scalar(struct reader *r, const yaml_event_t *ev, struct berth_err *e);

/* yaml_member.c: keys that are told.  begin writes the key; ended when its value is written; at the
 * end of the mapping what does not count is blotted out and what was merged in is written. */
int yaml_member_begin(struct reader *r, const yaml_event_t *ev, struct berth_err *e);
void yaml_member_ended(struct reader *r);
int yaml_members_done(struct reader *r, struct berth_err *e);

#endif
