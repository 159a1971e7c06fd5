#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "kube/object.h"
#include "merge/merge.h"
#include "operator/modelservice/build_priv.h"
#include "operator/modelservice/kinds.h"
#include "operator/modelservice/parallelism.h"
#include "operator/modelservice/service.h"
#include "wire/json.h"

/* An engine that is spread over accelerators and pods: its arguments, environment and accelerators,
 * as llm-d's chart has them.  What anybody has said of these stays. */

enum { FLAGS = 3 };
static const struct flag {
    const char *name, *brief, *env;
} flags[FLAGS] = {{"--tensor-parallel-size", "-tp", "TP_SIZE"},
                  {"--data-parallel-size", "-dp", "DP_SIZE"},
                  {"--data-parallel-size-local", "-dpl", "DP_SIZE_LOCAL"}};

struct spread {
    struct build *b;
    const char *role, *path;
    enum berth_msvc_child child;
    struct berth_msvc_parallelism p;
    int64_t values[FLAGS];
    const struct berth_json *pod, *engine; /* as merged */
    size_t index;                          /* the engine's */
};

/* ---- which container is the engine ---- */

bool
build_mounts_model(const struct berth_json *container)
{
    return berth_kube_named(berth_json_get(container, "volumeMounts"), BERTH_MSVC_VOLUME) != NULL;
}

static void
find_engine(struct spread *s)
{
    for (struct berth_json_iter it = berth_json_iter(berth_json_get(s->pod, "containers"));
         berth_json_next(&it);) {
        if (s->engine != NULL && !build_mounts_model(it.value))
            continue;
        s->engine = it.value;
        s->index = it.index;
        if (build_mounts_model(it.value))
            return;
    }
}

static void __attribute__((format(printf, 2, 3))) warn(struct spread *s, const char *fmt, ...)
{
    char path[128], text[512];
    va_list ap;

    (void)snprintf(path, sizeof path, "%s.spec.containers[%zu]", s->path, s->index);
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    berth_msvc_problem(s->b->problems, true, berth_msvc_kind_of(s->child)->key, path, "%s", text);
}

/* ---- what its command line says already ---- */

static bool
ends_word(char c)
{
    return c == '\0' || strchr(" \t\n=\"'\\", c) != NULL;
}

/* Does a flag begin here?  vLLM takes "_" for "-". */
static size_t
flag_at(const char *at, const char *name)
{
    size_t n = 0;

    while (name[n] != '\0' && (at[n] == name[n] || (n > 1 && name[n] == '-' && at[n] == '_')))
        n++;
    return name[n] == '\0' && ends_word(at[n]) ? n : 0;
}

/* The text behind a flag in one argument, or in a script; NULL: it is not there. */
static const char *
behind(const char *text, const struct flag *flag)
{
    for (const char *at = text; (at = strchr(at, '-')) != NULL; at++) {
        size_t n = 0;
        if ((at == text || ends_word(at[-1])) &&
            ((n = flag_at(at, flag->name)) > 0 || (n = flag_at(at, flag->brief)) > 0))
            return at + n + strspn(at + n, " \t=\"'\\\n");
        at += strspn(at, "-") - 1;
    }
    return NULL;
}

/* Is the flag on the command line, or in a script there?  *ret: its number, 0 for what is none. */
static bool
is_said(const struct berth_json *container, const struct flag *flag, int64_t *ret)
{
    static const char *const lists[] = {"command", "args"};
    bool said = false;

    *ret = 0;
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        bool waits = false; /* for the number, in the next argument */
        for (struct berth_json_iter it = berth_json_iter(berth_json_get(container, lists[i]));
             berth_json_next(&it);) {
            struct berth_slice text;
            if (!berth_json_string(it.value, &text))
                continue;
            if (waits)
                *ret = strtoll(text.at, NULL, 10);
            const char *value = behind(text.at, flag);
            waits = value != NULL && *value == '\0';
            if (value != NULL && *value != '\0')
                *ret = strtoll(value, NULL, 10);
            said = said || value != NULL;
        }
    }
    return said;
}

/* "sh -c SCRIPT", over both lists: what is put behind it does not reach the engine. */
static bool
is_shell(const struct berth_json *container)
{
    static const char *const lists[] = {"command", "args"};
    struct berth_slice words[2] = {{"", 0}, {"", 0}};
    size_t count = 0;

    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        for (struct berth_json_iter it = berth_json_iter(berth_json_get(container, lists[i]));
             count < 2 && berth_json_next(&it);)
            count += berth_json_string(it.value, &words[count]);
    }
    return words[0].len >= 2 && memcmp(words[0].at + words[0].len - 2, "sh", 2) == 0 &&
           words[1].len >= 2 && words[1].at[0] == '-' && words[1].at[1] != '-' &&
           words[1].at[words[1].len - 1] == 'c';
}

