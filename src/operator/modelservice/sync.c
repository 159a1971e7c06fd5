#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "kube/covers.h"
#include "operator/modelservice/controller_priv.h"
#include "operator/modelservice/kinds.h"
#include "wire/json.h"

static const uint64_t behind_ns = 10 * BERTH_S; /* a watch tells of an apply within that */
static const char digest_note[] = "llm-d.ai/applied";

/* ---- what was applied ---- */

static void
key_of(const struct msvc_look *x, const struct berth_kube_kind *kind, const char *name,
       char ret[MSVC_KEY_MAX])
{
    (void)snprintf(ret, MSVC_KEY_MAX, "%s %s %s", x->m.uid, kind->kind, name);
}

/* A copy of what is known; false: nothing. */
static bool
recall(struct berth_msvc_controller *c, const char *key, struct msvc_applied *ret)
{
    struct msvc_applied *found = NULL;

    (void)pthread_mutex_lock(&c->mu);
    HASH_FIND_STR(c->applied, key, found);
    if (found != NULL)
        *ret = *found;
    (void)pthread_mutex_unlock(&c->mu);
    return found != NULL;
}

static void
note_applied(struct berth_msvc_controller *c, const char *key, const char *digest,
             const struct berth_json *live)
{
    struct msvc_applied *found = NULL;

    (void)pthread_mutex_lock(&c->mu);
    HASH_FIND_STR(c->applied, key, found);
    if (found == NULL && (found = calloc(1, sizeof *found)) != NULL) {
        (void)snprintf(found->key, sizeof found->key, "%s", key);
        HASH_ADD_STR(c->applied, key, found);
    }
    if (found != NULL) {
        (void)snprintf(found->digest, sizeof found->digest, "%s", digest);
        (void)snprintf(found->version, sizeof found->version, "%s",
                       berth_kube_text(live, "metadata.resourceVersion").at);
        found->at_ns = berth_now_ns();
    }
    (void)pthread_mutex_unlock(&c->mu);
}

void
msvc_forget(struct berth_msvc_controller *c, const char *uid, const struct berth_kube_kind *kind,
            const char *name)
{
    char prefix[MSVC_KEY_MAX] = "";
    size_t n = 0;
    struct msvc_applied *at, *next;

    if (uid != NULL)
        n = (size_t)snprintf(prefix, sizeof prefix, "%s ", uid);
    if (name != NULL)
        n = (size_t)snprintf(prefix, sizeof prefix, "%s %s %s", uid, kind->kind, name);
    if (n >= sizeof prefix)
        return;
    (void)pthread_mutex_lock(&c->mu);
    HASH_ITER(hh, c->applied, at, next)
    {
        if (name != NULL ? strcmp(at->key, prefix) != 0 : strncmp(at->key, prefix, n) != 0)
            continue;
        HASH_DEL(c->applied, at);
        free(at);
    }
    (void)pthread_mutex_unlock(&c->mu);
}

/* ---- one child ---- */

static void
fail(struct msvc_look *x, const char *what, const char *why)
{
    if (x->failure == NULL)
        x->failure = berth_arena_printf(x->a, "%s: %s", what, why);
}

/* "Deployment svc-decode", for messages. */
static const char *
called(struct msvc_look *x, const struct berth_kube_kind *kind, const char *name)
{
    const char *text = berth_arena_printf(x->a, "%s %s", kind->kind, name);

    return text != NULL ? text : kind->kind;
}

/* An object of that name that belongs to somebody else is not ours to change. */
static bool
is_ours(const struct msvc_look *x, const struct berth_json *live)
{
    const struct berth_json *owners = berth_kube_at(live, "metadata.ownerReferences");
    bool owned = false;

    for (struct berth_json_iter it = berth_json_iter(owners); berth_json_next(&it);) {
        const char *kind = berth_json_member_text(it.value, "kind", "");
        if (strcmp(kind, berth_msvc_services.kind) != 0)
            continue;
        if (strcmp(berth_json_member_text(it.value, "uid", ""), x->m.uid) == 0)
            return true;
        owned = true;
    }
    return !owned;
}

