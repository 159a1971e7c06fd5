#include "operator/cluster/diff.h"

#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "kube/client.h"
#include "operator/cluster/controller_priv.h"
#include "operator/cluster/plan.h"
#include "operator/modelservice/generate.h"
#include "operator/modelservice/kinds.h"
#include "operator/modelservice/service.h"
#include "wire/diff.h"
#include "wire/json.h"
#include "wire/yaml.h"

static const size_t object_memory_max = 64u << 20;
static const uint64_t call_ns = 20 * BERTH_S;
static const char going_text[] = "it is being deleted: the operator makes it anew when it is gone";

struct against {
    struct berth_kube *kube;
    struct berth_msvc m;
    const struct berth_json *object; /* the ModelService that there is; NULL: none */
    struct berth_msvc_set wish;
    struct berth_buf *out, *troubles;
    struct berth_msvc_diff *ret;
    /* Of the object that is looked at now. */
    const struct berth_kube_kind *kind;
    struct berth_arena *a;
    int unasked; /* what a question about its owners ended with, and why */
    struct berth_err unasked_why;
    bool stays; /* what is not wished for, as not all that is can be had */
    int broken; /* what ended it: there is no cluster to ask */
    struct berth_err *e;
};

static struct berth_kube_until
until_now(void)
{
    /* A person waits: one more try, and no pauses for half a minute. */
    return (struct berth_kube_until){.deadline_ns = berth_now_ns() + call_ns, .tries_max = 2};
}

/* ---- an object, to be compared ---- */

static bool
is_one_of(struct berth_slice key, const char *const names[], size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (berth_slice_is(key, names[i]))
            return true;
    }
    return false;
}

static void
put_annotations(struct berth_jw *w, const struct berth_json *v)
{
    size_t count = 0;

    for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);)
        count += !berth_slice_is(it.key, BERTH_MSVC_APPLIED_NOTE);
    if (count == 0)
        return;
    berth_jw_key(w, "annotations");
    berth_jw_object(w);
    for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);) {
        if (berth_slice_is(it.key, BERTH_MSVC_APPLIED_NOTE))
            continue;
        berth_jw_key_n(w, it.key.at, it.key.len);
        berth_jw_value(w, it.value);
    }
    berth_jw_object_end(w);
}

static void
put_metadata(struct berth_jw *w, const struct berth_json *v)
{
    static const char *const left_out[] = {
        "annotations",     "creationTimestamp", "generation", "managedFields",
        "resourceVersion", "selfLink",          "uid"};

    berth_jw_key(w, "metadata");
    berth_jw_object(w);
    put_annotations(w, berth_json_get(v, "annotations"));
    for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);) {
        if (is_one_of(it.key, left_out, sizeof left_out / sizeof *left_out))
            continue;
        berth_jw_key_n(w, it.key.at, it.key.len);
        berth_jw_value(w, it.value);
    }
    berth_jw_object_end(w);
}

/* Addresses that a try is given are nobody's. */
static void
put_new_spec(struct berth_jw *w, const struct berth_json *v)
{
    static const char *const given[] = {"clusterIP", "clusterIPs"};

    berth_jw_object(w);
    for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);) {
        if (is_one_of(it.key, given, sizeof given / sizeof *given) &&
            strcmp(berth_json_member_text(v, "clusterIP", ""), "None") != 0)
            continue;
        berth_jw_key_n(w, it.key.at, it.key.len);
        berth_jw_value(w, it.value);
    }
    berth_jw_object_end(w);
}

/* Without what the server alone sets, as YAML; empty for no object. */
static int
comparable(const struct berth_kube_kind *kind, const struct berth_json *object, bool is_new,
           struct berth_arena *a, struct berth_slice *ret)
{
    static const char *const left_out[] = {"apiVersion", "kind", "metadata", "status"};
    const struct berth_json *tree = NULL;
    struct berth_buf b, yaml;
    struct berth_jw w;

