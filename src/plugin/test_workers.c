#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/clock.h"
#include "os/process.h"
#include "plugin/child.h"
#include "plugin/control.h"
#include "plugin/message.h"
#include "plugin/plugins.h"
#include "plugin/workers.h"

/*
 * Workers that do not keep to the protocol.  This program starts itself as the worker; the model's
 * name says what it does.  What real workers do is in tests/scenario/test_isolation.py.
 */

/* ---- a worker, as it should not be ---- */

static const struct berth_describe fake_describe = {
    .struct_size = sizeof fake_describe,
    .tasks = BERTH_TASK_TENSOR | BERTH_TASK_COMPLETION,
    .platform = "fake",
    .batch_rows_max = 8,
    .sequence_max = 4,
    .context_len = 64,
};

static void
put_tensor(struct berth_pack *p, int64_t rows, size_t offset, size_t size, enum berth_dtype dtype)
{
    const struct berth_tensor t = {
        .name = "out", .dtype = dtype, .rank = 1, .shape = {rows}, .size = size};

    berth_pack_text(p, "");
    berth_pack_u32(p, 0);
    berth_pack_u32(p, 1);
    berth_message_put_tensor(p, &t, offset);
}

/* Answer the command in the lane as `how` says. */
static void
answer(const struct berth_region *g, const char *how, uint32_t command, uint32_t seq)
{
    struct berth_lane *l = &g->head->lanes[BERTH_LANE_RUN];
    struct berth_area out = berth_region_out(g, BERTH_LANE_RUN);
    struct berth_pack p = {.at = out.at, .cap = BERTH_MESSAGE_BYTES_MAX};
    const struct berth_delta bad_text = {.text = "\xff\xfe", .text_len = 2, .token_count = 1};
    const size_t at = BERTH_MESSAGE_BYTES_MAX;

    l->result = 0;
    if (command == BERTH_COMMAND_LOAD) {
        berth_pack_text(&p, "");
        if (strcmp(how, "describe") != 0)
            berth_message_put_describe(&p, &fake_describe);
        else
            berth_pack_u64(&p, UINT64_MAX);
        berth_pack_u64(&p, 1); /* bytes that it takes */
        if (strcmp(how, "load-code") == 0)
            l->result = INT64_MIN;
    } else if (strcmp(how, "offset") == 0) {
        put_tensor(&p, 4, out.cap - 4, 16, BERTH_FP32);
    } else if (strcmp(how, "overflow") == 0) {
        put_tensor(&p, 1, SIZE_MAX - 8, 4, BERTH_FP32);
    } else if (strcmp(how, "size") == 0) {
        put_tensor(&p, INT64_MAX, at, 16, BERTH_FP32);
    } else if (strcmp(how, "dtype") == 0) {
        put_tensor(&p, 4, at, 16, (enum berth_dtype)77);
    } else if (strcmp(how, "bytes") == 0) {
        memset(out.at + at, 0xff, 16);
        put_tensor(&p, 2, at, 16, BERTH_BYTES);
    } else if (strcmp(how, "ok") == 0 && command == BERTH_COMMAND_RUN) {
        memcpy(out.at + at, "abcdefghijklmnop", 16);
        put_tensor(&p, 4, at, 16, BERTH_FP32);
    } else if (strcmp(how, "slot") == 0) {
        berth_message_put_fail(&p, 3, BERTH_EBACKEND, "of nobody");
    } else if (strcmp(how, "hand") == 0) {
        l->result = 4;
    } else if (strcmp(how, "utf8") == 0) {
        berth_message_put_emit(&p, 0, &bad_text);
        l->result = 1;
    }
    l->out_len = strcmp(how, "length") == 0 && command != BERTH_COMMAND_LOAD ? SIZE_MAX : p.len;
    if (strcmp(how, "load-length") == 0)
        l->out_len = SIZE_MAX;
    berth_lane_answer(l, strcmp(how, "seq") == 0 && command != BERTH_COMMAND_LOAD ? 77 : seq);
}

