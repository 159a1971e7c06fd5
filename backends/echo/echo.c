#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include <berth/backend.h>
#include <berth/settings.h>

/*
 * A backend without a model: it gives back what it gets.  For testing servers and clients, and to
 * be copied as the start of a new backend: a tensor backend needs load, unload, describe and run;
 * what is marked "sequences" below is only for those that generate text.
 */

enum { SEQUENCE_MAX = 64, CONTEXT_LEN = 1 << 20 };

struct sequence {
    struct berth_request *r; /* NULL: free */
    const struct berth_gen *gen;
    char *text; /* what is said, whole; ours */
    size_t len, at;
    const char *stop; /* the stop string that ends the text at len, or NULL */
    uint32_t token_count;
};

struct berth_instance {
    const struct berth_host *h;
    struct berth_describe describe;
    int64_t delay_ms, token_ms;
    char *ballast; /* memory_mb of it */
    uint64_t ballast_bytes;
    char fail_on[256];
    pthread_mutex_t mu;
    pthread_cond_t wake;                     /* on CLOCK_MONOTONIC */
    bool running, cancelled;                 /* under mu */
    struct sequence sequences[SEQUENCE_MAX]; /* the instance's thread only */
    size_t sequence_len;
};

static void
sleep_ms(int64_t ms)
{
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    while (nanosleep(&left, &left) < 0 && errno == EINTR)
        ;
}

/* Memory that a real model would need: written to, so that it is there. */
static int
take_ballast(struct berth_instance *m, int64_t mb, struct berth_err *e)
{
    m->ballast_bytes = (uint64_t)mb << 20;
    if (mb == 0)
        return 0;
    m->ballast = malloc(m->ballast_bytes);
    if (m->ballast == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "echo: no memory for memory_mb");
    for (uint64_t i = 0; i < m->ballast_bytes; i += 4096)
        m->ballast[i] = (char)(i >> 12);
    return 0;
}

static int
echo_load(const struct berth_host *h, const struct berth_load *how, struct berth_instance **ret,
          struct berth_err *e)
{
    const char *conf = how->settings_json;
    struct berth_instance *m = calloc(1, sizeof *m);
    int64_t batch = berth_setting_int(conf, "batch", -1);
    pthread_condattr_t attr;

    if (m == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "echo: out of memory");
    if (take_ballast(m, berth_setting_int(conf, "memory_mb", 0), e) < 0) {
        free(m);
        return -BERTH_ENOMEM;
    }
    sleep_ms(berth_setting_int(conf, "load_ms", 0));
    m->h = h;
    m->delay_ms = berth_setting_int(conf, "delay_ms", 0);
    m->token_ms = berth_setting_int(conf, "token_ms", 0);
    (void)berth_setting_string(conf, "fail_on", NULL, m->fail_on, sizeof m->fail_on);
    m->describe = (struct berth_describe){
        .struct_size = sizeof m->describe,
        .threads = m->delay_ms > 0 || m->token_ms > 0 ? BERTH_THREADS_NONE : 1, /* it sleeps */
        .tasks = BERTH_TASK_TENSOR | BERTH_TASK_COMPLETION | BERTH_TASK_CHAT,
        .platform = "echo",
        .batch_rows_max = batch < 0 ? UINT32_MAX : (uint32_t)batch,
        .sequence_max = SEQUENCE_MAX,
        .context_len = CONTEXT_LEN,
    };
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&m->mu, NULL);
    (void)pthread_cond_init(&m->wake, &attr);
    (void)pthread_condattr_destroy(&attr);
    *ret = m;
    return 0;
}

static void
echo_unload(struct berth_instance *m)
{
    if (m == NULL)
        return;
    for (size_t i = 0; i < SEQUENCE_MAX; i++)
        free(m->sequences[i].text);
    (void)pthread_cond_destroy(&m->wake);
    (void)pthread_mutex_destroy(&m->mu);
    free(m->ballast);
    free(m);
}

static bool
echo_any_thread(const struct berth_instance *m)
{
    return m->delay_ms == 0; /* it would sleep */
}

static const struct berth_describe *
echo_describe(const struct berth_instance *m)
{
    return &m->describe;
}

static uint64_t
echo_memory(const struct berth_instance *m)
{
    return m->ballast_bytes;
}

static bool
all_cancelled(const struct berth_instance *m, struct berth_request *const reqs[], size_t n)
{
    size_t i = 0;

    while (i < n && m->h->cancelled(reqs[i]))
        i++;
    return n > 0 && i == n;
}