/* ---- accelerators ---- */

static const struct vendor {
    const char *prefix;   /* of the resources that it has */
    const char *label;    /* of the labels that its nodes have; NULL: not known */
    const char *resource; /* for those nodes */
} vendors[] = {{"nvidia.com/gpu", "nvidia.com/", "nvidia.com/gpu"},
               {"nvidia.com/mig-", NULL, NULL},
               {"amd.com/gpu", "amd.com/", "amd.com/gpu"},
               {"gpu.intel.com/", "gpu.intel.com/", "gpu.intel.com/i915"},
               {"habana.ai/", "habana.ai/", "habana.ai/gaudi"},
               {"google.com/tpu", "cloud.google.com/gke-tpu", "google.com/tpu"},
               {"rebellions.ai/", "rebellions.ai/", "rebellions.ai/ATOM"},
               {"huawei.com/Ascend", NULL, NULL},
               {"aws.amazon.com/neuron", NULL, NULL},
               {"furiosa.ai/", NULL, NULL}};
enum { VENDORS = sizeof vendors / sizeof *vendors };

static bool
begins(const char *text, const char *with)
{
    return with != NULL && strncmp(text, with, strlen(with)) == 0;
}

/* The accelerators that a container has been given; NULL: none. */
static const char *
given(const struct berth_json *container, int64_t *ret_count)
{
    static const char *const lists[] = {"limits", "requests"};
    const struct berth_json *resources = berth_json_get(container, "resources");

    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        for (struct berth_json_iter it = berth_json_iter(berth_json_get(resources, lists[i]));
             berth_json_next(&it);) {
            for (size_t j = 0; j < VENDORS; j++) {
                struct berth_slice text;
                if (!begins(it.key.at, vendors[j].prefix))
                    continue;
                *ret_count = berth_json_string(it.value, &text) ? strtoll(text.at, NULL, 10) : 0;
                (void)berth_json_int(it.value, ret_count);
                return it.key.at;
            }
        }
    }
    return NULL;
}

/* By the label of the nodes that are asked for. */
static const char *
resource_of(const struct spread *s)
{
    const struct berth_json *types =
        berth_json_get(berth_json_get(s->b->m->spec, s->role), "acceleratorTypes");
    const char *key = berth_json_member_text(types, "labelKey", "");

    key += begins(key, "beta.") ? strlen("beta.") : 0;
    for (size_t i = 0; i < VENDORS; i++) {
        if (begins(key, vendors[i].label))
            return vendors[i].resource;
    }
    return "nvidia.com/gpu";
}

/* A simulator needs none; of claims the count stands elsewhere. */
static bool
takes_no_accelerators(const struct berth_json *container)
{
    return strstr(berth_json_member_text(container, "image", ""), "llm-d-inference-sim") != NULL ||
           berth_json_len(berth_json_get(berth_json_get(container, "resources"), "claims")) > 0;
}

/* More or fewer than it takes: 0 is meant, for an engine that runs without any. */
static const char *
mismatch(struct spread *s)
{
    const int64_t wanted = s->p.tensor * s->p.local;
    int64_t count = 0;
    const char *resource = given(s->engine, &count);

    if (resource == NULL || count == 0 || count == wanted || takes_no_accelerators(s->engine))
        return NULL;
    return berth_arena_printf(
        s->b->a, "%s is %" PRId64 ", which stays; parallelism comes to %" PRId64 " in each pod",
        resource, count, wanted);
}

/* ---- the overlay ---- */

/* Those that nobody has said. */
static void
put_flags(struct spread *s, struct berth_jw *w)
{
    int64_t value;

    for (size_t i = 0; i < FLAGS; i++) {
        char text[24];
        if (s->values[i] <= 1 || is_said(s->engine, &flags[i], &value))
            continue;
        (void)snprintf(text, sizeof text, "%" PRId64, s->values[i]);
        berth_jw_string(w, flags[i].name);
        berth_jw_string(w, text);
    }
}

static void
put_args(struct spread *s, struct berth_jw *w)
{
    struct berth_slice word;
    int64_t value;
    bool any = false, ended = false;

    for (size_t i = 0; i < FLAGS; i++)
        any = any || (s->values[i] > 1 && !is_said(s->engine, &flags[i], &value));
    if (!any)
        return;
    if (is_shell(s->engine)) {
        warn(s, "its command is a shell's, to which no flag can be added: say "
                "--tensor-parallel-size $TP_SIZE in it");
        return;
    }
    berth_jw_key(w, "args");
    berth_jw_array(w);
    berth_jw_string(w, BERTH_MERGE_REPLACE_MARK);
    for (struct berth_json_iter it = berth_json_iter(berth_json_get(s->engine, "args"));
         berth_json_next(&it);) {
        /* Behind "--" there are no flags. */
        if (!ended && berth_json_string(it.value, &word) && berth_slice_is(word, "--")) {
            put_flags(s, w);
            ended = true;
        }
        berth_jw_value(w, it.value);
    }
    if (!ended)
        put_flags(s, w);
    berth_jw_array_end(w);
}