static int
fake_worker(const char *how)
{
    struct berth_region g = {.fd = -1};
    struct berth_control m;
    int fds[BERTH_CONTROL_FDS];
    uint32_t last = 0;

    (void)alarm(300); /* a test that fails leaves nobody behind */
    if (strcmp(how, "hangup") == 0) {
        (void)close(BERTH_CHILD_CONTROL_FD);
        (void)pause();
    }
    while (strcmp(how, "quiet") != 0) {
        struct pollfd p = {.fd = BERTH_CHILD_CONTROL_FD, .events = POLLIN};
        (void)poll(&p, 1, g.base != NULL ? 0 : -1);
        int r = berth_control_recv(BERTH_CHILD_CONTROL_FD, &m, fds);
        if (r < 0 || (r > 0 && m.kind == BERTH_CONTROL_END))
            return 0;
        if (r > 0 && m.kind == BERTH_CONTROL_ATTACH && berth_region_attach(fds[0], &g, NULL) == 0 &&
            strcmp(how, "shrink") == 0 && ftruncate(fds[0], 4096) == 0)
            return 3;
        if (g.base == NULL)
            continue;
        struct berth_lane *l = &g.head->lanes[BERTH_LANE_RUN];
        uint32_t seq = berth_lane_wait_post(l, last, 10 * BERTH_MS);
        if (seq == last)
            continue;
        last = seq;
        answer(&g, how, l->command, seq);
        const struct berth_control told = {BERTH_WORKER_PROTOCOL, BERTH_CONTROL_LOADED, seq};
        const struct berth_control odd = {BERTH_WORKER_PROTOCOL + 1, 99, 0};
        if (l->command == BERTH_COMMAND_LOAD)
            (void)berth_control_send(BERTH_CHILD_CONTROL_FD,
                                     strcmp(how, "control") == 0 ? &odd : &told, NULL);
    }
    (void)pause();
    return 0;
}

/* ---- a host, with one request ---- */

struct berth_request {
    struct berth_tensor input;
    struct berth_gen gen;
    bool taken, ended;
    char output[64], why[480];
};

static bool
host_cancelled(const struct berth_request *r)
{
    (void)r;
    return false;
}

static size_t
host_input_count(const struct berth_request *r)
{
    (void)r;
    return 1;
}

static const struct berth_tensor *
host_input(const struct berth_request *r, size_t i)
{
    (void)i;
    return &r->input;
}

static bool
host_wants(const struct berth_request *r, const char *name)
{
    (void)r;
    (void)name;
    return true;
}

static int
host_output(struct berth_request *r, const struct berth_tensor *shape, void **ret_buf,
            struct berth_err *e)
{
    if (shape->size > sizeof r->output)
        return berth_err_set(e, BERTH_ENOMEM, "too large");
    *ret_buf = r->output;
    return 0;
}

static void
host_fail(struct berth_request *r, enum berth_code code, const char *msg)
{
    (void)code;
    r->ended = true;
    (void)snprintf(r->why, sizeof r->why, "%s", msg);
}

static struct berth_request *
host_next(struct berth_queue *q)
{
    struct berth_request *r = (struct berth_request *)(void *)q;

    if (r->taken)
        return NULL;
    r->taken = true;
    return r;
}

static const struct berth_gen *
host_gen(const struct berth_request *r)
{
    return &r->gen;
}

static void
host_emit(struct berth_request *r, const struct berth_delta *delta)
{
    (void)snprintf(r->output, sizeof r->output, "%.*s", (int)delta->text_len, delta->text);
}

static void
host_finish(struct berth_request *r, const struct berth_finish *finish)
{
    (void)finish;
    r->ended = true;
}

static const struct berth_host host = {
    .struct_size = sizeof host,
    .cancelled = host_cancelled,
    .input_count = host_input_count,
    .input = host_input,
    .wants = host_wants,
    .output = host_output,
    .fail = host_fail,
    .next = host_next,
    .gen = host_gen,
    .emit = host_emit,
    .finish = host_finish,
};

/* ---- the bench ---- */

struct bench {
    char dir[64], program[4096];
    struct berth_plugins *plugins;
    struct berth_workers *workers;
    const struct berth_backend_ops *real, *ops;
};

