#include <string.h>

#include "template/fn_priv.h"

/* sprig's functions that break texts at words, or cut them to a width (in bytes, as sprig does). */

static struct berth_slice
part(struct berth_slice s, size_t from, size_t to)
{
    return to > from ? (struct berth_slice){s.at + from, to - from} : (struct berth_slice){"", 0};
}

/* Lines of at most `width`, with `end` between them; a word that is longer is cut or sticks out. */
static int
wrapped(struct berth_trun *r, struct berth_slice s, int64_t wanted, struct berth_slice end,
        bool cut, struct berth_tvalue *ret)
{
    const size_t width = wanted < 1 ? 1 : (uint64_t)wanted > s.len ? s.len + 1 : (size_t)wanted;
    struct berth_buf b;
    size_t i = 0;

    berth_trun_buf(r, &b);
    while (s.len - i > width && !b.failed) {
        if (s.at[i] == ' ') {
            i++;
            continue;
        }
        const char *blank = memrchr(s.at + i, ' ', width + 1);
        if (blank == NULL && !cut)
            blank = memchr(s.at + i + width, ' ', s.len - i - width);
        if (blank == NULL && !cut)
            break;
        const size_t n = blank != NULL ? (size_t)(blank - s.at) - i : width;
        berth_buf_put(&b, s.at + i, n);
        berth_buf_put(&b, end.at, end.len);
        i += n + (blank != NULL);
    }
    berth_buf_put(&b, s.at + i, s.len - i);
    return berth_trun_text(r, &b, ret);
}

BERTH_TFN(wrap)
{
    return wrapped(r, argv[1].s, argv[0].i, BERTH_SLICE("\n"), false, ret);
}

BERTH_TFN(wrap_with)
{
    const struct berth_slice end = argv[1].s.len > 0 ? argv[1].s : BERTH_SLICE("\n");

    return wrapped(r, argv[2].s, argv[0].i, end, true, ret);
}

/* What begins at `from`, cut to `width` with dots where something was left out. */
static int
shortened(struct berth_trun *r, struct berth_slice s, int64_t from, int64_t width,
          struct berth_tvalue *ret)
{
    const int64_t len = (int64_t)s.len, room = width - 3;
    struct berth_buf b;

    if (width < 4 || len <= width) {
        *ret = berth_tv_slice(s);
        return 0;
    }
    if (from > len)
        from = len;
    if (len - from < room)
        from = len - room;
    berth_trun_buf(r, &b);
    if (from > 4) {
        if (width < 7) { /* no room for both: nothing, as sprig has it */
            *ret = berth_tv_slice((struct berth_slice){"", 0});
            return 0;
        }
        berth_buf_puts(&b, "...");
        if (from + room >= len) {
            berth_buf_put(&b, s.at + (len - room), (size_t)room);
            return berth_trun_text(r, &b, ret);
        }
        s = part(s, (size_t)from, s.len);
        width = room;
    }
    berth_buf_put(&b, s.at, (size_t)(width - 3));
    berth_buf_puts(&b, "...");
    return berth_trun_text(r, &b, ret);
}

BERTH_TFN(abbrev)
{
    return shortened(r, argv[1].s, 0, argv[0].i, ret);
}

BERTH_TFN(abbrevboth)
{
    const int64_t left = argv[0].i, right = argv[1].i;

    if (right < 4 || (left > 0 && right < 7)) {
        *ret = argv[2];
        return 0;
    }
    return shortened(r, argv[2].s, left, right, ret);
}

static bool
is_connector(uint32_t v)
{
    return v == '-' || v == '_' || berth_trune_is_space(v);
}

/* Each word with a capital and the connectors between words left out; those in front stay.  Of a
 * word that begins with capitals the further ones become small, up to the first small letter. */
BERTH_TFN(camelcase)
{
    const struct berth_slice s = argv[0].s;
    struct berth_buf b;
    uint32_t v, before = 0;
    bool capitals = false, words = false, connected = false;

    berth_trun_buf(r, &b);
    for (size_t i = 0; i < s.len && !b.failed; before = v) {
        i += berth_trune(s.at + i, s.len - i, &v);
        if (is_connector(v)) {
            /* One alone goes; of several in a row, and at either end, they stay but one. */
            if (words && connected)
                berth_trune_append(&b, before);
            if (!words || i == s.len)
                berth_trune_append(&b, v);
            connected = words;
            continue;
        }
        if (!words || connected) {
            capitals = berth_trune_is_upper(v);
            berth_trune_append(&b, berth_trune_upper(v));
        } else {
            capitals = capitals && berth_trune_is_upper(v);
            berth_trune_append(&b, capitals ? berth_trune_lower(v) : v);
        }
        words = true;
        connected = false;
    }
    return berth_trun_text(r, &b, ret);
}

/* clang-format off */
const struct berth_tfn berth_tfns_words[] = {
    {"wrap", "is", wrap}, {"wrapWith", "iss", wrap_with}, {"abbrev", "is", abbrev},
    {"abbrevboth", "iis", abbrevboth}, {"camelcase", "s", camelcase},
    {0},
};
/* clang-format on */
