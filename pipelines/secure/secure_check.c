#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "net/client.h"
#include "pipelines/parts.h"
#include "pipelines/secure/secure_priv.h"

/* Whether the engine does what it was told: it answers over TLS alone, and not without the key. */

enum { REPLICAS_MAX = 1000, ENDPOINT_MAX = 300 };
static const uint64_t answer_ns_max = 10 * BERTH_S;

struct found {
    char endpoint[ENDPOINT_MAX], id[100];
};
struct look {
    struct found *at;
    size_t len;
};

static void
looked(void *arg, const struct berth_observed *seen)
{
    struct look *l = arg;

    for (size_t i = 0; i < seen->replica_count && l->len < REPLICAS_MAX; i++) {
        const struct berth_replica *r = &seen->replicas[i];

        if (r->state != BERTH_REPLICA_READY || r->endpoint == NULL)
            continue;
        struct found *f = &l->at[l->len++];
        (void)snprintf(f->endpoint, sizeof f->endpoint, "%s", r->endpoint);
        (void)snprintf(f->id, sizeof f->id, "%s", r->id);
    }
}

static bool
goes_on(void *arg, uint64_t got, uint64_t total)
{
    (void)got;
    (void)total;
    return !berth_parts_host()->cancelled(arg);
}

static bool
no_body(void *arg, uint16_t status, const char *bytes, size_t len)
{
    (void)arg;
    (void)status;
    (void)bytes;
    (void)len;
    return true; /* only the status counts */
}

/* The status of a question without a key; 0 with *e: no HTTP came back. */
static int
ask(struct berth_deployment *d, struct berth_client *c, const char *url, const char *ca_path,
    uint16_t *ret, struct berth_err *e)
{
    const struct berth_client_tls tls = {.ca_file = ca_path};
    const struct berth_client_call call = {.url = url,
                                           .tls = ca_path != NULL ? &tls : NULL,
                                           .connect_ns_max = answer_ns_max,
                                           .silent_ns_max = answer_ns_max,
                                           .total_ns_max = answer_ns_max,
                                           .proxy = "",
                                           .body_part = no_body,
                                           .go_on = goes_on,
                                           .arg = d};
    struct berth_client_answer answer = {.status = 0};
    const int r = berth_client_call(c, &call, &answer, e);

    berth_buf_fini(&answer.body);
    *ret = answer.status;
    return r;
}

static int
open_to_all(struct berth_deployment *d, const struct found *f, const char *how, struct berth_err *e)
{
    char text[240];

    (void)snprintf(text, sizeof text,
                   "replica %s answers %s: its engine must have TLS alone and "
                   "ask for the key in API_KEY_FILE",
                   f->id, how);
    const int r = berth_parts_host()->audit(d, "endpoint", false, NULL, text, e);
    return r < 0 ? r : berth_err_set(e, BERTH_EPERM, "%s", text);
}

static bool
is_answer(uint16_t status)
{
    return status >= 200 && status < 300;
}

static int
check_one(struct berth_deployment *d, struct berth_client *c, const struct found *f,
          const char *ca_path, struct berth_err *e)
{
    char url[ENDPOINT_MAX + 32];
    uint16_t status = 0;
    struct berth_err none;

    if (strncmp(f->endpoint, "https://", 8) != 0)
        return open_to_all(d, f, "without TLS", e);
    (void)snprintf(url, sizeof url, "%s/v1/models", f->endpoint);
    const int r = ask(d, c, url, ca_path, &status, e);
    if (r < 0)
        return r; /* it was ready a moment ago: once more */
    if (is_answer(status))
        return open_to_all(d, f, "without a key", e);
    (void)snprintf(url, sizeof url, "http://%s/v1/models", f->endpoint + 8);
    if (ask(d, c, url, NULL, &status, &none) == 0 && is_answer(status))
        return open_to_all(d, f, "without TLS", e);
    return 0;
}

static int
check_all(struct berth_deployment *d, const struct look *l, struct berth_err *e)
{
    const char *ca_path = berth_parts_host()->get(d, "caPath");
    struct berth_client *c;
    char text[80];
    int r = berth_client_new(&c, e);

    if (r < 0)
        return r;
    for (size_t i = 0; r == 0 && i < l->len; i++)
        r = check_one(d, c, &l->at[i], ca_path, e);
    berth_client_free(c);
    if (r < 0)
        return r;
    (void)snprintf(text, sizeof text, "%zu replicas answer over TLS alone, with the key alone",
                   l->len);
    return berth_parts_host()->audit(d, "endpoint", true, NULL, text, e);
}

int
secure_check(struct berth_deployment *d, struct berth_err *e)
{
    struct look l = {.at = calloc(REPLICAS_MAX, sizeof *l.at)};
    int r = l.at != NULL ? berth_parts_host()->status(d, looked, &l, e)
                         : berth_err_set(e, BERTH_ENOMEM, "out of memory");

    if (r == 0)
        r = check_all(d, &l, e);
    free(l.at);
    return r;
}
