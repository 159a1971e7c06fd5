#include <proto/inference.pb-c.h>

#include "api/api_priv.h"
#include "api/call.h"
#include "api/grpc.h"
#include "api/grpc_pb.h"
#include "api/shm.h"
#include "api/v2_grpc.h"
#include "base/arena.h"

/* inference.GRPCInferenceService: system shared memory. */

typedef Inference__SystemSharedMemoryStatusResponse__RegionsEntry Entry;
typedef Inference__SystemSharedMemoryStatusResponse__RegionStatus Status;

/* One region's messages, so that they are allocated as one. */
struct region {
    Entry entry;
    Status status;
};

void
berth_v2_grpc_shm_status(struct berth_grpc *g, struct berth_slice message)
{
    struct berth_call *c = berth_grpc_call(g);
    const Inference__SystemSharedMemoryStatusRequest *asked =
        berth_grpc_unpack(g, &inference__system_shared_memory_status_request__descriptor, message);
    Inference__SystemSharedMemoryStatusResponse answer =
        INFERENCE__SYSTEM_SHARED_MEMORY_STATUS_RESPONSE__INIT;
    struct berth_shm_info *list;
    struct berth_err e;
    size_t n;
    int r;

    if (asked == NULL)
        return;
    r = berth_shm_list(c->api->shm, c->arena, berth_slice_of(asked->name), &list, &n, &e);
    if (r < 0) {
        berth_call_fail(c, r, NULL, e.msg);
        return;
    }
    struct region *regions = BERTH_NEW_N(c->arena, struct region, n);
    answer.regions = BERTH_NEW_N(c->arena, Entry *, n);
    if (regions == NULL || answer.regions == NULL) {
        berth_grpc_end(g, -BERTH_ENOMEM, "the answer is larger than its memory limit");
        return;
    }
    for (size_t i = 0; i < n; i++) {
        Entry *entry = &regions[i].entry;
        Status *status = &regions[i].status;

        inference__system_shared_memory_status_response__regions_entry__init(entry);
        inference__system_shared_memory_status_response__region_status__init(status);
        entry->key = status->name = berth_pb_text(list[i].name);
        entry->value = status;
        status->key = berth_pb_text(list[i].key);
        status->offset = list[i].offset;
        status->byte_size = list[i].byte_size;
        answer.regions[i] = entry;
    }
    answer.n_regions = n;
    berth_grpc_reply_pb(g, &answer.base);
}

void
berth_v2_grpc_shm_register(struct berth_grpc *g, struct berth_slice message)
{
    struct berth_call *c = berth_grpc_call(g);
    const Inference__SystemSharedMemoryRegisterRequest *asked = berth_grpc_unpack(
        g, &inference__system_shared_memory_register_request__descriptor, message);
    Inference__SystemSharedMemoryRegisterResponse answer =
        INFERENCE__SYSTEM_SHARED_MEMORY_REGISTER_RESPONSE__INIT;
    struct berth_err e;
    int r;

    if (asked == NULL)
        return;
    const struct berth_shm_info region = {.name = asked->name,
                                          .key = asked->key,
                                          .offset = asked->offset,
                                          .byte_size = asked->byte_size};
    r = berth_shm_register(c->api->shm, &region, &e);
    if (r < 0)
        berth_call_fail(c, r, NULL, e.msg);
    else
        berth_grpc_reply_pb(g, &answer.base);
}

void
berth_v2_grpc_shm_unregister(struct berth_grpc *g, struct berth_slice message)
{
    struct berth_call *c = berth_grpc_call(g);
    const Inference__SystemSharedMemoryUnregisterRequest *asked = berth_grpc_unpack(
        g, &inference__system_shared_memory_unregister_request__descriptor, message);
    Inference__SystemSharedMemoryUnregisterResponse answer =
        INFERENCE__SYSTEM_SHARED_MEMORY_UNREGISTER_RESPONSE__INIT;
    struct berth_err e;
    int r;

    if (asked == NULL)
        return;
    r = berth_shm_unregister(c->api->shm, berth_slice_of(asked->name), &e);
    if (r < 0)
        berth_call_fail(c, r, NULL, e.msg);
    else
        berth_grpc_reply_pb(g, &answer.base);
}
