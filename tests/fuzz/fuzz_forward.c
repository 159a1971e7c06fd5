#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "net/forward.h"

/* A head's line taken apart: its name and value cannot end a line, so they cannot forge another. */
static void
look_at(char *line, size_t len)
{
    struct berth_header h;

    if (!berth_forward_split(line, len, &h))
        return;
    berth_assert(h.name.len > 0 && h.name.at == line && h.value.at + h.value.len < line + len);
    berth_assert(strlen(h.name.at) == h.name.len && strlen(h.value.at) == h.value.len);
    berth_assert(strpbrk(h.name.at, "\r\n: ") == NULL && strpbrk(h.value.at, "\r\n") == NULL);
    if (berth_forward_goes_up(h.name, h.value) || berth_forward_comes_down(h.name, h.value))
        berth_assert(!berth_slice_is(h.name, "connection") &&
                     !berth_slice_is(h.name, "transfer-encoding"));
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    char *text = malloc(len + 1);

    berth_assert(text != NULL);
    memcpy(text, bytes, len);
    for (char *at = text, *next; at < text + len; at = next) {
        char *lf = memchr(at, '\n', (size_t)(text + len - at));

        next = lf != NULL ? lf + 1 : text + len;
        look_at(at, (size_t)(next - at));
    }
    free(text);
    return 0;
}
