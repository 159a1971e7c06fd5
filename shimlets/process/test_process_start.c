#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "test_bench.h"

/* ---- what it is started with ---- */

struct lines {
    char text[8192];
    size_t count, stop_at;
};

static bool
take_line(void *arg, const char *replica, const char *text, size_t len)
{
    struct lines *l = arg;
    const size_t at = strlen(l->text);

    (void)replica;
    (void)snprintf(l->text + at, sizeof l->text - at, "%.*s|", (int)len, text);
    return ++l->count != l->stop_at;
}

static struct lines
read_logs(struct bench *b, uint32_t tail, bool follow, size_t stop_at)
{
    const struct berth_log_query q = {.tail_lines = tail, .follow = follow};
    struct lines l = {.stop_at = stop_at};
    struct berth_op op = {.until_ns = berth_now_ns() + 60 * BERTH_S};
    struct berth_err e;

    assert_int_equal(ops->logs(b->s, &op, "u", &q, take_line, &l, &e), 0);
    return l;
}

static void
words_are_replaced_and_settings_kept_apart(void **unused)
{
    static const char *const words[] = {
        "berth", "$(PORT)", "say", "$(HOST):$(PORT) $(REPLICA) $$(PORT) $x",
        "env",   "MINE",    "env", "BERTH_HTTP_PORT",
        "env",   "HOME",    NULL};
    static const struct berth_pair env[] = {{"MINE", "at $(PORT)"}};
    struct berth_unit u = unit("a", 1, words);
    char want[256];
    struct bench b = {.program = NULL};

    (void)unused;
    u.env = env;
    u.env_count = 1;
    (void)setenv("BERTH_HTTP_PORT", "1", 1);
    begin(&b, quick);
    assert_true(test_settle(ops, b.s, &u));
    const struct test_seen seen = test_look(ops, b.s, "u");
    const char *number = strrchr(seen.r[0].endpoint, ':') + 1;
    (void)snprintf(want, sizeof want,
                   "127.0.0.1:%s 0 $(PORT) $x|MINE=at %s|BERTH_HTTP_PORT=(none)|HOME=%s|", number,
                   number, getenv("HOME"));
    assert_string_equal(read_logs(&b, 0, false, 0).text, want);
    end(&b, "u");
}

/* As a pipeline starts it; its state is its own and goes with it. */
static void
berth_itself_is_an_engine(void **unused)
{
    static const char *const serve[] = {"berth",  "serve",   "--host", "$(HOST)",
                                        "--port", "$(PORT)", NULL};
    struct berth_unit u = unit("a", 2, serve);
    struct bench b = {.program = berth};
    struct berth_err e = {{0}};
    char url[256];

    (void)unused;
    u.start_timeout_ns = 300 * BERTH_S; /* a restart would be seen below */
    begin(&b, "{\"look_ms\":20,\"restart_ms\":10,\"stop_ms\":20000}");
    assert_true(test_settle(ops, b.s, &u));
    ops->close(b.s);
    assert_int_equal(open_again(&b, quick, &e), 0);
    assert_true(test_settle(ops, b.s, &u));
    const struct test_seen seen = test_look(ops, b.s, "u");
    (void)snprintf(url, sizeof url, "%s/v2/health/ready", seen.r[1].endpoint);
    assert_int_equal(test_host.probe(url, 60 * BERTH_S, &e), 0);
    assert_int_equal(seen.r[0].restarts + seen.r[1].restarts, 0);
    end(&b, "u");
}

