#include "cmd/bench_errors.h"

#include <stdio.h>

#include "base/assert.h"
#include "wire/json.h"

static const char *const names[BERTH_BENCH_ERROR_COUNT] = {
#define X(name, text) [BERTH_BENCH_##name] = (text),
    BERTH_BENCH_ERRORS(X)
#undef X
};

void
berth_errors_add_status(struct berth_errors *s, uint16_t status)
{
    berth_assert(status <= BERTH_BENCH_STATUS_MAX);
    s->statuses[status]++;
}

static const char *const grpc_names[BERTH_BENCH_GRPC_MAX + 1] = {"OK",
                                                                 "CANCELLED",
                                                                 "UNKNOWN",
                                                                 "INVALID_ARGUMENT",
                                                                 "DEADLINE_EXCEEDED",
                                                                 "NOT_FOUND",
                                                                 "ALREADY_EXISTS",
                                                                 "PERMISSION_DENIED",
                                                                 "RESOURCE_EXHAUSTED",
                                                                 "FAILED_PRECONDITION",
                                                                 "ABORTED",
                                                                 "OUT_OF_RANGE",
                                                                 "UNIMPLEMENTED",
                                                                 "INTERNAL",
                                                                 "UNAVAILABLE",
                                                                 "DATA_LOSS",
                                                                 "UNAUTHENTICATED",
                                                                 "OTHER"};

void
berth_errors_add_grpc(struct berth_errors *s, int32_t status)
{
    s->grpc[status >= 0 && status < BERTH_BENCH_GRPC_MAX ? status : BERTH_BENCH_GRPC_MAX]++;
}

void
berth_errors_merge(struct berth_errors *s, const struct berth_errors *more)
{
    for (size_t i = 0; i < BERTH_COUNT(s->kinds); i++)
        s->kinds[i] += more->kinds[i];
    for (size_t i = 0; i < BERTH_COUNT(s->statuses); i++)
        s->statuses[i] += more->statuses[i];
    for (size_t i = 0; i < BERTH_COUNT(s->grpc); i++)
        s->grpc[i] += more->grpc[i];
}

uint64_t
berth_errors_sum(const struct berth_errors *s)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < BERTH_COUNT(s->kinds); i++)
        sum += s->kinds[i];
    for (size_t i = 0; i < BERTH_COUNT(s->statuses); i++)
        sum += s->statuses[i];
    for (size_t i = 0; i < BERTH_COUNT(s->grpc); i++)
        sum += s->grpc[i];
    return sum;
}

void
berth_errors_put_json(const struct berth_errors *s, struct berth_jw *w)
{
    berth_jw_object(w);
    for (size_t i = 0; i < BERTH_COUNT(names); i++) {
        berth_jw_key(w, names[i]);
        berth_jw_uint(w, s->kinds[i]);
    }
    berth_jw_key(w, "status");
    berth_jw_object(w);
    for (size_t i = 0; i < BERTH_COUNT(s->statuses); i++) {
        char key[8];
        if (s->statuses[i] == 0)
            continue;
        (void)snprintf(key, sizeof key, "%zu", i % 1000);
        berth_jw_key(w, key);
        berth_jw_uint(w, s->statuses[i]);
    }
    berth_jw_object_end(w);
    berth_jw_key(w, "grpc");
    berth_jw_object(w);
    for (size_t i = 0; i < BERTH_COUNT(s->grpc); i++) {
        if (s->grpc[i] == 0)
            continue;
        berth_jw_key(w, grpc_names[i]);
        berth_jw_uint(w, s->grpc[i]);
    }
    berth_jw_object_end(w);
    berth_jw_object_end(w);
}

void
berth_errors_put_text(const struct berth_errors *s, struct berth_buf *out)
{
    const char *between = "";

    for (size_t i = 0; i < BERTH_COUNT(names); i++) {
        if (s->kinds[i] == 0)
            continue;
        berth_buf_printf(out, "%s%s %llu", between, names[i], (unsigned long long)s->kinds[i]);
        between = ", ";
    }
    for (size_t i = 0; i < BERTH_COUNT(s->statuses); i++) {
        if (s->statuses[i] == 0)
            continue;
        berth_buf_printf(out, "%sstatus %zu: %llu", between, i, (unsigned long long)s->statuses[i]);
        between = ", ";
    }
    for (size_t i = 0; i < BERTH_COUNT(s->grpc); i++) {
        if (s->grpc[i] == 0)
            continue;
        berth_buf_printf(out, "%s%s %llu", between, grpc_names[i], (unsigned long long)s->grpc[i]);
        between = ", ";
    }
}
