#include <string.h>

#include "template/tree_priv.h"

enum { NAME_MAX_LEN = 40 };

/* How many letters must be changed, put in or left out: at most `NAME_MAX_LEN` long, else many. */
static size_t
distance(struct berth_slice x, const char *y, size_t y_len)
{
    size_t row[NAME_MAX_LEN + 1];

    if (x.len > NAME_MAX_LEN || y_len > NAME_MAX_LEN)
        return SIZE_MAX;
    for (size_t j = 0; j <= y_len; j++)
        row[j] = j;
    for (size_t i = 1; i <= x.len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= y_len; j++) {
            const bool same = (x.at[i - 1] | 0x20) == (y[j - 1] | 0x20);
            size_t best = diagonal + !same;
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[y_len];
}

struct nearest {
    struct berth_slice wanted, best;
    size_t distance;
};

static void
look(struct nearest *n, struct berth_slice name)
{
    const bool begins = n->wanted.len >= 3 && name.len > n->wanted.len &&
                        memcmp(n->wanted.at, name.at, n->wanted.len) == 0;
    const size_t d = begins ? 1 : distance(n->wanted, name.at, name.len);

    if (d < n->distance) {
        n->distance = d;
        n->best = name;
    }
}

static void
look_at_function(void *arg, const char *name)
{
    look(arg, berth_slice_of(name));
}

/* A third of the letters may be wrong. */
static struct nearest
nearest_to(struct berth_slice wanted)
{
    return (struct nearest){.wanted = wanted, .distance = 2 + wanted.len / 3};
}

int
berth_tnear_function(struct berth_trun *r, struct berth_slice name)
{
    struct nearest n = nearest_to(name);

    for (size_t i = 0; i < r->t->fn_count; i++)
        look(&n, berth_slice_of(r->t->fns[i].name));
    berth_tfn_each(look_at_function, &n);
    if (n.best.len > 0)
        return berth_trun_fail(r, "function \"%.*s\" not defined (did you mean %.*s?)",
                               (int)name.len, name.at, (int)n.best.len, n.best.at);
    return berth_trun_fail(r, "function \"%.*s\" not defined", (int)name.len, name.at);
}

int
berth_tnear_member(struct berth_trun *r, struct berth_slice name, const struct berth_tmap *m)
{
    const char *of = r->t->data_name != NULL ? r->t->data_name : "the data";
    struct nearest n = nearest_to(name);
    char all[300] = "";
    size_t len = 0;

    for (size_t i = 0; i < m->len; i++) {
        look(&n, m->at[i].key);
        const int put = snprintf(all + len, sizeof all - len, "%s.%.*s", i > 0 ? ", " : "",
                                 (int)m->at[i].key.len, m->at[i].key.at);
        if (put < 0 || (size_t)put >= sizeof all - len) {
            all[len] = '\0';
            break;
        }
        len += (size_t)put;
    }
    if (n.best.len > 0)
        return berth_trun_fail(r, "no variable .%.*s in %s (did you mean .%.*s?)", (int)name.len,
                               name.at, of, (int)n.best.len, n.best.at);
    return berth_trun_fail(r, "no variable .%.*s in %s (there are %s)", (int)name.len, name.at, of,
                           len > 0 ? all : "none");
}
