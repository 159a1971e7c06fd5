#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "shimlets/process/process_priv.h"

/*
 * A replica writes its output into its log file itself, so that nobody has to be there to take it.
 * To keep it bounded its oldest blocks are given back to the file system (a hole is punched): what
 * follows stays where it is, and a reader who follows loses no line.
 */
enum { BLOCK = 4096, LINE_MAX_BYTES = 64 * 1024, LAST_BYTES = 2048, LAST_LINES = 3 };

static int
open_log(const struct berth_shimlet *s, const char *unit, const char *id, int flags)
{
    char path[PROCESS_PATH_MAX];

    process_path(s, unit, id, ".log", path);
    return open(path, flags | O_CLOEXEC);
}

/* Where what is kept begins. */
static off_t
first_byte(int fd)
{
    const off_t at = lseek(fd, 0, SEEK_DATA);

    return at >= 0 ? at : 0;
}

void
process_log_trim(const struct berth_shimlet *s, const struct process_replica *r)
{
    BERTH_AUTO_CLOSE int fd = open_log(s, r->unit->name, r->rec.id, O_RDWR);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return;
    const off_t first = first_byte(fd);
    if ((uint64_t)(st.st_size - first) <= s->conf.log_bytes_max)
        return;
    const off_t keep = (off_t)(s->conf.log_bytes_max / 2);
    const off_t until = (st.st_size - keep) / BLOCK * BLOCK;
    if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, until) < 0)
        (void)ftruncate(fd, 0); /* a file system that cannot: all of it goes */
}

