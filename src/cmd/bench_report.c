#include "cmd/bench_report.h"

#include <math.h>
#include <stdlib.h>

#include "base/assert.h"
#include "cmd/bench_load.h"
#include "wire/json.h"

enum { ROUNDS_MAX = 100 }; /* as many as a median is taken of */

static double
ms(uint64_t ns)
{
    return (double)ns / 1e6;
}

struct berth_spread
berth_spread_of(const struct berth_hist *h)
{
    return (struct berth_spread){
        .mean = h->count > 0 ? ms(h->sum_ns / h->count) : 0,
        .p50 = ms(berth_hist_at(h, 0.5)),
        .p90 = ms(berth_hist_at(h, 0.9)),
        .p95 = ms(berth_hist_at(h, 0.95)),
        .p99 = ms(berth_hist_at(h, 0.99)),
        .p99_9 = ms(berth_hist_at(h, 0.999)),
        .max = ms(h->max_ns),
    };
}

/* ---- what is compared ---- */

static double
per_second(const struct berth_bench_run *r)
{
    return r->seconds > 0 ? (double)r->ok / r->seconds : 0;
}

static double
p50(const struct berth_bench_run *r)
{
    return r->latency.p50;
}

double
berth_run_p99(const struct berth_bench_run *r)
{
    return r->latency.p99;
}

static double
cpu_us(const struct berth_bench_run *r)
{
    return r->server_cpu_us;
}

static double
client_share(const struct berth_bench_run *r)
{
    return r->client_cpu_share;
}

static double
tokens_per_second(const struct berth_bench_run *r)
{
    return r->seconds > 0 ? (double)r->completion_tokens / r->seconds : 0;
}

static double
first_p50(const struct berth_bench_run *r)
{
    return r->first.p50;
}

static double
failed(const struct berth_bench_run *r)
{
    return (double)r->failed;
}

static const struct {
    const char *key, *head; /* head: of its column, at most 12 characters */
    double (*value)(const struct berth_bench_run *r);
    bool chats, predictions;
} columns[] = {
    {"requests_per_s", "requests/s", per_second, true, true},
    {"tokens_per_s", "tokens/s", tokens_per_second, true, false},
    {"first_token_p50_ms", "first ms", first_p50, true, false},
    {"p50_ms", "p50 ms", p50, true, true},
    {"p99_ms", "p99 ms", berth_run_p99, true, true},
    {"server_cpu_us", "CPU us", cpu_us, true, true},
    {"client_cpu_share", "client CPU", client_share, false, true},
    {"failed", "failed", failed, true, true},
};

static bool
is_chat(const struct berth_bench_report *r)
{
    return r->workload[0] == 'c';
}

/* One run that is told in full; else there is a table. */
static bool
is_single(const struct berth_bench_report *r)
{
    return r->run_count == 1 && !r->is_sweep;
}

static bool
has_column(const struct berth_bench_report *r, size_t i)
{
    return is_chat(r) ? columns[i].chats : columns[i].predictions;
}

static int
by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static bool
is_at(const struct berth_bench_run *run, size_t server, double rate)
{
    return run->server == server && fabs(run->rate - rate) < 1e-9;
}

double
berth_report_median(const struct berth_bench_report *r, size_t server, double rate,
                    double (*value)(const struct berth_bench_run *run))
{
    double all[ROUNDS_MAX];
    size_t n = 0;

    for (size_t i = 0; i < r->run_count && n < ROUNDS_MAX; i++)
        if (is_at(&r->runs[i], server, rate))
            all[n++] = value(&r->runs[i]);
    if (n == 0)
        return NAN;
    qsort(all, n, sizeof all[0], by_size);
    return n % 2 == 1 ? all[n / 2] : (all[n / 2 - 1] + all[n / 2]) / 2;
}

/* ---- JSON ---- */

static void
put_number(struct berth_jw *w, const char *key, double v)
{
    berth_jw_key(w, key);
    if (isnan(v))
        berth_jw_null(w);
    else
        berth_jw_double(w, round(v * 1000) / 1000);
}

static void
put_spread(struct berth_jw *w, const char *key, const struct berth_spread *s)
{
    berth_jw_key(w, key);
    berth_jw_object(w);
    put_number(w, "mean", s->mean);
    put_number(w, "p50", s->p50);
    put_number(w, "p90", s->p90);
    put_number(w, "p95", s->p95);
    put_number(w, "p99", s->p99);
    put_number(w, "p99_9", s->p99_9);
    put_number(w, "max", s->max);
    berth_jw_object_end(w);
}

static double
stage_ms(const struct berth_stages *s, size_t i)
{
    return s->at[i].times > 0 ? s->at[i].ms / (double)s->at[i].times : 0;
}

