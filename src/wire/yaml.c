#include "wire/yaml.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "wire/yaml_priv.h"

int
yaml_refuse(const yaml_event_t *at, struct berth_err *e, const char *why)
{
    return berth_err_set(e, BERTH_EINVAL, "line %zu, column %zu: %s", at->start_mark.line + 1,
                         at->start_mark.column + 1, why);
}

int
yaml_no_memory(struct berth_err *e)
{
    return berth_err_set(e, BERTH_ENOMEM, "YAML needs more memory than allowed");
}

int
yaml_note(struct reader *r, size_t line, size_t column, const char *fmt, ...)
{
    char text[256];
    va_list ap;

    if (r->note_count == BERTH_YAML_NOTES_MAX) {
        r->notes_beyond++;
        return 0;
    }
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    const char *copy = berth_arena_strdup(r->arena, text);
    if (copy == NULL)
        return -BERTH_ENOMEM;
    r->notes[r->note_count++] = (struct berth_yaml_note){line, column, copy};
    return 0;
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
        return yaml_refuse(ev, e, "too many anchors");
    const char *copy = berth_arena_strdup(r->arena, (const char *)name);
    if (copy == NULL)
        return yaml_no_memory(e);
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
        return yaml_refuse(ev, e,
                           found == NULL ? "an alias to an anchor that is not there"
                                         : "an alias to the value that it is part of");
    const char *text = found->text != NULL ? found->text : r->text.at + found->from;
    size_t len = found->to - found->from;
    for (; len > 0 && (*text == ',' || *text == ':'); len--)
        text++; /* the comma came with the value */
    r->expanded_bytes += len;
    if (r->expanded_bytes > EXPANDED_BYTES_MAX)
        return yaml_refuse(ev, e, "aliases expand to too much text");
    const char *copy = berth_arena_strndup(r->arena, text, len);
    if (copy == NULL)
        return yaml_no_memory(e);
    berth_jw_raw(&r->out, copy, len);
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
    if (r->depth == 0)
        return;
    r->levels[r->depth - 1].have_key = false;
    yaml_member_ended(r);
}

static int
key(struct reader *r, const yaml_event_t *ev, struct berth_err *e)
{
    const char *text = (const char *)ev->data.scalar.value;

    if (ev->data.scalar.anchor != NULL)
        return yaml_refuse(ev, e, "a key cannot be an anchor");
    r->levels[r->depth - 1].have_key = true;
    if (r->notes != NULL)
        return yaml_member_begin(r, ev, e);
    if (ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && strcmp(text, "<<") == 0)
        return yaml_refuse(ev, e, "merge keys (<<) are not supported: write the keys out");
    berth_jw_key_n(&r->out, text, ev->data.scalar.length);
    return 0;
}

static int
scalar(struct reader *r, const yaml_event_t *ev, struct berth_err *e)
{
    size_t anchor;

    if (is_key(r))
        return key(r, ev, e);
    int rc = anchor_begin(r, ev->data.scalar.anchor, ev, &anchor, e);
    if (rc == 0)
        rc = yaml_scalar(r, ev, e);
    if (rc != 0)
        return rc;
    anchor_end(r, anchor);
    value_done(r);
    return 0;
}

static int
begin(struct reader *r, const yaml_event_t *ev, bool mapping, const yaml_char_t *name,
      struct berth_err *e)
{
    const bool braces = mapping && ev->data.mapping_start.style == YAML_FLOW_MAPPING_STYLE;
    size_t anchor;

    if (is_key(r))
        return yaml_refuse(ev, e,
                           braces && ev->start_mark.index == r->levels[r->depth - 1].brace
                               ? YAML_IS_TEMPLATE
                               : "a key must be a plain value");
    if (r->depth == BERTH_JSON_DEPTH_MAX)
        return yaml_refuse(ev, e, "nested too deep");
    const int rc = anchor_begin(r, name, ev, &anchor, e);
    if (rc != 0)
        return rc;
    if (mapping)
        berth_jw_object(&r->out);
    else
        berth_jw_array(&r->out);
    /* An anchor and a tag are in front of the brace. */
    r->levels[r->depth++] = (struct level){
        .mapping = mapping, .anchor = anchor, .brace = braces ? ev->end_mark.index : SIZE_MAX};
    return 0;
}

