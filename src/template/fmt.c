#include <string.h>

#include "template/run_priv.h"
#include "template/text_priv.h"

/* Values as Go's package fmt prints them. */

enum { PRINTED_EXP = 6, FLOAT_DIGITS = 6 };

static void
padding(struct berth_tfmt *f, long n, char with)
{
    for (long i = 0; i < n && !f->b->failed; i++)
        berth_buf_putc(f->b, with);
}

static void
pad(struct berth_tfmt *f, struct berth_slice s, bool zero)
{
    const long n = f->has_width ? (long)f->width - (long)berth_trune_count(s) : 0;

    if (!f->minus)
        padding(f, n, zero ? '0' : ' ');
    berth_buf_put(f->b, s.at, s.len);
    if (f->minus)
        padding(f, n, ' ');
}

static int
bad_verb(struct berth_tfmt *f, uint32_t verb, const struct berth_tvalue *v, unsigned depth)
{
    int got = 0;

    berth_buf_puts(f->b, "%!");
    berth_trune_append(f->b, verb);
    berth_buf_puts(f->b, "(");
    berth_buf_puts(f->b, berth_tv_type_name(v));
    if (!berth_tv_is_nil(v)) {
        berth_buf_puts(f->b, "=");
        got = berth_tfmt_value(f, 'v', v, depth + 1); /* with its width and signs, as Go */
    }
    berth_buf_puts(f->b, ")");
    return got;
}

/* "-", "0x": what stands before the digits. */
static void
put_prefix(const struct berth_tfmt *f, struct berth_buf *num, bool negative, unsigned base,
           uint32_t verb)
{
    if (negative)
        berth_buf_puts(num, "-");
    else if (f->plus || f->space)
        berth_buf_puts(num, f->plus ? "+" : " ");
    if (verb == 'O')
        berth_buf_puts(num, "0o");
    else if (f->sharp && base == 2)
        berth_buf_puts(num, "0b");
    else if (f->sharp && base == 16)
        berth_buf_puts(num, verb == 'X' ? "0X" : "0x");
}

/* How many digits there must be. */
static long
least_digits(const struct berth_tfmt *f, bool negative)
{
    if (f->has_prec)
        return f->prec;
    if (!f->zero || f->minus || !f->has_width)
        return 1;
    return f->width - (negative || f->plus || f->space);
}

/* The digits of u behind as many zeros as are asked for, its base's prefix and its sign. */
static int
integer(struct berth_tfmt *f, uint64_t u, bool negative, unsigned base, uint32_t verb)
{
    const char *digits = verb == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
    struct berth_buf num;
    struct berth_tvalue text;
    char d[64];
    size_t n = 0;
    const long least = least_digits(f, negative);

    if (f->has_prec && f->prec == 0 && u == 0) {
        padding(f, f->has_width ? f->width : 0, ' ');
        return 0;
    }
    do {
        d[n++] = digits[u % base];
        u /= base;
    } while (u > 0);
    berth_trun_buf(f->r, &num);
    put_prefix(f, &num, negative, base, verb);
    if (f->sharp && base == 8 && least <= (long)n && d[n - 1] != '0')
        berth_buf_putc(&num, '0');
    for (long i = (long)n; i < least && !num.failed; i++)
        berth_buf_putc(&num, '0');
    while (n > 0)
        berth_buf_putc(&num, d[--n]);
    const int got = berth_trun_text(f->r, &num, &text);
    if (got == 0)
        pad(f, text.s, false);
    return got;
}

static void
character(struct berth_tfmt *f, uint32_t rune, bool quoted)
{
    char bytes[4], at[16];
    struct berth_buf b;

    const struct berth_slice s = {bytes, berth_trune_put(rune, bytes)};
    if (!quoted) {
        pad(f, s, f->zero);
        return;
    }
    berth_buf_init(&b, NULL);
    b.at = at;
    b.cap = sizeof at; /* the longest is '\U0010ffff' */
    berth_tquote(&b, s, '\'', f->plus);
    pad(f, (struct berth_slice){at, b.len}, f->zero);
}

