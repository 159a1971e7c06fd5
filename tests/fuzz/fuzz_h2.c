#include "conn_feed.h"

/* HTTP/2 frames behind the preface. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    return feed_one("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", data, len);
}
