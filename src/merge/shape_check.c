#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/buf.h"
#include "base/num.h"
#include "merge/shape_priv.h"
#include "wire/json.h"
#include "wire/quantity.h"

/* The document is written anew as JSON text, which is parsed into the tree that is given back. */
enum { TEXT_BYTES_MAX = 16 << 20, MEMBERS_MAX = 4096 /* compared with each other */ };

struct check {
    struct berth_arena *arena;
    struct berth_jw out;
    struct berth_buf path;
    struct berth_shape_problem *found;
    struct berth_shape_problems count;
    bool strict, prunes, is_whole, is_typed, no_memory;
};

/* ---- places and problems ---- */

/* Both take the path on; give the result to leave(). */
static size_t
enter_member(struct check *c, struct berth_slice name)
{
    const size_t before = c->path.len;

    if (before > 0)
        berth_buf_putc(&c->path, '.');
    berth_buf_put(&c->path, name.at, name.len < 256 ? name.len : 256);
    return before;
}

static size_t
enter_element(struct check *c, size_t index)
{
    const size_t before = c->path.len;

    berth_buf_printf(&c->path, "[%zu]", index);
    return before;
}

static void
leave(struct check *c, size_t before)
{
    c->path.len = before;
}

__attribute__((format(printf, 3, 4))) static void
problem(struct check *c, bool is_error, const char *fmt, ...)
{
    char text[256];
    va_list ap;

    c->count.errors += is_error;
    if (c->count.count == BERTH_SHAPE_PROBLEMS_MAX && is_error)
        shape_drop_warning(c->found, &c->count);
    if (c->count.count == BERTH_SHAPE_PROBLEMS_MAX) {
        c->count.beyond++;
        return;
    }
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    struct berth_shape_problem *p = &c->found[c->count.count];
    p->path = berth_arena_strndup(c->arena, c->path.len > 0 ? c->path.at : "", c->path.len);
    p->text = berth_arena_strdup(c->arena, text);
    p->is_error = is_error;
    p->is_refused = false;
    if (p->path == NULL || p->text == NULL)
        c->no_memory = true;
    else
        c->count.count++;
}

static const char *
type_name(const struct berth_json *v)
{
    return berth_json_type(v) == BERTH_JSON_ARRAY ? "a list" : berth_json_type_name(v);
}

static void
wrong(struct check *c, const char *want, const struct berth_json *v)
{
    problem(c, true, "%s is wanted, this is %s", want, type_name(v));
    berth_jw_value(&c->out, v);
}

/* What is of another type is taken as it is meant: by whom, and by whom not. */
static void
not_typed(struct check *c, const struct berth_json *v, const char *meant)
{
    const size_t before = c->count.count;

    if (!c->is_typed)
        return;
    problem(c, false,
            "%s is read as \"%.64s\", a string: write it in quotes, for an API server "
            "refuses it",
            type_name(v), meant);
    if (c->count.count > before)
        c->found[before].is_refused = true;
}

/* ---- scalars ---- */

static const char beyond_64[] = "a number beyond 64 bits";

/* A number that is whole, whatever its spelling. */
static bool
whole(const struct berth_json *v, int64_t *ret)
{
    double d;

    if (berth_json_type(v) != BERTH_JSON_REAL || !berth_json_real(v, &d) || fabs(d) > 1e15 ||
        floor(d) != d)
        return false;
    *ret = (int64_t)d;
    return true;
}

/* The text of a number, in the arena: what is whole has no point.  "": no memory. */
static const char *
number_text(struct check *c, const struct berth_json *v)
{
    struct berth_buf b;
    int64_t n;

    berth_buf_init(&b, c->arena);
    if (whole(v, &n))
        berth_buf_printf(&b, "%lld", (long long)n);
    else
        berth_json_put(&b, v);
    const char *text = berth_buf_text(&b);
    if (text == NULL)
        c->no_memory = true;
    return text != NULL ? text : "";
}

static void
put_string(struct check *c, const struct berth_json *v)
{
    const char *meant = "";
    bool yes;

    switch (berth_json_type(v)) {
    case BERTH_JSON_STRING:
        berth_jw_value(&c->out, v);
        return;
    case BERTH_JSON_NULL:
        break;
    case BERTH_JSON_BOOL:
        meant = berth_json_bool(v, &yes) && yes ? "true" : "false";
        break;
    case BERTH_JSON_INT:
    case BERTH_JSON_REAL:
        meant = number_text(c, v);
        break;
    case BERTH_JSON_ARRAY:
    case BERTH_JSON_OBJECT:
        wrong(c, "a string", v);
        return;
    }
    not_typed(c, v, meant);
    berth_jw_string(&c->out, meant);
}

