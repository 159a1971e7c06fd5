#include <stdio.h>
#include <string.h>

#include "api/api_priv.h"
#include "api/v2_class.h"
#include "api/v2_infer.h"
#include "api/v2_tensor.h"
#include "base/arena.h"
#include "infer/model.h"
#include "infer/registry.h"

/* POST /v2/models/{model}[/versions/{version}]/infer */

static void
infer_answer(struct berth_call *c)
{
    const struct berth_v2_infer *asked = c->state;
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
    int rc = berth_v2_classify(&c->x->arena, asked, &from, &e);
    for (size_t i = 0; i < from.output_count; i++)
        guess += 128 + 3 * from.outputs[i].size;
    berth_buf_init(&b, &c->x->arena);
    const struct berth_arena *a = &c->x->arena;
    if (guess <= (a->max_bytes - a->used_bytes) / 2) /* growing would copy it again and again */
        (void)berth_buf_reserve(&b, guess);
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

/* Does the model give every output that is asked for?  One that does not say gives what it likes.
 */
static int
check_outputs(const struct berth_call *c, const struct berth_v2_infer *asked, struct berth_err *e)
{
    const struct berth_describe *d = berth_model_describe(c->model);

    for (size_t i = 0; i < asked->output_count && d->output_count > 0; i++) {
        size_t k = 0;

        while (k < d->output_count && strcmp(d->outputs[k].name, asked->wanted[i]) != 0)
            k++;
        if (k == d->output_count)
            return berth_err_set(e, BERTH_EINVAL, "unexpected inference output '%s' for model '%s'",
                                 asked->wanted[i], berth_model_name(c->model));
    }
    return 0;
}

static bool
is_given(const struct berth_v2_infer *asked, const char *name)
{
    size_t i = 0;

    while (i < asked->input_count && strcmp(asked->inputs[i].name, name) != 0)
        i++;
    return i < asked->input_count;
}

static int
check_count(const struct berth_describe *d, const char *model, const struct berth_v2_infer *asked,
            struct berth_err *e)
{
    if (asked->input_count == 0 && d->input_count == 0)
        return berth_err_set(e, BERTH_EINVAL, "inputs: must have one tensor at least");
    if (d->input_count == 0 || asked->input_count == d->input_count)
        return 0;
    for (size_t i = 0; i < d->input_count; i++) {
        if (!is_given(asked, d->inputs[i].name))
            return berth_err_set(e, BERTH_EINVAL,
                                 "expected %zu inputs but got %zu inputs for model '%s'; '%s' is "
                                 "missing",
                                 d->input_count, asked->input_count, model, d->inputs[i].name);
    }
    return berth_err_set(e, BERTH_EINVAL, "expected %zu inputs but got %zu inputs for model '%s'",
                         d->input_count, asked->input_count, model);
}

/* Triton's texts where its clients may look for them; whatever else is wrong, the core says. */
static int
check_inputs(const struct berth_call *c, const struct berth_v2_infer *asked, struct berth_err *e)
{
    const struct berth_describe *d = berth_model_describe(c->model);
    const char *model = berth_model_name(c->model);
    const int r = check_count(d, model, asked, e);

    for (size_t i = 0; r == 0 && i < asked->input_count && d->input_count > 0; i++) {
        const struct berth_tensor *t = &asked->inputs[i];
        size_t k = 0;

        while (k < d->input_count && strcmp(d->inputs[k].name, t->name) != 0)
            k++;
        if (k == d->input_count)
            return berth_err_set(e, BERTH_EINVAL, "unexpected inference input '%s' for model '%s'",
                                 t->name, model);
        if (d->inputs[k].dtype != t->dtype)
            return berth_err_set(
                e, BERTH_EINVAL,
                "inference input '%s' data-type is '%s', but model '%s' expects '%s'", t->name,
                berth_dtype_name(t->dtype), model, berth_dtype_name(d->inputs[k].dtype));
    }
    return r;
}

/* The model first: whoever asks for an unknown one is told so before the body is looked at. */
static int
infer_read(struct berth_call *c, struct berth_v2_infer *asked, struct berth_err *e)
{
    const struct berth_slice *h = berth_exchange_header(c->x, "inference-header-content-length");
    struct berth_v2_body from = {.body = c->x->body, .has_header_len = h != NULL};
    int r;

    if ((r = berth_call_find(c, c->name, c->version, e)) != 0 ||
        (h != NULL && (r = berth_v2_header_len(*h, &from.header_len, e)) < 0))
        return r;
    if (c->x->body.len == 0)
        return berth_err_set(e, BERTH_EINVAL, "the body is empty; send a JSON object with inputs");
    from.describe = berth_model_describe(c->model);
    if ((r = berth_v2_infer_read(&c->x->arena, &from, asked, e)) < 0 ||
        (r = check_inputs(c, asked, e)) < 0)
        return r;
    return check_outputs(c, asked, e);
}

void
berth_v2_infer(struct berth_call *c)
{
    struct berth_v2_infer *asked = BERTH_NEW(&c->x->arena, struct berth_v2_infer);
    struct berth_part *part;
    struct berth_err e;
    int r =
        asked != NULL ? infer_read(c, asked, &e) : berth_err_set(&e, BERTH_ENOMEM, "out of memory");

    if (r == BERTH_CALL_PARKED)
        return;
    if (r < 0) {
        berth_call_fail(c, r, NULL, e.msg);
        return;
    }
    c->state = asked;
    c->timeout_ns = asked->timeout_us < UINT64_MAX / 1000 ? asked->timeout_us * 1000 : 0;
    part = berth_call_parts(c, 1);
    if (part == NULL) {
        berth_call_fail(c, -BERTH_ENOMEM, NULL, "the request is larger than its memory limit");
        return;
    }
    part->r.task = BERTH_TASK_TENSOR;
    part->r.inputs = asked->inputs;
    part->r.input_count = asked->input_count;
    part->r.wanted = asked->wanted;
    part->r.wanted_count = asked->output_count;
    berth_call_run(c, &infer_ops);
}