static void
bench_up(struct bench *b, uint64_t load_ns)
{
    struct berth_err e = {""};
    char plugin_dir[4096];

    (void)snprintf(b->dir, sizeof b->dir, "/tmp/berth-test-workers-XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    ssize_t n = readlink("/proc/self/exe", b->program, sizeof b->program - 1);
    assert_true(n > 0);
    b->program[n] = '\0';
    /* Any real plugin will do: only its name and file are looked at here. */
    (void)snprintf(plugin_dir, sizeof plugin_dir, "%.*s/src/plugin",
                   (int)(strrchr(b->program, '/') - b->program), b->program);
    const char *const dirs[] = {plugin_dir, NULL};
    assert_int_equal(berth_plugins_new(dirs, &host, &b->plugins, &e), 0);
    if (berth_plugins_backend(b->plugins, "fine", &b->real, &e) < 0)
        fail_msg("%s", e.msg);
    const struct berth_workers_conf conf = {.program = b->program,
                                            .state_dir = b->dir,
                                            .plugins = b->plugins,
                                            .load_ns_max = load_ns,
                                            .adopt_ns = 0};
    if (berth_workers_new(&conf, &b->workers, &e) < 0)
        fail_msg("%s", e.msg);
    b->ops = berth_workers_ops(b->workers, b->real);
    assert_non_null(b->ops);
}

static void
bench_down(struct bench *b)
{
    char path[128];

    berth_workers_free(b->workers);
    berth_plugins_free(b->plugins);
    (void)snprintf(path, sizeof path, "%s/workers", b->dir);
    assert_int_equal(rmdir(path), 0); /* nothing is left in it */
    assert_int_equal(rmdir(b->dir), 0);
}

static int
load(struct bench *b, const char *how, uint64_t run_ns, struct berth_instance **ret,
     struct berth_err *e)
{
    const struct berth_isolation isolation = {
        .workers = b->workers, .real = b->real, .name = how, .version = "1", .run_ns_max = run_ns};
    const struct berth_load l = {.struct_size = sizeof l,
                                 .path = "/",
                                 .settings_json = "{}",
                                 .threads = 1,
                                 .isolation = &isolation};

    return b->ops->load(&host, &l, ret, e);
}

static void
a_load_of_nonsense_fails(void **unused)
{
    static const struct {
        const char *how, *says;
        uint64_t load_ns;
    } cases[] = {
        {"quiet", "did not load within", BERTH_S},
        {"hangup", "closed its connection", 60 * BERTH_S},
        {"control", "status 0", 60 * BERTH_S},
        {"describe", "malformed", 60 * BERTH_S},
        {"load-length", "malformed", 60 * BERTH_S},
        {"load-code", "", 60 * BERTH_S},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_instance *m = NULL;
        struct berth_err e = {""};
        struct bench b;

        print_message("  %s\n", cases[i].how);
        bench_up(&b, cases[i].load_ns);
        assert_true(load(&b, cases[i].how, 60 * BERTH_S, &m, &e) < 0);
        if (strstr(e.msg, cases[i].says) == NULL)
            fail_msg("%s", e.msg);
        bench_down(&b);
    }
}

static struct berth_request
request(void)
{
    static const float four[4] = {1, 2, 3, 4};

    return (struct berth_request){
        .input = {.name = "in",
                  .dtype = BERTH_FP32,
                  .rank = 1,
                  .shape = {4},
                  .bytes = four,
                  .size = sizeof four},
        .gen = {.struct_size = sizeof(struct berth_gen), .prompt = "hi", .prompt_len = 2}};
}

static void
an_answer_of_nonsense_ends_the_worker(void **unused)
{
    static const struct {
        const char *how, *why, *says;
        bool step;
    } cases[] = {
        {"offset", "a tensor behind the area's end", "malformed", false},
        {"overflow", "an offset that wraps around", "malformed", false},
        {"size", "a shape larger than its bytes", "malformed", false},
        {"dtype", "no such type", "malformed", false},
        {"bytes", "texts longer than their tensor", "malformed", false},
        {"length", "a message longer than memory", "malformed", false},
        {"seq", "the answer to another command", "did not end its work", false},
        {"slot", "an event for nobody", "malformed", true},
        {"hand", "more sequences than it was given", "malformed", true},
        {"utf8", "text that is none", "malformed", true},
    };
    struct bench b;

    (void)unused;
    bench_up(&b, 60 * BERTH_S);
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_request r = request(), *reqs[] = {&r};
        struct berth_instance *m = NULL;
        struct berth_err e = {""};

        print_message("  %s: %s\n", cases[i].how, cases[i].why);
        const bool answers = strcmp(cases[i].says, "did not end its work") != 0;
        if (load(&b, cases[i].how, answers ? 60 * BERTH_S : 300 * BERTH_MS, &m, &e) < 0)
            fail_msg("%s", e.msg);
        int64_t pid = berth_isolated_state(m).pid;
        int result = cases[i].step ? b.ops->step(m, (struct berth_queue *)(void *)&r, &e)
                                   : b.ops->run(m, reqs, 1, &e);
        assert_true(result < 0);
        if (strstr(e.msg, cases[i].says) == NULL)
            fail_msg("%s", e.msg);
        /* It was ended, and the next one is there. */
        berth_isolated_wait(m, true);
        for (uint64_t end = berth_now_ns() + 60 * BERTH_S;
             berth_isolated_state(m).restarts == 0 && berth_now_ns() < end;)
            berth_isolated_wait(m, false);
        assert_int_equal(berth_isolated_state(m).restarts, 1);
        assert_true(berth_isolated_state(m).pid != pid);
        b.ops->unload(m);
    }
    bench_down(&b);
}

