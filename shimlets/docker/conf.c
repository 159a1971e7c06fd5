#include "shimlets/docker/unit.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "fetch/model_dir.h"
#include "wire/json.h"

enum { CPU_MILLI_MAX = 1000 * 1000 * 1000 };

const struct berth_setting berth_docker_settings[] = {
    {"host", BERTH_SETTING_STRING, 0, 0, "unix:///var/run/docker.sock",
     "the daemon: unix:///PATH, tcp://HOST:PORT or https://HOST:PORT; else what DOCKER_HOST says"},
    {"cert_dir", BERTH_SETTING_STRING, 0, 0, "",
     "folder with ca.pem, cert.pem and key.pem for a daemon that asks who we are"},
    {"network", BERTH_SETTING_STRING, 0, 0, "bridge",
     "\"bridge\" and other networks publish a replica's port at `address`; \"host\": no network of "
     "its own"},
    {"image", BERTH_SETTING_STRING, 0, 0, "", "for services that name none"},
    {"pull", BERTH_SETTING_STRING, 0, 0, "missing", "images: \"missing\", \"never\" or \"always\""},
    {"registry_auth", BERTH_SETTING_STRING, 0, 0, "",
     "file with credentials of registries, as docker login writes it (config.json)"},
    {"label_prefix", BERTH_SETTING_STRING, 0, 0, "berth", "of the labels of our containers"},
    {"address", BERTH_SETTING_STRING, 0, 0, "127.0.0.1", "of the machine, where replicas listen"},
    {"port_min", BERTH_SETTING_INT, 1, 65535, "21000", "first port for replicas"},
    {"port_max", BERTH_SETTING_INT, 1, 65535, "29999", "last port for replicas"},
    {"stop_timeout_ms", BERTH_SETTING_INT, 0, 3600000, "10000",
     "between asking a container to end and killing it"},
    {"health_interval_ms", BERTH_SETTING_INT, 100, 3600000, "5000",
     "between two looks at a replica that is ready"},
    {0},
};

static const char *
text_of(const struct berth_json *root, const char *key, const char *dflt)
{
    struct berth_slice s;

    if (!berth_json_string(berth_json_get(root, key), &s) || s.len == 0)
        return dflt;
    return s.at;
}

static uint64_t
uint_of(const struct berth_json *root, const char *key, uint64_t dflt)
{
    uint64_t v;

    return berth_json_uint(berth_json_get(root, key), &v) ? v : dflt;
}

static int
pull_of(const char *text, enum berth_docker_pull *ret, struct berth_err *e)
{
    if (strcmp(text, "missing") == 0)
        *ret = BERTH_DOCKER_PULL_MISSING;
    else if (strcmp(text, "never") == 0)
        *ret = BERTH_DOCKER_PULL_NEVER;
    else if (strcmp(text, "always") == 0)
        *ret = BERTH_DOCKER_PULL_ALWAYS;
    else
        return berth_err_set(e, BERTH_EINVAL,
                             "docker: pull \"%.40s\": is \"missing\", \"never\" or \"always\"",
                             text);
    return 0;
}