static void
unicode(struct berth_tfmt *f, uint64_t u)
{
    char at[48], bytes[4];
    int n = snprintf(at, sizeof at, "U+%04llX", (unsigned long long)u);

    if (f->sharp && u <= 0x10ffff && berth_trune_is_print((uint32_t)u)) {
        const size_t len = berth_trune_put((uint32_t)u, bytes);
        n += snprintf(at + n, sizeof at - (size_t)n, " '%.*s'", (int)len, bytes);
    }
    pad(f, (struct berth_slice){at, (size_t)n}, false);
}

static int
fmt_int(struct berth_tfmt *f, uint32_t verb, const struct berth_tvalue *v, unsigned depth)
{
    const bool negative = v->kind == BERTH_T_INT && v->i < 0;
    const uint64_t u = negative ? 0 - (uint64_t)v->i : v->u;

    switch (verb) {
    case 'v':
        if (f->sharp_v && v->kind == BERTH_T_UINT) {
            berth_buf_printf(f->b, "0x%llx", (unsigned long long)u);
            return 0;
        }
        return integer(f, u, negative, 10, verb);
    case 'd':
        return integer(f, u, negative, 10, verb);
    case 'b':
        return integer(f, u, negative, 2, verb);
    case 'o':
    case 'O':
        return integer(f, u, negative, 8, verb);
    case 'x':
    case 'X':
        return integer(f, u, negative, 16, verb);
    case 'c':
        character(f, negative || u > 0x10ffff ? BERTH_TRUNE_BAD : (uint32_t)u, false);
        return 0;
    case 'q':
        character(f, negative || u > 0x10ffff ? BERTH_TRUNE_BAD : (uint32_t)u, true);
        return 0;
    case 'U':
        unicode(f, v->u);
        return 0;
    default:
        return bad_verb(f, verb, v, depth);
    }
}

/* The sign stands before zeros that fill the width. */
static void
signed_number(struct berth_tfmt *f, struct berth_slice num, bool finite)
{
    const long n = f->has_width ? (long)f->width - (long)num.len : 0;
    const bool sign = num.at[0] == '-' || num.at[0] == '+' || num.at[0] == ' ';

    if (!f->zero || f->minus || !finite || n <= 0) {
        pad(f, num, false);
        return;
    }
    berth_buf_put(f->b, num.at, sign);
    padding(f, n, '0');
    berth_buf_put(f->b, num.at + sign, num.len - sign);
}

/* With its sign; prec -1: as many digits as it needs. */
static void
put_float(const struct berth_tfmt *f, struct berth_buf *num, double v, char as, int prec)
{
    const bool finite = v - v <= 0, signs = f->plus || f->space;
    const char fmt[] = {'%', '#', '.', '*', as, '\0'};

    if (signs && !(v < 0))
        berth_buf_puts(num, f->plus ? "+" : " ");
    if (f->sharp && finite)
        berth_buf_printf(num, fmt, prec < 0 ? FLOAT_DIGITS : prec, v);
    else if (v > 0 && !finite)
        berth_buf_puts(num, signs ? "Inf" : "+Inf");
    else
        berth_tfloat_put(num, v, as, prec, PRINTED_EXP);
}

static int
fmt_float(struct berth_tfmt *f, uint32_t verb, const struct berth_tvalue *v, unsigned depth)
{
    struct berth_buf num;
    struct berth_tvalue text;
    char as = (char)verb;

    if (verb == 'x' || verb == 'X' || verb == 'b')
        return berth_trun_fail(f->r, "%%%c of a number with a fraction is not offered", (char)verb);
    if (verb > 0x7f || strchr("vgGeEfF", (int)verb) == NULL || verb == 0)
        return bad_verb(f, verb, v, depth);
    if (verb == 'v')
        as = 'g';
    else if (verb == 'F')
        as = 'f';
    berth_trun_buf(f->r, &num);
    put_float(f, &num, v->f, as,
              f->has_prec              ? f->prec
              : as == 'g' || as == 'G' ? -1
                                       : FLOAT_DIGITS);
    const int got = berth_trun_text(f->r, &num, &text);
    if (got == 0)
        signed_number(f, text.s, v->f - v->f <= 0);
    return got;
}

