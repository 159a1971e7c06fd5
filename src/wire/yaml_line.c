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

void
yaml_each_event(const char *text, size_t len, bool (*see)(void *arg, const yaml_event_t *ev),
                void *arg)
{
    yaml_parser_t p;
    bool done = false, begins = false, empty = false;

    if (yaml_parser_initialize(&p) == 0)
        return;
    yaml_set_input(&p, text, len);
    while (!done) {
        yaml_event_t ev;
        if (yaml_parser_parse(&p, &ev) == 0)
            break;
        empty = (begins && yaml_is_nothing(&ev)) || (empty && ev.type == YAML_DOCUMENT_END_EVENT);
        begins = ev.type == YAML_DOCUMENT_START_EVENT;
        done = !empty && see(arg, &ev);
        yaml_event_delete(&ev);
    }
    yaml_parser_delete(&p);
}

size_t
berth_yaml_line(const char *text, size_t len, const char *path)
{
    struct finder f = {.path = path};

    yaml_each_event(text, len, find_event, &f);
    return f.line;
}
