#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <berth/backend.h>
#include <berth/settings.h>

enum { SEQUENCE_MAX = 16, WORD_MAX = 128, TEXT_MAX = 4096 };

struct sequence {
    struct berth_request *r; /* NULL: free */
    char text[TEXT_MAX];
    char *rest; /* of the words */
    uint32_t words;
};

struct berth_instance {
    const struct berth_host *h;
    struct berth_describe describe;
    struct berth_tensor_spec in, out;
    struct sequence sequences[SEQUENCE_MAX];
};

static void
pause_ms(long ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    (void)nanosleep(&t, NULL);
}

static void
eat(size_t mib)
{
    for (size_t i = 0; i < mib; i++) {
        char *p = malloc((size_t)1 << 20); /* never given back */
        if (p == NULL)
            abort();
        memset(p, 1, (size_t)1 << 20);
    }
}

static void
noise(void)
{
    for (int i = 0; i < 20000; i++)
        (void)printf("noise %d \033[31m on standard output\n", i);
    (void)fflush(stdout);
    for (int i = 0; i < 4096; i++) {
        static char block[1024];
        memset(block, 0xee, sizeof block);
        (void)!write(STDERR_FILENO, block, sizeof block);
    }
    (void)!write(STDERR_FILENO, "\n", 1);
}

/* Over what the server reads, again and again: the place of its answers, and how they are told. */
static void *
scribble(void *arg)
{
    unsigned char *p = arg;

    for (unsigned n = 0;; n++) {
        for (size_t i = 64; i < 1024; i++)
            p[i] = (unsigned char)(n % 3 == 0 ? 0xff : n + i);
        memset(p + (64 << 10) + ((size_t)1 << 30), (int)n, 4096);
    }
    return NULL;
}

static void
start_scribble(void)
{
    pthread_t thread;
    FILE *f = fopen("/proc/self/maps", "r");
    unsigned long from, to;
    char line[512];

    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        if (strstr(line, "memfd:berth-worker") == NULL || sscanf(line, "%lx-%lx", &from, &to) != 2)
            continue;
        (void)pthread_create(&thread, NULL, scribble, (void *)from);
    }
    if (f != NULL)
        (void)fclose(f);
}

static void
go_wrong(const char *word)
{
    volatile int forever = 1;
    volatile uintptr_t nowhere = 16; /* the compiler must not know */

    if (strcmp(word, "abort") == 0)
        abort();
    if (strcmp(word, "segv") == 0)
        *(volatile int *)nowhere = 1;
    if (strcmp(word, "kill") == 0)
        (void)raise(SIGKILL);
    if (strcmp(word, "exit") == 0)
        exit(0);
    while (strcmp(word, "loop") == 0 && forever)
        continue;
    if (strcmp(word, "bomb") == 0)
        eat(SIZE_MAX);
    if (strncmp(word, "eat:", 4) == 0)
        eat((size_t)strtoul(word + 4, NULL, 10));
    if (strcmp(word, "noise") == 0)
        noise();
    for (int fd = strcmp(word, "closeall") == 0 ? 0 : 3; strncmp(word, "close", 5) == 0 && fd < 256;
         fd++)
        (void)close(fd);
    if (strcmp(word, "scribble") == 0)
        start_scribble();
    if (strcmp(word, "child") == 0) {
        if (fork() == 0) {
            (void)execlp("sleep", "sleep", "987", (char *)NULL);
            _exit(1);
        }
        abort();
    }
    if (strncmp(word, "slow:", 5) == 0)
        pause_ms(strtol(word + 5, NULL, 10));
}

static int
fault_load(const struct berth_host *h, const struct berth_load *how, struct berth_instance **ret,
           struct berth_err *e)
{
    struct berth_instance *m = calloc(1, sizeof *m);
    char word[WORD_MAX], crash_file[1024];

    if (m == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "fault: out of memory");
    (void)berth_setting_string(how->settings_json, "at_load", NULL, word, sizeof word);
    (void)berth_setting_string(how->settings_json, "crash_file", NULL, crash_file,
                               sizeof crash_file);
    pause_ms((long)berth_setting_int(how->settings_json, "load_ms", 0));
    if (crash_file[0] != '\0' && access(crash_file, F_OK) == 0)
        abort();
    if (strcmp(word, "fail") == 0) {
        free(m);
        return berth_err_set(e, BERTH_EINVAL, "fault: fails to load, as it was told");
    }
    go_wrong(word);
    m->h = h;
    m->in =
        (struct berth_tensor_spec){.name = "do", .dtype = BERTH_BYTES, .rank = 1, .shape = {-1}};
    m->out =
        (struct berth_tensor_spec){.name = "did", .dtype = BERTH_BYTES, .rank = 1, .shape = {-1}};
    m->describe = (struct berth_describe){
        .struct_size = sizeof m->describe,
        .tasks = BERTH_TASK_TENSOR | BERTH_TASK_COMPLETION | BERTH_TASK_CHAT,
        .platform = "fault",
        .inputs = &m->in,
        .input_count = 1,
        .outputs = &m->out,
        .output_count = 1,
        .batch_rows_max = UINT32_MAX,
        .sequence_max = SEQUENCE_MAX,
        .context_len = TEXT_MAX,
        .threads = BERTH_THREADS_NONE,
    };
    *ret = m;
    return 0;
}

