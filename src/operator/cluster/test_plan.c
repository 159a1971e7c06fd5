#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/clock.h"
#include "operator/cluster/controller_priv.h"
#include "operator/cluster/plan.h"
#include "operator/modelservice/kinds.h"
#include "wire/json.h"

/* What is to be done with a child, from what there is of it. */

#define OWNER(name, uid)                                                               \
    "{\"apiVersion\":\"llm-d.ai/v1alpha1\",\"kind\":\"ModelService\",\"name\":\"" name \
    "\",\"uid\":\"" uid "\"}"
#define OWNERS(list) "\"ownerReferences\":[" list "]"
#define MINE         OWNER("svc", "u")

/* ---- the service, and those beside it ---- */

struct world {
    struct berth_arena a;
    struct berth_msvc m;
    struct berth_msvc_set wish;
    struct msvc_view view;
};

static const struct berth_json *
parsed(struct berth_arena *a, const char *text)
{
    const struct berth_json *ret = NULL;

    assert_int_equal(berth_json_parse(a, text, strlen(text), NULL, &ret, NULL), 0);
    return ret;
}

/* "svc" is a day younger than "old" and a day older than "young"; there is no "gone". */
static const struct berth_json *
service(void *arg, const char *name)
{
    static const struct {
        const char *name, *uid, *since;
    } all[] = {{"old", "uo", "2026-01-01T00:00:00Z"},
               {"svc", "u", "2026-01-02T00:00:00Z"},
               {"young", "uy", "2026-01-03T00:00:00Z"}};
    struct world *w = arg;

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (strcmp(all[i].name, name) == 0)
            return parsed(&w->a, berth_arena_printf(&w->a,
                                                    "{\"metadata\":{\"name\":\"%s\",\"uid\":\"%s\","
                                                    "\"creationTimestamp\":\"%s\"}}",
                                                    name, all[i].uid, all[i].since));
    }
    return NULL;
}

static void
begin(struct world *w, bool is_new, const char *spec)
{
    *w = (struct world){.m = {.name = "svc", .ns = "n", .uid = is_new ? "" : "u"}};
    berth_arena_init(&w->a, 1 << 20);
    w->m.spec = parsed(&w->a, spec);
    w->view = (struct msvc_view){.a = &w->a,
                                 .m = &w->m,
                                 .object = is_new ? NULL : service(w, "svc"),
                                 .wish = &w->wish,
                                 .service = service,
                                 .arg = w};
}

/* ---- wishes ---- */

static const char deployment[] =
    "{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"metadata\":{\"name\":\"svc-decode\","
    "\"namespace\":\"n\",\"labels\":{\"llm-d.ai/modelservice-uid\":\"u\"}," OWNERS(
        MINE) "},"
              "\"spec\":{\"replicas\":2,\"paused\":false}}";
static const char map[] =
    "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"shared\","
    "\"namespace\":\"n\",\"labels\":{\"llm-d.ai/modelservice-uid\":\"u\"}," OWNERS(
        MINE) "},"
              "\"data\":{\"k\":\"v\"}}";
static const char account[] =
    "{\"apiVersion\":\"v1\",\"kind\":\"ServiceAccount\",\"metadata\":{\"name\":\"svc-sa\","
    "\"namespace\":\"n\"," OWNERS(MINE) "},\"imagePullSecrets\":[{\"name\":\"mine\"}]}";
static const char binding[] =
    "{\"kind\":\"RoleBinding\",\"metadata\":{\"name\":\"svc-epp-rolebinding\",\"namespace\":"
    "\"n\"," OWNERS(MINE) "},\"roleRef\":{\"kind\":\"ClusterRole\",\"name\":\"view\"}}";

enum {
    D = BERTH_MSVC_DECODE_DEPLOYMENT,
    M = BERTH_MSVC_CONFIG_MAPS,
    A = BERTH_MSVC_PD_ACCOUNT,
    B = BERTH_MSVC_EPP_ROLE_BINDING
};

static const char *
wish_of(int child)
{
    return child == D ? deployment : child == M ? map : child == A ? account : binding;
}

/* ---- what is done ---- */

