#include "plugin/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "plugin/child_priv.h"
#include "plugin/control.h"

/*
 * Threads of a worker: the main one listens to the server and never calls the engine but for
 * cancel(), so that it can end the process whatever the engine does; one for each lane.
 */
static const uint64_t lane_slice_ns = 10 * BERTH_S, lonely_steps_max = 64;
enum { EVENT_BYTES_MAX = 64 << 20, RUN_ARENA_BYTES_MAX = 64 << 20, OOM_SCORE = 800 };

/* For the handler below, which is handed nothing else. */
static _Atomic(struct berth_region_head *) fatal_head;

/* A server that has adopted us is not our parent, and would not learn what we died of. */
static void
note_fatal(int number)
{
    struct berth_region_head *head = atomic_load(&fatal_head);

    if (head != NULL)
        atomic_store(&head->fatal_signal, (uint32_t)number);
    (void)raise(number); /* its default action by now: dies here */
}

static void
watch_fatal(void)
{
    static const int numbers[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    struct sigaction act = {.sa_handler = note_fatal, .sa_flags = (int)(SA_RESETHAND | SA_NODEFER)};

    for (size_t i = 0; i < BERTH_COUNT(numbers); i++)
        (void)sigaction(numbers[i], &act, NULL);
}

void
berth_child_die(const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    berth_child_host()->log(BERTH_LOG_ERROR, text);
    _exit(1);
}

/* ---- lanes ---- */

static int64_t
command(struct berth_child *c, uint32_t kind, struct berth_unpack *u)
{
    if (kind != BERTH_COMMAND_LOAD && atomic_load(&c->engine) == NULL)
        return -BERTH_ENOTREADY;
    switch ((enum berth_command)kind) {
    case BERTH_COMMAND_LOAD:
        return berth_child_load(c, u);
    case BERTH_COMMAND_RUN:
        return berth_child_run(c, u);
    case BERTH_COMMAND_STEP:
        return berth_child_step(c, u);
    case BERTH_COMMAND_RESET:
        berth_child_reset(c);
        return 0;
    case BERTH_COMMAND_TOKENIZE:
        break; /* of the other lane */
    }
    return -BERTH_EINVAL;
}

/* The engine works for command seq (0: for none): a cancel() that was meant for it has ended when
 * it does. */
static void
set_working(struct berth_child *c, uint32_t seq)
{
    (void)pthread_mutex_lock(&c->mu);
    atomic_store(&c->run_seq, seq);
    while (c->cancelling > 0)
        (void)pthread_cond_wait(&c->changed, &c->mu);
    atomic_store(&c->run_cancelled, false);
    (void)pthread_mutex_unlock(&c->mu);
}

static uint64_t
cpu_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * BERTH_S + (uint64_t)t.tv_nsec;
}

static void
run_lane_command(struct berth_child *c, struct berth_lane *l, uint32_t seq)
{
    const uint32_t kind = l->command;
    struct berth_unpack u = {.at = c->in.at, .len = l->in_len < c->in.cap ? l->in_len : c->in.cap};
    bool stepping = kind == BERTH_COMMAND_STEP;

    c->answer = (struct berth_pack){.at = c->out.at,
                                    .cap = stepping ? EVENT_BYTES_MAX : BERTH_MESSAGE_BYTES_MAX};
    c->out_used = BERTH_MESSAGE_BYTES_MAX;
    if (l->threads != 0 && l->threads != c->threads && kind != BERTH_COMMAND_LOAD &&
        BERTH_HAS(c->ops, threads)) {
        c->threads = l->threads;
        c->ops->threads(atomic_load(&c->engine), c->threads);
    }
    if (kind == BERTH_COMMAND_RUN)
        set_working(c, seq);
    uint64_t before_ns = l->threads != 0 ? cpu_ns() : 0;
    int64_t r = command(c, kind, &u);
    l->cpu_ns = l->threads != 0 ? cpu_ns() - before_ns : 0;
    if (kind == BERTH_COMMAND_RUN)
        set_working(c, 0);
    if (c->answer.full)
        berth_child_die("an answer is larger than a worker may give");
    l->result = r;
    l->out_len = c->answer.len;
    l->out_used = c->out_used;
    berth_lane_answer(l, seq);
    if (kind != BERTH_COMMAND_LOAD)
        return;
    const struct berth_control told = {BERTH_WORKER_PROTOCOL, BERTH_CONTROL_LOADED, seq};
    (void)pthread_mutex_lock(&c->mu);
    if (c->control_fd >= 0)
        (void)berth_control_send(c->control_fd, &told, NULL);
    (void)pthread_mutex_unlock(&c->mu);
}

static void
side_lane_command(struct berth_child *c, struct berth_lane *l, uint32_t seq)
{
    struct berth_area in = berth_region_in(&c->region, BERTH_LANE_ASIDE),
                      out = berth_region_out(&c->region, BERTH_LANE_ASIDE);
    struct berth_unpack u = {.at = in.at, .len = l->in_len < in.cap ? l->in_len : in.cap};
    struct berth_pack p = {.at = out.at, .cap = out.cap};

    l->result = berth_child_tokenize(c, &u, &p);
    l->out_len = l->out_used = p.len;
    berth_lane_answer(l, seq);
}

