#ifndef BERTH_WIRE_HEADER_H
#define BERTH_WIRE_HEADER_H

#include "base/buf.h"

/* One field of a head, whatever the protocol. */
struct berth_header {
    struct berth_slice name, value; /* name in lower case; value without blanks around it */
};

#endif
