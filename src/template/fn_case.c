#include <string.h>

#include "template/fn_priv.h"

/* sprig's functions on the case and the width of texts. */

/* Each character through f. */
static int
mapped(struct berth_trun *r, struct berth_slice s, uint32_t (*f)(uint32_t),
       struct berth_tvalue *ret)
{
    struct berth_buf b;
    uint32_t v;

    berth_trun_buf(r, &b);
    for (size_t i = 0; i < s.len && !b.failed;) {
        i += berth_trune(s.at + i, s.len - i, &v);
        berth_trune_append(&b, f(v));
    }
    return berth_trun_text(r, &b, ret);
}

BERTH_TFN(upper)
{
    return mapped(r, argv[0].s, berth_trune_upper, ret);
}

BERTH_TFN(lower)
{
    return mapped(r, argv[0].s, berth_trune_lower, ret);
}

/* Where Go's strings.Title begins a word. */
static bool
is_separator(uint32_t v)
{
    if (v < 0x80)
        return !berth_trune_is_letter(v) && !berth_trune_is_digit(v) && v != '_';
    return !berth_trune_is_letter(v) && berth_trune_is_space(v);
}

BERTH_TFN(title)
{
    const struct berth_slice s = argv[0].s;
    struct berth_buf b;
    uint32_t v, before = ' ';

    berth_trun_buf(r, &b);
    for (size_t i = 0; i < s.len && !b.failed;) {
        i += berth_trune(s.at + i, s.len - i, &v);
        berth_trune_append(&b, is_separator(before) ? berth_trune_upper(v) : v);
        before = v;
    }
    return berth_trun_text(r, &b, ret);
}

/* How goutils lowers the first letter of each word, or swaps the case of all. */
static int
by_word(struct berth_trun *r, struct berth_slice s, bool swap, struct berth_tvalue *ret)
{
    struct berth_buf b;
    uint32_t v;
    bool begins = true;

    berth_trun_buf(r, &b);
    for (size_t i = 0; i < s.len && !b.failed;) {
        i += berth_trune(s.at + i, s.len - i, &v);
        uint32_t to = v;
        if (!swap)
            to = begins ? berth_trune_lower(v) : v;
        else if (berth_trune_is_upper(v))
            to = berth_trune_lower(v);
        else if (berth_trune_is_lower(v))
            to = berth_trune_upper(v);
        begins = berth_trune_is_space(v);
        berth_trune_append(&b, to);
    }
    return berth_trun_text(r, &b, ret);
}

BERTH_TFN(untitle)
{
    return by_word(r, argv[0].s, false, ret);
}

BERTH_TFN(swapcase)
{
    return by_word(r, argv[0].s, true, ret);
}

/* The characters that follow a blank or the beginning; or all that are no blanks. */
static int
some_of(struct berth_trun *r, struct berth_slice s, bool first_alone, struct berth_tvalue *ret)
{
    struct berth_buf b;
    uint32_t v;
    bool begins = true;

    berth_trun_buf(r, &b);
    for (size_t i = 0; i < s.len && !b.failed;) {
        i += berth_trune(s.at + i, s.len - i, &v);
        const bool blank = berth_trune_is_space(v);
        if (!blank && (begins || !first_alone))
            berth_trune_append(&b, v);
        begins = blank;
    }
    return berth_trun_text(r, &b, ret);
}

BERTH_TFN(nospace)
{
    return some_of(r, argv[0].s, false, ret);
}

BERTH_TFN(initials)
{
    return some_of(r, argv[0].s, true, ret);
}

/* clang-format off */
const struct berth_tfn berth_tfns_case[] = {
    {"upper", "s", upper}, {"lower", "s", lower}, {"title", "s", title}, {"untitle", "s", untitle},
    {"swapcase", "s", swapcase}, {"nospace", "s", nospace}, {"initials", "s", initials},
    {0},
};
/* clang-format on */
