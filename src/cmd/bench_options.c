#include "cmd/bench_options.h"

#include <sched.h>
#include <string.h>

#include "base/assert.h"
#include "base/num.h"
#include "cmd/cmd_priv.h"

enum {
    CONCURRENCY_MAX = 4096,
    FLIGHTS_MAX = 65536,
    OPEN_CONNECTIONS = 64,
    ROUNDS_MAX = 100,
    RATES_MAX = 1000,
    COMPARE_ROUNDS = 3, /* unless told: a median needs so many */
};

static bool
read_concurrency(struct berth_bench_options *o, const struct berth_args *args)
{
    const char *text = berth_arg(args, "concurrency");
    const char *x = text != NULL ? strchr(text, 'x') : NULL;
    int64_t n = o->rate > 0 || o->step > 0 ? OPEN_CONNECTIONS : 1, m = 1;

    if (text != NULL && (!berth_int_parse(text, x != NULL ? (size_t)(x - text) : strlen(text), 1,
                                          CONCURRENCY_MAX, &n) ||
                         (x != NULL && !berth_int_parse(x + 1, strlen(x + 1), 1,
                                                        BERTH_H2_CLIENT_STREAMS_MAX, &m)) ||
                         n * m > FLIGHTS_MAX)) {
        (void)berth_usage(args, "--concurrency %s: must be N or NxM, N from 1 to %d, M to %d", text,
                          CONCURRENCY_MAX, BERTH_H2_CLIENT_STREAMS_MAX);
        return false;
    }
    o->connections = (uint32_t)n;
    o->streams = (uint32_t)m;
    return true;
}

/* FROM:TO:STEP */
static bool
read_sweep(struct berth_bench_options *o, const struct berth_args *args)
{
    const char *text = berth_arg(args, "sweep");
    double *const to[] = {&o->from, &o->to, &o->step};
    const char *at = text;

    for (size_t i = 0; text != NULL && i < BERTH_COUNT(to); i++) {
        const size_t len = strcspn(at, ":");
        if (!berth_float_parse(at, len, to[i]) || *to[i] <= 0 ||
            (at[len] == ':') != (i + 1 < BERTH_COUNT(to)) || (i > 0 && o->to > 1e7)) {
            (void)berth_usage(args, "--sweep %s: must be FROM:TO:STEP, requests a second", text);
            return false;
        }
        at += len + 1;
    }
    if (o->step > 0 && (o->to - o->from) / o->step > RATES_MAX) {
        (void)berth_usage(args, "--sweep %s: more than %d rates", text, RATES_MAX);
        return false;
    }
    return true;
}

static bool
read_choices(struct berth_bench_options *o, const struct berth_args *args)
{
    const char *protocol = berth_arg(args, "protocol"), *arrivals = berth_arg(args, "arrivals");

    if (protocol != NULL && !berth_protocol_parse(protocol, &o->protocol)) {
        (void)berth_usage(args, "--protocol %s: must be rest, binary or grpc", protocol);
        return false;
    }
    if (arrivals != NULL && strcmp(arrivals, "poisson") != 0 && strcmp(arrivals, "constant") != 0) {
        (void)berth_usage(args, "--arrivals %s: must be constant or poisson", arrivals);
        return false;
    }
    o->poisson = arrivals != NULL && arrivals[0] == 'p';
    return true;
}

/* PID[,PID] */
static bool
read_pids(struct berth_bench_options *o, const struct berth_args *args)
{
    const char *text = berth_arg(args, "server-pid"), *at = text;

    for (size_t i = 0; at != NULL; i++) {
        const size_t len = strcspn(at, ",");
        int64_t pid;
        if (i == BERTH_COUNT(o->pids) || !berth_int_parse(at, len, 1, INT32_MAX, &pid)) {
            (void)berth_usage(args, "--server-pid %s: must be P, or P,P with --compare", text);
            return false;
        }
        o->pids[i] = (pid_t)pid;
        at = at[len] == ',' ? at + len + 1 : NULL;
    }
    return true;
}

static bool
read_cpu(const struct berth_args *args)
{
    long long cpu = -1;
    cpu_set_t set;

    if (!berth_arg_int(args, "cpu", 0, CPU_SETSIZE - 1, &cpu))
        return false;
    if (cpu < 0)
        return true;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) == 0)
        return true;
    (void)berth_usage(args, "--cpu %lld: this process may not run there (%m)", cpu);
    return false;
}

bool
berth_bench_options_read(struct berth_bench_options *o, const struct berth_args *args)
{
    *o = (struct berth_bench_options){.max_tokens = 64, .seconds = 5, .warmup_s = 1};
    o->rounds = berth_arg(args, "compare") != NULL ? COMPARE_ROUNDS : 1;
    if (!berth_arg_int(args, "max-tokens", 1, 1000000, &o->max_tokens) ||
        !berth_arg_real(args, "rate", 0.001, 1e7, &o->rate) ||
        !berth_arg_int(args, "requests", 1, 1000000000, &o->requests) ||
        !berth_arg_int(args, "rounds", 1, ROUNDS_MAX, &o->rounds) ||
        !berth_arg_real(args, "duration", 0.1, 86400, &o->seconds) ||
        !berth_arg_real(args, "warmup", 0, 3600, &o->warmup_s) ||
        !berth_arg_real(args, "p99", 0.001, 1e6, &o->p99_ms_max) || !read_sweep(o, args) ||
        !read_choices(o, args) || !read_pids(o, args) || !read_concurrency(o, args) ||
        !read_cpu(args))
        return false;
    if (o->requests > 0 && berth_arg(args, "duration") != NULL) {
        (void)berth_usage(args, "--requests or --duration, not both");
        return false;
    }
    if (o->step > 0 && o->rate > 0) {
        (void)berth_usage(args, "--rate or --sweep, not both");
        return false;
    }
    if (o->requests > 0)
        o->seconds = 0; /* until they are done */
    return true;
}
