#include <string.h>

#include "base/arena.h"
#include "base/num.h"
#include "template/fn_priv.h"

/* Versions and constraints on them, as Masterminds' semver 3 reads them. */

struct version {
    uint64_t n[3]; /* major, minor, patch */
    size_t count;  /* how many of them were written */
    struct berth_slice pre, meta;
};

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool
is_id(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-';
}

static bool
is_any(char c)
{
    return c == 'x' || c == 'X' || c == '*';
}

/* "alpha.1" at *i; empty parts are wrong. */
static bool
identifiers(struct berth_slice s, size_t *i, struct berth_slice *ret)
{
    const size_t start = *i;
    size_t part = 0;

    for (; *i < s.len && (is_id(s.at[*i]) || (s.at[*i] == '.' && part > 0)); *i += 1)
        part = s.at[*i] == '.' ? 0 : part + 1;
    *ret = (struct berth_slice){s.at + start, *i - start};
    return part > 0;
}

/* A part of a pre-release that is a number has no zero in front. */
static bool
parts_ok(struct berth_slice pre)
{
    for (size_t i = 0; i < pre.len;) {
        size_t n = 0;
        bool number = true;
        for (; i + n < pre.len && pre.at[i + n] != '.'; n++)
            number = number && is_digit(pre.at[i + n]);
        if (number && n > 1 && pre.at[i] == '0')
            return false;
        i += n + 1;
    }
    return true;
}

/* A number at *i, or, with wild, x or *, which is 0. */
static bool
number_at(struct berth_slice s, size_t *i, bool wild, bool *ret_any, uint64_t *ret)
{
    const size_t start = *i;

    *ret = 0;
    *ret_any = wild && start < s.len && is_any(s.at[start]);
    *i += *ret_any;
    for (; !*ret_any && *i < s.len && is_digit(s.at[*i]); *i += 1)
        if (__builtin_mul_overflow(*ret, 10u, ret) ||
            __builtin_add_overflow(*ret, (unsigned)(s.at[*i] - '0'), ret))
            return false;
    return *i > start;
}

/* A version at *i, with wild for the numbers that are x or *, which end those that count. */
static bool
version_at(struct berth_slice s, size_t *i, bool wild, struct version *ret)
{
    struct version v = {.pre = {"", 0}, .meta = {"", 0}};
    bool any = false;

    if (*i < s.len && s.at[*i] == 'v')
        *i += 1;
    for (size_t n = 0; n < 3; n++) {
        bool this_one;
        if (n > 0 && (*i >= s.len || s.at[*i] != '.'))
            break;
        *i += n > 0;
        if (!number_at(s, i, wild, &this_one, &v.n[n]))
            return false;
        any = any || this_one;
        v.count += !any;
        v.n[n] = any ? 0 : v.n[n];
    }
    if (*i < s.len && s.at[*i] == '-' && (*i += 1, !identifiers(s, i, &v.pre)))
        return false;
    if (*i < s.len && s.at[*i] == '+' && (*i += 1, !identifiers(s, i, &v.meta)))
        return false;
    *ret = v;
    return parts_ok(v.pre);
}

static bool
version_of(struct berth_slice s, struct version *ret)
{
    size_t i = 0;

    return version_at(s, &i, false, ret) && i == s.len;
}

/* One part of a pre-release and what is behind its dot. */
static struct berth_slice
cut_part(struct berth_slice *s)
{
    const char *dot = s->len > 0 ? memchr(s->at, '.', s->len) : NULL;
    const struct berth_slice part = {s->at, dot != NULL ? (size_t)(dot - s->at) : s->len};

    *s = dot != NULL ? (struct berth_slice){dot + 1, s->len - part.len - 1}
                     : (struct berth_slice){"", 0};
    return part;
}

static int
part_cmp(struct berth_slice x, struct berth_slice y)
{
    int64_t nx, ny;
    const bool x_number = berth_int_parse(x.at, x.len, 0, INT64_MAX, &nx);
    const bool y_number = berth_int_parse(y.at, y.len, 0, INT64_MAX, &ny);

    if (x_number && y_number)
        return (nx > ny) - (nx < ny);
    if (x_number != y_number)
        return x_number ? -1 : 1; /* numbers come before words */
    return berth_tslice_cmp(x, y);
}

