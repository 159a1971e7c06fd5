#include <string.h>

#include "template/fn_priv.h"
#include "wire/json.h"

/* JSON as Go's encoding/json writes it: sorted keys, <, > and & escaped but for toRawJson. */

struct writing {
    struct berth_trun *r;
    struct berth_buf *b;
    bool html, pretty;
};

static void
put_text(struct writing *w, struct berth_slice s)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    uint32_t v;

    berth_buf_putc(w->b, '"');
    for (size_t i = 0, n; i < s.len && !w->b->failed; i += n) {
        n = berth_trune(s.at + i, s.len - i, &v);
        const char *c = v > 0 && v < 0x80 ? strchr(from, (int)v) : NULL;
        if (c != NULL)
            berth_buf_printf(w->b, "\\%c", to[c - from]);
        else if (v < ' ' || v == 0x2028 || v == 0x2029 ||
                 (w->html && (v == '<' || v == '>' || v == '&')))
            berth_buf_printf(w->b, "\\u%04x", v);
        else if (n == 1 && v == BERTH_TRUNE_BAD)
            berth_buf_puts(w->b, "\\ufffd");
        else
            berth_buf_put(w->b, s.at + i, n);
    }
    berth_buf_putc(w->b, '"');
}

static int
put_float(struct writing *w, double f)
{
    const double size = f < 0 ? -f : f;
    const bool exponent = size > 0 && (size < 1e-6 || size >= 1e21);

    if (!(f - f <= 0))
        return berth_trun_fail(w->r, "JSON has no number for infinity");
    berth_tfloat_put(w->b, f, exponent ? 'e' : 'f', -1, 21);
    if (exponent && !w->b->failed && w->b->len > 4) { /* e-09 is written as e-9 */
        char *end = w->b->at + w->b->len;
        if (end[-4] == 'e' && end[-3] == '-' && end[-2] == '0') {
            end[-2] = end[-1];
            w->b->len--;
        }
    }
    return 0;
}

static void
new_line(struct writing *w, unsigned depth)
{
    if (!w->pretty)
        return;
    berth_buf_putc(w->b, '\n');
    for (unsigned i = 0; i < depth; i++)
        berth_buf_puts(w->b, "  ");
}

static int put_value(struct writing *w, const struct berth_tvalue *v, unsigned depth);

static int
put_list(struct writing *w, const struct berth_tlist *l, unsigned depth)
{
    int err = 0;

    if (l->is_nil) {
        berth_buf_puts(w->b, "null");
        return 0;
    }
    berth_buf_putc(w->b, '[');
    for (size_t i = 0; i < l->len && err == 0; i++) {
        if (i > 0)
            berth_buf_putc(w->b, ',');
        new_line(w, depth + 1);
        err = put_value(w, &l->at[i], depth + 1);
    }
    if (l->len > 0)
        new_line(w, depth);
    berth_buf_putc(w->b, ']');
    return err;
}

static int
put_map(struct writing *w, const struct berth_tmap *m, unsigned depth)
{
    int err = 0;

    berth_buf_putc(w->b, '{');
    for (size_t i = 0; i < m->len && err == 0; i++) {
        if (i > 0)
            berth_buf_putc(w->b, ',');
        new_line(w, depth + 1);
        put_text(w, m->at[i].key);
        berth_buf_puts(w->b, w->pretty ? ": " : ":");
        err = put_value(w, &m->at[i].value, depth + 1);
    }
    if (m->len > 0)
        new_line(w, depth);
    berth_buf_putc(w->b, '}');
    return err;
}

static int
put_value(struct writing *w, const struct berth_tvalue *v, unsigned depth)
{
    const int err = berth_trun_work(w->r, 1);

    if (err < 0 || w->b->failed)
        return err;
    if (depth > BERTH_TEMPLATE_NEST_MAX)
        return berth_trun_fail(w->r, "lists and maps are nested deeper than %d",
                               BERTH_TEMPLATE_NEST_MAX);
    switch ((enum berth_tkind)v->kind) {
    case BERTH_T_NONE:
    case BERTH_T_NIL:
        berth_buf_puts(w->b, "null");
        return 0;
    case BERTH_T_BOOL:
        berth_buf_puts(w->b, v->b ? "true" : "false");
        return 0;
    case BERTH_T_INT:
        berth_buf_printf(w->b, "%lld", (long long)v->i);
        return 0;
    case BERTH_T_UINT:
        berth_buf_printf(w->b, "%llu", (unsigned long long)v->u);
        return 0;
    case BERTH_T_FLOAT:
        return put_float(w, v->f);
    case BERTH_T_STRING:
        put_text(w, v->s);
        return 0;
    case BERTH_T_OBJECT:
        put_text(w, v->object->json.len > 0 ? v->object->json : v->object->text);
        return 0;
    case BERTH_T_LIST:
        return put_list(w, v->list, depth);
    case BERTH_T_MAP:
        return put_map(w, v->map, depth);
    }
    return 0;
}

static int
written(struct berth_trun *r, const struct berth_tvalue *v, bool html, bool pretty,
        struct berth_tvalue *ret)
{
    struct berth_buf b;
    struct writing w = {r, &b, html, pretty};

    berth_trun_buf(r, &b);
    const int err = put_value(&w, v, 0);
    return err == 0 ? berth_trun_text(r, &b, ret) : err;
}

BERTH_TFN(to_json)
{
    return written(r, &argv[0], true, false, ret);
}

BERTH_TFN(to_pretty_json)
{
    return written(r, &argv[0], true, true, ret);
}

BERTH_TFN(to_raw_json)
{
    return written(r, &argv[0], false, false, ret);
}

/* As sprig's mustFromJson: what is no JSON is an error, not nil.  All numbers become floats. */
BERTH_TFN(from_json)
{
    const struct berth_json *j;
    int err = berth_trun_work(r, argv[0].s.len);

    if (err == 0)
        err = berth_json_parse(r->a, argv[0].s.at, argv[0].s.len, NULL, &j, r->e);
    return err == 0 ? berth_trun_from_json(r, j, true, ret) : err;
}

/* clang-format off */
const struct berth_tfn berth_tfns_json[] = {
    {"toJson", "a", to_json}, {"mustToJson", "a", to_json},
    {"toPrettyJson", "a", to_pretty_json}, {"mustToPrettyJson", "a", to_pretty_json},
    {"toRawJson", "a", to_raw_json}, {"mustToRawJson", "a", to_raw_json},
    {"fromJson", "s", from_json}, {"mustFromJson", "s", from_json},
    {0},
};
/* clang-format on */
