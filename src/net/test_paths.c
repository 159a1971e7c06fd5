#include "net/test_paths.h"

#include <stdio.h>

#include "base/assert.h"
#include "base/num.h"

enum { PIECE_BYTES = 64 * 1024, BIG_BYTES = 1024 * 1024 };

struct counted {
    struct test_server *t;
    uint64_t bytes;
    bool ended;
};

static bool
path_is(const struct berth_exchange *x, const char *path)
{
    return berth_slice_is(x->path, path);
}

static bool
path_begins(const struct berth_exchange *x, const char *with)
{
    return x->path.len > strlen(with) && memcmp(x->path.at, with, strlen(with)) == 0;
}

static struct test_server *
server_of(const struct berth_exchange *x)
{
    return ((struct counted *)x->user)->t;
}

static void
on_gone(struct berth_exchange *x)
{
    struct test_server *t = server_of(x);

    for (size_t i = 0; i < TEST_HELD_MAX; i++)
        if (t->held[i] == x)
            t->held[i] = NULL;
    berth_exchange_end(x);
    test_count(t, &t->seen.gone);
}

static void
echo_piece(struct berth_exchange *x, const char *at, size_t n)
{
    struct counted *seen = x->user;
    char number[24];

    berth_assert(!seen->ended);
    seen->bytes += n;
    if (n > 0) {
        int r = berth_exchange_write(x, at, n);
        berth_assert(r == 0); /* the tests' bodies are shorter than what may wait */
        test_count(seen->t, &seen->t->seen.pieces);
        return;
    }
    seen->ended = true;
    (void)snprintf(number, sizeof number, "%llu", (unsigned long long)seen->bytes);
    berth_exchange_trailer(x, "X-Bytes", number);
    berth_exchange_trailer(x, "x-forged", "a\r\nb: c");
    berth_exchange_end(x);
}

static void
sink_piece(struct berth_exchange *x, const char *at, size_t n)
{
    struct counted *seen = x->user;
    char *number = berth_arena_alloc_raw(&x->arena, 24);

    berth_assert(!seen->ended && number != NULL);
    seen->bytes += n;
    if (n > 0) {
        test_count(seen->t, &seen->t->seen.pieces);
        return;
    }
    seen->ended = true;
    int len = snprintf(number, 24, "%llu", (unsigned long long)seen->bytes);
    berth_exchange_reply(x, 200, "text/plain", number, (size_t)len);
}

static void
quiet_piece(struct berth_exchange *x, const char *at, size_t n)
{
    test_count(server_of(x), &server_of(x)->seen.pieces);
}

static void
early_piece(struct berth_exchange *x, const char *at, size_t n)
{
    berth_exchange_start(x, 200, "text/plain");
    berth_exchange_trailer(x, "x-why", "early");
    berth_exchange_trailer(x, "x-more", "yes");
    berth_exchange_end(x);
}

static const struct {
    const char *path;
    void (*piece)(struct berth_exchange *x, const char *at, size_t n);
} pieces[] = {
    {"/pieces", echo_piece},
    {"/sink", sink_piece},
    {"/quiet", quiet_piece},
    {"/early", early_piece},
};

void
test_paths_begin(struct test_server *t, struct berth_exchange *x)
{
    for (size_t i = 0; i < BERTH_COUNT(pieces); i++)
        if (path_is(x, pieces[i].path))
            x->piece = pieces[i].piece;
    if (path_begins(x, "/paused/"))
        x->piece = sink_piece;
}

static void
lend(struct test_server *t, struct berth_exchange *x)
{
    berth_exchange_start(x, 200, "application/octet-stream");
    berth_assert(berth_exchange_write(x, "head", 4) == 0);
    berth_assert(berth_exchange_lend(x, t->big, BIG_BYTES) == 0);
    berth_assert(berth_exchange_lend(x, "mid", 3) == 0);
    berth_assert(berth_exchange_lend(x, t->big, BIG_BYTES) == 0);
    berth_assert(berth_exchange_lend(x, "few", 3) == 0);
    berth_exchange_trailer(x, "x-why", "lent");
    berth_exchange_end(x);
}

static void
feed(struct berth_exchange *x)
{
    struct counted *seen = x->user;

    while (seen->bytes < TEST_FEED_BYTES) {
        int r = berth_exchange_write(x, seen->t->big, PIECE_BYTES);
        if (r == -BERTH_EAGAIN) {
            test_count(seen->t, &seen->t->seen.eagain);
            return;
        }
        berth_assert(r == 0);
        seen->bytes += PIECE_BYTES;
    }
    berth_exchange_end(x);
}

/* Memory of an exchange: aligned, counted, and refused beyond the limit. */
static void
alloc(struct berth_exchange *x)
{
    const size_t before = x->arena.used_bytes;
    char *large = berth_exchange_alloc(x, PIECE_BYTES * 3);

    berth_assert(large != NULL && ((uintptr_t)large & 63) == 0);
    memset(large, 'a', PIECE_BYTES * 3);
    berth_assert(x->arena.used_bytes >= before + PIECE_BYTES * 3);
    berth_assert(berth_exchange_alloc(x, 10) != NULL);
    berth_assert(berth_exchange_alloc(x, x->arena.max_bytes) == NULL);
}

static void
hold(struct test_server *t, struct berth_exchange *x)
{
    size_t i = 0;

    while (i < TEST_HELD_MAX && t->held[i] != NULL)
        i++;
    berth_assert(i < TEST_HELD_MAX);
    t->held[i] = x;
    berth_exchange_pause(x, true);
}

bool
test_paths_handle(struct test_server *t, struct berth_exchange *x)
{
    bool is_ours =
        x->piece != NULL || path_is(x, "/lend") || path_is(x, "/feed") || path_is(x, "/only");

    if (!is_ours)
        return false;
    struct counted *seen = BERTH_NEW(&x->arena, struct counted);
    berth_assert(seen != NULL);
    *seen = (struct counted){.t = t};
    x->user = seen;
    x->gone = on_gone;
    if (path_is(x, "/pieces")) {
        berth_exchange_start(x, 200, "application/octet-stream");
    } else if (path_begins(x, "/paused/")) {
        hold(t, x);
    } else if (path_is(x, "/lend")) {
        lend(t, x);
    } else if (path_is(x, "/only")) {
        alloc(x);
        early_piece(x, NULL, 0);
    } else if (path_is(x, "/feed")) {
        x->writable = feed;
        berth_exchange_start(x, 200, "application/octet-stream");
        feed(x);
    }
    return true;
}

struct resume {
    struct test_server *t;
    const char *name;
    bool found;
};

static void
resume(void *arg)
{
    struct resume *r = arg;

    for (size_t i = 0; i < TEST_HELD_MAX; i++) {
        struct berth_exchange *x = r->t->held[i];
        if (x == NULL || x->path.len != 8 + strlen(r->name) ||
            memcmp(x->path.at + 8, r->name, strlen(r->name)) != 0)
            continue;
        r->t->held[i] = NULL;
        r->found = true;
        berth_exchange_pause(x, false);
    }
}

void
test_resume(struct test_server *t, const char *name)
{
    struct resume r = {.t = t, .name = name};

    berth_loop_call(t->loops[0], resume, &r);
    assert_true(r.found);
}
