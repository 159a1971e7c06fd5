#include <stdlib.h>

#include "ort.h"

enum { PORT_MAX = 4096 };

/* The engine's element types that tensors of the Open Inference Protocol have. */
static const struct {
    ONNXTensorElementDataType type;
    enum berth_dtype dtype;
} dtypes[] = {
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL, BERTH_BOOL},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, BERTH_UINT8},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16, BERTH_UINT16},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32, BERTH_UINT32},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64, BERTH_UINT64},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8, BERTH_INT8},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16, BERTH_INT16},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32, BERTH_INT32},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, BERTH_INT64},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16, BERTH_FP16},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16, BERTH_BF16},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, BERTH_FP32},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE, BERTH_FP64},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING, BERTH_BYTES},
};

static const char *
kind_name(enum ONNXType kind)
{
    switch (kind) {
    case ONNX_TYPE_SEQUENCE:
        return "a sequence";
    case ONNX_TYPE_MAP:
        return "a map";
    case ONNX_TYPE_SPARSETENSOR:
        return "a sparse tensor";
    case ONNX_TYPE_OPTIONAL:
        return "optional";
    case ONNX_TYPE_OPAQUE:
    case ONNX_TYPE_UNKNOWN:
    case ONNX_TYPE_TENSOR:
        break;
    }
    return "of a type that is not served";
}

/* Shape and element type of a port whose type_info and name are there.  -BERTH_EUNSUPPORTED when
 * no protocol can carry it. */
static int
port_read(const struct ort_engine *o, struct ort_port *p, struct berth_err *e)
{
    const OrtTensorTypeAndShapeInfo *shape = NULL;
    enum ONNXType kind = ONNX_TYPE_UNKNOWN;
    size_t rank, i = 0;
    OrtStatus *s = o->api->GetOnnxTypeFromTypeInfo(p->type_info, &kind);

    if (s == NULL)
        s = o->api->CastTypeInfoToTensorInfo(p->type_info, &shape);
    if (s != NULL)
        return ort_fail(o, s, p->spec.name, e);
    if (kind != ONNX_TYPE_TENSOR || shape == NULL)
        return berth_err_set(e, BERTH_EUNSUPPORTED, "%s is %s", p->spec.name, kind_name(kind));
    s = o->api->GetTensorElementType(shape, &p->type);
    if (s == NULL)
        s = o->api->GetDimensionsCount(shape, &rank);
    if (s != NULL)
        return ort_fail(o, s, p->spec.name, e);
    while (i < sizeof dtypes / sizeof dtypes[0] && dtypes[i].type != p->type)
        i++;
    if (i == sizeof dtypes / sizeof dtypes[0])
        return berth_err_set(e, BERTH_EUNSUPPORTED, "%s has elements of ONNX type %d", p->spec.name,
                             (int)p->type);
    if (rank > BERTH_RANK_MAX)
        return berth_err_set(e, BERTH_EUNSUPPORTED, "%s has %zu dimensions, at most %u",
                             p->spec.name, rank, BERTH_RANK_MAX);
    p->spec.dtype = dtypes[i].dtype;
    p->spec.rank = (uint32_t)rank;
    s = o->api->GetDimensions(shape, p->spec.shape, rank);
    if (s == NULL)
        s = o->api->GetSymbolicDimensions(shape, p->symbols, rank);
    if (s != NULL)
        return ort_fail(o, s, p->spec.name, e);
    for (i = 0; i < rank; i++) {
        if (p->spec.shape[i] < 0)
            p->spec.shape[i] = -1;
    }
    return 0;
}

static int
read_inputs(struct berth_instance *m, size_t n, struct berth_err *e)
{
    const OrtApi *api = m->o->api;
    struct berth_err why = {""};

    for (size_t i = 0; i < n; i++) {
        struct ort_port *p = &m->inputs[i];
        char *name = NULL;
        OrtStatus *s = api->SessionGetInputName(m->session, i, m->o->alloc, &name);

        p->spec.name = name;
        m->describe.input_count = i + 1;
        if (s == NULL)
            s = api->SessionGetInputTypeInfo(m->session, i, &p->type_info);
        if (s != NULL)
            return ort_fail(m->o, s, "reading the inputs", e);
        int rc = port_read(m->o, p, &why);
        if (rc == -BERTH_EUNSUPPORTED)
            return berth_err_set(e, BERTH_EINVAL,
                                 "input %s, and only tensors are served; export the model with "
                                 "inputs that are tensors",
                                 why.msg);
        if (rc < 0)
            return berth_err_set(e, (enum berth_code) - rc, "%s", why.msg);
        m->input_specs[i] = p->spec;
        m->input_names[i] = p->spec.name;
    }
    return 0;
}

/* Outputs that no protocol can carry are left out with a line in the log: the others still serve.
 */
static int
read_outputs(struct berth_instance *m, size_t n, struct berth_err *e)
{
    const OrtApi *api = m->o->api;
    struct berth_err why = {""};
    char line[sizeof why.msg + 160];

    for (size_t i = 0; i < n; i++) {
        struct ort_port *p = &m->outputs[m->describe.output_count];
        char *name = NULL;
        OrtStatus *s = api->SessionGetOutputName(m->session, i, m->o->alloc, &name);
        int rc;

        *p = (struct ort_port){.spec.name = name};
        m->describe.output_count++;
        if (s == NULL)
            s = api->SessionGetOutputTypeInfo(m->session, i, &p->type_info);
        if (s != NULL)
            return ort_fail(m->o, s, "reading the outputs", e);
        rc = port_read(m->o, p, &why);
        if (rc == 0) {
            m->output_specs[m->describe.output_count - 1] = p->spec;
            continue;
        }
        if (rc != -BERTH_EUNSUPPORTED)
            return berth_err_set(e, (enum berth_code) - rc, "%s", why.msg);
        (void)snprintf(line, sizeof line,
                       "onnx: output %s and is left out: only tensors are served (scikit-learn "
                       "models: export with options={'zipmap': False})",
                       why.msg);
        m->h->log(BERTH_LOG_WARN, line);
        api->ReleaseTypeInfo(p->type_info);
        m->o->alloc->Free(m->o->alloc, name);
        m->describe.output_count--;
    }
    if (m->describe.output_count == 0)
        return berth_err_set(e, BERTH_EINVAL,
                             "no output can be served: %s (scikit-learn models: export with "
                             "options={'zipmap': False})",
                             n == 0 ? "the model has none" : why.msg);
    return 0;
}

