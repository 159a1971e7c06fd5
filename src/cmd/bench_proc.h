#ifndef BERTH_BENCH_PROC_H
#define BERTH_BENCH_PROC_H

#include <stdint.h>
#include <sys/types.h>

enum { BERTH_PROC_TREE_MAX = 4096 };

/* What a process and those that descend from it have used and hold, as /proc says.  CPU time of
 * children that have ended counts once they were waited for. */
struct berth_proc {
    uint64_t cpu_ns;    /* within a clock tick for each process */
    uint64_t rss_bytes; /* pages that processes share count for each */
    uint32_t processes;
};

/* -BERTH_ENOENT: there is no such process; -BERTH_ENOMEM; -BERTH_EIO: no /proc. */
int berth_proc_read(pid_t root, struct berth_proc *ret);

#endif