#define LLMD                                                                               \
    "\"managedFields\":[{\"manager\":\"manager\",\"operation\":\"Update\",\"apiVersion\":" \
    "\"apps/v1\",\"fieldsV1\":{\"f:spec\":{\"f:paused\":{}}}}]"
#define OURS                                                                              \
    "\"managedFields\":[{\"manager\":\"" BERTH_MSVC_MANAGER "\",\"operation\":\"Apply\"," \
    "\"apiVersion\":\"apps/v1\",\"fieldsV1\":{\"f:spec\":{\"f:replicas\":{}}}}]"
#define NOTE(value) "\"annotations\":{\"llm-d.ai/applied\":" value "}"
#define DELETED     "\"deletionTimestamp\":\"2026-01-02T00:00:00Z\""
#define VERSION(v)  "\"resourceVersion\":\"" v "\""

enum { FULL = 1, UNSEEN = 2, TAKEN = 4, HANDED = 8, NEW = 16, KNOWN = 32, SCALED = 64, HPA = 128 };
enum { EXACT = 1, FORCE = 2, GOING = 4, BEHIND = 8, PASSES = 16 };

static const struct {
    const char *why;
    int child, flags;
    const char *live; /* a merge patch of what it was made as; NULL: there is none */
    enum msvc_step step;
    int is;
    const char *says, *says_not; /* in what is sent, or why not */
} cases[] = {
    /* One that is not there. */
    {"what nobody asked for is made if there is none", D, UNSEEN, NULL, MSVC_STEP_APPLY, 0,
     VERSION("1"), NULL},
    {"what the server does not have is made, and others' fields are theirs", D, 0, NULL,
     MSVC_STEP_APPLY, 0, "\"replicas\":2", "resourceVersion"},
    {"what was applied just now is on its way", D, KNOWN, NULL, MSVC_STEP_NONE, BEHIND, "", NULL},
    /* One that is there. */
    {"as it was made", D, 0, "{}", MSVC_STEP_NONE, 0, "", NULL},
    {"others' fields do not matter", D, 0, "{\"spec\":{\"theirs\":1}}", MSVC_STEP_NONE, 0, "",
     NULL},
    {"a field was changed", D, 0, "{\"spec\":{\"paused\":true}}", MSVC_STEP_APPLY, FORCE,
     "\"paused\":false", "resourceVersion"},
    {"what the cache shows is older than what was applied", D, KNOWN,
     "{\"metadata\":{" VERSION("8") "},\"spec\":{\"paused\":true}}", MSVC_STEP_NONE, BEHIND, "",
     NULL},
    {"it is newer, and somebody changed it", D, KNOWN,
     "{\"metadata\":{" VERSION("10") "},\"spec\":{\"paused\":true}}", MSVC_STEP_APPLY, FORCE,
     "\"paused\":false", NULL},
    /* llm-d's own. */
    {"without a note it may be llm-d's", D, 0, "{\"metadata\":{" NOTE("null") "}}", MSVC_STEP_ASK,
     0, "", NULL},
    {"it is not", D, FULL, "{\"metadata\":{" NOTE("null") "}}", MSVC_STEP_APPLY, FORCE, "replicas",
     NULL},
    {"it is", D, FULL, "{\"metadata\":{" NOTE("null") "," VERSION("7") "," LLMD "}}",
     MSVC_STEP_TAKE_OVER, 0, "f:paused", "\"manager\":\"manager\""},
    {"it was", D, FULL | TAKEN, "{\"metadata\":{" NOTE("null") "," LLMD "}}", MSVC_STEP_APPLY,
     FORCE, "replicas", NULL},
    /* Replicas of others. */
    {"it is made with replicas that others set then", D, SCALED, NULL, MSVC_STEP_APPLY, 0,
     "\"replicas\":2", NULL},
    {"whose they are is asked for", D, SCALED, "{}", MSVC_STEP_ASK, 0, "", NULL},
    {"they are ours", D, SCALED | FULL,
     "{\"metadata\":{" VERSION("7") "," OURS "},\"spec\":{\"replicas\":5}}", MSVC_STEP_HAND_OVER, 0,
     VERSION("7") "},\"spec\":{\"replicas\":5}", "paused"},
    {"they were", D, SCALED | FULL | HANDED, "{\"metadata\":{" OURS "},\"spec\":{\"replicas\":5}}",
     MSVC_STEP_APPLY, FORCE, "\"paused\":false", "replicas"},
    {"they are not", D, SCALED | FULL, "{\"spec\":{\"replicas\":5}}", MSVC_STEP_APPLY, FORCE,
     "\"paused\":false", "replicas"},
    {"an autoscaler says the same", D, HPA | FULL, "{\"spec\":{\"replicas\":5}}", MSVC_STEP_APPLY,
     FORCE, "\"paused\":false", "replicas"},
    /* Whose it is. */
    {"nobody's", D, 0, "{\"metadata\":{\"labels\":null,\"ownerReferences\":null}}",
     MSVC_STEP_REFUSE, 0, "kubectl label -n n deployments svc-decode", NULL},
    {"a new service has no label to give", D, NEW,
     "{\"metadata\":{\"labels\":null,\"ownerReferences\":null}}", MSVC_STEP_REFUSE, 0,
     "was not made for", "kubectl"},
    {"by its label it is ours", D, 0, "{\"metadata\":{\"ownerReferences\":null}}", MSVC_STEP_APPLY,
     FORCE, MINE, NULL},
    {"by its owner it is ours", D, 0, "{\"metadata\":{\"labels\":null}}", MSVC_STEP_APPLY, FORCE,
     "modelservice-uid", NULL},
    {"another's", D, 0, "{\"metadata\":{\"labels\":null," OWNERS(OWNER("old", "uo")) "}}",
     MSVC_STEP_REFUSE, 0, "belongs to ModelService old", NULL},
    {"one's that was before", D, 0,
     "{\"metadata\":{\"labels\":null," OWNERS(OWNER("svc", "before")) "}}", MSVC_STEP_REFUSE,
     PASSES, "was before", NULL},
    /* Deletion. */
    {"it goes, and is still as it is wished for", D, 0,
     "{\"metadata\":{\"deletionTimestamp\":\"2026-01-02T00:00:00Z\"}}", MSVC_STEP_NONE, GOING, "",
     NULL},
    {"it goes, and is to be another", D, 0,
     "{\"metadata\":{\"deletionTimestamp\":\"2026-01-02T00:00:00Z\"},\"spec\":{\"paused\":true}}",
     MSVC_STEP_WAIT, GOING, "", NULL},
    /* What cannot be changed. */
    {"another role", B, 0, "{\"roleRef\":{\"name\":\"edit\"}}", MSVC_STEP_REPLACE, 0, "", NULL},
    {"the same role", B, 0, "{\"metadata\":{" OWNERS(MINE) "},\"x\":1}", MSVC_STEP_NONE, 0, "",
     NULL},
    /* Secrets that others put in. */
    {"they stay, in that very version", A, 0,
     "{\"metadata\":{" VERSION("7") "},\"imagePullSecrets\":[{\"name\":\"theirs\"}]}",
     MSVC_STEP_APPLY, FORCE | EXACT, "theirs", NULL},
    {"nor do those go that come meanwhile", A, 0,
     "{\"metadata\":{" VERSION("7") ",\"annotations\":{\"llm-d.ai/pull-secrets\":null}}}",
     MSVC_STEP_APPLY, FORCE | EXACT, VERSION("7"), NULL},
    /* ConfigMaps of several. */
    {"the same as an older one's: both own it", M, 0,
     "{\"metadata\":{" VERSION("7") "," OWNERS(OWNER("old", "uo")) "}}", MSVC_STEP_APPLY,
     FORCE | EXACT, OWNERS(MINE "," OWNER("old", "uo")), "modelservice-uid"},
    {"and so do both that did before", M, 0,
     "{\"metadata\":{" OWNERS(MINE "," OWNER("old", "uo")) "}}", MSVC_STEP_NONE, 0, "", NULL},
    {"another than an older one's", M, 0,
     "{\"metadata\":{" OWNERS(OWNER("old", "uo")) "},\"data\":{\"k\":\"w\"}}", MSVC_STEP_REFUSE, 0,
     "ModelService old's, too", NULL},
    {"another than a younger one's", M, 0,
     "{\"metadata\":{" VERSION("7") "," OWNERS(OWNER("young", "uy")) "},\"data\":{\"k\":\"w\"}}",
     MSVC_STEP_APPLY, FORCE | EXACT, VERSION("7"), NULL},
    {"of one that is gone, with another's name", M, 0,
     "{\"metadata\":{" OWNERS(OWNER("gone", "ug")) "}}", MSVC_STEP_REFUSE, 0,
     "belongs to ModelService gone", NULL},
    {"who is gone is no owner any more", M, 0,
     "{\"metadata\":{" OWNERS(MINE "," OWNER("gone", "ug")) "},\"data\":{\"k\":\"w\"}}",
     MSVC_STEP_APPLY, FORCE, OWNERS(MINE), "gone"},
    {"a new service has no reference yet", M, NEW,
     "{\"metadata\":{" VERSION("7") "," OWNERS(OWNER("young", "uy")) ",\"labels\":{\"x\":\"y\"}}}",
     MSVC_STEP_NONE, 0, "", NULL},
    {"the youngest is one that is not there yet", M, NEW,
     "{\"metadata\":{" OWNERS(OWNER("young", "uy")) "},\"data\":{\"k\":\"w\"}}", MSVC_STEP_REFUSE,
     0, "ModelService young's, too", NULL},
};

