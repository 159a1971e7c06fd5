#include "net/h2_client.h"

#include <nghttp2/nghttp2.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/num.h"

/* A peer may send this much before we have looked at it: as much as tensors need. */
enum { STREAM_WINDOW_BYTES = 4 << 20, CONNECTION_WINDOW_BYTES = 32 << 20, FRAME_HEAD_BYTES = 9 };

struct stream {
    void *request_arg;
    struct berth_slice body;
    size_t sent;
    struct berth_h2_reply reply;
    struct stream *next; /* of those that are free */
};

struct berth_h2_client {
    nghttp2_session *session;
    berth_h2_ended_fn *ended;
    void *arg;
    struct stream *free;
    struct berth_buf *out; /* during a pull */
    size_t enough;
    struct stream streams[];
};

/* ---- out ---- */

static ssize_t
on_send(nghttp2_session *session, const uint8_t *bytes, size_t len, int flags, void *user)
{
    struct berth_h2_client *c = user;

    (void)session;
    (void)flags;
    if (c->out->len >= c->enough)
        return NGHTTP2_ERR_WOULDBLOCK;
    berth_buf_put(c->out, bytes, len);
    return c->out->failed ? NGHTTP2_ERR_CALLBACK_FAILURE : (ssize_t)len;
}

static ssize_t /* NOLINTNEXTLINE(readability-non-const-parameter): nghttp2's */
on_body(nghttp2_session *session, int32_t id, uint8_t *room, size_t room_len, uint32_t *flags,
        nghttp2_data_source *source, void *user)
{
    const struct stream *s = source->ptr;
    const size_t left = s->body.len - s->sent, n = left < room_len ? left : room_len;

    (void)session;
    (void)id;
    (void)room; /* the bytes go straight from the request to the output: on_body_bytes() */
    (void)user;
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (n == left)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static int
on_body_bytes(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t len,
              nghttp2_data_source *source, void *user)
{
    struct berth_h2_client *c = user;
    struct stream *s = source->ptr;

    (void)session;
    berth_assert(frame->data.padlen == 0 && len <= s->body.len - s->sent);
    if (c->out->len >= c->enough)
        return NGHTTP2_ERR_WOULDBLOCK;
    berth_buf_put(c->out, head, FRAME_HEAD_BYTES);
    berth_buf_put(c->out, s->body.at + s->sent, len);
    s->sent += len;
    return c->out->failed ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

bool
berth_h2_client_pull(struct berth_h2_client *c, struct berth_buf *out, size_t enough)
{
    c->out = out;
    c->enough = enough;
    const int rc = nghttp2_session_send(c->session);
    c->out = NULL;
    return rc == 0 && !out->failed &&
           (nghttp2_session_want_read(c->session) || nghttp2_session_want_write(c->session) ||
            out->len > 0);
}

/* ---- in ---- */

static int /* NOLINTNEXTLINE(readability-function-size): nghttp2's */
on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
          size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags, void *user)
{
    struct stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    int64_t n;

    (void)flags;
    (void)user;
    if (s == NULL)
        return 0;
    if (name_len == 7 && memcmp(name, ":status", 7) == 0 &&
        berth_int_parse((const char *)value, value_len, 100, 599, &n))
        s->reply.status = (uint16_t)n;
    else if (name_len == 11 && memcmp(name, "grpc-status", 11) == 0 &&
             berth_int_parse((const char *)value, value_len, 0, INT32_MAX, &n))
        s->reply.grpc_status = (int32_t)n;
    return 0;
}

static int
on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes, size_t len,
              void *user)
{
    struct stream *s = nghttp2_session_get_stream_user_data(session, id);

    (void)flags;
    (void)bytes;
    (void)user;
    if (s != NULL)
        s->reply.body_bytes += len;
    return 0;
}

static int
on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

    (void)user;
    if (s != NULL && (frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS) &&
        (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0)
        s->reply.whole = true;
    return 0;
}

