#include "operator/modelservice/artifacts.h"

#include <stdbool.h>
#include <string.h>

#include "base/arena.h"

static const char forms[] =
    "hf://REPO/MODEL, pvc://CLAIM/PATH, pvc+hf://CLAIM/CACHE/REPO/MODEL or oci://IMAGE[::PATH]";

/* At most this much: a path and a name as Kubernetes takes them. */
enum { URI_MAX = 4096 };

/* Either part may be empty, as llm-d has it. */
static void
parse_hf(const char *rest, struct berth_arena *a, struct berth_msvc_artifact *ret)
{
    const char *slash = strchr(rest, '/');

    if (slash == NULL || strchr(slash + 1, '/') != NULL) {
        ret->flaw = berth_arena_printf(a,
                                       "\"hf://%s\" names no model: it is written "
                                       "hf://REPO/MODEL, such as hf://facebook/opt-125m",
                                       rest);
        ret->has_volume = false;
    }
    ret->hf_model = ret->model_path = rest;
    ret->mounted = BERTH_MSVC_MOUNT;
}

/* Of a path in a claim; "" is all of it. */
static void
parse_pvc(const char *uri, const char *rest, struct berth_arena *a, struct berth_msvc_artifact *ret)
{
    const char *slash = strchr(rest, '/');

    if (slash == NULL || slash == rest)
        ret->flaw = berth_arena_printf(a, "\"%s\" names no %s: it is written pvc://CLAIM/PATH", uri,
                                       slash == NULL ? "path on the claim" : "claim");
    ret->has_volume = slash != NULL;
    if (slash == NULL)
        return;
    ret->claim = berth_arena_strndup(a, rest, (size_t)(slash - rest));
    ret->model_path = slash + 1;
    ret->mounted = berth_arena_printf(a, BERTH_MSVC_MOUNT "/%s", slash + 1);
}

/* CLAIM and what follows the first slash. */
static int
split_claim(const char *uri, const char *rest, struct berth_arena *a, const char **ret_path,
            struct berth_msvc_artifact *ret, struct berth_err *e)
{
    const char *slash = strchr(rest, '/');

    if (slash == NULL || slash == rest || slash[1] == '\0')
        return berth_err_set(e, BERTH_EINVAL,
                             "\"%s\" names no path on the claim: it is written "
                             "pvc+hf://CLAIM/CACHE/REPO/MODEL",
                             uri);
    ret->claim = berth_arena_strndup(a, rest, (size_t)(slash - rest));
    *ret_path = slash + 1;
    return ret->claim != NULL ? 0 : berth_err_set(e, BERTH_ENOMEM, "%s: out of memory", uri);
}

/* The last two segments are the model, what is before them the cache. */
static int
parse_pvc_hf(const char *uri, const char *path, struct berth_arena *a,
             struct berth_msvc_artifact *ret, struct berth_err *e)
{
    const char *last = strrchr(path, '/'), *from = last;

    while (from != NULL && from > path && from[-1] != '/')
        from--;
    if (last == NULL || last[1] == '\0' || from == last)
        return berth_err_set(e, BERTH_EINVAL,
                             "\"%s\" names no model: it is written "
                             "pvc+hf://CLAIM/CACHE/REPO/MODEL",
                             uri);
    ret->hf_model = ret->model_path = from;
    const size_t cache = from > path ? (size_t)(from - path) - 1 : 0;
    ret->hub_path = berth_arena_strndup(a, path, cache);
    ret->mounted =
        berth_arena_printf(a, BERTH_MSVC_MOUNT "%s%.*s", cache > 0 ? "/" : "", (int)cache, path);
    return 0;
}

static int
parse_oci(const char *uri, const char *rest, struct berth_arena *a, struct berth_msvc_artifact *ret,
          struct berth_err *e)
{
    const char *colons = strstr(rest, "::");
    const size_t image = colons != NULL ? (size_t)(colons - rest) : strlen(rest);
    const char *path = colons != NULL ? colons + 2 : "";

    while (*path == '/')
        path++;
    if (image == 0)
        return berth_err_set(e, BERTH_EINVAL,
                             "\"%s\" names no image: it is written oci://IMAGE[::PATH]", uri);
    ret->image = berth_arena_strndup(a, rest, image);
    ret->model_path = path;
    ret->mounted = berth_arena_printf(a, BERTH_MSVC_MOUNT "%s%s", path[0] != '\0' ? "/" : "", path);
    return 0;
}

/* A path that climbs out of the volume is a mistake or worse; "::" begins one, too. */
static bool
climbs(const char *path)
{
    for (const char *p = path; p != NULL; p = strpbrk(p, "/:")) {
        p += *p == '/' || *p == ':';
        const size_t n = strcspn(p, "/:");
        if (n == 2 && p[0] == '.' && p[1] == '.')
            return true;
    }
    return false;
}

int
berth_msvc_artifact_parse(const char *uri, struct berth_arena *a, struct berth_msvc_artifact *ret,
                          struct berth_err *e)
{
    static const struct {
        const char *prefix;
        enum berth_msvc_source source;
    } sources[] = {{"hf://", BERTH_MSVC_HF},
                   {"pvc://", BERTH_MSVC_PVC},
                   {"pvc+hf://", BERTH_MSVC_PVC_HF},
                   {"oci://", BERTH_MSVC_OCI}};
    const char *rest = NULL, *path = NULL;
    int r = 0;

    *ret = (struct berth_msvc_artifact){.hf_model = "",
                                        .model_path = "",
                                        .claim = "",
                                        .hub_path = "",
                                        .image = "",
                                        .flaw = "",
                                        .has_volume = true,
                                        .mounted = ""};
    if (uri[0] == '\0')
        return berth_err_set(e, BERTH_EINVAL,
                             "it is missing: say where the model comes from, with a uri of the "
                             "form %s",
                             forms);
    if (strlen(uri) > URI_MAX)
        return berth_err_set(e, BERTH_EINVAL, "it has more than %d characters", URI_MAX);
    if ((uri = berth_arena_strdup(a, uri)) == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    for (size_t i = 0; i < sizeof sources / sizeof *sources && rest == NULL; i++) {
        const size_t n = strlen(sources[i].prefix);
        if (strncmp(uri, sources[i].prefix, n) == 0) {
            rest = uri + n;
            ret->source = sources[i].source;
        }
    }
    if (rest == NULL)
        return berth_err_set(e, BERTH_EINVAL, "\"%s\" has no known prefix: it is one of %s", uri,
                             forms);
    switch (ret->source) {
    case BERTH_MSVC_HF:
        parse_hf(rest, a, ret);
        break;
    case BERTH_MSVC_PVC:
        parse_pvc(uri, rest, a, ret);
        break;
    case BERTH_MSVC_PVC_HF:
        if ((r = split_claim(uri, rest, a, &path, ret, e)) == 0)
            r = parse_pvc_hf(uri, path, a, ret, e);
        break;
    case BERTH_MSVC_OCI:
        r = parse_oci(uri, rest, a, ret, e);
        break;
    }
    if (r == 0 && climbs(rest))
        ret->flaw = berth_arena_printf(a, "\"%s\" has \"..\" in it", uri);
    if (r == 0 && (ret->mounted == NULL || ret->image == NULL || ret->hub_path == NULL ||
                   ret->claim == NULL || ret->flaw == NULL))
        r = berth_err_set(e, BERTH_ENOMEM, "%s: out of memory", uri);
    return r;
}