static struct msvc_child
child_of(struct world *w, int child, int flags)
{
    struct msvc_child ret = {.kind = berth_msvc_kind_of(child)->kube,
                             .wish = parsed(&w->a, wish_of(child)),
                             .full = (flags & FULL) != 0,
                             .unseen = (flags & UNSEEN) != 0,
                             .taken_over = (flags & TAKEN) != 0,
                             .handed_over = (flags & HANDED) != 0};

    if (child != M)
        w->wish.of[child] = ret.wish;
    if ((flags & HPA) != 0)
        w->wish.of[BERTH_MSVC_DECODE_HPA] = parsed(&w->a, "{}");
    return ret;
}

/* What is sent, or why nothing is. */
static void
said_by(const struct msvc_plan *p, char *ret, size_t size)
{
    const struct berth_slice said =
        p->step == MSVC_STEP_REFUSE ? berth_slice_of(p->refusal.why) : p->text;

    (void)snprintf(ret, size, "%.*s", (int)said.len, said.at != NULL ? said.at : "");
}

static void
check(const struct msvc_plan *p, size_t i)
{
    const int is = (p->exact && p->step == MSVC_STEP_APPLY ? EXACT : 0) | (p->force ? FORCE : 0) |
                   (p->going ? GOING : 0) | (p->behind ? BEHIND : 0) |
                   (p->refusal.passes ? PASSES : 0);
    char said[4096];

    said_by(p, said, sizeof said);
    if (p->step != cases[i].step || is != cases[i].is || strstr(said, cases[i].says) == NULL ||
        (cases[i].says_not != NULL && strstr(said, cases[i].says_not) != NULL))
        fail_msg("%s: step %d, %#x: %s", cases[i].why, (int)p->step, (unsigned)is, said);
}

