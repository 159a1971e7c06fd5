#include "deploy/route/balance.h"

#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "net/forward.h"

static const char *const tracks[] = {"stable", "canary"};

const char *
berth_track_name(enum berth_track t)
{
    return tracks[t];
}

const char *
berth_breaker_state_name(enum berth_breaker_state s)
{
    static const char *const names[] = {"closed", "probing", "open"};

    return names[s];
}

struct berth_balance_conf
berth_balance_conf(struct berth_balance_conf c)
{
    c.row_max = c.row_max > 0 ? c.row_max : 5;
    c.failed_permille = c.failed_permille > 0 ? c.failed_permille : 500;
    c.window_len_min = c.window_len_min > 0 ? c.window_len_min : 20;
    c.window_ns = c.window_ns > 0 ? c.window_ns : 10 * BERTH_S;
    c.open_ns = c.open_ns > 0 ? c.open_ns : BERTH_S;
    c.open_max_ns = c.open_max_ns > 0 ? c.open_max_ns : 60 * BERTH_S;
    c.retry_permille = c.retry_permille > 0 ? c.retry_permille : 200;
    c.retry_reserve = c.retry_reserve > 0 ? c.retry_reserve : 100;
    c.retry_reserve_max = c.retry_reserve_max > 0 ? c.retry_reserve_max : 1000;
    return c;
}

void
berth_balance_init(struct berth_balance *b, const struct berth_balance_conf *conf)
{
    *b = (struct berth_balance){.retry_permille = (uint64_t)conf->retry_reserve * 1000};
}

/* ---- breaker ---- */

static bool
lets_through(const struct berth_breaker *b, uint64_t now_ns)
{
    switch (b->state) {
    case BERTH_BREAKER_CLOSED:
        return true;
    case BERTH_BREAKER_PROBING:
        return false;
    case BERTH_BREAKER_OPEN:
        break;
    }
    return now_ns >= b->until_ns;
}

static void
forget_past(struct berth_breaker *b, uint64_t now_ns)
{
    b->row = 0;
    memset(b->windows, 0, sizeof b->windows);
    b->windows[0].begin_ns = now_ns;
}

/* again: it is opened by its probe, so it has not been well in between. */
static void
open_it(struct berth_breaker *b, const struct berth_balance_conf *conf, bool again, uint64_t now_ns)
{
    const bool lately = again || (b->closed_ns != 0 && now_ns - b->closed_ns < conf->open_max_ns);

    b->open_ns = lately && b->open_ns > 0 ? b->open_ns * 2 : conf->open_ns;
    if (b->open_ns > conf->open_max_ns)
        b->open_ns = conf->open_max_ns;
    b->state = BERTH_BREAKER_OPEN;
    b->until_ns = now_ns + b->open_ns;
    forget_past(b, now_ns);
}

/* One more request of the present window: is it one too many that failed? */
static bool
is_too_much(struct berth_breaker *b, const struct berth_balance_conf *conf, bool bad,
            uint64_t now_ns)
{
    if (now_ns - b->windows[0].begin_ns >= conf->window_ns / 2) {
        const bool long_ago = now_ns - b->windows[0].begin_ns >= conf->window_ns;

        b->windows[1] = b->windows[0];
        if (long_ago)
            b->windows[1].len = b->windows[1].failed = 0;
        b->windows[0].begin_ns = now_ns;
        b->windows[0].len = b->windows[0].failed = 0;
    }
    b->row = bad ? b->row + 1 : 0;
    b->windows[0].len++;
    b->windows[0].failed += bad;
    const uint64_t len = (uint64_t)b->windows[0].len + b->windows[1].len;
    const uint64_t failed = (uint64_t)b->windows[0].failed + b->windows[1].failed;
    return bad && (b->row >= conf->row_max ||
                   (len >= conf->window_len_min && failed * 1000 >= len * conf->failed_permille));
}