/* Lists of the API server leave out what each object of them is. */
static bool
covers(const struct berth_json *live, const struct berth_json *wish)
{
    for (struct berth_json_iter it = berth_json_iter(wish); berth_json_next(&it);) {
        if (!berth_slice_is(it.key, "apiVersion") && !berth_slice_is(it.key, "kind") &&
            !berth_kube_covers(berth_json_get(live, it.key.at), it.value))
            return false;
    }
    return true;
}

/* Is the live object as it is wished for, as far as is known? */
static bool
is_done(struct msvc_look *x, const struct berth_json *live, const struct berth_json *wish,
        const char *digest, const struct msvc_applied *known)
{
    const struct berth_slice version = berth_kube_text(live, "metadata.resourceVersion");

    if (known != NULL && strcmp(known->digest, digest) == 0) {
        if (berth_slice_is(version, known->version))
            return true; /* what the server made of it, whatever that is */
        if (berth_now_ns() - known->at_ns < behind_ns &&
            (live == NULL || strtoull(version.at, NULL, 10) < strtoull(known->version, NULL, 10))) {
            x->going_on = true; /* the cache is behind: look again when it should not be */
            return true;
        }
    }
    return live != NULL && berth_slice_is(berth_kube_annotation(live, digest_note), digest) &&
           covers(live, wish);
}

/* The wish with the sum of itself as an annotation, so that a later process knows it. */
static const struct berth_json *
with_note(struct msvc_look *x, const struct berth_json *wish, char ret_digest[BERTH_DIGEST_HEX])
{
    const struct berth_json *note = NULL, *ret = NULL;
    struct berth_buf text, marked;
    struct berth_jw w;

    berth_buf_init(&text, x->a);
    berth_json_put(&text, wish);
    berth_digest_of(text.at, text.len, ret_digest);
    ret_digest[16] = '\0';
    const char *json = berth_arena_printf(x->a, "{\"metadata\":{\"annotations\":{\"%s\":\"%s\"}}}",
                                          digest_note, ret_digest);
    if (text.failed || json == NULL ||
        berth_json_parse(x->a, json, strlen(json), NULL, &note, NULL) < 0)
        return NULL;
    berth_buf_init(&marked, x->a);
    berth_jw_init(&w, &marked);
    berth_jw_merged(&w, wish, note);
    if (marked.failed || berth_json_parse(x->a, marked.at, marked.len, NULL, &ret, NULL) < 0)
        return NULL;
    return ret;
}

/* ---- replicas that somebody else is to set ---- */

/* spec.decoupleScaling: who scales prefill and decode is an autoscaler's business. */
static bool
is_scaled_by_others(const struct msvc_look *x, const struct berth_json *wish)
{
    const struct berth_slice name = berth_kube_text(wish, "metadata.name");

    return berth_kube_flag(x->object, "spec.decoupleScaling") &&
           (berth_slice_is(name, x->m.names.of[BERTH_MSVC_PREFILL_DEPLOYMENT]) ||
            berth_slice_is(name, x->m.names.of[BERTH_MSVC_DECODE_DEPLOYMENT])) &&
           berth_json_type(berth_kube_at(wish, "spec.replicas")) == BERTH_JSON_INT;
}

static const struct berth_json *
without_replicas(struct msvc_look *x, const struct berth_json *wish)
{
    static const char text[] = "{\"spec\":{\"replicas\":null}}";
    const struct berth_json *patch = NULL, *ret = NULL;
    struct berth_buf b;
    struct berth_jw w;

    berth_buf_init(&b, x->a);
    berth_jw_init(&w, &b);
    if (berth_json_parse(x->a, text, sizeof text - 1, NULL, &patch, NULL) < 0)
        return NULL;
    berth_jw_merged(&w, wish, patch);
    if (b.failed || berth_json_parse(x->a, b.at, b.len, NULL, &ret, NULL) < 0)
        return NULL;
    return ret;
}

