#include <string.h>

#include "base/arena.h"
#include "wire/yaml_priv.h"

/* Keys of one mapping are compared with each other: so many times in a text. */
enum { COMPARED_MAX = 32 << 20 };

static struct member *
find(struct reader *r, const struct level *l, struct berth_slice name)
{
    for (struct member *at = l->first; at != NULL; at = at->next) {
        r->compared++;
        if (!at->dead && !at->merge && at->name.len == name.len &&
            memcmp(at->name.at, name.at, name.len) == 0)
            return at;
    }
    return NULL;
}

/* Write a key where the text is now. */
static struct member *
put_key(struct reader *r, struct level *l, struct berth_slice name)
{
    struct member *new = BERTH_NEW(r->arena, struct member);
    const size_t from = r->text.len;

    if (new == NULL)
        return NULL;
    berth_jw_key_n(&r->out, name.at, name.len);
    const bool first = r->text.failed || r->text.at[from] != ',';
    *new = (struct member){.name = name,
                           .comma = first ? SIZE_MAX : from,
                           .start = from + !first,
                           .value = r->text.len,
                           .end = r->text.len};
    if (l->last != NULL)
        l->last->next = new;
    else
        l->first = new;
    l->last = new;
    return new;
}

int
yaml_member_begin(struct reader *r, const yaml_event_t *ev, struct berth_err *e)
{
    struct level *l = &r->levels[r->depth - 1];
    const char *key = (const char *)ev->data.scalar.value;
    const size_t len = ev->data.scalar.length;
    const size_t line = ev->start_mark.line + 1, column = ev->start_mark.column + 1;
    const bool merge = ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && strcmp(key, "<<") == 0;
    const char *copy = berth_arena_strndup(r->arena, key, len);

    if (copy == NULL)
        return yaml_no_memory(e);
    struct member *before = merge ? NULL : find(r, l, (struct berth_slice){copy, len});
    if (r->compared > COMPARED_MAX)
        return yaml_refuse(ev, e, "too many keys in one mapping");
    if (before != NULL) {
        before->dead = true;
        if (yaml_note(r, line, column, "%.64s is on line %zu already: the last one counts", copy,
                      before->line) != 0)
            return yaml_no_memory(e);
    }
    struct member *new = put_key(r, l, (struct berth_slice){copy, len});
    if (new == NULL)
        return yaml_no_memory(e);
    new->merge = merge;
    new->line = line;
    new->column = column;
    return 0;
}

void
yaml_member_ended(struct reader *r)
{
    struct member *m = r->levels[r->depth - 1].last;

    if (m != NULL) /* NULL: keys are not told */
        m->end = r->text.len;
}

/* ---- merge keys ---- */

static int
refuse_merge(const struct member *m, struct berth_err *e)
{
    return berth_err_set(e, BERTH_EINVAL,
                         "line %zu, column %zu: << takes a mapping or a list of mappings", m->line,
                         m->column);
}

/* The members of one mapping that this one has not. */
static int
take_from(struct reader *r, struct level *l, const struct member *m, const struct berth_json *from,
          struct berth_err *e)
{
    if (berth_json_type(from) != BERTH_JSON_OBJECT)
        return refuse_merge(m, e);
    for (struct berth_json_iter it = berth_json_iter(from); berth_json_next(&it);) {
        if (find(r, l, it.key) != NULL)
            continue;
        struct member *new = put_key(r, l, it.key);
        if (new == NULL)
            return yaml_no_memory(e);
        new->line = m->line;
        new->column = m->column;
        berth_jw_value(&r->out, it.value);
        new->end = r->text.len;
    }
    if (r->compared > COMPARED_MAX)
        return berth_err_set(e, BERTH_EINVAL, "line %zu, column %zu: too many keys in one mapping",
                             m->line, m->column);
    return 0;
}

static int
take_merged(struct reader *r, struct level *l, struct member *m, struct berth_err *e)
{
    const size_t len = m->end - m->value;
    const struct berth_json *v;

    r->expanded_bytes += len;
    if (r->expanded_bytes > EXPANDED_BYTES_MAX)
        return berth_err_set(e, BERTH_EINVAL, "line %zu, column %zu: too much text is merged",
                             m->line, m->column);
    int rc = berth_json_parse(r->arena, r->text.at + m->value, len, NULL, &v, e);
    if (rc != 0)
        return rc;
    m->dead = true;
    if (berth_json_type(v) != BERTH_JSON_ARRAY)
        return take_from(r, l, m, v, e);
    for (struct berth_json_iter it = berth_json_iter(v); rc == 0 && berth_json_next(&it);)
        rc = take_from(r, l, m, it.value, e);
    return rc;
}

/* ---- what does not count ---- */

/* An alias may come to what is in a piece that goes. */
static bool
keep_anchors(struct reader *r, const struct member *m)
{
    for (size_t i = 0; i < r->anchor_count; i++) {
        struct anchor *a = &r->anchors[i];

        if (a->text != NULL || a->to == 0 || a->from < m->start || a->to > m->end)
            continue;
        a->text = berth_arena_strndup(r->arena, r->text.at + a->from, a->to - a->from);
        if (a->text == NULL)
            return false;
    }
    return true;
}

/* JSON takes blanks anywhere: what does not count becomes blanks, and commas stand before all that
 * counts but the first. */
static int
blot_out(struct reader *r, const struct level *l, struct berth_err *e)
{
    bool some = false;

    for (const struct member *m = l->first; m != NULL; m = m->next) {
        if (m->dead && !keep_anchors(r, m))
            return yaml_no_memory(e);
        if (m->dead)
            memset(r->text.at + m->start, ' ', m->end - m->start);
        if (m->comma != SIZE_MAX)
            r->text.at[m->comma] = !m->dead && some ? ',' : ' ';
        some = some || !m->dead;
    }
    return 0;
}

int
yaml_members_done(struct reader *r, struct berth_err *e)
{
    struct level *l = &r->levels[r->depth - 1];
    const struct member *written = l->last; /* what is merged in comes behind */
    bool blots = false;
    int rc = 0;

    if (r->text.failed)
        return yaml_no_memory(e);
    for (struct member *m = l->first; rc == 0 && m != NULL; m = m == written ? NULL : m->next) {
        if (m->merge)
            rc = take_merged(r, l, m, e);
        blots = blots || m->dead;
    }
    if (rc == 0 && r->text.failed)
        rc = yaml_no_memory(e);
    return rc == 0 && blots ? blot_out(r, l, e) : rc;
}
