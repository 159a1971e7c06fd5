#include "shimlets/docker/unit.h"

#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "wire/json.h"
#include "wire/uri.h"

/* ---- names ---- */

const char *
berth_docker_container_name(const struct berth_unit *u, uint32_t index, struct berth_arena *a)
{
    return berth_arena_printf(a, "%s-%.8s-%u", u->name, u->hash, index);
}

/* "PREFIX.KEY" in the arena; NULL: no memory. */
static const char *
label_key(const struct berth_docker_conf *conf, const char *key, struct berth_arena *a)
{
    return berth_arena_printf(a, "%s.%s", conf->label_prefix, key);
}

int
berth_docker_filters(const struct berth_docker_conf *conf, const char *unit_name,
                     struct berth_arena *a, struct berth_buf *out, struct berth_err *e)
{
    struct berth_buf json;
    struct berth_jw w;

    berth_buf_init(&json, a);
    berth_jw_init(&w, &json);
    berth_jw_object(&w);
    berth_jw_key(&w, "label");
    berth_jw_array(&w);
    berth_jw_string(&w, berth_arena_printf(a, "%s.owner=%s", conf->label_prefix, conf->owner));
    if (unit_name != NULL)
        berth_jw_string(&w, berth_arena_printf(a, "%s.unit=%s", conf->label_prefix, unit_name));
    berth_jw_array_end(&w);
    berth_jw_object_end(&w);
    berth_buf_puts(out, "filters=");
    berth_uri_put(out, json.at != NULL ? json.at : "", json.len);
    return json.failed || out->failed ? berth_err_set(e, BERTH_ENOMEM, "docker: out of memory") : 0;
}

const char *
berth_docker_expand(struct berth_arena *a, const char *text, const char *host, uint16_t port,
                    uint32_t index)
{
    struct berth_buf out;

    if (strchr(text, '$') == NULL)
        return text;
    berth_buf_init(&out, a);
    for (const char *at = text; *at != '\0';) {
        if (strncmp(at, "$(PORT)", 7) == 0) {
            berth_buf_printf(&out, "%u", port);
            at += 7;
        } else if (strncmp(at, "$(HOST)", 7) == 0) {
            berth_buf_puts(&out, host);
            at += 7;
        } else if (strncmp(at, "$(REPLICA)", 10) == 0) {
            berth_buf_printf(&out, "%u", index);
            at += 10;
        } else {
            berth_buf_putc(&out, *at);
            at += at[0] == '$' && at[1] == '$' ? 2 : 1;
        }
    }
    return berth_buf_text(&out);
}

uint64_t
berth_docker_stop_s(const struct berth_docker_conf *conf)
{
    return conf->stop_ns / BERTH_S + (conf->stop_ns % BERTH_S > 0);
}

/* ---- the body ---- */

struct writer {
    const struct berth_docker_plan *p;
    struct berth_arena *a;
    struct berth_jw w;
    const char *host; /* to listen on, in the container */
    struct berth_docker_ports ports;
    uint32_t index;
    bool failed;
};

static void
put_text(struct writer *x, const char *text)
{
    const char *full =
        text != NULL ? berth_docker_expand(x->a, text, x->host, x->ports.inner, x->index) : NULL;

    if (full == NULL)
        x->failed = true;
    else
        berth_jw_string(&x->w, full);
}

static void
put_pair(struct writer *x, const char *key, const char *value)
{
    berth_jw_key(&x->w, key);
    berth_jw_string(&x->w, value);
}

static void
put_label(struct writer *x, const char *key, const char *value)
{
    const char *label = label_key(x->p->conf, key, x->a);

    if (label == NULL)
        x->failed = true;
    else
        put_pair(x, label, value);
}

static void
put_label_number(struct writer *x, const char *key, uint64_t n)
{
    char text[24];

    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)n);
    put_label(x, key, text);
}