/* Letters, digits, '.', '-' and '_': of labels, networks and users. */
static bool
is_word(const char *text, const char *also)
{
    if (text[0] == '\0' || strlen(text) > 128)
        return false;
    for (const char *at = text; *at != '\0'; at++)
        if (!((*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') ||
              (*at >= '0' && *at <= '9') || strchr(also, *at) != NULL))
            return false;
    return true;
}

int
berth_docker_conf_read(const char *settings_json, const char *owner, struct berth_arena *a,
                       struct berth_docker_conf *ret, struct berth_err *e)
{
    const char *from_env = getenv("DOCKER_HOST");
    const struct berth_json *root = NULL;
    struct berth_docker_conf c = {0};
    int r = berth_json_parse(a, settings_json, strlen(settings_json), NULL, &root, e);

    if (r < 0)
        return berth_err_wrap(e, r, "docker: settings");
    c.host =
        text_of(root, "host",
                from_env != NULL && from_env[0] != '\0' ? from_env : "unix:///var/run/docker.sock");
    c.host = berth_arena_strdup(a, c.host); /* the environment may change */
    c.cert_dir = text_of(root, "cert_dir", NULL);
    c.network = text_of(root, "network", "bridge");
    c.image = text_of(root, "image", NULL);
    c.registry_auth = text_of(root, "registry_auth", NULL);
    c.label_prefix = text_of(root, "label_prefix", "berth");
    c.address = text_of(root, "address", "127.0.0.1");
    c.stop_ns = uint_of(root, "stop_timeout_ms", 10000) * BERTH_MS;
    c.health_ns = uint_of(root, "health_interval_ms", 5000) * BERTH_MS;
    c.owner = berth_arena_strdup(a, owner);
    const uint64_t least = uint_of(root, "port_min", 21000);
    const uint64_t most = uint_of(root, "port_max", 29999);
    r = pull_of(text_of(root, "pull", "missing"), &c.pull, e);
    if (r < 0)
        return r;
    if (c.host == NULL || c.owner == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "docker: out of memory");
    if (least == 0 || least > most || most > 65535)
        return berth_err_set(e, BERTH_EINVAL, "docker: port_min %llu to port_max %llu: no range",
                             (unsigned long long)least, (unsigned long long)most);
    if (!is_word(c.label_prefix, ".-_") || !is_word(c.network, ".-_"))
        return berth_err_set(e, BERTH_EINVAL,
                             "docker: label_prefix and network are letters, digits, '.', '-', '_'");
    if (!is_word(c.address, ".:"))
        return berth_err_set(e, BERTH_EINVAL, "docker: address %.60s is no IP address", c.address);
    c.port_min = (uint16_t)least;
    c.port_max = (uint16_t)most;
    *ret = c;
    return 0;
}

/* ---- a service's own settings ---- */

static const char *const unit_keys[] = {"network", "pull",      "image", "user",
                                        "runtime", "shm_bytes", NULL};

static int
check_keys(const struct berth_json *root, struct berth_err *e)
{
    for (struct berth_json_iter it = berth_json_iter(root); berth_json_next(&it);) {
        const char *const *key = unit_keys;
        uint64_t n;

        while (*key != NULL && !berth_slice_is(it.key, *key))
            key++;
        if (*key == NULL)
            return berth_err_set(e, BERTH_EINVAL,
                                 "shimletConfig.%.*s is not known to docker: network, pull, image, "
                                 "user, runtime and shm_bytes are",
                                 (int)(it.key.len < 64 ? it.key.len : 64), it.key.at);
        if (strcmp(*key, "shm_bytes") == 0 ? !berth_json_uint(it.value, &n)
                                           : berth_json_type(it.value) != BERTH_JSON_STRING)
            return berth_err_set(e, BERTH_EINVAL, "shimletConfig.%s is %s", *key,
                                 berth_json_type_name(it.value));
    }
    return 0;
}

/* The folder to mount: the model's own, as a model may have several files. */
static int
model_dir(const char *path, struct berth_arena *a, const char **ret, struct berth_err *e)
{
    *ret = NULL;
    if (path == NULL)
        return 0;
    const size_t len = berth_model_dir_len(path);
    if (path[0] != '/' || len == 0)
        return berth_err_set(e, BERTH_EINVAL,
                             "model path %.200s: a container sees the model's folder at the same "
                             "path: it must be absolute, and not /",
                             path);
    *ret = berth_arena_strndup(a, path, len);
    return *ret == NULL ? berth_err_set(e, BERTH_ENOMEM, "docker: out of memory") : 0;
}

static int
check_accelerator(const struct berth_unit *u, struct berth_err *e)
{
    const char *r = u->accelerator_resource;

    if (u->accelerator_count == 0 || r == NULL || strncmp(r, "nvidia.com/", 11) == 0 ||
        strncmp(r, "amd.com/", 8) == 0 || strncmp(r, "gpu.intel.com/", 14) == 0)
        return 0;
    return berth_err_set(e, BERTH_EUNSUPPORTED,
                         "docker: how to give %.60s to a container is not known; nvidia.com, "
                         "amd.com and gpu.intel.com are",
                         r);
}

int
berth_docker_plan_make(const struct berth_docker_conf *conf, const struct berth_unit *u,
                       struct berth_arena *a, struct berth_docker_plan *ret, struct berth_err *e)
{
    const char *json = u->settings_json != NULL ? u->settings_json : "{}";
    const struct berth_json *root = NULL;
    struct berth_docker_plan p = {.conf = conf, .u = u, .pull = conf->pull};
    int r = berth_json_parse(a, json, strlen(json), NULL, &root, e);

    if (r < 0)
        return berth_err_wrap(e, r, "shimletConfig");
    r = check_keys(root, e);
    if (r == 0 && berth_json_get(root, "pull") != NULL)
        r = pull_of(text_of(root, "pull", "missing"), &p.pull, e);
    if (r == 0)
        r = model_dir(u->model_path, a, &p.model_dir, e);
    if (r == 0)
        r = check_accelerator(u, e);
    if (r < 0)
        return r;
    p.image = text_of(root, "image", u->image != NULL ? u->image : conf->image);
    p.network = text_of(root, "network", conf->network);
    p.user = text_of(root, "user", NULL);
    p.runtime = text_of(root, "runtime", NULL);
    p.shm_bytes = uint_of(root, "shm_bytes", 0);
    p.host_network = strcmp(p.network, "host") == 0;
    if (p.image == NULL)
        return berth_err_set(e, BERTH_EINVAL,
                             "docker: which image? Set the service's \"image\", or the shimlet's");
    if (!is_word(p.network, ".-_") || (p.user != NULL && !is_word(p.user, ".-_:")) ||
        (p.runtime != NULL && !is_word(p.runtime, ".-_")))
        return berth_err_set(e, BERTH_EINVAL,
                             "shimletConfig: network, user and runtime are letters, digits, '.', "
                             "'-' and '_'");
    if (u->cpu_milli > CPU_MILLI_MAX || u->memory_bytes > INT64_MAX)
        return berth_err_set(e, BERTH_EINVAL, "docker: more cores or memory than any machine has");
    if (p.host_network && u->port != 0 && u->replicas > 1)
        return berth_err_set(e, BERTH_EINVAL,
                             "port %u can be had by one replica alone on the host's network, and "
                             "%u are wanted: leave port out, or set shimletConfig.network to "
                             "\"bridge\"",
                             u->port, u->replicas);
    *ret = p;
    return 0;
}