/* Sequences of a server that is gone: nobody reads them, but the engine must let go of them. */
static void
forget_sequences(struct berth_child *c)
{
    struct berth_unpack none = {.at = (const unsigned char *)"\0\0\0\0", .len = 4};

    if (c->hand_len == 0 && c->wait_len == 0)
        return;
    for (uint64_t i = 0; i < lonely_steps_max && !BERTH_HAS(c->ops, reset) && c->hand_len > 0;
         i++) {
        c->answer = (struct berth_pack){.at = c->out.at, .cap = EVENT_BYTES_MAX};
        none.pos = 0;
        c->wait_first = NULL;
        (void)berth_child_step(c, &none);
    }
    if (!BERTH_HAS(c->ops, reset) && c->hand_len > 0)
        berth_child_die("the engine does not let go of its sequences");
    berth_child_reset(c);
}

/* Take the region that has come, once nobody uses the old one. */
static void
change_region_locked(struct berth_child *c)
{
    if (c->coming.base == NULL || c->parked < BERTH_LANES)
        return;
    berth_region_fini(&c->region);
    c->region = c->coming;
    c->coming = (struct berth_region){.fd = -1};
    atomic_store(&fatal_head, c->region.head);
    atomic_store(&c->lonely, false);
    c->attached = true;
    (void)pthread_cond_broadcast(&c->changed);
}

/* Stand aside until there is a region to work in. */
static void
park(struct berth_child *c)
{
    (void)pthread_mutex_lock(&c->mu);
    c->parked++;
    change_region_locked(c);
    while (!c->attached)
        (void)pthread_cond_wait(&c->changed, &c->mu);
    c->parked--;
    (void)pthread_mutex_unlock(&c->mu);
}

static void
work_lane(struct berth_child *c, enum berth_lane_name name)
{
    struct berth_lane *l = &c->region.head->lanes[name];
    uint32_t last = 0;

    while (!atomic_load(&c->lonely)) {
        uint32_t seq = berth_lane_wait_post(l, last, lane_slice_ns);
        if (seq == last || atomic_load(&c->lonely))
            continue;
        last = seq;
        if (name == BERTH_LANE_RUN)
            run_lane_command(c, l, seq);
        else
            side_lane_command(c, l, seq);
    }
    if (name == BERTH_LANE_RUN)
        forget_sequences(c);
}

static void *
run_main(void *arg)
{
    struct berth_child *c = arg;

    (void)pthread_setname_np(pthread_self(), "worker-run");
    for (;;) {
        park(c);
        c->in = berth_region_in(&c->region, BERTH_LANE_RUN);
        c->out = berth_region_out(&c->region, BERTH_LANE_RUN);
        work_lane(c, BERTH_LANE_RUN);
    }
    return NULL;
}

static void *
side_main(void *arg)
{
    struct berth_child *c = arg;

    (void)pthread_setname_np(pthread_self(), "worker-side");
    for (;;) {
        park(c);
        work_lane(c, BERTH_LANE_ASIDE);
    }
    return NULL;
}

/* ---- the server ---- */

static void __attribute__((noreturn)) leave(struct berth_child *c, int status)
{
    if (c->listen_fd >= 0)
        (void)unlinkat(c->dir_fd, c->socket_name, 0);
    _exit(status); /* the kernel frees a model faster and more surely than its engine */
}

static void
output_to(int fd)
{
    (void)dup2(fd, STDOUT_FILENO);
    (void)dup2(fd, STDERR_FILENO);
    (void)close(fd);
}

/* What the engine works on is for nobody any more. */
static void
cancel(struct berth_child *c, uint32_t seq)
{
    (void)pthread_mutex_lock(&c->mu);
    uint32_t now = atomic_load(&c->run_seq);
    bool meant = now != 0 && (seq == 0 || seq == now);
    if (meant) {
        c->cancelling++;
        atomic_store(&c->run_cancelled, true);
    }
    (void)pthread_mutex_unlock(&c->mu);
    if (!meant)
        return;
    if (BERTH_HAS(c->ops, cancel))
        c->ops->cancel(atomic_load(&c->engine));
    (void)pthread_mutex_lock(&c->mu);
    c->cancelling--;
    (void)pthread_cond_broadcast(&c->changed);
    (void)pthread_mutex_unlock(&c->mu);
}

static void
lose_server(struct berth_child *c)
{
    (void)pthread_mutex_lock(&c->mu);
    (void)close(c->control_fd);
    c->control_fd = -1;
    bool attached = c->attached;
    c->attached = false;
    berth_region_fini(&c->coming);
    (void)pthread_mutex_unlock(&c->mu);
    if (c->listen_fd < 0 || atomic_load(&c->adopt_ns) == 0 || atomic_load(&c->engine) == NULL)
        leave(c, 0);
    if (c->lonely_ns == 0) /* one that comes and goes does not begin the wait anew */
        c->lonely_ns = berth_now_ns();
    if (!attached)
        return;
    atomic_store(&c->lonely, true);
    int null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (null_fd >= 0)
        output_to(null_fd);
    cancel(c, 0);
    /* Nobody else posts now: a command that is none wakes the lanes, however they wait. */
    for (int i = 0; i < BERTH_LANES; i++) {
        struct berth_lane *l = &c->region.head->lanes[i];
        berth_lane_post(l, atomic_load(&l->posted) ^ 0x80000000u);
    }
}

