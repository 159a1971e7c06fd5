#include "kube/object.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/num.h"
#include "wire/json.h"
#include "wire/uri.h"

enum { KEY_MAX = 64 };

const struct berth_kube_kind berth_kube_deployments = {"apps/v1", "Deployment", "deployments",
                                                       false};
const struct berth_kube_kind berth_kube_stateful_sets = {"apps/v1", "StatefulSet", "statefulsets",
                                                         false};
const struct berth_kube_kind berth_kube_replica_sets = {"apps/v1", "ReplicaSet", "replicasets",
                                                        false};
const struct berth_kube_kind berth_kube_pods = {"v1", "Pod", "pods", false};
const struct berth_kube_kind berth_kube_services = {"v1", "Service", "services", false};
const struct berth_kube_kind berth_kube_nodes = {"v1", "Node", "nodes", true};
const struct berth_kube_kind berth_kube_config_maps = {"v1", "ConfigMap", "configmaps", false};
const struct berth_kube_kind berth_kube_claims = {"v1", "PersistentVolumeClaim",
                                                  "persistentvolumeclaims", false};
const struct berth_kube_kind berth_kube_autoscalers = {"autoscaling/v2", "HorizontalPodAutoscaler",
                                                       "horizontalpodautoscalers", false};
const struct berth_kube_kind berth_kube_leases = {"coordination.k8s.io/v1", "Lease", "leases",
                                                  false};

static void
put_part(struct berth_buf *b, const char *part)
{
    berth_buf_putc(b, '/');
    berth_uri_put(b, part, strlen(part));
}

void
berth_kube_path_put(struct berth_buf *b, const struct berth_kube_kind *kind, const char *space,
                    const char *name, const char *sub)
{
    /* The core group is older than groups are. */
    berth_buf_puts(b, strchr(kind->group_version, '/') != NULL ? "/apis/" : "/api/");
    berth_buf_puts(b, kind->group_version);
    if (space != NULL && !kind->cluster_wide) {
        berth_buf_puts(b, "/namespaces");
        put_part(b, space);
    }
    put_part(b, kind->plural);
    if (name != NULL)
        put_part(b, name);
    if (name != NULL && sub != NULL)
        put_part(b, sub);
}

const struct berth_json *
berth_kube_at(const struct berth_json *object, const char *dotted)
{
    char key[KEY_MAX];

    while (object != NULL && dotted[0] != '\0') {
        const size_t n = strcspn(dotted, ".");
        if (n >= sizeof key)
            return NULL;
        memcpy(key, dotted, n);
        key[n] = '\0';
        object = berth_json_get(object, key);
        dotted += n + (dotted[n] == '.');
    }
    return object;
}

static struct berth_slice
text_of(const struct berth_json *v)
{
    struct berth_slice s = BERTH_SLICE("");

    (void)berth_json_string(v, &s);
    return s;
}

struct berth_slice
berth_kube_text(const struct berth_json *object, const char *dotted)
{
    return text_of(berth_kube_at(object, dotted));
}

int64_t
berth_kube_int(const struct berth_json *object, const char *dotted, int64_t otherwise)
{
    int64_t v = otherwise;

    return berth_json_int(berth_kube_at(object, dotted), &v) ? v : otherwise;
}

bool
berth_kube_flag(const struct berth_json *object, const char *dotted)
{
    bool v = false;

    return berth_json_bool(berth_kube_at(object, dotted), &v) && v;
}

const struct berth_json *
berth_kube_named(const struct berth_json *list, const char *name)
{
    for (struct berth_json_iter it = berth_json_iter(list); berth_json_next(&it);) {
        if (strcmp(berth_json_member_text(it.value, "name", ""), name) == 0)
            return it.value;
    }
    return NULL;
}

struct berth_slice
berth_kube_label(const struct berth_json *object, const char *key)
{
    return text_of(berth_json_get(berth_kube_at(object, "metadata.labels"), key));
}

struct berth_slice
berth_kube_annotation(const struct berth_json *object, const char *key)
{
    return text_of(berth_json_get(berth_kube_at(object, "metadata.annotations"), key));
}

const char *
berth_kube_how_ended(struct berth_arena *a, const struct berth_json *terminated)
{
    const struct berth_slice reason = berth_kube_text(terminated, "reason");
    const struct berth_slice message = berth_kube_text(terminated, "message");
    const int64_t code = berth_kube_int(terminated, "exitCode", -1);

    if (terminated == NULL)
        return "";
    const char *text = berth_arena_printf(a, "%s%s%lld%s%.200s", reason.at,
                                          reason.len > 0 ? ", exit code " : "exit code ",
                                          (long long)code, message.len > 0 ? ": " : "", message.at);
    return text != NULL ? text : "";
}

static bool
two_digits(const char *at, int max, int *ret)
{
    int64_t v;

    if (!berth_int_parse(at, 2, 0, max, &v))
        return false;
    *ret = (int)v;
    return true;
}

/* "2026-11-21T15:46:19Z", with a fraction that is left out, or an offset in place of the Z. */
uint64_t
berth_kube_time(struct berth_slice text)
{
    struct tm tm = {0};
    int64_t year;
    int hours = 0, minutes = 0;
    const char *at = text.at, *end = text.at + text.len;

    if (text.len < 20 || at[4] != '-' || at[7] != '-' || (at[10] != 'T' && at[10] != 't') ||
        at[13] != ':' || at[16] != ':' || !berth_int_parse(at, 4, 1970, 2200, &year) ||
        !two_digits(at + 5, 12, &tm.tm_mon) || !two_digits(at + 8, 31, &tm.tm_mday) ||
        !two_digits(at + 11, 23, &tm.tm_hour) || !two_digits(at + 14, 59, &tm.tm_min) ||
        !two_digits(at + 17, 60, &tm.tm_sec))
        return 0;
    at += 19;
    if (*at == '.')
        for (at++; at < end && *at >= '0' && *at <= '9';)
            at++;
    if (at >= end)
        return 0;
    if (*at == '+' || *at == '-') {
        if (end - at != 6 || at[3] != ':' || !two_digits(at + 1, 23, &hours) ||
            !two_digits(at + 4, 59, &minutes))
            return 0;
        if (*at == '-') {
            hours = -hours;
            minutes = -minutes;
        }
    } else if ((*at != 'Z' && *at != 'z') || at + 1 != end) {
        return 0;
    }
    tm.tm_year = (int)year - 1900;
    tm.tm_mon -= 1;
    const time_t t = timegm(&tm) - (time_t)hours * 3600 - (time_t)minutes * 60;
    return t > 0 ? (uint64_t)t * BERTH_S : 0;
}

const struct berth_json *
berth_kube_patched(struct berth_arena *a, const struct berth_json *object, struct berth_slice patch)
{
    const struct berth_json *by = NULL, *ret = NULL;
    struct berth_buf b;
    struct berth_jw w;

    if (patch.at == NULL || berth_json_parse(a, patch.at, patch.len, NULL, &by, NULL) < 0)
        return NULL;
    berth_buf_init(&b, a);
    berth_jw_init(&w, &b);
    berth_jw_merged(&w, object, by);
    if (b.failed || berth_json_parse(a, b.at, b.len, NULL, &ret, NULL) < 0)
        return NULL;
    return ret;
}
