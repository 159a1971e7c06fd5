#include <stdlib.h>

#include "ort.h"

/* Rows of several requests are gathered in one buffer.  Copying more than GATHER_MAX costs more
 * than a batch saves; up to SCRATCH_KEEP bytes are kept for the next run. */
enum { GATHER_MAX = 256 << 20, SCRATCH_KEEP = 32 << 20, ALIGN = 64 };

static size_t
aligned(size_t n)
{
    return (n + ALIGN - 1) / ALIGN * ALIGN;
}

/* r's tensor for input i: mostly the one at the same place. */
static const struct berth_tensor *
find_input(const struct berth_instance *m, const struct berth_request *r, size_t i)
{
    const size_t n = m->h->input_count(r);

    for (size_t k = 0; k < n; k++) {
        const struct berth_tensor *t = m->h->input(r, (i + k) % n);

        if (strcmp(t->name, m->input_names[i]) == 0)
            return t;
    }
    return NULL;
}

/* Fill m->tensors with r's inputs in the model's order. */
static int
order_inputs(struct berth_instance *m, const struct berth_request *r, struct berth_err *e)
{
    for (size_t i = 0; i < m->describe.input_count; i++) {
        const struct berth_tensor *t = find_input(m, r, i);

        if (t == NULL)
            return berth_err_set(e, BERTH_EINVAL, "input %s is missing", m->input_names[i]);
        if (t->dtype != m->inputs[i].spec.dtype)
            return berth_err_set(e, BERTH_EINVAL, "input %s has the wrong datatype", t->name);
        m->tensors[i] = t;
    }
    return 0;
}

/* Which outputs does one of the requests want?  Returns how many, in m->wanted. */
static size_t
want_outputs(struct berth_instance *m, struct berth_request *const reqs[], size_t n)
{
    size_t count = 0;

    for (size_t i = 0; i < m->describe.output_count; i++) {
        const char *name = m->outputs[i].spec.name;
        size_t k = 0;

        while (k < n && !m->h->wants(reqs[k], name))
            k++;
        if (k == n)
            continue;
        m->wanted_names[count] = name;
        m->wanted[count++] = i;
    }
    return count;
}

static void
release_values(const struct berth_instance *m, OrtValue **values, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (values[i] != NULL)
            m->o->api->ReleaseValue(values[i]);
        values[i] = NULL;
    }
}

static int
run_session(struct berth_instance *m, size_t wanted, struct berth_err *e)
{
    OrtStatus *s = m->o->api->Run(m->session, m->run_options, m->input_names,
                                  (const OrtValue *const *)m->input_values, m->describe.input_count,
                                  m->wanted_names, wanted, m->output_values);

    return s == NULL ? 0 : ort_fail(m->o, s, "run", e);
}

/* ---- one request: its bytes are the engine's ---- */

/* The shape that an output will have for the inputs in m->tensors.  False when it cannot be told.
 */
static bool
predict(const struct berth_instance *m, const struct ort_port *out, struct berth_tensor *ret)
{
    size_t size = ort_width(out->spec.dtype);

    if (!out->known)
        return false;
    ret->name = out->spec.name;
    ret->dtype = out->spec.dtype;
    ret->rank = out->spec.rank;
    for (uint32_t d = 0; d < ret->rank; d++) {
        const struct berth_tensor *in = m->tensors[out->from[d] / BERTH_RANK_MAX];
        int64_t len = out->spec.shape[d];

        if (len < 0 && out->from[d] % BERTH_RANK_MAX >= in->rank)
            return false;
        if (len < 0)
            len = in->shape[out->from[d] % BERTH_RANK_MAX];
        ret->shape[d] = len;
        if (__builtin_mul_overflow(size, (size_t)len, &size))
            return false;
    }
    ret->size = size;
    return true;
}

/* Let the engine write where the host wants it, once a run has shown that the model gives this
 * shape: the engine refuses a buffer of another one, and the run would be lost. */
static int
place_output(struct berth_instance *m, const struct ort_port *out, struct berth_request *r,
             OrtValue **ret, struct berth_err *e)
{
    struct berth_tensor t = {.bytes = NULL};
    void *buf;
    int rc;

    if (!out->checked || !predict(m, out, &t) || t.size == 0 ||
        memcmp(t.shape, out->seen, t.rank * sizeof t.shape[0]) != 0)
        return 0;
    rc = m->h->output(r, &t, &buf, e);
    if (rc < 0)
        return rc;
    OrtStatus *s = m->o->api->CreateTensorWithDataAsOrtValue(m->o->cpu, buf, t.size, t.shape,
                                                             t.rank, out->type, ret);
    return s == NULL ? 0 : ort_fail(m->o, s, t.name, e);
}

