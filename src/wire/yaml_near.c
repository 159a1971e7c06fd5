#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "wire/yaml_priv.h"

/*
 * Paths are followed through the events of a text, all at once: each level that is open has those
 * paths that lead through it, so that what no path leads through costs nothing.
 */
struct follower {
    uint32_t path;  /* which of them */
    uint32_t mark;  /* where in it what is inside goes on */
    uint32_t index; /* of a list: of the element that it leads through */
};

struct followed {
    bool map, key; /* key: the next scalar is one */
    uint32_t index;
    size_t from; /* its followers are from there on, to those of the next level */
};

struct near {
    const char *const *paths;
    struct berth_yaml_place *places;
    uint32_t *best;       /* how far each path was followed */
    struct follower *all; /* those of the levels, then those of the value that comes next */
    size_t top, next;     /* up to top of the levels, `next` more of the value */
    struct followed in[BERTH_JSON_DEPTH_MAX];
    size_t depth;
};

/* One that leads through the value that comes next, which is said here. */
static void
reach(struct near *n, struct follower f, const yaml_event_t *ev)
{
    n->all[n->top + n->next++] = f;
    if (f.mark < n->best[f.path])
        return;
    n->best[f.path] = f.mark;
    n->places[f.path] = (struct berth_yaml_place){.line = ev->start_mark.line + 1,
                                                  .column = ev->start_mark.column + 1};
}

/* Past a key or an index, and the dot behind it; SIZE_MAX: the path goes elsewhere. */
static size_t
past(const char *path, size_t mark)
{
    if (path[mark] == '.')
        return mark + 1;
    return path[mark] == '[' || path[mark] == '\0' ? mark : SIZE_MAX;
}

static bool
take_key(const char *path, const yaml_event_t *key, struct follower *f)
{
    const char *name = (const char *)key->data.scalar.value;
    const size_t len = key->data.scalar.length;

    if (len == 0 || strncmp(path + f->mark, name, len) != 0)
        return false;
    const size_t mark = past(path, f->mark + len);
    f->mark = mark != SIZE_MAX ? (uint32_t)mark : f->mark;
    return mark != SIZE_MAX;
}

static bool
take_index(const char *path, struct follower *f)
{
    size_t at = f->mark;
    uint32_t said = 0;

    if (path[at] != '[')
        return false;
    for (at++; path[at] >= '0' && path[at] <= '9' && said < 100000000; at++)
        said = said * 10 + (uint32_t)(path[at] - '0');
    const size_t mark = path[at] == ']' ? past(path, at + 1) : SIZE_MAX;
    f->index = said;
    f->mark = mark != SIZE_MAX ? (uint32_t)mark : f->mark;
    return mark != SIZE_MAX;
}

/* A scalar at the end of a path; the last of that path counts. */
static void
note_value(struct near *n, const yaml_event_t *ev)
{
    for (size_t i = 0; ev->type == YAML_SCALAR_EVENT && i < n->next; i++) {
        const struct follower f = n->all[n->top + i];
        struct berth_yaml_place *place = &n->places[f.path];
        if (n->paths[f.path][f.mark] != '\0')
            continue;
        place->value_line = ev->start_mark.line + 1;
        place->value_column = ev->start_mark.column + 1;
        place->value_end = ev->end_mark.line + 1;
        place->literal = ev->data.scalar.style == YAML_LITERAL_SCALAR_STYLE;
    }
}

static void
value_begins(struct near *n, const yaml_event_t *ev)
{
    struct followed *in = n->depth > 0 ? &n->in[n->depth - 1] : NULL;

    if (in == NULL)
        return; /* the document: all lead through it */
    if (in->map) {
        in->key = true; /* when this value is over */
    } else {
        const uint32_t index = in->index++;
        n->next = 0;
        for (size_t i = in->from; i < n->top; i++) {
            if (n->all[i].index == index)
                reach(n, n->all[i], ev);
        }
    }
    note_value(n, ev);
}

static void
enter(struct near *n, bool map)
{
    struct followed *in = &n->in[n->depth++];
    const size_t end = n->top + n->next;

    *in = (struct followed){.map = map, .key = map, .from = n->top};
    for (size_t i = in->from; i < end; i++) {
        struct follower f = n->all[i];
        if (map || take_index(n->paths[f.path], &f))
            n->all[n->top++] = f;
    }
    n->next = 0;
}

static void
key_begins(struct near *n, const yaml_event_t *ev)
{
    struct followed *in = &n->in[n->depth - 1];

    in->key = false;
    n->next = 0;
    for (size_t i = in->from; ev->type == YAML_SCALAR_EVENT && i < n->top; i++) {
        struct follower f = n->all[i];
        if (take_key(n->paths[f.path], ev, &f))
            reach(n, f, ev);
    }
}

static bool
near_event(void *arg, const yaml_event_t *ev)
{
    struct near *n = arg;
    const struct followed *in = n->depth > 0 ? &n->in[n->depth - 1] : NULL;

    switch (ev->type) {
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT:
        if (n->depth == BERTH_JSON_DEPTH_MAX)
            return true;
        value_begins(n, ev);
        enter(n, ev->type == YAML_MAPPING_START_EVENT);
        return false;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        n->top = n->in[--n->depth].from;
        n->next = 0;
        return false;
    case YAML_SCALAR_EVENT:
    case YAML_ALIAS_EVENT:
        if (in != NULL && in->map && in->key)
            key_begins(n, ev);
        else
            value_begins(n, ev);
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
berth_yaml_places_near(const char *text, size_t len, const char *const *paths, size_t count,
                       struct berth_yaml_place *ret)
{
    uint32_t best[BERTH_YAML_PATHS_MAX] = {0};
    struct near n = {.paths = paths, .places = ret, .best = best, .next = count};

    berth_assert(count <= BERTH_YAML_PATHS_MAX);
    if (count == 0)
        return;
    memset(ret, 0, count * sizeof *ret);
    /* Each level has each path at most, and so has the value that comes next. */
    BERTH_AUTO_FREE struct follower *all = calloc((BERTH_JSON_DEPTH_MAX + 1) * count, sizeof *all);
    if (all == NULL)
        return;
    for (size_t i = 0; i < count; i++)
        all[i].path = (uint32_t)i;
    n.all = all;
    yaml_each_event(text, len, near_event, &n);
}