/* All that is needed to look after a container when nothing but the daemon remembers it. */
static void
put_labels(struct writer *x)
{
    const struct berth_unit *u = x->p->u;

    berth_jw_key(&x->w, "Labels");
    berth_jw_object(&x->w);
    for (size_t i = 0; i < u->label_count; i++)
        put_pair(x, u->labels[i].key, u->labels[i].value);
    put_label(x, "owner", x->p->conf->owner);
    put_label(x, "service", u->service_id);
    put_label(x, "unit", u->name);
    put_label(x, "track", u->track);
    put_label(x, "hash", u->hash);
    put_label(x, "model", u->model_name != NULL ? u->model_name : "");
    put_label_number(x, "revision", u->revision);
    put_label_number(x, "replica", x->index);
    put_label_number(x, "port", x->ports.outer);
    put_label_number(x, "cpu_milli", u->cpu_milli);
    put_label_number(x, "memory_bytes", u->memory_bytes);
    put_label_number(x, "accelerators", u->accelerator_count);
    put_label_number(x, "start_ms", u->start_timeout_ns / BERTH_MS);
    put_label_number(x, "drain_ms", u->drain_timeout_ns / BERTH_MS);
    if (u->health_path != NULL)
        put_label(x, "health", u->health_path);
    if (u->spec_json != NULL)
        put_label(x, "spec", u->spec_json);
    berth_jw_object_end(&x->w);
}

static void
put_command(struct writer *x)
{
    const struct berth_unit *u = x->p->u;

    if (u->command != NULL &&
        u->command[0] != NULL) { /* the image's own entry point is not asked */
        berth_jw_key(&x->w, "Entrypoint");
        berth_jw_array(&x->w);
        put_text(x, u->command[0]);
        berth_jw_array_end(&x->w);
        berth_jw_key(&x->w, "Cmd");
        berth_jw_array(&x->w);
        for (size_t i = 1; u->command[i] != NULL; i++)
            put_text(x, u->command[i]);
        berth_jw_array_end(&x->w);
    }
    berth_jw_key(&x->w, "Env");
    berth_jw_array(&x->w);
    for (size_t i = 0; i < u->env_count; i++)
        put_text(x, berth_arena_printf(x->a, "%s=%s", u->env[i].key, u->env[i].value));
    berth_jw_array_end(&x->w);
}

static void
put_device(struct writer *x, const char *path)
{
    berth_jw_object(&x->w);
    put_pair(x, "PathOnHost", path);
    put_pair(x, "PathInContainer", path);
    put_pair(x, "CgroupPermissions", "rwm");
    berth_jw_object_end(&x->w);
}

static void
put_accelerators(struct writer *x)
{
    const struct berth_unit *u = x->p->u;
    const char *resource =
        u->accelerator_resource != NULL ? u->accelerator_resource : "nvidia.com/gpu";

    if (u->accelerator_count == 0)
        return;
    if (strncmp(resource, "nvidia.com/", 11) == 0) {
        berth_jw_key(&x->w, "DeviceRequests");
        berth_jw_array(&x->w);
        berth_jw_object(&x->w);
        put_pair(x, "Driver", "nvidia");
        berth_jw_key(&x->w, "Count");
        berth_jw_uint(&x->w, u->accelerator_count);
        berth_jw_key(&x->w, "Capabilities");
        berth_jw_array(&x->w);
        berth_jw_array(&x->w);
        berth_jw_string(&x->w, "gpu");
        berth_jw_array_end(&x->w);
        berth_jw_array_end(&x->w);
        berth_jw_object_end(&x->w);
        berth_jw_array_end(&x->w);
        return;
    }
    /* The others have no driver that counts: all devices of the kind are given. */
    berth_jw_key(&x->w, "Devices");
    berth_jw_array(&x->w);
    if (strncmp(resource, "amd.com/", 8) == 0)
        put_device(x, "/dev/kfd");
    put_device(x, "/dev/dri");
    berth_jw_array_end(&x->w);
}

static void
put_network(struct writer *x, const char *inner)
{
    char outer[8];

    put_pair(x, "NetworkMode", x->p->network);
    if (x->p->host_network)
        return;
    (void)snprintf(outer, sizeof outer, "%u", x->ports.outer);
    berth_jw_key(&x->w, "PortBindings");
    berth_jw_object(&x->w);
    berth_jw_key(&x->w, inner);
    berth_jw_array(&x->w);
    berth_jw_object(&x->w);
    put_pair(x, "HostIp", x->p->conf->address);
    put_pair(x, "HostPort", outer);
    berth_jw_object_end(&x->w);
    berth_jw_array_end(&x->w);
    berth_jw_object_end(&x->w);
}

