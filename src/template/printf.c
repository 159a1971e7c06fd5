#include <string.h>

#include "template/run_priv.h"
#include "template/text_priv.h"

/* Go's fmt.Sprintf: the format, and the errors that it writes into the text. */

enum { WIDTH_MAX = 1000000 };

struct reading {
    struct berth_slice fmt;
    size_t i;
    const struct berth_tvalue *argv;
    size_t argc, arg;
    bool good_arg, reordered, after_index;
    struct berth_tfmt f;
};

static char
now(const struct reading *p)
{
    if (p->i < p->fmt.len)
        return p->fmt.at[p->i];
    return '\0';
}

static bool
number(struct reading *p, int *ret)
{
    const size_t start = p->i;
    int v = 0;

    while (now(p) >= '0' && now(p) <= '9') {
        if (v > WIDTH_MAX) { /* as Go: there is none, nor anything behind it */
            p->i = p->fmt.len;
            *ret = 0;
            return false;
        }
        v = v * 10 + (now(p) - '0');
        p->i++;
    }
    *ret = v;
    return p->i > start;
}

/* "[3]": which argument comes next. */
static void
arg_index(struct reading *p)
{
    const size_t start = p->i;
    int v;

    p->after_index = false;
    if (now(p) != '[')
        return;
    p->reordered = true;
    p->i++;
    const bool ok = number(p, &v) && now(p) == ']';
    if (ok) {
        p->i++;
        if (v >= 1 && (size_t)v <= p->argc) {
            p->arg = (size_t)v - 1;
            p->after_index = true;
            return;
        }
    } else {
        const char *close = memchr(p->fmt.at + start, ']', p->fmt.len - start);
        p->i = close != NULL ? (size_t)(close - p->fmt.at) + 1 : start + 1;
    }
    p->good_arg = false;
    p->after_index = ok;
}

static bool
from_arg(struct reading *p, int *ret)
{
    *ret = 0;
    if (p->arg >= p->argc)
        return false;
    const struct berth_tvalue *v = &p->argv[p->arg++];
    if (v->kind != BERTH_T_INT || v->i > WIDTH_MAX || v->i < -WIDTH_MAX)
        return false;
    *ret = (int)v->i;
    return true;
}

static void
flags(struct reading *p)
{
    struct berth_tfmt *f = &p->f;

    for (;; p->i++) {
        switch (now(p)) {
        case '#':
            f->sharp = true;
            break;
        case '0':
            f->zero = true;
            break;
        case '+':
            f->plus = true;
            break;
        case '-':
            f->minus = true;
            break;
        case ' ':
            f->space = true;
            break;
        default:
            return;
        }
    }
}

static void
width(struct reading *p)
{
    struct berth_tfmt *f = &p->f;

    if (now(p) != '*') {
        f->has_width = number(p, &f->width);
        if (p->after_index && f->has_width)
            p->good_arg = false;
        return;
    }
    p->i++;
    f->has_width = from_arg(p, &f->width);
    if (!f->has_width)
        berth_buf_puts(f->b, "%!(BADWIDTH)");
    if (f->width < 0) {
        f->width = -f->width;
        f->minus = true;
        f->zero = false;
    }
    p->after_index = false;
}

static void
precision(struct reading *p)
{
    struct berth_tfmt *f = &p->f;

    if (now(p) != '.' || p->i + 1 >= p->fmt.len)
        return;
    p->i++;
    if (p->after_index)
        p->good_arg = false;
    arg_index(p);
    if (now(p) != '*') {
        if (!number(p, &f->prec))
            f->prec = 0;
        f->has_prec = true;
        return;
    }
    p->i++;
    f->has_prec = from_arg(p, &f->prec);
    if (f->prec < 0) {
        f->prec = 0;
        f->has_prec = false;
    }
    if (!f->has_prec)
        berth_buf_puts(f->b, "%!(BADPREC)");
    p->after_index = false;
}

static int
value(struct reading *p, uint32_t verb)
{
    struct berth_tfmt *f = &p->f;
    const struct berth_tvalue *v = &p->argv[p->arg++];

    if (verb == 'T') {
        const struct berth_tvalue name = berth_tv_text(berth_tv_type_name(v));
        return berth_tfmt_value(f, 's', &name, 0);
    }
    if (verb == 'v') {
        f->sharp_v = f->sharp;
        f->sharp = false;
        f->plus_v = f->plus;
        f->plus = false;
    }
    return berth_tfmt_value(f, verb, v, 0);
}

/* What is behind a %.  Sets *ret_end at the end of the format. */
static int
verb(struct reading *p, bool *ret_end)
{
    struct berth_buf *b = p->f.b;
    uint32_t c;

    p->f = (struct berth_tfmt){.r = p->f.r, .b = b};
    p->good_arg = true;
    p->after_index = false;
    flags(p);
    arg_index(p);
    width(p);
    precision(p);
    if (!p->after_index)
        arg_index(p);
    if (p->i >= p->fmt.len) {
        berth_buf_puts(b, "%!(NOVERB)");
        *ret_end = true;
        return 0;
    }
    p->i += berth_trune(p->fmt.at + p->i, p->fmt.len - p->i, &c);
    if (c == '%') {
        berth_buf_putc(b, '%');
        return 0;
    }
    if (p->good_arg && p->arg < p->argc)
        return value(p, c);
    berth_buf_puts(b, "%!");
    berth_trune_append(b, c);
    berth_buf_puts(b, p->good_arg ? "(MISSING)" : "(BADINDEX)");
    return 0;
}

static int
extra(struct reading *p)
{
    struct berth_buf *b = p->f.b;
    int got = 0;

    p->f = (struct berth_tfmt){.r = p->f.r, .b = b};
    berth_buf_puts(b, "%!(EXTRA ");
    for (const size_t first = p->arg; p->arg < p->argc && got == 0; p->arg++) {
        const struct berth_tvalue *v = &p->argv[p->arg];
        if (p->arg > first)
            berth_buf_puts(b, ", ");
        berth_buf_puts(b, berth_tv_type_name(v));
        if (berth_tv_is_nil(v))
            continue;
        berth_buf_putc(b, '=');
        got = berth_tfmt_value(&p->f, 'v', v, 0);
    }
    berth_buf_putc(b, ')');
    return got;
}

int
berth_tprintf(struct berth_trun *r, struct berth_buf *b, struct berth_slice fmt,
              const struct berth_tvalue *argv, size_t argc)
{
    struct reading p = {.fmt = fmt, .argv = argv, .argc = argc, .f = {.r = r, .b = b}};
    bool end = false;
    int got = 0;

    while (p.i < fmt.len && !end && got == 0 && !b->failed) {
        const char *percent = memchr(fmt.at + p.i, '%', fmt.len - p.i);
        const size_t text = percent != NULL ? (size_t)(percent - fmt.at) - p.i : fmt.len - p.i;
        berth_buf_put(b, fmt.at + p.i, text);
        p.i += text + 1;
        if (percent != NULL)
            got = verb(&p, &end);
    }
    if (got == 0 && !p.reordered && p.arg < argc)
        got = extra(&p);
    return got;
}
