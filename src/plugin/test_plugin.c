#include <berth/backend.h>

/* Plugins for test_plugins.c: what KIND says, each wrong in its own way but the first. */
#define FINE     0
#define OLD      1
#define HALF     2
#define SORRY    3
#define MISNAMED 4
#define STRANGER 5

#if KIND == STRANGER
__attribute__((visibility("default"))) int some_other_entry(void);
int
some_other_entry(void)
{
    return 0;
}
#else
static int
load(const struct berth_host *h, const struct berth_load *how, struct berth_instance **ret,
     struct berth_err *e)
{
    (void)h;
    (void)how;
    (void)ret;
    return berth_err_set(e, BERTH_EINVAL, "nothing is loaded here");
}

static void
unload(struct berth_instance *m)
{
    (void)m;
}

static const struct berth_describe *
describe(const struct berth_instance *m)
{
    (void)m;
    return NULL;
}

static int
run(struct berth_instance *m, struct berth_request *const reqs[], size_t n, struct berth_err *e)
{
    (void)m;
    (void)reqs;
    (void)n;
    return berth_err_set(e, BERTH_EINVAL, "nothing runs here");
}

static int
step(struct berth_instance *m, struct berth_queue *q, struct berth_err *e)
{
    (void)m;
    (void)q;
    return berth_err_set(e, BERTH_EINVAL, "nothing steps here");
}

static const char *const suffixes[] = {".fine", NULL};
static const struct berth_backend_ops ops = {
    .abi = KIND == OLD ? 9999 : BERTH_BACKEND_ABI,
    .struct_size = sizeof ops,
    .name = KIND == HALF  ? "half"
            : KIND == OLD ? "old"
                          : "fine",
    .version = "1.0",
    .suffixes = suffixes,
    .load = load,
    .unload = unload,
    .describe = describe,
    .run = KIND == HALF ? NULL : run,
    .step = KIND == HALF ? NULL : step,
};

const struct berth_backend_ops *
berth_backend_entry(const struct berth_host *h, struct berth_err *e)
{
    if (KIND == SORRY || h->struct_size < sizeof *h) {
        (void)berth_err_set(e, BERTH_EBACKEND, "no engine on this machine");
        return NULL;
    }
    return &ops;
}
#endif
