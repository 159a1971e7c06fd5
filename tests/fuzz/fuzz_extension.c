/* What is read before a plugin is one: a list of checksums, and what the child that tries it says.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "plugin/extension.h"

static void
answer(const uint8_t *bytes, size_t n)
{
    char name[BERTH_EXTENSION_NAME_MAX + 1], *text = malloc(n + 1);
    struct berth_err e = {""};

    berth_assert(text != NULL);
    if (n > 0)
        memcpy(text, bytes, n);
    text[n] = '\0';
    if (berth_extension_answer("x.so", text, n % 2 ? 0 : 6, name, &e) == 0)
        berth_assert(name[0] != '\0' && strchr(name, '/') == NULL && strchr(name, '.') == NULL);
    else
        berth_assert(e.msg[0] != '\0');
    free(text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    char sum[BERTH_DIGEST_HEX];

    if (n == 0)
        return 0;
    if (bytes[0] == '?') {
        answer(bytes + 1, n - 1);
    } else if (berth_extension_listed((struct berth_slice){(const char *)bytes, n}, "x.so", sum)) {
        berth_assert(strspn(sum, "0123456789abcdef") == 64 && sum[64] == '\0');
        berth_assert(memmem(bytes, n, "x.so", 4) != NULL);
    }
    return 0;
}