/* Wait for ms, or until nobody waits for reqs any more: then false.  The host marks requests as
 * cancelled before it calls cancel(), so a cancel() too early for `running` is seen in the marks.
 */
static bool
pause_ms(struct berth_instance *m, int64_t ms, struct berth_request *const reqs[], size_t n)
{
    struct timespec until;
    bool cancelled;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += ms % 1000 * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    (void)pthread_mutex_lock(&m->mu);
    m->running = true;
    m->cancelled = all_cancelled(m, reqs, n);
    while (!m->cancelled && pthread_cond_timedwait(&m->wake, &m->mu, &until) != ETIMEDOUT)
        continue;
    cancelled = m->cancelled;
    m->running = m->cancelled = false; /* a cancel() that comes later meets nobody */
    (void)pthread_mutex_unlock(&m->mu);
    return !cancelled;
}

static void
echo_cancel(struct berth_instance *m)
{
    (void)pthread_mutex_lock(&m->mu);
    m->cancelled = m->running;
    (void)pthread_cond_signal(&m->wake);
    (void)pthread_mutex_unlock(&m->mu);
}

/* Element i of t, a tensor of numbers, as text; "" where C11 has no such numbers. */
static void
number_text(const struct berth_tensor *t, size_t i, char *ret, size_t cap)
{
    const unsigned char *p = t->bytes;

    ret[0] = '\0';
    switch (t->dtype) {
#define CASE(dtype, type, format)               \
    case dtype: {                               \
        type x;                                 \
        memcpy(&x, p + i * sizeof x, sizeof x); \
        (void)snprintf(ret, cap, format, x);    \
        break;                                  \
    }
        CASE(BERTH_BOOL, uint8_t, "%d")
        CASE(BERTH_UINT8, uint8_t, "%d")
        CASE(BERTH_UINT16, uint16_t, "%d")
        CASE(BERTH_UINT32, uint32_t, "%u")
        CASE(BERTH_UINT64, unsigned long long, "%llu")
        CASE(BERTH_INT8, int8_t, "%d")
        CASE(BERTH_INT16, int16_t, "%d")
        CASE(BERTH_INT32, int32_t, "%d")
        CASE(BERTH_INT64, long long, "%lld")
        CASE(BERTH_FP32, float, "%g")
        CASE(BERTH_FP64, double, "%g")
#undef CASE
    case BERTH_FP16:
    case BERTH_BF16:
    case BERTH_BYTES:
    case BERTH_DTYPE_COUNT:
        break;
    }
}

static bool
has_text(const struct berth_tensor *t, const char *text)
{
    const size_t want = strlen(text);
    const unsigned char *p = t->bytes, *end = p + t->size;

    for (uint32_t len; (size_t)(end - p) >= sizeof len; p += len) {
        memcpy(&len, p, sizeof len);
        p += sizeof len;
        if (len > (size_t)(end - p))
            return false;
        if (len == want && memcmp(p, text, want) == 0)
            return true;
    }
    return false;
}

/* Is an element of t, as text, the one that must fail? */
static bool
is_bad(const struct berth_instance *m, const struct berth_tensor *t)
{
    static const size_t widths[BERTH_DTYPE_COUNT] = {
#define X(name, width) [BERTH_##name] = (width),
        BERTH_DTYPES(X)
#undef X
    };
    char text[64];

    if (m->fail_on[0] == '\0' || t->size == 0)
        return false;
    if (t->dtype == BERTH_BYTES)
        return has_text(t, m->fail_on);
    for (size_t i = 0; i < t->size / widths[t->dtype]; i++) {
        number_text(t, i, text, sizeof text);
        if (strcmp(text, m->fail_on) == 0)
            return true;
    }
    return false;
}

/* One request: every input is an output of the same name. */
static int
echo_one(const struct berth_instance *m, struct berth_request *r, struct berth_err *e)
{
    const size_t n = m->h->input_count(r);

    for (size_t i = 0; i < n; i++) {
        if (is_bad(m, m->h->input(r, i))) {
            m->h->fail(r, BERTH_EINVAL, "echo: an input is what the setting fail_on names");
            return 0;
        }
    }
    for (size_t i = 0; i < n; i++) {
        const struct berth_tensor *t = m->h->input(r, i);
        void *out;
        int rc;

        if (!m->h->wants(r, t->name))
            continue;
        rc = m->h->output(r, t, &out, e);
        if (rc < 0)
            return berth_err_wrap(e, rc, "echo: output %s", t->name);
        if (t->size > 0)
            memcpy(out, t->bytes, t->size);
    }
    return 0;
}

