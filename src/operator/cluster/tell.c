#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/log.h"
#include "kube/event.h"
#include "operator/cluster/controller_priv.h"
#include "operator/modelservice/kinds.h"
#include "wire/json.h"

/* Events of a ModelService: what was done, and what became of it, when that is something new. */

enum { TEXT_MAX = 900 };

static void
troubled(void *arg, const char *why)
{
    (void)arg;
    if (why != NULL)
        berth_warn("operator: an event could not be told: %s", why);
}

/* Also of what was done before: who leads no more writes nothing. */
static bool
may_send(void *arg)
{
    const struct berth_msvc_controller *c = arg;

    return c->conf.may_work == NULL || c->conf.may_work(c->conf.arg);
}

int
msvc_tell_start(struct berth_msvc_controller *c, struct berth_err *e)
{
    char host[128] = "berth";

    (void)gethostname(host, sizeof host - 1);
    const struct berth_kube_events_conf conf = {.controller = "berth-modelservice",
                                                .instance = host,
                                                .may_send = may_send,
                                                .troubled = troubled,
                                                .arg = c};
    return berth_kube_events_new(c->conf.kube, &conf, &c->events, e);
}

void
msvc_said_add(struct msvc_look *x, struct msvc_said *said, const struct berth_kube_kind *kind,
              const char *name)
{
    const char *what = berth_arena_printf(x->a, "%s %s", kind->kind, name), *text = NULL;

    if (said->text == NULL)
        said->text = what;
    else if (what != NULL && strlen(said->text) + strlen(what) < TEXT_MAX &&
             (text = berth_arena_printf(x->a, "%s, %s", said->text, what)) != NULL)
        said->text = text;
    else
        said->more++;
}

/* As an event, and in the log.  once: of each version of the ModelService; the cache may show an
 * old one again. */
static void
tell(struct msvc_look *x, bool warning, bool once, const char *reason, const char *action,
     const char *note)
{
    const struct berth_kube_event event = {
        .api_version = berth_msvc_services.group_version,
        .kind = berth_msvc_services.kind,
        .space = x->m.ns,
        .name = x->m.name,
        .uid = x->m.uid,
        .version = once ? berth_kube_text(x->object, "metadata.resourceVersion").at : NULL,
        .warning = warning,
        .reason = reason,
        .action = action,
        .note = note};

    /* A failed call's words are reconcile.c's to log. */
    if (!berth_kube_events_tell(x->c->events, &event) || x->failure != NULL)
        return;
    if (warning)
        berth_warn("ModelService %s/%s: %s: %s", x->m.ns, x->m.name, reason, note);
    else
        berth_info("ModelService %s/%s: %s: %s", x->m.ns, x->m.name, reason, note);
}

static void
tell_done(struct msvc_look *x, const struct msvc_said *said, const char *reason, const char *action,
          const char *verb)
{
    const char *note;

    if (said->text == NULL)
        return;
    if (said->more > 0)
        note = berth_arena_printf(x->a, "%s %s, and %u more", verb, said->text, said->more);
    else
        note = berth_arena_printf(x->a, "%s %s", verb, said->text);
    if (note != NULL)
        tell(x, false, false, reason, action, note);
}

static bool
differs(const struct berth_json *before, const struct berth_json *now, const char *member)
{
    return strcmp(berth_json_member_text(before, member, ""),
                  berth_json_member_text(now, member, "")) != 0;
}

static void
tell_ready(struct msvc_look *x, const struct berth_json *before, const struct berth_json *now)
{
    const char *reason = berth_json_member_text(now, "reason", ""),
               *message = berth_json_member_text(now, "message", "");
    const bool ready = strcmp(berth_json_member_text(now, "status", ""), "True") == 0,
               was_ready = strcmp(berth_json_member_text(before, "status", ""), "True") == 0,
               goes_on = strcmp(reason, "Progressing") == 0;

    if (ready ? !was_ready : goes_on && was_ready)
        tell(x, false, true, reason, "Report", message);
    else if (!ready && !goes_on &&
             (differs(before, now, "reason") || differs(before, now, "message")))
        tell(x, true, true, reason, "Report", message);
}

/* What is odd, and does not keep it from working. */
static void
tell_warnings(struct msvc_look *x, const struct berth_json *before, const struct berth_json *now)
{
    if (strcmp(berth_json_member_text(now, "reason", ""), "Warnings") == 0 &&
        (differs(before, now, "reason") || differs(before, now, "message")))
        tell(x, true, true, "ConfigWarnings", "Report", berth_json_member_text(now, "message", ""));
}

void
msvc_tell_done(struct msvc_look *x)
{
    tell_done(x, &x->applied, "Applied", "Apply", "applied");
    tell_done(x, &x->taken_away, "Deleted", "Delete", "took away");
}

void
msvc_tell(struct msvc_look *x, const struct berth_json *before, const struct berth_json *now)
{
    const struct berth_kube_until until = msvc_until(x->c);

    if (until.cancelled(until.arg))
        return; /* what failed did so because this operator ends */
    tell_warnings(x, msvc_condition_of(before, "ConfigValid"),
                  msvc_condition_of(now, "ConfigValid"));
    tell_ready(x, msvc_condition_of(before, "Ready"), msvc_condition_of(now, "Ready"));
}
