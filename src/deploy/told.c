#include "deploy/deploy_priv.h"

/* What the routes are told of replicas.  Without routes, nobody asks. */

void
berth_deploy_told_routes(struct berth_deploy *d, struct service *s)
{
    (void)d;
    (void)s;
}
