#include <stdint.h>
#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "wire/diff.h"

/* Two texts, with a line of "===" between: their diff has the lines that it says. */

/* How many of the diff's lines begin with one of these; the header aside. */
static size_t
count(const struct berth_buf *out, const char *marks)
{
    const char *at = out->at, *end = out->at + out->len;
    size_t n = 0;

    for (size_t line = 0; at < end; line++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        n += line >= 2 && strchr(marks, *at) != NULL;
        at = stop != NULL ? stop + 1 : end;
    }
    return n;
}

static size_t
lines_of(struct berth_slice text)
{
    size_t n = text.len > 0 && text.at[text.len - 1] != '\n';

    for (size_t i = 0; i < text.len; i++)
        n += text.at[i] == '\n';
    return n;
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static const char line[] = "\n===\n";
    const char *text = (const char *)bytes;
    const char *cut = len > 0 ? memmem(text, len, line, sizeof line - 1) : NULL;
    const size_t n = cut != NULL ? (size_t)(cut - text) : len;
    const size_t skip = cut != NULL ? n + sizeof line - 1 : len;
    const struct berth_diff_text from = {"a", {text, n}}, to = {"b", {text + skip, len - skip}};
    struct berth_arena a;
    struct berth_buf out;
    bool differ = false;

    berth_arena_init(&a, 64u << 20);
    berth_buf_init(&out, &a);
    if (berth_diff(&from, &to, &a, &out, &differ) == 0) {
        const bool same = n == len - skip && (n == 0 || memcmp(text, text + skip, n) == 0);
        berth_assert(differ == !same && differ == (out.len > 0));
        /* What comes and goes is the difference in length. */
        berth_assert(!differ || lines_of(to.text) + count(&out, "-") ==
                                    lines_of(from.text) + count(&out, "+"));
    }
    berth_arena_fini(&a);
    return 0;
}
