#include <string.h>

#include "merge/merge_priv.h"

/*
 * Arguments of a command: the overlay's, then the base's, without the flags that the overlay gives
 * itself.  Most parsers let the last of a flag count, which would be the base's.  A flag that
 * either side gives several times may be a list, and stays on both.  A word behind a flag goes with
 * it when the overlay's has a value for certain or one word behind it, too; it stays where the
 * overlay's has none, being an argument of its own then.  Of several words nothing can be told: all
 * stays.
 */

static struct berth_slice
text_of(const struct berth_json *v)
{
    struct berth_slice text = {"", 0};

    (void)berth_json_string(v, &text);
    return text;
}

/* "-x" and "--x", but not "-", "-1" or "-.5". */
static bool
is_flag(struct berth_slice text)
{
    return text.len > 1 && text.at[0] == '-' && strchr("0123456789.", text.at[1]) == NULL;
}

/* "--name" of "--name" and "--name=value"; length 0: it has no long name. */
static struct berth_slice
name_of(struct berth_slice text)
{
    if (text.len < 3 || memcmp(text.at, "--", 2) != 0)
        return (struct berth_slice){"", 0};
    const char *equals = memchr(text.at, '=', text.len);
    return (struct berth_slice){text.at, equals != NULL ? (size_t)(equals - text.at) : text.len};
}

static bool
is_end(struct berth_slice text)
{
    return text.len == 2 && memcmp(text.at, "--", 2) == 0;
}

/* How many words stand between here and the next flag. */
static size_t
words(struct berth_json_iter at)
{
    size_t n = 0;

    while (berth_json_next(&at) && !is_flag(text_of(at.value)))
        n++;
    return n;
}

/* A flag among arguments. */
struct given {
    size_t times;
    size_t behind; /* words behind the last of them */
    bool equals;   /* that one is written "--name=value" */
};

static struct given
find(const struct berth_json *args, struct berth_slice name)
{
    struct given ret = {0};

    for (struct berth_json_iter it = berth_json_iter(args); berth_json_next(&it);) {
        const struct berth_slice text = text_of(it.value), other = name_of(text);
        if (is_end(text))
            break;
        if (other.len == 0 || other.len != name.len || memcmp(other.at, name.at, name.len) != 0)
            continue;
        ret = (struct given){ret.times + 1, words(it), text.len > other.len};
    }
    return ret;
}

/* How many elements of the base's go with a flag: none, the flag, or the flag and the word behind
 * it. */
static size_t
goes(struct given own, struct given theirs)
{
    if (own.times != 1 || theirs.times != 1)
        return 0; /* not given again, or one of those that are given several times */
    if (own.equals || own.behind == 0)
        return 1;
    if (own.behind == 1 && (theirs.equals || theirs.behind == 1))
        return 2;
    return own.behind == 1 && theirs.behind == 0 ? 1 : 0;
}

static bool
has_end(const struct berth_json *args)
{
    for (struct berth_json_iter it = berth_json_iter(args); berth_json_next(&it);) {
        if (is_end(text_of(it.value)))
            return true;
    }
    return false;
}

int
merge_flags(struct merge *m, const struct berth_json *b, const struct berth_json *o)
{
    bool ended = has_end(o); /* then there are no flags behind it */
    int rc = 0;

    for (struct berth_json_iter it = berth_json_iter(b); rc == 0 && berth_json_next(&it);) {
        const struct berth_slice text = text_of(it.value), name = name_of(text);
        size_t without = 0;

        ended = ended || is_end(text);
        if (!ended && name.len > 0) {
            without = goes(find(b, name), find(o, name));
            rc = merge_work(m, berth_json_len(b) + berth_json_len(o));
        }
        if (without == 0)
            berth_jw_value(&m->out, it.value);
        else if (without == 2)
            (void)berth_json_next(&it);
    }
    return rc;
}
