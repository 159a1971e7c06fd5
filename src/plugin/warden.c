#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "os/process.h"
#include "plugin/workers_priv.h"

/*
 * The warden: one thread that owns every worker's process, socket and output.  It is a controller,
 * hence its lines in the log.
 */
static const uint64_t crash_window_ns = 60 * BERTH_S, backoff_first_ns = 100 * BERTH_MS,
                      backoff_max_ns = 10 * BERTH_S, end_ns_max = 2 * BERTH_S,
                      memory_every_ns = 50 * BERTH_MS, hangup_ns_max = 200 * BERTH_MS;
enum { FDS_EACH = 3, READ_BYTES = 64 << 10, DESCRIBE_BYTES_MAX = 16 << 20 };

static void
move_locked(struct berth_worker *w, enum berth_worker_state next)
{
    static const uint32_t to[BERTH_WORKER_STATE_COUNT] = {
#define X(name, allowed) [BERTH_WORKER_##name] = (allowed),
        BERTH_WORKER_STATES(X)
#undef X
    };

    berth_assert((to[w->state] & (1u << next)) != 0);
    w->state = next;
    (void)pthread_cond_broadcast(&w->changed);
}

void
berth_worker_kill_locked(struct berth_worker *w, const char *why)
{
    if (w->pid == 0)
        return;
    if (w->kill_why[0] == '\0')
        (void)snprintf(w->kill_why, sizeof w->kill_why, "%s", why);
    berth_process_kill(w->pid, w->pid_fd);
}

/* ---- what a worker says ---- */

static void
say(void *arg, enum berth_log_level level, const char *line)
{
    const struct berth_worker *w = arg;

    if (berth_log_wanted(level))
        berth_log(level, "model %s: %s", w->name, line);
}

static void
read_log(struct berth_worker *w, uint64_t now)
{
    char bytes[READ_BYTES];
    uint64_t again;
    size_t room = berth_noise_room(&w->noise, now, &again);

    w->log_at_ns = room == 0 ? again : 0;
    if (room == 0 || w->log_fd < 0)
        return;
    ssize_t n = read(w->log_fd, bytes, room < sizeof bytes ? room : sizeof bytes);
    if (n > 0) {
        berth_noise_put(&w->noise, now, bytes, (size_t)n, say, w);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        (void)close(w->log_fd); /* it closed its output; its life does not depend on that */
        w->log_fd = -1;
    }
}

/* ---- loading ---- */

static void
start(struct berth_worker *w, uint64_t now)
{
    struct berth_err e = {""};

    w->start_by_ns =
        now + (w->all->conf.load_ns_max > 0 ? w->all->conf.load_ns_max : UINT64_MAX / 2);
    (void)pthread_mutex_lock(&w->mu);
    w->kill_why[0] = '\0';
    (void)pthread_mutex_unlock(&w->mu);
    int r = berth_worker_start(w, &e);
    if (r == 0)
        return;
    (void)pthread_mutex_lock(&w->mu);
    (void)snprintf(w->why, sizeof w->why, "%s", e.msg);
    w->load_result = r;
    w->restart_ns = now + backoff_max_ns;
    move_locked(w, w->loaded_once ? BERTH_WORKER_DOWN : BERTH_WORKER_BROKEN);
    (void)pthread_mutex_unlock(&w->mu);
}

