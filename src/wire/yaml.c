#include "wire/yaml.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <yaml.h>

#include "base/arena.h"
#include "base/buf.h"
#include "wire/json.h"

/*
 * libyaml's events become JSON text, which wire/json.h parses.  Anchored values are remembered as
 * places in that text; an alias copies the piece.  All bounds are on the text: its size bounds
 * every later step.
 */
enum { ANCHORS_MAX = 256, TEXT_BYTES_MAX = 16 << 20, EXPANDED_BYTES_MAX = 1 << 20 };

struct anchor {
    const char *name;
    size_t from, to; /* in the JSON text; to 0: not finished */
};

struct level {
    bool mapping, have_key;
    size_t anchor; /* index + 1; 0: none */
};

struct reader {
    yaml_parser_t parser;
    struct berth_arena *arena;
    struct berth_buf text;
    struct berth_jw out;
    struct level levels[BERTH_JSON_DEPTH_MAX];
    size_t depth;
    struct anchor anchors[ANCHORS_MAX];
    size_t anchor_count, expanded_bytes;
    unsigned documents;
};

static int
refuse(const yaml_event_t *at, struct berth_err *e, const char *why)
{
    return berth_err_set(e, BERTH_EINVAL, "line %zu, column %zu: %s", at->start_mark.line + 1,
                         at->start_mark.column + 1, why);
}

/* ---- scalars ---- */

static bool
is_one_of(const char *text, const char *const names[], size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(text, names[i]) == 0)
            return true;
    return false;
}

/* JSON's grammar of numbers. */
static bool
is_number(const char *at)
{
    static const char digits[] = "0123456789";

    if (*at == '-')
        at++;
    const size_t whole = strspn(at, digits);
    if (whole == 0 || (whole > 1 && *at == '0'))
        return false;
    at += whole;
    if (*at == '.') {
        const size_t part = strspn(++at, digits);
        if (part == 0)
            return false;
        at += part;
    }
    if (*at == 'e' || *at == 'E') {
        at++;
        if (*at == '+' || *at == '-')
            at++;
        const size_t part = strspn(at, digits);
        if (part == 0)
            return false;
        at += part;
    }
    return *at == '\0';
}

static void
put_scalar(struct berth_jw *w, const yaml_event_t *ev)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
    static const char *const trues[] = {"true", "True", "TRUE"};
    static const char *const falses[] = {"false", "False", "FALSE"};
    const char *text = (const char *)ev->data.scalar.value;
    const size_t len = ev->data.scalar.length;
    const char *tag = (const char *)ev->data.scalar.tag;
    const bool typed = ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && strlen(text) == len &&
                       (tag == NULL || strcmp(tag, YAML_STR_TAG) != 0);

    if (typed && is_one_of(text, nulls, sizeof nulls / sizeof nulls[0]))
        berth_jw_null(w);
    else if (typed && is_one_of(text, trues, sizeof trues / sizeof trues[0]))
        berth_jw_bool(w, true);
    else if (typed && is_one_of(text, falses, sizeof falses / sizeof falses[0]))
        berth_jw_bool(w, false);
    else if (typed && is_number(text))
        berth_jw_raw(w, text, len);
    else
        berth_jw_string_n(w, text, len);
}

/* ---- anchors ---- */

/* Remember that a value called `name` begins here; *ret is its index + 1, or 0 without a name. */
static int
anchor_begin(struct reader *r, const yaml_char_t *name, const yaml_event_t *ev, size_t *ret,
             struct berth_err *e)
{
    if (name == NULL) {
        *ret = 0;
        return 0;
    }
    if (r->anchor_count == ANCHORS_MAX)
        return refuse(ev, e, "too many anchors");
    const char *copy = berth_arena_strdup(r->arena, (const char *)name);
    if (copy == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "YAML needs more memory than allowed");
    r->anchors[r->anchor_count] = (struct anchor){.name = copy, .from = r->text.len};
    *ret = ++r->anchor_count;
    return 0;
}

static void
anchor_end(struct reader *r, size_t anchor)
{
    if (anchor > 0)
        r->anchors[anchor - 1].to = r->text.len;
}

