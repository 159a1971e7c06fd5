#include "api/explain.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "api/errors.h"
#include "base/clock.h"
#include "obs/trace.h"

enum { BIG_BODY_BYTES = 64 << 10 };
static const uint64_t small_ns = 50000; /* nobody would notice so little */

static uint64_t
less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

static double
ms(uint64_t ns)
{
    const uint64_t us = ns / 1000;

    return (double)us / 1e3;
}

/* ---- stages ---- */

static void
stage(struct berth_account *a, const char *name, const char *what, uint64_t ns)
{
    if (ns > 0)
        a->stages[a->stage_count++] = (struct berth_stage){name, what, ns};
}

/* What happened between being given to the model and being handed back. */
static void
model_stages(const struct berth_trace_note *n, struct berth_account *a)
{
    const uint64_t taken = n->run_ns != 0 ? n->run_ns : n->done_ns;
    const uint64_t waited = less(taken, n->submit_ns);
    const uint64_t engine = n->engine_ns, run = less(n->done_ns, taken);

    if (n->cached) {
        stage(a, "cache", "finding the answer in the response cache",
              less(n->done_ns, n->submit_ns));
        return;
    }
    stage(a, "queue", "waiting for a free engine", less(waited, n->company_ns));
    stage(a, "company", "waiting for others to run with", n->company_ns);
    if (n->run_ns == 0)
        return;
    stage(a, "cores", "waiting for cores that other models used", n->cores_ns);
    stage(a, "batch", "putting the batch together and taking it apart",
          less(run, engine + n->cores_ns));
    stage(a, "engine", "in the engine", engine);
}

/* A service's replica answered, or should have. */
static void
forward_stages(const struct berth_trace_note *n, struct berth_account *a)
{
    const uint64_t first = n->first_ns != 0 ? n->first_ns : n->end_ns;

    stage(a, "replica", "at the replica, until its answer began", less(first, n->submit_ns));
    stage(a, "answer", "the replica's answer coming through", less(n->end_ns, first));
}

static void
stages(const struct berth_trace_note *n, struct berth_account *a)
{
    const uint64_t begun = n->body_ns + n->load_ns;

    stage(a, "receive", "the body coming in", n->body_ns);
    stage(a, "load", "waiting for the model to be loaded", n->load_ns);
    if (n->submit_ns == 0) { /* it never came to a model */
        stage(a, "read", "reading and checking the request, and answering", less(n->end_ns, begun));
        return;
    }
    stage(a, "read", "reading and checking the request", less(n->submit_ns, begun));
    if (n->to[0] != '\0') {
        forward_stages(n, a);
        return;
    }
    if (n->done_ns == 0) {
        stage(a, "unfinished",
              n->status == 499 ? "the client left before the model was done"
                               : "the answer went out before the model was done",
              less(n->end_ns, n->submit_ns));
        return;
    }
    model_stages(n, a);
    stage(a, "answer", "back to its connection, writing the answer", less(n->end_ns, n->done_ns));
}

/* ---- advice ---- */

__attribute__((format(printf, 2, 3))) static void
advise(struct berth_account *a, const char *fmt, ...)
{
    va_list args;

    if (a->advice_count == BERTH_ADVICE_MAX)
        return;
    va_start(args, fmt);
    (void)vsnprintf(a->advice[a->advice_count++], BERTH_ADVICE_TEXT, fmt, args);
    va_end(args);
}

/* Is it a tenth of the whole, and long enough to care? */
static bool
matters(const struct berth_trace_note *n, uint64_t ns)
{
    return ns >= small_ns && ns >= n->end_ns / 10;
}

static void
advise_on_waiting(const struct berth_trace_note *n, struct berth_account *a)
{
    const uint64_t waited =
        less(less(n->run_ns != 0 ? n->run_ns : n->done_ns, n->submit_ns), n->company_ns);

    if (matters(n, n->company_ns))
        advise(a,
               "waited %.1f ms for company in a batch of %u of %u: a shorter wait "
               "(config.batching.max_wait_ms; without it the smaller of engine.max_batch_wait_ms "
               "and engine.batch_config.max_wait_time_ms) would have spared that",
               ms(n->company_ns), n->batch_requests, n->batch_max);
    if (n->submit_ns != 0 && n->to[0] == '\0' && !n->cached && matters(n, waited))
        advise(a,
               "waited %.1f ms for a free engine, with %u requests ahead of it: more instances, a "
               "larger max_batch_size or fewer requests at once would have shortened that",
               ms(waited), n->queue_ahead);
    if (matters(n, n->cores_ns))
        advise(
            a,
            "waited %.1f ms for cores that other models were using: more cores (engine.cores) or "
            "fewer models at work would have spared that",
            ms(n->cores_ns));
    if (matters(n, n->load_ns))
        advise(a,
               "waited %.1f ms until the model was loaded: one that is pinned, or kept longer, is "
               "there already",
               ms(n->load_ns));
}