static int
echo_run(struct berth_instance *m, struct berth_request *const reqs[], size_t n,
         struct berth_err *e)
{
    if (m->delay_ms > 0 && !pause_ms(m, m->delay_ms, reqs, n))
        return berth_err_set(e, BERTH_ECANCELED, "echo: cancelled");
    for (size_t i = 0; i < n; i++) {
        int rc = echo_one(m, reqs[i], e);

        if (rc < 0)
            return rc;
    }
    return 0;
}

/* ---- sequences ---- */

/* The text of the last message that has one: its content, or the texts of its parts.  ret has
 * room for the whole of json. */
static size_t
last_message(const char *json, char *ret)
{
    size_t n = 0;

    for (const char *s = json; *s != '\0';) {
        const char *end, *key = s;
        size_t key_len;

        if (*s != '"') {
            s++;
            continue;
        }
        key_len = berth_json_string(s, NULL, 0, &end);
        for (s = end; *s == ' ' || *s == '\n' || *s == ':'; s++)
            continue;
        if (s == end || (*s != '"' && *s != '['))
            continue;
        if (key_len == 7 && memcmp(key + 1, "content", 7) == 0)
            n = 0;
        else if (key_len != 4 || memcmp(key + 1, "text", 4) != 0)
            continue;
        if (*s == '"')
            n += berth_json_string(s, ret + n, SIZE_MAX, &s);
    }
    return n;
}

/* What a new sequence will say: *ret is the caller's. */
static int
sequence_text(const struct berth_gen *gen, char **ret, size_t *ret_len)
{
    enum { NUMBER = 12 }; /* "-2147483648 " */
    char *text = NULL;
    size_t n = 0;

    if (gen->prompt != NULL) {
        text = malloc(gen->prompt_len + 1);
        if (text != NULL)
            memcpy(text, gen->prompt, n = gen->prompt_len);
    } else if (gen->chat_json != NULL) {
        text = malloc(gen->chat_json_len + 1);
        if (text != NULL)
            n = last_message(gen->chat_json, text);
    } else if (gen->prompt_token_count < SIZE_MAX / NUMBER) {
        text = malloc(gen->prompt_token_count * NUMBER + 1);
        for (size_t i = 0; text != NULL && i < gen->prompt_token_count; i++)
            n += (size_t)snprintf(text + n, NUMBER + 1, "%s%d", i > 0 ? " " : "",
                                  gen->prompt_tokens[i]);
    }
    if (text == NULL)
        return -BERTH_ENOMEM;
    text[n] = '\0';
    *ret = text;
    *ret_len = n;
    return 0;
}

/* Length of the next word with the white space before it; behind the last word, all that is left.
 */
static size_t
word_len(const char *s, size_t len)
{
    size_t i = 0;

    while (i < len && (s[i] == ' ' || s[i] == '\n'))
        i++;
    while (i < len && s[i] != ' ' && s[i] != '\n')
        i++;
    return i;
}

static uint32_t
word_count(const char *s, size_t len)
{
    uint32_t n = 0;

    for (size_t at = 0; at < len; at += word_len(s + at, len - at))
        n++;
    return n;
}

static void
say(const struct berth_instance *m, struct sequence *s, size_t len, bool counts)
{
    const char *text = s->text + s->at;
    uint32_t id = 0;

    for (size_t i = 0; i < len; i++) /* any number that stays the same for a word */
        id = (id * 31 + (unsigned char)text[i]) & 0xffff;
    struct berth_token top = {.id = (int32_t)id, .text = text, .text_len = len};
    struct berth_token token = top;

    if (s->gen->logprobs > 0) {
        token.top = &top;
        token.top_count = 1;
    }
    m->h->emit(s->r, &(struct berth_delta){
                         .text = text,
                         .text_len = len,
                         .token_count = counts,
                         .tokens = counts && s->gen->logprobs >= 0 ? &token : NULL,
                     });
}

