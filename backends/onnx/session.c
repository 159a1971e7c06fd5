#include <stdlib.h>

#include <berth/settings.h>

#include "ort.h"

/* The engine's messages may have several lines; ours are for one line of a log. */
static void
one_line(struct berth_err *e)
{
    for (char *s = e != NULL ? e->msg : NULL; s != NULL && *s != '\0'; s++) {
        if (*s == '\n' || *s == '\r')
            *s = ' ';
    }
}

/* Behind the place in the engine's source that some messages begin with: "/onnxruntime_src/x.cc:46
 * void f(const std::string&, int) what is wrong". */
static const char *
without_place(const char *msg)
{
    const char *s = strstr(msg, "/onnxruntime_src/");
    int depth = 0;
    bool called = false;

    if (s == NULL)
        return msg;
    for (; *s != '\0' && !(called && depth == 0 && *s == ' '); s++) {
        called = called || *s == '(';
        depth += (*s == '(' || *s == '<') - (*s == ')' || *s == '>');
    }
    return *s == ' ' ? s + 1 : msg;
}

int
ort_fail(const struct ort_engine *o, OrtStatus *status, const char *what, struct berth_err *e)
{
    enum berth_code code = BERTH_EBACKEND;

    switch (o->api->GetErrorCode(status)) {
    case ORT_INVALID_ARGUMENT:
    case ORT_NO_SUCHFILE:
    case ORT_NO_MODEL:
    case ORT_INVALID_PROTOBUF:
    case ORT_INVALID_GRAPH:
    case ORT_NOT_IMPLEMENTED:
        code = BERTH_EINVAL;
        break;
    case ORT_OK:
    case ORT_FAIL:
    case ORT_ENGINE_ERROR:
    case ORT_RUNTIME_EXCEPTION:
    case ORT_MODEL_LOADED:
    case ORT_EP_FAIL:
    default: /* the library may be newer than its header */
        break;
    }
    (void)berth_err_set(e, code, "%s: %.360s", what,
                        without_place(o->api->GetErrorMessage(status)));
    one_line(e);
    o->api->ReleaseStatus(status);
    return -(int)code;
}

/* What to do about a model that the engine does not take. */
static const char *
advice(OrtErrorCode code, const char *msg)
{
    if (strcasestr(msg, "external") != NULL || strstr(msg, "data file") != NULL)
        return "put the files of its external data beside the model, under the names it was "
               "exported with";
    if (strcasestr(msg, "opset") != NULL || strstr(msg, "IR version") != NULL)
        return "export it with a lower opset_version, or install a newer ONNX Runtime";
    if (strstr(msg, "is not a registered function") != NULL)
        return "it uses an operator that this ONNX Runtime has not; export it with standard "
               "operators only";
    if (code == ORT_INVALID_PROTOBUF || strstr(msg, "No graph was") != NULL ||
        strstr(msg, "not have a graph") != NULL)
        return "it is no ONNX model or is cut short; fetch or export it again";
    if (code == ORT_NOT_IMPLEMENTED)
        return "ONNX Runtime has no such operator for these types on this device; export it with "
               "other types";
    return "check it with onnx.checker.check_model(), or export it again";
}

/* A failure to load is the file's fault unless memory ran out. */
static int
load_fail(const struct ort_engine *o, OrtStatus *s, struct berth_err *e)
{
    const char *msg = o->api->GetErrorMessage(s);
    const char *reason = strstr(msg, " failed:");
    enum berth_code code = BERTH_EINVAL;

    /* The caller names the file already. */
    if (strncmp(msg, "Load model from ", 16) == 0 && reason != NULL)
        msg = reason + strlen(" failed:");
    if (strstr(msg, "bad_alloc") != NULL || strstr(msg, "Failed to allocate memory") != NULL)
        (void)berth_err_set(e, code = BERTH_ENOMEM, "out of memory: %.360s", msg);
    else
        (void)berth_err_set(e, code, "%.300s; %s", without_place(msg),
                            advice(o->api->GetErrorCode(s), msg));
    one_line(e);
    o->api->ReleaseStatus(s);
    return -(int)code;
}

/* Index of the setting's value in names[], which NULL ends. */
static int
choice(const char *conf, const char *key, const char *const names[], const char *dflt, size_t *ret,
       struct berth_err *e)
{
    char text[32], all[128] = "";

    (void)berth_setting_string(conf, key, dflt, text, sizeof text);
    for (size_t i = 0; names[i] != NULL; i++) {
        size_t n = strlen(all);

        if (strcmp(names[i], text) == 0) {
            *ret = i;
            return 0;
        }
        if (snprintf(all + n, sizeof all - n, "%s%s", i > 0 ? ", " : "", names[i]) < 0)
            all[n] = '\0';
    }
    return berth_err_set(e, BERTH_EINVAL, "setting %s is \"%s\", must be one of: %s", key, text,
                         all);
}

