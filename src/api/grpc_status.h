#ifndef BERTH_API_GRPC_STATUS_H
#define BERTH_API_GRPC_STATUS_H

#include "api/errors.h"
#include "base/buf.h"

/*
 * The value of grpc-status-details-bin for a fault: a google.rpc.Status in base64, with an
 * ErrorInfo (reason: the code that REST's clients see; domain "berth"; metadata request_id) and,
 * where the field at fault is known, a BadRequest.  NUL-ended; b->failed when it did not fit.
 * Pure.
 */
void berth_grpc_details_put(struct berth_buf *b, const struct berth_fault *f,
                            const char *request_id);

#endif
