#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "deploy/deploy_priv.h"
#include "wire/json.h"

/* Environments that cannot be reached for a while: what is wished for there waits, as trying would
 * only use up what a step may try, and change nothing. */

/* As host_changed(): every service of it that there is. */
static void
poke_all_of(struct environ *x)
{
    struct service **all;
    size_t n;

    if (berth_deploy_all(x->d, &all, &n) < 0)
        return; /* each comes by itself, later */
    for (size_t i = 0; i < n; i++) {
        if (strcmp(all[i]->shimlet, x->ops->name) == 0)
            berth_deploy_poke(x->d, all[i]->id, 0);
        berth_service_unref(x->d, all[i]);
    }
    free(all);
}

void
berth_host_away(void *who, const char *why)
{
    struct environ *x = who;
    const uint64_t wall_ns = berth_deploy_wall(x->d);

    (void)pthread_mutex_lock(&x->away_mu);
    const bool was = atomic_load(&x->away_wall_ns) != 0;
    if (why != NULL)
        (void)snprintf(x->away_why, sizeof x->away_why, "%s", why);
    if (why != NULL && !was)
        atomic_store(&x->away_wall_ns, wall_ns);
    if (why == NULL && was) {
        atomic_store(&x->back_wall_ns, wall_ns);
        atomic_store(&x->away_wall_ns, 0);
    }
    (void)pthread_mutex_unlock(&x->away_mu);
    if (why == NULL && was)
        poke_all_of(x);
}

/* A run that waits for its environment goes on at once when that is back. */
static void
pause_run(struct progress *p)
{
    if (p == NULL)
        return;
    berth_run_restored(p->run);
    p->run->wait_left_ns = 0;
}

bool
berth_service_waits(struct berth_deploy *d, struct service *s)
{
    struct environ *x = berth_environ_get(d, s->shimlet);
    const bool away = x != NULL && atomic_load(&x->away_wall_ns) != 0;

    berth_environ_put(d, x);
    if (!away)
        return false;
    (void)pthread_mutex_lock(&s->mu);
    for (int i = 0; i < TRACK_COUNT; i++)
        pause_run(s->tracks[i].progress);
    pause_run(s->removal);
    (void)pthread_mutex_unlock(&s->mu);
    return true;
}

bool
berth_service_is_back(struct berth_deploy *d, struct service *s, uint64_t wall_ns)
{
    struct environ *x = berth_environ_get(d, s->shimlet);
    const uint64_t back_ns = x != NULL ? atomic_load(&x->back_wall_ns) : 0;
    const bool is = back_ns != 0 && back_ns >= wall_ns && back_ns != s->tried_back_ns;

    if (is)
        s->tried_back_ns = back_ns; /* once for each return: then its pauses count again */
    berth_environ_put(d, x);
    return is;
}

struct reach
berth_service_reach(struct berth_deploy *d, const struct service *s, struct berth_arena *a)
{
    struct environ *x = berth_environ_get(d, s->shimlet);
    struct reach r = {.away_wall_ns = x != NULL ? atomic_load(&x->away_wall_ns) : 0, .text = ""};
    char time[BERTH_TIME_TEXT];

    if (r.away_wall_ns != 0) {
        (void)berth_time_text(r.away_wall_ns, time);
        (void)pthread_mutex_lock(&x->away_mu);
        const char *text = berth_arena_printf(
            a,
            "environment %s cannot be reached since %.19sZ: %s; what was seen before stays, and "
            "what is asked for is kept and done when it is back",
            x->ops->name, time, x->away_why);
        (void)pthread_mutex_unlock(&x->away_mu);
        r.text = text != NULL ? text : "";
    }
    berth_environ_put(d, x);
    return r;
}

void
berth_reach_put(struct berth_jw *w, const struct reach *r, const char *own)
{
    char both[REASON_MAX + 1024], time[BERTH_TIME_TEXT];
    const bool has_own = own != NULL && own[0] != '\0';

    (void)snprintf(both, sizeof both, "%s%s%s", r->text, has_own && r->text[0] != '\0' ? "; " : "",
                   has_own ? own : "");
    berth_jw_key(w, "message");
    berth_jw_string(w, both);
    berth_jw_key(w, "away");
    if (r->away_wall_ns == 0) {
        berth_jw_null(w);
        return;
    }
    berth_jw_object(w);
    berth_jw_key(w, "since");
    berth_jw_string(w, berth_time_text(r->away_wall_ns, time));
    berth_jw_key(w, "message");
    berth_jw_string(w, r->text);
    berth_jw_object_end(w);
}