/* Find where each varying dimension of an output can be read: an input's dimension of that name. */
static void
link_output(const struct berth_instance *m, struct ort_port *out)
{
    out->known = out->spec.dtype != BERTH_BYTES;
    for (uint32_t d = 0; d < out->spec.rank; d++) {
        bool found = out->spec.shape[d] >= 0;

        for (size_t i = 0; i < m->describe.input_count && !found; i++) {
            const struct ort_port *in = &m->inputs[i];

            for (uint32_t k = 0; k < in->spec.rank && !found; k++) {
                found = out->symbols[d][0] != '\0' && in->spec.shape[k] < 0 &&
                        strcmp(in->symbols[k], out->symbols[d]) == 0;
                if (found)
                    out->from[d] = (uint32_t)i * BERTH_RANK_MAX + k;
            }
        }
        out->known = out->known && found;
    }
}

/* Names that exporters make up say nothing about which dimensions are the same. */
static bool
is_made_up(const char *symbol)
{
    return symbol[0] == '\0' || strncmp(symbol, "unk__", 5) == 0;
}

/* How many rows a run may carry: see berth_describe.batch_rows_max.  Dimension 0 is a batch only
 * when it varies everywhere, and two names for it mean two different things. */
static uint32_t
batch_rows_max(const struct berth_instance *m)
{
    const size_t n = m->describe.input_count + m->describe.output_count;
    const char *symbol = NULL;
    size_t varying = 0, ones = 0;

    for (size_t i = 0; i < n; i++) {
        const struct ort_port *p =
            i < m->describe.input_count ? &m->inputs[i] : &m->outputs[i - m->describe.input_count];

        if (p->spec.rank == 0 || m->describe.input_count == 0)
            return 0;
        ones += p->spec.shape[0] == 1;
        varying += p->spec.shape[0] < 0;
        if (p->spec.shape[0] >= 0 || is_made_up(p->symbols[0]))
            continue;
        if (symbol != NULL && strcmp(symbol, p->symbols[0]) != 0)
            return 0;
        symbol = p->symbols[0];
    }
    return varying == n ? UINT32_MAX : ones == n ? 1 : 0;
}

static int
ports_alloc(struct berth_instance *m, size_t in, size_t out)
{
    m->inputs = calloc(in + 1, sizeof *m->inputs);
    m->outputs = calloc(out + 1, sizeof *m->outputs);
    m->input_specs = calloc(in + 1, sizeof *m->input_specs);
    m->output_specs = calloc(out + 1, sizeof *m->output_specs);
    m->input_names = calloc(in + 1, sizeof *m->input_names);
    m->tensors = calloc(in + 1, sizeof *m->tensors);
    m->input_values = calloc(in + 1, sizeof *m->input_values);
    m->output_values = calloc(out + 1, sizeof *m->output_values);
    m->wanted_names = calloc(out + 1, sizeof *m->wanted_names);
    m->wanted = calloc(out + 1, sizeof *m->wanted);
    return m->inputs && m->outputs && m->input_specs && m->output_specs && m->input_names &&
                   m->tensors && m->input_values && m->output_values && m->wanted_names && m->wanted
               ? 0
               : -BERTH_ENOMEM;
}

int
ort_ports_open(struct berth_instance *m, struct berth_err *e)
{
    size_t in = 0, out = 0;
    OrtStatus *s = m->o->api->SessionGetInputCount(m->session, &in);
    int rc;

    if (s == NULL)
        s = m->o->api->SessionGetOutputCount(m->session, &out);
    if (s != NULL)
        return ort_fail(m->o, s, "reading the model", e);
    if (in > PORT_MAX || out > PORT_MAX)
        return berth_err_set(e, BERTH_EINVAL, "%zu inputs and %zu outputs, at most %d of each", in,
                             out, PORT_MAX);
    if (ports_alloc(m, in, out) < 0)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    rc = read_inputs(m, in, e);
    if (rc == 0)
        rc = read_outputs(m, out, e);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < m->describe.output_count; i++)
        link_output(m, &m->outputs[i]);
    m->describe.inputs = m->input_specs;
    m->describe.outputs = m->output_specs;
    m->describe.batch_rows_max = batch_rows_max(m);
    return 0;
}

static void
ports_free(const struct ort_engine *o, struct ort_port *ports, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (ports[i].type_info != NULL)
            o->api->ReleaseTypeInfo(ports[i].type_info);
        if (ports[i].spec.name != NULL)
            o->alloc->Free(o->alloc, (void *)(uintptr_t)ports[i].spec.name);
    }
    free(ports);
}

void
ort_ports_close(struct berth_instance *m)
{
    ports_free(m->o, m->inputs, m->describe.input_count);
    ports_free(m->o, m->outputs, m->describe.output_count);
    free(m->input_specs);
    free(m->output_specs);
    free(m->input_names);
    free(m->tensors);
    free(m->input_values);
    free(m->output_values);
    free(m->wanted_names);
    free(m->wanted);
}