static void
a_proper_answer_arrives(void **unused)
{
    struct berth_request r = request(), *reqs[] = {&r};
    struct berth_instance *m = NULL;
    struct berth_err e = {""};
    struct bench b;

    (void)unused;
    bench_up(&b, 60 * BERTH_S);
    for (int i = 0; i < 2; i++) { /* and one that would shrink the memory cannot */
        if (load(&b, i == 0 ? "ok" : "shrink", 60 * BERTH_S, &m, &e) < 0)
            fail_msg("%s", e.msg);
        const struct berth_describe *d = b.ops->describe(m);
        assert_int_equal(d->tasks, fake_describe.tasks);
        assert_string_equal(d->platform, "fake");
        assert_true(b.ops->memory(m) > 0);
        if (i == 0) {
            assert_int_equal(b.ops->run(m, reqs, 1, &e), 0);
            assert_memory_equal(r.output, "abcdefghijklmnop", 16);
        }
        b.ops->unload(m);
    }
    bench_down(&b);
}

static void
given_up(void *arg, const char *why)
{
    char *to = arg;

    (void)snprintf(to, 480, "%s", why);
}

static void
a_crash_loop_is_given_up(void **unused)
{
    char why[480] = "";
    struct berth_instance *m = NULL;
    struct berth_err e = {""};
    struct bench b;

    (void)unused;
    bench_up(&b, 60 * BERTH_S);
    const struct berth_isolation isolation = {.workers = b.workers,
                                              .real = b.real,
                                              .name = "ok",
                                              .version = "1",
                                              .failed = given_up,
                                              .failed_arg = why};
    const struct berth_load l = {.struct_size = sizeof l,
                                 .path = "/",
                                 .settings_json = "{}",
                                 .threads = 1,
                                 .isolation = &isolation};
    if (b.ops->load(&host, &l, &m, &e) < 0)
        fail_msg("%s", e.msg);
    for (int i = 0; i < 5; i++) {
        berth_isolated_wait(m, true);
        struct berth_isolated_state s = berth_isolated_state(m);
        assert_int_equal(s.restarts, i);
        assert_int_equal(kill((pid_t)s.pid, SIGKILL), 0);
        for (uint64_t end = berth_now_ns() + 60 * BERTH_S;
             berth_isolated_state(m).pid == s.pid && berth_now_ns() < end;)
            (void)poll(NULL, 0, 1);
    }
    struct berth_request r = request(), *reqs[] = {&r};
    assert_int_equal(b.ops->run(m, reqs, 1, &e), -BERTH_ENOTREADY);
    assert_non_null(strstr(e.msg, "given up"));
    assert_int_equal(b.ops->step(m, (struct berth_queue *)(void *)&r, &e), -BERTH_ENOTREADY);
    assert_false(r.taken);
    b.ops->unload(m);
    assert_non_null(strstr(why, "signal 9"));
    bench_down(&b);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_proper_answer_arrives),
        cmocka_unit_test(a_load_of_nonsense_fails),
        cmocka_unit_test(an_answer_of_nonsense_ends_the_worker),
        cmocka_unit_test(a_crash_loop_is_given_up),
    };

    if (argc > 3 && strcmp(argv[1], "worker") == 0) /* "--" is between them */
        return fake_worker(argv[3]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
