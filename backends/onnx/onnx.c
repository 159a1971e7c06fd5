#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "ort.h"

/* The oldest API level that has all that is used here. */
enum { API_LEVEL_MIN = 15 };

/* The engine's own state is one for a process, and load() gets nothing that could carry it:
 * so it is kept here.  Written once, by berth_backend_entry(), which is called once. */
static struct ort_engine engine;

/* ---- the engine ---- */

static void
engine_log(void *host, OrtLoggingLevel severity, const char *category, const char *logid,
           const char *location, const char *message)
{
    const struct berth_host *h = host;
    enum berth_log_level level = BERTH_LOG_DEBUG;
    char line[1024];

    (void)category;
    (void)logid;
    (void)location;
    if (severity >= ORT_LOGGING_LEVEL_ERROR)
        level = BERTH_LOG_ERROR;
    else if (severity == ORT_LOGGING_LEVEL_WARNING)
        level = BERTH_LOG_WARN;
    (void)snprintf(line, sizeof line, "onnx: %s", message);
    for (char *s = line; *s != '\0'; s++) {
        if (*s == '\n' || *s == '\r')
            *s = ' ';
    }
    h->log(level, line);
}

/* Open the library and take the highest API level that it and our header have. */
static int
engine_open(struct ort_engine *o, struct berth_err *e)
{
    static const char *const names[] = {"libonnxruntime.so.1", "libonnxruntime.so"};
    const OrtApiBase *(*base_of)(void) = NULL;
    void *so = NULL;

    for (size_t i = 0; i < sizeof names / sizeof names[0] && so == NULL; i++)
        so = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (so == NULL)
        return berth_err_set(e, BERTH_EABI,
                             "ONNX Runtime is not there (put libonnxruntime.so.1 into onnxruntime/ "
                             "beside berth-onnx.so): %s",
                             dlerror());
    *(void **)&base_of = dlsym(so, "OrtGetApiBase");
    const OrtApiBase *base = base_of != NULL ? base_of() : NULL;
    if (base == NULL)
        return berth_err_set(e, BERTH_EABI, "libonnxruntime.so.1 is no ONNX Runtime: %s",
                             dlerror());
    (void)snprintf(o->version, sizeof o->version, "%s", base->GetVersionString());
    /* Version 1.N has level N.  Asking for more than that makes the library complain on stderr. */
    const char *dot = strchr(o->version, '.');
    unsigned long level = dot != NULL ? strtoul(dot + 1, NULL, 10) : ORT_API_VERSION;
    if (level > ORT_API_VERSION)
        level = ORT_API_VERSION;
    for (; level >= API_LEVEL_MIN && o->api == NULL; level--) {
        o->api = base->GetApi((uint32_t)level);
        o->api_level = (uint32_t)level;
    }
    if (o->api == NULL)
        return berth_err_set(e, BERTH_EABI, "ONNX Runtime %s is too old; install 1.%d or later",
                             o->version, API_LEVEL_MIN);
    return 0;
}

static int
engine_init(struct ort_engine *o, const struct berth_host *h, struct berth_err *e)
{
    int rc = engine_open(o, e);
    OrtStatus *s;

    if (rc < 0)
        return rc;
    s = o->api->CreateEnvWithCustomLogger(engine_log, (void *)(uintptr_t)h,
                                          ORT_LOGGING_LEVEL_WARNING, "berth", &o->env);
    if (s == NULL)
        s = o->api->DisableTelemetryEvents(o->env);
    if (s == NULL)
        s = o->api->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &o->cpu);
    if (s == NULL)
        s = o->api->GetAllocatorWithDefaultOptions(&o->alloc);
    return s == NULL ? 0 : ort_fail(o, s, "starting ONNX Runtime", e);
}

/* ---- operations ---- */

static void
onnx_unload(struct berth_instance *m)
{
    if (m == NULL)
        return;
    ort_ports_close(m);
    ort_session_close(m);
    (void)pthread_mutex_destroy(&m->mu);
    free(m->scratch);
    free(m);
}

static bool
has_suffix(const char *name, const char *suffix)
{
    const size_t n = strlen(name), k = strlen(suffix);

    return n > k && strcmp(name + n - k, suffix) == 0;
}

/* The model in a folder: model.onnx, or the only *.onnx there is. */
static int
find_in_folder(const char *path, char ret[PATH_MAX], struct berth_err *e)
{
    DIR *d = opendir(path);
    char found[NAME_MAX + 1] = "";
    bool several = false, exact = false;

    if (d == NULL)
        return berth_err_set(e, BERTH_EINVAL, "%s: %m", path);
    for (const struct dirent *f;
         /* NOLINTNEXTLINE(concurrency-mt-unsafe): one thread has this folder open */
         !exact && (f = readdir(d)) != NULL;) {
        if (!has_suffix(f->d_name, ".onnx"))
            continue;
        exact = strcmp(f->d_name, "model.onnx") == 0;
        several = found[0] != '\0' && !exact;
        (void)snprintf(found, sizeof found, "%s", f->d_name);
    }
    (void)closedir(d);
    if (found[0] == '\0' || several)
        return berth_err_set(e, BERTH_EINVAL, "%s: %s; name the one to load model.onnx", path,
                             several ? "several *.onnx" : "no *.onnx in this folder");
    if (snprintf(ret, PATH_MAX, "%s/%s", path, found) >= PATH_MAX)
        return berth_err_set(e, BERTH_EINVAL, "%s: the path is too long", path);
    return 0;
}