static void
hex(struct berth_tfmt *f, struct berth_slice s, bool upper)
{
    const size_t n = f->has_prec && (size_t)f->prec < s.len ? (size_t)f->prec : s.len;
    const char *prefix = upper ? "0X" : "0x", *spaced = upper ? " 0X" : " 0x";
    const char *between = !f->space ? "" : f->sharp ? spaced : " ";
    size_t width = 2 * n;

    width += n > 0 && f->space ? n - 1 : 0;
    if (n > 0 && f->sharp)
        width += 2 * (f->space ? n : 1);
    const long left = (long)f->width - (long)width; /* without a width there is nothing to fill */
    if (!f->minus)
        padding(f, left, f->zero ? '0' : ' ');
    if (f->sharp && n > 0)
        berth_buf_puts(f->b, prefix);
    for (size_t i = 0; i < n && !f->b->failed; i++) {
        if (i > 0)
            berth_buf_puts(f->b, between);
        berth_buf_printf(f->b, upper ? "%02X" : "%02x", (unsigned char)s.at[i]);
    }
    if (f->minus)
        padding(f, left, ' ');
}

/* The first `max` characters. */
static struct berth_slice
cut(struct berth_slice s, int max)
{
    size_t i = 0;
    uint32_t rune;

    for (int n = 0; n < max && i < s.len; n++)
        i += berth_trune(s.at + i, s.len - i, &rune);
    s.len = i;
    return s;
}

static bool
can_backquote(struct berth_slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.at[i] == '`' || ((unsigned char)s.at[i] < ' ' && s.at[i] != '\t') || s.at[i] == 0x7f)
            return false;
    return true;
}

static int
quoted(struct berth_tfmt *f, struct berth_slice s)
{
    struct berth_buf b;
    struct berth_tvalue text;

    berth_trun_buf(f->r, &b);
    if (f->sharp && can_backquote(s)) {
        berth_buf_putc(&b, '`');
        berth_buf_put(&b, s.at, s.len);
        berth_buf_putc(&b, '`');
    } else {
        berth_tquote(&b, s, '"', f->plus);
    }
    const int got = berth_trun_text(f->r, &b, &text);
    if (got == 0)
        pad(f, text.s, f->zero);
    return got;
}

static int
fmt_string(struct berth_tfmt *f, uint32_t verb, const struct berth_tvalue *v, struct berth_slice s,
           unsigned depth)
{
    if (verb == 'x' || verb == 'X') {
        hex(f, s, verb == 'X');
        return 0;
    }
    if (f->has_prec)
        s = cut(s, f->prec);
    if (verb == 'q' || (verb == 'v' && f->sharp_v && v->kind == BERTH_T_STRING))
        return quoted(f, s);
    if (verb != 'v' && verb != 's')
        return bad_verb(f, verb, v, depth);
    pad(f, s, f->zero);
    return 0;
}

static int
fmt_list(struct berth_tfmt *f, uint32_t verb, const struct berth_tvalue *v, unsigned depth)
{
    int got = 0;

    if (f->sharp_v) {
        berth_buf_puts(f->b, berth_tv_type_name(v));
        if (v->list->is_nil) {
            berth_buf_puts(f->b, "(nil)");
            return 0;
        }
    }
    berth_buf_putc(f->b, f->sharp_v ? '{' : '[');
    for (size_t i = 0; i < v->list->len && got == 0; i++) {
        if (i > 0)
            berth_buf_puts(f->b, f->sharp_v ? ", " : " ");
        got = berth_tfmt_value(f, verb, &v->list->at[i], depth + 1);
    }
    berth_buf_putc(f->b, f->sharp_v ? '}' : ']');
    return got;
}

