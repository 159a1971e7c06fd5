#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "merge/merge_priv.h"

/* "containerPort,protocol=TCP": a table of ours, not of anybody outside. */
void
keys_read(struct keys *k, const char *text)
{
    *k = (struct keys){0};
    while (text != NULL && *text != '\0') {
        const size_t len = strcspn(text, ",");
        const char *is = memchr(text, '=', len);
        struct key *key = &k->each[k->count++];

        key->name = (struct berth_slice){text, is != NULL ? (size_t)(is - text) : len};
        if (is != NULL)
            key->dflt = (struct berth_slice){is + 1, len - key->name.len - 1};
        else if (text[len - 1] == '?')
            key->grade = KEY_OPTIONAL;
        else if (text[len - 1] == '*')
            key->grade = KEY_APART;
        key->name.len -= key->grade != KEY_PLAIN;
        k->graded = k->graded || key->grade != KEY_PLAIN;
        text += len + (text[len] == ',');
        berth_assert(k->count < KEYS_MAX || *text == '\0');
    }
}

/* A name as it is, a number as JSON has it; of anything else nothing can be a key. */
static int
key_text(const struct berth_json *v, struct berth_arena *a, struct berth_slice *ret)
{
    struct berth_buf b;

    switch (berth_json_type(v)) {
    case BERTH_JSON_STRING:
        (void)berth_json_string(v, ret);
        return 0;
    case BERTH_JSON_BOOL:
    case BERTH_JSON_INT:
    case BERTH_JSON_REAL:
        berth_buf_init(&b, a);
        berth_json_put(&b, v);
        *ret = (struct berth_slice){b.at, b.len};
        return b.failed ? -BERTH_ENOMEM : 0;
    case BERTH_JSON_NULL:
    case BERTH_JSON_ARRAY:
    case BERTH_JSON_OBJECT:
        break;
    }
    *ret = BERTH_SLICE("");
    return 0;
}

static int
read_one(const struct keys *k, const struct berth_json *v, struct berth_arena *a, struct keyed *ret)
{
    ret->value = v;
    for (size_t i = 0; i < k->count; i++)
        ret->text[i] = k->each[i].dflt.at != NULL ? k->each[i].dflt : BERTH_SLICE("");
    for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);) {
        for (size_t i = 0; i < k->count; i++) {
            const struct berth_slice name = k->each[i].name;

            if (name.len != it.key.len || memcmp(name.at, it.key.at, name.len) != 0 ||
                berth_json_type(it.value) == BERTH_JSON_NULL)
                continue;
            const int rc = key_text(it.value, a, &ret->text[i]);
            if (rc != 0)
                return rc;
        }
    }
    return 0;
}

int
keyed_read(const struct keys *k, const struct berth_json *list, const struct place *at,
           struct berth_arena *a, struct keyed **ret, struct berth_err *e)
{
    const size_t count = berth_json_len(list);
    struct keyed *all = BERTH_NEW_N(a, struct keyed, count + 1);

    for (struct berth_json_iter it = berth_json_iter(list); all != NULL && berth_json_next(&it);) {
        if (berth_json_type(it.value) != BERTH_JSON_OBJECT) {
            const char *where = place_text(at, a);
            return berth_err_set(e, BERTH_EINVAL, "%s[%zu]: an object is expected, not %s",
                                 where != NULL ? where : "?", it.index,
                                 berth_json_type_name(it.value));
        }
        if (read_one(k, it.value, a, &all[it.index]) != 0)
            all = NULL;
    }
    if (all == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "a list of %zu needs more memory than allowed",
                             count);
    *ret = all;
    return 0;
}

static bool
same(struct berth_slice a, struct berth_slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

bool
keyed_pair(const struct keys *k, const struct keyed *base, const struct keyed *overlay)
{
    for (size_t i = 0; i < k->count; i++) {
        const struct berth_slice b = base->text[i], o = overlay->text[i];

        if (k->each[i].grade == KEY_APART || same(b, o))
            continue;
        if (k->each[i].grade == KEY_PLAIN || (b.len > 0 && o.len > 0))
            return false;
    }
    return true;
}

bool
keyed_same(const struct keys *k, const struct keyed *a, const struct keyed *b)
{
    for (size_t i = 0; i < k->count; i++)
        if (!same(a->text[i], b->text[i]))
            return false;
    return true;
}

const char *
keyed_label(const struct keys *k, const struct keyed *el, size_t index, struct berth_arena *a)
{
    for (size_t i = 0; i < k->count; i++) {
        const struct berth_slice name = k->each[i].name, text = el->text[i];

        if (text.len > 0 && k->each[i].dflt.at == NULL)
            return berth_arena_printf(a, "%.*s=%.*s", (int)name.len, name.at,
                                      text.len < 64 ? (int)text.len : 64, text.at);
    }
    return berth_arena_printf(a, "%zu", index);
}
