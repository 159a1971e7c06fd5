#include <string.h>

#include "base/arena.h"
#include "template/fn_priv.h"

/* sprig's functions on texts. */

static const struct berth_slice nothing = {"", 0};

/* Where what begins in s; NULL: nowhere. */
static const char *
find(struct berth_slice s, struct berth_slice what)
{
    return what.len == 0 ? s.at : s.len > 0 ? memmem(s.at, s.len, what.at, what.len) : NULL;
}

static bool
starts(struct berth_slice s, struct berth_slice with)
{
    return s.len >= with.len && (with.len == 0 || memcmp(s.at, with.at, with.len) == 0);
}

static bool
ends(struct berth_slice s, struct berth_slice with)
{
    return s.len >= with.len &&
           (with.len == 0 || memcmp(s.at + s.len - with.len, with.at, with.len) == 0);
}

static struct berth_slice
part(struct berth_slice s, size_t from, size_t to)
{
    return to > from ? (struct berth_slice){s.at + from, to - from} : nothing;
}

static bool
in_set(uint32_t rune, const struct berth_slice *set)
{
    uint32_t v;

    if (set == NULL)
        return berth_trune_is_space(rune);
    for (size_t i = 0; i < set->len;) {
        i += berth_trune(set->at + i, set->len - i, &v);
        if (v == rune)
            return true;
    }
    return false;
}

/* Without the characters of set at both ends; NULL: blanks. */
static struct berth_slice
trim_set(struct berth_slice s, const struct berth_slice *set)
{
    size_t first = s.len, end = 0;
    uint32_t v;

    for (size_t i = 0, n; i < s.len; i += n) {
        n = berth_trune(s.at + i, s.len - i, &v);
        if (in_set(v, set))
            continue;
        first = i < first ? i : first;
        end = i + n;
    }
    return part(s, first, end);
}

struct berth_slice
berth_ttrim_space(struct berth_slice s)
{
    return trim_set(s, NULL);
}

BERTH_TFN(trim)
{
    *ret = berth_tv_slice(trim_set(argv[0].s, NULL));
    return 0;
}

BERTH_TFN(trim_all)
{
    const int got = berth_trun_work(r, argv[0].s.len * (uint64_t)argv[1].s.len / 8);

    *ret = berth_tv_slice(trim_set(argv[1].s, &argv[0].s));
    return got;
}

BERTH_TFN(trim_suffix)
{
    const struct berth_slice s = argv[1].s, with = argv[0].s;

    *ret = berth_tv_slice(part(s, 0, ends(s, with) ? s.len - with.len : s.len));
    return 0;
}

BERTH_TFN(trim_prefix)
{
    const struct berth_slice s = argv[1].s, with = argv[0].s;

    *ret = berth_tv_slice(part(s, starts(s, with) ? with.len : 0, s.len));
    return 0;
}

BERTH_TFN(contains)
{
    *ret = berth_tv_bool(find(argv[1].s, argv[0].s) != NULL);
    return 0;
}

BERTH_TFN(has_prefix)
{
    *ret = berth_tv_bool(starts(argv[1].s, argv[0].s));
    return 0;
}

BERTH_TFN(has_suffix)
{
    *ret = berth_tv_bool(ends(argv[1].s, argv[0].s));
    return 0;
}

/* The texts of the arguments that are not nil, each between that quote; 0: as they are. */
static int
join_texts(struct berth_trun *r, const struct berth_tvalue *argv, size_t argc, char mark,
           struct berth_tvalue *ret)
{
    struct berth_buf b;
    struct berth_slice s;
    bool first = true;

    berth_trun_buf(r, &b);
    for (size_t i = 0; i < argc; i++) {
        if (berth_tv_is_nil(&argv[i]))
            continue;
        const int got = berth_trun_strval(r, &argv[i], &s);
        if (got < 0)
            return got;
        if (!first)
            berth_buf_putc(&b, ' ');
        first = false;
        if (mark == '"') {
            berth_tquote(&b, s, '"', false);
            continue;
        }
        berth_buf_put(&b, &mark, mark != '\0');
        berth_buf_put(&b, s.at, s.len);
        berth_buf_put(&b, &mark, mark != '\0');
    }
    return berth_trun_text(r, &b, ret);
}

BERTH_TFN(quote)
{
    return join_texts(r, argv, argc, '"', ret);
}

BERTH_TFN(squote)
{
    return join_texts(r, argv, argc, '\'', ret);
}

BERTH_TFN(cat)
{
    return join_texts(r, argv, argc, '\0', ret);
}

static int
indented(struct berth_trun *r, const struct berth_tvalue *argv, bool line, struct berth_tvalue *ret)
{
    const struct berth_slice s = argv[1].s;
    struct berth_buf b;

    if (argv[0].i < 0)
        return berth_trun_fail(r, "%lld is no number of blanks", (long long)argv[0].i);
    berth_trun_buf(r, &b);
    if (line)
        berth_buf_putc(&b, '\n');
    for (size_t i = 0; i <= s.len && !b.failed;) {
        const char *end = i < s.len ? memchr(s.at + i, '\n', s.len - i) : NULL;
        const size_t next = end != NULL ? (size_t)(end - s.at) + 1 : s.len;
        for (int64_t n = 0; n < argv[0].i && !b.failed; n++)
            berth_buf_putc(&b, ' ');
        berth_buf_put(&b, s.at + i, next - i);
        if (end == NULL)
            break;
        i = next;
    }
    return berth_trun_text(r, &b, ret);
}

