#include "cmd/bench_load.h"

#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "cmd/bench_pace.h"
#include "cmd/bench_pick.h"
#include "cmd/bench_proc.h"
#include "cmd/bench_wire.h"

enum {
    GRACE_S = 10,          /* after the end, for the last answers */
    TIMEOUT_S = 60,        /* for an answer, unless told */
    WAKE_MS = 100,         /* how often timeouts are looked for, at least */
    REFUSED_PAUSE_MS = 10, /* after a connection was refused, so that a dead server costs little */
    REFUSED_MAX = 1000,    /* in a row: then it is over */
};

struct run {
    const struct berth_load *load;
    struct berth_load_result *result;
    struct berth_wire *wire;
    struct berth_flight **idle; /* a ring: the one that was idle longest goes first */
    size_t flights, idle_from, idle_count;
    int timer;
    uint64_t alarm_ns; /* what the timer is set to */
    struct berth_pace pace;
    struct berth_pick pick;
    uint64_t begin_ns, measure_ns, end_ns; /* end: UINT64_MAX until the last request is sent */
    uint64_t counted;                      /* requests sent or taken to be sent after the warm-up */
    uint64_t timeout_ns, grace_ns, refused_ns; /* refused: when it last happened */
    uint32_t refused_in_a_row;
    uint64_t cpu_ns, server_cpu_ns; /* when the warm-up ended */
    bool measuring;
};

static bool
counts(const struct run *r, uint64_t due_ns)
{
    return due_ns >= r->measure_ns;
}

static bool
is_open(const struct run *r)
{
    return r->load->rate > 0;
}

/* ---- what came of requests ---- */

static void
idle_put(struct run *r, struct berth_flight *f)
{
    r->idle[(r->idle_from + r->idle_count++) % r->flights] = f;
}

static struct berth_flight *
idle_take(struct run *r)
{
    struct berth_flight *f = r->idle[r->idle_from];

    r->idle_from = (r->idle_from + 1) % r->flights;
    r->idle_count--;
    return f;
}

static void
landed(void *arg, struct berth_flight *f, const struct berth_landing *l)
{
    struct run *r = arg;
    struct berth_load_result *result = r->result;
    const bool answered = l->kind == BERTH_BENCH_ERROR_COUNT;
    const uint64_t now = berth_now_ns();

    idle_put(r, f);
    if (l->kind == BERTH_BENCH_CONNECT) {
        r->refused_ns = now;
        r->refused_in_a_row++;
    } else if (answered) {
        r->refused_in_a_row = 0;
    }
    result->ended += r->measuring;
    if (!counts(r, f->due_ns))
        return;
    if (l->ok) {
        berth_hist_add(&result->latency, now - f->due_ns);
        result->ok++;
        if (l->stages != NULL)
            berth_stages_add(&result->stages, l->stages);
    } else if (!answered) {
        result->errors.kinds[l->kind]++;
    } else if (r->load->grpc && l->status == 200) {
        berth_errors_add_grpc(&result->errors, l->grpc_status);
    } else {
        berth_errors_add_status(&result->errors, l->status);
    }
}

/* ---- sending ---- */

static void
start(struct run *r, uint64_t due_ns, uint64_t now)
{
    struct berth_flight *f = idle_take(r);

    r->counted += counts(r, due_ns);
    f->due_ns = due_ns;
    f->begin_ns = now;
    f->request = berth_pick_next(&r->pick);
    berth_wire_begin(r->wire, f);
}

static bool
has_more(const struct run *r)
{
    return r->load->requests == 0 || r->counted < r->load->requests;
}

static bool
is_pausing(const struct run *r, uint64_t now)
{
    return r->refused_in_a_row > 0 && now - r->refused_ns < REFUSED_PAUSE_MS * BERTH_MS;
}

