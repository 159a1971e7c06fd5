#include "api/timing.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "api/api_priv.h"
#include "base/arena.h"
#include "base/clock.h"
#include "wire/uri.h"

enum { TIMINGS_MAX = 16 };

static uint64_t
less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

const struct berth_timing *
berth_call_timings(const struct berth_call *c, size_t *ret_count)
{
    const struct berth_request *r = berth_call_last_part(c);
    struct berth_timing *list =
        r != NULL ? BERTH_NEW_N(c->arena, struct berth_timing, TIMINGS_MAX) : NULL;
    size_t n = 0;

    *ret_count = 0;
    if (list == NULL)
        return NULL;
    const uint64_t now = berth_now_ns(), body = less(c->body_ns, c->begin_ns);
    const uint64_t taken = r->run_ns != 0 ? r->run_ns : r->done_ns;
    const uint64_t queue = less(taken, r->submit_ns);
#define US(text, ns) list[n++] = (struct berth_timing){"berth_" text "_us", (int64_t)((ns) / 1000)}
#define COUNT(text, x)                \
    list[n++] = (struct berth_timing) \
    {                                 \
        "berth_" text, (int64_t)(x)   \
    }
    US("total", less(now, c->begin_ns));
    US("receive", body);
    US("load", c->parked_ns);
    US("read", less(less(r->submit_ns, c->begin_ns), body + c->parked_ns));
    US("queue", r->cached ? 0 : less(queue, r->company_ns));
    US("company", r->company_ns);
    US("cores", r->run_ns != 0 ? r->cores_ns : 0);
    US("engine", r->done_ns != 0 ? r->engine_ns : 0);
    COUNT("batch_requests", r->batch_requests);
    COUNT("padded_permille", r->padded_permille);
    COUNT("instance", r->instance_number);
    COUNT("runs", r->runs);
    COUNT("cached", r->cached);
#undef US
#undef COUNT
    *ret_count = n;
    return list;
}

void
berth_call_timing_header(const struct berth_call *c)
{
    struct berth_slice asked;
    char text[600];
    size_t n, len = 0;

    if (!berth_uri_query(c->arena, c->x->query, "berth_timing", &asked) ||
        !berth_slice_is(asked, "true"))
        return;
    const struct berth_timing *list = berth_call_timings(c, &n);
    for (size_t i = 0; i < n && len < sizeof text; i++) {
        const char *name = list[i].name + strlen("berth_");
        const size_t name_len = strlen(name), us = strlen("_us");

        if (name_len <= us || strcmp(name + name_len - us, "_us") != 0)
            continue; /* the header knows times only */
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%.*s;dur=%" PRId64 ".%03" PRId64,
                                len > 0 ? ", " : "", (int)(name_len - us), name,
                                list[i].value / 1000, list[i].value % 1000);
    }
    if (len > 0 && len < sizeof text)
        berth_exchange_add(c->x, "server-timing", text);
}