static bool
is_digits(const struct berth_json *v)
{
    struct berth_slice s;

    return berth_json_string(v, &s) && s.len > 0 && strspn(s.at, "0123456789") == s.len;
}

/* Digits of the base for more than 64 bits hold. */
static bool
overflows(const char *digits, unsigned base)
{
    uint64_t n = 0;
    bool beyond = false;

    for (; *digits != '\0'; digits++) {
        const int digit = berth_hex_digit(*digits);
        if (*digits == '_')
            continue;
        if (digit < 0 || (unsigned)digit >= base)
            return false;
        beyond = beyond || __builtin_mul_overflow(n, base, &n) ||
                 __builtin_add_overflow(n, (unsigned)digit, &n);
    }
    return beyond || n > INT64_MAX;
}

/* A whole number that 64 bits do not hold, which YAML leaves as its text. */
static bool
is_beyond(const struct berth_json *v)
{
    struct berth_slice s;

    if (!berth_json_string(v, &s) || s.len == 0)
        return false;
    const char *at = s.at + (s.at[0] == '-' || s.at[0] == '+');
    if (at[0] != '0')
        return overflows(at, 10);
    switch (at[1]) {
    case 'x':
    case 'X':
        return overflows(at + 2, 16);
    case 'o':
    case 'O':
        return overflows(at + 2, 8);
    case 'b':
    case 'B':
        return overflows(at + 2, 2);
    default:
        return overflows(at, 10);
    }
}

/* The same of a number with an exponent: "1e30", and "1e400", which is left as its text. */
static bool
is_huge(const struct berth_json *v)
{
    static const char digits[] = "0123456789";
    struct berth_slice s;
    double d;

    if (berth_json_type(v) == BERTH_JSON_REAL)
        return berth_json_real(v, &d) && fabs(d) >= 0x1p63;
    if (!berth_json_string(v, &s) || s.len == 0)
        return false;
    const char *at = s.at + (s.at[0] == '-' || s.at[0] == '+');
    const size_t whole = strspn(at, digits);
    at += whole;
    at += *at == '.' ? 1 + strspn(at + 1, digits) : 0;
    if (whole == 0 || (*at != 'e' && *at != 'E'))
        return false;
    at += at[1] == '+' ? 2 : 1;
    return *at != '\0' && strspn(at, digits) == strlen(at) && !berth_float_parse(s.at, s.len, &d);
}

/* What YAML has for a number, and JSON has not. */
static bool
is_no_number(const struct berth_json *v)
{
    static const char *const names[] = {".inf", "+.inf", "-.inf", ".nan"};
    struct berth_slice s;

    for (size_t i = 0; berth_json_string(v, &s) && i < BERTH_COUNT(names); i++)
        if (strcasecmp(s.at, names[i]) == 0)
            return true;
    return false;
}

static void
put_int(struct check *c, const struct berth_json *v)
{
    const enum berth_json_type is = berth_json_type(v);
    struct berth_slice s;
    int64_t n;

    if (berth_json_int(v, &n)) {
        berth_jw_value(&c->out, v);
    } else if (whole(v, &n)) {
        berth_jw_int(&c->out, n);
    } else if (is == BERTH_JSON_INT || is_beyond(v) || is_huge(v)) {
        problem(c, true, "a whole number is wanted, this is %s", beyond_64);
        berth_jw_value(&c->out, v);
    } else if (is_no_number(v) && berth_json_string(v, &s)) {
        problem(c, true, "a whole number is wanted, and %s is none", s.at);
        berth_jw_value(&c->out, v);
    } else {
        wrong(c, is_digits(v) ? "a whole number, without quotes," : "a whole number", v);
    }
}

static void
put_int32(struct check *c, const struct berth_json *v)
{
    int64_t n = 0;
    const bool is = berth_json_int(v, &n) || whole(v, &n);

    if (is ? n < INT32_MIN || n > INT32_MAX
           : berth_json_type(v) == BERTH_JSON_INT || is_beyond(v) || is_huge(v)) {
        problem(c, true, "a whole number from %d to %d is wanted%s%s", INT32_MIN, INT32_MAX,
                is ? "" : ", this is ", is ? "" : beyond_64);
        berth_jw_value(&c->out, v);
        return;
    }
    put_int(c, v);
}