static void
put_mount(struct writer *x)
{
    if (x->p->model_dir == NULL)
        return;
    berth_jw_key(&x->w, "Mounts"); /* unlike Binds, a folder that is missing is an error */
    berth_jw_array(&x->w);
    berth_jw_object(&x->w);
    put_pair(x, "Type", "bind");
    put_pair(x, "Source", x->p->model_dir);
    put_pair(x, "Target", x->p->model_dir);
    berth_jw_key(&x->w, "ReadOnly");
    berth_jw_bool(&x->w, true);
    berth_jw_object_end(&x->w);
    berth_jw_array_end(&x->w);
}

/* The daemon restarts what crashes, with a back-off of its own, also when it was restarted itself
 * or the machine was; what a person stopped stays stopped until the next round. */
static void
put_restarts_and_logs(struct writer *x)
{
    berth_jw_key(&x->w, "RestartPolicy");
    berth_jw_object(&x->w);
    put_pair(x, "Name", "unless-stopped");
    berth_jw_object_end(&x->w);
    berth_jw_key(&x->w, "LogConfig"); /* kept on the disk, so they have a bound */
    berth_jw_object(&x->w);
    put_pair(x, "Type", "json-file");
    berth_jw_key(&x->w, "Config");
    berth_jw_object(&x->w);
    put_pair(x, "max-size", "16m");
    put_pair(x, "max-file", "2");
    berth_jw_object_end(&x->w);
    berth_jw_object_end(&x->w);
    berth_jw_key(&x->w, "SecurityOpt");
    berth_jw_array(&x->w);
    berth_jw_string(&x->w, "no-new-privileges");
    berth_jw_array_end(&x->w);
}

static void
put_host_config(struct writer *x, const char *inner)
{
    const struct berth_unit *u = x->p->u;

    berth_jw_key(&x->w, "HostConfig");
    berth_jw_object(&x->w);
    put_network(x, inner);
    put_mount(x);
    put_restarts_and_logs(x);
    if (u->cpu_milli > 0) {
        berth_jw_key(&x->w, "NanoCpus");
        berth_jw_uint(&x->w, u->cpu_milli * 1000000);
    }
    if (u->memory_bytes > 0) {
        berth_jw_key(&x->w, "Memory");
        berth_jw_uint(&x->w, u->memory_bytes);
        berth_jw_key(&x->w, "MemorySwap"); /* the same: no swap */
        berth_jw_uint(&x->w, u->memory_bytes);
    }
    if (x->p->shm_bytes > 0) {
        berth_jw_key(&x->w, "ShmSize");
        berth_jw_uint(&x->w, x->p->shm_bytes);
    }
    if (x->p->runtime != NULL)
        put_pair(x, "Runtime", x->p->runtime);
    put_accelerators(x);
    berth_jw_object_end(&x->w);
}

int
berth_docker_body(const struct berth_docker_plan *p, uint32_t index,
                  struct berth_docker_ports ports, struct berth_arena *a, struct berth_buf *out,
                  struct berth_err *e)
{
    struct writer x = {.p = p, .a = a, .ports = ports, .index = index};
    char inner[16];

    x.host = p->host_network ? p->conf->address : "0.0.0.0";
    (void)snprintf(inner, sizeof inner, "%u/tcp", ports.inner);
    berth_jw_init(&x.w, out);
    berth_jw_object(&x.w);
    put_pair(&x, "Image", p->image);
    if (p->user != NULL)
        put_pair(&x, "User", p->user);
    put_command(&x);
    put_labels(&x);
    if (!p->host_network) {
        berth_jw_key(&x.w, "ExposedPorts");
        berth_jw_object(&x.w);
        berth_jw_key(&x.w, inner);
        berth_jw_object(&x.w);
        berth_jw_object_end(&x.w);
        berth_jw_object_end(&x.w);
    }
    put_host_config(&x, inner);
    berth_jw_object_end(&x.w);
    return x.failed || out->failed ? berth_err_set(e, BERTH_ENOMEM, "docker: out of memory") : 0;
}