BERTH_TFN(indent)
{
    return indented(r, argv, false, ret);
}

BERTH_TFN(nindent)
{
    return indented(r, argv, true, ret);
}

/* src with old replaced; an empty old stands between all characters. */
BERTH_TFN(replace)
{
    const struct berth_slice old = argv[0].s, new = argv[1].s, s = argv[2].s;
    struct berth_buf b;
    uint32_t v;

    berth_trun_buf(r, &b);
    for (size_t i = 0; i <= s.len && !b.failed;) {
        const struct berth_slice rest = part(s, i, s.len);
        const char *at = old.len > 0 ? find(rest, old) : rest.at;
        if (at == NULL) {
            berth_buf_put(&b, rest.at, rest.len);
            break;
        }
        const size_t before = (size_t)(at - rest.at);
        berth_buf_put(&b, rest.at, before);
        berth_buf_put(&b, new.at, new.len);
        i += before + old.len;
        if (old.len > 0)
            continue;
        if (i >= s.len)
            break;
        const size_t n = berth_trune(s.at + i, s.len - i, &v);
        berth_buf_put(&b, s.at + i, n);
        i += n;
    }
    return berth_trun_text(r, &b, ret);
}

BERTH_TFN(repeat)
{
    const struct berth_slice s = argv[1].s;
    struct berth_buf b;

    if (argv[0].i < 0)
        return berth_trun_fail(r, "%lld is no number of times", (long long)argv[0].i);
    berth_trun_buf(r, &b);
    for (int64_t i = 0; i < argv[0].i && s.len > 0 && !b.failed; i++)
        berth_buf_put(&b, s.at, s.len);
    return berth_trun_text(r, &b, ret);
}

BERTH_TFN(tf_trunc)
{
    const struct berth_slice s = argv[1].s;
    const int64_t c = argv[0].i, n = (int64_t)s.len;

    if (c < 0 && c > -n)
        *ret = berth_tv_slice(part(s, (size_t)(n + c), s.len));
    else
        *ret = berth_tv_slice(part(s, 0, c >= 0 && n > c ? (size_t)c : s.len));
    return 0;
}

BERTH_TFN(substr)
{
    const struct berth_slice s = argv[2].s;
    const int64_t n = (int64_t)s.len, start = argv[0].i < 0 ? 0 : argv[0].i;
    const int64_t end = argv[0].i >= 0 && (argv[1].i < 0 || argv[1].i > n) ? n : argv[1].i;

    if (end < start || end > n || start > n)
        return berth_trun_fail(r, "from %lld to %lld goes beyond a text of %zu bytes",
                               (long long)argv[0].i, (long long)argv[1].i, s.len);
    *ret = berth_tv_slice(part(s, (size_t)start, (size_t)end));
    return 0;
}

BERTH_TFN(to_string)
{
    struct berth_slice s;
    const int got = berth_trun_strval(r, &argv[0], &s);

    if (got == 0)
        *ret = berth_tv_slice(s);
    return got;
}

/* The texts of a list's elements, without nils; of anything else, its own. */
static int
strings_of(struct berth_trun *r, const struct berth_tvalue *v, struct berth_tstrings *l)
{
    struct berth_slice s;
    int got = 0;

    if (v->kind != BERTH_T_LIST && !berth_tv_is_nil(v)) {
        got = berth_trun_strval(r, v, &s);
        return got == 0 ? berth_trun_add(r, l, berth_tv_slice(s)) : got;
    }
    for (size_t i = 0; v->kind == BERTH_T_LIST && i < v->list->len && got == 0; i++) {
        if (berth_tv_is_nil(&v->list->at[i]))
            continue;
        got = berth_trun_strval(r, &v->list->at[i], &s);
        if (got == 0)
            got = berth_trun_add(r, l, berth_tv_slice(s));
    }
    return got;
}

BERTH_TFN(to_strings)
{
    struct berth_tstrings l = {0};
    const int got = strings_of(r, &argv[0], &l);

    return got == 0 ? berth_trun_added(r, &l, BERTH_TT_OF_STRING, ret) : got;
}

BERTH_TFN(join)
{
    struct berth_tstrings l = {0};
    struct berth_buf b;
    const int got = strings_of(r, &argv[1], &l);

    if (got < 0)
        return got;
    berth_trun_buf(r, &b);
    for (size_t i = 0; i < l.len; i++) {
        if (i > 0)
            berth_buf_put(&b, argv[0].s.at, argv[0].s.len);
        berth_buf_put(&b, l.at[i].s.at, l.at[i].s.len);
    }
    return berth_trun_text(r, &b, ret);
}