static void
limits_are_in_force_and_told(void **unused)
{
    static const char *const big[] = {engine, "$(PORT)", "big", "200", NULL};
    struct berth_unit u = unit("a", 1, big);
    cpu_set_t its;
    struct bench b = {.program = NULL};

    (void)unused;
    u.memory_bytes = 64 << 20;
    u.cpu_milli = 700;
    begin(&b, "{\"look_ms\":20,\"restart_ms\":10,\"cgroup\":\"none\"}");
    assert_int_equal(apply(&b, &u), 0);
    await(&b, BERTH_REPLICA_FAILED, "status 3; its last lines: no memory for 200 MB", 0);
    assert_true(test_remove(ops, b.s, "u"));
    u.command = plain;
    assert_true(test_settle(ops, b.s, &u));
    const struct test_seen seen = test_look(ops, b.s, "u");
    assert_string_equal(seen.message,
                        "memory limited by RLIMIT_DATA (of each process), cores by affinity");
    assert_int_equal(sched_getaffinity(pid_of(&b, seen.r[0].id), sizeof its, &its), 0);
    assert_int_equal(CPU_COUNT(&its), 1);
    end(&b, "u");
}

static void
put_file(const char *dir, const char *name, const char *text)
{
    char path[160];

    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    (void)fputs(text, f);
    (void)fclose(f);
}

static void
assert_file(const char *dir, const char *sub, const char *want)
{
    char path[256], text[64] = "";

    (void)snprintf(path, sizeof path, "%s/%s", dir, sub);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    (void)!fread(text, 1, sizeof text - 1, f);
    (void)fclose(f);
    assert_string_equal(text, want);
}

/* A folder that has the files of version 2 stands for a delegated group: what is written there is
 * what the kernel would get. */
static void
a_group_is_told_the_limits(void **unused)
{
    char group[] = "/tmp/berth-group-XXXXXX", settings[128], sub[160];
    struct berth_unit u = unit("a", 1, plain);
    struct bench b = {.program = NULL};

    (void)unused;
    assert_non_null(mkdtemp(group));
    put_file(group, "cgroup.subtree_control", "cpu memory");
    u.memory_bytes = 64 << 20;
    u.cpu_milli = 1500;
    (void)snprintf(settings, sizeof settings, "{\"look_ms\":20,\"cgroup\":\"%s\"}", group);
    begin(&b, settings);
    assert_true(test_settle(ops, b.s, &u));
    const struct test_seen seen = test_look(ops, b.s, "u");
    assert_string_equal(seen.message, "memory and cores limited by control group");
    (void)snprintf(sub, sizeof sub, "berth-%s/memory.max", seen.r[0].id);
    assert_file(group, sub, "67108864");
    (void)snprintf(sub, sizeof sub, "berth-%s/cpu.max", seen.r[0].id);
    assert_file(group, sub, "150000 100000");
    (void)snprintf(sub, sizeof sub, "berth-%s/cgroup.procs", seen.r[0].id);
    assert_file(group, sub, "0");
    end(&b, "u");
    (void)snprintf(sub, sizeof sub, "berth-%s/cgroup.kill", seen.r[0].id);
    assert_file(group, sub, "1");
    char command[64]; /* the kernel's own files would have gone by themselves */
    (void)snprintf(command, sizeof command, "rm -r %s", group);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): a folder of ours */
}

/* A group that cannot be entered must not leave an engine without its limits. */
static void
an_engine_outside_its_group_does_not_start(void **unused)
{
    char group[] = "/tmp/berth-group-XXXXXX", settings[128], path[256];
    struct berth_unit u = unit("a", 1, plain);
    struct bench b = {.program = NULL};

    (void)unused;
    assert_non_null(mkdtemp(group));
    put_file(group, "cgroup.subtree_control", "cpu memory");
    u.memory_bytes = 64 << 20;
    (void)snprintf(settings, sizeof settings,
                   "{\"look_ms\":20,\"restart_ms\":10,\"cgroup\":\"%s\"}", group);
    begin(&b, settings);
    assert_true(test_settle(ops, b.s, &u));
    const struct test_seen seen = test_look(ops, b.s, "u");
    (void)snprintf(path, sizeof path, "%s/berth-%s/cgroup.procs", group, seen.r[0].id);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(kill(pid_of(&b, seen.r[0].id), SIGKILL), 0);
    await(&b, BERTH_REPLICA_FAILED, "its limits cannot be put on it", 1);
    assert_int_equal(running(b.dir), 0);
    assert_int_equal(rmdir(path), 0);
    await(&b, BERTH_REPLICA_READY, NULL, 1);
    end(&b, "u");
    (void)snprintf(path, sizeof path, "rm -r %s", group);
    assert_int_equal(system(path), 0); /* NOLINT(cert-env33-c): a folder of ours */
}