static void
close_it(struct berth_breaker *b, uint64_t now_ns)
{
    b->state = BERTH_BREAKER_CLOSED;
    b->closed_ns = now_ns;
    forget_past(b, now_ns);
}

static void
judge(struct berth_breaker *b, const struct berth_balance_conf *conf, enum berth_verdict verdict,
      bool probe, uint64_t now_ns)
{
    if (probe) {
        berth_assert(b->state == BERTH_BREAKER_PROBING);
        switch (verdict) {
        case BERTH_VERDICT_GOOD:
            close_it(b, now_ns);
            break;
        case BERTH_VERDICT_BAD:
            open_it(b, conf, true, now_ns);
            break;
        case BERTH_VERDICT_NONE:
            b->state = BERTH_BREAKER_OPEN; /* its time is over: the next one is a probe, too */
            break;
        }
        return;
    }
    /* What began before it was opened says nothing new. */
    if (b->state == BERTH_BREAKER_CLOSED && verdict != BERTH_VERDICT_NONE &&
        is_too_much(b, conf, verdict == BERTH_VERDICT_BAD, now_ns))
        open_it(b, conf, false, now_ns);
}

/* ---- choosing ---- */

static bool
was_tried(const struct berth_balance_ask *ask, const struct berth_balance_replica *r)
{
    for (size_t i = 0; i < ask->tried_count; i++)
        if (ask->tried[i] == r)
            return true;
    return false;
}

static bool
is_in(const struct berth_balance_ask *ask, const struct berth_balance_replica *r)
{
    return r->ready && !r->draining && ask->now_ns >= r->out_until_ns && ask->weights[r->track] > 0;
}

static bool
may_get_it(const struct berth_balance_ask *ask, const struct berth_balance_replica *r)
{
    return is_in(ask, r) && lets_through(&r->breaker, ask->now_ns) && !was_tried(ask, r);
}

bool
berth_balance_has(const struct berth_balance_ask *ask)
{
    for (size_t i = 0; i < ask->count; i++)
        if (may_get_it(ask, ask->replicas[i]))
            return true;
    return false;
}

static bool
is_better(const struct berth_balance_replica *a, const struct berth_balance_replica *b)
{
    return b == NULL || a->in_flight < b->in_flight ||
           (a->in_flight == b->in_flight && a->last_pick < b->last_pick);
}

/* Smooth weighted round robin (as nginx has it): each gains its weight, the richest pays all. */
static enum berth_track
choose_track(struct berth_balance *b, const struct berth_balance_ask *ask,
             struct berth_balance_replica *const best[BERTH_TRACK_COUNT])
{
    enum berth_track chosen = BERTH_TRACK_COUNT;
    int64_t total = 0;

    for (enum berth_track t = 0; t < BERTH_TRACK_COUNT; t++) {
        if (best[t] == NULL)
            continue;
        b->credit[t] += ask->weights[t];
        total += ask->weights[t];
        if (chosen == BERTH_TRACK_COUNT || b->credit[t] > b->credit[chosen])
            chosen = t;
    }
    if (chosen != BERTH_TRACK_COUNT)
        b->credit[chosen] -= total;
    return chosen;
}

struct berth_balance_replica *
berth_balance_pick(struct berth_balance *b, const struct berth_balance_ask *ask, bool *ret_probe)
{
    struct berth_balance_replica *best[BERTH_TRACK_COUNT] = {NULL};
    enum berth_track track;

    for (size_t i = 0; i < ask->count; i++) {
        struct berth_balance_replica *r = ask->replicas[i];

        if (may_get_it(ask, r) && is_better(r, best[r->track]))
            best[r->track] = r;
    }
    if (ask->tried_count > 0) { /* in its track if it can be, and without a share of its own */
        track = ask->tried[0]->track;
        if (best[track] == NULL)
            track = track == BERTH_TRACK_STABLE ? BERTH_TRACK_CANARY : BERTH_TRACK_STABLE;
    } else {
        track = choose_track(b, ask, best);
    }
    struct berth_balance_replica *r = track < BERTH_TRACK_COUNT ? best[track] : NULL;
    if (r == NULL)
        return NULL;
    *ret_probe = r->breaker.state == BERTH_BREAKER_OPEN;
    if (*ret_probe)
        r->breaker.state = BERTH_BREAKER_PROBING;
    r->in_flight++;
    r->last_pick = ++b->picks;
    return r;
}

