#include "cmd/gauges.h"

#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/server.h"
#include "obs/metrics.h"
#include "os/memory.h"

static double
resident_bytes(void)
{
    unsigned long long size = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");

    if (f == NULL)
        return 0;
    if (fscanf(f, "%llu %llu", &size, &resident) !=
        2) /* NOLINT(cert-err34-c): the kernel wrote it */
        resident = 0;
    (void)fclose(f);
    return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

static void
read_gauges(void *arg)
{
    struct berth_gauges *g = arg;
    struct rusage use = {0};

    (void)getrusage(RUSAGE_SELF, &use);
    berth_series_set(g->cpu, (double)use.ru_utime.tv_sec + (double)use.ru_utime.tv_usec / 1e6 +
                                 (double)use.ru_stime.tv_sec + (double)use.ru_stime.tv_usec / 1e6);
    berth_series_set(g->memory, resident_bytes());
    const struct berth_heap heap = berth_memory_heap();
    berth_series_set(g->heap_used, (double)heap.used_bytes);
    berth_series_set(g->heap_kept, (double)heap.kept_bytes);
    berth_series_set(g->uptime, (double)(berth_now_ns() - g->start_ns) / 1e9);
    berth_series_set(g->connections, (double)berth_server_stats(g->server).connections);
}

void
berth_gauges_add(struct berth_gauges *g, struct berth_metrics *m, struct berth_server *server)
{
    static const char *const none[] = {NULL};

    *g = (struct berth_gauges){
        .server = server,
        .connections = berth_metrics_series(m, BERTH_METRIC_CONNECTIONS, none),
        .memory = berth_metrics_series(m, BERTH_METRIC_MEMORY, none),
        .heap_used =
            berth_metrics_series(m, BERTH_METRIC_HEAP, (const char *const[]){"used", NULL}),
        .heap_kept =
            berth_metrics_series(m, BERTH_METRIC_HEAP, (const char *const[]){"kept", NULL}),
        .cpu = berth_metrics_series(m, BERTH_METRIC_CPU_SECONDS, none),
        .uptime = berth_metrics_series(m, BERTH_METRIC_UPTIME, none),
        .start_ns = berth_now_ns(),
    };
    berth_metrics_on_render(m, read_gauges, g);
}
