#include "instance_priv.h"

#include <time.h>

#include "engine.h"
#include "guard.h"

/* How long a step's prompt part may take before it is made smaller: shorter while answers run
 * beside it than when nobody but the prompts' own clients waits. */
static const uint64_t shared_ns = 120000000, alone_ns = 400000000;

enum { CHUNK_MIN = 16 };

static uint64_t
now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void
take_new(struct berth_instance *m, struct berth_queue *q)
{
    /* A request that fails at once leaves its slot free; the bound keeps a flood of them from
     * holding up those that run. */
    for (uint32_t tried = 0; m->in_hand < m->about.sequence_max && tried < m->about.sequence_max;
         tried++) {
        struct berth_request *const r = m->host->next(q);

        if (r == NULL)
            return;
        (void)berth_slot_begin(m, r);
    }
}

static void
drop_cancelled(struct berth_instance *m)
{
    for (uint32_t i = 0; i < m->about.sequence_max; i++) {
        struct berth_slot *const s = &m->slots[i];

        if (s->r != NULL && m->host->cancelled(s->r))
            berth_slot_fail(m, s, BERTH_ECANCELED, "nobody waits for the answer any more");
    }
}

static void
add(struct berth_instance *m, struct berth_slot *s, uint32_t at, bool last)
{
    struct llama_batch *const b = &m->batch;
    const int32_t row = b->n_tokens++;

    b->token[row] = s->tokens[at];
    b->pos[row] = (llama_pos)at;
    b->n_seq_id[row] = 1;
    b->seq_id[row][0] = (llama_seq_id)(s - m->slots);
    b->logits[row] = last ? 1 : 0;
    if (last)
        s->row = row;
}

/* How many prompt tokens this step takes.  Few sizes, so that the same prompt is cut at the same
 * places from run to run, which shows in the last digits of the logits; and quarters, because the
 * engine's attention is half as fast for any size below 64 on a CPU. */
static uint32_t
chunk_of(const struct berth_instance *m, bool answers)
{
    const uint64_t limit_ns = answers ? shared_ns : alone_ns;
    uint32_t chunk = m->chunk_max;

    while (chunk / 4 >= CHUNK_MIN && chunk * m->prompt_ns > limit_ns)
        chunk /= 4;
    return chunk;
}

/* The oldest slot whose prompt is not all in this batch; `next` is where it goes on. */
static struct berth_slot *
oldest_prompt(struct berth_instance *m)
{
    struct berth_slot *best = NULL;

    for (uint32_t i = 0; i < m->about.sequence_max; i++) {
        struct berth_slot *const s = &m->slots[i];

        if (s->r != NULL && s->row < 0 && s->kept < s->prompt_count &&
            (best == NULL || s->order < best->order))
            best = s;
    }
    return best;
}

/* A token of every answer, in the order of slots so that the engine takes neighbours together.
 * Returns how many. */
static uint32_t
fill_answers(struct berth_instance *m)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < m->about.sequence_max; i++) {
        struct berth_slot *const s = &m->slots[i];

        if (s->r == NULL || s->kept < s->prompt_count)
            continue;
        add(m, s, s->kept++, true);
        n++;
    }
    return n;
}

/* Up to `chunk` tokens of prompts, the oldest first.  Returns how many. */
static uint32_t
fill_prompts(struct berth_instance *m, uint32_t chunk)
{
    uint32_t n = 0;

    while (n < chunk) {
        struct berth_slot *const s = oldest_prompt(m);

        if (s == NULL)
            break;
        for (; n < chunk && s->kept < s->prompt_count; n++, s->kept++)
            add(m, s, s->kept, s->kept + 1 == s->prompt_count);
    }
    return n;
}

/* A batch that did not go through leaves the cache in an unknown state. */
static void
distrust_cache(struct berth_instance *m)
{
    for (uint32_t i = 0; i < m->about.sequence_max; i++)
        m->slots[i].kept = 0;
    llama_memory_clear(llama_get_memory(m->engine), false);
}

struct decode_call {
    struct berth_instance *m;
    int32_t result;
};

static void
call_decode(void *arg)
{
    struct decode_call *const c = arg;

    c->result = llama_decode(c->m->engine, c->m->batch);
}

/* Compute the batch and take the tokens that come of it.  prompt: how many of its tokens are
 * prompts'. */
static int
decode(struct berth_instance *m, uint32_t prompt, struct berth_err *e)
{
    const uint64_t from = now_ns();
    struct decode_call c = {m, 0};

    if (berth_guard_call(false, call_decode, &c) < 0)
        return berth_err_set(e, BERTH_EBACKEND, "llama.cpp: %s", berth_engine_last_error());
    if (c.result == 1)
        return berth_err_set(e, BERTH_EBACKEND,
                             "llama.cpp: no room in the key-value cache for %d tokens; lower "
                             "parallel or raise context_length",
                             m->batch.n_tokens);
    if (c.result != 0)
        return berth_err_set(e, BERTH_EBACKEND, "llama.cpp: llama_decode of %d tokens gave %d",
                             m->batch.n_tokens, c.result);
    if (berth_instance_check_file(m, e) < 0)
        return -BERTH_EBACKEND;
    /* Only what is mostly prompt tells what prompts cost. */
    if (prompt >= CHUNK_MIN && prompt * 2 > (uint32_t)m->batch.n_tokens) {
        llama_synchronize(m->engine);
        const uint64_t each = (now_ns() - from) / (uint32_t)m->batch.n_tokens;

        m->prompt_ns = m->prompt_ns == 0 ? each : (m->prompt_ns * 3 + each) / 4;
    }
    for (uint32_t i = 0; i < m->about.sequence_max; i++) {
        struct berth_slot *const s = &m->slots[i];
        const int32_t row = s->row;

        s->row = -1;
        if (s->r != NULL && row >= 0)
            berth_slot_accept(m, s, llama_get_logits_ith(m->engine, row));
    }
    m->batch.n_tokens = 0;
    return 0;
}

/* Answers and prompts in one go where all sequences share a buffer.  Where each has its own, the
 * engine would cut such a batch into unequal parts; so the answers go first by themselves, and
 * their clients have them the sooner. */
static int
decode_all(struct berth_instance *m, struct berth_err *e)
{
    int r = 0;

    m->batch.n_tokens = 0;
    const uint32_t answers = fill_answers(m);
    if (answers > 0 && !m->conf.kv_unified)
        r = decode(m, 0, e);
    if (r < 0)
        return r;
    const uint32_t prompt = fill_prompts(m, chunk_of(m, answers > 0));
    return m->batch.n_tokens > 0 ? decode(m, prompt, e) : 0;
}

int
berth_instance_step(struct berth_instance *m, struct berth_queue *q, struct berth_err *e)
{
    if (m->slots == NULL)
        return berth_err_set(e, BERTH_EUNSUPPORTED, "this model gives embeddings, not text");
    drop_cancelled(m);
    take_new(m, q);
    if (m->in_hand == 0)
        return 0;
    berth_instance_compact(m);
    const int r = decode_all(m, e);
    if (r < 0) {
        distrust_cache(m);
        return r;
    }
    return (int)m->in_hand;
}

void
berth_instance_reset(struct berth_instance *m)
{
    for (uint32_t i = 0; m->slots != NULL && i < m->about.sequence_max; i++)
        if (m->slots[i].r != NULL)
            berth_slot_drop(m, &m->slots[i]);
    if (m->slots != NULL)
        distrust_cache(m);
}
