#include "api/v2_shm.h"

#include <stdio.h>
#include <string.h>

#include "api/api_priv.h"
#include "api/fields.h"
#include "api/shm.h"
#include "api/v2_tensor.h"
#include "base/arena.h"

/* Triton's system shared memory extension: tensors, and /v2/systemsharedmemory. */

int
berth_v2_shm_fetch(struct berth_shm *t, struct berth_arena *a, struct berth_v2_infer *asked,
                   struct berth_err *e)
{
    for (size_t i = 0; asked->shm != NULL && i < asked->input_count; i++) {
        const struct berth_shm_span *from = &asked->shm[i];
        struct berth_tensor *to = &asked->inputs[i];
        char path[48];
        void *at;
        int r;

        if (from->region == NULL)
            continue;
        (void)snprintf(path, sizeof path, "inputs[%zu]", i);
        at = berth_arena_alloc_raw(a, from->size);
        if (at == NULL)
            return berth_err_set(e, BERTH_ENOMEM, "%s: %llu bytes are more than a request may have",
                                 path, (unsigned long long)from->size);
        if ((r = berth_shm_read(t, from, at, e)) < 0)
            return berth_err_wrap(e, r, "%s", path);
        to->bytes = from->size > 0 ? at : NULL;
        to->size = from->size;
        if ((r = berth_tensor_check_bytes(to, path, e)) < 0)
            return berth_v2_name_in_error(r, to->name, e);
    }
    for (size_t i = 0; i < asked->output_count; i++) {
        struct berth_shm_span *to = &asked->outputs[i].shm;
        const int r = to->region != NULL ? berth_shm_hold(t, a, to, e) : 0;

        if (r < 0)
            return berth_err_wrap(e, r, "outputs[%zu]", i);
    }
    return 0;
}

int
berth_v2_shm_put(struct berth_shm *t, struct berth_v2_infer *asked,
                 const struct berth_v2_answer *from, struct berth_err *e)
{
    int r = 0;

    for (size_t i = 0; i < asked->output_count && r == 0; i++) {
        struct berth_v2_output *o = &asked->outputs[i];

        for (size_t k = 0; k < from->output_count && o->shm.region != NULL && r == 0; k++) {
            const struct berth_tensor *output = &from->outputs[k];
            if (strcmp(output->name, o->name) != 0)
                continue;
            if (output->size > o->shm.size)
                return berth_err_set(e, BERTH_EINVAL,
                                     "shared memory size specified with the request for output "
                                     "'%s' (%llu bytes) should be at least %zu bytes to hold the "
                                     "results",
                                     o->name, (unsigned long long)o->shm.size, output->size);
            o->shm.size = output->size;
            r = berth_shm_write(t, &o->shm, output->bytes, e);
        }
    }
    return r;
}

/* ---- /v2/systemsharedmemory ---- */

void
berth_v2_shm_status(struct berth_call *c)
{
    struct berth_shm_info *list;
    struct berth_err e;
    struct berth_buf b;
    struct berth_jw w;
    size_t n;
    const int r = berth_shm_list(c->api->shm, c->arena, c->version, &list, &n, &e);

    if (r < 0) {
        berth_call_fail(c, r, NULL, e.msg);
        return;
    }
    berth_buf_init(&b, c->arena);
    berth_jw_init(&w, &b);
    berth_jw_array(&w);
    for (size_t i = 0; i < n; i++) {
        berth_jw_object(&w);
        berth_jw_key(&w, "name");
        berth_jw_string(&w, list[i].name);
        berth_jw_key(&w, "key");
        berth_jw_string(&w, list[i].key);
        berth_jw_key(&w, "offset");
        berth_jw_uint(&w, list[i].offset);
        berth_jw_key(&w, "byte_size");
        berth_jw_uint(&w, list[i].byte_size);
        berth_jw_object_end(&w);
    }
    berth_jw_array_end(&w);
    berth_call_json(c, 200, &b);
}

void
berth_v2_shm_register(struct berth_call *c)
{
    struct berth_shm_info region = {0};
    struct berth_slice key = {"", 0};
    int64_t offset = 0, size = 0;
    struct berth_err e;
    int r;

    if (!berth_call_body(c))
        return;
    struct berth_fields f = berth_fields(c->body, "", &e);
    if ((r = berth_field_string(&f, "key", &key)) < 0 ||
        (r = berth_field_int(&f, "offset", 0, INT64_MAX, &offset)) < 0 ||
        (r = berth_field_int(&f, "byte_size", 1, INT64_MAX, &size)) < 0) {
        berth_call_fail(c, r, f.bad, e.msg);
        return;
    }
    region.name = berth_arena_strndup(c->arena, c->version.at, c->version.len);
    region.key = berth_arena_strndup(c->arena, key.at, key.len);
    region.offset = (uint64_t)offset;
    region.byte_size = (uint64_t)size;
    r = region.name != NULL && region.key != NULL
            ? berth_shm_register(c->api->shm, &region, &e)
            : berth_err_set(&e, BERTH_ENOMEM, "out of memory");
    if (r < 0)
        berth_call_fail(c, r, NULL, e.msg);
    else
        berth_call_reply(c, 200, "application/json", "{}", 2);
}

void
berth_v2_shm_unregister(struct berth_call *c)
{
    struct berth_err e;
    const int r = berth_shm_unregister(c->api->shm, c->version, &e);

    if (r < 0)
        berth_call_fail(c, r, NULL, e.msg);
    else
        berth_call_reply(c, 200, "application/json", "{}", 2);
}