    *ret = (struct berth_slice){"", 0};
    if (object == NULL)
        return 0;
    berth_buf_init(&b, a);
    berth_buf_init(&yaml, a);
    berth_jw_init(&w, &b);
    berth_jw_object(&w);
    berth_jw_pair(&w, "apiVersion", kind->group_version); /* lists leave that out */
    berth_jw_pair(&w, "kind", kind->kind);
    put_metadata(&w, berth_json_get(object, "metadata"));
    for (struct berth_json_iter it = berth_json_iter(object); berth_json_next(&it);) {
        if (is_one_of(it.key, left_out, sizeof left_out / sizeof *left_out))
            continue;
        berth_jw_key_n(&w, it.key.at, it.key.len);
        if (is_new && kind == &berth_kube_services && berth_slice_is(it.key, "spec"))
            put_new_spec(&w, it.value);
        else
            berth_jw_value(&w, it.value);
    }
    berth_jw_object_end(&w);
    if (b.failed || berth_json_parse(a, b.at, b.len, NULL, &tree, NULL) < 0 ||
        berth_yaml_put(&yaml, tree, a) < 0)
        return -BERTH_ENOMEM;
    *ret = (struct berth_slice){yaml.at, yaml.len};
    return 0;
}

/* live and then: NULL, there is none.  Counts what differs. */
static int
put_diff(struct against *x, struct berth_arena *a, const char *space, const char *name,
         const struct berth_json *live, const struct berth_json *then)
{
    const char *was = berth_arena_printf(a, "%s/%s/%s (live)", x->kind->kind, space, name);
    const char *is = berth_arena_printf(a, "%s/%s/%s (then)", x->kind->kind, space, name);
    struct berth_diff_text from = {.name = live != NULL ? was : "/dev/null"},
                           to = {.name = then != NULL ? is : "/dev/null"};
    bool differ = false;

    if (was == NULL || is == NULL || comparable(x->kind, live, false, a, &from.text) < 0 ||
        comparable(x->kind, then, live == NULL, a, &to.text) < 0 ||
        berth_diff(&from, &to, a, x->out, &differ) < 0)
        return berth_err_set(x->e, BERTH_ENOMEM, "%s: it takes more memory than it may", name);
    if (differ)
        ++*(live == NULL ? &x->ret->created : then == NULL ? &x->ret->pruned : &x->ret->changed);
    return 0;
}

/* ---- what is wished for ---- */

/* No use in asking on. */
static bool
is_fatal(int r)
{
    return r == -BERTH_ENETWORK || r == -BERTH_EDEADLINE || r == -BERTH_ECANCELED ||
           r == -BERTH_EAUTH || r == -BERTH_ECONFIG || r == -BERTH_ENOMEM;
}

static void
tell_trouble(struct against *x, const char *name, const char *why)
{
    x->ret->troubles++;
    berth_buf_printf(x->troubles, "%s %s: %s\n", x->kind->kind, name, why);
}

static const struct berth_json *
asked_service(void *arg, const char *name)
{
    const struct berth_kube_until until = until_now();
    struct against *x = arg;
    const struct berth_kube_ref ref = {
        .kind = &berth_msvc_services, .space = x->m.ns, .name = name};
    const struct berth_json *found = NULL;
    const int r = berth_kube_get(x->kube, &until, x->a, &ref, &found, &x->unasked_why);

    if (r < 0 && r != -BERTH_ENOENT)
        x->unasked = r;
    return r < 0 ? NULL : found;
}

static struct msvc_view
view_of(struct against *x, struct berth_arena *a)
{
    x->a = a;
    x->unasked = 0;
    return (struct msvc_view){.a = a,
                              .m = &x->m,
                              .object = x->object,
                              .wish = &x->wish,
                              .service = asked_service,
                              .arg = x};
}

/* What is sent, for a try: who hands replicas over does so with those that are there. */
static int
try_apply(struct against *x, struct berth_arena *a, const struct berth_kube_ref *ref,
          const struct msvc_child *c, const struct msvc_plan *p, struct berth_err *e)
{
    const struct berth_kube_until until = until_now();
    const struct berth_json *then = NULL;
    struct berth_slice object = p->text;
    struct berth_buf text, patch;

    if (c->handed_over) {
        berth_buf_init(&text, a);
        berth_buf_init(&patch, a);
        berth_buf_printf(&patch, "{\"spec\":{\"replicas\":%lld}}",
                         (long long)berth_kube_int(c->live, "spec.replicas", 1));
        berth_json_put(&text,
                       berth_kube_patched(a, p->wish, (struct berth_slice){patch.at, patch.len}));
        object = (struct berth_slice){text.at, text.len};
        if (text.failed || patch.failed)
            return berth_err_set(e, BERTH_ENOMEM, "it takes more memory than it may");
    }
    const struct berth_kube_apply how = {
        .object = object, .manager = BERTH_MSVC_MANAGER, .force = true, .dry = true};
    const int r = berth_kube_apply(x->kube, &until, a, ref, &how, &then, e);
    return r < 0 ? r : put_diff(x, a, ref->space, ref->name, c->live, then);
}

