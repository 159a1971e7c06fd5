#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/siphash.h"
#include "fetch/model_dir.h"
#include "shimlets/kubernetes/kubernetes_priv.h"

static bool
is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

void
kubernetes_name(const char *text, char ret[KUBERNETES_NAME_MAX + 1])
{
    static const char prefix[] = "model-";
    size_t n = 0;

    for (const char *at = text; *at != '\0' && n < KUBERNETES_NAME_MAX; at++) {
        char c = *at;
        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        if (c == '.')
            c = '-';
        if (!is_alnum(c) && c != '-')
            continue;
        if (n == 0 && (c < 'a' || c > 'z')) {
            memcpy(ret, prefix, sizeof prefix - 1);
            n = sizeof prefix - 1;
        }
        ret[n++] = c;
    }
    while (n > 0 && !is_alnum(ret[n - 1]))
        n--;
    ret[n] = '\0';
    if (n == 0)
        memcpy(ret, "model", 6);
}

/* The key is no secret: it only has to be the same everywhere and for ever. */
void
kubernetes_digest(const void *bytes, size_t len, char ret[17])
{
    static const uint8_t key[BERTH_SIPHASH_KEY] = "berth/kubernetes";
    uint8_t sum[BERTH_SIPHASH_BYTES];
    struct berth_siphash s;

    berth_siphash_init(&s, key);
    berth_siphash_put(&s, bytes, len);
    berth_siphash_end(&s, sum);
    for (size_t i = 0; i < 8; i++)
        (void)snprintf(ret + 2 * i, 3, "%02x", sum[i]);
}

void
kubernetes_label_value(const char *text, char ret[KUBERNETES_NAME_MAX + 1])
{
    enum { HASH = 8, KEPT = KUBERNETES_NAME_MAX - HASH - 1 };
    char digest[17];

    if (strlen(text) <= KUBERNETES_NAME_MAX) {
        (void)snprintf(ret, KUBERNETES_NAME_MAX + 1, "%s", text);
        return;
    }
    kubernetes_digest(text, strlen(text), digest);
    (void)snprintf(ret, KUBERNETES_NAME_MAX + 1, "%.*s-%.*s", KEPT, text, HASH, digest);
}

int
kubernetes_model_dir(struct berth_arena *a, const char *path, const char **ret, struct berth_err *e)
{
    if (path == NULL || *path == '\0')
        return berth_err_set(e, BERTH_EINVAL, "there is no path to the model: set modelFile");
    const size_t n = berth_model_dir_len(path);
    if (n == 0)
        return berth_err_set(e, BERTH_EINVAL,
                             "modelFile \"%.200s\" has no folder of its own to be mounted", path);
    if (path[0] != '/')
        return berth_err_set(e, BERTH_EINVAL,
                             "modelFile \"%.200s\" must be an absolute path on the machines", path);
    *ret = berth_arena_strndup(a, path, n);
    return *ret != NULL ? 0 : berth_err_set(e, BERTH_ENOMEM, "out of memory");
}

uint16_t
kubernetes_port_first(const char *unit_name)
{
    char digest[17];
    uint32_t n = 0;

    kubernetes_digest(unit_name, strlen(unit_name), digest);
    for (size_t i = 0; i < 6; i++)
        n = n * 16 + (uint32_t)(digest[i] <= '9' ? digest[i] - '0' : digest[i] - 'a' + 10);
    return (uint16_t)(KUBERNETES_PORT_FIRST + n % KUBERNETES_PORT_COUNT);
}