static uint32_t
intra_threads(const struct berth_load *how)
{
    const int64_t n = berth_setting_int(how->settings_json, "intra_op_threads", 0);

    return n > 0 ? (uint32_t)n : how->threads;
}

/* A pool for operators, if they run side by side at all, and one for what is in them; the caller is
 * one of each. */
uint32_t
ort_session_threads(const struct berth_load *how)
{
    char mode[16] = "";
    const int64_t inter = berth_setting_int(how->settings_json, "inter_op_threads", 1);

    (void)berth_setting_string(how->settings_json, "execution_mode", "sequential", mode,
                               sizeof mode);
    return intra_threads(how) + (strcmp(mode, "parallel") == 0 ? (uint32_t)inter - 1 : 0);
}

static int
set_options(const struct ort_engine *o, OrtSessionOptions *so, const struct berth_load *how,
            struct berth_err *e)
{
    static const char *const levels[] = {"disable", "basic", "extended", "all", NULL};
    static const GraphOptimizationLevel level_of[] = {ORT_DISABLE_ALL, ORT_ENABLE_BASIC,
                                                      ORT_ENABLE_EXTENDED, ORT_ENABLE_ALL};
    static const char *const modes[] = {"sequential", "parallel", NULL};
    const OrtApi *api = o->api;
    const char *conf = how->settings_json;
    const char *spin = berth_setting_bool(conf, "allow_spinning", false) ? "1" : "0";
    int64_t inter = berth_setting_int(conf, "inter_op_threads", 1);
    size_t level = 0, mode = 0;
    OrtStatus *s;
    int rc = choice(conf, "graph_optimization", levels, "all", &level, e);

    if (rc == 0)
        rc = choice(conf, "execution_mode", modes, "sequential", &mode, e);
    if (rc < 0)
        return rc;
    s = api->SetIntraOpNumThreads(so, (int)intra_threads(how));
    if (s == NULL)
        s = api->SetInterOpNumThreads(so, (int)inter);
    if (s == NULL)
        s = api->SetSessionGraphOptimizationLevel(so, level_of[level]);
    if (s == NULL)
        s = api->SetSessionExecutionMode(so, mode == 0 ? ORT_SEQUENTIAL : ORT_PARALLEL);
    if (s == NULL)
        s = api->AddSessionConfigEntry(so, "session.intra_op.allow_spinning", spin);
    if (s == NULL)
        s = api->AddSessionConfigEntry(so, "session.inter_op.allow_spinning", spin);
    if (s == NULL)
        s = berth_setting_bool(conf, "memory_pattern", true) ? api->EnableMemPattern(so)
                                                             : api->DisableMemPattern(so);
    if (s == NULL)
        s = berth_setting_bool(conf, "arena", true) ? api->EnableCpuMemArena(so)
                                                    : api->DisableCpuMemArena(so);
    return s == NULL ? 0 : ort_fail(o, s, "session options", e);
}

int
ort_session_open(struct berth_instance *m, const char *path, const struct berth_load *how,
                 struct berth_err *e)
{
    const OrtApi *api = m->o->api;
    OrtSessionOptions *so = NULL;
    OrtStatus *s = api->CreateSessionOptions(&so);
    int rc;

    if (s != NULL)
        return ort_fail(m->o, s, "session options", e);
    rc = set_options(m->o, so, how, e);
    if (rc == 0) {
        s = api->CreateSession(m->o->env, path, so, &m->session);
        if (s != NULL)
            rc = load_fail(m->o, s, e);
    }
    api->ReleaseSessionOptions(so);
    if (rc < 0)
        return rc;
    s = api->CreateRunOptions(&m->run_options);
    if (s != NULL)
        return ort_fail(m->o, s, "run options", e);
#if ORT_API_VERSION >= 23
    if (m->o->api_level >= 23) {
        s = api->CreateAllocator(m->session, m->o->cpu, &m->session_alloc);
        if (s != NULL) /* then memory() says 0 */
            api->ReleaseStatus(s);
    }
#endif
    return 0;
}

void
ort_session_close(struct berth_instance *m)
{
    const OrtApi *api = m->o->api;

    if (m->session_alloc != NULL)
        api->ReleaseAllocator(m->session_alloc);
    if (m->run_options != NULL)
        api->ReleaseRunOptions(m->run_options);
    if (m->session != NULL)
        api->ReleaseSession(m->session);
}