static void
put_quantity(struct check *c, const struct berth_json *v)
{
    char text[BERTH_QUANTITY_TEXT_MAX];
    struct berth_slice s;
    struct berth_quantity q;

    if (berth_json_type(v) == BERTH_JSON_INT || berth_json_type(v) == BERTH_JSON_REAL) {
        s = berth_slice_of(number_text(c, v));
        if (berth_json_type(v) == BERTH_JSON_REAL && strpbrk(s.at, ".e") != NULL)
            not_typed(c, v, s.at);
    } else if (!berth_json_string(v, &s)) {
        wrong(c, "a quantity such as 500m or 16Gi", v);
        return;
    }
    if (!berth_quantity_parse(s.at, s.len, &q) && berth_quantity_is_form(s.at, s.len)) {
        berth_jw_string_n(&c->out, s.at, s.len); /* larger than the others: as it was written */
        return;
    }
    if (!berth_quantity_parse(s.at, s.len, &q)) {
        problem(c, true, "\"%.*s\" is no quantity: write it as 500m, 4 or 16Gi",
                (int)(s.len < 64 ? s.len : 64), s.at);
        berth_jw_value(&c->out, v);
        return;
    }
    berth_quantity_text(&q, text);
    berth_jw_string(&c->out, text);
}

static void
put_scalar(struct check *c, enum shape_type type, const struct berth_json *v)
{
    const enum berth_json_type is = berth_json_type(v);

    switch (type) {
    case SHAPE_STRING:
        put_string(c, v);
        return;
    case SHAPE_INT:
        put_int(c, v);
        return;
    case SHAPE_INT32:
        put_int32(c, v);
        return;
    case SHAPE_QUANTITY:
        put_quantity(c, v);
        return;
    case SHAPE_INT_OR_STRING:
        if (is == BERTH_JSON_STRING && !is_beyond(v) && !is_no_number(v))
            berth_jw_value(&c->out, v);
        else
            put_int32(c, v);
        return;
    case SHAPE_BOOL:
        if (is != BERTH_JSON_BOOL) {
            wrong(c, "true or false", v);
            return;
        }
        break;
    case SHAPE_NUMBER:
        if (is != BERTH_JSON_INT && is != BERTH_JSON_REAL) {
            wrong(c, "a number", v);
            return;
        }
        break;
    case SHAPE_ANY:
    case SHAPE_OBJECT: /* not here */
        break;
    }
    berth_jw_value(&c->out, v);
}

/* ---- objects and lists ---- */

static void put_object(struct check *c, const struct berth_shape *shape,
                       const struct berth_json *v);

/* One value of the field, an element if it is a list. */
static void
put_one(struct check *c, const struct shape_field *f, const struct berth_json *v)
{
    const bool none = berth_json_type(v) == BERTH_JSON_NULL;

    if (f->type == SHAPE_OBJECT)
        put_object(c, f->of, v);
    else if (none && !(f->type == SHAPE_STRING && f->many != SHAPE_ONE))
        berth_jw_null(&c->out);
    else
        put_scalar(c, f->type, v);
}

/* Of members of one name the last one counts. */
static bool
counts(const struct berth_json_iter *it)
{
    struct berth_json_iter rest = *it;

    while (berth_json_next(&rest))
        if (rest.key.len == it->key.len && memcmp(rest.key.at, it->key.at, it->key.len) == 0)
            return false;
    return true;
}

/* "replicas:2", which YAML takes for a word. */
static bool
lacks_space(const struct berth_json *v)
{
    struct berth_slice s;
    const char *colon = berth_json_string(v, &s) && s.len > 0 ? memchr(s.at, ':', s.len) : NULL;

    return colon != NULL && colon > s.at && strchr(" /", colon[1]) == NULL &&
           memchr(s.at, ' ', (size_t)(colon - s.at)) == NULL;
}

static bool
is_object(struct check *c, const struct berth_json *v)
{
    if (lacks_space(v)) {
        problem(c, true,
                "an object is wanted, this is a string: a space is missing behind its "
                "colon");
        berth_jw_value(&c->out, v);
        return false;
    }
    if (berth_json_type(v) != BERTH_JSON_OBJECT) {
        wrong(c, "an object", v);
        return false;
    }
    if (berth_json_len(v) > MEMBERS_MAX) {
        problem(c, true, "more than %d members", MEMBERS_MAX);
        berth_jw_value(&c->out, v);
        return false;
    }
    return true;
}

static void
put_map(struct check *c, const struct shape_field *f, const struct berth_json *v)
{
    if (!is_object(c, v))
        return;
    berth_jw_object(&c->out);
    for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);) {
        if (!counts(&it))
            continue;
        const size_t before = enter_member(c, it.key);
        berth_jw_key_n(&c->out, it.key.at, it.key.len);
        put_one(c, f, it.value);
        leave(c, before);
    }
    berth_jw_object_end(&c->out);
}