/* Copy out what the engine has placed itself, and learn from it. */
static int
give_output(struct berth_instance *m, struct ort_port *out, OrtValue *v, struct berth_request *r,
            struct berth_err *e)
{
    struct berth_tensor t, guess = {.bytes = NULL};
    int rc = ort_value_tensor(m, out, v, &t, e);

    if (rc < 0)
        return rc;
    if (predict(m, out, &guess)) {
        out->checked =
            guess.rank == t.rank && memcmp(guess.shape, t.shape, t.rank * sizeof t.shape[0]) == 0;
        out->known = out->checked;
        memcpy(out->seen, t.shape, sizeof out->seen);
    }
    return ort_value_give(m, out, v, &t, 0, -1, r, e);
}

static int
run_one(struct berth_instance *m, struct berth_request *r, struct berth_err *e)
{
    const size_t in = m->describe.input_count, wanted = want_outputs(m, &r, 1);
    uint64_t placed = 0; /* bit j: output j of m->wanted is the host's buffer */
    int rc = wanted == 0 ? 0 : order_inputs(m, r, e);

    if (rc < 0 || wanted == 0)
        return rc;
    for (size_t i = 0; i < in && rc == 0; i++)
        rc = ort_value_over(m, &m->inputs[i], m->tensors[i], -1, &m->input_values[i], e);
    for (size_t j = 0; j < wanted && j < 64 && rc == 0; j++) {
        rc = place_output(m, &m->outputs[m->wanted[j]], r, &m->output_values[j], e);
        if (m->output_values[j] != NULL)
            placed |= UINT64_C(1) << j;
    }
    if (rc == 0)
        rc = run_session(m, wanted, e);
    for (size_t j = 0; j < wanted && rc == 0; j++) {
        if (j >= 64 || (placed >> j & 1) == 0)
            rc = give_output(m, &m->outputs[m->wanted[j]], m->output_values[j], r, e);
    }
    release_values(m, m->input_values, in);
    release_values(m, m->output_values, wanted);
    return rc;
}

/* ---- several: their rows are gathered, and the outputs' rows given back ---- */

static int64_t
rows_of(const struct berth_tensor *t)
{
    return t->rank > 0 ? t->shape[0] : -1;
}

/* Add up rows and bytes.  Every input of a request must have the same rows: then dimension 0 is
 * the batch in all of them. */
static int
measure(struct berth_instance *m, struct berth_request *const reqs[], size_t n, int64_t *ret_rows,
        size_t *ret_bytes, struct berth_err *e)
{
    int64_t rows = 0;
    size_t bytes = 0;

    for (size_t k = 0; k < n; k++) {
        int rc = order_inputs(m, reqs[k], e);

        if (rc < 0)
            return rc;
        for (size_t i = 0; i < m->describe.input_count; i++) {
            if (rows_of(m->tensors[i]) < 0 || rows_of(m->tensors[i]) != rows_of(m->tensors[0]))
                return berth_err_set(e, BERTH_EUNSUPPORTED, "inputs differ in rows");
            bytes += m->tensors[i]->size; /* all of it lies in memory: no overflow */
        }
        rows += rows_of(m->tensors[0]);
    }
    bytes += m->describe.input_count * ALIGN;
    if (bytes > GATHER_MAX)
        return berth_err_set(e, BERTH_EUNSUPPORTED, "%zu bytes are too many to gather", bytes);
    *ret_rows = rows;
    *ret_bytes = bytes;
    return 0;
}

