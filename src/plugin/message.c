#include "plugin/message.h"

#include "base/arena.h"
#include "base/num.h"
#include "base/utf8.h"

enum {
    SPECS_MAX = 4096,
    STOPS_MAX = 4096,
    BIAS_MAX = 65536,
    PROMPT_TOKENS_MAX = 16 << 20,
    TOKENS_MAX = 4096, /* of one delta */
    TOPS_MAX = 1024,
    TEXT_MAX = 64 << 20,
    MSG_MAX = 4096,
};

enum berth_code
berth_message_code(int64_t code)
{
    return code > 0 && code <= BERTH_CODE_MAX ? (enum berth_code)code : BERTH_EBACKEND;
}

enum berth_code
berth_message_failure(int64_t result)
{
    return result >= -(int64_t)BERTH_CODE_MAX ? berth_message_code(-result) : BERTH_EBACKEND;
}

/* ---- load ---- */

void
berth_message_put_load(struct berth_pack *p, const struct berth_worker_load *l)
{
    berth_pack_text(p, l->key);
    berth_pack_text(p, l->name);
    berth_pack_text(p, l->backend);
    berth_pack_text(p, l->plugin_dir);
    berth_pack_text(p, l->path);
    berth_pack_text(p, l->settings_json);
    berth_pack_text(p, l->core_dir);
    berth_pack_u32(p, l->threads);
    berth_pack_u64(p, l->memory_bytes_max);
    berth_pack_u64(p, l->adopt_ns);
}

bool
berth_message_get_load(struct berth_unpack *u, struct berth_worker_load *ret)
{
    *ret = (struct berth_worker_load){
        .key = berth_unpack_text(u, TEXT_MAX),
        .name = berth_unpack_text(u, TEXT_MAX),
        .backend = berth_unpack_text(u, TEXT_MAX),
        .plugin_dir = berth_unpack_text(u, TEXT_MAX),
        .path = berth_unpack_text(u, TEXT_MAX),
        .settings_json = berth_unpack_text(u, TEXT_MAX),
        .core_dir = berth_unpack_text(u, TEXT_MAX),
        .threads = berth_unpack_u32(u),
        .memory_bytes_max = berth_unpack_u64(u),
        .adopt_ns = berth_unpack_u64(u),
    };
    return !u->bad;
}

static void
put_specs(struct berth_pack *p, const struct berth_tensor_spec *specs, size_t count)
{
    berth_pack_u32(p, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        berth_pack_text(p, specs[i].name);
        berth_pack_u32(p, (uint32_t)specs[i].dtype);
        berth_pack_u32(p, specs[i].rank);
        for (uint32_t k = 0; k < specs[i].rank && k < BERTH_RANK_MAX; k++)
            berth_pack_u64(p, (uint64_t)specs[i].shape[k]);
    }
}

static bool
get_specs(struct berth_unpack *u, struct berth_arena *a, const struct berth_tensor_spec **ret,
          size_t *ret_count)
{
    size_t count = berth_unpack_count(u, SPECS_MAX);
    struct berth_tensor_spec *specs = BERTH_NEW_N(a, struct berth_tensor_spec, count + 1);

    if (specs == NULL)
        return false;
    for (size_t i = 0; i < count && !u->bad; i++) {
        specs[i].name = berth_arena_strdup(a, berth_unpack_text(u, BERTH_NAME_LEN_MAX));
        specs[i].dtype = (enum berth_dtype)berth_unpack_count(u, BERTH_DTYPE_COUNT - 1);
        specs[i].rank = berth_unpack_count(u, BERTH_RANK_MAX);
        for (uint32_t k = 0; k < specs[i].rank; k++) {
            specs[i].shape[k] = (int64_t)berth_unpack_u64(u);
            u->bad = u->bad || specs[i].shape[k] < -1;
        }
        if (specs[i].name == NULL)
            return false;
    }
    *ret = specs;
    *ret_count = count;
    return !u->bad;
}