static void
feed_closed(struct run *r, uint64_t now)
{
    /* Not more than there are: one that fails at once is idle again at once. */
    for (size_t n = r->idle_count; n > 0 && now < r->end_ns && has_more(r) && !is_pausing(r, now);
         n--) {
        start(r, now, now);
        now = berth_now_ns();
    }
    if ((!has_more(r) || r->refused_in_a_row >= REFUSED_MAX) && now < r->end_ns)
        r->end_ns = now;
}

static void
feed_open(struct run *r, uint64_t now)
{
    while (r->idle_count > 0 && berth_pace_next(&r->pace) <= now &&
           berth_pace_next(&r->pace) < r->end_ns && has_more(r)) {
        const uint64_t due_ns = berth_pace_next(&r->pace);
        berth_pace_take(&r->pace);
        start(r, due_ns, now);
    }
    if (!has_more(r) && now < r->end_ns)
        r->end_ns = now;
    uint64_t next = berth_pace_next(&r->pace);
    if (next <= now || next > r->end_ns) /* late already: an answer wakes us */
        next = r->end_ns > now ? r->end_ns : now + BERTH_MS;
    if (next == r->alarm_ns)
        return;
    r->alarm_ns = next;
    const struct itimerspec at = {.it_value = {(time_t)(next / BERTH_S), (long)(next % BERTH_S)}};
    (void)timerfd_settime(r->timer, TFD_TIMER_ABSTIME, &at, NULL);
}

/* Send what can be sent now; in open loop set the alarm for the next one. */
static void
feed(struct run *r, uint64_t now)
{
    if (is_open(r))
        feed_open(r, now);
    else
        feed_closed(r, now);
    berth_wire_flush(r->wire);
}

/* ---- the run ---- */

static uint64_t
cpu_ns(void)
{
    struct timespec t;

    return clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) == 0
               ? (uint64_t)t.tv_sec * BERTH_S + (uint64_t)t.tv_nsec
               : 0;
}

/* 0: there is no such process, or nobody asked. */
static uint64_t
server_cpu_ns(const struct run *r)
{
    struct berth_proc p;

    return r->load->server_pid > 0 && berth_proc_read(r->load->server_pid, &p) == 0 ? p.cpu_ns : 0;
}

static void
time_out(struct run *r, uint64_t now)
{
    for (size_t i = 0; i < r->flights; i++) {
        struct berth_flight *f = berth_wire_flight(r->wire, i);
        if (f->busy && now - f->begin_ns >= r->timeout_ns)
            berth_wire_give_up(r->wire, f, BERTH_BENCH_TIMEOUT);
    }
}

/* From here on it counts. */
static void
measure(struct run *r)
{
    r->measuring = true;
    r->cpu_ns = cpu_ns();
    r->server_cpu_ns = server_cpu_ns(r);
}

/* What was due and is not sent any more failed. */
static void
count_unsent(struct run *r)
{
    while (is_open(r) && berth_pace_next(&r->pace) < r->end_ns && has_more(r)) {
        const bool counted = counts(r, berth_pace_next(&r->pace));
        r->result->errors.kinds[BERTH_BENCH_UNSENT] += counted;
        r->counted += counted;
        berth_pace_take(&r->pace);
    }
}

static void
drive(struct run *r)
{
    uint64_t now = berth_now_ns(), looked_ns = now;

    if (now >= r->measure_ns)
        measure(r);
    feed(r, now);
    /* Until nothing more is to be sent and the last answers are in, or late. */
    while (now < r->end_ns || (r->idle_count < r->flights && now - r->end_ns < r->grace_ns)) {
        berth_wire_wait(r->wire, is_pausing(r, now) ? REFUSED_PAUSE_MS : WAKE_MS);
        now = berth_now_ns();
        if (!r->measuring && now >= r->measure_ns)
            measure(r);
        if (now - looked_ns >= WAKE_MS * BERTH_MS) {
            looked_ns = now;
            time_out(r, now);
        }
        feed(r, now);
        now = berth_now_ns();
    }
    const uint64_t server = server_cpu_ns(r);
    r->result->server_cpu_ns = server > r->server_cpu_ns ? server - r->server_cpu_ns : 0;
    r->result->cpu_ns = cpu_ns() - r->cpu_ns;
    r->result->elapsed_ns = now > r->measure_ns ? now - r->measure_ns : 1;
    for (size_t i = 0; i < r->flights; i++)
        berth_wire_give_up(r->wire, berth_wire_flight(r->wire, i), BERTH_BENCH_TIMEOUT);
    count_unsent(r);
    r->result->failed = berth_errors_sum(&r->result->errors);
}