static void
what_there_is_decides_what_is_done(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int flags = cases[i].flags;
        struct msvc_plan made, plan;
        struct world w;
        begin(&w, (flags & NEW) != 0, (flags & SCALED) != 0 ? "{\"decoupleScaling\":true}" : "{}");
        struct msvc_child c = child_of(&w, cases[i].child, flags);
        const struct msvc_child none = {.kind = c.kind, .wish = c.wish};
        assert_int_equal(msvc_plan(&w.view, &none, &made), 0);
        struct msvc_applied known = {.version = "9", .at_ns = berth_now_ns()};
        (void)snprintf(known.digest, sizeof known.digest, "%s", made.digest);
        if ((flags & KNOWN) != 0)
            c.known = &known;
        if (cases[i].live != NULL) {
            c.live = berth_kube_patched(&w.a, made.wish, berth_slice_of(cases[i].live));
            assert_non_null(c.live);
        }
        assert_int_equal(msvc_plan(&w.view, &c, &plan), 0);
        check(&plan, i);
        berth_arena_fini(&w.a);
    }
}

/* Its sum is the same with and without them, so that an apply of it counts as the same. */
static void
replicas_of_others_are_no_part_of_what_is_alike(void **unused)
{
    struct msvc_plan made, handed;
    struct world w;

    (void)unused;
    begin(&w, false, "{\"decoupleScaling\":true}");
    struct msvc_child c = child_of(&w, D, FULL);
    assert_int_equal(msvc_plan(&w.view, &c, &made), 0);
    c.live = made.wish;
    assert_int_equal(msvc_plan(&w.view, &c, &handed), 0);
    assert_string_not_equal(made.digest, handed.digest);
    assert_string_equal(made.like, handed.like);
    assert_string_equal(handed.like, handed.digest);
    berth_arena_fini(&w.a);
}