static int
end(struct reader *r, struct berth_err *e)
{
    const int rc = r->levels[r->depth - 1].first != NULL ? yaml_members_done(r, e) : 0;
    const struct level l = r->levels[--r->depth];

    if (rc != 0)
        return rc;
    if (l.mapping)
        berth_jw_object_end(&r->out);
    else
        berth_jw_array_end(&r->out);
    anchor_end(r, l.anchor);
    value_done(r);
    return 0;
}

/* One with something in it begins where its beginning was seen. */
static int
document(struct reader *r, struct berth_err *e)
{
    r->begins = false;
    if (++r->documents > 1 && r->notes == NULL)
        return berth_err_set(e, BERTH_EINVAL,
                             "line %zu, column 1: a second document: only one is expected",
                             r->begin_line);
    if (r->documents == 2)
        r->second_line = r->begin_line;
    return 0;
}

bool
yaml_is_nothing(const yaml_event_t *ev)
{
    return ev->type == YAML_SCALAR_EVENT && ev->data.scalar.length == 0 &&
           ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && ev->data.scalar.anchor == NULL &&
           ev->data.scalar.tag == NULL;
}

static int
event(struct reader *r, const yaml_event_t *ev, struct berth_err *e)
{
    int rc = 0;

    if (r->begins) {
        if (yaml_is_nothing(ev)) {
            r->begins = false;
            return 0;
        }
        if ((rc = document(r, e)) != 0)
            return rc;
    }
    if (r->documents > 1 && ev->type != YAML_DOCUMENT_START_EVENT)
        return 0; /* counted, not read */
    switch (ev->type) {
    case YAML_SCALAR_EVENT:
        return scalar(r, ev, e);
    case YAML_ALIAS_EVENT:
        if (is_key(r))
            return yaml_refuse(ev, e, "a key must be a plain value");
        rc = alias(r, ev, e);
        value_done(r);
        return rc;
    case YAML_SEQUENCE_START_EVENT:
        return begin(r, ev, false, ev->data.sequence_start.anchor, e);
    case YAML_MAPPING_START_EVENT:
        return begin(r, ev, true, ev->data.mapping_start.anchor, e);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        return end(r, e);
    case YAML_DOCUMENT_START_EVENT:
        r->begins = true;
        r->begin_line = ev->start_mark.line + 1;
        return 0;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        return 0;
    }
    return 0;
}

static bool
begins_character(char c)
{
    return ((unsigned char)c & 0xc0) != 0x80;
}

static size_t
mark_bytes(const char *text, size_t len)
{
    return len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
}

/* A character that is none, or may not be there.  The reader is far ahead of the parser, and counts
 * bytes alone. */
static int
unreadable(const yaml_parser_t *p, const char *text, size_t len, struct berth_err *e)
{
    const size_t from = mark_bytes(text, len), off = from + p->problem_offset;
    size_t at = off < len ? off : len, line = 1, column = 1;

    if (strcmp(p->problem, "invalid trailing UTF-8 octet") == 0)
        while (at > from && !begins_character(text[--at]))
            ; /* to the character that this byte does not belong to */
    for (size_t i = from; i < at; i++) {
        column = text[i] == '\n' ? 1 : column + begins_character(text[i]);
        line += text[i] == '\n';
    }
    return berth_err_set(e, BERTH_EINVAL, "line %zu, column %zu: %s", line, column, p->problem);
}