static void
fault_unload(struct berth_instance *m)
{
    free(m);
}

static const struct berth_describe *
fault_describe(const struct berth_instance *m)
{
    return &m->describe;
}

static int
run_one(struct berth_instance *m, struct berth_request *r, struct berth_err *e)
{
    const struct berth_tensor *in = m->h->input(r, 0);
    struct berth_tensor out = *in;
    char word[WORD_MAX] = "", text[WORD_MAX + 4];
    uint32_t len = 0;
    void *buf;

    if (in->size >= sizeof len)
        memcpy(&len, in->bytes, sizeof len);
    if (len < sizeof word && len + sizeof len <= in->size)
        memcpy(word, (const char *)in->bytes + sizeof len, len);
    if (strcmp(word, "fail") == 0) {
        m->h->fail(r, BERTH_EBACKEND, "fault: fails, as it was told");
        return 0;
    }
    go_wrong(word);
    out.name = "did";
    out.bytes = in->bytes;
    if (strcmp(word, "pid") == 0) {
        len = (uint32_t)snprintf(text + sizeof len, sizeof text - sizeof len, "%d", (int)getpid());
        memcpy(text, &len, sizeof len);
        out.bytes = text;
        out.size = len + sizeof len;
    }
    int result = m->h->output(r, &out, &buf, e);
    if (result == 0 && out.size > 0)
        memcpy(buf, out.bytes, out.size);
    return result;
}

static int
fault_run(struct berth_instance *m, struct berth_request *const reqs[], size_t n,
          struct berth_err *e)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < n; i++)
        r = run_one(m, reqs[i], e);
    return r;
}

/* The last "content" of a chat, or the prompt. */
static void
take_text(const struct berth_gen *g, char text[TEXT_MAX])
{
    const char *at = g->prompt != NULL ? g->prompt : "", *end;

    if (g->chat_json == NULL) {
        (void)snprintf(text, TEXT_MAX, "%s", at);
        return;
    }
    for (const char *s = g->chat_json; (s = strstr(s, "\"content\":\"")) != NULL; s++)
        at = s + sizeof "\"content\":" - 1;
    (void)berth_json_string(at, text, TEXT_MAX, &end);
}

static void
take_new(struct berth_instance *m, struct berth_queue *q)
{
    for (size_t i = 0; i < SEQUENCE_MAX; i++) {
        struct sequence *s = &m->sequences[i];
        if (s->r != NULL)
            continue;
        s->r = m->h->next(q);
        if (s->r == NULL)
            return;
        take_text(m->h->gen(s->r), s->text);
        s->rest = s->text;
        s->words = 0;
    }
}

/* One word of one sequence. */
static void
say_word(struct berth_instance *m, struct sequence *s)
{
    struct berth_delta d = {.token_count = 1};
    char *word = strsep(&s->rest, " ");

    if (m->h->cancelled(s->r) || (word != NULL && strcmp(word, "fail") == 0)) {
        m->h->fail(s->r, BERTH_EBACKEND, "fault: fails, as it was told");
        s->r = NULL;
        return;
    }
    if (word == NULL) {
        const struct berth_finish f = {.completion_tokens = s->words, .prompt_tokens = s->words};
        m->h->finish(s->r, &f);
        s->r = NULL;
        return;
    }
    go_wrong(word);
    char text[TEXT_MAX];
    d.text_len = (size_t)snprintf(text, sizeof text, "%s%s", s->words > 0 ? " " : "", word);
    d.text = text;
    s->words++;
    m->h->emit(s->r, &d);
}

static int
fault_step(struct berth_instance *m, struct berth_queue *q, struct berth_err *e)
{
    int n = 0;

    (void)e;
    take_new(m, q);
    for (size_t i = 0; i < SEQUENCE_MAX; i++) {
        if (m->sequences[i].r != NULL)
            say_word(m, &m->sequences[i]);
        n += m->sequences[i].r != NULL;
    }
    return n;
}

static void
fault_reset(struct berth_instance *m)
{
    memset(m->sequences, 0, sizeof m->sequences);
}

static const char *const suffixes[] = {".fault", NULL};
static const struct berth_setting settings[] = {
    {"at_load", BERTH_SETTING_STRING, 0, 0, "", "what to do at load"},
    {"load_ms", BERTH_SETTING_INT, 0, 600000, "0", "how long a load takes"},
    {"crash_file", BERTH_SETTING_STRING, 0, 0, "", "a load aborts while this file is there"},
    {NULL, BERTH_SETTING_INT, 0, 0, NULL, NULL},
};

static const struct berth_backend_ops ops = {
    .abi = BERTH_BACKEND_ABI,
    .struct_size = sizeof ops,
    .name = "fault",
    .version = "1",
    .suffixes = suffixes,
    .settings = settings,
    .load = fault_load,
    .unload = fault_unload,
    .describe = fault_describe,
    .run = fault_run,
    .step = fault_step,
    .reset = fault_reset,
};

const struct berth_backend_ops *
berth_backend_entry(const struct berth_host *h, struct berth_err *e)
{
    (void)h;
    (void)e;
    return &ops;
}
