#include "template/value.h"

#include <string.h>

#include "base/arena.h"
#include "base/num.h"

static const char *
list_type_name(enum berth_ttype t)
{
    if (t == BERTH_TT_OF_STRING)
        return "[]string";
    if (t == BERTH_TT_OF_INT)
        return "[]int";
    return t == BERTH_TT_OF_LIST ? "[][]interface {}" : "[]interface {}";
}

const char *
berth_tv_type_name(const struct berth_tvalue *v)
{
    switch ((enum berth_tkind)v->kind) {
    case BERTH_T_NONE:
    case BERTH_T_NIL:
        return "<nil>";
    case BERTH_T_BOOL:
        return "bool";
    case BERTH_T_INT:
        return v->type == BERTH_TT_INT32 ? "int32" : v->type == BERTH_TT_INT64 ? "int64" : "int";
    case BERTH_T_UINT:
        return v->type == BERTH_TT_UINT8 ? "uint8" : "uint64";
    case BERTH_T_FLOAT:
        return "float64";
    case BERTH_T_STRING:
        return "string";
    case BERTH_T_LIST:
        return list_type_name((enum berth_ttype)v->type);
    case BERTH_T_MAP:
        return v->type == BERTH_TT_OF_STRING ? "map[string]string" : "map[string]interface {}";
    case BERTH_T_OBJECT:
        return v->type == BERTH_TT_TIME ? "time.Time" : "*semver.Version";
    }
    return "";
}

const char *
berth_tv_kind_name(const struct berth_tvalue *v)
{
    switch ((enum berth_tkind)v->kind) {
    case BERTH_T_NONE:
    case BERTH_T_NIL:
        return "invalid";
    case BERTH_T_LIST:
        return "slice";
    case BERTH_T_MAP:
        return "map";
    case BERTH_T_OBJECT:
        return v->type == BERTH_TT_TIME ? "struct" : "ptr";
    case BERTH_T_BOOL:
    case BERTH_T_INT:
    case BERTH_T_UINT:
    case BERTH_T_FLOAT:
    case BERTH_T_STRING:
        return berth_tv_type_name(v);
    }
    return "";
}

bool
berth_tv_truth(const struct berth_tvalue *v)
{
    switch ((enum berth_tkind)v->kind) {
    case BERTH_T_NONE:
    case BERTH_T_NIL:
        return false;
    case BERTH_T_BOOL:
        return v->b;
    case BERTH_T_INT:
        return v->i != 0;
    case BERTH_T_UINT:
        return v->u != 0;
    case BERTH_T_FLOAT:
        return v->f < 0 || v->f > 0 || v->f != v->f;
    case BERTH_T_STRING:
        return v->s.len > 0;
    case BERTH_T_LIST:
        return v->list->len > 0;
    case BERTH_T_MAP:
        return v->map->len > 0;
    case BERTH_T_OBJECT:
        return true;
    }
    return false;
}

int
berth_tslice_cmp(struct berth_slice x, struct berth_slice y)
{
    const size_t n = x.len < y.len ? x.len : y.len;
    const int r = n > 0 ? memcmp(x.at, y.at, n) : 0;

    return r != 0 ? r : (x.len > y.len) - (x.len < y.len);
}

/* Where key is, or would be. */
static size_t
place(const struct berth_tmap *m, struct berth_slice key, bool *ret_there)
{
    size_t low = 0, high = m->len;

    while (low < high) {
        const size_t mid = low + (high - low) / 2;
        const int r = berth_tslice_cmp(m->at[mid].key, key);
        if (r == 0) {
            *ret_there = true;
            return mid;
        }
        if (r < 0)
            low = mid + 1;
        else
            high = mid;
    }
    *ret_there = false;
    return low;
}

const struct berth_tvalue *
berth_tmap_get(const struct berth_tmap *m, struct berth_slice key)
{
    bool there;
    const size_t i = m != NULL ? place(m, key, &there) : 0;

    return m != NULL && there ? &m->at[i].value : NULL;
}

bool
berth_tmap_set(struct berth_arena *a, struct berth_tmap *m, struct berth_slice key,
               const struct berth_tvalue *v)
{
    bool there;
    const size_t i = place(m, key, &there);

    if (there) {
        m->at[i].value = *v;
        return true;
    }
    if (m->len == m->cap) {
        size_t cap;
        if (!berth_mul(m->cap > 0 ? m->cap : 4, 2, &cap))
            return false;
        struct berth_tentry *at = BERTH_NEW_N(a, struct berth_tentry, cap);
        if (at == NULL)
            return false;
        if (m->len > 0)
            memcpy(at, m->at, m->len * sizeof *at);
        m->at = at;
        m->cap = cap;
    }
    memmove(m->at + i + 1, m->at + i, (m->len - i) * sizeof *m->at);
    m->at[i] = (struct berth_tentry){key, *v};
    m->len++;
    return true;
}

void
berth_tmap_unset(struct berth_tmap *m, struct berth_slice key)
{
    bool there;
    const size_t i = place(m, key, &there);

    if (!there)
        return;
    m->len--;
    memmove(m->at + i, m->at + i + 1, (m->len - i) * sizeof *m->at);
}