static void
a_group_without_the_cpu_controller_is_not_used(void **unused)
{
    static const struct {
        const char *controllers;
        bool used;
    } cases[] = {
        {"cpuset memory\n", false}, {"cpuset cpu io memory\n", true}, {"memory cpu", true}};

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char group[] = "/tmp/berth-group-XXXXXX", found[PROCESS_PATH_MAX], path[96];

        print_message("  %s\n", cases[i].controllers);
        assert_non_null(mkdtemp(group));
        put_file(group, "cgroup.subtree_control", cases[i].controllers);
        process_cgroup_find(group, found);
        assert_string_equal(found, cases[i].used ? group : "");
        (void)snprintf(path, sizeof path, "%s/cgroup.subtree_control", group);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(rmdir(group), 0);
    }
}

static bool
has_figures(void *arg)
{
    const struct test_seen seen = test_look(ops, ((struct bench *)arg)->s, "u");

    return seen.count == 1 && seen.r[0].memory_bytes > 25u << 20; /* the system may take some */
}

static void
figures_come_from_the_system(void **unused)
{
    static const char *const big[] = {engine, "$(PORT)", "big", "50", NULL};
    struct berth_unit u = unit("a", 1, big);
    struct bench b = {.program = NULL};

    (void)unused;
    begin(&b, quick);
    assert_true(test_settle(ops, b.s, &u));
    assert_true(test_until(has_figures, &b));
    end(&b, "u");
}

static void
what_does_not_fit_is_refused_with_the_sums(void **unused)
{
    struct berth_unit u = unit("a", 3, plain), other = unit("b", 1, plain);
    struct berth_op op = {.until_ns = 0};
    struct berth_resources all;
    struct berth_err e;
    struct bench b = {.program = NULL};

    (void)unused;
    begin(&b, quick);
    assert_int_equal(ops->resources(b.s, &op, &all, &e), 0);
    u.memory_bytes = all.memory_bytes_total / 4;
    assert_int_equal(ops->check(b.s, &op, &u, &e), 0);
    other.name = "other";
    other.memory_bytes = all.memory_bytes_total / 2;
    other.replicas = 1;
    assert_true(test_settle(ops, b.s, &other));
    assert_int_equal(ops->check(b.s, &op, &u, &e), -BERTH_ELIMIT);
    print_message("  %s\n", e.msg);
    assert_non_null(strstr(e.msg, "3 replicas of "));
    assert_non_null(strstr(e.msg, "are promised to other services"));
    u.memory_bytes = 0;
    u.cpu_milli = all.cpu_milli_total + 1;
    assert_int_equal(ops->check(b.s, &op, &u, &e), -BERTH_ELIMIT);
    u.cpu_milli = 0;
    u.accelerator_count = 1;
    u.replicas = PROCESS_DEVICES_MAX + 1;
    assert_int_equal(ops->check(b.s, &op, &u, &e), -BERTH_ELIMIT);
    end(&b, "other");
}

/* A socket that listens at a port of the system's choice. */
static int
occupy(uint16_t *ret_port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    *ret_port = ntohs(at.sin_port);
    return fd;
}

