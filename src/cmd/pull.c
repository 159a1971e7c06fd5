#include "cmd/cmd_priv.h"

#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "cmd/remote.h"
#include "cmd/table.h"
#include "conf/conf.h"
#include "fetch/fetch.h"
#include "wire/json.h"

/* pull: fetch a file into the state folder, and register it when asked. */

enum { BAR_CELLS = 20, BAR_COLUMNS_MIN = 80, RATE_WEIGHT = 8 };

struct meter {
    const struct berth_args *args;
    bool is_terminal, shown;
    size_t line_len; /* of the line that the next one covers */
    uint64_t begin_ns, shown_ns, sampled_ns, sampled_bytes;
    uint64_t bytes_per_s; /* lately */
    uint64_t got_bytes;
};

/* All that a signal handler may touch. */
static volatile sig_atomic_t interrupted;

static void
on_interrupt(int signal_number)
{
    (void)signal_number;
    interrupted = 1;
}

/* ---- progress ---- */

/* The rate of the last few seconds: what was on disk before must not make it look fast. */
static void
sample(struct meter *m, uint64_t now, uint64_t got)
{
    const uint64_t ms = (now - m->sampled_ns) / BERTH_MS;

    if (ms < 500)
        return;
    const uint64_t more = got > m->sampled_bytes ? got - m->sampled_bytes : 0;
    const uint64_t rate = more < UINT64_MAX / 1000 ? more * 1000 / ms : 0;
    m->bytes_per_s =
        m->bytes_per_s == 0 ? rate : (m->bytes_per_s * (RATE_WEIGHT - 1) + rate) / RATE_WEIGHT;
    m->sampled_ns = now;
    m->sampled_bytes = got;
}

static unsigned
percent_of(uint64_t got, uint64_t total)
{
    return got >= total ? 100 : (unsigned)((double)got * 100 / (double)total);
}

/* "1.0 MiB of 3.0 MiB (33 %), 1.0 MiB/s, 2 s left" */
static void
figures_put(const struct meter *m, uint64_t got, uint64_t total, struct berth_buf *out)
{
    char done[24], all[24], rate[24];

    berth_buf_puts(out, berth_bytes_text(got, done));
    if (total > 0)
        berth_buf_printf(out, " of %s (%u %%)", berth_bytes_text(total, all),
                         percent_of(got, total));
    berth_buf_printf(out, ", %s/s", berth_bytes_text(m->bytes_per_s, rate));
    if (total > got && m->bytes_per_s > 0) {
        const uint64_t left_s = (total - got) / m->bytes_per_s;
        if (left_s < 600)
            berth_buf_printf(out, ", %llu s left", (unsigned long long)left_s);
        else
            berth_buf_printf(out, ", %llu min left", (unsigned long long)left_s / 60);
    }
}

static bool
has_room_for_bar(void)
{
    struct winsize size;

    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 ||
           size.ws_col >= BAR_COLUMNS_MIN;
}

/* On a terminal one line that is written over, elsewhere a line for a log. */
static void
show(struct meter *m, uint64_t got, uint64_t total)
{
    struct berth_buf line;

    berth_buf_init(&line, NULL);
    if (m->is_terminal && total > 0 && has_room_for_bar()) {
        const unsigned full = percent_of(got, total) * BAR_CELLS / 100;
        berth_buf_putc(&line, '[');
        for (unsigned i = 0; i < BAR_CELLS; i++)
            berth_buf_putc(&line, i < full ? '#' : '.');
        berth_buf_puts(&line, "] ");
    }
    figures_put(m, got, total, &line);
    const size_t len = line.len;
    while (m->is_terminal && line.len < m->line_len && !line.failed)
        berth_buf_putc(&line, ' ');
    if (!line.failed && m->is_terminal)
        (void)fprintf(stderr, "\r%.*s", (int)line.len, line.at);
    else if (!line.failed)
        (void)fprintf(stderr, "%s %s: %.*s\n", m->args->program, m->args->cmd->name, (int)line.len,
                      line.at);
    m->line_len = len;
    m->shown = true;
    berth_buf_fini(&line);
}

static bool
on_progress(void *arg, uint64_t got, uint64_t total)
{
    struct meter *m = arg;
    const uint64_t now = berth_now_ns();
    const uint64_t pause_ns = m->is_terminal ? BERTH_S / 2 : 5 * BERTH_S;

    m->got_bytes = got;
    if (m->begin_ns == 0) {
        m->begin_ns = m->shown_ns = m->sampled_ns = now;
        m->sampled_bytes = got;
    }
    sample(m, now, got);
    if (now - m->shown_ns >= pause_ns) {
        m->shown_ns = now;
        show(m, got, total);
    }
    return interrupted == 0;
}

/* Fetch with Ctrl-C as a stop between two reads; a second one ends the program at once. */
static int
fetch(const struct berth_fetch *what, char **ret_path, struct berth_err *e)
{
    const struct sigaction stop = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};
    struct sigaction before;

    (void)sigaction(SIGINT, NULL, &before);
    if (before.sa_handler != SIG_IGN) /* as of a shell's job in the background */
        (void)sigaction(SIGINT, &stop, NULL);
    const int rc = berth_fetch(what, ret_path, e);
    (void)sigaction(SIGINT, &before, NULL);
    return rc;
}

static int
tell_interrupted(const struct meter *m)
{
    char got[24];

    if (m->got_bytes > 0)
        (void)berth_failed(m->args,
                           "interrupted; %s are kept, and the same command goes on from "
                           "there",
                           berth_bytes_text(m->got_bytes, got));
    else
        (void)berth_failed(m->args, "interrupted before anything came");
    return BERTH_EXIT_INTERRUPTED;
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
    struct meter meter = {.args = args, .is_terminal = isatty(STDERR_FILENO) != 0};
    char state[PATH_MAX], folder[PATH_MAX + 8];
    const char *token = berth_arg(args, "token");
    char *path = NULL;
    bool there = false;
    struct berth_err e;

    (void)berth_conf_state_dir_default(environ, state, sizeof state);
    (void)snprintf(folder, sizeof folder, "%s/models", state);
    const struct berth_fetch what = {
        .source = args->words[0],
        .sha256 = berth_arg(args, "sha256"),
        .folder = berth_arg(args, "dir") != NULL ? berth_arg(args, "dir") : folder,
        .hf_token = token != NULL ? token : getenv("HF_TOKEN"),
        .hf_endpoint = getenv("HF_ENDPOINT"),
        .progress = on_progress,
        .arg = &meter,
        .ret_there = &there,
    };
    int rc = fetch(&what, &path, &e);
    if (meter.shown && meter.is_terminal)
        (void)fputc('\n', stderr);
    if (rc == -BERTH_ECANCELED)
        return tell_interrupted(&meter);
    if (rc == -BERTH_EINVAL)
        return berth_usage(args, "%s", e.msg);
    if (rc == -BERTH_ENETWORK || rc == -BERTH_EDEADLINE)
        return berth_failed(args, "%s\nRun the same command again: it goes on from there.", e.msg);
    if (rc != 0)
        return berth_failed(args, "%s", e.msg);
    if (there)
        (void)berth_failed(args, "it is there already: nothing to fetch");
    rc = printf("%s\n", path) < 0 ? BERTH_EXIT_FAILED : BERTH_EXIT_OK;
    if (rc == 0 && berth_arg(args, "register") != NULL)
        rc = register_file(args, path);
    free(path);
    return rc;
}
