#include "cmd/cmd_priv.h"

#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "cmd/remote.h"
#include "cmd/table.h"
#include "conf/conf.h"
#include "fetch/fetch.h"
#include "wire/json.h"

/* pull: fetch a file into the state folder, and register it when asked. */

struct meter {
    bool shown;
    uint64_t begin_ns, last_ns, begin_bytes;
};

/* A line that is written over, twice a second, on a terminal only. */
static bool
on_progress(void *arg, uint64_t got, uint64_t total)
{
    struct meter *m = arg;
    const uint64_t now = berth_now_ns();
    char done[24], all[24], rate[24];

    if (m->begin_ns == 0) {
        m->begin_ns = now;
        m->begin_bytes = got;
    }
    if (now - m->last_ns < BERTH_S / 2 || isatty(STDERR_FILENO) == 0)
        return true;
    m->last_ns = now;
    m->shown = true;
    const uint64_t ms = (now - m->begin_ns) / BERTH_MS + 1;
    const uint64_t speed = got > m->begin_bytes ? (got - m->begin_bytes) * 1000 / ms : 0;
    (void)fprintf(stderr, "\r%s", berth_bytes_text(got, done));
    if (total > 0)
        (void)fprintf(stderr, " of %s (%llu %%)", berth_bytes_text(total, all),
                      (unsigned long long)(got * 100 / total));
    (void)fprintf(stderr, ", %s/s", berth_bytes_text(speed, rate));
    if (total > got && speed > 0)
        (void)fprintf(stderr, ", %llu s left", (unsigned long long)((total - got) / speed));
    (void)fprintf(stderr, "   ");
    return true;
}

/* The name to register under: --name, or the file's without its suffix. */
static void
model_name(const struct berth_args *args, const char *path, char room[200])
{
    const char *given = berth_arg(args, "name");
    const char *slash = strrchr(path, '/');

    (void)snprintf(room, 200, "%s", given != NULL ? given : slash != NULL ? slash + 1 : path);
    char *dot = given == NULL ? strrchr(room, '.') : NULL;
    if (dot != NULL && dot > room)
        *dot = '\0';
}

static int
register_file(const struct berth_args *args, const char *path)
{
    struct berth_remote r;
    struct berth_buf body;
    struct berth_jw w;
    char name[200];
    int rc = berth_remote_init(&r, args);

    if (rc != 0)
        return rc;
    model_name(args, path, name);
    berth_buf_init(&body, &r.arena);
    berth_jw_init(&w, &body);
    berth_jw_object(&w);
    berth_jw_key(&w, "name");
    berth_jw_string(&w, name);
    berth_jw_key(&w, "model_path");
    berth_jw_string(&w, path);
    berth_jw_object_end(&w);
    rc = berth_remote_call(&r, "POST", "/v1/models", NULL, &body, NULL);
    berth_remote_fini(&r);
    if (rc == 0 && printf("registered as %s\n", name) < 0)
        rc = BERTH_EXIT_FAILED;
    return rc;
}

int
berth_run_pull(const struct berth_args *args)
{
    struct meter meter = {0};
    char state[PATH_MAX], folder[PATH_MAX + 8];
    char *path = NULL;
    struct berth_err e;

    (void)berth_conf_state_dir_default(environ, state, sizeof state);
    (void)snprintf(folder, sizeof folder, "%s/models", state);
    const struct berth_fetch what = {
        .source = args->words[0],
        .sha256 = berth_arg(args, "sha256"),
        .folder = berth_arg(args, "dir") != NULL ? berth_arg(args, "dir") : folder,
        .hf_token = getenv("HF_TOKEN"),
        .hf_endpoint = getenv("HF_ENDPOINT"),
        .progress = on_progress,
        .arg = &meter,
    };
    int rc = berth_fetch(&what, &path, &e);
    if (meter.shown)
        (void)fputc('\n', stderr);
    if (rc == -BERTH_EINVAL)
        return berth_usage(args, "%s", e.msg);
    if (rc == -BERTH_ENETWORK || rc == -BERTH_EDEADLINE)
        return berth_failed(args, "%s\nRun the same command again: it goes on from there.", e.msg);
    if (rc != 0)
        return berth_failed(args, "%s", e.msg);
    rc = printf("%s\n", path) < 0 ? BERTH_EXIT_FAILED : BERTH_EXIT_OK;
    if (rc == 0 && berth_arg(args, "register") != NULL)
        rc = register_file(args, path);
    free(path);
    return rc;
}