/* Made anew: by a try nobody can see that, for the one that is there is in the way. */
static int
show_anew(struct against *x, struct berth_arena *a, const struct berth_kube_ref *ref,
          const struct msvc_child *c, const struct msvc_plan *p, struct berth_err *e)
{
    struct berth_buf text;

    berth_buf_init(&text, a);
    berth_json_put(&text, p->wish);
    const struct berth_json *then =
        text.failed ? NULL
                    : berth_kube_patched(a, c->live, (struct berth_slice){text.at, text.len});
    return then != NULL ? put_diff(x, a, ref->space, ref->name, c->live, then)
                        : berth_err_set(e, BERTH_ENOMEM, "it takes more memory than it may");
}

/* What the operator would do, step by step, as far as it can be tried. */
static int
try_steps(struct against *x, struct berth_arena *a, const struct berth_kube_ref *ref,
          const struct berth_json *wish, struct berth_err *e)
{
    const struct berth_kube_until until = until_now();
    const struct msvc_view view = view_of(x, a);
    struct msvc_child c = {.kind = ref->kind, .wish = wish, .full = true};
    struct msvc_plan p;
    int r = berth_kube_get(x->kube, &until, a, ref, &c.live, e);

    if (r < 0 && r != -BERTH_ENOENT)
        return r;
    for (int i = 0; i < 3; i++) { /* what cannot be tried is taken for done: two of these */
        if (msvc_plan(&view, &c, &p) < 0)
            return berth_err_set(e, BERTH_ENOMEM, "it takes more memory than it may");
        if (x->unasked < 0)
            return berth_err_set(e, (enum berth_code) - x->unasked, "%s", x->unasked_why.msg);
        switch (p.step) {
        case MSVC_STEP_TAKE_OVER:
            c.taken_over = true;
            continue;
        case MSVC_STEP_HAND_OVER:
            c.handed_over = true;
            continue;
        case MSVC_STEP_REFUSE:
            return berth_err_set(e, BERTH_EEXIST, "it %s",
                                 p.refusal.why != NULL ? p.refusal.why : "is not ours");
        case MSVC_STEP_WAIT:
            return berth_err_set(e, BERTH_EEXIST, "%s", going_text);
        case MSVC_STEP_REPLACE:
            return show_anew(x, a, ref, &c, &p, e);
        case MSVC_STEP_APPLY:
            return try_apply(x, a, ref, &c, &p, e);
        case MSVC_STEP_NONE:
            return p.going ? berth_err_set(e, BERTH_EEXIST, "%s", going_text) : 0;
        case MSVC_STEP_ASK:
        case MSVC_STEP_LET_GO:
        case MSVC_STEP_DELETE:
            return 0;
        }
    }
    return 0;
}

/* It has been asked, and the answer is no. */
static bool
is_unserved(struct against *x, const struct berth_kube_kind *kind)
{
    const struct berth_kube_until until = until_now();
    bool served = true;
    struct berth_err unasked;

    return berth_kube_serves(x->kube, &until, kind, &served, &unasked) == 0 && !served;
}

/* A "not found" of a kind that the cluster does not serve, in the operator's words. */
static void
tell_unserved(struct against *x, struct berth_err *e)
{
    const struct berth_kube_kind *other = berth_msvc_counterpart_of(x->kind);
    const char *from = berth_msvc_provider_of(x->kind);

    if (from == NULL || !is_unserved(x, x->kind))
        return;
    if (other != NULL && is_unserved(x, other))
        (void)berth_err_set(e, BERTH_ENOENT,
                            "the cluster serves neither %s of %s nor %s of %s: install %s, of "
                            "either generation",
                            x->kind->plural, x->kind->group_version, other->plural,
                            other->group_version, from);
    else
        (void)berth_err_set(e, BERTH_ENOENT, "the cluster does not serve %s of %s: install %s",
                            x->kind->plural, x->kind->group_version, from);
}

static int
each_wish(struct against *x, const struct berth_kube_kind *kind, const struct berth_json *wish)
{
    const struct berth_kube_ref ref = {.kind = kind,
                                       .space = berth_kube_text(wish, "metadata.namespace").at,
                                       .name = berth_kube_text(wish, "metadata.name").at};
    struct berth_err e = {""};
    struct berth_arena a;

    x->kind = kind;
    berth_arena_init(&a, object_memory_max);
    const int r = try_steps(x, &a, &ref, wish, &e);
    berth_arena_fini(&a);
    if (r == -BERTH_ENOENT)
        tell_unserved(x, &e);
    if (is_fatal(r)) {
        berth_err_set(x->e, BERTH_EINVAL, "%s", e.msg);
        return r;
    }
    if (r < 0)
        tell_trouble(x, ref.name, e.msg);
    return 0;
}

