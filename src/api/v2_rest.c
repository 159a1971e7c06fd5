#include <stdio.h>
#include <string.h>

#include "api/api_priv.h"
#include "api/timing.h"
#include "api/v2_check.h"
#include "api/v2_class.h"
#include "api/v2_infer.h"
#include "api/v2_shm.h"
#include "api/v2_tensor.h"
#include "base/arena.h"
#include "infer/model.h"
#include "infer/registry.h"

/* POST /v2/models/{model}[/versions/{version}]/infer */

/* How much of the answer output i is: numbers as text are about three times as long. */
static size_t
answer_guess(const struct berth_v2_infer *asked, size_t i, size_t bytes)
{
    const bool binary = i < asked->output_count ? asked->outputs[i].binary : asked->binary;

    return 192 + (binary ? bytes : 3 * bytes);
}

static void
infer_answer(struct berth_call *c)
{
    struct berth_v2_infer *asked = c->state;
    struct berth_request *r = &c->parts[0].r;
    struct berth_v2_answer from = {.model = berth_model_name(c->model),
                                   .version = berth_model_version(c->model),
                                   .asked = asked,
                                   .outputs = r->outputs,
                                   .output_count = r->output_count,
                                   .labels =
                                       berth_json_get(berth_model_manifest(c->model), "labels")};
    struct berth_err e;
    struct berth_buf b;
    size_t header_len = 0, guess = 512;
    char text[24];
    int rc = berth_v2_classify(c->arena, asked, &from, &e);
    if (rc == 0)
        rc = berth_v2_shm_put(c->api->shm, asked, &from, &e);
    if (asked->timing)
        from.timings = berth_call_timings(c, &from.timing_count);
    for (size_t i = 0; i < from.output_count; i++)
        guess += answer_guess(asked, i, from.outputs[i].size);
    berth_buf_init(&b, c->arena);
    const struct berth_arena *a = c->arena;
    if (guess <= (a->max_bytes - a->used_bytes) / 2) { /* growing would copy it again and again */
        b.at = berth_exchange_alloc(c->x, guess);
        b.cap = b.at != NULL ? guess : 0;
    }
    if (rc == 0)
        rc = berth_v2_answer_put(&b, &from, &header_len, &e);
    if (rc < 0) {
        berth_call_fail(c, rc, NULL, e.msg);
    } else if (header_len == 0 || b.failed) {
        berth_call_json(c, 200, &b);
    } else {
        (void)snprintf(text, sizeof text, "%zu", header_len);
        berth_exchange_add(c->x, "inference-header-content-length", text);
        berth_call_reply(c, 200, "application/octet-stream", b.at, b.len);
    }
}

static const struct berth_call_ops infer_ops = {.answer = infer_answer, .all_or_nothing = true};

/* The model first: whoever asks for an unknown one is told so before the body is looked at. */
static int
infer_read(struct berth_call *c, struct berth_v2_infer *asked, struct berth_err *e)
{
    const struct berth_slice *h = c->head_len;
    struct berth_v2_body from = {.body = c->x->body, .has_header_len = h != NULL};
    int r;

    if ((r = berth_call_find(c, c->name, c->version, e)) != 0 ||
        (h != NULL && (r = berth_v2_header_len(*h, &from.header_len, e)) < 0))
        return r;
    if (c->x->body.len == 0)
        return berth_err_set(e, BERTH_EINVAL, "the body is empty; send a JSON object with inputs");
    if ((h != NULL ? from.header_len : from.body.len) > BERTH_PREPARE_JSON_BYTES &&
        berth_prepare_handler(c, berth_v2_infer))
        return BERTH_CALL_PARKED;
    from.describe = berth_model_describe(c->model);
    if ((r = berth_v2_infer_read(c->arena, &from, asked, e)) < 0 ||
        (r = berth_v2_shm_fetch(c->api->shm, c->arena, asked, e)) < 0)
        return r;
    return berth_v2_check(from.describe, berth_model_name(c->model), asked, e);
}

void
berth_v2_infer(struct berth_call *c)
{
    struct berth_v2_infer *asked = BERTH_NEW(c->arena, struct berth_v2_infer);
    struct berth_err e;
    int r =
        asked != NULL ? infer_read(c, asked, &e) : berth_err_set(&e, BERTH_ENOMEM, "out of memory");

    if (r == BERTH_CALL_PARKED)
        return;
    if (r < 0) {
        berth_call_fail(c, r, NULL, e.msg);
        return;
    }
    berth_v2_run(c, asked, &infer_ops);
}