static void
take(struct berth_instance *m, struct berth_request *r)
{
    struct sequence s = {.r = r, .gen = m->h->gen(r)};

    if (sequence_text(s.gen, &s.text, &s.len) < 0) {
        m->h->fail(r, BERTH_ENOMEM, "echo: out of memory");
        return;
    }
    if (m->fail_on[0] != '\0' && strcmp(s.text, m->fail_on) == 0) {
        m->h->fail(r, BERTH_EINVAL, "echo: the text is what the setting fail_on names");
        free(s.text);
        return;
    }
    if (s.gen->echo)
        say(m, &s, s.len, false);
    for (size_t i = 0; i < s.gen->stop_count; i++) {
        const char *at = s.gen->stop[i][0] != '\0' ? strstr(s.text, s.gen->stop[i]) : NULL;

        if (at != NULL && (size_t)(at - s.text) < s.len) {
            s.len = (size_t)(at - s.text);
            s.stop = s.gen->stop[i];
        }
    }
    m->sequences[m->sequence_len++] = s;
}

/* One more word.  True when the sequence has ended and its request is gone. */
static bool
advance(struct berth_instance *m, struct sequence *s)
{
    const uint32_t limit = s->gen->max_tokens > 0 ? s->gen->max_tokens : CONTEXT_LEN;
    size_t len = word_len(s->text + s->at, s->len - s->at);

    if (m->h->cancelled(s->r)) {
        m->h->fail(s->r, BERTH_ECANCELED, "echo: cancelled");
        return true;
    }
    if (len > 0 && s->token_count < limit) {
        say(m, s, len, true);
        s->at += len;
        s->token_count++;
    }
    if (s->at < s->len && s->token_count < limit)
        return false;
    m->h->finish(s->r, &(struct berth_finish){
                           .reason = s->at < s->len ? BERTH_FINISH_LENGTH : BERTH_FINISH_STOP,
                           .stop = s->at < s->len ? NULL : s->stop,
                           .prompt_tokens = word_count(s->text, strlen(s->text)),
                           .completion_tokens = s->token_count,
                       });
    return true;
}

static int
echo_step(struct berth_instance *m, struct berth_queue *q, struct berth_err *e)
{
    size_t kept = 0;

    (void)e;
    while (m->sequence_len < SEQUENCE_MAX) {
        struct berth_request *r = m->h->next(q);

        if (r == NULL)
            break;
        take(m, r);
    }
    if (m->token_ms > 0 && m->sequence_len > 0)
        (void)pause_ms(m, m->token_ms, NULL, 0);
    for (size_t i = 0; i < m->sequence_len; i++) {
        if (advance(m, &m->sequences[i]))
            free(m->sequences[i].text);
        else
            m->sequences[kept++] = m->sequences[i];
    }
    for (size_t i = kept; i < m->sequence_len; i++)
        m->sequences[i] = (struct sequence){.r = NULL};
    m->sequence_len = kept;
    return (int)kept;
}

static void
echo_reset(struct berth_instance *m)
{
    for (size_t i = 0; i < m->sequence_len; i++) {
        free(m->sequences[i].text);
        m->sequences[i] = (struct sequence){.r = NULL};
    }
    m->sequence_len = 0;
}

static const struct berth_setting settings[] = {
    {"delay_ms", BERTH_SETTING_INT, 0, 3600000, "0", "how long a run takes, in milliseconds"},
    {"token_ms", BERTH_SETTING_INT, 0, 3600000, "0", "how long a step takes, in milliseconds"},
    {"load_ms", BERTH_SETTING_INT, 0, 3600000, "0", "how long a load takes, in milliseconds"},
    {"memory_mb", BERTH_SETTING_INT, 0, 1048576, "0", "memory that an instance holds, in MiB"},
    {"batch", BERTH_SETTING_INT, -1, 1000000, "-1", "rows one run may carry; 0 none, -1 any"},
    {"fail_on", BERTH_SETTING_STRING, 0, 0, "", "a request with this element or text fails alone"},
    {NULL, BERTH_SETTING_INT, 0, 0, NULL, NULL},
};

static const char *const suffixes[] = {".echo", NULL};

static const struct berth_backend_ops ops = {
    .abi = BERTH_BACKEND_ABI,
    .struct_size = sizeof ops,
    .name = "echo",
    .version = "1",
    .suffixes = suffixes,
    .settings = settings,
    .load = echo_load,
    .unload = echo_unload,
    .describe = echo_describe,
    .any_thread = echo_any_thread,
    .run = echo_run,
    .step = echo_step,
    .reset = echo_reset,
    .cancel = echo_cancel,
    .memory = echo_memory,
};

const struct berth_backend_ops *
berth_backend_entry(const struct berth_host *h, struct berth_err *e)
{
    if (h->struct_size < sizeof *h) {
        (void)berth_err_set(e, BERTH_EABI,
                            "echo: this program is older than the plugin; update it");
        return NULL;
    }
    return &ops;
}
