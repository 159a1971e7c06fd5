#include "cmd/cmd_priv.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd/input.h"
#include "cmd/remote.h"
#include "wire/json.h"

/* predict: one call of UniModel's :predict, its output as a person wants it. */

/* {"label":"7","score":0.98,"top":[..]} or [{"label":..,"score":..},..]: a line each. */
static bool
put_labels(const struct berth_json *output, struct berth_buf *out)
{
    const struct berth_json *top = berth_json_get(output, "top");
    const struct berth_json *list = berth_json_type(top) == BERTH_JSON_ARRAY ? top : output;
    struct berth_slice label;
    double score;

    if (berth_json_type(list) != BERTH_JSON_ARRAY || berth_json_len(list) == 0)
        return false;
    for (struct berth_json_iter it = berth_json_iter(list); berth_json_next(&it);) {
        const struct berth_json *name = berth_json_get(it.value, "label");
        if (!berth_json_real(berth_json_get(it.value, "score"), &score))
            return false;
        if (berth_json_string(name, &label))
            berth_buf_put(out, label.at, label.len);
        else
            berth_json_put(out, name);
        berth_buf_printf(out, "  %.4f\n", score);
    }
    return true;
}

static void
put_output(const struct berth_json *answer, struct berth_buf *out)
{
    const struct berth_json *output = berth_json_get(answer, "output");
    struct berth_slice text;
    const size_t start = out->len;

    if (berth_json_string(output, &text)) {
        berth_buf_put(out, text.at, text.len);
        berth_buf_putc(out, '\n');
        return;
    }
    if (put_labels(output, out))
        return;
    out->len = start;
    berth_json_put(out, output != NULL ? output : answer);
    berth_buf_putc(out, '\n');
}

/* {"input": ..., "parameters": ...} */
static int
body_put(const struct berth_args *args, struct berth_arena *a, struct berth_buf *body)
{
    const char *parameters = berth_arg(args, "parameters");
    const struct berth_json *v;
    struct berth_err e;

    berth_buf_puts(body, "{\"input\":");
    const int rc = berth_input_put(args, a, args->words[1], body);
    if (rc != 0)
        return rc;
    if (parameters != NULL) {
        if (berth_json_parse(a, parameters, strlen(parameters), NULL, &v, &e) != 0)
            return berth_usage(args, "--parameters: %s", e.msg);
        if (berth_json_type(v) != BERTH_JSON_OBJECT)
            return berth_usage(args, "--parameters: must be an object, is %s",
                               berth_json_type_name(v));
        berth_buf_puts(body, ",\"parameters\":");
        berth_json_put(body, v);
    }
    berth_buf_putc(body, '}');
    return BERTH_EXIT_OK;
}

/* A path that was mistyped is sent as text: say so when the model has refused it. */
static void
say_no_file(const char *typed)
{
    if (access(typed, F_OK) != 0 && strpbrk(typed, "./") != NULL && strpbrk(typed, " {[") == NULL)
        (void)fprintf(stderr, "There is no file %.200s here: it was sent as text.\n", typed);
}

int
berth_run_predict(const struct berth_args *args)
{
    const struct berth_json *answer = NULL;
    struct berth_remote r;
    struct berth_buf body, out;
    int rc = berth_remote_init(&r, args);

    if (rc != 0)
        return rc;
    berth_buf_init(&body, &r.arena);
    berth_buf_init(&out, NULL);
    rc = body_put(args, &r.arena, &body);
    if (rc == 0) {
        rc = berth_remote_call(&r, "POST", "/v1/models/{}:predict", args->words[0], &body, &answer);
        if (rc != 0)
            say_no_file(args->words[1]);
    }
    if (rc == 0) {
        if (berth_arg(args, "json") != NULL) {
            berth_json_put(&out, answer);
            berth_buf_putc(&out, '\n');
        } else {
            put_output(answer, &out);
        }
        rc = berth_print(args, &out);
    }
    berth_remote_fini(&r);
    return rc;
}