static void
advise_on_bytes(const struct berth_trace_note *n, struct berth_account *a)
{
    const uint64_t read = n->submit_ns != 0 ? less(n->submit_ns, n->body_ns + n->load_ns) : 0;
    const uint64_t answered = n->done_ns != 0 ? less(n->end_ns, n->done_ns) : 0;

    if (matters(n, n->body_ns))
        advise(a, "%" PRIu64 " bytes of body took %.1f ms to come: the client or its network",
               n->body_bytes, ms(n->body_ns));
    if (matters(n, read) && n->body_bytes >= BIG_BODY_BYTES)
        advise(a,
               "reading %" PRIu64 " bytes took %.1f ms: binary tensors (v2's binary data, gRPC's "
               "raw contents) are not parsed at all",
               n->body_bytes, ms(read));
    if (matters(n, answered) && !n->streamed && n->answer_bytes >= BIG_BODY_BYTES)
        advise(a,
               "writing %" PRIu64 " bytes took %.1f ms: fewer outputs, or binary ones, are faster",
               n->answer_bytes, ms(answered));
}

static void
advise_on_runs(const struct berth_trace_note *n, struct berth_account *a)
{
    if (n->retried)
        advise(a, "the first instance failed it, another one ran it: that instance is not well");
    else if (n->runs > 1)
        advise(a,
               "its batch failed as a whole, so it ran again on its own (%u runs): the fault is in "
               "a neighbour or in the model",
               n->runs);
    if (n->padded_permille >= 250)
        advise(a,
               "%.1f %% of its batch was padding: inputs of like lengths run together when they "
               "come together, or with narrower length buckets",
               (double)n->padded_permille / 10);
    if (n->first_ns != 0 && n->tokens_out > 0 && n->done_ns > n->first_ns &&
        matters(n, less(n->first_ns, n->run_ns)) && n->tokens_in > 0)
        advise(a,
               "reading its prompt of %u tokens took %.1f ms of the engine's time: a shorter one, "
               "or one that begins like the last, starts sooner",
               n->tokens_in, ms(less(n->first_ns, n->run_ns)));
    if (n->tries > 1)
        advise(a, "%u replicas failed it before this one answered: see berth_forward_breaker",
               n->tries - 1);
    if (n->status == 499)
        advise(a, n->streamed ? "its client left before the answer had ended"
                              : "its client left before the answer was there");
}

void
berth_account_of(const struct berth_trace_note *n, struct berth_account *ret)
{
    ret->stage_count = ret->advice_count = 0;
    stages(n, ret);
    advise_on_waiting(n, ret);
    advise_on_bytes(n, ret);
    advise_on_runs(n, ret);
}

/* ---- as JSON ---- */

static void
put_ms(struct berth_jw *w, const char *key, uint64_t ns)
{
    berth_jw_key(w, key);
    berth_jw_double(w, ms(ns));
}

static void
put_head(struct berth_jw *w, const struct berth_trace_note *n)
{
    char text[BERTH_TIME_TEXT];

    berth_jw_pair(w, "id", n->id);
    berth_jw_pair(w, "began", berth_time_text(n->wall_ns, text));
    berth_jw_pair(w, "model", n->model[0] != '\0' ? n->model : NULL);
    berth_jw_pair(w, "version", n->version[0] != '\0' ? n->version : NULL);
    berth_jw_pair(w, "dialect",
                  n->dialect < BERTH_DIALECT_COUNT ? berth_dialect_name(n->dialect) : NULL);
    berth_jw_pair(w, "path", n->route);
    berth_jw_pair_uint(w, "status", n->status);
    put_ms(w, "total_ms", n->end_ns);
}

static void
put_failure(struct berth_jw *w, const struct berth_trace_note *n)
{
    berth_jw_key(w, "error");
    if (!berth_trace_failed(n)) {
        berth_jw_null(w);
        return;
    }
    berth_jw_object(w);
    berth_jw_pair(w, "code", n->code == NULL && n->status == 499 ? "CANCELED" : n->code);
    berth_jw_pair(w, "message",
                  n->status == 499 && n->why[0] == '\0' ? "canceled: the client left" : n->why);
    berth_jw_object_end(w);
}

