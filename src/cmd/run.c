#include "cmd/cmd_priv.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "cmd/chat.h"
#include "cmd/input.h"
#include "cmd/local.h"
#include "cmd/remote.h"
#include "wire/json.h"

/* run: a conversation with a model, or one answer. */

enum { LOAD_S = 600, REGISTER_S = 10, CONVERSATION_BYTES_MAX = 4 << 20 };

/* Set by Ctrl-C while an answer comes.  A signal handler can reach nothing else than a variable at
 * file scope. */
static volatile sig_atomic_t interrupts;

static void
on_interrupt(int signal)
{
    (void)signal;
    interrupts++;
}

struct session {
    const struct berth_args *args;
    struct berth_remote remote;
    struct berth_local local;
    const char *model;         /* the registered name */
    struct berth_buf messages; /* the conversation so far */
    struct berth_buf answer;   /* the one that comes */
    long long max_tokens;
    double temperature;
    bool is_named;     /* our server was told of it, and will know it in a moment */
    uint64_t begin_ns; /* of waiting for the model */
};

/* ---- getting the model ready ---- */

/* A model's name out of a file's: its last part without the suffix, odd letters made '-'. */
static char *
name_of_path(struct berth_arena *a, const char *path)
{
    const char *slash = strrchr(path, '/');
    char *name = berth_arena_strdup(a, slash != NULL && slash[1] != '\0' ? slash + 1 : path);
    char *dot = name != NULL ? strrchr(name, '.') : NULL;

    if (dot != NULL && dot > name)
        *dot = '\0';
    for (char *at = name; at != NULL && *at != '\0'; at++)
        if (strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.", *at) ==
            NULL)
            *at = '-';
    return name;
}

static int
register_path(struct session *s, const char *path)
{
    struct berth_slice text;
    struct berth_buf body;
    struct berth_jw w;
    uint16_t status;

    berth_buf_init(&body, &s->remote.arena);
    berth_jw_init(&w, &body);
    berth_jw_object(&w);
    berth_jw_key(&w, "name");
    berth_jw_string(&w, s->model);
    berth_jw_key(&w, "model_path");
    berth_jw_string(&w, path);
    berth_jw_object_end(&w);
    const int rc = berth_remote_try(&s->remote, "POST", "/v1/models", NULL, &body, &status, &text);
    if (rc != 0 || status == 409) /* it is there already: that will do */
        return rc;
    return status < 300 ? BERTH_EXIT_OK : berth_remote_tell(&s->remote, status, text);
}

/* What is not there was meant as a file, or misspelt. */
static int
tell_unknown(const struct session *s)
{
    return berth_failed(s->args,
                        "'%s' is neither a registered model nor a file here.\n%s"
                        "A model's file will do: berth run PATH.gguf",
                        s->model,
                        s->local.pid > 0 ? "" : "`berth list` shows the models there are.  ");
}

/* Ask once how the model stands.  The exit status; *ret_done: it is ready. */
static int
look(struct session *s, bool *woken, bool *ret_done)
{
    const struct berth_json *v = NULL;
    struct berth_slice text;
    uint16_t code = 0;
    int rc =
        berth_remote_try(&s->remote, "GET", "/v1/models/{}/status", s->model, NULL, &code, &text);

    *ret_done = false;
    if (rc != 0 && s->local.log[0] != '\0') { /* it does not stop answering without a reason */
        (void)fprintf(stderr, "The server that was started ended; the end of its log, %s:\n",
                      s->local.log);
        berth_local_tail(&s->local);
    }
    if (rc != 0)
        return rc;
    if (code == 404 && s->is_named && berth_now_ns() < s->begin_ns + REGISTER_S * BERTH_S)
        return BERTH_EXIT_OK; /* our server answers before its models are registered */
    if (code == 404)
        return tell_unknown(s);
    if (code != 200 || berth_json_parse(&s->remote.arena, text.at, text.len, NULL, &v, NULL) != 0)
        return berth_remote_tell(&s->remote, code, text);
    const char *status = berth_remote_text(v, "status", "");
    *ret_done = strcmp(status, "Ready") == 0 || strcmp(status, "Running") == 0;
    if (strcmp(status, "Error") == 0)
        return berth_failed(s->args, "%s cannot be loaded: %s", s->model,
                            berth_remote_text(v, "error", "no reason given"));
    /* It was told to load, and is not loading: there is no room, or somebody unloaded it again. */
    if (strcmp(status, "Unloaded") == 0 && *woken)
        return berth_failed(s->args, "%s is not loaded: %s", s->model,
                            berth_remote_text(v, "reason", "it was unloaded again"));
    if (strcmp(status, "Unloaded") == 0) { /* wake it, once */
        struct berth_buf body;
        berth_buf_init(&body, &s->remote.arena);
        berth_buf_puts(&body, "{}");
        *woken = true;
        rc = berth_remote_call(&s->remote, "POST", "/v2/repository/models/{}/load", s->model, &body,
                               NULL);
    }
    return rc;
}

