#include "operator/modelservice/parallelism.h"

#include <inttypes.h>

#include "wire/json.h"

enum { EACH_MAX = 1 << 20 /* beyond every cluster; products of two stay far from overflow */ };

/* A number that is said; 0: it is not.  llm-d's definition admits tensor: 0, which means the same.
 */
static int
read_number(const struct berth_json *from, const char *name, int64_t *ret, struct berth_err *e)
{
    const struct berth_json *v = berth_json_get(from, name);

    *ret = 0;
    if (berth_json_int(v, ret) && *ret >= 0 && *ret <= EACH_MAX)
        return 0;
    if (berth_json_type(v) != BERTH_JSON_INT)
        return 0; /* of another type: its shape has told so */
    return berth_err_set(e, BERTH_EINVAL, "%s is %" PRId64 ": it should be 1 to %d", name, *ret,
                         EACH_MAX);
}

static int
derive(struct berth_msvc_parallelism *p, struct berth_err *e)
{
    if (p->data > 0 && p->local > 0 && p->workers == 0) {
        p->workers = p->data / p->local;
        p->says_workers = true;
    }
    if (p->workers == 0)
        p->workers = 1;
    if (p->local == 0)
        p->local = p->data > 0 ? p->data / p->workers : 1;
    if (p->data == 0)
        p->data = p->local * p->workers;
    if (p->local == 0 || p->data != p->local * p->workers)
        return berth_err_set(e, BERTH_EINVAL,
                             "data is %" PRId64 ", which is not dataLocal x workers (%" PRId64
                             " x %" PRId64 "): it has to be a whole multiple of each",
                             p->data, p->local, p->workers);
    return 0;
}

int
berth_msvc_parallelism_of(const struct berth_json *role, struct berth_msvc_parallelism *ret,
                          struct berth_err *e)
{
    static const struct berth_msvc_parallelism ones = {
        .tensor = 1, .data = 1, .local = 1, .workers = 1};
    const struct berth_json *from = berth_json_get(role, "parallelism");
    const struct berth_json *said = berth_json_get(role, "multinode");
    struct berth_msvc_parallelism p = {0};
    bool multinode = false;
    int r;

    *ret = ones;
    if ((r = read_number(from, "tensor", &p.tensor, e)) < 0 ||
        (r = read_number(from, "data", &p.data, e)) < 0 ||
        (r = read_number(from, "dataLocal", &p.local, e)) < 0 ||
        (r = read_number(from, "workers", &p.workers, e)) < 0)
        return r;
    p.says_workers = p.workers > 0;
    p.tensor = p.tensor > 0 ? p.tensor : 1;
    /* Workers alone share one copy, by a tensor parallelism that spans them. */
    if (p.data == 0 && p.local == 0) {
        p.data = p.local = 1;
        p.workers = p.workers > 0 ? p.workers : 1;
    } else if ((r = derive(&p, e)) < 0) {
        return r;
    }
    p.multinode = p.workers > 1;
    if (berth_json_bool(said, &multinode)) {
        if (!multinode && p.multinode)
            return berth_err_set(e, BERTH_EINVAL,
                                 "it comes to %" PRId64 " workers, but multinode is false",
                                 p.workers);
        p.multinode = multinode;
    }
    *ret = p;
    return 0;
}
