#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "deploy/deploy_priv.h"
#include "plugin/extension.h"
#include "wire/json.h"

/* The child that a plugin is tried in: what the server would do with it first, where a crash
 * harms nothing. */

enum { TRIAL_LIMIT_S = 60 }; /* the parent's is shorter; for when there is no parent any more */

/* ---- its folder: the parent's side ---- */

char *
berth_trial_folder(void)
{
    const char *under = getenv("TMPDIR"); /* NOLINT(concurrency-mt-unsafe): nobody changes it */
    char *dir = NULL;

    if (asprintf(&dir, "%s/berth-trial-XXXXXX", under != NULL && under[0] == '/' ? under : "/tmp") <
        0)
        return NULL;
    if (mkdtemp(dir) != NULL)
        return dir;
    free(dir);
    return NULL;
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    (void)remove(path); /* what stays is seen by who sees the folder */
    return 0;
}

void
berth_trial_folder_end(char *dir)
{
    enum { OPEN_FDS_MAX = 16 };

    if (dir != NULL)
        (void)nftw(dir, remove_one, OPEN_FDS_MAX, FTW_DEPTH | FTW_PHYS);
    free(dir);
}

/* ---- a host that nothing is behind ---- */

static void
no_log(enum berth_log_level level, const char *msg)
{
    (void)level;
    (void)msg;
}

static bool
not_cancelled(const struct berth_op *op)
{
    (void)op;
    return false;
}

static uint64_t
some_time(const struct berth_op *op)
{
    (void)op;
    return BERTH_S;
}

static void
no_note(const struct berth_op *op, const char *text)
{
    (void)op;
    (void)text;
}

static int
nothing_to_drain(const struct berth_op *op, const char *replica_id, uint64_t limit_ns)
{
    (void)op;
    (void)replica_id;
    (void)limit_ns;
    return 0;
}

static int
no_probe(const char *url, uint64_t timeout_ns, struct berth_err *e)
{
    (void)timeout_ns;
    return berth_err_set(e, BERTH_ENETWORK, "%s: not asked while a plugin is tried", url);
}

static void
no_change(void *who, const char *service_id)
{
    (void)who;
    (void)service_id;
}

static const struct berth_shimlet_host shimlet_host = {
    .struct_size = sizeof shimlet_host,
    .log = no_log,
    .cancelled = not_cancelled,
    .left_ns = some_time,
    .note = no_note,
    .drain = nothing_to_drain,
    .probe = no_probe,
    .changed = no_change,
};

/* ---- trying ---- */

/* The settings are {"NAME": {..}}, or {"": {..}} for whatever it calls itself. */
static const char *
settings_of(struct berth_arena *a, const char *name)
{
    char *text = berth_extension_child_settings();
    const struct berth_json *all = NULL, *own = NULL;
    struct berth_buf b;

    if (text != NULL && berth_json_parse(a, text, strlen(text), NULL, &all, NULL) == 0)
        own = berth_json_get(all, "") != NULL ? berth_json_get(all, "") : berth_json_get(all, name);
    berth_buf_init(&b, a);
    if (own != NULL)
        berth_json_put(&b, own);
    free(text);
    return b.len > 0 ? berth_buf_text(&b) : "{}";
}

/* Opening it, too, is done by the server: an environment that cannot be reached now may be later,
 * but settings that are wrong stay so. */
static int
try_open(const struct berth_shimlet_ops *ops, const char *state_dir, struct berth_err *e)
{
    struct berth_shimlet *open = NULL;
    struct berth_arena a;

    berth_arena_init(&a, 4 << 20);
    const struct berth_shimlet_open how = {.struct_size = sizeof how,
                                           .settings_json = settings_of(&a, ops->name),
                                           .state_dir = state_dir,
                                           .owner = "trial",
                                           .program = "/proc/self/exe"};
    const int r = ops->open(&shimlet_host, &how, &open, e);
    if (r == 0)
        ops->close(open);
    berth_arena_fini(&a);
    return r == -BERTH_EINVAL || r == -BERTH_ECONFIG || r == -BERTH_EABI ? r : 0;
}

static int
try_shimlet(const char *state_dir, const char **ret_name, struct berth_err *e)
{
    void *symbol;
    int r = berth_extension_open(BERTH_EXTENSION_FILE_FD, "it cannot be opened",
                                 BERTH_SHIMLET_ENTRY, &symbol, e);

    if (r < 0)
        return r;
    berth_shimlet_entry_fn *entry;
    *(void **)&entry = symbol;
    const struct berth_shimlet_ops *ops = entry(&shimlet_host, e);
    if (ops == NULL)
        return -BERTH_EINVAL;
    if ((r = berth_environ_check(ops, e)) < 0 || (r = try_open(ops, state_dir, e)) < 0)
        return r;
    *ret_name = ops->name;
    return 0;
}

static int
try_pipeline(const char **ret_name, struct berth_err *e)
{
    const struct berth_goal *goals;
    const char *const *names;
    uint32_t count;
    void *symbol;
    int r = berth_extension_open(BERTH_EXTENSION_FILE_FD, "it cannot be opened",
                                 BERTH_PIPELINE_ENTRY, &symbol, e);

    if (r < 0)
        return r;
    berth_pipeline_entry_fn *entry;
    *(void **)&entry = symbol;
    const struct berth_pipeline_ops *ops = entry(&berth_deploy_pipeline_host, e);
    if (ops == NULL)
        return -BERTH_EINVAL;
    if ((r = berth_flow_check(ops, e)) < 0)
        return r;
    const struct flow flow = {.ops = ops, .names = berth_flow_names(ops)};
    if ((r = berth_flow_steps(&flow, false, &goals, &names, &count, e)) < 0 ||
        (r = berth_flow_steps(&flow, true, &goals, &names, &count, e)) < 0)
        return r;
    *ret_name = ops->name;
    return 0;
}

void
berth_deploy_trial(const char *type, const char *state_dir)
{
    struct berth_err e = {"its entry failed without a reason"};
    const char *name = "";
    int r;

    berth_extension_child_begin(TRIAL_LIMIT_S);
    if (strcmp(type, "shimlet") == 0)
        r = try_shimlet(state_dir, &name, &e);
    else if (strcmp(type, "pipeline") == 0)
        r = try_pipeline(&name, &e);
    else
        r = berth_err_set(&e, BERTH_EINVAL, "there are shimlets and pipelines, no %s", type);
    berth_extension_child_end(r, name, &e);
}