static int
grow_scratch(struct berth_instance *m, size_t bytes, struct berth_err *e)
{
    unsigned char *p;

    if (bytes <= m->scratch_cap)
        return 0;
    p = aligned_alloc(ALIGN, aligned(bytes));
    if (p == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    free(m->scratch);
    m->scratch = p;
    m->scratch_cap = aligned(bytes);
    return 0;
}

/* One input of all requests, end to end at *at in the scratch (BYTES: in a string value). */
static int
gather(struct berth_instance *m, size_t i, struct berth_request *const reqs[], size_t n,
       int64_t rows, unsigned char **at, struct berth_err *e)
{
    struct berth_tensor all = *find_input(m, reqs[0], i);
    const bool strings = all.dtype == BERTH_BYTES;
    size_t element = 0;
    int rc = strings ? ort_value_strings(m, &all, rows, &m->input_values[i], e) : 0;

    all.bytes = *at;
    all.size = 0;
    for (size_t k = 0; k < n && rc == 0; k++) {
        const struct berth_tensor *t = find_input(m, reqs[k], i);

        if (strings) {
            rc = ort_value_put_strings(m, m->input_values[i], t, element, &element, e);
            continue;
        }
        if (t->size > 0)
            memcpy(*at + all.size, t->bytes, t->size);
        all.size += t->size;
    }
    if (rc < 0 || strings)
        return rc;
    *at += aligned(all.size);
    return ort_value_over(m, &m->inputs[i], &all, rows, &m->input_values[i], e);
}

/* All outputs are looked at before the first is given: what is given cannot be taken back. */
static int
scatter(struct berth_instance *m, struct berth_request *const reqs[], size_t n, int64_t rows,
        size_t wanted, struct berth_err *e)
{
    struct berth_tensor whole;

    for (size_t j = 0; j < wanted; j++) {
        int rc = ort_value_tensor(m, &m->outputs[m->wanted[j]], m->output_values[j], &whole, e);

        if (rc < 0)
            return rc;
        if (rows_of(&whole) != rows)
            return berth_err_set(e, BERTH_EUNSUPPORTED,
                                 "output %s has not one row for each of the "
                                 "input's",
                                 whole.name);
    }
    for (size_t j = 0; j < wanted; j++) {
        const struct ort_port *out = &m->outputs[m->wanted[j]];
        int64_t row = 0;
        int rc = ort_value_tensor(m, out, m->output_values[j], &whole, e);

        for (size_t k = 0; k < n && rc == 0; k++) {
            int64_t len = m->h->input(reqs[k], 0)->shape[0];

            if (m->h->wants(reqs[k], out->spec.name))
                rc = ort_value_give(m, out, m->output_values[j], &whole, row, len, reqs[k], e);
            row += len;
        }
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int
run_many(struct berth_instance *m, struct berth_request *const reqs[], size_t n,
         struct berth_err *e)
{
    const size_t wanted = want_outputs(m, reqs, n);
    int64_t rows = 0;
    size_t bytes = 0;
    unsigned char *at;
    int rc;

    if (m->describe.batch_rows_max <= 1)
        return berth_err_set(e, BERTH_EUNSUPPORTED, "this model takes one request at a time");
    if (wanted == 0)
        return 0;
    rc = measure(m, reqs, n, &rows, &bytes, e);
    if (rc == 0)
        rc = grow_scratch(m, bytes, e);
    at = m->scratch;
    for (size_t i = 0; i < m->describe.input_count && rc == 0; i++)
        rc = gather(m, i, reqs, n, rows, &at, e);
    if (rc == 0)
        rc = run_session(m, wanted, e);
    if (rc == 0)
        rc = scatter(m, reqs, n, rows, wanted, e);
    release_values(m, m->input_values, m->describe.input_count);
    release_values(m, m->output_values, wanted);
    if (m->scratch_cap > SCRATCH_KEEP) {
        free(m->scratch);
        m->scratch = NULL;
        m->scratch_cap = 0;
    }
    return rc;
}

/* ---- cancellation ---- */

/* False when nobody waits for the batch already.  The host marks requests as cancelled before it
 * calls cancel(), so a cancel() too early for `running` is seen in the marks. */
static bool
begin(struct berth_instance *m, struct berth_request *const reqs[], size_t n)
{
    (void)pthread_mutex_lock(&m->mu);
    m->running = true;
    (void)pthread_mutex_unlock(&m->mu);
    for (size_t k = 0; k < n; k++) {
        if (!m->h->cancelled(reqs[k]))
            return true;
    }
    return false;
}

/* True when the run was cut short by cancel(), which then has no effect on the next one. */
static bool
end(struct berth_instance *m)
{
    bool cancelled;

    (void)pthread_mutex_lock(&m->mu);
    cancelled = m->cancelled;
    if (cancelled) {
        OrtStatus *s = m->o->api->RunOptionsUnsetTerminate(m->run_options);

        if (s != NULL)
            m->o->api->ReleaseStatus(s);
    }
    m->running = m->cancelled = false;
    (void)pthread_mutex_unlock(&m->mu);
    return cancelled;
}

void
ort_cancel(struct berth_instance *m)
{
    (void)pthread_mutex_lock(&m->mu);
    if (m->running && !m->cancelled) {
        OrtStatus *s = m->o->api->RunOptionsSetTerminate(m->run_options);

        m->cancelled = true;
        if (s != NULL)
            m->o->api->ReleaseStatus(s);
    }
    (void)pthread_mutex_unlock(&m->mu);
}

int
ort_run(struct berth_instance *m, struct berth_request *const reqs[], size_t n, struct berth_err *e)
{
    int rc = -BERTH_ECANCELED;

    if (begin(m, reqs, n))
        rc = n == 1 ? run_one(m, reqs[0], e) : run_many(m, reqs, n, e);
    if ((end(m) && rc < 0) || rc == -BERTH_ECANCELED)
        return berth_err_set(e, BERTH_ECANCELED, "onnx: cancelled");
    return rc < 0 ? berth_err_wrap(e, rc, "onnx") : 0;
}
