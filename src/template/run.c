#include <string.h>

#include "base/arena.h"
#include "template/run_priv.h"
#include "template/text_priv.h"
#include "template/tree_priv.h"
#include "wire/json.h"

int
berth_trun_fail(struct berth_trun *r, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(r->e->msg, sizeof r->e->msg, fmt, ap);
    va_end(ap);
    return -BERTH_EINVAL;
}

int
berth_trun_nomem(struct berth_trun *r)
{
    return berth_err_set(r->e, BERTH_ENOMEM, "the template needs more than %zu bytes of memory",
                         r->a->max_bytes);
}

static int
no_work(struct berth_trun *r)
{
    return berth_err_set(r->e, BERTH_ELIMIT,
                         "the template computes too much: more than %llu values and bytes",
                         (unsigned long long)r->t->work_max);
}

int
berth_trun_work(struct berth_trun *r, uint64_t n)
{
    enum { ASK_EACH = 16 }; /* 65536 units: milliseconds */

    if (n > r->work_left)
        return no_work(r);
    if ((r->work_left >> ASK_EACH) != ((r->work_left - n) >> ASK_EACH) && r->t->cancelled != NULL &&
        r->t->cancelled(r->t->cancel_arg))
        return berth_err_set(r->e, BERTH_ECANCELED, "it is to end");
    r->work_left -= n;
    return 0;
}

void
berth_trun_buf(struct berth_trun *r, struct berth_buf *b)
{
    berth_buf_init(b, r->a);
    b->max = r->work_left < (1u << 30) ? (size_t)r->work_left + 1 : 1u << 30;
}

int
berth_trun_text(struct berth_trun *r, struct berth_buf *b, struct berth_tvalue *ret)
{
    if (b->failed)
        return b->len + 1 >= b->max || r->a->max_bytes - r->a->used_bytes > 2 * b->max
                   ? no_work(r)
                   : berth_trun_nomem(r);
    const int got = berth_trun_work(r, b->len);
    if (got < 0)
        return got;
    *ret = berth_tv_slice((struct berth_slice){b->len > 0 ? b->at : "", b->len});
    return 0;
}

struct berth_tvalue *
berth_trun_values(struct berth_trun *r, size_t n, int *ret_err)
{
    *ret_err = berth_trun_work(r, n);
    if (*ret_err < 0)
        return NULL;
    struct berth_tvalue *at = BERTH_NEW_N(r->a, struct berth_tvalue, n + 1);
    if (at == NULL)
        *ret_err = berth_trun_nomem(r);
    return at;
}

int
berth_trun_list(struct berth_trun *r, const struct berth_tvalue *at, size_t len,
                enum berth_ttype type, struct berth_tvalue *ret)
{
    struct berth_tlist *l = BERTH_NEW(r->a, struct berth_tlist);

    if (l == NULL)
        return berth_trun_nomem(r);
    *l = (struct berth_tlist){at, len, at == NULL};
    *ret = (struct berth_tvalue){.kind = BERTH_T_LIST, .type = (uint8_t)type, .list = l};
    return 0;
}

int
berth_trun_map(struct berth_trun *r, enum berth_ttype type, struct berth_tvalue *ret)
{
    struct berth_tmap *m = BERTH_NEW(r->a, struct berth_tmap);

    if (m == NULL)
        return berth_trun_nomem(r);
    *ret = (struct berth_tvalue){.kind = BERTH_T_MAP, .type = (uint8_t)type, .map = m};
    return 0;
}

int
berth_trun_set(struct berth_trun *r, struct berth_tmap *m, struct berth_slice key,
               const struct berth_tvalue *v)
{
    const int got = berth_trun_work(r, 1 + m->len / 16); /* the later members move */

    if (got < 0)
        return got;
    return berth_tmap_set(r->a, m, key, v) ? 0 : berth_trun_nomem(r);
}

int
berth_trun_add(struct berth_trun *r, struct berth_tstrings *l, struct berth_tvalue v)
{
    if (l->len == l->cap) {
        int err;
        const size_t cap = l->cap > 0 ? 2 * l->cap : 8;
        struct berth_tvalue *at = berth_trun_values(r, cap, &err);
        if (at == NULL)
            return err;
        if (l->len > 0)
            memcpy(at, l->at, l->len * sizeof *at);
        l->at = at;
        l->cap = cap;
    }
    l->at[l->len++] = v;
    return 0;
}

