#include "../../backends/llama/textout.c"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first byte is the length of a stop string, which follows; the rest comes in pieces whose
 * lengths the bytes themselves give.  What goes out must be whole characters, and whatever waits
 * must be shorter than the stop string. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char word[17] = "";
    const char *const stop[1] = {word};
    const char *met = NULL;
    struct berth_textout t;

    if (size < 2)
        return 0;
    size_t at = 1, stop_len = data[0] % 16;
    stop_len = stop_len > size - 1 ? size - 1 : stop_len;
    (void)memcpy(word, data + 1, stop_len);
    at += stop_len;
    berth_textout_init(&t, stop, word[0] != '\0');
    while (at < size && met == NULL) {
        size_t n = 1 + data[at] % 5;

        n = n > size - at ? size - at : n;
        if (berth_textout_push(&t, (const char *)data + at, n) < 0)
            abort();
        at += n;
        const size_t ready = berth_textout_ready(&t, false, &met);
        if (ready > t.text_len ||
            (ready < t.text_len && ((unsigned char)t.text[ready] & 0xC0) == 0x80 &&
             ((unsigned char)word[0] & 0xC0) != 0x80))
            abort();
        berth_textout_take(&t, ready);
        if (met == NULL && t.text_len > 0 && t.text_len >= strlen(word))
            abort();
    }
    if (berth_textout_end(&t) < 0)
        abort();
    (void)berth_textout_ready(&t, true, &met);
    berth_textout_fini(&t);
    return 0;
}