static int
parse_failed(const yaml_parser_t *p, const char *text, size_t len, struct berth_err *e)
{
    const char *why = p->problem != NULL ? p->problem : "not YAML";

    if (p->error == YAML_MEMORY_ERROR)
        return berth_err_set(e, BERTH_ENOMEM, "YAML: out of memory");
    if (p->error == YAML_READER_ERROR)
        return unreadable(p, text, len, e);
    if (yaml_said(p, text, len, e) < 0)
        return -BERTH_EINVAL;
    /* What ends with the text is found where it began: the end says nothing. */
    if (p->context != NULL && p->problem_mark.index >= len && p->context_mark.index < len)
        return berth_err_set(e, BERTH_EINVAL, "line %zu, column %zu: %s, %s",
                             p->context_mark.line + 1, p->context_mark.column + 1, why, p->context);
    return berth_err_set(e, BERTH_EINVAL, "line %zu, column %zu: %s", p->problem_mark.line + 1,
                         p->problem_mark.column + 1, why);
}

static int
read_events(struct reader *r, const char *text, size_t len, struct berth_err *e)
{
    yaml_event_type_t type = YAML_NO_EVENT;

    while (type != YAML_STREAM_END_EVENT) {
        yaml_event_t ev;
        if (yaml_parser_parse(&r->parser, &ev) == 0) {
            if (r->documents > 0 && r->begins && document(r, e) != 0)
                return -BERTH_EINVAL;
            return r->documents > 1 ? 0 : parse_failed(&r->parser, text, len, e);
        }
        type = ev.type;
        const int rc = event(r, &ev, e);
        yaml_event_delete(&ev);
        if (rc != 0)
            return rc;
        if (r->text.failed)
            return yaml_no_memory(e);
    }
    return 0;
}

void
yaml_set_input(yaml_parser_t *parser, const char *text, size_t len)
{
    const size_t skip = mark_bytes(text, len);

    yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(parser, (const unsigned char *)text + skip, len - skip);
}

static int
parse(struct reader *r, const char *text, size_t len, const char *empty,
      const struct berth_json **ret, struct berth_err *e)
{
    if (yaml_parser_initialize(&r->parser) == 0)
        return yaml_no_memory(e);
    berth_buf_init(&r->text, r->arena);
    r->text.max = TEXT_BYTES_MAX;
    berth_jw_init(&r->out, &r->text);
    yaml_set_input(&r->parser, text, len);
    const int rc = read_events(r, text, len, e);
    yaml_parser_delete(&r->parser);
    if (rc != 0)
        return rc;
    if (r->text.len == 0)
        return berth_json_parse(r->arena, empty, strlen(empty), NULL, ret, e);
    return berth_json_parse(r->arena, r->text.at, r->text.len, NULL, ret, e);
}

int
berth_yaml_parse(struct berth_arena *a, const char *text, size_t len, const struct berth_json **ret,
                 struct berth_err *e)
{
    struct reader *r = BERTH_NEW(a, struct reader);

    if (r == NULL)
        return yaml_no_memory(e);
    r->arena = a;
    return parse(r, text, len, "{}", ret, e);
}

int
berth_yaml_parse_told(struct berth_arena *a, const char *text, size_t len,
                      const struct berth_json **ret, struct berth_yaml_notes *ret_notes,
                      struct berth_err *e)
{
    struct reader *r = BERTH_NEW(a, struct reader);
    const struct berth_json *v;

    if (r == NULL ||
        (r->notes = BERTH_NEW_N(a, struct berth_yaml_note, BERTH_YAML_NOTES_MAX)) == NULL)
        return yaml_no_memory(e);
    r->arena = a;
    int rc = parse(r, text, len, "null", &v, e);
    if (rc == 0 && r->documents > 1 &&
        yaml_note(r, r->second_line, 1,
                  "of %u documents the first is read: write one, or each in its own file",
                  r->documents) != 0)
        rc = yaml_no_memory(e);
    if (rc != 0)
        return rc;
    *ret = v;
    *ret_notes = (struct berth_yaml_notes){r->notes, r->note_count, r->notes_beyond};
    return 0;
}
