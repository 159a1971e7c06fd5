#include "api/admit.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "api/errors.h"
#include "net/digest.h"
#include "net/server.h"

void
berth_api_key_hash(const char *key, size_t len, char ret[BERTH_DIGEST_HEX])
{
    berth_digest_of(key, len, ret);
}

void
berth_admit_init(struct berth_admit *a, const struct berth_api_conf *conf)
{
    const uint64_t minute_ns = UINT64_C(60000000000);
    const uint32_t rate = conf->rate.requests_per_minute;
    const uint32_t burst = conf->rate.burst > 0 ? conf->rate.burst : 1;

    a->keys = conf->keys;
    a->key_count = conf->key_count;
    a->origins = conf->cors_origins;
    a->origin_count = conf->cors_origin_count;
    a->interval_ns = rate > 0 ? minute_ns / rate : 0;
    a->burst_ns = a->interval_ns * (burst - 1);
}

struct berth_slice
berth_admit_key(const struct berth_exchange *x)
{
    const struct berth_slice *h = berth_exchange_header(x, "authorization");
    struct berth_slice key = {"", 0};

    if (h != NULL && h->len > 7 && strncasecmp(h->at, "bearer ", 7) == 0)
        key = (struct berth_slice){h->at + 7, h->len - 7};
    else if ((h = berth_exchange_header(x, "x-api-key")) != NULL)
        key = *h;
    while (key.len > 0 && *key.at == ' ') {
        key.at++;
        key.len--;
    }
    return key;
}

uint32_t
berth_admit_scopes(const struct berth_admit *a, struct berth_slice key)
{
    char sum[BERTH_DIGEST_HEX];
    uint32_t scopes = 0;

    berth_digest_of(key.at, key.len, sum);
    for (size_t i = 0; i < a->key_count; i++) {
        if (berth_digest_equal(sum, a->keys[i].sha256_hex, sizeof sum))
            scopes |= a->keys[i].scopes;
    }
    return scopes;
}

const struct berth_api_key *
berth_admit_find(const struct berth_admit *a, struct berth_slice key)
{
    const struct berth_api_key *found = NULL;
    char sum[BERTH_DIGEST_HEX];

    berth_digest_of(key.at, key.len, sum);
    for (size_t i = a->key_count; i > 0; i--) {
        if (berth_digest_equal(sum, a->keys[i - 1].sha256_hex, sizeof sum))
            found = &a->keys[i - 1];
    }
    return found;
}

void
berth_admit_print(const struct berth_api_key *key, char ret[BERTH_API_KEY_PRINT])
{
    (void)snprintf(ret, BERTH_API_KEY_PRINT, "key-%.8s", key->sha256_hex);
}

struct berth_slice
berth_admit_origin(const struct berth_admit *a, struct berth_slice origin, bool *ret_by_name)
{
    struct berth_slice allowed = {"", 0};

    *ret_by_name = false;
    for (size_t i = 0; i < a->origin_count; i++) {
        if (strcmp(a->origins[i], "*") == 0 && allowed.len == 0)
            allowed = BERTH_SLICE("*");
        if (berth_slice_is_nocase(origin, a->origins[i])) {
            *ret_by_name = true;
            allowed = berth_slice_of(a->origins[i]);
        }
    }
    return allowed;
}

/* Is the host an address or localhost?  Any other name is its owner's, who may have pointed it at
 * this machine after the browser had loaded the page from elsewhere. */
static bool
is_host_of_nobody(struct berth_slice host)
{
    static const char local[] = ".localhost";
    const size_t local_len = sizeof local - 1;
    size_t len = host.len, digits = 0;

    if (len > 0 && host.at[0] == '[')
        return true;
    for (size_t i = 0; i < host.len; i++) {
        if (host.at[i] == ':')
            len = i;
    }
    while (digits < len && strchr("0123456789.", host.at[digits]) != NULL)
        digits++;
    return (digits == len && len > 0) ||
           (len + 1 == local_len && strncasecmp(host.at, local + 1, len) == 0) ||
           (len > local_len && strncasecmp(host.at + len - local_len, local, local_len) == 0);
}