/* ---- what is not wished for any more ---- */

/* What is let go stays as another's, without our reference. */
static int
show_going(struct against *x, struct berth_arena *a, const char *name,
           const struct berth_json *live)
{
    const struct msvc_view view = view_of(x, a);
    const struct berth_json *then = NULL;
    struct msvc_plan p;
    bool memory = msvc_plan_unwished(&view, live, true, &p) == 0;

    if (x->unasked < 0)
        return berth_err_set(x->e, (enum berth_code) - x->unasked, "%s", x->unasked_why.msg);
    if (memory && p.step == MSVC_STEP_LET_GO)
        memory = (then = berth_kube_patched(a, live, p.text)) != NULL;
    if (!memory)
        return berth_err_set(x->e, BERTH_ENOMEM, "%s: it takes more memory than it may", name);
    if (p.step != MSVC_STEP_DELETE && p.step != MSVC_STEP_LET_GO)
        return 0;
    if (!x->stays)
        return put_diff(x, a, x->m.ns, name, live, then);
    tell_trouble(x, name,
                 "it is not wished for any more, and stays until the others are as wished");
    return 0;
}

static bool
each_live(void *arg, const struct berth_json *live)
{
    struct against *x = arg;
    const char *name = berth_kube_text(live, "metadata.name").at;
    struct berth_arena a;

    if (msvc_is_wished(&x->wish, x->kind, name))
        return true;
    berth_arena_init(&a, object_memory_max);
    x->broken = show_going(x, &a, name, live);
    berth_arena_fini(&a);
    return x->broken == 0;
}

static int
prune(struct against *x, struct berth_arena *a)
{
    const char *labels = berth_arena_printf(a, "%s=%s", BERTH_MSVC_UID_LABEL, x->m.uid);

    if (labels == NULL)
        return berth_err_set(x->e, BERTH_ENOMEM, "out of memory");
    x->stays = x->ret->troubles > 0;
    for (int i = 0; i < BERTH_MSVC_CHILDREN; i++) {
        const struct berth_kube_until until = until_now();
        struct berth_err e = {""};
        bool seen = false;
        x->kind = berth_msvc_kind_of(i)->kube;
        for (int j = 0; j < i; j++)
            seen = seen || berth_msvc_kind_of(j)->kube == x->kind;
        const struct berth_kube_selection all = {
            .kind = x->kind,
            .space = x->m.ns,
            .labels = x->kind == &berth_kube_config_maps ? NULL : labels};
        const int r = seen ? 0 : berth_kube_list(x->kube, &until, &all, each_live, x, NULL, &e);
        if (x->broken < 0)
            return x->broken;
        if (is_fatal(r))
            return berth_err_set(x->e, (enum berth_code) - r, "%s", e.msg);
        if (r < 0 && r != -BERTH_ENOENT) /* a kind that is not served has no objects */
            tell_trouble(x, "list", e.msg);
    }
    return 0;
}

/* ---- the service ---- */

/* Without a file the base configuration is the one that is in the cluster. */
static int
find_base(struct berth_kube *kube, struct berth_msvc_files *files, const struct berth_json *doc,
          struct berth_arena *a, struct berth_msvc_diff *ret, struct berth_err *e)
{
    const struct berth_kube_until until = until_now();
    const struct berth_json *ref = berth_kube_at(doc, "spec.baseConfigMapRef");
    const char *space = berth_json_member_text(ref, "namespace", "");
    const struct berth_kube_ref at = {.kind = &berth_kube_config_maps,
                                      .space = space[0] != '\0' ? space : ret->space,
                                      .name = berth_json_member_text(ref, "name", "")};

    if (at.name[0] == '\0' || files->base.at != NULL)
        return 0;
    ret->base = at.name;
    const int r = berth_kube_get(kube, &until, a, &at, &files->base_map, e);
    return r < 0 ? berth_err_wrap(e, r, "spec.baseConfigMapRef (-b FILE takes its place)") : 0;
}