static void
attach(struct berth_child *c, int fds[BERTH_CONTROL_FDS])
{
    struct berth_region region;
    struct berth_err e;

    if (fds[0] < 0 || berth_region_attach(fds[0], &region, &e) < 0)
        berth_child_die("cannot share memory with the server");
    if (fds[1] >= 0)
        output_to(fds[1]);
    c->lonely_ns = 0;
    (void)pthread_mutex_lock(&c->mu);
    berth_region_fini(&c->coming);
    c->coming = region;
    change_region_locked(c); /* or a lane does, when its run ends; if none does, we are killed */
    (void)pthread_mutex_unlock(&c->mu);
}

static void
hear(struct berth_child *c)
{
    struct berth_control m;
    int fds[BERTH_CONTROL_FDS];
    int r = berth_control_recv(c->control_fd, &m, fds);

    if (r == 0)
        return;
    if (r < 0) {
        lose_server(c);
        return;
    }
    switch ((enum berth_control_kind)m.kind) {
    case BERTH_CONTROL_ATTACH:
        attach(c, fds);
        break;
    case BERTH_CONTROL_CANCEL:
        cancel(c, m.seq);
        break;
    case BERTH_CONTROL_END:
        leave(c, 0);
    case BERTH_CONTROL_LOADED:
        break; /* ours to say */
    }
}

static void
meet(struct berth_child *c)
{
    int fd = berth_control_accept(c->listen_fd);
    pid_t pid;

    if (fd < 0)
        return;
    if (c->control_fd >= 0 || !berth_control_peer(fd, &pid)) { /* served already, or a stranger */
        (void)close(fd);
        return;
    }
    (void)pthread_mutex_lock(&c->mu);
    c->control_fd = fd;
    (void)pthread_mutex_unlock(&c->mu);
}

static int
lonely_left_ms(struct berth_child *c)
{
    uint64_t gone = berth_now_ns() - c->lonely_ns, wait = atomic_load(&c->adopt_ns);

    if (c->lonely_ns == 0)
        return -1;
    if (gone >= wait)
        leave(c, 0);
    return (int)((wait - gone) / BERTH_MS) + 1;
}

static void
serve(struct berth_child *c)
{
    for (;;) {
        struct pollfd fds[2] = {{.fd = c->control_fd, .events = POLLIN},
                                {.fd = c->listen_fd, .events = POLLIN}};
        if (poll(fds, BERTH_COUNT(fds), lonely_left_ms(c)) < 0 && errno != EINTR)
            leave(c, 1);
        if (((fds[0].revents | fds[1].revents) & POLLNVAL) != 0)
            leave(c, 1); /* the engine closed it */
        if (fds[0].revents != 0)
            hear(c);
        if (fds[1].revents != 0)
            meet(c);
    }
}

/* The kernel's choice when memory is short: this process, before the server. */
static void
offer_to_oom_killer(void)
{
    char text[16];
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return;
    int n = snprintf(text, sizeof text, "%d", OOM_SCORE);
    (void)!write(fd, text, (size_t)n); /* refused where it is higher already */
    (void)close(fd);
}

int
berth_child_main(const char *socket_name)
{
    struct berth_child *c = calloc(1, sizeof *c);
    int type;
    socklen_t len = sizeof type;
    pthread_t thread;
    pthread_attr_t attr;

    if (c == NULL)
        return 1;
    if (getsockopt(BERTH_CHILD_CONTROL_FD, SOL_SOCKET, SO_TYPE, &type, &len) < 0 ||
        type != SOCK_SEQPACKET) {
        free(c);
        (void)fputs("berth worker: is started by berth serve, not by hand\n", stderr);
        return 2;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    watch_fatal();
    offer_to_oom_killer();
    c->control_fd = BERTH_CHILD_CONTROL_FD;
    c->dir_fd = c->listen_fd = -1;
    (void)fcntl(c->control_fd, F_SETFD, FD_CLOEXEC);
    if (socket_name != NULL) {
        c->dir_fd = BERTH_CHILD_DIR_FD;
        (void)fcntl(c->dir_fd, F_SETFD, FD_CLOEXEC);
        c->socket_name = socket_name;
        c->listen_fd = berth_control_listen(c->dir_fd, socket_name);
    }
    c->region.fd = c->coming.fd = -1;
    c->wait_last = &c->wait_first;
    berth_arena_init(&c->run_arena, RUN_ARENA_BYTES_MAX);
    (void)pthread_mutex_init(&c->mu, NULL);
    (void)pthread_cond_init(&c->changed, NULL);
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &attr, run_main, c) != 0 ||
        pthread_create(&thread, &attr, side_main, c) != 0)
        berth_child_die("cannot start its threads");
    serve(c);
    return 0;
}
