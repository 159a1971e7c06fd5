#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "os/process.h"
#include "plugin/child_priv.h"
#include "plugin/plugins.h"

enum { SEQUENCE_BYTES_MAX = 512 << 20, BATCH_MAX = 1024 };
/* Beside the model's own data: stacks, the allocator's slack. */
static const uint64_t data_spare_bytes = (uint64_t)64 << 20;

/* ---- load ---- */

/* Say it at the load: after a crash nobody is there to say where its core file went. */
static void
warn_of_lost_cores(bool forbidden)
{
    char text[256] = "", line[400];
    BERTH_AUTO_CLOSE int fd = open("/proc/sys/kernel/core_pattern", O_RDONLY | O_CLOEXEC);
    const ssize_t got = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;

    if (forbidden)
        berth_child_host()->log(BERTH_LOG_WARN, "keep_core: the hard limit of core files is 0 "
                                                "(ulimit -Hc): none is written");
    if (got <= 0 || (text[0] != '/' && text[0] != '|'))
        return;
    text[strcspn(text, "\n")] = '\0';
    (void)snprintf(line, sizeof line,
                   "keep_core: /proc/sys/kernel/core_pattern is '%s': core files go there", text);
    berth_child_host()->log(BERTH_LOG_WARN, line);
}

static void
set_limits(const struct berth_worker_load *l)
{
    struct rlimit core = {0, 0}, data;

    if (l->core_dir[0] != '\0') {
        (void)getrlimit(RLIMIT_CORE, &core);
        core.rlim_cur = core.rlim_max;
        if (chdir(l->core_dir) < 0)
            berth_child_host()->log(BERTH_LOG_WARN, "keep_core: cannot enter its folder");
        warn_of_lost_cores(core.rlim_max == 0);
    }
    (void)setrlimit(RLIMIT_CORE, &core);
    if (l->memory_bytes_max != 0 && getrlimit(RLIMIT_DATA, &data) == 0) {
        data.rlim_cur = l->memory_bytes_max + data_spare_bytes;
        if (data.rlim_max == RLIM_INFINITY || data.rlim_cur < data.rlim_max)
            (void)setrlimit(RLIMIT_DATA, &data);
    }
}

