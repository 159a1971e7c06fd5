#include "engine.h"

#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <llama.h>

#include "guard.h"
#include "torn.h"

enum { LINE_MAX_BYTES = 400 };

/* Mutable and at file scope, because the engine's logger and its list of devices are so too: it
 * has one of each in a process. */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static const struct berth_host *_Atomic host;
static bool has_device;

/* The engine builds a line from several calls; both buffers belong to the thread that logs. */
static _Thread_local char line[LINE_MAX_BYTES], last_error[LINE_MAX_BYTES];
static _Thread_local size_t line_len;
static _Thread_local enum ggml_log_level line_level;

static void
end_line(void)
{
    const struct berth_host *const h = atomic_load(&host);

    line[line_len] = '\0';
    if (line_len > 0 && line_level == GGML_LOG_LEVEL_ERROR)
        (void)memcpy(last_error, line, line_len + 1);
    if (line_len > 0 && h != NULL)
        h->log(BERTH_LOG_DEBUG, line);
    line_len = 0;
}

static void
take_log(enum ggml_log_level level, const char *text, void *unused)
{
    (void)unused;
    if (level != GGML_LOG_LEVEL_CONT)
        line_level = level;
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '\n')
            end_line();
        else if (line_len < LINE_MAX_BYTES - 1)
            line[line_len++] = *p;
    }
}

/* The engine's device libraries lie beside libllama; the folder it would look in by itself is that
 * of the program. */
static void
bring_up(void)
{
    char dir[PATH_MAX];
    Dl_info where;

    llama_log_set(take_log, NULL);
    berth_guard_open();
    berth_torn_watch();
    llama_backend_init();
    if (dladdr((void *)(uintptr_t)llama_backend_init, &where) == 0 || where.dli_fname == NULL)
        return;
    const char *const slash = strrchr(where.dli_fname, '/');
    const size_t len = slash == NULL ? 0 : (size_t)(slash - where.dli_fname);
    if (len == 0 || len >= sizeof dir)
        return;
    (void)memcpy(dir, where.dli_fname, len);
    dir[len] = '\0';
    ggml_backend_load_all_from_path(dir);
    has_device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU) != NULL;
}

int
berth_engine_open(const struct berth_host *h, struct berth_err *e)
{
    atomic_store(&host, h);
    (void)pthread_once(&once, bring_up);
    if (!has_device)
        return berth_err_set(e, BERTH_EBACKEND,
                             "llama.cpp: no libggml-cpu-*.so beside libllama.so; install the "
                             "engine's whole folder");
    return 0;
}

const char *
berth_engine_last_error(void)
{
    return last_error;
}

void
berth_engine_clear_error(void)
{
    last_error[0] = '\0';
}

void
berth_engine_note_error(const char *text)
{
    const struct berth_host *const h = atomic_load(&host);

    (void)snprintf(last_error, sizeof last_error, "%s", text);
    if (h != NULL)
        h->log(BERTH_LOG_DEBUG, last_error);
}
