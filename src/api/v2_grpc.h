#ifndef BERTH_API_V2_GRPC_H
#define BERTH_API_V2_GRPC_H

#include "base/buf.h"

struct berth_grpc;

/* The methods of inference.GRPCInferenceService that lie beside v2_grpc.c, whose table names them.
 */

/* v2_grpc_models.c */
void berth_v2_grpc_server_live(struct berth_grpc *g, struct berth_slice message);
void berth_v2_grpc_server_ready(struct berth_grpc *g, struct berth_slice message);
void berth_v2_grpc_server_metadata(struct berth_grpc *g, struct berth_slice message);
void berth_v2_grpc_model_ready(struct berth_grpc *g, struct berth_slice message);
void berth_v2_grpc_model_metadata(struct berth_grpc *g, struct berth_slice message);
void berth_v2_grpc_model_config(struct berth_grpc *g, struct berth_slice message);
void berth_v2_grpc_index(struct berth_grpc *g, struct berth_slice message);
void berth_v2_grpc_load(struct berth_grpc *g, struct berth_slice message);
void berth_v2_grpc_unload(struct berth_grpc *g, struct berth_slice message);
/* v2_grpc_stats.c */
void berth_v2_grpc_stats(struct berth_grpc *g, struct berth_slice message);

#endif