void
berth_message_put_describe(struct berth_pack *p, const struct berth_describe *d)
{
    berth_pack_u32(p, d->tasks);
    berth_pack_u32(p, d->batch_rows_max);
    berth_pack_u32(p, d->sequence_max);
    berth_pack_u32(p, d->context_len);
    berth_pack_u32(p, d->embedding_len);
    berth_pack_u32(p, d->threads);
    berth_pack_text(p, d->platform);
    put_specs(p, d->inputs, d->input_count);
    put_specs(p, d->outputs, d->output_count);
}

struct berth_describe *
berth_message_get_describe(struct berth_unpack *u, struct berth_arena *a)
{
    struct berth_describe *d = BERTH_NEW(a, struct berth_describe);

    if (d == NULL)
        return NULL;
    d->struct_size = sizeof *d;
    d->tasks = berth_unpack_u32(u);
    d->batch_rows_max = berth_unpack_u32(u);
    d->sequence_max = berth_unpack_count(u, BERTH_SEQUENCES_MAX);
    d->context_len = berth_unpack_u32(u);
    d->embedding_len = berth_unpack_u32(u);
    d->threads = berth_unpack_u32(u);
    d->platform = berth_arena_strdup(a, berth_unpack_text(u, BERTH_NAME_LEN_MAX));
    if (d->platform == NULL || !get_specs(u, a, &d->inputs, &d->input_count) ||
        !get_specs(u, a, &d->outputs, &d->output_count))
        return NULL;
    return d;
}

/* ---- tensors ---- */

void
berth_message_put_tensor(struct berth_pack *p, const struct berth_tensor *t, size_t offset)
{
    berth_pack_text(p, t->name);
    berth_pack_u32(p, (uint32_t)t->dtype);
    berth_pack_u32(p, t->rank);
    berth_pack_raw(p, t->shape, t->rank * sizeof t->shape[0]);
    berth_pack_u64(p, offset);
    berth_pack_u64(p, t->size);
}

/* How many elements the shape has; false: a negative dimension, or too many. */
static bool
elements(const struct berth_tensor *t, size_t *ret)
{
    size_t n = 1;

    for (uint32_t k = 0; k < t->rank; k++) {
        if (t->shape[k] < 0 || !berth_mul(n, (size_t)t->shape[k], &n))
            return false;
    }
    *ret = n;
    return true;
}

bool
berth_message_get_tensor(struct berth_unpack *u, struct berth_area area, struct berth_tensor *ret)
{
#define X(name, width) width,
    static const unsigned char widths[] = {BERTH_DTYPES(X)};
#undef X
    struct berth_tensor t = {.name = berth_unpack_text(u, BERTH_NAME_LEN_MAX)};
    size_t count, bytes;

    t.dtype = (enum berth_dtype)berth_unpack_count(u, BERTH_DTYPE_COUNT - 1);
    t.rank = berth_unpack_count(u, BERTH_RANK_MAX);
    (void)berth_unpack_raw(u, t.shape, t.rank * sizeof t.shape[0]);
    uint64_t offset = berth_unpack_u64(u), size = berth_unpack_u64(u);
    if (u->bad || offset > area.cap || size > area.cap - offset || !elements(&t, &count) ||
        !berth_mul(count, widths[t.dtype], &bytes) || (widths[t.dtype] != 0 && bytes != size)) {
        u->bad = true;
        return false;
    }
    t.bytes = area.at + offset;
    t.size = size;
    *ret = t;
    return true;
}

bool
berth_message_bytes_fit(const struct berth_tensor *t, const void *bytes)
{
    size_t count, at = 0;
    uint32_t len;

    if (!elements(t, &count))
        return false;
    for (; count > 0; count--) {
        if (t->size - at < sizeof len)
            return false;
        memcpy(&len, (const char *)bytes + at, sizeof len);
        at += sizeof len;
        if (len > t->size - at)
            return false;
        at += len;
    }
    return at == t->size;
}

/* ---- sequences ---- */

