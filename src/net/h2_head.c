#include <string.h>

#include "base/num.h"
#include "net/h2_priv.h"

/* The heads of HTTP/2 requests, header by header. */

enum { HEADERS_FIRST = 16 /* room for so many at first */ };

static bool
add_header(struct berth_h2_stream *st, struct berth_slice name, struct berth_slice value)
{
    struct berth_exchange *x = &st->x->pub;

    if (x->header_count == st->header_room) {
        size_t room = st->header_room > 0 ? st->header_room * 2 : HEADERS_FIRST;
        struct berth_header *more = BERTH_NEW_N(&x->arena, struct berth_header, room);
        if (more == NULL)
            return false;
        if (x->header_count > 0)
            memcpy(more, x->headers, x->header_count * sizeof *more);
        x->headers = more;
        st->header_room = room;
    }
    ((struct berth_header *)x->headers)[x->header_count++] = (struct berth_header){name, value};
    return true;
}

static void
set_path(struct berth_exchange *x, struct berth_slice url)
{
    const char *mark = memchr(url.at, '?', url.len);

    x->path = (struct berth_slice){url.at, mark != NULL ? (size_t)(mark - url.at) : url.len};
    if (mark != NULL)
        x->query = (struct berth_slice){mark + 1, (size_t)(url.at + url.len - mark - 1)};
}

/* nghttp2 has checked characters, order and presence of what begins with a colon. */
static bool
take_header(struct berth_h2_stream *st, struct berth_slice name, struct berth_slice value)
{
    struct berth_exchange *x = &st->x->pub;

    if (name.at[0] == ':') {
        if (berth_slice_is(name, ":method"))
            x->method = value;
        else if (berth_slice_is(name, ":path"))
            set_path(x, value);
        else if (berth_slice_is(name, ":authority"))
            x->authority = value;
        return true;
    }
    if (berth_slice_is(name, "content-length"))
        (void)berth_int_parse(value.at, value.len, 0, INT64_MAX, &st->content_length);
    else if (berth_slice_is(name, "host") && x->authority.len == 0)
        x->authority = value;
    return add_header(st, name, value);
}

int /* NOLINTNEXTLINE(readability-function-size): nghttp2's */
berth_h2_on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                   size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                   void *user)
{
    struct berth_conn *c = user;
    struct berth_h2_stream *st = berth_h2_stream_of(session, frame->hd.stream_id);

    if (st == NULL || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0; /* trailers: nothing here wants them */
    struct berth_arena *a = &st->x->pub.arena;
    st->head_bytes += name_len + value_len + 32; /* as SETTINGS_MAX_HEADER_LIST_SIZE counts */
    if (st->fault.status != 0)
        return 0;
    if (name_len == 5 && memcmp(name, ":path", 5) == 0 && value_len > BERTH_URL_BYTES_MAX) {
        st->fault = (struct berth_http1_fault){414, "the URL is too long"};
        return 0;
    }
    if (st->head_bytes > berth_h2_conf(c)->head_bytes_max ||
        st->x->pub.header_count >= berth_h2_conf(c)->header_count_max) {
        st->fault =
            (struct berth_http1_fault){431, "the request's headers are too long or too many"};
        return 0;
    }
    const char *n = berth_arena_strndup(a, (const char *)name, name_len);
    const char *v = berth_arena_strndup(a, (const char *)value, value_len);
    if (n == NULL || v == NULL ||
        !take_header(st, (struct berth_slice){n, name_len}, (struct berth_slice){v, value_len}))
        st->fault = (struct berth_http1_fault){
            431, "the request's head does not fit into the memory of one request"};
    return 0;
}

/* A header with bytes that no header may have: the stream is reset rather than guessed at. */
int /* NOLINTNEXTLINE(readability-function-size): nghttp2's */
berth_h2_on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame,
                           const uint8_t *name, size_t name_len, const uint8_t *value,
                           size_t value_len, uint8_t flags, void *user)
{
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}
