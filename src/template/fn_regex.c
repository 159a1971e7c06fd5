#include <string.h>

#include "template/fn_priv.h"
#include "template/regex_priv.h"

/* sprig's functions on regular expressions; a wrong expression is an error in all of them. */

BERTH_TFN(regex_match)
{
    struct berth_re re;
    int64_t at[2 * BERTH_RE_GROUPS_MAX];
    bool found = false;
    int err = berth_re_compile(r, argv[0].s, &re);

    if (err == 0)
        err = berth_re_match(r, &re, argv[1].s, 0, &found, at);
    *ret = berth_tv_bool(found);
    return err;
}

static struct berth_slice
part(struct berth_slice s, int64_t from, int64_t to)
{
    return to > from ? (struct berth_slice){s.at + from, (size_t)(to - from)}
                     : (struct berth_slice){"", 0};
}

BERTH_TFN(regex_find)
{
    struct berth_re re;
    int64_t at[2 * BERTH_RE_GROUPS_MAX];
    bool found = false;
    int err = berth_re_compile(r, argv[0].s, &re);

    if (err == 0)
        err = berth_re_match(r, &re, argv[1].s, 0, &found, at);
    *ret = berth_tv_slice(found && err == 0 ? part(argv[1].s, at[0], at[1])
                                            : (struct berth_slice){"", 0});
    return err;
}

static size_t
rune_len(struct berth_slice s, size_t i)
{
    uint32_t v;

    return i < s.len ? berth_trune(s.at + i, s.len - i, &v) : 0;
}

/* Where all matches begin and end, at most max (<0: all), as pairs of numbers.  An empty one right
 * behind another does not count. */
static int
find_all(struct berth_trun *r, struct berth_slice expr, struct berth_slice s, int64_t max,
         struct berth_tstrings *l)
{
    struct berth_re re;
    int64_t at[2 * BERTH_RE_GROUPS_MAX], end = -1;
    bool found;
    int err = berth_re_compile(r, expr, &re);

    for (size_t i = 0; i <= s.len && err == 0 && (max < 0 || (int64_t)l->len / 2 < max);) {
        err = berth_re_match(r, &re, s, i, &found, at);
        if (err < 0 || !found)
            break;
        bool counts = true;
        if (at[1] == (int64_t)i) {
            counts = at[0] != end;
            i += rune_len(s, i) > 0 ? rune_len(s, i) : 1;
        } else {
            i = (size_t)at[1];
        }
        end = at[1];
        if (!counts)
            continue;
        err = berth_trun_add(r, l, berth_tv_int(at[0]));
        if (err == 0)
            err = berth_trun_add(r, l, berth_tv_int(at[1]));
    }
    return err;
}

BERTH_TFN(regex_find_all)
{
    struct berth_tstrings places = {0}, l = {0};
    int err = find_all(r, argv[0].s, argv[1].s, argv[2].i, &places);

    for (size_t i = 0; i < places.len && err == 0; i += 2)
        err = berth_trun_add(r, &l,
                             berth_tv_slice(part(argv[1].s, places.at[i].i, places.at[i + 1].i)));
    return err == 0 ? berth_trun_list(r, l.at, l.len, BERTH_TT_OF_STRING, ret) : err;
}

BERTH_TFN(regex_split)
{
    const struct berth_slice s = argv[1].s;
    const int64_t n = argv[2].i;
    struct berth_tstrings places = {0}, l = {0};
    int64_t begin = 0, end = 0;
    int err = find_all(r, argv[0].s, s, n, &places);

    if (err == 0 && n == 0)
        return berth_trun_list(r, NULL, 0, BERTH_TT_OF_STRING, ret);
    if (err == 0 && argv[0].s.len > 0 && s.len == 0) {
        err = berth_trun_add(r, &l, berth_tv_slice((struct berth_slice){"", 0}));
        return err == 0 ? berth_trun_added(r, &l, BERTH_TT_OF_STRING, ret) : err;
    }
    for (size_t i = 0; i < places.len && err == 0; i += 2) {
        if (n > 0 && (int64_t)l.len == n - 1)
            break;
        end = places.at[i].i;
        if (places.at[i + 1].i != 0)
            err = berth_trun_add(r, &l, berth_tv_slice(part(s, begin, end)));
        begin = places.at[i + 1].i;
    }
    if (err == 0 && end != (int64_t)s.len)
        err = berth_trun_add(r, &l, berth_tv_slice(part(s, begin, (int64_t)s.len)));
    return err == 0 ? berth_trun_added(r, &l, BERTH_TT_OF_STRING, ret) : err;
}

/* Which group a name or a number in a replacement means, of one name the first that took part; -1:
 * none. */