static void
put_run(struct berth_jw *w, const struct berth_bench_report *r, const struct berth_bench_run *run)
{
    put_number(w, "rate", run->rate);
    put_number(w, "seconds", run->seconds);
    berth_jw_pair_uint(w, "requests", run->ok + run->failed);
    berth_jw_pair_uint(w, "ok", run->ok);
    berth_jw_pair_uint(w, "failed", run->failed);
    berth_jw_key(w, "errors");
    berth_errors_put_json(&run->errors, w);
    put_number(w, "requests_per_s", per_second(run));
    put_spread(w, "latency_ms", &run->latency);
    if (is_chat(r)) {
        put_spread(w, "first_token_ms", &run->first);
        put_spread(w, "inter_token_ms", &run->between);
        berth_jw_pair_uint(w, "completion_tokens", run->completion_tokens);
        put_number(w, "tokens_per_s", tokens_per_second(run));
    } else {
        put_number(w, "client_cpu_share", run->client_cpu_share);
    }
    put_number(w, "server_cpu_us", run->server_cpu_us < 0 ? NAN : run->server_cpu_us);
    berth_jw_key(w, "stages_ms");
    berth_jw_object(w);
    for (size_t i = 0; i < run->stages.count; i++)
        put_number(w, run->stages.at[i].name, stage_ms(&run->stages, i));
    berth_jw_object_end(w);
}

static void
put_medians(struct berth_jw *w, const struct berth_bench_report *r)
{
    berth_jw_key(w, "medians");
    berth_jw_array(w);
    for (size_t i = 0; i < r->run_count; i++) {
        const struct berth_bench_run *run = &r->runs[i];
        if (run->round != 1)
            continue;
        berth_jw_object(w);
        berth_jw_pair(w, "server", r->servers[run->server]);
        put_number(w, "rate", run->rate);
        for (size_t c = 0; c < BERTH_COUNT(columns); c++) {
            if (!has_column(r, c))
                continue;
            const double v = berth_report_median(r, run->server, run->rate, columns[c].value);
            put_number(w, columns[c].key, v < 0 ? NAN : v);
        }
        berth_jw_object_end(w);
    }
    berth_jw_array_end(w);
}

void
berth_report_json(const struct berth_bench_report *r, struct berth_buf *out)
{
    struct berth_jw w;

    berth_jw_init(&w, out);
    berth_jw_object(&w);
    berth_jw_pair(&w, "model", r->model);
    berth_jw_pair(&w, "workload", r->workload);
    berth_jw_pair(&w, "protocol", r->protocol);
    berth_jw_pair(&w, "mode", r->run_count > 0 && r->runs[0].rate > 0 ? "open" : "closed");
    berth_jw_pair(&w, "arrivals", r->poisson ? "poisson" : "constant");
    berth_jw_pair_uint(&w, "concurrency", r->connections);
    berth_jw_pair_uint(&w, "streams", r->streams);
    if (is_single(r)) {
        berth_jw_pair(&w, "server", r->servers[0]);
        put_run(&w, r, &r->runs[0]);
    } else {
        berth_jw_key(&w, "runs");
        berth_jw_array(&w);
        for (size_t i = 0; i < r->run_count; i++) {
            berth_jw_object(&w);
            berth_jw_pair(&w, "server", r->servers[r->runs[i].server]);
            berth_jw_pair_uint(&w, "round", r->runs[i].round);
            put_run(&w, r, &r->runs[i]);
            berth_jw_object_end(&w);
        }
        berth_jw_array_end(&w);
        put_medians(&w, r);
    }
    berth_jw_object_end(&w);
    berth_buf_putc(out, '\n');
}

/* ---- for people ---- */

static void
line_of(struct berth_buf *out, const char *what, const struct berth_spread *s)
{
    berth_buf_printf(out,
                     "%-12s mean %.3f  p50 %.3f  p90 %.3f  p95 %.3f  p99 %.3f  p99.9 %.3f  max "
                     "%.3f ms\n",
                     what, s->mean, s->p50, s->p90, s->p95, s->p99, s->p99_9, s->max);
}

static void
put_errors(struct berth_buf *out, const struct berth_bench_run *run)
{
    if (run->failed == 0)
        return;
    berth_buf_printf(out, "%-12s ", "errors");
    berth_errors_put_text(&run->errors, out);
    berth_buf_putc(out, '\n');
}

static void
put_stages(struct berth_buf *out, const struct berth_bench_run *run)
{
    if (run->stages.count == 0)
        return;
    berth_buf_printf(out, "%-12s", "server's own");
    for (size_t i = 0; i < run->stages.count; i++)
        berth_buf_printf(out, "%s %s %.3f", i > 0 ? " " : "", run->stages.at[i].name,
                         stage_ms(&run->stages, i));
    berth_buf_puts(out, " ms (mean)\n");
}

