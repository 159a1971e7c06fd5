/* A source's text: it is understood or refused, and a file's name never leads elsewhere. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/assert.h"
#include "fetch/source.h"

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    char text[BERTH_SOURCE_BYTES_MAX + 8];
    struct berth_source s;

    if (n >= sizeof text)
        return 0;
    if (n > 0)
        memcpy(text, bytes, n);
    text[n] = '\0';
    if (berth_source_parse(text, "http://hub", &s, NULL) < 0)
        return 0;
    berth_assert(s.at != NULL && s.label != NULL);
    berth_assert(s.name == NULL || strchr(s.name, '/') == NULL);
    berth_assert(s.kind != BERTH_SOURCE_HUB || strncmp(s.at, "http://hub/", 11) == 0);
    berth_source_fini(&s);
    return 0;
}
