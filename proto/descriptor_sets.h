#ifndef BERTH_PROTO_DESCRIPTOR_SETS_H
#define BERTH_PROTO_DESCRIPTOR_SETS_H

#include <stddef.h>

/* The .proto files of this folder as google.protobuf.FileDescriptorSet, in wire form. */
struct berth_proto_set {
    const char *name; /* "inference.proto"; NULL ends the table */
    const unsigned char *at;
    size_t len;
};

extern const struct berth_proto_set berth_proto_sets[];

#endif