int
berth_trun_added(struct berth_trun *r, const struct berth_tstrings *l, enum berth_ttype type,
                 struct berth_tvalue *ret)
{
    static const struct berth_tvalue none;

    return berth_trun_list(r, l->at != NULL ? l->at : &none, l->len, type, ret);
}

int
berth_trun_strval(struct berth_trun *r, const struct berth_tvalue *v, struct berth_slice *ret)
{
    struct berth_buf b;
    struct berth_tvalue text;

    if (v->kind == BERTH_T_STRING) {
        *ret = v->s;
        return 0;
    }
    berth_trun_buf(r, &b);
    int got = berth_tprint(r, &b, v, 1);
    if (got == 0)
        got = berth_trun_text(r, &b, &text);
    if (got == 0)
        *ret = text.s;
    return got;
}

static int
equal_maps(struct berth_trun *r, const struct berth_tmap *x, const struct berth_tmap *y,
           unsigned depth, bool *ret)
{
    *ret = x->len == y->len;
    for (size_t i = 0; i < x->len && *ret; i++) {
        *ret = berth_tslice_cmp(x->at[i].key, y->at[i].key) == 0;
        if (!*ret)
            break;
        const int got = berth_trun_equal(r, &x->at[i].value, &y->at[i].value, depth + 1, ret);
        if (got < 0)
            return got;
    }
    return 0;
}

int
berth_trun_equal(struct berth_trun *r, const struct berth_tvalue *x, const struct berth_tvalue *y,
                 unsigned depth, bool *ret)
{
    const int got = berth_trun_work(r, 1);

    if (got < 0)
        return got;
    if (depth > BERTH_TEMPLATE_NEST_MAX)
        return berth_trun_fail(r, "lists and maps are nested deeper than %d",
                               BERTH_TEMPLATE_NEST_MAX);
    if (berth_tv_is_nil(x) || berth_tv_is_nil(y)) {
        *ret = berth_tv_is_nil(x) && berth_tv_is_nil(y);
        return 0;
    }
    *ret = x->kind == y->kind && x->type == y->type;
    if (!*ret)
        return 0;
    switch ((enum berth_tkind)x->kind) {
    case BERTH_T_NONE:
    case BERTH_T_NIL:
        break;
    case BERTH_T_BOOL:
        *ret = x->b == y->b;
        break;
    case BERTH_T_INT:
    case BERTH_T_UINT:
        *ret = x->u == y->u;
        break;
    case BERTH_T_FLOAT:
        *ret = x->f <= y->f && x->f >= y->f;
        break;
    case BERTH_T_STRING:
        *ret = berth_tslice_cmp(x->s, y->s) == 0;
        return berth_trun_work(r, x->s.len / 64);
    case BERTH_T_LIST:
        *ret = x->list->len == y->list->len && x->list->is_nil == y->list->is_nil;
        for (size_t i = 0; i < x->list->len && *ret; i++) {
            const int err = berth_trun_equal(r, &x->list->at[i], &y->list->at[i], depth + 1, ret);
            if (err < 0)
                return err;
        }
        break;
    case BERTH_T_MAP:
        return equal_maps(r, x->map, y->map, depth, ret);
    case BERTH_T_OBJECT:
        *ret = berth_tslice_cmp(x->object->text, y->object->text) == 0;
        break;
    }
    return 0;
}

static int
from_list(struct berth_trun *r, const struct berth_json *j, bool floats, struct berth_tvalue *ret)
{
    int err;
    struct berth_tvalue *at = berth_trun_values(r, berth_json_len(j), &err);

    if (at == NULL)
        return err;
    for (struct berth_json_iter it = berth_json_iter(j); berth_json_next(&it);) {
        err = berth_trun_from_json(r, it.value, floats, &at[it.index]);
        if (err < 0)
            return err;
    }
    return berth_trun_list(r, at, berth_json_len(j), BERTH_TT_PLAIN, ret);
}

static int
from_object(struct berth_trun *r, const struct berth_json *j, bool floats, struct berth_tvalue *ret)
{
    struct berth_tvalue v;
    int err = berth_trun_map(r, BERTH_TT_PLAIN, ret);

    for (struct berth_json_iter it = berth_json_iter(j); err == 0 && berth_json_next(&it);) {
        err = berth_trun_from_json(r, it.value, floats, &v);
        if (err == 0)
            err = berth_trun_set(r, ret->map, it.key, &v);
    }
    return err;
}