void
berth_message_put_gen(struct berth_pack *p, const struct berth_gen *g)
{
    struct berth_gen plain = *g; /* the numbers as they are, the pointers told apart */

    berth_pack_u32(p, (g->prompt != NULL ? 1u : 0) | (g->prompt_tokens != NULL ? 2u : 0) |
                          (g->chat_json != NULL ? 4u : 0));
    plain.prompt = plain.chat_json = NULL;
    plain.prompt_tokens = NULL;
    plain.stop = NULL;
    plain.bias = NULL;
    berth_pack_raw(p, &plain, sizeof plain);
    if (g->prompt != NULL)
        berth_pack_bytes(p, g->prompt, g->prompt_len);
    if (g->prompt_tokens != NULL)
        berth_pack_raw(p, g->prompt_tokens, g->prompt_token_count * sizeof *g->prompt_tokens);
    if (g->chat_json != NULL)
        berth_pack_bytes(p, g->chat_json, g->chat_json_len);
    for (size_t i = 0; i < g->stop_count; i++)
        berth_pack_text(p, g->stop[i]);
    berth_pack_raw(p, g->bias, g->bias_count * sizeof *g->bias);
}

/* A copy in the arena of bytes in the message; sets bad when there is none. */
static const char *
copy_bytes(struct berth_unpack *u, struct berth_arena *a, size_t *ret_len)
{
    const char *text = berth_unpack_bytes(u, ret_len), *copy = NULL;

    if (!u->bad)
        copy = berth_arena_strndup(a, text, *ret_len);
    u->bad = u->bad || copy == NULL;
    return copy;
}

static void *
copy_array(struct berth_unpack *u, struct berth_arena *a, size_t count, size_t each)
{
    void *copy =
        u->bad || count > (u->len - u->pos) / each ? NULL : berth_arena_alloc_n(a, count + 1, each);

    if (copy == NULL)
        u->bad = true;
    else
        (void)berth_unpack_raw(u, copy, count * each);
    return copy;
}

bool
berth_message_get_gen(struct berth_unpack *u, struct berth_arena *a, struct berth_gen *ret)
{
    uint32_t has = berth_unpack_count(u, 7);
    struct berth_gen g;

    if (!berth_unpack_raw(u, &g, sizeof g) || g.stop_count > STOPS_MAX || g.bias_count > BIAS_MAX ||
        g.prompt_token_count > PROMPT_TOKENS_MAX)
        return false;
    g.prompt = (has & 1) != 0 ? copy_bytes(u, a, &g.prompt_len) : NULL;
    g.prompt_tokens =
        (has & 2) != 0 ? copy_array(u, a, g.prompt_token_count, sizeof *g.prompt_tokens) : NULL;
    g.chat_json = (has & 4) != 0 ? copy_bytes(u, a, &g.chat_json_len) : NULL;
    const char **stop = BERTH_NEW_N(a, const char *, g.stop_count + 1);
    for (size_t i = 0, len; stop != NULL && i < g.stop_count; i++)
        stop[i] = copy_bytes(u, a, &len);
    g.stop = stop;
    g.bias = copy_array(u, a, g.bias_count, sizeof *g.bias);
    if (u->bad || stop == NULL)
        return false;
    *ret = g;
    return true;
}

static void
put_token(struct berth_pack *p, const struct berth_token *t)
{
    berth_pack_u32(p, (uint32_t)t->id);
    berth_pack_f32(p, t->logprob);
    berth_pack_bytes(p, t->text, t->text_len);
}

void
berth_message_put_emit(struct berth_pack *p, uint32_t slot, const struct berth_delta *d)
{
    uint32_t tokens = d->tokens != NULL ? d->token_count : 0;

    berth_pack_u32(p, BERTH_EVENT_EMIT);
    berth_pack_u32(p, slot);
    berth_pack_bytes(p, d->text, d->text_len);
    berth_pack_u32(p, d->token_count);
    berth_pack_u32(p, tokens);
    for (uint32_t i = 0; i < tokens; i++) {
        const struct berth_token *t = &d->tokens[i];
        put_token(p, t);
        berth_pack_u32(p, (uint32_t)t->top_count);
        for (size_t k = 0; k < t->top_count; k++)
            put_token(p, &t->top[k]);
    }
}

