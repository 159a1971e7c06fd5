#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "kube/status.h"
#include "kube/store.h"
#include "kube/watch.h"
#include "wire/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t len);

static bool
take(void *arg, enum berth_kube_event event, const struct berth_json *object, const char *version)
{
    berth_assert(version[0] != '\0');
    if (event == BERTH_KUBE_DELETED)
        (void)berth_kube_store_remove(arg, berth_kube_text(object, "metadata.namespace").at,
                                      berth_kube_text(object, "metadata.name").at);
    else
        (void)berth_kube_store_put(arg, object);
    berth_assert(berth_kube_store_bytes(arg) <= 4096);
    return true;
}

static void
watch(const char *text, size_t len, size_t piece)
{
    struct berth_kube_store *s = berth_kube_store_new("app", NULL, 4096);
    const struct berth_kube_watch w = {.each = take, .arg = s};
    struct berth_kube_lines l;
    struct berth_err e;
    int r = 0;

    berth_assert(s != NULL);
    berth_kube_lines_init(&l, &w);
    while (r == 0 && len > 0) {
        const size_t n = len < piece ? len : piece;
        r = berth_kube_lines_feed(&l, text, n, &e);
        text += n;
        len -= n;
    }
    berth_kube_lines_fini(&l);
    berth_kube_store_free(s);
}

/* A Status ('s'), or a watch's bytes in pieces of the size that the first byte says. */
int
LLVMFuzzerTestOneInput(const uint8_t *at, size_t len)
{
    static const struct berth_kube_asked asked = {.what = "x", .user = "u"};
    struct berth_kube_status status;
    const struct berth_json *body;
    struct berth_arena a;
    struct berth_err e;

    if (len == 0)
        return 0;
    const char *text = (const char *)at + 1;
    if (at[0] != 's') {
        watch(text, len - 1, at[0] > 0 ? at[0] : 1);
        return 0;
    }
    berth_arena_init(&a, 1 << 20);
    if (berth_json_parse(&a, text, len - 1, NULL, &body, &e) == 0)
        berth_assert(berth_kube_status_error(422, 0, body, &asked, &status, &e) < 0);
    berth_arena_fini(&a);
    return 0;
}