/* Is the page from this server itself?  Its origin is "scheme://" and the host it asks. */
static bool
same_origin(const struct berth_admit_who *who)
{
    for (size_t i = 0; i + 3 <= who->origin.len; i++) {
        if (memcmp(who->origin.at + i, "://", 3) == 0) {
            const size_t n = who->origin.len - i - 3;
            return n == who->host.len && is_host_of_nobody(who->host) &&
                   strncasecmp(who->origin.at + i + 3, who->host.at, n) == 0;
        }
    }
    return false;
}

static int
fault(struct berth_fault *ret, enum berth_code code, const char *message)
{
    *ret = (struct berth_fault){.code = -(int)code, .message = message};
    return -(int)code;
}

/* Without keys, whoever reaches the port may read and infer, and this machine's own programs may
 * manage; but a web page from elsewhere, run by a browser on this machine, must not. */
static int
check_without_keys(const struct berth_admit *a, const struct berth_admit_who *who,
                   struct berth_fault *ret)
{
    bool by_name;

    if (!who->loopback)
        return fault(ret, BERTH_EPERM,
                     "changing models needs a key when asked from another machine; set "
                     "security.api_keys and send one as Authorization: Bearer");
    (void)berth_admit_origin(a, who->origin, &by_name);
    if (who->origin.len > 0 && !by_name && !same_origin(who))
        return fault(ret, BERTH_EPERM,
                     "a web page of this origin may not change models; name the origin in "
                     "security.cors_allowed_origins or set security.api_keys");
    return 0;
}

int
berth_admit_check(const struct berth_admit *a, enum berth_scope scope,
                  const struct berth_admit_who *who, struct berth_fault *ret)
{
    uint32_t scopes;

    if (scope == BERTH_SCOPE_PUBLIC)
        return 0;
    if (a->key_count == 0)
        return scope == BERTH_SCOPE_MANAGE ? check_without_keys(a, who, ret) : 0;
    if (who->key.len == 0)
        return fault(ret, BERTH_EAUTH,
                     "this server wants a key; send it as Authorization: Bearer or X-API-Key");
    scopes = berth_admit_scopes(a, who->key);
    if (scopes == 0)
        return fault(ret, BERTH_EAUTH, "this key is not known here");
    if ((scopes & scope) == 0)
        return fault(ret, BERTH_EPERM,
                     scope == BERTH_SCOPE_MANAGE ? "this key may not change models"
                     : scope == BERTH_SCOPE_READ ? "this key may not read models and metrics"
                                                 : "this key may not run models");
    return 0;
}

static uint64_t
hash(const char *text, size_t len)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a */

    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)text[i]) * UINT64_C(0x100000001b3);
    return h ^ (h >> 32);
}

uint64_t
berth_admit_who_hash(struct berth_slice key)
{
    const uint64_t h = hash(key.at, key.len);

    return h != 0 ? h : 1;
}

/* The generic cell rate algorithm: a cell holds the time at which its next request is on time; a
 * request may come up to burst_ns before that.  Two clients in one cell share it, which is seldom
 * and errs to the safe side. */
uint32_t
berth_admit_rate(struct berth_admit *a, const struct berth_admit_who *who, uint64_t now_ns)
{
    const char *colon = strrchr(who->peer, ':');
    const struct berth_slice from =
        a->key_count > 0 && who->key.len > 0
            ? who->key
            : (struct berth_slice){who->peer,
                                   colon != NULL ? (size_t)(colon - who->peer) : strlen(who->peer)};
    _Atomic uint64_t *cell;
    uint64_t at;

    if (a->interval_ns == 0)
        return 0;
    cell = &a->cells[hash(from.at, from.len) % BERTH_RATE_CELLS];
    at = atomic_load_explicit(cell, memory_order_relaxed);
    for (;;) {
        const uint64_t due = at > now_ns ? at : now_ns;

        if (due - now_ns > a->burst_ns)
            return (uint32_t)((due - now_ns - a->burst_ns) / UINT64_C(1000000000)) + 1;
        if (atomic_compare_exchange_weak_explicit(cell, &at, due + a->interval_ns,
                                                  memory_order_relaxed, memory_order_relaxed))
            return 0;
    }
}
