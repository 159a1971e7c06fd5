#include "api/unimodel_answer.h"

#include <string.h>

#include "api/api_priv.h"
#include "api/unimodel_input.h"
#include "api/vision.h"
#include "base/arena.h"
#include "base/clock.h"
#include "infer/model.h"

/* How UniModel's predictions are answered: whole, as a stream, or several in one. */

static int
no_memory(struct berth_err *e)
{
    return berth_err_set(e, BERTH_ENOMEM, "the request is larger than its memory limit");
}

static void
put_ms(struct berth_jw *w, const char *key, uint64_t from_ns, uint64_t to_ns)
{
    const uint64_t us = to_ns > from_ns && from_ns > 0 ? (to_ns - from_ns) / 1000 : 0;

    berth_jw_key(w, key);
    berth_jw_double(w, (double)us / 1e3);
}

/* What UniModel does not tell; /v1/requests/{id}/explain has all of it. */
static void
put_stages(struct berth_jw *w, const struct berth_call *c, const struct berth_request *r)
{
    put_ms(w, "load_wait_ms", 1, 1 + c->parked_ns);
    put_ms(w, "company_wait_ms", 1, 1 + r->company_ns);
    put_ms(w, "cores_wait_ms", 1, 1 + r->cores_ns);
    put_ms(w, "engine_ms", 1, 1 + r->engine_ns);
    berth_jw_key(w, "padding");
    berth_jw_double(w, (double)r->padded_permille / 1e3);
    berth_jw_key(w, "instance");
    berth_jw_uint(w, r->instance_number);
    berth_jw_key(w, "runs");
    berth_jw_uint(w, r->runs);
    berth_jw_key(w, "cached");
    berth_jw_bool(w, r->cached);
}

/* Token counts are summed over all parts, times are the first part's, as UniModel merges them. */
static void
put_metrics(struct berth_jw *w, const struct berth_call *c, uint32_t batch_size)
{
    const struct berth_predict *p = c->state;
    const struct berth_request *r = &c->parts[0].r;
    const uint64_t now = berth_now_ns();
    uint64_t in = 0, out = 0;
    char text[BERTH_TIME_TEXT];

    for (uint32_t i = 0; i < c->part_count; i++) {
        in += c->parts[i].r.finish.prompt_tokens;
        out += c->parts[i].r.finish.completion_tokens;
    }
    berth_jw_object(w);
    berth_jw_key(w, "request_id");
    berth_jw_string(w, c->id);
    berth_jw_key(w, "start_time");
    berth_jw_string(w, berth_time_text(c->wall_ns, text));
    berth_jw_key(w, "end_time");
    berth_jw_string(w, berth_time_text(c->wall_ns + (now - c->x->begin_ns), text));
    put_ms(w, "total_latency_ms", c->x->begin_ns, now);
    put_ms(w, "inference_latency_ms", r->run_ns, r->done_ns);
    put_ms(w, "queue_wait_ms", r->submit_ns, r->run_ns);
    put_ms(w, "preprocessing_ms", c->x->begin_ns, p->parsed_ns);
    put_ms(w, "postprocessing_ms", r->done_ns, now);
    if (p->items[0].way == BERTH_ITEM_TEXT) {
        const double s = r->done_ns > r->run_ns ? (double)(r->done_ns - r->run_ns) / 1e9 : 0;
        berth_jw_key(w, "tokens_generated");
        berth_jw_uint(w, out);
        berth_jw_key(w, "tokens_input");
        berth_jw_uint(w, in);
        berth_jw_key(w, "throughput_tokens_per_sec");
        berth_jw_double(w, s > 0 ? (double)(int64_t)((double)out / s * 100) / 100 : 0);
    }
    berth_jw_key(w, "batch_size");
    berth_jw_uint(w, batch_size);
    put_stages(w, c, r);
    berth_jw_object_end(w);
}