static int64_t
group_of(const struct berth_re *re, struct berth_slice name, const int64_t *at)
{
    int64_t n = 0;

    for (size_t i = 0; i < name.len && n >= 0; i++)
        n = name.at[i] >= '0' && name.at[i] <= '9' && n < 100000000 ? n * 10 + (name.at[i] - '0')
                                                                    : -1;
    if (name.at[0] == '0' && name.len > 1)
        n = -1;
    for (size_t i = 1; i < re->groups && n < 0; i++)
        if (at[2 * i] >= 0 && re->names[i].len > 0 && berth_tslice_cmp(re->names[i], name) == 0)
            return (int64_t)i;
    return n < (int64_t)re->groups ? n : -1;
}

/* "$1", "${name}" behind the dollar: how long it is, 0: the dollar is itself. */
static size_t
reference(struct berth_slice s, struct berth_slice *ret_name)
{
    const bool braces = s.len > 0 && s.at[0] == '{';
    size_t i = braces;
    uint32_t v;

    while (i < s.len) {
        const size_t n = berth_trune(s.at + i, s.len - i, &v);
        if (v != '_' && !berth_trune_is_letter(v) && !berth_trune_is_digit(v))
            break;
        i += n;
    }
    *ret_name = (struct berth_slice){s.at + braces, i - braces};
    if (ret_name->len == 0 || (braces && (i >= s.len || s.at[i] != '}')))
        return 0;
    return i + braces;
}

static void
expand(struct berth_buf *b, const struct berth_re *re, struct berth_slice s,
       struct berth_slice with, const int64_t *at)
{
    struct berth_slice name;

    for (size_t i = 0; i < with.len && !b->failed;) {
        const char c = with.at[i++];
        if (c != '$') {
            berth_buf_putc(b, c);
            continue;
        }
        if (i < with.len && with.at[i] == '$') {
            berth_buf_putc(b, '$');
            i++;
            continue;
        }
        const size_t n = reference((struct berth_slice){with.at + i, with.len - i}, &name);
        if (n == 0) {
            berth_buf_putc(b, '$');
            continue;
        }
        const int64_t group = group_of(re, name, at);
        if (group >= 0 && at[2 * group] >= 0) {
            const struct berth_slice got = part(s, at[2 * group], at[2 * group + 1]);
            berth_buf_put(b, got.at, got.len);
        }
        i += n;
    }
}

static int
replace_all(struct berth_trun *r, const struct berth_tvalue *argv, bool literal,
            struct berth_tvalue *ret)
{
    const struct berth_slice s = argv[1].s, with = argv[2].s;
    struct berth_re re;
    struct berth_buf b;
    int64_t at[2 * BERTH_RE_GROUPS_MAX], last = 0;
    bool found;
    int err = berth_re_compile(r, argv[0].s, &re);

    berth_trun_buf(r, &b);
    for (size_t i = 0; i <= s.len && err == 0 && !b.failed;) {
        err = berth_re_match(r, &re, s, i, &found, at);
        if (err < 0 || !found)
            break;
        const struct berth_slice before = part(s, last, at[0]);
        berth_buf_put(&b, before.at, before.len);
        if (at[1] > last || at[0] == 0) { /* no empty match right behind another */
            if (literal)
                berth_buf_put(&b, with.at, with.len);
            else
                expand(&b, &re, s, with, at);
        }
        last = at[1];
        const size_t width = rune_len(s, i);
        if (i + width > (size_t)last)
            i += width;
        else
            i = i + 1 > (size_t)last ? i + 1 : (size_t)last;
    }
    if (err < 0)
        return err;
    const struct berth_slice rest = part(s, last, (int64_t)s.len);
    berth_buf_put(&b, rest.at, rest.len);
    return berth_trun_text(r, &b, ret);
}

BERTH_TFN(regex_replace_all)
{
    return replace_all(r, argv, false, ret);
}

BERTH_TFN(regex_replace_all_literal)
{
    return replace_all(r, argv, true, ret);
}

BERTH_TFN(regex_quote_meta)
{
    struct berth_buf b;

    berth_trun_buf(r, &b);
    for (size_t i = 0; i < argv[0].s.len && !b.failed; i++) {
        const char c = argv[0].s.at[i];
        if (c != '\0' && strchr("\\.+*?()|[]{}^$", c) != NULL)
            berth_buf_putc(&b, '\\');
        berth_buf_putc(&b, c);
    }
    return berth_trun_text(r, &b, ret);
}

/* clang-format off */
const struct berth_tfn berth_tfns_regex[] = {
    {"regexMatch", "ss", regex_match}, {"mustRegexMatch", "ss", regex_match},
    {"regexFind", "ss", regex_find}, {"mustRegexFind", "ss", regex_find},
    {"regexFindAll", "ssi", regex_find_all}, {"mustRegexFindAll", "ssi", regex_find_all},
    {"regexSplit", "ssi", regex_split}, {"mustRegexSplit", "ssi", regex_split},
    {"regexReplaceAll", "sss", regex_replace_all},
    {"mustRegexReplaceAll", "sss", regex_replace_all},
    {"regexReplaceAllLiteral", "sss", regex_replace_all_literal},
    {"mustRegexReplaceAllLiteral", "sss", regex_replace_all_literal},
    {"regexQuoteMeta", "s", regex_quote_meta},
    {0},
};
/* clang-format on */
