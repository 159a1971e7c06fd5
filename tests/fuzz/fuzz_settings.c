#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <berth/settings.h>

/* Any text as a backend's settings: read within its bounds, cut where there is no room. */
int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    char *json = malloc(n + 1), text[16];
    const char *s, *end;

    if (json == NULL)
        return 0;
    memcpy(json, bytes, n);
    json[n] = '\0';
    for (const char *key = "k"; key != NULL; key = *key == 'k' ? "" : NULL) {
        (void)berth_setting_int(json, key, 1);
        (void)berth_setting_bool(json, key, true);
        if (berth_setting_string(json, key, "default", text, sizeof text) < strlen(text))
            abort();
        s = berth_setting_find(json, key);
        if (s != NULL && *s == '"') {
            const size_t len = strlen(s);
            char *whole = malloc(len + 1); /* decoded text is never longer */

            if (whole != NULL && berth_json_string(s, whole, len + 1, &end) > len)
                abort();
            free(whole);
        }
    }
    free(json);
    return 0;
}