/* Wait until the model is ready; a failed one is told with the reason. */
static int
await_ready(struct session *s)
{
    bool woken = false, done = false;

    s->begin_ns = berth_now_ns();
    while (!done) {
        const int rc = look(s, &woken, &done);
        if (rc != 0)
            return rc;
        if (interrupts > 0 || berth_now_ns() > s->begin_ns + LOAD_S * BERTH_S)
            return berth_failed(s->args, "%s is still loading; `berth show %s` tells how it goes",
                                s->model, s->model);
        if (!done)
            (void)nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    return BERTH_EXIT_OK;
}

static int
get_ready(struct session *s)
{
    const char *given = s->args->words[0];
    char *path = NULL;
    struct stat st;
    int rc = BERTH_EXIT_OK;

    s->model = given;
    if (stat(given, &st) == 0 && (S_ISREG(st.st_mode) || strchr(given, '/') != NULL)) {
        path = realpath(given, NULL);
        s->model = path != NULL ? name_of_path(&s->remote.arena, path) : NULL;
        if (s->model == NULL) {
            free(path);
            return berth_failed(s->args, "%s: %m", given);
        }
    }
    if (!berth_remote_alive(&s->remote)) {
        s->is_named = path != NULL;
        rc = berth_local_start(&s->local, &s->remote, s->model, path);
    } else if (path != NULL) {
        rc = register_path(s, path);
    }
    free(path);
    return rc == 0 ? await_ready(s) : rc;
}

/* ---- talking ---- */

static bool
on_text(void *arg, struct berth_slice text)
{
    struct session *s = arg;

    berth_buf_put(&s->answer, text.at, text.len);
    (void)berth_tell(stdout, text.at, text.len);
    return fflush(stdout) == 0 && interrupts == 0;
}

static bool
interrupted(void *arg)
{
    (void)arg;
    return interrupts > 0;
}

static void
say_speed(const struct berth_chat_result *r)
{
    const double first = (double)r->first_ns / 1e9, total = (double)r->total_ns / 1e9;
    const double rest = total - first;

    (void)fprintf(stderr, "[%llu prompt tokens, first text after %.0f ms; %llu tokens, %.1f/s]\n",
                  (unsigned long long)r->prompt_tokens, first * 1e3,
                  (unsigned long long)r->completion_tokens,
                  rest > 0 ? (double)r->completion_tokens / rest : 0.0);
}

/* Say text, print the answer as it comes, keep both in the conversation. */
static int
turn(struct session *s, struct berth_slice text)
{
    struct berth_chat_result result;
    const size_t before = s->messages.len;

    interrupts = 0;
    s->answer.len = 0;
    berth_chat_say(&s->messages, "user", text);
    const struct berth_chat chat = {
        .model = s->model,
        .messages = {s->messages.at, s->messages.len},
        .max_tokens = s->max_tokens,
        .temperature = s->temperature,
        .on_text = on_text,
        .interrupted = interrupted,
        .arg = s,
    };
    if (s->messages.failed)
        return berth_failed(s->args, "the conversation is longer than %d MiB",
                            CONVERSATION_BYTES_MAX >> 20);
    const int rc = berth_chat(&s->remote, &chat, &result);
    if (rc != 0) {
        s->messages.len = before; /* as if it had not been said */
        return rc;
    }
    if (s->answer.len == 0 || s->answer.at[s->answer.len - 1] != '\n')
        (void)putchar('\n');
    (void)fflush(stdout);
    berth_chat_say(&s->messages, "assistant",
                   (struct berth_slice){s->answer.len > 0 ? s->answer.at : "", s->answer.len});
    if (berth_arg(s->args, "verbose") != NULL)
        say_speed(&result);
    return rc;
}

static void
begin_conversation(struct session *s)
{
    const char *system = berth_arg(s->args, "system");

    s->messages.len = 0;
    s->messages.failed = false;
    if (system != NULL)
        berth_chat_say(&s->messages, "system", berth_slice_of(system));
}

static int
converse(struct session *s)
{
    char *line = NULL;
    size_t size = 0;
    int rc = BERTH_EXIT_OK;

    (void)printf("%s: /clear forgets, /bye ends.\n", s->model);
    for (;;) { /* until the person ends it */
        (void)printf("> ");
        (void)fflush(stdout);
        ssize_t n = getline(&line, &size, stdin);
        if (n < 0) {
            const bool again = interrupts > 0 && !feof(stdin);
            (void)putchar('\n');
            if (!again)
                break;
            interrupts = 0;
            clearerr(stdin);
            continue;
        }
        while (n > 0 && strchr("\r\n ", line[n - 1]) != NULL)
            line[--n] = '\0';
        if (strcmp(line, "/bye") == 0 || strcmp(line, "/exit") == 0)
            break;
        if (strcmp(line, "/clear") == 0)
            begin_conversation(s);
        else if (line[0] == '/' && strchr(line, ' ') == NULL)
            (void)printf("/clear forgets the conversation, /bye ends it.\n");
        else if (n > 0)
            rc = turn(s, (struct berth_slice){line, (size_t)n});
        if (rc != 0 && !berth_remote_alive(&s->remote))
            break;
        rc = BERTH_EXIT_OK; /* one failed turn, told; the person may go on */
    }
    free(line);
    return rc;
}

static int
answer_once(struct session *s)
{
    struct berth_buf prompt;
    int rc = BERTH_EXIT_OK;

    berth_buf_init(&prompt, NULL);
    if (s->args->word_count > 1 && strcmp(s->args->words[1], "-") != 0)
        berth_buf_puts(&prompt, s->args->words[1]);
    else
        rc = berth_input_stdin(s->args, &prompt);
    if (rc == 0)
        rc = prompt.len > 0 ? turn(s, (struct berth_slice){prompt.at, prompt.len})
                            : berth_failed(s->args, "the prompt is empty");
    berth_buf_fini(&prompt);
    return rc;
}

int
berth_run_run(const struct berth_args *args)
{
    struct session s = {.args = args};
    const struct sigaction interrupt = {.sa_handler = on_interrupt};

    if (!berth_arg_int(args, "max-tokens", 1, 1000000, &s.max_tokens) ||
        !berth_arg_real(args, "temperature", 0, 2, &s.temperature))
        return BERTH_EXIT_USAGE;
    int rc = berth_remote_init(&s.remote, args);
    if (rc != 0)
        return rc;
    (void)sigaction(SIGINT, &interrupt, NULL);
    berth_buf_init(&s.messages, NULL);
    berth_buf_init(&s.answer, NULL);
    s.messages.max = CONVERSATION_BYTES_MAX;
    begin_conversation(&s);
    rc = get_ready(&s);
    if (rc == 0)
        rc = args->word_count > 1 || isatty(STDIN_FILENO) == 0 ? answer_once(&s) : converse(&s);
    if (rc == 0 && interrupts > 0 && (args->word_count > 1 || isatty(STDIN_FILENO) == 0))
        rc = BERTH_EXIT_INTERRUPTED; /* half an answer: a script must not take it for a whole */
    berth_local_stop(&s.local);
    berth_buf_fini(&s.messages);
    berth_buf_fini(&s.answer);
    berth_remote_fini(&s.remote);
    return rc;
}