static int
load(struct berth_child *c, const struct berth_worker_load *l, struct berth_err *e)
{
    const char *const dirs[] = {l->plugin_dir, NULL};
    struct berth_load how = {.struct_size = sizeof how,
                             .path = l->path,
                             .settings_json = l->settings_json,
                             .threads = l->threads};
    struct berth_instance *engine;
    int r = berth_plugins_new(dirs, berth_child_host(), &c->plugins, e);

    set_limits(l);
    if (r < 0 || (r = berth_plugins_backend(c->plugins, l->backend, &c->ops, e)) < 0)
        return r;
    (void)snprintf(e->msg, sizeof e->msg, "the engine failed without a reason");
    if ((r = c->ops->load(berth_child_host(), &how, &engine, e)) < 0)
        return r;
    c->key = strdup(l->key);
    if (c->key == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    atomic_store(&c->engine, engine);
    c->loaded_bytes = berth_process_share(getpid());
    return 0;
}

int64_t
berth_child_load(struct berth_child *c, struct berth_unpack *u)
{
    struct berth_err e = {""};
    struct berth_worker_load l;
    struct berth_instance *engine = atomic_load(&c->engine);
    int r = 0;

    if (!berth_message_get_load(u, &l))
        r = berth_err_set(&e, BERTH_EINTERNAL, "the load is malformed");
    else if (engine == NULL)
        r = load(c, &l, &e);
    else if (strcmp(c->key, l.key) != 0)
        r = berth_err_set(&e, BERTH_EEXIST, "this worker has another model");
    if (r == 0)
        atomic_store(&c->adopt_ns, l.adopt_ns);
    const struct berth_describe *d = r == 0 ? c->ops->describe(atomic_load(&c->engine)) : NULL;
    if (r == 0 && d == NULL)
        r = berth_err_set(&e, BERTH_EBACKEND, "backend %s does not describe the model",
                          c->ops->name);
    berth_pack_text(&c->answer, r < 0 ? e.msg : "");
    if (r == 0)
        berth_message_put_describe(&c->answer, d);
    berth_pack_u64(&c->answer, c->loaded_bytes);
    return r;
}

/* ---- run ---- */

static bool
get_request(struct berth_child *c, struct berth_unpack *u, struct berth_request *r)
{
    r->child = c;
    r->input_count = berth_unpack_count(u, BERTH_TENSORS_MAX);
    struct berth_tensor *inputs =
        BERTH_NEW_N(&c->run_arena, struct berth_tensor, r->input_count + 1);
    if (inputs == NULL)
        return false;
    for (size_t i = 0; i < r->input_count; i++) {
        if (!berth_message_get_tensor(u, c->in, &inputs[i]))
            return false;
    }
    r->inputs = inputs;
    r->wanted_count = berth_unpack_count(u, BERTH_TENSORS_MAX);
    r->wanted = BERTH_NEW_N(&c->run_arena, const char *, r->wanted_count + 1);
    if (r->wanted == NULL)
        return false;
    for (size_t i = 0; i < r->wanted_count; i++)
        r->wanted[i] = berth_unpack_text(u, BERTH_NAME_LEN_MAX);
    return !u->bad;
}

static void
put_result(struct berth_child *c, const struct berth_request *r)
{
    berth_pack_u32(&c->answer, (uint32_t)r->failed);
    if (r->failed != 0) {
        berth_pack_text(&c->answer, r->msg);
        return;
    }
    berth_pack_u32(&c->answer, r->output_count);
    for (uint32_t i = 0; i < r->output_count; i++)
        berth_message_put_tensor(&c->answer, &r->outputs[i],
                                 (size_t)((const unsigned char *)r->outputs[i].bytes - c->out.at));
}

int64_t
berth_child_run(struct berth_child *c, struct berth_unpack *u)
{
    struct berth_err e = {"the model failed without a reason"};
    size_t n = berth_unpack_count(u, BATCH_MAX);

    berth_arena_reset(&c->run_arena);
    struct berth_request *all = BERTH_NEW_N(&c->run_arena, struct berth_request, n + 1);
    struct berth_request **reqs = BERTH_NEW_N(&c->run_arena, struct berth_request *, n + 1);
    int r = all == NULL || reqs == NULL ? berth_err_set(&e, BERTH_ENOMEM, "out of memory") : 0;
    for (size_t i = 0; r == 0 && i < n; i++) {
        reqs[i] = &all[i];
        if (!get_request(c, u, reqs[i]))
            r = berth_err_set(&e, BERTH_EINTERNAL, "the request is malformed");
    }
    if (r == 0)
        r = c->ops->run(atomic_load(&c->engine), reqs, n, &e);
    berth_pack_text(&c->answer, r < 0 ? e.msg : "");
    for (size_t i = 0; r == 0 && i < n; i++)
        put_result(c, reqs[i]);
    return r < 0 ? r : 0;
}

/* ---- step ---- */

static bool
take_sequence(struct berth_child *c, struct berth_unpack *u)
{
    uint32_t slot = berth_unpack_count(u, BERTH_SEQUENCES_MAX - 1);

    if (c->sequences[slot] == NULL) {
        c->sequences[slot] = calloc(1, sizeof *c->sequences[slot]);
        if (c->sequences[slot] == NULL)
            return false;
        berth_arena_init(&c->sequences[slot]->arena, SEQUENCE_BYTES_MAX);
    }
    struct berth_request *r = c->sequences[slot];
    if (r->in_use || !berth_message_get_gen(u, &r->arena, &r->gen))
        return false;
    r->child = c;
    r->slot = slot;
    r->in_use = true;
    r->next = NULL;
    *c->wait_last = r;
    c->wait_last = &r->next;
    c->wait_len++;
    return true;
}

int64_t
berth_child_step(struct berth_child *c, struct berth_unpack *u)
{
    struct berth_err e = {"the model failed without a reason"};
    size_t n = berth_unpack_count(u, BERTH_SEQUENCES_MAX);

    for (size_t i = 0; i < n; i++) {
        if (!take_sequence(c, u))
            berth_child_die("a sequence does not fit into this process");
    }
    int r = c->ops->step(atomic_load(&c->engine), (struct berth_queue *)(void *)c, &e);
    if (r < 0)
        berth_message_put_error(&c->answer, e.msg);
    return r < 0 ? r : (int64_t)c->hand_len + c->wait_len;
}

void
berth_child_reset(struct berth_child *c)
{
    if (BERTH_HAS(c->ops, reset))
        c->ops->reset(atomic_load(&c->engine));
    for (size_t i = 0; i < BERTH_SEQUENCES_MAX; i++) {
        struct berth_request *r = c->sequences[i];
        if (r != NULL && r->in_use)
            berth_child_free_sequence(r);
    }
    c->wait_first = NULL;
    c->wait_last = &c->wait_first;
    c->wait_len = c->hand_len = 0;
}

/* ---- tokenize ---- */

int64_t
berth_child_tokenize(struct berth_child *c, struct berth_unpack *u, struct berth_pack *p)
{
    struct berth_instance *engine = atomic_load(&c->engine);
    bool special = berth_unpack_u32(u) != 0;
    uint64_t cap = berth_unpack_u64(u);
    size_t len;
    const char *text = berth_unpack_bytes(u, &len);

    if (engine == NULL || u->bad || !BERTH_HAS(c->ops, tokenize))
        return -BERTH_EUNSUPPORTED;
    size_t fits = p->cap / sizeof(int32_t);
    cap = cap < fits ? cap : fits;
    int64_t n = c->ops->tokenize(engine, text, len, special, (int32_t *)(void *)p->at, cap);
    if (n > 0)
        p->len = ((uint64_t)n < cap ? (uint64_t)n : cap) * sizeof(int32_t);
    return n;
}
