#ifndef BERTH_HOST_H
#define BERTH_HOST_H

#include <berth/backend.h>

/* What backends may call: to be given to berth_plugins_new().  Static storage. */
const struct berth_host *berth_host_calls(void);

#endif
