#ifndef BERTH_GAUGES_H
#define BERTH_GAUGES_H

#include <stdint.h>

struct berth_metrics;
struct berth_series;
struct berth_server;

/* What the process uses, read whenever the metrics are. */
struct berth_gauges {
    struct berth_server *server;
    struct berth_series *connections, *memory, *heap_used, *heap_kept, *cpu, *uptime;
    uint64_t start_ns;
};

/* g stays until the metrics are freed; the server may go before them only with the listeners. */
void berth_gauges_add(struct berth_gauges *g, struct berth_metrics *m, struct berth_server *server);

#endif
