#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "kube/covers.h"
#include "operator/cluster/controller_priv.h"
#include "operator/cluster/plan.h"
#include "wire/json.h"

/* What was applied, as far as this process knows: what the cache shows may be older. */

static const uint64_t behind_ns = 10 * BERTH_S;    /* a watch tells of an apply within that */
static const uint64_t at_peace_ns = 180 * BERTH_S; /* nobody undid it for so long */
static const uint64_t pace_ns = BERTH_S, pace_ahead_ns = 5 * BERTH_S;
static const uint64_t hold_ns_max = 60 * BERTH_S;

struct msvc_kept {
    struct msvc_applied it;
    UT_hash_handle hh;
    char key[]; /* "UID GROUP/VERSION/KIND NAME": there are many, so no longer than it is */
};

void
msvc_key(const struct msvc_look *x, const struct berth_kube_ref *ref, char ret[MSVC_KEY_MAX])
{
    (void)snprintf(ret, MSVC_KEY_MAX, "%s %s/%s %s", x->m.uid, ref->kind->group_version,
                   ref->kind->kind, ref->name);
}

bool
msvc_recall(struct berth_msvc_controller *c, const char *key, struct msvc_applied *ret)
{
    struct msvc_kept *found = NULL;

    (void)pthread_mutex_lock(&c->mu);
    HASH_FIND_STR(c->applied, key, found);
    if (found != NULL)
        *ret = found->it;
    (void)pthread_mutex_unlock(&c->mu);
    return found != NULL;
}

void
msvc_sum(const void *bytes, size_t n, char ret[MSVC_SUM])
{
    char all[BERTH_DIGEST_HEX];

    berth_digest_of(bytes, n, all);
    (void)snprintf(ret, MSVC_SUM, "%.*s", MSVC_SUM - 1, all);
}

/* The sum of what the server made of what is wished for; "" where it took all of it as it is. */
static void
sum_up(const struct berth_json *live, const struct berth_json *wish, char ret[MSVC_SUM])
{
    struct berth_buf b;

    ret[0] = '\0';
    if (msvc_covers(live, wish))
        return;
    berth_buf_init(&b, NULL);
    berth_kube_put_shared(&b, live, wish);
    if (!b.failed)
        msvc_sum(b.at, b.len, ret);
    berth_buf_fini(&b);
}

/* What is gone, and nobody made anew for long, is of nobody's interest. */
static void
sweep_locked(struct berth_msvc_controller *c, uint64_t now)
{
    struct msvc_kept *at, *next;

    if (now - c->swept_ns < at_peace_ns)
        return;
    c->swept_ns = now;
    HASH_ITER(hh, c->applied, at, next)
    {
        if (!at->it.gone || now - at->it.at_ns < at_peace_ns)
            continue;
        HASH_DEL(c->applied, at);
        free(at);
    }
}

/* NULL: out of memory. */
static struct msvc_kept *
add_locked(struct berth_msvc_controller *c, const char *key)
{
    const size_t key_bytes = strlen(key) + 1;
    struct msvc_kept *kept = calloc(1, sizeof *kept + key_bytes);

    if (kept == NULL)
        return NULL;
    memcpy(kept->key, key, key_bytes);
    HASH_ADD_KEYPTR(hh, c->applied, kept->key, key_bytes - 1, kept);
    if (kept->hh.tbl != NULL)
        return kept;
    free(kept);
    return NULL;
}

/* What is known of it, or nothing yet.  NULL: out of memory. */
static struct msvc_applied *
known_locked(struct berth_msvc_controller *c, const char *key, uint64_t now)
{
    struct msvc_kept *kept = NULL;

    HASH_FIND_STR(c->applied, key, kept);
    if (kept == NULL) {
        sweep_locked(c, now);
        kept = add_locked(c, key);
    }
    return kept != NULL ? &kept->it : NULL;
}

static void
note(struct msvc_applied *known, uint64_t now, const char *made, const struct berth_json *live)
{
    (void)snprintf(known->made, sizeof known->made, "%s", made);
    (void)snprintf(known->version, sizeof known->version, "%s",
                   berth_kube_text(live, "metadata.resourceVersion").at);
    known->at_ns = now;
    known->paced_ns = (known->paced_ns > now ? known->paced_ns : now) + pace_ns;
    known->gone = false;
}

void
msvc_note_applied(struct berth_msvc_controller *c, const char *key, const char *digest,
                  const char *like, const struct berth_json *wish, const struct berth_json *live)
{
    const uint64_t now = berth_now_ns();
    char made[MSVC_SUM];

    sum_up(live, wish, made);
    (void)pthread_mutex_lock(&c->mu);
    struct msvc_applied *found = known_locked(c, key, now);
    const bool lately =
        found != NULL && strcmp(found->like, like) == 0 && now - found->at_ns < at_peace_ns;
    /* Replicas that are handed over are another wish, and nobody undid the one before. */
    const bool again = lately && (found->gone || strcmp(found->digest, digest) == 0);
    if (found != NULL) {
        (void)snprintf(found->digest, sizeof found->digest, "%s", digest);
        (void)snprintf(found->like, sizeof found->like, "%s", like);
        note(found, now, made, live);
        found->undone = again ? found->undone + 1 : lately ? found->undone : 0;
    }
    (void)pthread_mutex_unlock(&c->mu);
}

