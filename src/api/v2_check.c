#include "api/v2_check.h"

#include <string.h>

#include "api/call.h"
#include "api/v2_infer.h"
#include "api/v2_tensor.h"

/* Does the model give every output that is asked for?  One that does not say gives what it likes.
 */
static int
check_outputs(const struct berth_describe *d, const char *model, const struct berth_v2_infer *asked,
              struct berth_err *e)
{
    for (size_t i = 0; i < asked->output_count && d->output_count > 0; i++) {
        size_t k = 0;

        while (k < d->output_count && strcmp(d->outputs[k].name, asked->wanted[i]) != 0)
            k++;
        if (k == d->output_count)
            return berth_err_set(e, BERTH_EINVAL, "unexpected inference output '%s' for model '%s'",
                                 asked->wanted[i], model);
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
check_inputs(const struct berth_describe *d, const char *model, const struct berth_v2_infer *asked,
             struct berth_err *e)
{
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

int
berth_v2_check(const struct berth_describe *d, const char *model,
               const struct berth_v2_infer *asked, struct berth_err *e)
{
    const int r = check_inputs(d, model, asked, e);

    return r < 0 ? r : check_outputs(d, model, asked, e);
}

void
berth_v2_run(struct berth_call *c, struct berth_v2_infer *asked, const struct berth_call_ops *ops)
{
    struct berth_part *part;

    c->state = asked;
    berth_call_wishes(c, asked->priority,
                      asked->timeout_us < UINT64_MAX / 1000 ? asked->timeout_us * 1000 : 0);
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
    berth_call_run(c, ops);
}