/* Its name as far as its file can be read at all; draw_up() tells what is wrong with it. */
static int
find_live(struct berth_kube *kube, struct berth_msvc_files *files, const char *space,
          struct berth_arena *a, struct berth_msvc_diff *ret, const struct berth_json **ret_live,
          struct berth_err *e)
{
    const struct berth_kube_until until = until_now();
    const struct berth_json *doc = NULL;
    struct berth_yaml_notes notes = {0};
    struct berth_err unsaid;

    *ret_live = NULL;
    ret->name = "";
    ret->space = space;
    if (berth_yaml_parse_told(a, files->service.at, files->service.len, &doc, &notes, &unsaid) < 0)
        return 0;
    ret->name = berth_kube_text(doc, "metadata.name").at;
    if (berth_kube_text(doc, "metadata.namespace").len > 0)
        ret->space = berth_kube_text(doc, "metadata.namespace").at;
    if (ret->name[0] == '\0')
        return 0;
    const struct berth_kube_ref ref = {
        .kind = &berth_msvc_services, .space = ret->space, .name = ret->name};
    const int r = berth_kube_get(kube, &until, a, &ref, ret_live, e);
    if (r < 0 && r != -BERTH_ENOENT)
        return r;
    ret->is_new = *ret_live == NULL;
    if (ret->is_new) {
        bool served = true;
        struct berth_err unasked;
        (void)berth_kube_serves(kube, &until, &berth_msvc_services, &served, &unasked);
        ret->is_undefined = !served;
    }
    return find_base(kube, files, doc, a, ret, e);
}

static const struct berth_json *
metadata_of(struct berth_arena *a, const char *space, const char *uid)
{
    const struct berth_json *ret = NULL;
    struct berth_buf b;
    struct berth_jw w;

    berth_buf_init(&b, a);
    berth_jw_init(&w, &b);
    berth_jw_object(&w);
    berth_jw_key(&w, "metadata");
    berth_jw_object(&w);
    berth_jw_pair(&w, "namespace", space);
    berth_jw_key(&w, "uid");
    uid[0] != '\0' ? berth_jw_string(&w, uid) : berth_jw_null(&w);
    berth_jw_object_end(&w);
    berth_jw_object_end(&w);
    return b.failed || berth_json_parse(a, b.at, b.len, NULL, &ret, NULL) < 0 ? NULL : ret;
}

static int
serves(void *arg, enum berth_msvc_child child, struct berth_err *e)
{
    const struct berth_kube_until until = until_now();
    bool served = false;
    const int r = berth_kube_serves(arg, &until, berth_msvc_kind_of(child)->kube, &served, e);

    return r < 0 ? r : !served;
}

int
berth_msvc_diff(struct berth_kube *kube, const struct berth_msvc_files *files,
                const struct berth_msvc_conf *conf, const char *space, struct berth_arena *a,
                struct berth_msvc_problems *p, struct berth_buf *out, struct berth_buf *troubles,
                struct berth_msvc_diff *ret, struct berth_err *e)
{
    struct against x = {.kube = kube, .out = out, .troubles = troubles, .ret = ret, .e = e};
    struct berth_msvc_conf how = *conf;
    struct berth_msvc_files placed = *files;

    *ret = (struct berth_msvc_diff){0};
    int r = find_live(kube, &placed, space, a, ret, &x.object, e);
    if (r == 0 && how.inference == BERTH_MSVC_AS_WRITTEN)
        r = msvc_choose_generation(serves, kube, true, &how, e);
    if (r < 0)
        return r;
    const char *uid = berth_kube_text(x.object, "metadata.uid").at;
    how.applied = true;
    how.managed = uid[0] != '\0'; /* a new one gets its uid, and children their label, later */
    if ((placed.more = metadata_of(a, ret->space, uid)) == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    if ((r = berth_msvc_draw_up(&placed, &how, a, p, &x.m, &x.wish, e)) < 0)
        return r;
    for (struct berth_json_iter it = berth_json_iter(x.wish.of[BERTH_MSVC_CONFIG_MAPS]);
         r == 0 && berth_json_next(&it);)
        r = each_wish(&x, &berth_kube_config_maps, it.value);
    for (int i = BERTH_MSVC_CONFIG_MAPS + 1; r == 0 && i < BERTH_MSVC_CHILDREN; i++) {
        if (x.wish.of[i] != NULL)
            r = each_wish(&x, berth_msvc_kind_of(i)->kube, x.wish.of[i]);
    }
    if (r == 0 && uid[0] != '\0')
        r = prune(&x, a);
    return r < 0 ? r : out->failed || troubles->failed ? -BERTH_ENOMEM : 0;
}