static void
put_single(struct berth_buf *out, const struct berth_bench_report *r)
{
    const struct berth_bench_run *run = &r->runs[0];

    berth_buf_printf(out, "%-12s %llu ok, %llu failed in %.2f s: %.1f/s\n", "requests",
                     (unsigned long long)run->ok, (unsigned long long)run->failed, run->seconds,
                     per_second(run));
    put_errors(out, run);
    line_of(out, "latency", &run->latency);
    if (is_chat(r)) {
        line_of(out, "first token", &run->first);
        line_of(out, "inter-token", &run->between);
        berth_buf_printf(out, "%-12s %llu: %.1f/s\n", "tokens",
                         (unsigned long long)run->completion_tokens, tokens_per_second(run));
    }
    put_stages(out, run);
    if (run->server_cpu_us >= 0)
        berth_buf_printf(out, "%-12s %.1f us a request\n", "server CPU", run->server_cpu_us);
    if (run->client_cpu_share > 0.9)
        berth_buf_puts(out, "This client was busy all the time: the server may be faster.\n");
}

static void
put_head(struct berth_buf *out, const struct berth_bench_report *r)
{
    if (r->is_sweep)
        berth_buf_printf(out, "%10s  ", "rate");
    for (size_t c = 0; c < BERTH_COUNT(columns); c++)
        if (has_column(r, c))
            berth_buf_printf(out, "%12s", columns[c].head);
    berth_buf_puts(out, r->servers[1] != NULL ? "  server\n" : "\n");
}

static void
put_row(struct berth_buf *out, const struct berth_bench_report *r,
        const struct berth_bench_run *run)
{
    if (r->is_sweep)
        berth_buf_printf(out, "%10.1f  ", run->rate);
    for (size_t c = 0; c < BERTH_COUNT(columns); c++) {
        const double v = berth_report_median(r, run->server, run->rate, columns[c].value);
        if (!has_column(r, c))
            continue;
        if (v < 0)
            berth_buf_printf(out, "%12s", "-");
        else
            berth_buf_printf(out, v < 10 ? "%12.3f" : "%12.1f", v);
    }
    if (r->servers[1] != NULL)
        berth_buf_printf(out, "  %s", r->servers[run->server]);
    berth_buf_putc(out, '\n');
}

/* How the two servers stand to each other at one rate. */
static void
put_ratio(struct berth_buf *out, const struct berth_bench_report *r, double rate)
{
    if (r->is_sweep)
        berth_buf_printf(out, "%10s  ", "ratio");
    for (size_t c = 0; c < BERTH_COUNT(columns); c++) {
        const double v = berth_report_median(r, 0, rate, columns[c].value),
                     other = berth_report_median(r, 1, rate, columns[c].value);
        if (!has_column(r, c))
            continue;
        if (v > 0 && other > 0)
            berth_buf_printf(out, "%12.3f", v / other);
        else
            berth_buf_printf(out, "%12s", "-");
    }
    berth_buf_puts(out, "  first / second\n");
}

/* The highest rate of a sweep that the limit allows. */
static void
put_highest(struct berth_buf *out, const struct berth_bench_report *r, size_t server)
{
    double best = 0;

    for (size_t i = 0; i < r->run_count; i++) {
        const struct berth_bench_run *run = &r->runs[i];
        if (run->server == server && run->rate > best &&
            berth_report_median(r, server, run->rate, failed) <= 0 &&
            berth_report_median(r, server, run->rate, berth_run_p99) <= r->p99_ms_max)
            best = run->rate;
    }
    berth_buf_printf(out, "%s: p99 within %g ms and none failed up to %.1f requests/s\n",
                     r->servers[server], r->p99_ms_max, best);
}

void
berth_report_text(const struct berth_bench_report *r, struct berth_buf *out)
{
    berth_buf_printf(out, "%s, %s", r->model, r->workload);
    if (!is_chat(r))
        berth_buf_printf(out, " (%s)", r->protocol);
    berth_buf_printf(out, ", %s loop, %u",
                     r->run_count == 0 || r->runs[0].rate <= 0 ? "closed"
                     : r->poisson                              ? "open (Poisson)"
                                                               : "open",
                     r->connections);
    if (r->streams > 1)
        berth_buf_printf(out, "x%u", r->streams);
    berth_buf_puts(out, " at once\n");
    if (is_single(r)) {
        put_single(out, r);
        return;
    }
    put_head(out, r);
    for (size_t i = 0; i < r->run_count; i++) {
        if (r->runs[i].round != 1)
            continue;
        put_row(out, r, &r->runs[i]);
        if (r->runs[i].server == 1)
            put_ratio(out, r, r->runs[i].rate);
    }
    for (size_t i = 0; i < r->run_count; i++)
        put_errors(out, &r->runs[i]);
    for (size_t s = 0; r->is_sweep && r->p99_ms_max > 0 && s < 2 && r->servers[s] != NULL; s++)
        put_highest(out, r, s);
}