/* Read from `at` on, up to cap bytes. */
static size_t
read_at(int fd, off_t at, char *to, size_t cap)
{
    size_t n = 0;

    while (n < cap) {
        const ssize_t got = pread(fd, to + n, cap - n, at + (off_t)n);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    return n;
}

void
process_log_last(const struct berth_shimlet *s, const struct process_replica *r, char *ret,
                 size_t cap)
{
    BERTH_AUTO_CLOSE int fd = open_log(s, r->unit->name, r->rec.id, O_RDONLY);
    char text[LAST_BYTES + 1];
    struct stat st;
    size_t len = 0;

    ret[0] = '\0';
    if (fd < 0 || fstat(fd, &st) < 0)
        return;
    const off_t from = st.st_size > LAST_BYTES ? st.st_size - LAST_BYTES : 0;
    size_t n = read_at(fd, from, text, LAST_BYTES);
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r'))
        n--;
    text[n] = '\0';
    const char *at = text + n;
    for (int lines = 0; at > text; at--) {
        if (at[-1] == '\n' && ++lines == LAST_LINES)
            break;
    }
    /* The end matters most; what people may not see on a terminal is left out. */
    const size_t room = cap - 2 - LAST_LINES, have = strlen(at); /* a line's end becomes two */
    if (have > room) {
        at += have - room;
        const char *whole = strchr(at, '\n'); /* half a line says less than none */
        at = whole != NULL ? whole + 1 : at;
    }
    for (; *at != '\0' && len + 2 < cap; at++) {
        if (*at == '\n') {
            ret[len++] = ';';
            ret[len++] = ' ';
        } else if ((unsigned char)*at >= ' ' && (unsigned char)*at < 0x7f) {
            ret[len++] = *at;
        }
    }
    ret[len] = '\0';
}

/* ---- the operation ---- */

/* One replica's log being read. */
struct reader {
    char id[PROCESS_ID_MAX];
    int fd;
    off_t at; /* of the next line */
};

struct reading {
    const struct berth_log_query *q;
    bool (*line)(void *arg, const char *replica, const char *text, size_t len);
    void *arg;
    char *text; /* LINE_MAX_BYTES */
    bool more;
};

/* Every whole line from r->at on; with `rest` also what has no end yet. */
static void
give_lines(struct reading *g, struct reader *r, bool rest)
{
    for (size_t n; g->more && (n = read_at(r->fd, r->at, g->text, LINE_MAX_BYTES)) > 0;) {
        size_t from = 0;

        for (char *end; g->more && (end = memchr(g->text + from, '\n', n - from)) != NULL;) {
            const size_t to = (size_t)(end - g->text);

            g->more = g->line(g->arg, r->id, g->text + from, to - from);
            from = to + 1;
        }
        if (g->more && from == 0 && (rest || n == LINE_MAX_BYTES)) { /* too long: in pieces */
            g->more = g->line(g->arg, r->id, g->text, n);
            from = n;
        }
        if (from == 0)
            return;
        r->at += (off_t)from;
    }
}

/* Set r->at to the last `lines` lines, or to the first one that is kept whole. */
static void
seek_tail(struct reading *g, struct reader *r, uint32_t lines)
{
    const off_t first = first_byte(r->fd);
    off_t end = lseek(r->fd, 0, SEEK_END), at = end;
    uint64_t seen = 0;

    r->at = first;
    if (first > 0) { /* the first line lost its beginning */
        const size_t n = read_at(r->fd, first, g->text, LINE_MAX_BYTES);
        const char *next = memchr(g->text, '\n', n);

        r->at = next != NULL ? first + (next - g->text) + 1 : end;
    }
    while (lines > 0 && at > r->at) {
        const off_t from = at - r->at > LINE_MAX_BYTES ? at - LINE_MAX_BYTES : r->at;
        const size_t n = read_at(r->fd, from, g->text, (size_t)(at - from));

        for (size_t i = n; i-- > 0;) {
            /* The end of the very last line begins none. */
            if (g->text[i] == '\n' && from + (off_t)i + 1 < end && ++seen == lines) {
                r->at = from + (off_t)i + 1;
                return;
            }
        }
        at = from;
    }
}

/* The logs that are asked for and not open yet. */
static size_t
open_readers(struct berth_shimlet *s, struct reading *g, const char *unit, struct reader *readers,
             size_t n)
{
    (void)pthread_mutex_lock(&s->machine->mu);
    const struct process_unit *u = process_unit_find(s, unit);
    for (const struct process_replica *r = u != NULL ? u->replicas : NULL; r != NULL; r = r->next) {
        size_t at = 0;

        if (g->q->replica != NULL && strcmp(g->q->replica, r->rec.id) != 0)
            continue;
        while (at < n && strcmp(readers[at].id, r->rec.id) != 0)
            at++;
        if (at < n || n == PROCESS_REPLICAS_MAX)
            continue;
        const int fd = open_log(s, unit, r->rec.id, O_RDONLY);
        if (fd < 0)
            continue;
        readers[n] = (struct reader){.fd = fd};
        (void)snprintf(readers[n++].id, PROCESS_ID_MAX, "%s", r->rec.id);
    }
    (void)pthread_mutex_unlock(&s->machine->mu);
    return n;
}

static size_t
read_all(struct berth_shimlet *s, const struct berth_op *op, const char *unit_name,
         struct reading *g, struct reader *readers)
{
    size_t n = open_readers(s, g, unit_name, readers, 0);

    for (size_t i = 0; i < n && g->more; i++) {
        seek_tail(g, &readers[i], g->q->tail_lines);
        give_lines(g, &readers[i], !g->q->follow);
    }
    while (g->q->follow && g->more && !s->h->cancelled(op)) {
        (void)nanosleep(&(struct timespec){.tv_nsec = 50 * (long)BERTH_MS}, NULL);
        n = open_readers(s, g, unit_name, readers, n); /* new ones from their beginning */
        for (size_t i = 0; i < n && g->more; i++)
            give_lines(g, &readers[i], false);
    }
    return n;
}

int
process_logs(struct berth_shimlet *s, const struct berth_op *op, const char *unit_name,
             const struct berth_log_query *q,
             bool (*line)(void *arg, const char *replica, const char *text, size_t len), void *arg,
             struct berth_err *e)
{
    BERTH_AUTO_FREE struct reader *readers = calloc(PROCESS_REPLICAS_MAX, sizeof *readers);
    BERTH_AUTO_FREE char *text = malloc(LINE_MAX_BYTES);
    struct reading g = {.q = q, .line = line, .arg = arg, .text = text, .more = true};

    if (readers == NULL || text == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "no memory to read logs");
    const size_t n = read_all(s, op, unit_name, &g, readers);
    for (size_t i = 0; i < n; i++)
        (void)close(readers[i].fd);
    return 0;
}
