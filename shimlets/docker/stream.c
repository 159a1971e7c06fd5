#include "shimlets/docker/stream.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/num.h"
#include "wire/json.h"

/* ---- lines ---- */

void
berth_docker_lines_init(struct berth_docker_lines *l, size_t line_bytes_max, bool drop,
                        bool (*line)(void *arg, const char *text, size_t len), void *arg)
{
    *l = (struct berth_docker_lines){
        .line_bytes_max = line_bytes_max,
        .drop = drop,
        .line = line,
        .arg = arg,
    };
    berth_buf_init(&l->held, NULL);
}

void
berth_docker_lines_fini(struct berth_docker_lines *l)
{
    berth_buf_fini(&l->held);
}

/* A whole line, or the part of a long one that we go on with. */
static bool
hand_on(struct berth_docker_lines *l, const char *text, size_t len, bool whole)
{
    const bool dropped = l->drop && (l->over || !whole);

    l->over = !whole;
    if (whole && len > 0 && text[len - 1] == '\r')
        len--;
    return dropped || l->line(l->arg, text, len);
}

static bool
take_line(struct berth_docker_lines *l, const char *text, size_t len)
{
    if (l->held.len == 0)
        return hand_on(l, text, len, true);
    berth_buf_put(&l->held, text, len);
    if (l->held.failed)
        return false;
    const size_t all = l->held.len;
    l->held.len = 0;
    return hand_on(l, l->held.at, all, true);
}

bool
berth_docker_lines_feed(struct berth_docker_lines *l, const char *bytes, size_t len)
{
    while (len > 0) {
        const char *end = memchr(bytes, '\n', len);
        const size_t room = l->line_bytes_max - l->held.len;
        size_t n = end != NULL ? (size_t)(end - bytes) : len;

        if (n > room) { /* too long: its beginning goes by itself */
            berth_buf_put(&l->held, bytes, room);
            if (l->held.failed)
                return false;
            bytes += room;
            len -= room;
            const size_t all = l->held.len;
            l->held.len = 0;
            if (!hand_on(l, l->held.at, all, false))
                return false;
            continue;
        }
        if (end == NULL) {
            berth_buf_put(&l->held, bytes, n);
            return !l->held.failed;
        }
        if (!take_line(l, bytes, n))
            return false;
        bytes += n + 1;
        len -= n + 1;
    }
    return true;
}

bool
berth_docker_lines_end(struct berth_docker_lines *l)
{
    const size_t all = l->held.len;

    l->held.len = 0;
    return all == 0 || hand_on(l, l->held.at, all, true);
}

/* ---- frames ---- */

/* The first bytes tell: text never begins with 0 to 2 and three zeros. */
static bool
is_head(const unsigned char *head)
{
    return head[0] < BERTH_DOCKER_STREAMS && head[1] == 0 && head[2] == 0 && head[3] == 0;
}

static bool
begin_frame(struct berth_docker_frames *f)
{
    f->head_len = 0;
    if (!is_head(f->head)) {
        /* Either there never were frames, or the stream is broken: what is left is shown as it
         * is, as somebody wants to read it. */
        f->plain = true;
        return f->part(f->arg, 1, (const char *)f->head, sizeof f->head);
    }
    f->stream = f->head[0] == 2 ? 2 : 1;
    f->left = (uint32_t)f->head[4] << 24 | (uint32_t)f->head[5] << 16 | (uint32_t)f->head[6] << 8 |
              (uint32_t)f->head[7];
    return true;
}

bool
berth_docker_frames_feed(struct berth_docker_frames *f, const char *bytes, size_t len)
{
    while (len > 0) {
        if (f->plain)
            return f->part(f->arg, 1, bytes, len);
        if (f->left == 0) {
            size_t n = sizeof f->head - f->head_len;

            n = n < len ? n : len;
            memcpy(f->head + f->head_len, bytes, n);
            f->head_len += n;
            bytes += n;
            len -= n;
            if (f->head_len == sizeof f->head && !begin_frame(f))
                return false;
            continue;
        }
        const size_t n = f->left < len ? f->left : len;
        if (!f->part(f->arg, f->stream, bytes, n))
            return false;
        f->left -= (uint32_t)n;
        bytes += n;
        len -= n;
    }
    return true;
}

/* ---- events ---- */

static void
keep(const struct berth_json *v, char *ret, size_t cap)
{
    struct berth_slice s = {"", 0};

    if (!berth_json_string(v, &s) || s.len >= cap || memchr(s.at, '\0', s.len) != NULL)
        s.len = 0;
    memcpy(ret, s.at, s.len);
    ret[s.len] = '\0';
}

bool
berth_docker_event_parse(const char *text, size_t len, const char *service_label,
                         struct berth_docker_event *ret)
{
    const struct berth_json *root;
    struct berth_slice type;
    struct berth_arena a;
    bool is = false;

    berth_arena_init(&a, 16 * len + 64 * (size_t)1024);
    if (berth_json_parse(&a, text, len, NULL, &root, NULL) == 0 &&
        berth_json_string(berth_json_get(root, "Type"), &type) &&
        berth_slice_is(type, "container")) {
        const struct berth_json *actor = berth_json_get(root, "Actor");
        const struct berth_json *labels = berth_json_get(actor, "Attributes");

        *ret = (struct berth_docker_event){0};
        keep(berth_json_get(root, "Action"), ret->action, sizeof ret->action);
        ret->action[strcspn(ret->action, ":")] = '\0';
        keep(berth_json_get(actor, "ID"), ret->id, sizeof ret->id);
        keep(berth_json_get(labels, service_label), ret->service_id, sizeof ret->service_id);
        (void)berth_json_uint(berth_json_get(root, "timeNano"), &ret->time_ns);
        is = ret->action[0] != '\0' && ret->id[0] != '\0';
    }
    berth_arena_fini(&a);
    return is;
}

/* ---- times ---- */

static bool
digits(const char *text, size_t n, int *ret)
{
    *ret = 0;
    for (size_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        *ret = *ret * 10 + (text[i] - '0');
    }
    return true;
}

bool
berth_docker_stamp(const char *text, size_t len, uint64_t *ret_ns, size_t *ret_skip)
{
    struct tm tm = {0};
    uint64_t fraction = 0, unit = 100000000;
    size_t at = 19;

    if (len < 20 || text[4] != '-' || text[7] != '-' || text[10] != 'T' || text[13] != ':' ||
        text[16] != ':' || !digits(text, 4, &tm.tm_year) || !digits(text + 5, 2, &tm.tm_mon) ||
        !digits(text + 8, 2, &tm.tm_mday) || !digits(text + 11, 2, &tm.tm_hour) ||
        !digits(text + 14, 2, &tm.tm_min) || !digits(text + 17, 2, &tm.tm_sec) ||
        tm.tm_year < 1970 || tm.tm_year > 2500)
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    if (text[at] == '.')
        for (at++; at < len && text[at] >= '0' && text[at] <= '9'; at++, unit /= 10)
            fraction += unit * (uint64_t)(text[at] - '0');
    if (at >= len || text[at] != 'Z')
        return false;
    const time_t s = timegm(&tm);
    if (s < 0)
        return false;
    at++;
    *ret_ns = (uint64_t)s * BERTH_S + fraction;
    *ret_skip = at < len && text[at] == ' ' ? at + 1 : at;
    return true;
}
