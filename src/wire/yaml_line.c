#include <stdint.h>
#include <string.h>

#include "wire/yaml_priv.h"

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
    const char *rest = matched != SIZE_MAX ? f->path + matched : NULL;

    if (rest == NULL || strncmp(rest, key, len) != 0)
        return SIZE_MAX;
    if (rest[len] == '.')
        return matched + len + 1;
    return rest[len] == '\0' ? matched + len : SIZE_MAX;
}

/* True once the place is found, or cannot be found any more. */
static bool
find_event(void *arg, const yaml_event_t *ev)
{
    struct finder *f = arg;
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

/* Hand events to see() until it says that it is done. */
static void
each_event(const char *text, size_t len, bool (*see)(void *arg, const yaml_event_t *ev), void *arg)
{
    yaml_parser_t p;
    bool done = false;

    if (yaml_parser_initialize(&p) == 0)
        return;
    yaml_parser_set_encoding(&p, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&p, (const unsigned char *)text, len);
    while (!done) {
        yaml_event_t ev;
        if (yaml_parser_parse(&p, &ev) == 0)
            break;
        done = see(arg, &ev);
        yaml_event_delete(&ev);
    }
    yaml_parser_delete(&p);
}

size_t
berth_yaml_line(const char *text, size_t len, const char *path)
{
    struct finder f = {.path = path};

    each_event(text, len, find_event, &f);
    return f.line;
}

/* ---- with indexes, as near as can be ---- */

struct spot {
    size_t mark; /* where in the path what is inside goes on; SIZE_MAX: elsewhere */
    bool map, key;
    size_t index; /* of the element that comes next */
};

struct near {
    const char *path;
    struct spot in[BERTH_JSON_DEPTH_MAX];
    size_t depth;
    size_t next;       /* for the value that comes next, as a mark */
    size_t best, line; /* the furthest that the path was followed, and where */
};

static void
reach(struct near *n, size_t mark, const yaml_event_t *ev)
{
    if (mark == SIZE_MAX || mark < n->best)
        return;
    n->best = mark;
    n->line = ev->start_mark.line + 1;
}

/* Past a key or an index, and the dot behind it; SIZE_MAX: the path goes elsewhere. */
static size_t
past(const char *path, size_t mark)
{
    if (path[mark] == '.')
        return mark + 1;
    return path[mark] == '[' || path[mark] == '\0' ? mark : SIZE_MAX;
}

static size_t
past_key(const struct near *n, size_t mark, const char *key, size_t len)
{
    if (mark == SIZE_MAX || len == 0 || strncmp(n->path + mark, key, len) != 0)
        return SIZE_MAX;
    return past(n->path, mark + len);
}

static size_t
past_index(const struct near *n, size_t mark, size_t index)
{
    size_t at = mark, said = 0;

    if (mark == SIZE_MAX || n->path[at] != '[')
        return SIZE_MAX;
    for (at++; n->path[at] >= '0' && n->path[at] <= '9' && said < 1000000; at++)
        said = said * 10 + (size_t)(n->path[at] - '0');
    return n->path[at] == ']' && said == index ? past(n->path, at + 1) : SIZE_MAX;
}

/* A value begins: where in the path it is. */
static size_t
value_begins(struct near *n, const yaml_event_t *ev)
{
    struct spot *in = n->depth > 0 ? &n->in[n->depth - 1] : NULL;

    if (in == NULL)
        return 0;
    if (in->map) {
        in->key = true; /* when this value is over */
        return n->next;
    }
    const size_t mark = past_index(n, in->mark, in->index++);
    reach(n, mark, ev);
    return mark;
}

static bool
near_event(void *arg, const yaml_event_t *ev)
{
    struct near *n = arg;
    struct spot *in = n->depth > 0 ? &n->in[n->depth - 1] : NULL;
    const bool map = ev->type == YAML_MAPPING_START_EVENT;

    switch (ev->type) {
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT:
        if (n->depth == BERTH_JSON_DEPTH_MAX)
            return true;
        const size_t mark = value_begins(n, ev);
        n->in[n->depth++] = (struct spot){.mark = mark, .map = map, .key = map};
        return false;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        n->depth--;
        return false;
    case YAML_SCALAR_EVENT:
    case YAML_ALIAS_EVENT:
        if (in == NULL || !in->map || !in->key) {
            (void)value_begins(n, ev);
            return false;
        }
        in->key = false;
        n->next = ev->type == YAML_ALIAS_EVENT
                      ? SIZE_MAX
                      : past_key(n, in->mark, (const char *)ev->data.scalar.value,
                                 ev->data.scalar.length);
        reach(n, n->next, ev);
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
berth_yaml_line_near(const char *text, size_t len, const char *path)
{
    struct near n = {.path = path};

    each_event(text, len, near_event, &n);
    return n.line;
}