static int
pre_cmp(struct berth_slice x, struct berth_slice y)
{
    if (x.len == 0 || y.len == 0)
        return (x.len == 0) - (y.len == 0); /* a release comes behind its previews */
    while (x.len > 0 && y.len > 0) {
        const int d = part_cmp(cut_part(&x), cut_part(&y));
        if (d != 0)
            return d;
    }
    return (x.len > 0) - (y.len > 0);
}

static int
version_cmp(const struct version *x, const struct version *y)
{
    for (size_t n = 0; n < 3; n++)
        if (x->n[n] != y->n[n])
            return x->n[n] > y->n[n] ? 1 : -1;
    return pre_cmp(x->pre, y->pre);
}

/* How many numbers, from the first, the two share. */
static size_t
shared(const struct version *x, const struct version *y)
{
    size_t n = 0;

    while (n < 3 && x->n[n] == y->n[n])
        n++;
    return n;
}

/* ~1.2.3 is at least that with the same minor; ~1 with the same major. */
static bool
tilde(const struct version *v, const struct version *c)
{
    if (version_cmp(v, c) < 0)
        return false;
    if (c->count == 0 || (c->count == 3 && c->n[0] == 0 && c->n[1] == 0 && c->n[2] == 0))
        return true;
    return shared(v, c) >= (c->count == 1 ? 1 : 2);
}

/* ^1.2.3 keeps the first number that is not zero. */
static bool
caret(const struct version *v, const struct version *c)
{
    if (version_cmp(v, c) < 0)
        return false;
    if (c->n[0] > 0 || c->count == 1)
        return v->n[0] == c->n[0];
    if (v->n[0] > 0)
        return false;
    if (c->n[1] > 0 || c->count == 2)
        return v->n[1] == c->n[1];
    return v->n[1] == 0 && v->n[2] == c->n[2];
}

static bool
differs(const struct version *v, const struct version *c)
{
    if (c->count == 3)
        return version_cmp(v, c) != 0;
    if (c->count == 0)
        return v->n[0] != 0 || v->n[1] != 0 || v->n[2] != 0;
    if (shared(v, c) < c->count)
        return true;
    return c->count == 2 && pre_cmp(v->pre, c->pre) != 0;
}

static bool
above(const struct version *v, const struct version *c)
{
    if (c->count == 3 || c->count == 0 || v->n[0] != c->n[0])
        return version_cmp(v, c) > 0;
    return c->count == 2 && v->n[1] > c->n[1];
}

static bool
at_most(const struct version *v, const struct version *c)
{
    if (c->count == 3)
        return version_cmp(v, c) <= 0;
    return v->n[0] < c->n[0] || (v->n[0] == c->n[0] && (c->count == 1 || v->n[1] <= c->n[1]));
}

static const char *const signs[] = {">=", "=>", "<=", "=<", "!=", "~>",
                                    ">",  "<",  "=",  "~",  "^",  ""};

/* Does v keep to the sign and c?  A preview does only where the constraint names one. */
static bool
holds(const char *sign, const struct version *c, const struct version *v)
{
    const bool equals = strchr(sign, '=') != NULL;

    if (v->pre.len > 0 && c->pre.len == 0 && (strcmp(sign, "!=") != 0 || c->count < 3))
        return false;
    switch (sign[0] == '=' ? sign[1] : sign[0]) {
    case '>':
        return equals ? version_cmp(v, c) >= 0 : above(v, c);
    case '<':
        return equals ? at_most(v, c) : version_cmp(v, c) < 0;
    case '!':
        return differs(v, c);
    case '~':
        return tilde(v, c);
    case '^':
        return caret(v, c);
    default:
        return c->count == 3 ? version_cmp(v, c) == 0 : tilde(v, c);
    }
}

static void
skip_blanks(struct berth_slice s, size_t *i)
{
    while (*i < s.len && strchr(" \t\n\r\f", s.at[*i]) != NULL && s.at[*i] != '\0')
        *i += 1;
}