static void
put_head(struct berth_jw *w, struct berth_call *c)
{
    berth_jw_key(w, "request_id");
    berth_jw_string(w, c->id);
    berth_jw_key(w, "model_id");
    berth_jw_string(w, berth_model_id(c->model));
    berth_jw_key(w, "model");
    berth_jw_string(w, berth_model_name(c->model));
}

static const char *
finish_name(const struct berth_request *r)
{
    return r->finish.reason == BERTH_FINISH_LENGTH ? "length" : "stop";
}

static void
put_tail(struct berth_jw *w, const struct berth_call *c, uint32_t batch_size)
{
    const struct berth_predict *p = c->state;
    char text[BERTH_TIME_TEXT];

    berth_jw_key(w, "metadata");
    berth_jw_object(w);
    berth_jw_key(w, "model_version");
    berth_jw_string(w, berth_model_version(c->model));
    berth_jw_key(w, "backend");
    berth_jw_string(w, berth_model_backend(c->model));
    berth_jw_key(w, "custom_metadata");
    berth_jw_object(w);
    if (!p->batch && p->items[0].way == BERTH_ITEM_TEXT) {
        berth_jw_key(w, "finish_reason");
        berth_jw_string(w, finish_name(&c->parts[0].r));
    }
    berth_jw_object_end(w);
    berth_jw_object_end(w);
    berth_jw_key(w, "metrics");
    put_metrics(w, c, batch_size);
    berth_jw_key(w, "timestamp");
    berth_jw_string(w, berth_time_text(berth_wall_ns(), text));
}

static int
put_plain_output(struct berth_jw *w, struct berth_call *c, struct berth_part *part,
                 struct berth_err *e)
{
    const struct berth_predict *p = c->state;
    const struct berth_predict_item *item = &p->items[part->index];
    const struct berth_request *r = &part->r;
    const struct berth_json *manifest = berth_model_manifest(c->model);

    if (item->way == BERTH_ITEM_TEXT) {
        berth_jw_string_n(w, part->text.len > 0 ? part->text.at : "", part->text.len);
        return part->text.failed ? no_memory(e) : 0;
    }
    if (item->way == BERTH_ITEM_IMAGE && berth_vision_has_scores(manifest))
        return berth_vision_put_scores(w, &c->x->arena, manifest, r->outputs, r->output_count, e);
    return berth_output_put(w, r->outputs, r->output_count, item->row, e);
}

static int
put_output(struct berth_jw *w, struct berth_call *c, struct berth_part *part, struct berth_err *e)
{
    const struct berth_predict *p = c->state;
    int r;

    if (!p->tagged)
        return put_plain_output(w, c, part, e);
    berth_jw_object(w);
    berth_jw_key(w, "type");
    berth_jw_string(w, p->items[part->index].way == BERTH_ITEM_TEXT ? "Text" : "Json");
    berth_jw_key(w, "data");
    r = put_plain_output(w, c, part, e);
    berth_jw_object_end(w);
    return r;
}

static void
predict_answer(struct berth_call *c)
{
    struct berth_err e;
    struct berth_buf b;
    struct berth_jw w;
    int r;

    berth_buf_init(&b, &c->x->arena);
    berth_jw_init(&w, &b);
    berth_jw_object(&w);
    put_head(&w, c);
    berth_jw_key(&w, "output");
    r = put_output(&w, c, &c->parts[0], &e);
    put_tail(&w, c, c->parts[0].r.batch_requests);
    berth_jw_object_end(&w);
    if (r < 0)
        berth_call_fail(c, r, NULL, e.msg);
    else
        berth_call_json(c, 200, &b);
}

const struct berth_call_ops berth_predict_ops = {.answer = predict_answer, .all_or_nothing = true};

/* ---- streaming ---- */

static void
stream_delta(struct berth_call *c, struct berth_part *part, const struct berth_delta *d)
{
    struct berth_jw w;

    if (d->text_len == 0)
        return;
    berth_sse_start(c);
    berth_jw_init(&w, berth_sse_data(c));
    berth_jw_object(&w);
    berth_jw_key(&w, "output");
    berth_jw_string_n(&w, d->text, d->text_len);
    berth_jw_object_end(&w);
    berth_sse_send(c);
}

