#include "cmd/chat.h"

#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "cmd/cmd_priv.h"
#include "cmd/remote.h"
#include "cmd/sse.h"
#include "net/client.h"
#include "wire/json.h"

enum { EVENT_BYTES_MAX = 16 << 20, ERROR_BYTES_MAX = 64 << 10 };

struct stream {
    const struct berth_chat *chat;
    struct berth_chat_result *result;
    struct berth_sse sse;
    struct berth_arena arena; /* for one event at a time */
    struct berth_buf error;   /* the body of an answer that is no stream, or an error event */
    uint64_t begin_ns;
    uint16_t status;
};

void
berth_chat_say(struct berth_buf *messages, const char *role, struct berth_slice text)
{
    struct berth_jw w;

    if (messages->len > 0)
        berth_buf_putc(messages, ',');
    berth_jw_init(&w, messages);
    berth_jw_object(&w);
    berth_jw_key(&w, "role");
    berth_jw_string(&w, role);
    berth_jw_key(&w, "content");
    berth_jw_string_n(&w, text.at, text.len);
    berth_jw_object_end(&w);
}

static void
body_put(const struct berth_chat *chat, struct berth_buf *body)
{
    struct berth_jw w;

    berth_jw_init(&w, body);
    berth_jw_object(&w);
    berth_jw_key(&w, "model");
    berth_jw_string(&w, chat->model);
    berth_jw_key(&w, "messages");
    berth_jw_array(&w);
    berth_jw_raw(&w, chat->messages.at, chat->messages.len);
    berth_jw_array_end(&w);
    berth_jw_key(&w, "stream");
    berth_jw_bool(&w, true);
    berth_jw_key(&w, "stream_options");
    berth_jw_raw(&w, "{\"include_usage\":true}", 22);
    if (chat->max_tokens > 0) {
        berth_jw_key(&w, "max_tokens");
        berth_jw_int(&w, chat->max_tokens);
    }
    if (chat->temperature >= 0) {
        berth_jw_key(&w, "temperature");
        berth_jw_double(&w, chat->temperature);
    }
    berth_jw_object_end(&w);
}

static bool
on_data(void *arg, struct berth_slice data)
{
    struct stream *s = arg;
    const struct berth_json *v = NULL;
    struct berth_slice text;

    berth_arena_reset(&s->arena);
    if (berth_slice_is(data, "[DONE]") ||
        berth_json_parse(&s->arena, data.at, data.len, NULL, &v, NULL) != 0)
        return true;
    if (berth_json_get(v, "error") != NULL) {
        berth_buf_put(&s->error, data.at, data.len);
        s->status = 500;
        return true;
    }
    const struct berth_json *usage = berth_json_get(v, "usage");
    (void)berth_json_uint(berth_json_get(usage, "prompt_tokens"), &s->result->prompt_tokens);
    (void)berth_json_uint(berth_json_get(usage, "completion_tokens"),
                          &s->result->completion_tokens);
    struct berth_json_iter it = berth_json_iter(berth_json_get(v, "choices"));
    if (!berth_json_next(&it) ||
        !berth_json_string(berth_json_get(berth_json_get(it.value, "delta"), "content"), &text) ||
        text.len == 0)
        return true;
    if (s->result->first_ns == 0)
        s->result->first_ns = berth_now_ns() - s->begin_ns;
    return s->chat->on_text(s->chat->arg, text);
}

static bool
on_part(void *arg, uint16_t status, const char *bytes, size_t len)
{
    struct stream *s = arg;

    if (status != 200) {
        if (s->error.len + len <= ERROR_BYTES_MAX)
            berth_buf_put(&s->error, bytes, len);
        return true;
    }
    return berth_sse_feed(&s->sse, bytes, len, on_data, s);
}

static bool
go_on(void *arg, uint64_t got, uint64_t total)
{
    struct stream *s = arg;

    (void)got;
    (void)total;
    return s->chat->interrupted == NULL || !s->chat->interrupted(s->chat->arg);
}

static int
call(struct berth_remote *r, struct stream *s, const struct berth_buf *body)
{
    static const char *const headers[] = {"Content-Type: application/json", NULL};
    struct berth_client_answer answer;
    struct berth_err e;
    const struct berth_client_call what = {
        .url = berth_remote_url(r, "/v1/chat/completions", NULL),
        .headers = headers,
        .bearer = r->key,
        .body = body->at,
        .body_len = body->len,
        .silent_ns_max = 600 * BERTH_S,
        .body_bytes_max = UINT64_MAX,
        .body_part = on_part,
        .go_on = go_on,
        .arg = s,
    };

    if (body->failed || what.url == NULL)
        return berth_failed(r->args, "not enough memory");
    const int rc = berth_client_call(r->client, &what, &answer, &e);
    s->result->total_ns = berth_now_ns() - s->begin_ns;
    if (rc != -BERTH_ECANCELED || s->sse.bad)
        s->result->error = s->sse.bad ? -BERTH_ETOOBIG : rc;
    if (rc == 0 && (answer.status != 200 || s->status != 0))
        s->result->status = answer.status != 200 ? answer.status : s->status;
    if (s->chat->quiet && (s->result->error != 0 || s->result->status != 0))
        return BERTH_EXIT_FAILED;
    if (s->sse.bad)
        return berth_failed(r->args, "the server sent an event larger than the limit");
    if (rc == -BERTH_ECANCELED) {
        s->result->stopped = true;
        return BERTH_EXIT_OK;
    }
    if (rc == -BERTH_ENETWORK && s->result->first_ns == 0)
        return berth_remote_absent(r, e.msg);
    if (rc != 0)
        return berth_failed(r->args, "%s", e.msg);
    if (s->result->status != 0)
        return berth_remote_tell(r, s->result->status,
                                 (struct berth_slice){s->error.at, s->error.len});
    return BERTH_EXIT_OK;
}

int
berth_chat(struct berth_remote *r, const struct berth_chat *chat, struct berth_chat_result *ret)
{
    struct stream s = {.chat = chat, .result = ret, .begin_ns = berth_now_ns()};
    struct berth_buf body;

    *ret = (struct berth_chat_result){0};
    berth_sse_init(&s.sse);
    berth_arena_init(&s.arena, EVENT_BYTES_MAX);
    berth_buf_init(&s.error, NULL);
    berth_buf_init(&body, NULL);
    body_put(chat, &body);
    const int rc = call(r, &s, &body);
    berth_buf_fini(&body);
    berth_buf_fini(&s.error);
    berth_arena_fini(&s.arena);
    berth_sse_fini(&s.sse);
    return rc;
}