static int
onnx_load(const struct berth_host *h, const struct berth_load *how, struct berth_instance **ret,
          struct berth_err *e)
{
    char path[PATH_MAX];
    struct stat st;
    struct berth_instance *m;
    int rc = 0;

    if (stat(how->path, &st) < 0)
        return berth_err_set(e, BERTH_EINVAL, "%s: %m", how->path);
    if (S_ISDIR(st.st_mode))
        rc = find_in_folder(how->path, path, e);
    else if (snprintf(path, sizeof path, "%s", how->path) >= (int)sizeof path)
        rc = berth_err_set(e, BERTH_EINVAL, "%s: the path is too long", how->path);
    /* The engine would wait for ever at a FIFO. */
    if (rc == 0 && stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        rc = berth_err_set(e, BERTH_EINVAL, "%s: is not a file", path);
    if (rc < 0)
        return rc;
    m = calloc(1, sizeof *m);
    if (m == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    m->o = &engine;
    m->h = h;
    (void)pthread_mutex_init(&m->mu, NULL);
    m->describe = (struct berth_describe){
        .struct_size = sizeof m->describe, .tasks = BERTH_TASK_TENSOR, .platform = "onnx_onnxv1"};
    m->describe.threads = ort_session_threads(how);
    rc = ort_session_open(m, path, how, e);
    if (rc == 0)
        rc = ort_ports_open(m, e);
    if (rc < 0) {
        onnx_unload(m);
        return berth_err_wrap(e, rc, "%s", path);
    }
    *ret = m;
    return 0;
}

static bool
onnx_any_thread(const struct berth_instance *m)
{
    (void)m;
    return true;
}

static const struct berth_describe *
onnx_describe(const struct berth_instance *m)
{
    return &m->describe;
}

/* What the session's arena has taken from the system; 0 where the engine does not say. */
static uint64_t
onnx_memory(const struct berth_instance *m)
{
    uint64_t bytes = 0;

#if ORT_API_VERSION >= 23
    OrtKeyValuePairs *stats = NULL;
    OrtStatus *s;

    if (m->session_alloc == NULL)
        return 0;
    s = m->o->api->AllocatorGetStats(m->session_alloc, &stats);
    if (s != NULL) {
        m->o->api->ReleaseStatus(s);
        return 0;
    }
    const char *text = m->o->api->GetKeyValue(stats, "TotalAllocated");
    bytes = text != NULL ? strtoull(text, NULL, 10) : 0;
    m->o->api->ReleaseKeyValuePairs(stats);
#else
    (void)m;
#endif
    return bytes;
}

static const struct berth_setting settings[] = {
    {"intra_op_threads", BERTH_SETTING_INT, 0, 1024, "0",
     "threads inside an operator; 0: the cores given to the model"},
    {"inter_op_threads", BERTH_SETTING_INT, 1, 1024, "1",
     "operators at once when execution_mode is parallel"},
    {"graph_optimization", BERTH_SETTING_STRING, 0, 0, "all", "disable, basic, extended or all"},
    {"execution_mode", BERTH_SETTING_STRING, 0, 0, "sequential", "sequential or parallel"},
    {"allow_spinning", BERTH_SETTING_BOOL, 0, 0, "false",
     "idle engine threads burn their core for a quicker start"},
    {"memory_pattern", BERTH_SETTING_BOOL, 0, 0, "true",
     "plan memory by the shapes seen; for shapes that seldom change"},
    {"arena", BERTH_SETTING_BOOL, 0, 0, "true", "keep memory between runs"},
    {NULL, BERTH_SETTING_INT, 0, 0, NULL, NULL},
};

static const char *const suffixes[] = {".onnx", NULL};

static const struct berth_backend_ops ops = {
    .abi = BERTH_BACKEND_ABI,
    .struct_size = sizeof ops,
    .name = "onnx",
    .version = engine.version,
    .suffixes = suffixes,
    .settings = settings,
    .load = onnx_load,
    .unload = onnx_unload,
    .describe = onnx_describe,
    .any_thread = onnx_any_thread,
    .run = ort_run,
    .cancel = ort_cancel,
    .memory = onnx_memory,
};

const struct berth_backend_ops *
berth_backend_entry(const struct berth_host *h, struct berth_err *e)
{
    if (h->struct_size < sizeof *h) {
        (void)berth_err_set(e, BERTH_EABI,
                            "onnx: this program is older than the plugin; update it");
        return NULL;
    }
    int rc = engine_init(&engine, h, e);
    if (rc < 0) {
        (void)berth_err_wrap(e, rc, "onnx");
        return NULL;
    }
    return &ops;
}