/* ---- a status ---- */

static void
sum_status(const struct berth_json *object, char ret[MSVC_SUM])
{
    struct berth_buf b;

    ret[0] = '\0';
    berth_buf_init(&b, NULL);
    berth_json_put(&b, berth_json_get(object, "status"));
    if (!b.failed)
        msvc_sum(b.at, b.len, ret);
    berth_buf_fini(&b);
}

bool
msvc_is_overwritten(const struct msvc_applied *known, const struct berth_json *object)
{
    const struct berth_slice version = berth_kube_text(object, "metadata.resourceVersion");
    char is[MSVC_SUM];

    if (strtoull(version.at, NULL, 10) <= strtoull(known->version, NULL, 10))
        return false; /* as far as the cache knows */
    sum_status(object, is);
    return strcmp(is, known->made) != 0;
}

unsigned
msvc_note_status(struct berth_msvc_controller *c, const char *key, bool overwritten,
                 const struct berth_json *after)
{
    const uint64_t now = berth_now_ns();
    char made[MSVC_SUM];
    unsigned undone = 0;

    sum_status(after, made);
    (void)pthread_mutex_lock(&c->mu);
    struct msvc_applied *known = known_locked(c, key, now);
    if (known != NULL) {
        const bool lately = now - known->at_ns < at_peace_ns;
        note(known, now, made, after);
        undone = known->undone = overwritten && lately ? known->undone + 1 : 0;
    }
    (void)pthread_mutex_unlock(&c->mu);
    return undone;
}

void
msvc_forget(struct berth_msvc_controller *c, const char *uid, const struct berth_kube_kind *kind,
            const char *name)
{
    char prefix[MSVC_KEY_MAX] = "";
    size_t n = 0;
    struct msvc_kept *at, *next;

    if (uid != NULL)
        n = (size_t)snprintf(prefix, sizeof prefix, "%s ", uid);
    if (name != NULL)
        n = (size_t)snprintf(prefix, sizeof prefix, "%s %s/%s %s", uid, kind->group_version,
                             kind->kind, name);
    if (n >= sizeof prefix)
        return;
    (void)pthread_mutex_lock(&c->mu);
    if (name != NULL) {
        /* How often somebody undid it is kept: it may be deleted again and again. */
        HASH_FIND_STR(c->applied, prefix, at);
        if (at != NULL)
            at->it.gone = true;
    } else {
        HASH_ITER(hh, c->applied, at, next)
        {
            if (strncmp(at->key, prefix, n) != 0)
                continue;
            HASH_DEL(c->applied, at);
            free(at);
        }
    }
    (void)pthread_mutex_unlock(&c->mu);
}

bool
msvc_is_recent(const struct msvc_applied *known)
{
    return !known->gone && berth_now_ns() - known->at_ns < behind_ns;
}

uint64_t
msvc_hold_ns(const struct msvc_applied *known)
{
    const uint64_t since = berth_now_ns() - known->at_ns;
    const unsigned shift = known->undone > 7 ? 6 : known->undone - 1;
    uint64_t wait = known->undone > 0 ? BERTH_S << shift : 0;

    if (wait > hold_ns_max)
        wait = hold_ns_max;
    return since < wait ? wait - since : 0;
}

uint64_t
msvc_pace_ns(const struct msvc_applied *known)
{
    const uint64_t now = berth_now_ns();
    const uint64_t ahead = known->paced_ns > now ? known->paced_ns - now : 0;

    return ahead > pace_ahead_ns - pace_ns ? ahead - (pace_ahead_ns - pace_ns) : 0;
}

bool
msvc_is_as_applied(const struct msvc_applied *known, const char *digest,
                   const struct berth_json *live, const struct berth_json *wish, bool *ret_behind)
{
    const struct berth_slice version = berth_kube_text(live, "metadata.resourceVersion");
    char made[MSVC_SUM];

    *ret_behind = false;
    if (strcmp(known->digest, digest) != 0 || known->gone)
        return false;
    if (berth_slice_is(version, known->version))
        return true; /* what the server made of it, whatever that is */
    if (msvc_is_recent(known) &&
        (live == NULL || strtoull(version.at, NULL, 10) < strtoull(known->version, NULL, 10))) {
        *ret_behind = true;
        return true;
    }
    if (live == NULL || known->made[0] == '\0')
        return false;
    sum_up(live, wish, made);
    return strcmp(made, known->made) == 0;
}