/* A text is compared about as often as a list of that length can be halved. */
static uint64_t
sort_cost(const struct berth_tstrings *l)
{
    uint64_t bytes = 0, rounds = 1;

    for (size_t i = 0; i < l->len; i++)
        bytes += l->at[i].s.len;
    for (size_t n = l->len; n > 1; n /= 2)
        rounds++;
    return (bytes / 64 + l->len) * rounds;
}

static void
sort_texts(struct berth_tvalue *at, size_t len, struct berth_tvalue *spare)
{
    if (len < 2)
        return;
    const size_t half = len / 2;
    sort_texts(at, half, spare);
    sort_texts(at + half, len - half, spare);
    memcpy(spare, at, half * sizeof *at);
    for (size_t i = 0, j = half, to = 0; i < half; to++)
        at[to] = j < len && berth_tslice_cmp(at[j].s, spare[i].s) < 0 ? at[j++] : spare[i++];
}

BERTH_TFN(sort_alpha)
{
    const struct berth_tvalue nil = berth_tv_text("<nil>"); /* what is no list sorts as itself */
    struct berth_tstrings l = {0};
    int got = strings_of(r, berth_tv_is_nil(&argv[0]) ? &nil : &argv[0], &l);

    got = got == 0 ? berth_trun_work(r, sort_cost(&l)) : got;
    if (got < 0)
        return got;
    struct berth_tvalue *spare = berth_trun_values(r, l.len, &got);
    if (spare == NULL)
        return got;
    sort_texts(l.at, l.len, spare);
    return berth_trun_added(r, &l, BERTH_TT_OF_STRING, ret);
}

/* s at each sep, into at most max parts (<0: all); an empty sep parts all characters. */
static int
split_into(struct berth_trun *r, struct berth_slice s, struct berth_slice sep, int64_t max,
           struct berth_tstrings *l)
{
    uint32_t v;
    int got = 0;

    if (max == 0 || (s.len == 0 && sep.len == 0))
        return 0;
    while (got == 0) {
        const bool last = max > 0 && (int64_t)l->len + 1 >= max;
        size_t n;
        if (sep.len == 0)
            n = last || s.len == 0 ? s.len : berth_trune(s.at, s.len, &v);
        else {
            const char *at = last ? NULL : find(s, sep);
            n = at != NULL ? (size_t)(at - s.at) : s.len;
        }
        got = berth_trun_add(r, l, berth_tv_slice(part(s, 0, n)));
        if (n == s.len)
            break;
        s = (struct berth_slice){s.at + n + sep.len, s.len - n - sep.len};
    }
    return got;
}

BERTH_TFN(split_list)
{
    struct berth_tstrings l = {0};
    const int got = split_into(r, argv[1].s, argv[0].s, -1, &l);

    return got == 0 ? berth_trun_added(r, &l, BERTH_TT_OF_STRING, ret) : got;
}

/* The parts as a map with the keys _0, _1, ... */
static int
split_map(struct berth_trun *r, struct berth_slice s, struct berth_slice sep, int64_t max,
          struct berth_tvalue *ret)
{
    struct berth_tstrings l = {0};
    int got = split_into(r, s, sep, max, &l);

    if (got == 0)
        got = berth_trun_map(r, BERTH_TT_OF_STRING, ret);
    for (size_t i = 0; i < l.len && got == 0; i++) {
        const char *key = berth_arena_printf(r->a, "_%zu", i);
        if (key == NULL)
            return berth_trun_nomem(r);
        got = berth_trun_set(r, ret->map, berth_slice_of(key), &l.at[i]);
    }
    return got;
}

BERTH_TFN(split)
{
    return split_map(r, argv[1].s, argv[0].s, -1, ret);
}

BERTH_TFN(splitn)
{
    return split_map(r, argv[2].s, argv[0].s, argv[1].i, ret);
}

BERTH_TFN(plural)
{
    *ret = argv[2].i == 1 ? argv[0] : argv[1];
    return 0;
}

BERTH_TFN(hello)
{
    *ret = berth_tv_text("Hello!");
    return 0;
}

/* clang-format off */
const struct berth_tfn berth_tfns_strings[] = {
    {"trim", "s", trim}, {"trimAll", "ss", trim_all}, {"trimall", "ss", trim_all},
    {"trimSuffix", "ss", trim_suffix}, {"trimPrefix", "ss", trim_prefix},
    {"contains", "ss", contains}, {"hasPrefix", "ss", has_prefix}, {"hasSuffix", "ss", has_suffix},
    {"quote", "a*", quote}, {"squote", "a*", squote}, {"cat", "a*", cat},
    {"indent", "is", indent}, {"nindent", "is", nindent}, {"replace", "sss", replace},
    {"repeat", "is", repeat}, {"trunc", "is", tf_trunc}, {"substr", "iis", substr},
    {"toString", "a", to_string}, {"toStrings", "a", to_strings}, {"join", "sa", join},
    {"sortAlpha", "a", sort_alpha}, {"splitList", "ss", split_list}, {"split", "ss", split},
    {"splitn", "sis", splitn}, {"plural", "ssi", plural}, {"hello", "", hello},
    {0},
};
/* clang-format on */