/* Constraints that must all hold, up to a || or the end. */
static bool
all_hold(struct berth_slice s, size_t *i, const struct version *v, bool *ret)
{
    *ret = true;
    skip_blanks(s, i);
    if (*i >= s.len || s.at[*i] == '|')
        return false; /* there is none */
    for (; *i < s.len && s.at[*i] != '|'; skip_blanks(s, i)) {
        struct version c, to;
        size_t n = 0;
        while (s.len - *i < strlen(signs[n]) || memcmp(signs[n], s.at + *i, strlen(signs[n])) != 0)
            n++;
        *i += strlen(signs[n]);
        skip_blanks(s, i);
        if (!version_at(s, i, true, &c))
            return false;
        if (c.count < 3)
            c.n[2] = 0;
        size_t dash = *i;
        skip_blanks(s, &dash);
        if (n == sizeof signs / sizeof *signs - 1 && dash > *i && s.len - dash > 1 &&
            s.at[dash] == '-' && s.at[dash + 1] == ' ') { /* "1.2 - 2": both ends count */
            *i = dash + 1;
            skip_blanks(s, i);
            if (!version_at(s, i, true, &to))
                return false;
            *ret = *ret && holds(">=", &c, v) && holds("<=", &to, v);
        } else {
            *ret = *ret && holds(signs[n], &c, v);
        }
        skip_blanks(s, i);
        if (*i < s.len && s.at[*i] == ',')
            *i += 1;
    }
    return true;
}

BERTH_TFN(semver_compare)
{
    const struct berth_slice s = argv[0].s;
    struct version v;
    bool found = false, all;

    if (!version_of(argv[1].s, &v))
        return berth_trun_fail(r, "\"%.*s\" is no version",
                               argv[1].s.len < 60 ? (int)argv[1].s.len : 60, argv[1].s.at);
    for (size_t i = 0;;) {
        if (!all_hold(s, &i, &v, &all) || (i < s.len && (s.len - i < 2 || s.at[i + 1] != '|')))
            return berth_trun_fail(r, "\"%.*s\" is no constraint on versions",
                                   s.len < 60 ? (int)s.len : 60, s.at);
        found = found || all;
        if (i >= s.len)
            break;
        i += 2;
    }
    *ret = berth_tv_bool(found);
    return 0;
}

BERTH_TFN(semver)
{
    static const char *const names[] = {"Major", "Minor", "Patch"};
    struct version v;
    struct berth_tvalue fields;
    struct berth_tobject *o = BERTH_NEW(r->a, struct berth_tobject);

    if (!version_of(argv[0].s, &v))
        return berth_trun_fail(r, "\"%.*s\" is no version",
                               argv[0].s.len < 60 ? (int)argv[0].s.len : 60, argv[0].s.at);
    const char *text = berth_arena_printf(
        r->a, "%llu.%llu.%llu%s%.*s%s%.*s", (unsigned long long)v.n[0], (unsigned long long)v.n[1],
        (unsigned long long)v.n[2], v.pre.len > 0 ? "-" : "", (int)v.pre.len, v.pre.at,
        v.meta.len > 0 ? "+" : "", (int)v.meta.len, v.meta.at);
    int err = berth_trun_map(r, BERTH_TT_PLAIN, &fields);
    for (size_t n = 0; n < 3 && err == 0; n++) {
        const struct berth_tvalue number = {.kind = BERTH_T_UINT, .u = v.n[n]};
        err = berth_trun_set(r, fields.map, berth_slice_of(names[n]), &number);
    }
    const struct berth_tvalue pre = berth_tv_slice(v.pre), meta = berth_tv_slice(v.meta);
    if (err == 0)
        err = berth_trun_set(r, fields.map, BERTH_SLICE("Prerelease"), &pre);
    if (err == 0)
        err = berth_trun_set(r, fields.map, BERTH_SLICE("Metadata"), &meta);
    if (err == 0)
        err = berth_trun_set(r, fields.map, BERTH_SLICE("Original"), &argv[0]);
    if (err < 0)
        return err;
    if (o == NULL || text == NULL)
        return berth_trun_nomem(r);
    *o = (struct berth_tobject){.text = berth_slice_of(text), .fields = fields.map};
    *ret = (struct berth_tvalue){.kind = BERTH_T_OBJECT, .type = BERTH_TT_SEMVER, .object = o};
    return berth_trun_work(r, o->text.len);
}

/* clang-format off */
const struct berth_tfn berth_tfns_semver[] = {
    {"semver", "s", semver}, {"semverCompare", "ss", semver_compare},
    {0},
};
/* clang-format on */