/* A tree of JSON is at most BERTH_JSON_DEPTH_MAX deep. */
int
berth_trun_from_json(struct berth_trun *r, const struct berth_json *j, bool floats,
                     struct berth_tvalue *ret)
{
    *ret = berth_tv_nil();
    switch (berth_json_type(j)) {
    case BERTH_JSON_NULL:
        return 0;
    case BERTH_JSON_BOOL:
        ret->kind = BERTH_T_BOOL;
        (void)berth_json_bool(j, &ret->b);
        return 0;
    case BERTH_JSON_INT:
        ret->kind = BERTH_T_INT;
        if (!floats && berth_json_int(j, &ret->i))
            return 0;
        ret->kind = BERTH_T_UINT;
        if (!floats && berth_json_uint(j, &ret->u))
            return 0;
        ret->kind = BERTH_T_FLOAT;
        (void)berth_json_real(j, &ret->f);
        return 0;
    case BERTH_JSON_REAL:
        ret->kind = BERTH_T_FLOAT;
        (void)berth_json_real(j, &ret->f);
        return 0;
    case BERTH_JSON_STRING:
        ret->kind = BERTH_T_STRING;
        (void)berth_json_string(j, &ret->s);
        return 0;
    case BERTH_JSON_ARRAY:
        return from_list(r, j, floats, ret);
    case BERTH_JSON_OBJECT:
        return from_object(r, j, floats, ret);
    }
    return 0;
}

/* Where pos is in the file: from 1. */
static void
place_of(const struct berth_trun *r, uint32_t pos, size_t *ret_line, size_t *ret_column)
{
    size_t line = r->t->first_line > 0 ? r->t->first_line : 1, column = 1;

    for (size_t i = 0; i < pos && i < r->text.len; i++) {
        const unsigned char c = (unsigned char)r->text.at[i];
        if (c == '\n') {
            line++;
            column = 1;
        } else if (c < 0x80 || c >= 0xc0) {
            column++;
        }
    }
    *ret_line = line;
    *ret_column = column;
}

/* An empty text where the failure left none, and the place in front, or in the trace. */
static int
placed(struct berth_trun *r, int err)
{
    size_t line, column;

    if (r->t->trace != NULL) {
        if (r->t->trace->failure_count < BERTH_TEMPLATE_FAILURES_MAX)
            (void)berth_ttrace_fail(r);
        return err;
    }
    place_of(r, r->pos, &line, &column);
    if (r->t->name != NULL)
        return berth_err_wrap(r->e, err, "%s: line %zu, column %zu", r->t->name, line, column);
    return berth_err_wrap(r->e, err, "line %zu, column %zu", line, column);
}

int
berth_template_render(const struct berth_template *t, const char *text, size_t len,
                      struct berth_arena *a, struct berth_buf *out, struct berth_err *e)
{
    enum { OUT_MAX = 1 << 20, WORK_MAX = 4 << 20, TEXT_MAX = 16 << 20 };
    struct berth_template conf = *t;
    struct berth_err own;
    struct berth_tvalue dot;
    struct berth_tnode *root = NULL;

    conf.out_max = conf.out_max > 0 ? conf.out_max : OUT_MAX;
    conf.work_max = conf.work_max > 0 ? conf.work_max : WORK_MAX;
    struct berth_trun r = {.t = &conf,
                           .text = {text, len},
                           .a = a,
                           .out = out,
                           .work_left = conf.work_max,
                           .e = e != NULL ? e : &own};
    if (__builtin_add_overflow(out->len, conf.out_max, &r.out_max))
        r.out_max = SIZE_MAX;
    if (len > TEXT_MAX)
        return placed(
            &r, berth_err_set(r.e, BERTH_ELIMIT, "the text has more than %d bytes", TEXT_MAX));
    int got = t->trace != NULL ? berth_ttrace_begin(&r) : 0;
    if (got == 0)
        got = berth_tparse(&r, &root);
    if (got == 0)
        got = t->data != NULL ? berth_trun_from_json(&r, t->data, false, &dot)
                              : berth_trun_map(&r, BERTH_TT_PLAIN, &dot);
    if (got == 0)
        got = berth_tvar_push(&r, BERTH_SLICE("$"), &dot);
    if (got == 0)
        got = berth_texec(&r, root, &dot);
    if (t->trace != NULL)
        t->trace->work = conf.work_max - r.work_left;
    if (got < 0)
        return placed(&r, got);
    if (t->trace == NULL)
        return 0;
    berth_ttrace_end(&r);
    return t->trace->failure_count > 0 ? -BERTH_EINVAL : 0;
}