/* "process" and "edge" are on one machine. */
static void
what_one_environment_promised_the_other_does_not_give(void **unused)
{
    static const char *const broken[] = {engine, "$(PORT)", "exit", "3", NULL};
    struct berth_unit u = unit("a", 1, broken), other = unit("a", 3, plain);
    struct bench b = {.program = NULL}, edge = {.program = NULL};
    struct berth_op op = {.until_ns = 0};
    struct berth_resources all;
    struct berth_err e = {{0}};
    char settings[160];
    uint16_t port;

    (void)unused;
    (void)close(occupy(&port)); /* the only one, of a replica that does not listen there now */
    (void)snprintf(settings, sizeof settings,
                   "{\"look_ms\":20,\"restart_ms\":10,\"port_min\":%u,\"port_max\":%u}", port,
                   port);
    begin(&b, settings);
    begin(&edge, settings);
    assert_int_equal(ops->resources(b.s, &op, &all, &e), 0);
    u.memory_bytes = all.memory_bytes_total / 2;
    assert_int_equal(apply(&b, &u), 0);
    await(&b, BERTH_REPLICA_FAILED, "status 3", 0);

    other.memory_bytes = all.memory_bytes_total / 4;
    assert_int_equal(ops->check(edge.s, &op, &other, &e), -BERTH_ELIMIT);
    assert_non_null(strstr(e.msg, "are promised to other services"));
    other.memory_bytes = 0;
    other.replicas = 1;
    assert_int_equal(ops->check(edge.s, &op, &other, &e), 0);
    assert_int_equal(apply(&edge, &other), 0);
    await(&edge, BERTH_REPLICA_FAILED, "no port from", 0);
    (void)pthread_mutex_lock(&b.s->machine->mu);
    struct process_replica *r = b.s->units->replicas;
    r->rec.devices[r->rec.device_count++] = 5; /* as if this machine had six */
    const bool taken = process_device_taken(edge.s, 5), free = !process_device_taken(edge.s, 4);
    r->rec.device_count--;
    (void)pthread_mutex_unlock(&b.s->machine->mu);
    assert_true(taken && free);
    end(&edge, "u");
    end(&b, "u");
}

static void
an_accelerator_that_cannot_be_given_is_refused(void **unused)
{
    struct berth_unit u = unit("a", 1, plain);
    struct berth_op op = {.until_ns = 0};
    struct bench b = {.program = NULL};
    struct berth_err e = {{0}};

    (void)unused;
    begin(&b, quick);
    u.accelerator_count = 1;
    u.accelerator_resource = "amd.com/gpu";
    assert_int_equal(ops->check(b.s, &op, &u, &e), -BERTH_EUNSUPPORTED);
    assert_non_null(strstr(e.msg, "amd.com/gpu"));
    assert_int_equal(ops->apply(b.s, &op, &u, &e), -BERTH_EUNSUPPORTED);
    assert_false(test_look(ops, b.s, "u").exists);
    end(&b, "u");
}

/* ---- health ---- */

