#include "shimlets/render.h"

#include "base/buf.h"
#include "wire/json.h"

int
berth_shimlet_render(const char *kind, const struct berth_unit *u,
                     void (*text)(void *arg, const char *json, size_t len), void *arg,
                     struct berth_err *e)
{
    struct berth_buf b;
    struct berth_jw w;

    berth_buf_init(&b, NULL);
    berth_jw_init(&w, &b);
    berth_jw_array(&w);
    berth_jw_object(&w);
    berth_jw_key(&w, "kind");
    berth_jw_string(&w, kind);
    berth_jw_key(&w, "name");
    berth_jw_string(&w, u->name);
    berth_jw_key(&w, "replicas");
    berth_jw_uint(&w, u->replicas);
    berth_jw_key(&w, "command");
    berth_jw_array(&w);
    for (size_t i = 0; u->command != NULL && u->command[i] != NULL; i++)
        berth_jw_string(&w, u->command[i]);
    berth_jw_array_end(&w);
    berth_jw_key(&w, "env"); /* names alone: values may be secrets */
    berth_jw_array(&w);
    for (size_t i = 0; i < u->env_count; i++)
        berth_jw_string(&w, u->env[i].key);
    berth_jw_array_end(&w);
    berth_jw_key(&w, "cpuMilli");
    berth_jw_uint(&w, u->cpu_milli);
    berth_jw_key(&w, "memoryBytes");
    berth_jw_uint(&w, u->memory_bytes);
    berth_jw_key(&w, "healthPath");
    berth_jw_string(&w, u->health_path);
    berth_jw_object_end(&w);
    berth_jw_array_end(&w);
    const int r = b.failed ? berth_err_set(e, BERTH_ENOMEM, "no memory to render %s", u->name) : 0;
    if (r == 0)
        text(arg, b.at, b.len);
    berth_buf_fini(&b);
    return r;
}
