/* What an Ollama server sends in pieces, cut anywhere, says the same; names of models are ours or
 * not; addresses are refused or become URLs. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"
#include "shimlets/ollama/ollama_priv.h"

enum { TEXT_MAX = 1 << 16 };

static void
on_line(void *arg, const char *text, size_t len)
{
    struct berth_buf *b = arg;
    struct berth_ollama_tag tag;
    struct berth_slice unit;
    char name[BERTH_OLLAMA_NAME];

    berth_assert(len > 0 && len <= BERTH_OLLAMA_LINE_MAX);
    if (berth_ollama_name_parse((struct berth_slice){text, len}, "own", NULL, &tag, &unit)) {
        berth_assert(strlen(tag.hash) < sizeof tag.hash && unit.len < len);
        if (unit.len < 40 && berth_ollama_name("own", "unit", &tag, name))
            berth_assert(memcmp(name, "berth-own/unit:r", 16) == 0);
    }
    berth_buf_put(b, text, len);
    berth_buf_putc(b, '\n');
}

static void
hear(struct berth_buf *said, const uint8_t *bytes, size_t n, size_t piece)
{
    struct berth_ollama_lines l = {.len = 0};

    berth_buf_init(said, NULL);
    for (size_t at = 0; at < n; at += piece)
        berth_ollama_lines_feed(&l, (const char *)bytes + at, n - at < piece ? n - at : piece,
                                on_line, said);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    struct berth_buf whole, pieces;
    char url[BERTH_OLLAMA_HOST];
    struct berth_err e;

    if (n == 0 || n > TEXT_MAX)
        return 0;
    hear(&whole, bytes, n, n);
    hear(&pieces, bytes, n, 1 + bytes[n - 1] % 16);
    berth_assert(whole.len == pieces.len);
    berth_assert(whole.len == 0 || memcmp(whole.at, pieces.at, whole.len) == 0);
    berth_buf_fini(&whole);
    berth_buf_fini(&pieces);
    char *text = malloc(n + 1);
    berth_assert(text != NULL);
    memcpy(text, bytes, n);
    text[n] = '\0';
    if (berth_ollama_host(text, url, &e) == 0)
        berth_assert(strlen(url) < sizeof url && strncmp(url, "http", 4) == 0 &&
                     strpbrk(url, " \r\n@?#") == NULL);
    free(text);
    return 0;
}
