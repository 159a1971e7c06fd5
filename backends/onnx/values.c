#include "ort.h"

size_t
ort_width(enum berth_dtype dtype)
{
    static const size_t widths[BERTH_DTYPE_COUNT] = {
#define X(name, width) [BERTH_##name] = (width),
        BERTH_DTYPES(X)
#undef X
    };

    return widths[dtype];
}

/* t's shape with `rows` instead of dimension 0 where rows >= 0. */
static void
shape_of(const struct berth_tensor *t, int64_t rows, int64_t ret[BERTH_RANK_MAX])
{
    memcpy(ret, t->shape, t->rank * sizeof ret[0]);
    if (rows >= 0 && t->rank > 0)
        ret[0] = rows;
}

int
ort_value_strings(const struct berth_instance *m, const struct berth_tensor *t, int64_t rows,
                  OrtValue **ret, struct berth_err *e)
{
    int64_t shape[BERTH_RANK_MAX];
    OrtStatus *s;

    shape_of(t, rows, shape);
    s = m->o->api->CreateTensorAsOrtValue(m->o->alloc, shape, t->rank,
                                          ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING, ret);
    return s == NULL ? 0 : ort_fail(m->o, s, t->name, e);
}

int
ort_value_put_strings(const struct berth_instance *m, OrtValue *v, const struct berth_tensor *t,
                      size_t at, size_t *ret_at, struct berth_err *e)
{
    const unsigned char *p = t->bytes;
    size_t left = t->size;

    while (left > 0) {
        uint32_t len;
        char *room;

        if (left < sizeof len)
            return berth_err_set(e, BERTH_EINVAL, "input %s: bytes end inside a length", t->name);
        memcpy(&len, p, sizeof len);
        p += sizeof len;
        left -= sizeof len;
        if (len > left)
            return berth_err_set(e, BERTH_EINVAL, "input %s: bytes end inside an element", t->name);
        /* The engine refuses an element beyond the shape. */
        OrtStatus *s = m->o->api->GetResizedStringTensorElementBuffer(v, at, len, &room);
        if (s != NULL)
            return ort_fail(m->o, s, t->name, e);
        if (len > 0)
            memcpy(room, p, len);
        p += len;
        left -= len;
        at++;
    }
    *ret_at = at;
    return 0;
}

int
ort_value_over(const struct berth_instance *m, const struct ort_port *port,
               const struct berth_tensor *t, int64_t rows, OrtValue **ret, struct berth_err *e)
{
    static const uint64_t nothing = 0; /* the engine wants an address for no bytes, too */
    int64_t shape[BERTH_RANK_MAX];
    OrtStatus *s;

    if (t->dtype == BERTH_BYTES) {
        size_t end;
        int rc = ort_value_strings(m, t, rows, ret, e);

        return rc < 0 ? rc : ort_value_put_strings(m, *ret, t, 0, &end, e);
    }
    shape_of(t, rows, shape);
    /* Inputs are only read; the engine's call serves outputs as well and so takes no const. */
    s = m->o->api->CreateTensorWithDataAsOrtValue(
        m->o->cpu, (void *)(uintptr_t)(t->size > 0 ? t->bytes : &nothing), t->size, shape, t->rank,
        port->type, ret);
    return s == NULL ? 0 : ort_fail(m->o, s, t->name, e);
}

int
ort_value_tensor(const struct berth_instance *m, const struct ort_port *port, OrtValue *v,
                 struct berth_tensor *ret, struct berth_err *e)
{
    const OrtApi *api = m->o->api;
    OrtTensorTypeAndShapeInfo *info = NULL;
    struct berth_tensor t = {.name = port->spec.name, .dtype = port->spec.dtype};
    void *bytes = NULL;
    size_t rank = 0, count = 0;
    OrtStatus *s = api->GetTensorTypeAndShape(v, &info);

    if (s == NULL)
        s = api->GetDimensionsCount(info, &rank);
    if (s == NULL && rank <= BERTH_RANK_MAX)
        s = api->GetDimensions(info, t.shape, rank);
    if (s == NULL)
        s = api->GetTensorShapeElementCount(info, &count);
    if (s == NULL && t.dtype != BERTH_BYTES)
        s = api->GetTensorMutableData(v, &bytes);
    if (info != NULL)
        api->ReleaseTensorTypeAndShapeInfo(info);
    if (s != NULL)
        return ort_fail(m->o, s, t.name, e);
    if (rank > BERTH_RANK_MAX)
        return berth_err_set(e, BERTH_EBACKEND, "output %s has %zu dimensions, at most %u", t.name,
                             rank, BERTH_RANK_MAX);
    t.rank = (uint32_t)rank;
    t.bytes = bytes;
    t.size = count * ort_width(t.dtype);
    *ret = t;
    return 0;
}

/* Elements [at, at + n) of the string value v as an output in BYTES form. */
static int
give_strings(const struct berth_instance *m, OrtValue *v, size_t at, size_t n,
             struct berth_tensor *t, struct berth_request *r, struct berth_err *e)
{
    const OrtApi *api = m->o->api;
    unsigned char *out;
    OrtStatus *s;
    int rc;

    t->size = 0;
    for (size_t i = at; i < at + n; i++) {
        size_t len;

        s = api->GetStringTensorElementLength(v, i, &len);
        if (s != NULL)
            return ort_fail(m->o, s, t->name, e);
        if (len > UINT32_MAX)
            return berth_err_set(e, BERTH_ETOOBIG, "output %s: an element of %zu bytes", t->name,
                                 len);
        t->size += sizeof(uint32_t) + len;
    }
    rc = m->h->output(r, t, (void **)&out, e);
    if (rc < 0)
        return rc;
    for (size_t i = at; i < at + n; i++) {
        size_t len;

        s = api->GetStringTensorElementLength(v, i, &len);
        if (s == NULL)
            s = api->GetStringTensorElement(v, len, i, out + sizeof(uint32_t));
        if (s != NULL)
            return ort_fail(m->o, s, t->name, e);
        uint32_t len32 = (uint32_t)len;
        memcpy(out, &len32, sizeof len32);
        out += sizeof len32 + len;
    }
    return 0;
}

int
ort_value_give(const struct berth_instance *m, const struct ort_port *port, OrtValue *v,
               const struct berth_tensor *whole, int64_t row, int64_t rows, struct berth_request *r,
               struct berth_err *e)
{
    struct berth_tensor t = *whole;
    size_t row_elements = 1, elements;
    void *out;
    int rc;

    /* The engine holds the whole of it in memory, so no product of a part can overflow. */
    for (uint32_t d = 1; d < t.rank; d++)
        row_elements *= (size_t)t.shape[d];
    if (rows >= 0)
        t.shape[0] = rows;
    elements = t.rank > 0 ? row_elements * (size_t)t.shape[0] : 1;
    if (t.dtype == BERTH_BYTES)
        return give_strings(m, v, row_elements * (size_t)row, elements, &t, r, e);
    t.size = elements * ort_width(port->spec.dtype);
    rc = m->h->output(r, &t, &out, e);
    if (rc < 0)
        return rc;
    if (t.size > 0)
        memcpy(out,
               (const unsigned char *)whole->bytes +
                   row_elements * (size_t)row * ort_width(port->spec.dtype),
               t.size);
    return 0;
}