void
berth_message_put_finish(struct berth_pack *p, uint32_t slot, const struct berth_finish *f)
{
    berth_pack_u32(p, BERTH_EVENT_FINISH);
    berth_pack_u32(p, slot);
    berth_pack_u32(p, (uint32_t)f->reason);
    berth_pack_u32(p, f->prompt_tokens);
    berth_pack_u32(p, f->completion_tokens);
    berth_pack_u32(p, f->cached_tokens);
    berth_pack_u32(p, f->stop != NULL);
    berth_pack_text(p, f->stop);
}

void
berth_message_put_fail(struct berth_pack *p, uint32_t slot, enum berth_code code, const char *msg)
{
    berth_pack_u32(p, BERTH_EVENT_FAIL);
    berth_pack_u32(p, slot);
    berth_pack_u32(p, (uint32_t)code);
    berth_pack_bytes(p, msg != NULL ? msg : "", msg != NULL ? strnlen(msg, MSG_MAX) : 0);
}

void
berth_message_put_error(struct berth_pack *p, const char *msg)
{
    berth_pack_u32(p, BERTH_EVENT_ERROR);
    berth_pack_u32(p, 0);
    berth_pack_bytes(p, msg, strnlen(msg, MSG_MAX));
}

static void
get_token(struct berth_unpack *u, struct berth_token *t)
{
    t->id = (int32_t)berth_unpack_u32(u);
    t->logprob = berth_unpack_f32(u);
    t->text = berth_unpack_bytes(u, &t->text_len);
}

static void
get_delta(struct berth_unpack *u, struct berth_arena *a, struct berth_delta *d)
{
    d->text = berth_unpack_bytes(u, &d->text_len);
    u->bad = u->bad || !berth_utf8_valid(d->text, d->text_len);
    d->token_count = berth_unpack_u32(u);
    uint32_t count = berth_unpack_count(u, TOKENS_MAX);
    if (u->bad || count == 0)
        return;
    struct berth_token *tokens = BERTH_NEW_N(a, struct berth_token, count);
    u->bad = count != d->token_count || tokens == NULL;
    for (uint32_t i = 0; i < count && !u->bad; i++) {
        get_token(u, &tokens[i]);
        tokens[i].top_count = berth_unpack_count(u, TOPS_MAX);
        struct berth_token *top = tokens[i].top_count > 0
                                      ? BERTH_NEW_N(a, struct berth_token, tokens[i].top_count)
                                      : NULL;
        u->bad = u->bad || (top == NULL && tokens[i].top_count > 0);
        for (size_t k = 0; k < tokens[i].top_count && !u->bad; k++)
            get_token(u, &top[k]);
        tokens[i].top = top;
    }
    d->tokens = tokens;
}

bool
berth_message_get_event(struct berth_unpack *u, struct berth_arena *a, struct berth_event *ret)
{
    struct berth_event x = {.kind = (enum berth_event_kind)berth_unpack_count(u, BERTH_EVENT_ERROR),
                            .slot = berth_unpack_count(u, BERTH_SEQUENCES_MAX - 1)};

    if (u->bad)
        return false;
    switch (x.kind) {
    case BERTH_EVENT_EMIT:
        get_delta(u, a, &x.delta);
        break;
    case BERTH_EVENT_FINISH:
        x.finish.reason = (enum berth_finish_reason)berth_unpack_count(u, BERTH_FINISH_LENGTH);
        x.finish.prompt_tokens = berth_unpack_u32(u);
        x.finish.completion_tokens = berth_unpack_u32(u);
        x.finish.cached_tokens = berth_unpack_u32(u);
        bool stopped = berth_unpack_count(u, 1) == 1;
        x.finish.stop = berth_unpack_text(u, TEXT_MAX);
        if (!stopped)
            x.finish.stop = NULL;
        break;
    case BERTH_EVENT_FAIL:
        x.code = berth_message_code(berth_unpack_u32(u));
        x.msg = berth_unpack_text(u, MSG_MAX);
        break;
    case BERTH_EVENT_ERROR:
        x.msg = berth_unpack_text(u, MSG_MAX);
        break;
    }
    *ret = x;
    return !u->bad;
}
