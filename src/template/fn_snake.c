#include <string.h>

#include "template/fn_priv.h"

/* snakecase and kebabcase: where a name has words, and what stands between them. */

enum word {
    WORD_END,
    WORD_CONNECTOR,
    WORD_PUNCT,
    WORD_UPPER,
    WORD_LETTERS,
    WORD_NUMBER,
    WORD_OTHER
};

struct names {
    struct berth_slice s; /* what is left */
    struct berth_buf b;
    char connector;
    enum word word; /* the one that was read last, and its text */
    struct berth_slice text;
};

/* Of ideographs and their like none is a letter of a word. */
static bool
is_alphabet(uint32_t v)
{
    return v < 0x3000 && berth_trune_is_letter(v);
}

static enum word
kind_of(uint32_t v)
{
    if (v == '-' || v == '_' || berth_trune_is_space(v))
        return WORD_CONNECTOR;
    if (v < 0x80 && v > ' ' && strchr("!\"#%&'()*,./:;?@[\\]{}", (int)v) != NULL)
        return WORD_PUNCT;
    if (berth_trune_is_upper(v))
        return WORD_UPPER;
    if (is_alphabet(v))
        return WORD_LETTERS;
    return berth_trune_is_digit(v) ? WORD_NUMBER : WORD_OTHER;
}

/* How far characters of a kind go from i on; *ret_before is where the last of them begins. */
static size_t
run_of(struct berth_slice s, size_t i, enum word kind, size_t *ret_before)
{
    uint32_t v;

    while (i < s.len) {
        const size_t n = berth_trune(s.at + i, s.len - i, &v);
        if (kind_of(v) != kind && !(kind == WORD_PUNCT && (v == '-' || v == '_')))
            break;
        *ret_before = i;
        i += n;
    }
    return i;
}

/* "HTTPStatus" is HTTP and Status, "Status" one word. */
static void
next(struct names *w)
{
    const struct berth_slice s = w->s;
    size_t last = 0, end;
    uint32_t v;

    w->word = WORD_END;
    w->text = (struct berth_slice){s.at, 0};
    if (s.len == 0)
        return;
    (void)berth_trune(s.at, s.len, &v);
    w->word = kind_of(v);
    end = run_of(s, 0, w->word, &last);
    if (w->word == WORD_UPPER && end < s.len) {
        (void)berth_trune(s.at + end, s.len - end, &v);
        if (kind_of(v) == WORD_LETTERS)
            end = last > 0 ? last : run_of(s, end, WORD_LETTERS, &last);
    }
    w->text.len = end;
    w->s = (struct berth_slice){s.at + end, s.len - end};
}

static void
put(struct names *w, enum word word, struct berth_slice text)
{
    uint32_t v;

    for (size_t i = 0; i < text.len && !w->b.failed;) {
        i += berth_trune(text.at + i, text.len - i, &v);
        if (word == WORD_CONNECTOR)
            berth_buf_putc(&w->b, w->connector);
        else
            berth_trune_append(&w->b, word == WORD_UPPER ? berth_trune_lower(v) : v);
    }
}

/* Between two words that nothing parts. */
static void
connect(struct names *w)
{
    if (w->word != WORD_END && w->word != WORD_CONNECTOR && w->word != WORD_PUNCT)
        berth_buf_putc(&w->b, w->connector);
}

/* Small letters and numbers in a row are one word. */
static void
put_tail(struct names *w)
{
    while (w->word == WORD_LETTERS || w->word == WORD_NUMBER) {
        put(w, w->word, w->text);
        next(w);
    }
    connect(w);
}

/* Behind letters: a number belongs to them ("Bld4Floor"), or to small letters behind it ("2xx"). */
static void
behind_letters(struct names *w)
{
    if (w->word != WORD_NUMBER) {
        connect(w);
        return;
    }
    if (w->s.len == 0)
        return;
    const struct berth_slice number = w->text;
    next(w);
    if (w->word != WORD_LETTERS) {
        put(w, WORD_NUMBER, number);
        connect(w);
        return;
    }
    berth_buf_putc(&w->b, w->connector);
    put(w, WORD_NUMBER, number);
    put_tail(w);
}

static int
cased(struct berth_trun *r, struct berth_slice s, char connector, struct berth_tvalue *ret)
{
    struct names w = {.s = s, .connector = connector};

    berth_trun_buf(r, &w.b);
    next(&w);
    while (w.s.len > 0 && !w.b.failed) {
        const enum word before = w.word;
        put(&w, w.word, w.text);
        next(&w);
        if (before == WORD_NUMBER)
            put_tail(&w);
        else if (before != WORD_CONNECTOR && before != WORD_PUNCT)
            behind_letters(&w);
    }
    put(&w, w.word, w.text);
    return berth_trun_text(r, &w.b, ret);
}

BERTH_TFN(snakecase)
{
    return cased(r, argv[0].s, '_', ret);
}

BERTH_TFN(kebabcase)
{
    return cased(r, argv[0].s, '-', ret);
}

/* clang-format off */
const struct berth_tfn berth_tfns_snake[] = {
    {"snakecase", "s", snakecase}, {"kebabcase", "s", kebabcase},
    {0},
};
/* clang-format on */