/* In open loop so many requests are so much time, and twice that when they come at random. */
static void
set_clock(struct run *r)
{
    const struct berth_load *load = r->load;

    r->timeout_ns = load->timeout_ns > 0 ? load->timeout_ns : TIMEOUT_S * BERTH_S;
    r->grace_ns = load->grace_ns > 0 ? load->grace_ns : GRACE_S * BERTH_S;
    r->begin_ns = berth_now_ns();
    r->measure_ns = r->begin_ns + load->warmup_ns;
    r->pace = (struct berth_pace){.rate = load->rate, .poisson = load->poisson, .seed = load->seed};
    r->pick.count = load->request_count > 0 ? load->request_count : 1;
    r->pick.zipf = load->zipf;
    berth_pick_begin(&r->pick, load->seed);
    if (is_open(r))
        berth_pace_begin(&r->pace, r->begin_ns);
    if (load->duration_ns > 0)
        r->end_ns = r->measure_ns + load->duration_ns;
    else if (is_open(r) && !load->poisson)
        r->end_ns = r->measure_ns + (uint64_t)(((double)load->requests + 1) * 1e9 / load->rate);
    else
        r->end_ns = UINT64_MAX;
}

static int
set_up(struct run *r, const struct berth_wire_conf *conf, struct berth_err *e)
{
    struct berth_proc p;

    if (r->load->server_pid > 0 && berth_proc_read(r->load->server_pid, &p) != 0)
        return berth_err_set(e, BERTH_ENOENT, "there is no process %d here",
                             (int)r->load->server_pid);
    const int rc = berth_wire_new(&r->wire, conf, e);
    if (rc != 0)
        return rc;
    r->flights = berth_wire_flight_count(r->wire);
    r->idle = calloc(r->flights, sizeof(struct berth_flight *));
    r->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (r->idle == NULL || r->timer < 0 || berth_wire_watch_timer(r->wire, r->timer) != 0)
        return berth_err_set(e, BERTH_ENOMEM, "not enough memory or file descriptors");
    /* One of each connection, then the second ones: few requests are spread over all. */
    for (uint32_t s = 0; s < conf->streams; s++)
        for (uint32_t c = 0; c < conf->connections; c++)
            idle_put(r, berth_wire_flight(r->wire, (size_t)c * conf->streams + s));
    return 0;
}

int
berth_load_run(const struct berth_load *load, struct berth_load_result *ret, struct berth_err *e)
{
    struct run r = {.load = load, .result = ret, .timer = -1};
    const struct berth_wire_conf conf = {.host = load->host,
                                         .port = load->port,
                                         .http1 = load->http1,
                                         .http2 = load->http2,
                                         .request_count =
                                             load->request_count > 0 ? load->request_count : 1,
                                         .grpc = load->grpc,
                                         .connections = load->connections,
                                         .streams = load->streams > 0 ? load->streams : 1,
                                         .landed = landed,
                                         .arg = &r};

    memset(ret, 0, sizeof *ret);
    const int rc = set_up(&r, &conf, e);
    if (rc == 0) {
        set_clock(&r);
        drive(&r);
    }
    berth_wire_free(r.wire);
    if (r.timer >= 0)
        (void)close(r.timer);
    free(r.idle);
    return rc;
}