static int
alias(struct reader *r, const yaml_event_t *ev, struct berth_err *e)
{
    const char *name = (const char *)ev->data.alias.anchor;
    const struct anchor *found = NULL;

    for (size_t i = 0; i < r->anchor_count; i++) /* a name may be given anew: the last one counts */
        if (strcmp(r->anchors[i].name, name) == 0)
            found = &r->anchors[i];
    if (found == NULL || found->to == 0)
        return refuse(ev, e,
                      found == NULL ? "an alias to an anchor that is not there"
                                    : "an alias to the value that it is part of");
    size_t from = found->from, to = found->to;
    while (from < to && (r->text.at[from] == ',' || r->text.at[from] == ':'))
        from++; /* the comma came with the value */
    r->expanded_bytes += to - from;
    if (r->expanded_bytes > EXPANDED_BYTES_MAX)
        return refuse(ev, e, "aliases expand to too much text");
    const char *copy = berth_arena_strndup(r->arena, r->text.at + from, to - from);
    if (copy == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "YAML needs more memory than allowed");
    berth_jw_raw(&r->out, copy, to - from);
    return 0;
}

/* ---- events ---- */

/* Called before each value: is it a key of the mapping we are in? */
static bool
is_key(const struct reader *r)
{
    return r->depth > 0 && r->levels[r->depth - 1].mapping && !r->levels[r->depth - 1].have_key;
}

static void
value_done(struct reader *r)
{
    if (r->depth > 0)
        r->levels[r->depth - 1].have_key = false;
}

static int
scalar(struct reader *r, const yaml_event_t *ev, struct berth_err *e)
{
    size_t anchor;
    const int rc = anchor_begin(r, ev->data.scalar.anchor, ev, &anchor, e);

    if (rc != 0)
        return rc;
    if (is_key(r)) {
        const char *key = (const char *)ev->data.scalar.value;
        if (ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && strcmp(key, "<<") == 0)
            return refuse(ev, e, "merge keys (<<) are not supported: write the keys out");
        if (anchor != 0)
            return refuse(ev, e, "a key cannot be an anchor");
        berth_jw_key_n(&r->out, key, ev->data.scalar.length);
        r->levels[r->depth - 1].have_key = true;
        return 0;
    }
    put_scalar(&r->out, ev);
    anchor_end(r, anchor);
    value_done(r);
    return 0;
}

static int
begin(struct reader *r, const yaml_event_t *ev, bool mapping, const yaml_char_t *name,
      struct berth_err *e)
{
    size_t anchor;

    if (is_key(r))
        return refuse(ev, e, "a key must be a plain value");
    if (r->depth == BERTH_JSON_DEPTH_MAX)
        return refuse(ev, e, "nested too deep");
    const int rc = anchor_begin(r, name, ev, &anchor, e);
    if (rc != 0)
        return rc;
    if (mapping)
        berth_jw_object(&r->out);
    else
        berth_jw_array(&r->out);
    r->levels[r->depth++] = (struct level){.mapping = mapping, .anchor = anchor};
    return 0;
}

static void
end(struct reader *r)
{
    const struct level l = r->levels[--r->depth];

    if (l.mapping)
        berth_jw_object_end(&r->out);
    else
        berth_jw_array_end(&r->out);
    anchor_end(r, l.anchor);
    value_done(r);
}

static int
event(struct reader *r, const yaml_event_t *ev, struct berth_err *e)
{
    int rc = 0;

    switch (ev->type) {
    case YAML_SCALAR_EVENT:
        return scalar(r, ev, e);
    case YAML_ALIAS_EVENT:
        if (is_key(r))
            return refuse(ev, e, "a key must be a plain value");
        rc = alias(r, ev, e);
        value_done(r);
        return rc;
    case YAML_SEQUENCE_START_EVENT:
        return begin(r, ev, false, ev->data.sequence_start.anchor, e);
    case YAML_MAPPING_START_EVENT:
        return begin(r, ev, true, ev->data.mapping_start.anchor, e);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        end(r);
        return 0;
    case YAML_DOCUMENT_START_EVENT:
        return ++r->documents > 1 ? refuse(ev, e, "a second document: only one is expected") : 0;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        return 0;
    }
    return 0;
}

static int
parse_failed(const yaml_parser_t *p, struct berth_err *e)
{
    const char *why = p->problem != NULL ? p->problem : "not YAML";

    if (p->error == YAML_MEMORY_ERROR)
        return berth_err_set(e, BERTH_ENOMEM, "YAML: out of memory");
    if (p->error == YAML_READER_ERROR)
        return berth_err_set(e, BERTH_EINVAL, "line %zu, column %zu: %s", p->mark.line + 1,
                             p->mark.column + 1, why);
    return berth_err_set(e, BERTH_EINVAL, "line %zu, column %zu: %s", p->problem_mark.line + 1,
                         p->problem_mark.column + 1, why);
}