/* Look at the answer to a load; 0, or what went wrong. */
static int
take_loaded(struct berth_worker *w, struct berth_err *e)
{
    struct berth_lane *l = &w->region.head->lanes[BERTH_LANE_RUN];
    struct berth_area out = berth_region_out(&w->region, BERTH_LANE_RUN);
    const size_t len = l->out_len;
    const int64_t result = l->result;

    if (atomic_load(&l->answered) != w->load_seq || len > BERTH_MESSAGE_BYTES_MAX)
        return berth_err_set(e, BERTH_EBACKEND, "its worker's answer is malformed");
    unsigned char *copy = malloc(len + 1);
    if (copy == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    memcpy(copy, out.at, len);
    struct berth_unpack u = {.at = copy, .len = len};
    const char *msg = berth_unpack_text(&u, BERTH_MESSAGE_BYTES_MAX);
    int r = 0;
    if (result != 0)
        r = berth_err_set(e, berth_message_failure(result), "%s",
                          u.bad || msg[0] == '\0' ? "its worker gave no reason" : msg);
    struct berth_arena arena;
    berth_arena_init(&arena, DESCRIBE_BYTES_MAX);
    const struct berth_describe *d = r == 0 ? berth_message_get_describe(&u, &arena) : NULL;
    if (r == 0 && d == NULL)
        r = berth_err_set(e, BERTH_EBACKEND, "its worker's description is malformed");
    (void)pthread_mutex_lock(&w->mu);
    w->loaded_bytes = berth_unpack_u64(&u);
    (void)pthread_mutex_unlock(&w->mu);
    free(copy);
    if (r == 0 && w->describe != NULL &&
        (d->tasks != w->describe->tasks || d->input_count != w->describe->input_count ||
         d->output_count != w->describe->output_count ||
         d->sequence_max != w->describe->sequence_max))
        r = berth_err_set(e, BERTH_EBACKEND, "it is another model now; load it again");
    if (r < 0 || w->describe != NULL) {
        berth_arena_fini(&arena);
        return r;
    }
    w->describe_arena = arena;
    w->describe = d;
    return 0;
}

static void
loaded(struct berth_worker *w)
{
    struct berth_err e = {""};
    int r = take_loaded(w, &e);
    char why[sizeof w->why];

    (void)pthread_mutex_lock(&w->mu);
    if (w->state != BERTH_WORKER_STARTING) {
        (void)pthread_mutex_unlock(&w->mu);
        return;
    }
    w->load_result = r;
    if (r < 0) { /* its end is the end of this attempt */
        berth_worker_kill_locked(w, e.msg);
        (void)pthread_mutex_unlock(&w->mu);
        return;
    }
    w->run_seq = w->load_seq;
    w->side_seq = 0;
    w->adopted = w->adopting;
    w->adopting = false;
    w->adopt_tried = true;
    w->restarts += w->loaded_once;
    bool again = w->loaded_once;
    w->loaded_once = true;
    pid_t pid = w->pid;
    bool adopted = w->adopted;
    (void)snprintf(why, sizeof why, "%s", w->why);
    move_locked(w, BERTH_WORKER_READY);
    (void)pthread_mutex_unlock(&w->mu);
    if (again && w->restarted != NULL)
        w->restarted(w->failed_arg, why);
    if (adopted || again)
        berth_info("model %s: its worker (process %d) %s", w->name, (int)pid,
                   adopted ? "was taken over from the server before this one" : "is back");
}

/* ---- ends ---- */

static void
close_fd(int *fd)
{
    berth_closep(fd);
    *fd = -1;
}

/* What of the process is ours to keep goes. */
static void
drop_process_locked(struct berth_worker *w)
{
    berth_noise_end(&w->noise, say, w);
    close_fd(&w->log_fd);
    close_fd(&w->control_fd);
    close_fd(&w->pid_fd);
    w->pid = 0;
    w->memory_at_ns = w->log_at_ns = w->hangup_ns = 0;
    w->socket_name[0] = '\0';
}

/* Count a crash at now_ns; true when there were too many of late. */
static bool
count_crash(struct berth_worker *w, uint64_t now, uint64_t *ret_wait_ns)
{
    uint32_t recent = 1;

    for (uint32_t i = 0; i < BERTH_CRASHES_MAX; i++)
        recent += w->crashes_ns[i] != 0 && now - w->crashes_ns[i] < crash_window_ns;
    w->crashes_ns[w->crash_count++ % BERTH_CRASHES_MAX] = now;
    *ret_wait_ns = 0; /* the first one is started again at once */
    for (uint32_t i = 2; i <= recent; i++)
        *ret_wait_ns = *ret_wait_ns == 0 ? backoff_first_ns : *ret_wait_ns * 2;
    if (*ret_wait_ns > backoff_max_ns)
        *ret_wait_ns = backoff_max_ns;
    return recent >= BERTH_CRASHES_MAX;
}

static void
why_dead(struct berth_worker *w, char *ret, size_t cap)
{
    uint32_t fatal = atomic_load(&w->region.head->fatal_signal);
    char text[128];
    int status = 0;

    if (w->is_child) /* what it left behind; its number is taken until we reap it */
        berth_process_kill(w->pid, w->pid_fd);
    bool known = w->is_child && berth_process_reap(w->pid, &status);
    if (!known && fatal > 0 && fatal < 65) {
        known = true;
        status = (int)fatal; /* as wait() would have it */
    }
    if (w->kill_why[0] != '\0')
        (void)snprintf(ret, cap, "%s", w->kill_why);
    else if (!known)
        (void)snprintf(ret, cap, "its process (%d) is gone", (int)w->pid);
    else
        (void)snprintf(ret, cap, "its process (%d) %s", (int)w->pid,
                       berth_process_status_text(status, text, sizeof text));
}

static void
died(struct berth_worker *w, uint64_t now)
{
    bool broken = false, adopting = w->adopting;
    uint64_t wait_ns = 0;
    char why[400];

    read_log(w, now); /* its last words */
    (void)pthread_mutex_lock(&w->mu);
    why_dead(w, why, sizeof why);
    if (w->socket_name[0] != '\0')
        (void)unlinkat(w->all->dir_fd, w->socket_name, 0);
    drop_process_locked(w);
    if (w->state == BERTH_WORKER_ENDING || adopting) {
        w->adopting = false;
        (void)pthread_mutex_unlock(&w->mu); /* GONE, or started anew, by attend() */
        return;
    }
    broken = !w->loaded_once || count_crash(w, now, &wait_ns);
    if (w->loaded_once && broken)
        (void)snprintf(w->why, sizeof w->why,
                       "%s; that was %d times within %d s: given up until it is loaded again", why,
                       BERTH_CRASHES_MAX, (int)(crash_window_ns / BERTH_S));
    else
        (void)snprintf(w->why, sizeof w->why, "%s", why);
    w->restart_ns = now + wait_ns;
    move_locked(w, broken ? BERTH_WORKER_BROKEN : BERTH_WORKER_DOWN);
    for (int i = 0; i < BERTH_LANES; i++)
        berth_lane_stir(&w->region.head->lanes[i]);
    (void)pthread_mutex_unlock(&w->mu);
    if (w->loaded_once)
        berth_warn("model %s: %s%s", w->name, w->why, broken ? "" : "; it is being started again");
    if (broken && w->loaded_once && w->failed != NULL)
        w->failed(w->failed_arg, w->why);
}

/* Out of the list, then free for unload() to take. */
static void
gone(struct berth_worker *w)
{
    struct berth_workers *all = w->all;
    struct berth_worker **at = &all->first;

    (void)pthread_mutex_lock(&all->mu);
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    all->len--;
    (void)pthread_mutex_unlock(&all->mu);
    (void)pthread_mutex_lock(&w->mu);
    drop_process_locked(w);
    move_locked(w, BERTH_WORKER_GONE);
    (void)pthread_mutex_unlock(&w->mu);
}

/* Somebody asked for its end; true when it has come. */
static bool
end(struct berth_worker *w, uint64_t now)
{
    const struct berth_control bye = {BERTH_WORKER_PROTOCOL, BERTH_CONTROL_END, 0};

    (void)pthread_mutex_lock(&w->mu);
    bool keep = w->state == BERTH_WORKER_READY && atomic_load(&w->all->keep) &&
                w->socket_name[0] != '\0' && w->all->conf.adopt_ns > 0;
    bool over = w->pid == 0 || keep;
    if (!over && w->state != BERTH_WORKER_ENDING) {
        move_locked(w, BERTH_WORKER_ENDING);
        w->end_by_ns = now + end_ns_max;
        if (berth_control_send(w->control_fd, &bye, NULL) < 0)
            w->end_by_ns = now;
    }
    if (!over && now >= w->end_by_ns)
        berth_worker_kill_locked(w, "it did not end when it was told to");
    (void)pthread_mutex_unlock(&w->mu);
    if (over)
        gone(w);
    return over;
}

/* ---- one round ---- */

static void
check_memory(struct berth_worker *w, uint64_t now)
{
    char why[160];

    if (w->memory_bytes_max == 0 || now < w->memory_at_ns)
        return;
    w->memory_at_ns = now + memory_every_ns;
    if (berth_process_resident(w->pid) <= w->memory_bytes_max)
        return;
    uint64_t share = berth_process_share(w->pid); /* without what others use as well */
    if (share <= w->memory_bytes_max)
        return;
    (void)snprintf(
        why, sizeof why, "it took %llu MiB, more than its memory_limit_mb of %llu, and was ended",
        (unsigned long long)(share >> 20), (unsigned long long)(w->memory_bytes_max >> 20));
    (void)pthread_mutex_lock(&w->mu);
    berth_worker_kill_locked(w, why);
    (void)pthread_mutex_unlock(&w->mu);
}

/* An adoption that came to nothing: leave that process alone, and start one of our own. */
static void
give_up_adopting(struct berth_worker *w)
{
    (void)pthread_mutex_lock(&w->mu);
    drop_process_locked(w);
    w->adopting = false;
    (void)pthread_mutex_unlock(&w->mu);
}

static void
hear(struct berth_worker *w)
{
    struct berth_control m;
    int fds[BERTH_CONTROL_FDS];
    int r = berth_control_recv(w->control_fd, &m, fds);

    for (int i = 0; i < BERTH_CONTROL_FDS; i++)
        close_fd(&fds[i]); /* nothing is wanted from a worker */
    if (r == 0)
        return;
    if (r > 0 && m.kind == BERTH_CONTROL_LOADED) {
        if (w->adopting && w->region.head->lanes[BERTH_LANE_RUN].result != 0) {
            const struct berth_control bye = {BERTH_WORKER_PROTOCOL, BERTH_CONTROL_END, 0};
            (void)berth_control_send(w->control_fd, &bye, NULL); /* not what is wanted now */
            give_up_adopting(w);
            return;
        }
        loaded(w);
        return;
    }
    if (w->adopting) {
        give_up_adopting(w);
        return;
    }
    (void)pthread_mutex_lock(&w->mu);
    close_fd(&w->control_fd);
    (void)pthread_mutex_unlock(&w->mu);
    w->hangup_ns = berth_now_ns() + hangup_ns_max; /* as a rule it is dead, and we learn of what */
}

/* It lives, but has closed its end of the socket. */
static void
check_hangup(struct berth_worker *w, uint64_t now)
{
    if (w->hangup_ns == 0 || now < w->hangup_ns)
        return;
    (void)pthread_mutex_lock(&w->mu);
    berth_worker_kill_locked(w, "it closed its connection to the server and was ended");
    (void)pthread_mutex_unlock(&w->mu);
}

static void
check_start(struct berth_worker *w, uint64_t now)
{
    char why[128] = "the server is stopping";
    /* One that is taken over has its model: it is left to the next server. */
    const bool closing = atomic_load(&w->all->closing), gone = atomic_load(&w->unwanted);
    const bool unwanted = (closing || gone) && !w->loaded_once && !w->adopting;

    if (!unwanted && now < w->start_by_ns)
        return;
    if (!unwanted)
        (void)snprintf(why, sizeof why,
                       "it did not load within %llu s (plugins.plugin_timeout_secs) and was ended",
                       (unsigned long long)(w->all->conf.load_ns_max / BERTH_S));
    else if (!closing)
        (void)snprintf(why, sizeof why, "it was unloaded before its load had ended");
    (void)pthread_mutex_lock(&w->mu);
    berth_worker_kill_locked(w, why);
    (void)pthread_mutex_unlock(&w->mu);
}

/* May it be started now?  Not while a call still looks at the region of the last one. */
static bool
may_restart(struct berth_worker *w, uint64_t now)
{
    (void)pthread_mutex_lock(&w->mu);
    bool may = now >= w->restart_ns && w->calls == 0;
    if (may)
        move_locked(w, BERTH_WORKER_STARTING);
    else if (now >= w->restart_ns)
        w->restart_ns = now + BERTH_MS;
    (void)pthread_mutex_unlock(&w->mu);
    return may;
}

static void
attend(struct berth_worker *w, const struct pollfd fds[FDS_EACH], uint64_t now)
{
    if (fds[1].revents != 0 || (w->log_at_ns != 0 && now >= w->log_at_ns))
        read_log(w, now);
    if (fds[0].revents != 0 && w->control_fd == fds[0].fd)
        hear(w);
    if (fds[2].revents != 0 && w->pid_fd == fds[2].fd)
        died(w, now);
    (void)pthread_mutex_lock(&w->mu);
    enum berth_worker_state state = w->state;
    bool end_asked = w->end_asked, alive = w->pid != 0;
    (void)pthread_mutex_unlock(&w->mu);
    if (end_asked && end(w, now))
        return;
    if (alive && state != BERTH_WORKER_ENDING) {
        check_memory(w, now);
        check_hangup(w, now);
    }
    if (end_asked)
        return;
    if ((state == BERTH_WORKER_DOWN && may_restart(w, now)) ||
        (state == BERTH_WORKER_STARTING && !alive))
        start(w, now);
    else if (state == BERTH_WORKER_STARTING)
        check_start(w, now);
}

static void
sooner(uint64_t *at, uint64_t ns)
{
    if (ns != 0 && ns < *at)
        *at = ns;
}

/* What to wait for, for one worker; its next time goes to *at. */
static void
watch(struct berth_worker *w, struct pollfd fds[FDS_EACH], uint64_t *at)
{
    (void)pthread_mutex_lock(&w->mu);
    fds[0] = (struct pollfd){.fd = w->control_fd, .events = POLLIN};
    fds[1] = (struct pollfd){.fd = w->log_at_ns == 0 ? w->log_fd : -1, .events = POLLIN};
    fds[2] = (struct pollfd){.fd = w->pid_fd, .events = POLLIN};
    sooner(at, w->log_at_ns);
    sooner(at, w->hangup_ns);
    if (w->memory_bytes_max != 0 && w->pid != 0)
        sooner(at, w->memory_at_ns != 0 ? w->memory_at_ns : 1);
    if (w->end_asked)
        sooner(at, w->state == BERTH_WORKER_ENDING ? w->end_by_ns : 1);
    else if (w->state == BERTH_WORKER_DOWN)
        sooner(at, w->restart_ns);
    else if (w->state == BERTH_WORKER_STARTING)
        sooner(at, w->pid == 0 ? 1 : w->start_by_ns);
    (void)pthread_mutex_unlock(&w->mu);
}

static int
wait_ms(uint64_t at)
{
    uint64_t now = berth_now_ns();

    if (at == UINT64_MAX)
        return -1;
    if (at <= now)
        return 0;
    return (at - now) / BERTH_MS >= 1000 ? 1000 : (int)((at - now) / BERTH_MS) + 1;
}

void *
berth_warden_main(void *arg)
{
    struct berth_workers *all = arg;
    struct berth_worker **list = calloc(BERTH_WORKERS_MAX, sizeof(struct berth_worker *));
    struct pollfd *fds = calloc(1 + FDS_EACH * (size_t)BERTH_WORKERS_MAX, sizeof *fds);

    (void)pthread_setname_np(pthread_self(), "berth-warden");
    berth_assert(list != NULL && fds != NULL); /* 130 KB at the start of a server */
    while (!atomic_load(&all->stop)) {
        uint64_t at = UINT64_MAX;
        eventfd_t ignored;
        size_t n = 0;
        (void)pthread_mutex_lock(&all->mu);
        for (struct berth_worker *w = all->first; w != NULL; w = w->next)
            list[n++] = w;
        (void)pthread_mutex_unlock(&all->mu);
        fds[0] = (struct pollfd){.fd = all->wake_fd, .events = POLLIN};
        for (size_t i = 0; i < n; i++)
            watch(list[i], &fds[1 + FDS_EACH * i], &at);
        (void)poll(fds, 1 + FDS_EACH * n, wait_ms(at));
        if (fds[0].revents != 0)
            (void)eventfd_read(all->wake_fd, &ignored);
        for (size_t i = 0; i < n; i++)
            attend(list[i], &fds[1 + FDS_EACH * i], berth_now_ns());
    }
    free(list);
    free(fds);
    return NULL;
}