/*
 * The field becomes another manager's, with the value that is there (or, for a new object, that is
 * wished for): what is ours alone would fall back to 1 when we leave it out.
 */
static int
hand_over_replicas(struct msvc_look *x, const struct berth_json *wish, int64_t replicas,
                   struct berth_err *e)
{
    const struct berth_kube_until until = msvc_until(x->c);
    const struct berth_slice name = berth_kube_text(wish, "metadata.name");
    const struct berth_kube_ref ref = {
        .kind = &berth_kube_deployments, .space = x->m.ns, .name = name.at};
    const char *text = berth_arena_printf(x->a,
                                          "{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\","
                                          "\"metadata\":{\"name\":\"%s\"},\"spec\":{\"replicas\":"
                                          "%" PRId64 "}}",
                                          name.at, replicas);

    if (text == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    const struct berth_kube_apply how = {
        .object = berth_slice_of(text), .manager = "berth-modelservice-scale", .force = true};
    return berth_kube_apply(x->c->conf.kube, &until, x->a, &ref, &how, NULL, e);
}

static void
apply(struct msvc_look *x, const struct berth_kube_kind *kind, const struct berth_json *wish,
      const char *key, const char *digest)
{
    const struct berth_kube_until until = msvc_until(x->c);
    const struct berth_slice name = berth_kube_text(wish, "metadata.name");
    const struct berth_kube_ref ref = {
        .kind = kind, .space = berth_kube_text(wish, "metadata.namespace").at, .name = name.at};
    const struct berth_json *after = NULL;
    struct berth_err e = {""};
    struct berth_buf text;

    berth_buf_init(&text, x->a);
    berth_json_put(&text, wish);
    const struct berth_kube_apply how = {.object = {text.at, text.len}, .force = true};
    if (text.failed) {
        fail(x, called(x, kind, name.at), "out of memory");
    } else if (berth_kube_apply(x->c->conf.kube, &until, x->a, &ref, &how, &after, &e) < 0) {
        fail(x, called(x, kind, name.at), e.msg);
    } else {
        atomic_fetch_add(&x->c->applies, 1);
        note_applied(x->c, key, digest, after);
        x->going_on = true;
    }
}

static void
sync_object(struct msvc_look *x, const struct berth_kube_kind *kind, const struct berth_json *wish)
{
    struct berth_kube_informer *cache = msvc_informer(x->c, kind);
    const struct berth_slice name = berth_kube_text(wish, "metadata.name"),
                             space = berth_kube_text(wish, "metadata.namespace");
    const struct berth_json *live = NULL, *marked;
    char key[MSVC_KEY_MAX], digest[BERTH_DIGEST_HEX];
    struct msvc_applied known;
    struct berth_err e = {""};

    if (cache == NULL) {
        fail(x, called(x, kind, name.at),
             "the cluster does not serve that kind: install its resource definitions");
        return;
    }
    const int r = berth_kube_informer_get(cache, x->a, space.at, name.at, &live, &e);
    if (r < 0 && r != -BERTH_ENOENT) {
        fail(x, called(x, kind, name.at), e.msg);
        return;
    }
    if (live != NULL && !is_ours(x, live)) {
        if (x->conflict == NULL)
            x->conflict = called(x, kind, name.at);
        return;
    }
    const bool scaled = kind == &berth_kube_deployments && is_scaled_by_others(x, wish);
    const int64_t replicas = berth_kube_int(wish, "spec.replicas", 1);
    if ((scaled && (wish = without_replicas(x, wish)) == NULL) ||
        (marked = with_note(x, wish, digest)) == NULL) {
        fail(x, called(x, kind, name.at), "out of memory");
        return;
    }
    key_of(x, kind, name.at, key);
    const bool knows = recall(x->c, key, &known);
    if (is_done(x, live, marked, digest, knows ? &known : NULL))
        return;
    if (scaled && live != NULL &&
        hand_over_replicas(x, wish, berth_kube_int(live, "spec.replicas", 1), &e) < 0)
        fail(x, called(x, kind, name.at), e.msg);
    apply(x, kind, marked, key, digest);
    if (scaled && live == NULL && x->failure == NULL &&
        hand_over_replicas(x, wish, replicas, &e) < 0)
        fail(x, called(x, kind, name.at), e.msg);
}

/* ---- what is not wished for any more ---- */

static bool
is_wished(const struct msvc_look *x, const struct berth_kube_kind *kind, const char *name)
{
    for (int i = BERTH_MSVC_CONFIG_MAPS + 1; i < BERTH_MSVC_CHILDREN; i++) {
        if (berth_msvc_kind_of(i)->kube == kind &&
            strcmp(berth_kube_text(x->wish.of[i], "metadata.name").at, name) == 0)
            return true;
    }
    if (kind != &berth_kube_config_maps)
        return false;
    for (struct berth_json_iter it = berth_json_iter(x->wish.of[BERTH_MSVC_CONFIG_MAPS]);
         berth_json_next(&it);) {
        if (strcmp(berth_kube_text(it.value, "metadata.name").at, name) == 0)
            return true;
    }
    return false;
}

static void
take_away(struct msvc_look *x, const struct berth_kube_kind *kind, const struct berth_json *live)
{
    const struct berth_kube_until until = msvc_until(x->c);
    const struct berth_slice name = berth_kube_text(live, "metadata.name");
    const struct berth_kube_ref ref = {
        .kind = kind, .space = berth_kube_text(live, "metadata.namespace").at, .name = name.at};
    struct berth_err e = {""};

    if (berth_kube_text(live, "metadata.deletionTimestamp").len > 0)
        return;
    if (berth_kube_delete(x->c->conf.kube, &until, &ref, &e) < 0) {
        fail(x, called(x, kind, name.at), e.msg);
        return;
    }
    atomic_fetch_add(&x->c->deletes, 1);
    x->going_on = true;
    berth_info("ModelService %s/%s: %s is not wished for any more and goes", x->m.ns, x->m.name,
               called(x, kind, name.at));
}

static void
prune(struct msvc_look *x)
{
    enum { OBJECTS_MAX = 256 };
    const struct berth_json *found[OBJECTS_MAX];

    for (size_t i = 0; i < x->c->watch_count; i++) {
        const struct berth_kube_kind *kind = x->c->watches[i].kind;
        struct berth_kube_informer *cache = atomic_load(&x->c->watches[i].informer);
        struct berth_err e = {""};
        size_t count = 0;
        if (cache == NULL)
            continue;
        (void)berth_kube_informer_find(cache, x->a, x->m.uid, found, OBJECTS_MAX, &count, &e);
        for (size_t j = 0; j < count && j < OBJECTS_MAX; j++) {
            if (!is_wished(x, kind, berth_kube_text(found[j], "metadata.name").at) &&
                is_ours(x, found[j]))
                take_away(x, kind, found[j]);
        }
    }
}

/* ---- all of them ---- */

const struct berth_json *
msvc_live(struct msvc_look *x, enum berth_msvc_child child)
{
    struct berth_kube_informer *cache = msvc_informer(x->c, berth_msvc_kind_of(child)->kube);
    const struct berth_json *live = NULL;
    struct berth_err e;

    if (cache == NULL ||
        berth_kube_informer_get(cache, x->a, x->m.ns, x->m.names.of[child], &live, &e) < 0)
        return NULL;
    return live;
}

void
msvc_sync(struct msvc_look *x)
{
    for (struct berth_json_iter it = berth_json_iter(x->wish.of[BERTH_MSVC_CONFIG_MAPS]);
         berth_json_next(&it);)
        sync_object(x, &berth_kube_config_maps, it.value);
    for (int i = BERTH_MSVC_CONFIG_MAPS + 1; i < BERTH_MSVC_CHILDREN; i++) {
        if (x->wish.of[i] != NULL)
            sync_object(x, berth_msvc_kind_of(i)->kube, x->wish.of[i]);
    }
    /* Not while something cannot be seen: then nothing is certain. */
    if (x->failure == NULL)
        prune(x);
}
