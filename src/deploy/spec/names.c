#include <string.h>
#include <strings.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/siphash.h"
#include "deploy/spec/spec.h"
#include "fetch/model_dir.h"

enum { UNIT_NAME_MAX = 52, SERVICE_NAME_MAX = 60, HASH_HEX = 8 };

static char *
sanitise(const char *name, size_t max, const char *prefix, struct berth_arena *a)
{
    struct berth_buf b;

    berth_buf_init(&b, a);
    for (const char *s = name; *s != '\0'; s++) {
        char c = *s;

        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        else if (c == '.' || c == '_' || c == '/')
            c = '-';
        if ((c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-')
            continue;
        if (b.len == 0 && (c < 'a' || c > 'z'))
            berth_buf_puts(&b, prefix);
        berth_buf_putc(&b, c);
    }
    if (b.len > max)
        b.len = max;
    while (b.len > 0 && b.at[b.len - 1] == '-')
        b.len--;
    if (b.len == 0)
        berth_buf_puts(&b, "model");
    return (char *)(size_t)berth_buf_text(&b);
}

char *
berth_name_sanitise(const char *name, size_t max, struct berth_arena *a)
{
    return sanitise(name, max, "model-", a);
}

char *
berth_name_service(const char *model_name, const char *uuid, struct berth_arena *a)
{
    const char *name = berth_name_sanitise(model_name, SERVICE_NAME_MAX, a);

    return name != NULL ? berth_arena_printf(a, "%s-%s", name, uuid) : NULL;
}

char *
berth_name_unit(const char *service_id, const char *track, struct berth_arena *a)
{
    static const uint8_t key[BERTH_SIPHASH_KEY]; /* names must stay: no secret in it */
    struct berth_siphash h;
    uint8_t sum[BERTH_SIPHASH_BYTES];
    const char *head = berth_name_sanitise(service_id, UNIT_NAME_MAX - 2 * HASH_HEX, a);

    if (head == NULL)
        return NULL;
    berth_siphash_init(&h, key);
    berth_siphash_put(&h, service_id, strlen(service_id) + 1);
    berth_siphash_put(&h, track, strlen(track));
    berth_siphash_end(&h, sum);
    return berth_arena_printf(a, "%s-%.*s-%02x%02x%02x%02x", head, 6, track, sum[0], sum[1], sum[2],
                              sum[3]);
}

int
berth_name_model_dir(const char *path, struct berth_arena *a, const char **ret, struct berth_err *e)
{
    const size_t len = berth_model_dir_len(path);

    if (len == 0)
        return berth_err_set(e, BERTH_EINVAL,
                             "%.200s: the model has no folder; give a path with a folder of "
                             "its own, such as /models/NAME",
                             path);
    const char *dir = berth_arena_strndup(a, path, len);
    if (dir == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    *ret = dir;
    return 0;
}

/* Models have tokens, too, and engines flags about them: "--tokenizer", "--max-model-tokens". */
static bool
has_token(const char *key)
{
    const bool counts = strcasestr(key, "max") != NULL || strcasestr(key, "num") != NULL;

    for (const char *at = key; (at = strcasestr(at, "token")) != NULL;) {
        at += strlen("token");
        if (strncasecmp(at, "iz", 2) != 0 && strncasecmp(at, "is", 2) != 0 &&
            !(counts && (at[0] == 's' || at[0] == 'S')))
            return true;
    }
    return false;
}

bool
berth_key_is_secret(const char *key)
{
    static const char *const words[] = {"password",    "passwd",      "secret",     "apikey",
                                        "api_key",     "api-key",     "credential", "privatekey",
                                        "private_key", "private-key", "access_key", "access-key",
                                        "accesskey"};

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcasestr(key, words[i]) != NULL)
            return true;
    return has_token(key);
}
