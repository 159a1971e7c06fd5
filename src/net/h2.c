#include "net/server_priv.h"

bool
berth_h2_open(struct berth_conn *c)
{
    return false;
}

void
berth_h2_free(struct berth_conn *c)
{
}

const struct berth_proto berth_proto_h2 = {0};
