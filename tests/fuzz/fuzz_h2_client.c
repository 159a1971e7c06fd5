#include <stdlib.h>

#include "base/assert.h"
#include "net/h2_client.h"

static void
ended(void *arg, void *request_arg, const struct berth_h2_reply *reply)
{
    unsigned *ends = arg;

    berth_assert(request_arg == ends);
    berth_assert(reply->status == 0 || (reply->status >= 100 && reply->status <= 599));
    ++*ends;
}

/* Whatever a server sends while three requests are under way: no request ends twice. */
int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static const struct berth_h2_request q = {
        .fields = {{":method", "POST"}, {":scheme", "http"}, {":authority", "x"}, {":path", "/x"}},
        .field_count = 4,
        .body = BERTH_SLICE("body")};
    struct berth_h2_client *c;
    struct berth_buf out;
    struct berth_err e;
    unsigned ends = 0;

    if (berth_h2_client_new(&c, 3, ended, &ends, &e) != 0)
        abort();
    berth_buf_init(&out, NULL);
    for (int i = 0; i < 3; i++)
        berth_assert(berth_h2_client_begin(c, &q, &ends) == 0);
    bool ok = berth_h2_client_pull(c, &out, 1 << 20);
    for (size_t at = 0; ok && at < len; at += 64) {
        const size_t n = len - at < 64 ? len - at : 64;
        out.len = 0;
        ok = berth_h2_client_feed(c, bytes + at, n) == 0 && berth_h2_client_pull(c, &out, 1 << 20);
    }
    berth_assert(ends <= 3);
    berth_buf_fini(&out);
    berth_h2_client_free(c);
    return 0;
}