void
berth_balance_done(struct berth_balance_replica *r, const struct berth_balance_conf *conf,
                   enum berth_verdict verdict, bool probe, uint64_t now_ns)
{
    berth_assert(r->in_flight > 0);
    r->in_flight--;
    judge(&r->breaker, conf, verdict, probe, now_ns);
}

void
berth_balance_answered(struct berth_balance_replica *r, uint64_t now_ns)
{
    berth_assert(r->breaker.state == BERTH_BREAKER_PROBING);
    close_it(&r->breaker, now_ns);
}

uint64_t
berth_balance_again_ns(const struct berth_balance_ask *ask)
{
    uint64_t first = 0;

    for (size_t i = 0; i < ask->count; i++) {
        const struct berth_balance_replica *r = ask->replicas[i];
        const uint64_t at = lets_through(&r->breaker, ask->now_ns) ? ask->now_ns
                            : r->breaker.state == BERTH_BREAKER_OPEN
                                ? r->breaker.until_ns
                                : ask->now_ns + 1; /* when its probe has ended */

        if (is_in(ask, r) && (first == 0 || at < first))
            first = at;
    }
    return first;
}

void
berth_balance_fill(struct berth_balance *b, const struct berth_balance_conf *conf)
{
    const uint64_t most = (uint64_t)conf->retry_reserve_max * 1000;

    b->retry_permille += conf->retry_permille;
    if (b->retry_permille > most)
        b->retry_permille = most;
}

bool
berth_balance_affords(const struct berth_balance *b)
{
    return b->retry_permille >= 1000;
}

void
berth_balance_spend(struct berth_balance *b)
{
    berth_assert(berth_balance_affords(b));
    b->retry_permille -= 1000;
}

/* ---- rules ---- */

bool
berth_status_is_retried(uint16_t status)
{
    return status == 429 || (status >= 502 && status <= 504);
}

bool
berth_retry_is_safe(const struct berth_forward_end *end, bool repeatable)
{
    switch (end->result) {
    case BERTH_FORWARD_UNREACHED:
        return true;
    case BERTH_FORWARD_DECLINED:
        return end->status == 429 || end->status == 503 ||
               (repeatable && berth_status_is_retried(end->status));
    case BERTH_FORWARD_UNANSWERED:
    case BERTH_FORWARD_MALFORMED:
        return repeatable;
    case BERTH_FORWARD_OK:
    case BERTH_FORWARD_LATE:
    case BERTH_FORWARD_BROKEN:
    case BERTH_FORWARD_UNWANTED:
        break;
    }
    return false;
}

enum berth_verdict
berth_verdict_of(const struct berth_forward_end *end)
{
    const bool unwell = end->status >= 502 && end->status <= 504;

    switch (end->result) {
    case BERTH_FORWARD_OK:
    case BERTH_FORWARD_DECLINED:
        return unwell ? BERTH_VERDICT_BAD : BERTH_VERDICT_GOOD;
    case BERTH_FORWARD_BROKEN:
        return end->out_of_time ? BERTH_VERDICT_NONE : BERTH_VERDICT_BAD;
    case BERTH_FORWARD_UNREACHED:
    case BERTH_FORWARD_UNANSWERED:
    case BERTH_FORWARD_MALFORMED:
    case BERTH_FORWARD_LATE:
        return BERTH_VERDICT_BAD;
    case BERTH_FORWARD_UNWANTED:
        break;
    }
    return BERTH_VERDICT_NONE;
}