/* A host whose questions to one half of the replicas stay unanswered until it says so. */
static struct {
    pthread_mutex_t mu;
    pthread_cond_t wake;
    char answers[32]; /* ":PORT/": the one that does */
    bool all_answer;
    unsigned answered, waiting;
} asked = {.mu = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static int
probe_some(const char *url, uint64_t timeout_ns, struct berth_err *e)
{
    (void)timeout_ns;
    (void)pthread_mutex_lock(&asked.mu);
    const bool answers = asked.answers[0] == '\0' || strstr(url, asked.answers) != NULL;
    asked.answered += answers;
    asked.waiting += !answers;
    while (!answers && !asked.all_answer)
        (void)pthread_cond_wait(&asked.wake, &asked.mu);
    (void)pthread_mutex_unlock(&asked.mu);
    return answers ? 0 : berth_err_set(e, BERTH_EDEADLINE, "no answer");
}

static bool
several_were_answered(void *arg)
{
    (void)pthread_mutex_lock(&asked.mu);
    const bool so = asked.waiting > 0 && asked.answered > *(unsigned *)arg + 3;
    (void)pthread_mutex_unlock(&asked.mu);
    return so;
}

static void
silent_ones_do_not_delay_the_others(void **unused)
{
    struct berth_unit u = unit("a", 1, plain), silent = unit("a", 2 * PROCESS_LOOKERS_MAX, plain);
    struct berth_shimlet_host host = test_host;
    struct bench b = {.host = &host};
    unsigned before;

    (void)unused;
    host.probe = probe_some;
    begin(&b, quick);
    assert_true(test_settle(ops, b.s, &u));
    const struct test_seen seen = test_look(ops, b.s, "u");
    (void)pthread_mutex_lock(&asked.mu);
    (void)snprintf(asked.answers, sizeof asked.answers, "%s/", strrchr(seen.r[0].endpoint, ':'));
    before = asked.answered;
    (void)pthread_mutex_unlock(&asked.mu);
    silent.name = "silent";
    assert_int_equal(apply(&b, &silent), 0);
    const bool others = test_until(several_were_answered, &before);
    (void)pthread_mutex_lock(&asked.mu);
    asked.all_answer = true;
    (void)pthread_cond_broadcast(&asked.wake);
    (void)pthread_mutex_unlock(&asked.mu);
    assert_true(test_remove(ops, b.s, "silent"));
    end(&b, "u");
    assert_true(others);
}

struct told {
    struct bench *b;
    char before[512];
};

static bool
is_told_anew(void *arg)
{
    const struct told *t = arg;

    return strcmp(test_look(ops, t->b->s, "u").r[0].reason, t->before) != 0;
}

static void
one_that_starts_says_what_it_waits_for(void **unused)
{
    static const char *const sick[] = {engine, "$(PORT)", "sick", NULL};
    static const char *const asleep[] = {"/bin/sleep", "600", NULL};
    struct berth_unit u = unit("a", 1, sick);
    struct bench b = {.program = NULL};
    struct told told = {.b = &b};

    (void)unused;
    u.start_timeout_ns = 120 * BERTH_S;
    begin(&b, quick);
    assert_int_equal(apply(&b, &u), 0);
    assert_true(test_who_wait(&b.who, 0)); /* its start is told, maybe after it is seen */
    await(&b, BERTH_REPLICA_STARTING, " s of at most 120 s: http://127.0.0.1:", 0);
    await(&b, BERTH_REPLICA_STARTING, "/health: HTTP/1.1 503", 0);
    const uint64_t changes = test_who_changes(&b.who);
    (void)snprintf(told.before, sizeof told.before, "%s", test_look(ops, b.s, "u").r[0].reason);
    assert_int_equal(strncmp(told.before, "starting for ", 13), 0);
    assert_true(test_until(is_told_anew, &told));        /* a second later */
    assert_int_equal(test_who_changes(&b.who), changes); /* and nobody is woken for that */
    assert_true(test_remove(ops, b.s, "u"));
    u.command = asleep;
    assert_int_equal(apply(&b, &u), 0);
    await(&b, BERTH_REPLICA_STARTING, "/health: Connection refused", 0);
    end(&b, "u");
}

/* ---- ports ---- */

static void
a_fixed_port_is_used_and_rolled_over(void **unused)
{
    struct berth_unit u = unit("a", 1, plain);
    char endpoint[64];
    struct bench b = {.program = NULL};

    (void)unused;
    int fd = occupy(&u.port);
    begin(&b, quick);
    assert_int_equal(apply(&b, &u), 0);
    await(&b, BERTH_REPLICA_FAILED, "is in use by another program", 1);
    (void)close(fd);
    assert_true(test_settle(ops, b.s, &u));
    u.hash = "b";
    assert_true(test_settle(ops, b.s, &u)); /* the old one went first */
    (void)snprintf(endpoint, sizeof endpoint, "http://127.0.0.1:%u", u.port);
    assert_string_equal(test_look(ops, b.s, "u").r[0].endpoint, endpoint);
    end(&b, "u");
}

static void
ports_are_never_given_twice(void **unused)
{
    struct berth_unit u = unit("a", 4, plain);
    char settings[128];
    struct bench b = {.program = NULL};
    uint16_t from;

    (void)unused;
    int fd = occupy(&from); /* one of the five is not to be had */
    (void)snprintf(settings, sizeof settings,
                   "{\"look_ms\":20,\"restart_ms\":10,\"port_min\":%u,\"port_max\":%u}", from,
                   from + 40);
    begin(&b, settings);
    assert_true(test_settle(ops, b.s, &u));
    const struct test_seen seen = test_look(ops, b.s, "u");
    for (size_t i = 0; i < 4; i++) {
        assert_int_not_equal(strtol(strrchr(seen.r[i].endpoint, ':') + 1, NULL, 10), from);
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(seen.r[i].endpoint, seen.r[k].endpoint);
    }
    (void)close(fd);
    end(&b, "u");
}

/* ---- logs ---- */

static bool
has_said_all(void *arg)
{
    return strstr(read_logs(arg, 1, false, 0).text, "line 19999 ") != NULL;
}

static void
logs_are_read_from_the_end_followed_and_bounded(void **unused)
{
    static const char *const chatty[] = {engine, "$(PORT)", "lines", "20000", NULL};
    struct berth_unit u = unit("a", 1, chatty);
    char path[PROCESS_PATH_MAX];
    struct bench b = {.program = NULL};
    struct stat st;

    (void)unused;
    begin(&b, "{\"look_ms\":20,\"restart_ms\":10,\"log_bytes_max\":65536}");
    assert_true(test_settle(ops, b.s, &u));
    assert_true(test_until(has_said_all, &b));
    assert_string_equal(read_logs(&b, 2, false, 0).text,
                        "line 19998 of what the engine prints while it works|"
                        "line 19999 of what the engine prints while it works|");
    assert_int_equal(read_logs(&b, 3, true, 3).count, 3); /* followed until told to stop */
    const struct test_seen seen = test_look(ops, b.s, "u");
    (void)snprintf(path, sizeof path, "%s/units/u/%s.log", b.dir, seen.r[0].id);
    for (const uint64_t until = berth_now_ns() + 60 * BERTH_S; berth_now_ns() < until;) {
        assert_int_equal(stat(path, &st), 0);
        if (st.st_blocks * 512 <= 65536 + 8192)
            break;
    }
    assert_true(st.st_blocks * 512 <= 65536 + 8192); /* of a million that were printed */
    const struct lines kept = read_logs(&b, 0, false, 0);
    assert_true(kept.count > 100 && kept.count < 2000);
    assert_int_equal(strncmp(kept.text, "line ", 5), 0); /* whole lines only */
    end(&b, "u");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_are_replaced_and_settings_kept_apart),
        cmocka_unit_test(berth_itself_is_an_engine),
        cmocka_unit_test(limits_are_in_force_and_told),
        cmocka_unit_test(a_group_is_told_the_limits),
        cmocka_unit_test(an_engine_outside_its_group_does_not_start),
        cmocka_unit_test(a_group_without_the_cpu_controller_is_not_used),
        cmocka_unit_test(figures_come_from_the_system),
        cmocka_unit_test(what_does_not_fit_is_refused_with_the_sums),
        cmocka_unit_test(what_one_environment_promised_the_other_does_not_give),
        cmocka_unit_test(an_accelerator_that_cannot_be_given_is_refused),
        cmocka_unit_test(silent_ones_do_not_delay_the_others),
        cmocka_unit_test(one_that_starts_says_what_it_waits_for),
        cmocka_unit_test(a_fixed_port_is_used_and_rolled_over),
        cmocka_unit_test(ports_are_never_given_twice),
        cmocka_unit_test(logs_are_read_from_the_end_followed_and_bounded),
    };

    bench_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