static int
read_events(struct reader *r, struct berth_err *e)
{
    yaml_event_type_t type = YAML_NO_EVENT;

    while (type != YAML_STREAM_END_EVENT) {
        yaml_event_t ev;
        if (yaml_parser_parse(&r->parser, &ev) == 0)
            return parse_failed(&r->parser, e);
        type = ev.type;
        const int rc = event(r, &ev, e);
        yaml_event_delete(&ev);
        if (rc != 0)
            return rc;
        if (r->text.failed)
            return berth_err_set(e, BERTH_ENOMEM, "YAML needs more memory than allowed");
    }
    return 0;
}

int
berth_yaml_parse(struct berth_arena *a, const char *text, size_t len, const struct berth_json **ret,
                 struct berth_err *e)
{
    struct reader *r = BERTH_NEW(a, struct reader);

    if (r == NULL || yaml_parser_initialize(&r->parser) == 0)
        return berth_err_set(e, BERTH_ENOMEM, "YAML needs more memory than allowed");
    r->arena = a;
    berth_buf_init(&r->text, a);
    r->text.max = TEXT_BYTES_MAX;
    berth_jw_init(&r->out, &r->text);
    yaml_parser_set_encoding(&r->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r->parser, (const unsigned char *)text, len);
    const int rc = read_events(r, e);
    yaml_parser_delete(&r->parser);
    if (rc != 0)
        return rc;
    if (r->text.len == 0)
        return berth_json_parse(a, "{}", 2, NULL, ret, e);
    return berth_json_parse(a, r->text.at, r->text.len, NULL, ret, e);
}

/* ---- places ---- */

struct finder {
    const char *path;
    size_t marks[BERTH_JSON_DEPTH_MAX]; /* where in path its keys go on; SIZE_MAX: elsewhere */
    bool keys[BERTH_JSON_DEPTH_MAX];    /* a mapping whose next scalar is a key */
    bool maps[BERTH_JSON_DEPTH_MAX];
    size_t depth, line;
    size_t next; /* where in path the value of the key just read goes on */
};

/* The key at this level: how far along the path is its value? */
static size_t
advance(const struct finder *f, size_t matched, const char *key, size_t len)
{
    const char *rest = f->path + matched;

    if (matched == SIZE_MAX || strncmp(rest, key, len) != 0)
        return SIZE_MAX;
    if (rest[len] == '.')
        return matched + len + 1;
    return rest[len] == '\0' ? matched + len : SIZE_MAX;
}

/* True once the place is found, or cannot be found any more. */
static bool
find_event(struct finder *f, const yaml_event_t *ev)
{
    const size_t top = f->depth - 1;

    switch (ev->type) {
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT:
        if (f->depth == BERTH_JSON_DEPTH_MAX)
            return true;
        f->marks[f->depth] = ev->type == YAML_MAPPING_START_EVENT ? f->next : SIZE_MAX;
        f->maps[f->depth] = f->keys[f->depth] = ev->type == YAML_MAPPING_START_EVENT;
        f->depth++;
        return false;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        f->depth--;
        if (f->depth > 0)
            f->keys[f->depth - 1] = f->maps[f->depth - 1];
        f->next = SIZE_MAX;
        return false;
    case YAML_SCALAR_EVENT:
        if (f->depth == 0)
            return true;
        if (!f->keys[top]) {
            f->keys[top] = f->maps[top];
            return false;
        }
        f->keys[top] = false;
        f->next =
            advance(f, f->marks[top], (const char *)ev->data.scalar.value, ev->data.scalar.length);
        if (f->next != SIZE_MAX && f->path[f->next] == '\0')
            f->line = ev->start_mark.line + 1;
        return f->line > 0;
    case YAML_ALIAS_EVENT:
        if (f->depth > 0)
            f->keys[top] = f->maps[top];
        return false;
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        return true;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_DOCUMENT_START_EVENT:
        return false;
    }
    return true;
}

size_t
berth_yaml_line(const char *text, size_t len, const char *path)
{
    struct finder f = {.path = path};
    yaml_parser_t p;
    bool done = false;

    if (yaml_parser_initialize(&p) == 0)
        return 0;
    yaml_parser_set_encoding(&p, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&p, (const unsigned char *)text, len);
    while (!done) {
        yaml_event_t ev;
        if (yaml_parser_parse(&p, &ev) == 0)
            break;
        done = find_event(&f, &ev);
        yaml_event_delete(&ev);
    }
    yaml_parser_delete(&p);
    return f.line;
}
