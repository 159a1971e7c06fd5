#include <string.h>

#include "base/arena.h"
#include "template/fn_priv.h"

/* Paths with slashes, as Go's package path has them; the os... names are the same here. */

static const char *
last_slash(struct berth_slice s)
{
    return s.len > 0 ? memrchr(s.at, '/', s.len) : NULL;
}

struct path {
    char *at;
    size_t len, floor; /* what is before floor, ".." does not take away */
    bool rooted;
};

static void
add_part(struct path *p, const char *part, size_t len)
{
    const bool up = len == 2 && part[0] == '.' && part[1] == '.';

    if (len == 0 || (len == 1 && part[0] == '.') || (up && p->rooted && p->len == p->floor))
        return;
    if (up && p->len > p->floor) {
        while (p->len > p->floor && p->at[p->len - 1] != '/')
            p->len--;
        p->len -= p->len > p->floor;
        return;
    }
    if (p->len > p->rooted)
        p->at[p->len++] = '/';
    memcpy(p->at + p->len, part, len);
    p->len += len;
    if (up)
        p->floor = p->len;
}

/* Without empty parts, "." and what ".." takes away. */
static int
cleaned(struct berth_trun *r, struct berth_slice s, struct berth_slice *ret)
{
    struct path p = {.at = berth_arena_alloc(r->a, s.len + 2),
                     .rooted = s.len > 0 && s.at[0] == '/'};

    if (p.at == NULL)
        return berth_trun_nomem(r);
    if (p.rooted)
        p.at[p.len++] = '/';
    p.floor = p.len;
    for (size_t i = 0; i < s.len;) {
        const char *slash = memchr(s.at + i, '/', s.len - i);
        const size_t end = slash != NULL ? (size_t)(slash - s.at) : s.len;
        add_part(&p, s.at + i, end - i);
        i = end + 1;
    }
    if (p.len == 0)
        p.at[p.len++] = '.';
    *ret = (struct berth_slice){p.at, p.len};
    return berth_trun_work(r, p.len);
}

BERTH_TFN(clean)
{
    struct berth_slice s;
    const int err = cleaned(r, argv[0].s, &s);

    if (err == 0)
        *ret = berth_tv_slice(s);
    return err;
}

BERTH_TFN(base)
{
    struct berth_slice s = argv[0].s;

    if (s.len == 0) {
        *ret = berth_tv_text(".");
        return 0;
    }
    while (s.len > 0 && s.at[s.len - 1] == '/')
        s.len--;
    const char *slash = last_slash(s);
    if (slash != NULL)
        s = (struct berth_slice){slash + 1, (size_t)(s.at + s.len - slash - 1)};
    *ret = s.len > 0 ? berth_tv_slice(s) : berth_tv_text("/");
    return 0;
}

BERTH_TFN(dir)
{
    struct berth_slice s = argv[0].s;
    const char *slash = last_slash(s);

    s.len = slash != NULL ? (size_t)(slash - s.at) + 1 : 0;
    const int err = cleaned(r, s, &s);
    if (err == 0)
        *ret = berth_tv_slice(s);
    return err;
}

BERTH_TFN(ext)
{
    const struct berth_slice s = argv[0].s;
    size_t i = s.len;

    while (i > 0 && s.at[i - 1] != '/' && s.at[i - 1] != '.')
        i--;
    const bool dot = i > 0 && s.at[i - 1] == '.';
    *ret =
        dot ? berth_tv_slice((struct berth_slice){s.at + i - 1, s.len - i + 1}) : berth_tv_text("");
    return 0;
}

BERTH_TFN(is_abs)
{
    *ret = berth_tv_bool(argv[0].s.len > 0 && argv[0].s.at[0] == '/');
    return 0;
}

/* clang-format off */
const struct berth_tfn berth_tfns_paths[] = {
    {"base", "s", base}, {"dir", "s", dir}, {"clean", "s", clean}, {"ext", "s", ext},
    {"isAbs", "s", is_abs}, {"osBase", "s", base}, {"osDir", "s", dir}, {"osClean", "s", clean},
    {"osExt", "s", ext}, {"osIsAbs", "s", is_abs},
    {0},
};
/* clang-format on */