static void
put_env(struct spread *s, const struct berth_json *container, struct berth_jw *w)
{
    const struct berth_json *env = berth_json_get(container, "env");

    berth_jw_key(w, "env");
    berth_jw_array(w);
    for (size_t i = 0; i < FLAGS; i++) {
        char text[24];
        if (berth_kube_named(env, flags[i].env) != NULL)
            continue;
        (void)snprintf(text, sizeof text, "%" PRId64, s->values[i]);
        berth_jw_object(w);
        berth_jw_pair(w, "name", flags[i].env);
        berth_jw_pair(w, "value", text);
        berth_jw_object_end(w);
    }
    berth_jw_array_end(w);
}

static void
put_accelerators(struct spread *s, struct berth_jw *w)
{
    static const char *const lists[] = {"limits", "requests"};
    const char *resource = resource_of(s);
    int64_t count;
    char text[24];

    if (takes_no_accelerators(s->engine) || given(s->engine, &count) != NULL)
        return;
    (void)snprintf(text, sizeof text, "%" PRId64, s->p.tensor * s->p.local);
    berth_jw_key(w, "resources");
    berth_jw_object(w);
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        berth_jw_key(w, lists[i]);
        berth_jw_object(w);
        berth_jw_pair(w, resource, text);
        berth_jw_object_end(w);
    }
    berth_jw_object_end(w);
}

static void
put_pod(void *arg, struct berth_jw *w)
{
    struct spread *s = arg;

    berth_jw_object(w);
    berth_jw_key(w, "containers");
    berth_jw_array(w);
    for (struct berth_json_iter it = berth_json_iter(berth_json_get(s->pod, "containers"));
         berth_json_next(&it);) {
        berth_jw_object(w);
        berth_jw_pair(w, "name", berth_json_member_text(it.value, "name", ""));
        put_env(s, it.value, w);
        if (it.value == s->engine) {
            put_args(s, w);
            put_accelerators(s, w);
        }
        berth_jw_object_end(w);
    }
    berth_jw_array_end(w);
    berth_jw_object_end(w);
}

static int
annotate(struct spread *s, const char *text)
{
    struct berth_buf b;
    struct berth_jw w;

    berth_buf_init(&b, s->b->a);
    berth_jw_init(&w, &b);
    berth_jw_object(&w);
    berth_jw_key(&w, "metadata");
    berth_jw_object(&w);
    berth_jw_key(&w, "annotations");
    berth_jw_object(&w);
    berth_jw_pair(&w, "llm-d.ai/accelerator-warning", text);
    berth_jw_object_end(&w);
    berth_jw_object_end(&w);
    berth_jw_object_end(&w);
    return build_lay_over(s->b, s->child, s->b->set->of[s->child], &b);
}

int
build_spread(struct build *b, const struct build_role *role, enum berth_msvc_child child,
             const char *path)
{
    struct spread s = {.b = b, .role = role->name, .path = path, .child = child};
    struct berth_err told;
    int64_t said;

    if (berth_msvc_parallelism_of(berth_json_get(b->m->spec, role->name), &s.p, &told) < 0 ||
        (s.p.tensor == 1 && s.p.data == 1))
        return 0;
    s.pod = berth_json_get(berth_kube_at(b->set->of[child], path), "spec");
    find_engine(&s);
    if (s.engine == NULL)
        return 0;
    memcpy(s.values, (int64_t[FLAGS]){s.p.tensor, s.p.data, s.p.local}, sizeof s.values);
    for (size_t i = 0; i < FLAGS; i++) {
        if (is_said(s.engine, &flags[i], &said) && said > 0 && said != s.values[i])
            warn(&s, "%s is %" PRId64 " on its command line, which stays; parallelism has %" PRId64,
                 flags[i].name, said, s.values[i]);
    }
    const char *odd = mismatch(&s);
    if (odd != NULL)
        warn(&s, "%s", odd);
    /* Written for llm-d's controller, which knows of no parallelism: it has all that it needs. */
    if (s.p.data == 1 && is_said(s.engine, &flags[0], &said))
        return 0;
    const int r = build_add_to_pods(b, child, path, put_pod, &s);
    return r < 0 || odd == NULL ? r : annotate(&s, odd);
}
