#ifndef BERTH_API_PROTO_SETS_H
#define BERTH_API_PROTO_SETS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

/*
 * The program's own .proto files, as descriptors in wire form (google/protobuf/descriptor.proto).
 * They are constant, small and trusted, and looked through where they lie.  Any thread.
 */

/* for (struct berth_proto_files it = {0}; berth_proto_files_next(&it);) ... it.file: each file
 * once. */
struct berth_proto_files {
    struct berth_slice file; /* a FileDescriptorProto */
    struct berth_slice name, package;
    size_t set_, at_; /* private */
};
bool berth_proto_files_next(struct berth_proto_files *it);

/* The first field of that number in a message: text, or a message.  .len 0: none. */
struct berth_slice berth_proto_bytes(struct berth_slice message, uint32_t number);

/* Where the fields that matter are. */
enum {
    BERTH_FILE_NAME = 1,
    BERTH_FILE_PACKAGE = 2,
    BERTH_FILE_MESSAGE = 4,
    BERTH_FILE_ENUM = 5,
    BERTH_FILE_SERVICE = 6,
    BERTH_NAME = 1, /* of a message, field, enumeration, value, service or method */
    BERTH_MESSAGE_FIELD = 2,
    BERTH_MESSAGE_MESSAGE = 3,
    BERTH_MESSAGE_ENUM = 4,
    BERTH_ENUM_VALUE = 2,
    BERTH_SERVICE_METHOD = 2,
    BERTH_FIELD_NUMBER = 3,
    BERTH_FIELD_LABEL = 4,
    BERTH_FIELD_TYPE = 5,
    BERTH_FIELD_TYPE_NAME = 6,
};

/* The DescriptorProto of a message that stands in a file and not within another message, by its
 * full name ("unimodel.v1.Usage"; a dot in front does not matter).  .len 0: none. */
struct berth_slice berth_proto_message(struct berth_slice full_name);
/* Does the file define the symbol: a message, enumeration, value, service, method or field? */
bool berth_proto_defines(const struct berth_proto_files *file, struct berth_slice symbol);

#endif
