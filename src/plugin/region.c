#include "plugin/region.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

/* Where things stand in the file.  Sizes are of address space: memory is what was written to. */
#define HEAD_BYTES      ((size_t)64 << 10)
#define RUN_AREA_BYTES  ((size_t)1 << 30)
#define SIDE_AREA_BYTES ((size_t)64 << 20)
#define REGION_BYTES    (HEAD_BYTES + 2 * RUN_AREA_BYTES + 2 * SIDE_AREA_BYTES)
/* What an area keeps of a large message's memory. */
#define KEEP_BYTES ((size_t)16 << 20)
_Static_assert(sizeof(struct berth_region_head) <= HEAD_BYTES, "the head has its place");
enum { SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL };

static size_t
area_at(enum berth_lane_name lane, bool out, size_t *ret_cap)
{
    size_t each = lane == BERTH_LANE_RUN ? RUN_AREA_BYTES : SIDE_AREA_BYTES;
    size_t at = HEAD_BYTES + (lane == BERTH_LANE_RUN ? 0 : 2 * RUN_AREA_BYTES);

    *ret_cap = each;
    return at + (out ? each : 0);
}

struct berth_area
berth_region_in(const struct berth_region *g, enum berth_lane_name lane)
{
    size_t cap, at = area_at(lane, false, &cap);

    return (struct berth_area){g->base + at, cap};
}

struct berth_area
berth_region_out(const struct berth_region *g, enum berth_lane_name lane)
{
    size_t cap, at = area_at(lane, true, &cap);

    return (struct berth_area){g->base + at, cap};
}

static int
map(int fd, struct berth_region *ret)
{
    void *base = mmap(NULL, REGION_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (base == MAP_FAILED)
        return -1;
    (void)madvise(base, REGION_BYTES, MADV_DONTDUMP); /* a core file would be gigabytes of holes */
    *ret = (struct berth_region){.fd = fd, .base = base, .head = base};
    return 0;
}

int
berth_region_new(struct berth_region *ret, struct berth_err *e)
{
    int fd = memfd_create("berth-worker", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd >= 0 && ftruncate(fd, (off_t)REGION_BYTES) == 0 && fcntl(fd, F_ADD_SEALS, SEALS) == 0 &&
        map(fd, ret) == 0)
        return 0;
    int r = berth_err_set(e, BERTH_ENOMEM, "shared memory for a worker: %m");
    if (fd >= 0)
        (void)close(fd);
    return r;
}

int
berth_region_attach(int fd, struct berth_region *ret, struct berth_err *e)
{
    struct stat st;

    if (fstat(fd, &st) < 0 || (size_t)st.st_size != REGION_BYTES ||
        (fcntl(fd, F_GET_SEALS) & SEALS) != SEALS)
        return berth_err_set(e, BERTH_EINVAL, "the shared memory is of another make");
    if (map(fd, ret) < 0)
        return berth_err_set(e, BERTH_ENOMEM, "shared memory: %m");
    return 0;
}

void
berth_region_fini(struct berth_region *g)
{
    if (g->base == NULL)
        return;
    (void)munmap(g->base, REGION_BYTES);
    (void)close(g->fd);
    *g = (struct berth_region){.fd = -1};
}

static void
futex_wait(_Atomic uint32_t *word, uint32_t seen, uint64_t ns)
{
    struct timespec t = {.tv_sec = (time_t)(ns / BERTH_S), .tv_nsec = (long)(ns % BERTH_S)};

    /* Every return is one reason to look again: woken, changed, interrupted, too late. */
    (void)syscall(SYS_futex, word, FUTEX_WAIT, seen, &t, NULL, 0);
}

static void
futex_wake(_Atomic uint32_t *word)
{
    (void)syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void
berth_lane_post(struct berth_lane *l, uint32_t seq)
{
    atomic_store(&l->posted, seq);
    if (atomic_load(&l->worker_sleeps) != 0)
        futex_wake(&l->posted);
}

bool
berth_lane_wait_answer(struct berth_lane *l, uint32_t seq, uint64_t slice_ns)
{
    uint32_t seen = atomic_load(&l->answered);

    if (seen == seq)
        return true;
    atomic_store(&l->server_sleeps, 1);
    if (atomic_load(&l->answered) != seq)
        futex_wait(&l->answered, seen, slice_ns);
    atomic_store(&l->server_sleeps, 0);
    return atomic_load_explicit(&l->answered, memory_order_acquire) == seq;
}

void
berth_lane_stir(struct berth_lane *l)
{
    futex_wake(&l->answered);
}

uint32_t
berth_lane_wait_post(struct berth_lane *l, uint32_t last, uint64_t slice_ns)
{
    if (atomic_load(&l->posted) == last) {
        atomic_store(&l->worker_sleeps, 1);
        if (atomic_load(&l->posted) == last)
            futex_wait(&l->posted, last, slice_ns);
        atomic_store(&l->worker_sleeps, 0);
    }
    return atomic_load_explicit(&l->posted, memory_order_acquire);
}

void
berth_lane_answer(struct berth_lane *l, uint32_t seq)
{
    atomic_store(&l->answered, seq);
    if (atomic_load(&l->server_sleeps) != 0)
        futex_wake(&l->answered);
}

void
berth_region_trim(const struct berth_region *g, enum berth_lane_name lane, size_t in_used,
                  size_t out_used)
{
    const size_t used[2] = {in_used, out_used};

    for (int out = 0; out < 2; out++) {
        size_t cap, at = area_at(lane, out == 1, &cap);
        if (used[out] > KEEP_BYTES)
            (void)fallocate(g->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                            (off_t)(at + KEEP_BYTES), (off_t)(cap - KEEP_BYTES));
    }
}
