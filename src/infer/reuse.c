#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "infer/cache.h"
#include "infer/model_priv.h"

/* A request and the response cache: answered from there, or kept there when it has run. */

enum { TEXT_BYTES_MAX = 1 << 20 };

/* Of a request that was looked for in vain; in its arena. */
struct berth_reuse {
    struct berth_cache_key key;
    uint64_t lookup_ns;
    struct berth_buf text; /* of a generation, so far */
};

static void
unref(void *answer)
{
    berth_cached_unref(answer);
}

/* On the loop: what came from the cache is handed out where it lies; the request's arena holds it.
 */
static void
give(struct berth_msg *msg)
{
    struct berth_request *r =
        (struct berth_request *)(void *)((char *)msg - offsetof(struct berth_request, msg));
    struct berth_model *m = r->model;

    if (r->kept->text_len > 0 && r->delta != NULL) {
        const struct berth_delta d = {.text = r->kept->text,
                                      .text_len = r->kept->text_len,
                                      .token_count = r->finish.completion_tokens};
        r->delta(r, &d);
    }
    r->model = NULL; /* from here on berth_request_cancel() has no effect */
    berth_model_unref(m);
    r->done(r);
}

static bool
take_answer(struct berth_request *r, const struct berth_cached *kept)
{
    struct berth_tensor *outputs =
        BERTH_NEW_N(&r->arena, struct berth_tensor, kept->output_count + 1);

    if (outputs == NULL || berth_arena_defer(&r->arena, unref, (void *)kept) < 0) {
        berth_cached_unref(kept);
        return false;
    }
    for (size_t i = 0; i < kept->output_count; i++)
        outputs[i] = kept->outputs[i];
    r->kept = kept;
    r->outputs = outputs;
    r->output_count = kept->output_count;
    r->finish = kept->finish;
    if (kept->stop_index >= 0)
        r->finish.stop = r->gen.stop[kept->stop_index];
    r->cached = true;
    return true;
}

bool
berth_reuse_try(struct berth_model *m, struct berth_request *r)
{
    const uint64_t begin_ns = berth_now_ns();
    struct berth_cache_key key;

    if (!berth_cache_key(m->cache, r, &key))
        return false;
    const struct berth_cached *kept = berth_cache_get(m->cache, &key);
    if (kept == NULL) {
        r->reuse = BERTH_NEW(&r->arena, struct berth_reuse); /* NULL: then it is not kept */
        if (r->reuse != NULL) {
            r->reuse->key = key;
            r->reuse->lookup_ns = berth_now_ns() - begin_ns;
            berth_buf_init(&r->reuse->text, &r->arena);
        }
        return false;
    }
    (void)pthread_mutex_lock(&m->mu);
    const bool accepting = m->accepting;
    if (accepting)
        berth_model_ref(m);
    (void)pthread_mutex_unlock(&m->mu);
    if (!accepting) {
        berth_cached_unref(kept);
        return false;
    }
    if (!take_answer(r, kept)) {
        berth_model_unref(m);
        return false;
    }
    r->done_ns = berth_now_ns();
    if (r->kept->text_len > 0)
        r->first_ns = r->done_ns;
    berth_stats_hit(m->stats, m->stats_version, r->done_ns - begin_ns, r->done_ns - r->submit_ns);
    r->msg.run = give;
    berth_loop_post(r->loop, &r->msg);
    return true;
}

void
berth_reuse_text(struct berth_request *r, const char *text, size_t len)
{
    if (r->reuse->text.len + len > TEXT_BYTES_MAX)
        r->reuse = NULL;
    else
        berth_buf_put(&r->reuse->text, text, len);
}

void
berth_reuse_keep(struct berth_request *r)
{
    const struct berth_reuse *reuse = r->reuse;
    struct berth_model *m = r->model;
    const uint64_t begin_ns = berth_now_ns();

    /* What was cancelled on the way may lack the text's end. */
    if (!reuse->text.failed && !atomic_load(&r->cancelled))
        berth_cache_put(m->cache, &reuse->key, r, reuse->text.at, reuse->text.len);
    berth_stats_miss(m->stats, m->stats_version, reuse->lookup_ns + (berth_now_ns() - begin_ns));
}