/* ---- what is not wished for ---- */

static const struct {
    const char *why, *metadata;
    bool full;
    enum msvc_step step;
    const char *says;
} unwished[] = {
    {"not ours", NOTE("\"x\""), false, MSVC_STEP_NONE, ""},
    {"ours", NOTE("\"x\"") "," OWNERS(MINE), false, MSVC_STEP_DELETE, ""},
    {"going already", NOTE("\"x\"") "," OWNERS(MINE) "," DELETED, false, MSVC_STEP_NONE, ""},
    {"another has it, too", NOTE("\"x\"") "," VERSION("7") "," OWNERS(MINE "," OWNER("old", "uo")),
     false, MSVC_STEP_LET_GO, "{" VERSION("7") "," OWNERS(OWNER("old", "uo")) "}"},
    {"one that is gone had it, too", NOTE("\"x\"") "," OWNERS(MINE "," OWNER("gone", "ug")), false,
     MSVC_STEP_DELETE, ""},
    {"who made it is asked for", OWNERS(MINE), false, MSVC_STEP_ASK, ""},
    {"a person made it", OWNERS(MINE), true, MSVC_STEP_NONE, ""},
    {"llm-d's operator made it", OWNERS(MINE) "," LLMD, true, MSVC_STEP_DELETE, ""},
};

static void
what_is_not_wished_for_goes_when_it_was_made_here(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof unwished / sizeof *unwished; i++) {
        struct msvc_plan p;
        struct world w;
        begin(&w, false, "{}");
        const struct berth_json *live =
            parsed(&w.a, berth_arena_printf(&w.a, "{\"metadata\":{%s}}", unwished[i].metadata));
        assert_int_equal(msvc_plan_unwished(&w.view, live, unwished[i].full, &p), 0);
        char said[1024];
        said_by(&p, said, sizeof said);
        if (p.step != unwished[i].step || strstr(said, unwished[i].says) == NULL)
            fail_msg("%s: step %d: %s", unwished[i].why, (int)p.step, said);
        berth_arena_fini(&w.a);
    }
}

/* Who keeps it from going is to be told, but of what was made here alone. */
static void
what_was_made_here_is_seen_to_go(void **unused)
{
    static const struct {
        const char *why, *metadata;
        bool going;
    } rows[] = {{"made here", NOTE("\"x\"") "," OWNERS(MINE) "," DELETED, true},
                {"and it stays", NOTE("\"x\"") "," OWNERS(MINE), false},
                {"a person's, who takes it away", OWNERS(MINE) "," DELETED, false},
                {"somebody's copy", NOTE("\"x\"") "," DELETED, false}};

    (void)unused;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct msvc_plan p;
        struct world w;
        begin(&w, false, "{}");
        const struct berth_json *live =
            parsed(&w.a, berth_arena_printf(&w.a, "{\"metadata\":{%s}}", rows[i].metadata));
        assert_int_equal(msvc_plan_unwished(&w.view, live, false, &p), 0);
        print_message("  %s\n", rows[i].why);
        assert_int_equal(p.going, rows[i].going);
        berth_arena_fini(&w.a);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_there_is_decides_what_is_done),
        cmocka_unit_test(replicas_of_others_are_no_part_of_what_is_alike),
        cmocka_unit_test(what_is_not_wished_for_goes_when_it_was_made_here),
        cmocka_unit_test(what_was_made_here_is_seen_to_go)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
