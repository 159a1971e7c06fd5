#include "conn_feed.h"

/* HTTP/1.1 (and whatever else the first bytes are taken for) on one connection. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    return feed_one("", data, len);
}
