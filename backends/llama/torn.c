#include "torn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TORN_MAX = 64, READ_BYTES = 4096, LINE_BYTES = 96 };

/* A signal's handler reaches nothing that is not at file scope. */
static _Atomic uint64_t torn[TORN_MAX]; /* inodes; devices are told differently by some systems */
static atomic_uint torn_len;            /* may pass TORN_MAX: then the later ones are anybody's */
static struct sigaction before;
static uint64_t page_bytes;

struct mapping {
    uint64_t from, to, inode;
    char perms[5];
};

static const char *
number(const char *at, unsigned base, uint64_t *ret)
{
    uint64_t n = 0;

    for (;; at++) {
        const unsigned c = (unsigned char)*at;
        const unsigned digit = c >= '0' && c <= '9'   ? c - '0'
                               : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                                      : base;
        if (digit >= base)
            break;
        n = n * base + digit;
    }
    *ret = n;
    return *at != '\0' ? at + 1 : at; /* after what parts it from the next */
}

/* "7f00-7f10 r--s 00000000 fd:01 1234   /path" */
static struct mapping
parse(const char *line)
{
    struct mapping m = {.from = 0};
    uint64_t unused;

    line = number(line, 16, &m.from);
    line = number(line, 16, &m.to);
    for (size_t i = 0; i < 4 && *line != '\0'; i++)
        m.perms[i] = *line++;
    line = number(*line != '\0' ? line + 1 : line, 16, &unused);
    line = number(line, 16, &unused);
    line = number(line, 16, &unused);
    (void)number(line, 10, &m.inode);
    return m;
}

/* The mapping that an address lies in.  Only calls that a handler may make. */
static bool
find(uint64_t address, struct mapping *ret)
{
    char buf[READ_BYTES], line[LINE_BYTES];
    const int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    size_t len = 0;
    bool found = false;

    for (ssize_t n; fd >= 0 && !found && (n = read(fd, buf, sizeof buf)) > 0;) {
        for (ssize_t i = 0; i < n && !found; i++) {
            if (buf[i] != '\n') {
                if (len + 1 < sizeof line) /* the path's end is cut and not looked at */
                    line[len++] = buf[i];
                continue;
            }
            line[len] = '\0';
            len = 0;
            *ret = parse(line);
            found = address >= ret->from && address < ret->to;
        }
    }
    if (fd >= 0)
        (void)close(fd);
    return found;
}

static void
note(const struct mapping *m)
{
    const unsigned i = atomic_fetch_add(&torn_len, 1);

    if (i < TORN_MAX)
        atomic_store(&torn[i], m->inode);
}

static void
on_bus(int number_of_signal, siginfo_t *why, void *unused)
{
    const int saved = errno;
    const uint64_t page = (uint64_t)(uintptr_t)why->si_addr & ~(page_bytes - 1);
    struct mapping m;
    bool mended = false;

    (void)unused;
    if (why->si_code == BUS_ADRERR && find(page, &m)) {
        mended = memcmp(m.perms, "r--p", 4) == 0 && m.inode == 0; /* another thread was first */
        if (memcmp(m.perms, "r--s", 4) == 0 && m.inode != 0) {
            note(&m); /* before anybody can compute with the zeros */
            /* All of what follows: it lies beyond the file's end too. */
            mended =
                mmap((void *)(uintptr_t)page, m.to - page, PROT_READ,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) != MAP_FAILED;
        }
    }
    if (!mended) /* it comes again at once, to whoever had it before */
        (void)sigaction(number_of_signal, &before, NULL);
    errno = saved;
}

void
berth_torn_watch(void)
{
    struct sigaction ours = {.sa_flags = SA_SIGINFO | SA_RESTART};

    ours.sa_sigaction = on_bus;
    page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
    (void)sigemptyset(&ours.sa_mask);
    (void)sigaction(SIGBUS, &ours, &before);
}

struct berth_torn_file
berth_torn_file(const char *path)
{
    struct berth_torn_file f = {.since = atomic_load(&torn_len),
                                .has_parts = strstr(path, "-of-") != NULL};
    struct stat st;

    if (stat(path, &st) == 0)
        f.inode = st.st_ino;
    return f;
}

bool
berth_torn_is(const struct berth_torn_file *f)
{
    const uint32_t len = atomic_load(&torn_len);

    for (uint32_t i = f->since; i < len; i++) {
        if (f->has_parts || i >= TORN_MAX || atomic_load(&torn[i]) == f->inode)
            return true;
    }
    return false;
}