static int
fmt_map(struct berth_tfmt *f, uint32_t verb, const struct berth_tvalue *v, unsigned depth)
{
    int got = 0;

    if (f->sharp_v)
        berth_buf_puts(f->b, berth_tv_type_name(v));
    berth_buf_puts(f->b, f->sharp_v ? "{" : "map[");
    for (size_t i = 0; i < v->map->len && got == 0; i++) {
        const struct berth_tvalue key = berth_tv_slice(v->map->at[i].key);
        if (i > 0)
            berth_buf_puts(f->b, f->sharp_v ? ", " : " ");
        got = berth_tfmt_value(f, verb, &key, depth + 1);
        berth_buf_putc(f->b, ':');
        if (got == 0)
            got = berth_tfmt_value(f, verb, &v->map->at[i].value, depth + 1);
    }
    berth_buf_putc(f->b, f->sharp_v ? '}' : ']');
    return got;
}

int
berth_tfmt_value(struct berth_tfmt *f, uint32_t verb, const struct berth_tvalue *v, unsigned depth)
{
    const int got = berth_trun_work(f->r, 1);

    if (got < 0 || f->b->failed)
        return got;
    if (depth > BERTH_TEMPLATE_NEST_MAX)
        return berth_trun_fail(f->r, "lists and maps are nested deeper than %d",
                               BERTH_TEMPLATE_NEST_MAX);
    if (verb == 'w') /* of errors alone, and there are none */
        return bad_verb(f, verb, v, depth);
    switch ((enum berth_tkind)v->kind) {
    case BERTH_T_NONE:
    case BERTH_T_NIL:
        if (verb != 'v')
            return bad_verb(f, verb, v, depth);
        if (depth > 0)
            berth_buf_puts(f->b, f->sharp_v ? "interface {}(nil)" : "<nil>");
        else
            pad(f, BERTH_SLICE("<nil>"), f->zero);
        return 0;
    case BERTH_T_BOOL:
        if (verb != 't' && verb != 'v')
            return bad_verb(f, verb, v, depth);
        pad(f, berth_slice_of(v->b ? "true" : "false"), f->zero);
        return 0;
    case BERTH_T_INT:
    case BERTH_T_UINT:
        return fmt_int(f, verb, v, depth);
    case BERTH_T_FLOAT:
        return fmt_float(f, verb, v, depth);
    case BERTH_T_STRING:
        return fmt_string(f, verb, v, v->s, depth);
    case BERTH_T_OBJECT:
        return fmt_string(f, verb, v, v->object->text, depth);
    case BERTH_T_LIST:
        return fmt_list(f, verb, v, depth);
    case BERTH_T_MAP:
        return fmt_map(f, verb, v, depth);
    }
    return 0;
}

int
berth_tprint(struct berth_trun *r, struct berth_buf *b, const struct berth_tvalue *argv,
             size_t argc)
{
    struct berth_tfmt f = {.r = r, .b = b};
    int got = 0;

    for (size_t i = 0; i < argc && got == 0; i++) {
        if (i > 0 && argv[i].kind != BERTH_T_STRING && argv[i - 1].kind != BERTH_T_STRING)
            berth_buf_putc(b, ' ');
        got = berth_tfmt_value(&f, 'v', &argv[i], 0);
    }
    return got;
}

int
berth_tprintln(struct berth_trun *r, struct berth_buf *b, const struct berth_tvalue *argv,
               size_t argc)
{
    struct berth_tfmt f = {.r = r, .b = b};
    int got = 0;

    for (size_t i = 0; i < argc && got == 0; i++) {
        if (i > 0)
            berth_buf_putc(b, ' ');
        got = berth_tfmt_value(&f, 'v', &argv[i], 0);
    }
    berth_buf_putc(b, '\n');
    return got;
}