void
berth_account_put_short(struct berth_jw *w, const struct berth_trace_note *n)
{
    struct berth_account a;
    const struct berth_stage *longest = NULL;

    berth_account_of(n, &a);
    for (size_t i = 0; i < a.stage_count; i++)
        longest = longest == NULL || a.stages[i].ns > longest->ns ? &a.stages[i] : longest;
    berth_jw_object(w);
    put_head(w, n);
    berth_jw_pair(w, "longest_stage", longest != NULL ? longest->name : NULL);
    put_ms(w, "longest_ms", longest != NULL ? longest->ns : 0);
    put_failure(w, n);
    berth_jw_object_end(w);
}

static void
put_stages(struct berth_jw *w, const struct berth_trace_note *n, const struct berth_account *a)
{
    berth_jw_key(w, "stages");
    berth_jw_array(w);
    for (size_t i = 0; i < a->stage_count; i++) {
        const struct berth_stage *s = &a->stages[i];
        const uint64_t permille = n->end_ns >= 1000 ? s->ns / (n->end_ns / 1000) : 0;

        berth_jw_object(w);
        berth_jw_pair(w, "stage", s->name);
        put_ms(w, "ms", s->ns);
        berth_jw_key(w, "share");
        berth_jw_double(w, (double)(permille < 1000 ? permille : 1000) / 1e3);
        berth_jw_pair(w, "what", s->what);
        berth_jw_object_end(w);
    }
    berth_jw_array_end(w);
}

static void
put_run(struct berth_jw *w, const struct berth_trace_note *n)
{
    berth_jw_key(w, "run");
    if (n->run_ns == 0) {
        berth_jw_null(w);
        return;
    }
    berth_jw_object(w);
    berth_jw_pair_uint(w, "instance", n->instance);
    berth_jw_pair(w, "placement", n->on_loop ? "inline" : "threaded");
    berth_jw_pair_uint(w, "runs", n->runs);
    berth_jw_pair_uint(w, "batch_requests", n->batch_requests);
    berth_jw_pair_uint(w, "batch_max", n->batch_max);
    berth_jw_pair_uint(w, "queue_ahead", n->queue_ahead);
    berth_jw_key(w, "padding");
    berth_jw_double(w, (double)n->padded_permille / 1e3);
    berth_jw_object_end(w);
}

static void
put_forwarded(struct berth_jw *w, const struct berth_trace_note *n)
{
    berth_jw_key(w, "forwarded");
    if (n->to[0] == '\0') {
        berth_jw_null(w);
        return;
    }
    berth_jw_object(w);
    berth_jw_pair(w, "replica", n->to);
    berth_jw_pair(w, "track", n->version);
    berth_jw_pair_uint(w, "tries", n->tries);
    berth_jw_object_end(w);
}

static void
put_tokens(struct berth_jw *w, const struct berth_trace_note *n)
{
    const uint64_t wrote_ns = n->first_ns != 0 ? less(n->done_ns, n->first_ns) : 0;
    const uint64_t tenths = wrote_ns > 0 && n->tokens_out > 1
                                ? (n->tokens_out - 1) * UINT64_C(10000000000) / wrote_ns
                                : 0;

    berth_jw_key(w, "tokens");
    if (n->tokens_in == 0 && n->tokens_out == 0) {
        berth_jw_null(w);
        return;
    }
    berth_jw_object(w);
    berth_jw_pair_uint(w, "input", n->tokens_in);
    berth_jw_pair_uint(w, "output", n->tokens_out);
    put_ms(w, "first_ms", n->first_ns);
    berth_jw_key(w, "per_second"); /* after the first one */
    berth_jw_double(w, (double)tenths / 10);
    berth_jw_object_end(w);
}

void
berth_account_put(struct berth_jw *w, const struct berth_trace_note *n)
{
    struct berth_account a;

    berth_account_of(n, &a);
    berth_jw_object(w);
    put_head(w, n);
    put_stages(w, n, &a);
    put_run(w, n);
    put_forwarded(w, n);
    berth_jw_key(w, "cached");
    berth_jw_bool(w, n->cached);
    berth_jw_key(w, "streamed");
    berth_jw_bool(w, n->streamed);
    berth_jw_pair_uint(w, "parts", n->parts);
    berth_jw_pair_uint(w, "body_bytes", n->body_bytes);
    berth_jw_pair_uint(w, "answer_bytes", n->answer_bytes);
    put_tokens(w, n);
    put_failure(w, n);
    berth_jw_key(w, "faster");
    berth_jw_array(w);
    for (size_t i = 0; i < a.advice_count; i++)
        berth_jw_string(w, a.advice[i]);
    berth_jw_array_end(w);
    berth_jw_object_end(w);
}