/* The last event has everything that a plain answer has, and the usage; its output is empty where
 * it went out in pieces. */
static void
stream_answer(struct berth_call *c)
{
    const struct berth_predict *p = c->state;
    const struct berth_request *r = &c->parts[0].r;
    struct berth_err e;
    struct berth_jw w;
    int rc;

    berth_sse_start(c);
    berth_jw_init(&w, berth_sse_data(c));
    berth_jw_object(&w);
    put_head(&w, c);
    berth_jw_key(&w, "output");
    rc = put_output(&w, c, &c->parts[0], &e);
    if (p->items[0].way == BERTH_ITEM_TEXT) {
        berth_jw_key(&w, "finish_reason");
        berth_jw_string(&w, finish_name(r));
    }
    berth_jw_key(&w, "usage");
    berth_jw_object(&w);
    berth_jw_key(&w, "prompt_tokens");
    berth_jw_uint(&w, r->finish.prompt_tokens);
    berth_jw_key(&w, "completion_tokens");
    berth_jw_uint(&w, r->finish.completion_tokens);
    berth_jw_key(&w, "total_tokens");
    berth_jw_uint(&w, (uint64_t)r->finish.prompt_tokens + r->finish.completion_tokens);
    berth_jw_object_end(&w);
    put_tail(&w, c, r->batch_requests);
    berth_jw_object_end(&w);
    if (rc < 0) {
        const struct berth_fault f = {.code = rc, .message = e.msg};
        berth_call_cut(c, &f);
        return;
    }
    berth_sse_send(c);
    berth_sse_end(c);
}

const struct berth_call_ops berth_predict_stream_ops = {
    .delta = stream_delta, .answer = stream_answer, .all_or_nothing = true};

/* ---- batches ---- */

static void
put_item_errors(struct berth_jw *w, const struct berth_call *c)
{
    berth_jw_array(w);
    for (uint32_t i = 0; i < c->part_count; i++) {
        const struct berth_request *r = &c->parts[i].r;
        const struct berth_error_look *look = berth_error_look(r->result);

        if (r->result >= 0)
            continue;
        berth_jw_object(w);
        berth_jw_key(w, "index");
        berth_jw_uint(w, i);
        berth_jw_key(w, "status");
        berth_jw_uint(w, look->status);
        berth_jw_key(w, "error");
        berth_jw_string(w, look->unimodel);
        berth_jw_key(w, "message");
        berth_jw_string(w, r->err.msg);
        berth_jw_object_end(w);
    }
    berth_jw_array_end(w);
}

static void
batch_answer(struct berth_call *c)
{
    uint32_t failed = 0;
    struct berth_buf b;
    struct berth_jw w;

    berth_buf_init(&b, &c->x->arena);
    berth_jw_init(&w, &b);
    berth_jw_object(&w);
    put_head(&w, c);
    berth_jw_key(&w, "outputs");
    berth_jw_array(&w);
    for (uint32_t i = 0; i < c->part_count; i++) {
        struct berth_part *part = &c->parts[i];
        const size_t len = b.len;
        const struct berth_jw before = w;

        if (part->r.result == 0)
            part->r.result = put_output(&w, c, part, &part->r.err);
        if (part->r.result < 0) { /* take back what was written of it */
            b.len = len;
            w = before;
            berth_jw_null(&w);
            failed++;
        }
    }
    berth_jw_array_end(&w);
    berth_jw_key(&w, "errors");
    put_item_errors(&w, c);
    put_tail(&w, c, c->part_count);
    berth_jw_object_end(&w);
    if (failed == c->part_count) /* nothing went well: then the whole call did not */
        berth_call_fail(c, c->parts[0].r.result, NULL, c->parts[0].r.err.msg);
    else
        berth_call_json(c, 200, &b);
}

const struct berth_call_ops berth_predict_batch_ops = {.answer = batch_answer};