/* An element that is not there: a dangling "-".  Who takes it makes an object with no members of
 * it. */
static void
no_element(struct check *c)
{
    const size_t before = c->count.count;

    problem(c, false, "an object is wanted, there is nothing: leave the element out");
    if (c->count.count > before)
        c->found[before].is_refused = true;
}

static void
put_list(struct check *c, const struct shape_field *f, const struct berth_json *v)
{
    if (berth_json_type(v) != BERTH_JSON_ARRAY) {
        wrong(c, "a list", v);
        return;
    }
    berth_jw_array(&c->out);
    for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);) {
        const size_t before = enter_element(c, it.index);
        if (f->type == SHAPE_OBJECT && berth_json_type(it.value) == BERTH_JSON_NULL)
            no_element(c);
        put_one(c, f, it.value);
        leave(c, before);
    }
    berth_jw_array_end(&c->out);
}

static void
put_unknown(struct check *c, const struct berth_shape *shape, const struct berth_json_iter *it,
            bool prunes)
{
    const char *near = shape_nearest(shape, it->key), *what = prunes ? ", and it is left out" : "";

    if (memchr(it->key.at, ':', it->key.len) != NULL) /* {name:http} */
        problem(c, c->strict, "no such field%s: is a space missing behind the colon?", what);
    else if (near != NULL)
        problem(c, c->strict, "no such field%s: do you mean %s?", what, near);
    else
        problem(c, c->strict, "no such field%s", what);
    if (prunes)
        return;
    berth_jw_key_n(&c->out, it->key.at, it->key.len);
    berth_jw_value(&c->out, it->value);
}

static void
put_field(struct check *c, const struct shape_field *f, const struct berth_json *v)
{
    if (f->many == SHAPE_ONE || berth_json_type(v) == BERTH_JSON_NULL) {
        const struct shape_field one = {f->name, f->type, SHAPE_ONE, f->of};
        put_one(c, &one, v);
    } else if (f->many == SHAPE_LIST) {
        put_list(c, f, v);
    } else {
        put_map(c, f, v);
    }
}

static void
put_object(struct check *c, const struct berth_shape *shape, const struct berth_json *v)
{
    const bool whole = c->is_whole; /* the document, not what is in it */

    c->is_whole = false;
    if (berth_json_type(v) == BERTH_JSON_NULL) {
        berth_jw_null(&c->out);
        return;
    }
    if (!is_object(c, v))
        return;
    berth_jw_object(&c->out);
    for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);) {
        const struct shape_field *f = shape_find(shape, it.key);
        if (!counts(&it) || (whole && it.key.len > 2 && memcmp(it.key.at, "x-", 2) == 0))
            continue;
        const size_t before = enter_member(c, it.key);
        if (f != NULL) {
            berth_jw_key_n(&c->out, it.key.at, it.key.len);
            put_field(c, f, it.value);
        } else {
            put_unknown(c, shape, &it, c->prunes || whole);
        }
        leave(c, before);
    }
    berth_jw_object_end(&c->out);
}

int
berth_shape_check(const struct berth_shape *shape, const struct berth_json *v,
                  const struct berth_shape_how *how, struct berth_arena *a,
                  const struct berth_json **ret, struct berth_shape_problems *ret_problems,
                  struct berth_err *e)
{
    struct berth_buf text;
    struct check c = {
        .arena = a,
        .found = BERTH_NEW_N(a, struct berth_shape_problem, BERTH_SHAPE_PROBLEMS_MAX),
        .strict = how != NULL && how->strict,
        .prunes = how != NULL && how->prunes,
        .is_whole = how != NULL && how->is_whole,
        .is_typed = how != NULL && how->is_typed,
    };
    const struct berth_json *meant = NULL;

    berth_buf_init(&text, a);
    text.max = TEXT_BYTES_MAX;
    berth_jw_init(&c.out, &text);
    berth_buf_init(&c.path, a);
    if (how != NULL && how->prefix != NULL)
        berth_buf_puts(&c.path, how->prefix);
    if (c.found != NULL)
        put_object(&c, shape, v);
    if (c.found == NULL || c.no_memory || text.failed || c.path.failed)
        return berth_err_set(e, BERTH_ENOMEM, "a document needs more memory than allowed");
    const int rc = berth_json_parse(a, text.at, text.len, NULL, &meant, e);
    if (rc != 0)
        return rc;
    c.count.at = c.found;
    *ret = meant;
    *ret_problems = c.count;
    return 0;
}
