#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <unistd.h>

#include "base/clock.h"
#include "infer/model.h"
#include "infer/test_fake.h"

static const struct berth_batch_conf defaults = {
    .batch_requests_max = 8, .wait_ns_max = 0, .queue_len_max = 64};
static const struct berth_slice no_version = {NULL, 0};

static void
wait_gone(struct bench *b, const char *name)
{
    struct berth_model *m;
    struct berth_err e;

    for (uint64_t end = berth_now_ns() + PATIENCE_NS;; (void)usleep(1000)) {
        int r = berth_registry_find(b->g, berth_slice_of(name), no_version, &m, &e);
        if (r == -BERTH_ENOENT)
            return;
        if (r == 0)
            berth_model_unref(m);
        assert_true(berth_now_ns() < end);
    }
}

/* Wait until name is registered in any state. */
static void
wait_known(struct bench *b, const char *name)
{
    for (uint64_t end = berth_now_ns() + PATIENCE_NS;; (void)usleep(1000)) {
        struct berth_model_info info;
        struct berth_arena a;
        struct berth_err e;
        berth_arena_init(&a, 1 << 20);
        int r = berth_registry_info(b->g, &a, berth_slice_of(name), &info, &e);
        berth_arena_fini(&a);
        if (r == 0)
            return;
        assert_true(berth_now_ns() < end);
    }
}

static void
a_watched_folder_is_followed(void **unused)
{
    char dir[128], from[160], to[160], command[256];
    struct berth_err e;
    struct bench b;

    (void)unused;
    bench_init(&b, &defaults, 8, NULL);
    (void)bench_file(&b, "d/first.fake", "good");
    (void)bench_file(&b, "d/.hidden.fake", "good");
    (void)bench_file(&b, "d/half.fake.part", "good");
    (void)snprintf(dir, sizeof dir, "%s/d", b.dir);
    assert_int_equal(berth_registry_watch_dir(b.g, "/nowhere", &e), -BERTH_ENOENT);
    if (berth_registry_watch_dir(b.g, dir, &e) < 0)
        fail_msg("%s", e.msg);
    wait_known(&b, "first");
    bench_wait_state(&b, "first", BERTH_MODEL_READY);

    (void)bench_file(&b, "moved.fake", "good");
    (void)snprintf(from, sizeof from, "%s/moved.fake", b.dir);
    (void)snprintf(to, sizeof to, "%s/d/moved.fake", b.dir);
    uint64_t start = berth_now_ns();
    assert_int_equal(rename(from, to), 0);
    wait_known(&b, "moved");
    print_message("  moved into place: known after %llu ms\n",
                  (unsigned long long)((berth_now_ns() - start) / BERTH_MS));
    bench_wait_state(&b, "moved", BERTH_MODEL_READY);

    (void)bench_file(&b, "d/folder/2/m.fake", "good"); /* a folder with a version */
    wait_known(&b, "folder");
    bench_wait_state(&b, "folder", BERTH_MODEL_READY);

    (void)bench_file(&b, "d/broken.fake", "bad");
    wait_known(&b, "broken");
    bench_wait_state(&b, "broken", BERTH_MODEL_FAILED);
    (void)bench_file(&b, "d/broken.fake", "good now");
    bench_wait_state(&b, "broken", BERTH_MODEL_READY);

    (void)bench_file(&b, "d/strange/berth.yaml", "no_such_key: 1\nbackend: fake\n");
    wait_known(&b, "strange");
    bench_wait_state(&b, "strange", BERTH_MODEL_FAILED);

    assert_int_equal(unlink(to), 0);
    wait_gone(&b, "moved");
    assert_int_equal(berth_registry_counts(b.g).registered, 4);

    (void)snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
    wait_gone(&b, "first");
    wait_gone(&b, "folder");
    (void)bench_file(&b, "d/again.fake", "good"); /* the folder comes back */
    wait_known(&b, "again");
    bench_wait_state(&b, "again", BERTH_MODEL_READY);
    bench_fini(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_watched_folder_is_followed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
