#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <unistd.h>

#include "base/clock.h"
#include "infer/model.h"
#include "infer/test_asker.h"
#include "os/loop.h"

static void
run_on_loop(struct asker *a)
{
    client_tensor(&a->client, a->w.loop, 1, 1);
    client_submit(&a->client, a->model);
    berth_model_unref(a->model);
}

static void
on_ready(struct berth_model_wait *w)
{
    struct asker *a = w->user;

    a->model = w->model;
    a->result = w->result;
    a->err = w->err;
    if (a->runs && a->result == 0)
        run_on_loop(a);
    atomic_store(&a->ready, true);
}

static void
ask_on_loop(void *arg)
{
    struct asker *a = arg;

    a->result = berth_registry_find_or_wait(
        a->g, berth_slice_of(a->name), (struct berth_slice){NULL, 0}, &a->w, &a->model, &a->err);
    if (a->runs && a->result == 0)
        run_on_loop(a);
    if (a->result <= 0)
        atomic_store(&a->ready, true);
}

static void
ask(struct asker *a, struct bench *b, const char *name, bool runs)
{
    *a = (struct asker){.g = b->g, .name = name, .runs = runs};
    a->w.loop = b->loop;
    a->w.ready = on_ready;
    a->w.user = a;
    berth_loop_call(b->loop, ask_on_loop, a);
}

void
asker_ask(struct asker *a, struct bench *b, const char *name)
{
    ask(a, b, name, false);
}

void
asker_run(struct asker *a, struct bench *b, const char *name)
{
    ask(a, b, name, true);
}

void
asker_wait(struct asker *a)
{
    const uint64_t end = berth_now_ns() + PATIENCE_NS;

    while (!atomic_load(&a->ready)) {
        if (berth_now_ns() > end)
            fail_msg("nothing came of the wait for %s", a->name);
        (void)usleep(500);
    }
}

static void
end_on_loop(void *arg)
{
    struct asker *a = arg;

    berth_registry_wait_end(a->g, &a->w, BERTH_ENOTREADY);
}

void
asker_end(struct asker *a)
{
    berth_loop_call(a->w.loop, end_on_loop, a);
}

void
bench_use(struct bench *b, const char *name)
{
    struct asker a;

    asker_ask(&a, b, name);
    asker_wait(&a);
    if (a.result != 0)
        fail_msg("%s: %s", name, a.err.msg);
    berth_model_unref(a.model);
    (void)usleep(2000); /* so that uses have an order */
}
