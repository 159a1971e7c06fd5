#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "llama_host.h"

/* Damaged model files must be refused with a message, never end the program.  Each load happens in
 * a child process, so that one that does is seen and named. */

enum { REFUSED = 0, LOADED = 1, SILENT = 2 };

static const char model_name[] = "SmolLM2-135M-Instruct.Q4_1.gguf";

struct world {
    char path[64];
    int fd; /* of a copy of the model that the tests damage */
    off_t size;
};

static int
set_up(void **state)
{
    static struct world w = {.path = "/tmp/berth-hostile-XXXXXX.gguf"};
    static char block[1 << 16];
    const int in = open(host_model(model_name), O_RDONLY);

    w.fd = mkstemps(w.path, 5);
    if (in < 0 || w.fd < 0)
        return -1;
    for (ssize_t n; (n = read(in, block, sizeof block)) > 0;)
        if (write(w.fd, block, (size_t)n) != n)
            return -1;
    (void)close(in);
    w.size = lseek(w.fd, 0, SEEK_END);
    *state = &w;
    return 0;
}

static int
tear_down(void **state)
{
    const struct world *const w = *state;

    (void)unlink(w->path);
    return close(w->fd);
}

/* What got through the load must not end the program later either. */
static void
use(const struct berth_backend_ops *ops, struct berth_instance *m)
{
    struct berth_request r[2] = {host_request(4), host_request(4)};
    struct berth_request *list[] = {&r[0], &r[1]};
    struct berth_queue q = {list, 2, 0};

    r[0].gen.prompt = "Hello, world";
    r[0].gen.prompt_len = strlen(r[0].gen.prompt);
    r[1].gen.chat_json = "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}";
    r[1].gen.chat_json_len = strlen(r[1].gen.chat_json);
    (void)host_drive(ops, m, &q, 200);
    ops->unload(m);
}

static void
child(const char *path)
{
    const struct berth_backend_ops *const ops = host_plugin();
    const struct berth_load how = {.struct_size = sizeof how,
                                   .path = path,
                                   .settings_json = "{\"context_length\": 64, \"parallel\": 1}",
                                   .threads = 1};
    const struct rlimit none = {0, 0};
    struct berth_instance *m = NULL;
    struct berth_err e = {""};

    (void)setrlimit(RLIMIT_CORE, &none);
    const int r = ops->load(&host_calls, &how, &m, &e);
    if (getenv("BERTH_TEST_LOG") != NULL)
        (void)fprintf(stderr, "%d %s\n", r, e.msg);
    if (r == 0) {
        use(ops, m);
        _exit(LOADED);
    }
    _exit(e.msg[0] != '\0' && strstr(e.msg, path) != NULL ? REFUSED : SILENT);
}

/* How a load of `path` ends: REFUSED, LOADED, SILENT, or minus the signal that ended it. */
static int
try_load(const char *path)
{
    int status = 0;
    const pid_t pid = fork();

    if (pid == 0)
        child(path);
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void
a_file_that_is_cut_off(void **state)
{
    const struct world *const w = *state;
    struct stat st;

    /* From the whole file down: one copy serves for all. */
    for (off_t size = w->size - 1; size > 0; size = size * 5 / 8) {
        char path[80];
        struct berth_err e = {""};

        assert_int_equal(ftruncate(w->fd, size), 0);
        assert_int_equal(fstat(w->fd, &st), 0);
        (void)snprintf(path, sizeof path, "%s", w->path);
        const int r = try_load(path);
        if (r != REFUSED)
            print_error("cut to %lld bytes: %d %s\n", (long long)size, r, e.msg);
        assert_int_equal(r, REFUSED);
    }
    /* Zero bytes in place of the rest are as bad. */
    assert_int_equal(ftruncate(w->fd, 0), 0);
    assert_int_equal(try_load(w->path), REFUSED);
    assert_int_equal(ftruncate(w->fd, 1 << 20), 0);
    assert_int_equal(try_load(w->path), REFUSED);
    assert_int_equal(pwrite(w->fd, "GGUF", 4, 0), 4);
    assert_int_equal(try_load(w->path), REFUSED);
}

/* Whole again, then a byte or a number of the head changed; some of that is harmless. */
static void
a_head_that_is_damaged(void **state)
{
    const struct world *const w = *state;
    static char head[1 << 16];
    const int in = open(host_model(model_name), O_RDONLY);
    const char *const rounds = getenv("BERTH_HOSTILE_ROUNDS");
    const long n = rounds == NULL ? 60 : strtol(rounds, NULL, 10);
    uint64_t seed = 20251121;
    size_t refused = 0, loaded = 0, ended = 0;

    assert_true(in >= 0);
    assert_int_equal(ftruncate(w->fd, 0), 0);
    assert_int_equal(lseek(w->fd, 0, SEEK_SET), 0);
    for (ssize_t got; (got = read(in, head, sizeof head)) > 0;)
        assert_int_equal(write(w->fd, head, (size_t)got), got);
    assert_int_equal(pread(in, head, sizeof head, 0), sizeof head);
    for (long i = 0; i < n; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        const off_t at = (off_t)((seed >> 33) % (i % 2 == 0 ? 2048 : sizeof head - 4));
        const unsigned char damage[4] = {(unsigned char)(seed >> 20), (unsigned char)(seed >> 12),
                                         0, 0xFF};
        const size_t len = 1 + (seed >> 60) % 4;

        assert_int_equal(pwrite(w->fd, damage, len, at), len);
        const int r = try_load(w->path);
        refused += r == REFUSED;
        loaded += r == LOADED;
        ended += r < 0 || r == SILENT;
        if (r < 0 || r == SILENT)
            print_error("%zu bytes at %lld: ended by %d\n", len, (long long)at, r);
        assert_int_equal(pwrite(w->fd, head + at, len, at), len);
    }
    (void)close(in);
    print_message("  %zu refused, %zu loaded all the same\n", refused, loaded);
    assert_int_equal(ended, 0);
}

static void
what_is_no_model_at_all(void **state)
{
    const struct world *const w = *state;

    assert_int_equal(try_load("/nonexistent/model.gguf"), REFUSED);
    assert_int_equal(try_load("/dev/null"), REFUSED);
    assert_int_equal(try_load("/proc"), REFUSED); /* a folder without one */
    assert_int_equal(ftruncate(w->fd, 0), 0);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(pwrite(w->fd, "PK\003\004", 4, 4 * i), 4);
    assert_int_equal(try_load(w->path), REFUSED);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_that_is_cut_off),
        cmocka_unit_test(a_head_that_is_damaged),
        cmocka_unit_test(what_is_no_model_at_all),
    };

    if (host_model(model_name) == NULL) {
        (void)fprintf(stderr, "no model %s; tools/setup models fetches it\n", model_name);
        return 1;
    }
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