static int
on_close(nghttp2_session *session, int32_t id, uint32_t error_code, void *user)
{
    struct berth_h2_client *c = user;
    struct stream *s = nghttp2_session_get_stream_user_data(session, id);

    (void)error_code; /* whole says what counts: a peer may reset what it has answered */
    if (s == NULL)
        return 0;
    const struct berth_h2_reply reply = s->reply;
    void *request_arg = s->request_arg;
    s->next = c->free;
    c->free = s;
    c->ended(c->arg, request_arg, &reply);
    return 0;
}

int
berth_h2_client_feed(struct berth_h2_client *c, const void *bytes, size_t len)
{
    return nghttp2_session_mem_recv(c->session, bytes, len) == (ssize_t)len ? 0 : -BERTH_EINVAL;
}

/* ---- requests ---- */

int
berth_h2_client_begin(struct berth_h2_client *c, const struct berth_h2_request *q,
                      void *request_arg)
{
    struct stream *s = c->free;
    nghttp2_nv fields[BERTH_H2_CLIENT_FIELDS_MAX];

    berth_assert(q->field_count <= BERTH_H2_CLIENT_FIELDS_MAX);
    if (s == NULL)
        return -BERTH_EAGAIN;
    for (size_t i = 0; i < q->field_count; i++)
        fields[i] = (nghttp2_nv){(uint8_t *)(uintptr_t)q->fields[i].name,
                                 (uint8_t *)(uintptr_t)q->fields[i].value,
                                 strlen(q->fields[i].name), strlen(q->fields[i].value),
                                 NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE};
    const nghttp2_data_provider body = {.source.ptr = s, .read_callback = on_body};
    struct stream *next = s->next;
    *s = (struct stream){
        .request_arg = request_arg, .body = q->body, .reply = {.grpc_status = -1}, .next = NULL};
    if (nghttp2_submit_request(c->session, NULL, fields, q->field_count,
                               q->body.len > 0 ? &body : NULL, s) < 0) {
        s->next = next;
        return -BERTH_ENOMEM;
    }
    c->free = next;
    return 0;
}

static int
session_new(struct berth_h2_client *c)
{
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW_BYTES},
    };
    nghttp2_session_callbacks *on = NULL;

    if (nghttp2_session_callbacks_new(&on) != 0)
        return -BERTH_ENOMEM;
    nghttp2_session_callbacks_set_send_callback(on, on_send);
    nghttp2_session_callbacks_set_send_data_callback(on, on_body_bytes);
    nghttp2_session_callbacks_set_on_header_callback(on, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(on, on_data_chunk);
    nghttp2_session_callbacks_set_on_frame_recv_callback(on, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(on, on_close);
    const int rc = nghttp2_session_client_new(&c->session, on, c);
    nghttp2_session_callbacks_del(on);
    return rc == 0 &&
                   nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings,
                                           BERTH_COUNT(settings)) == 0 &&
                   nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0,
                                                         CONNECTION_WINDOW_BYTES) == 0
               ? 0
               : -BERTH_ENOMEM;
}

int
berth_h2_client_new(struct berth_h2_client **ret, uint32_t streams, berth_h2_ended_fn *ended,
                    void *arg, struct berth_err *e)
{
    berth_assert(streams > 0 && streams <= BERTH_H2_CLIENT_STREAMS_MAX);
    struct berth_h2_client *c = calloc(1, sizeof *c + streams * sizeof c->streams[0]);
    if (c == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "not enough memory");
    c->ended = ended;
    c->arg = arg;
    for (uint32_t i = streams; i-- > 0;) {
        c->streams[i].next = c->free;
        c->free = &c->streams[i];
    }
    if (session_new(c) != 0) {
        berth_h2_client_free(c);
        return berth_err_set(e, BERTH_ENOMEM, "not enough memory");
    }
    *ret = c;
    return 0;
}

void
berth_h2_client_free(struct berth_h2_client *c)
{
    if (c == NULL)
        return;
    nghttp2_session_del(c->session);
    free(c);
}
