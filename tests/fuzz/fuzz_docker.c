/* What a daemon sends in pieces: cut anywhere it says the same, and no line is longer than allowed.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"
#include "shimlets/docker/stream.h"

enum { LINE_MAX_BYTES = 64, TEXT_MAX = 1 << 16 };

struct heard {
    struct berth_docker_frames frames;
    struct berth_docker_lines lines[BERTH_DOCKER_STREAMS];
    struct berth_buf text;
};

static bool
on_line(void *arg, const char *text, size_t len)
{
    struct heard *h = arg;
    struct berth_docker_event ev;
    uint64_t ns;
    size_t skip;

    berth_assert(len <= LINE_MAX_BYTES);
    if (berth_docker_stamp(text, len, &ns, &skip))
        berth_assert(skip >= 20 && skip <= len);
    if (berth_docker_event_parse(text, len, "s", &ev))
        berth_assert(ev.action[0] != '\0' && strlen(ev.id) <= BERTH_DOCKER_ID);
    berth_buf_put(&h->text, text, len);
    berth_buf_putc(&h->text, '\n');
    return true;
}

static bool
on_part(void *arg, unsigned stream, const char *bytes, size_t len)
{
    struct heard *h = arg;

    berth_assert(stream < BERTH_DOCKER_STREAMS && len > 0);
    return berth_docker_lines_feed(&h->lines[stream], bytes, len);
}

static void
hear(struct heard *h, const uint8_t *bytes, size_t n, size_t piece)
{
    *h = (struct heard){.frames = {.part = on_part, .arg = h}};
    berth_buf_init(&h->text, NULL);
    for (size_t i = 0; i < BERTH_DOCKER_STREAMS; i++)
        berth_docker_lines_init(&h->lines[i], LINE_MAX_BYTES, false, on_line, h);
    for (size_t at = 0; at < n; at += piece)
        berth_assert(berth_docker_frames_feed(&h->frames, (const char *)bytes + at,
                                              n - at < piece ? n - at : piece));
    for (size_t i = 0; i < BERTH_DOCKER_STREAMS; i++) {
        berth_assert(berth_docker_lines_end(&h->lines[i]));
        berth_docker_lines_fini(&h->lines[i]);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    struct berth_docker_event ev;
    struct heard whole, pieces;

    if (n == 0 || n > TEXT_MAX)
        return 0;
    hear(&whole, bytes, n, n);
    hear(&pieces, bytes, n, 1 + bytes[n - 1] % 16);
    berth_assert(whole.text.len == pieces.text.len);
    berth_assert(whole.text.len == 0 || memcmp(whole.text.at, pieces.text.at, whole.text.len) == 0);
    berth_buf_fini(&whole.text);
    berth_buf_fini(&pieces.text);
    (void)berth_docker_event_parse((const char *)bytes, n, "berth.service", &ev);
    return 0;
}
