#include "fetch/fetch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "fetch/part.h"
#include "fetch/source.h"
#include "net/client.h"

static const char hub_address[] = "https://huggingface.co";
enum { HUB_BYTES_MAX = 1024, FOLDER_BYTES_MAX = 4000, ATTEMPTS_MAX = 2 };

/* One fetch. */
struct job {
    const struct berth_fetch *what;
    struct berth_source source;
    struct berth_part part;
    char *file;                    /* where it will be */
    char sha256[BERTH_DIGEST_HEX]; /* expected; empty: none known */
    uint64_t total;                /* of the file; 0: unknown */
    bool have;                     /* the file in place is the one: nothing to do */
    bool again;                    /* what came does not fit what we have: from the beginning */
    bool token_sent;
    int r; /* a callback's failure, with its message in e */
    struct berth_err *e;
};

/* An environment variable that is set to nothing says nothing. */
static const char *
said(const char *text)
{
    return text != NULL && text[0] != '\0' ? text : NULL;
}

static bool
go_on(void *arg, uint64_t got, uint64_t total)
{
    struct job *j = arg;

    (void)got; /* of this answer; people want to know it of the file */
    (void)total;
    return j->what->progress == NULL || j->what->progress(j->what->arg, j->part.len, j->total);
}

/* Summing up what is there already takes its time too; it counts as got. */
static bool
go_on_summing(void *arg, uint64_t summed, uint64_t total)
{
    struct job *j = arg;

    return j->what->progress == NULL || j->what->progress(j->what->arg, summed, total);
}

/* ---- before ---- */

/* As mkdir -p. */
static int
make_folder(const char *folder, struct berth_err *e)
{
    char path[FOLDER_BYTES_MAX + 1];
    const size_t n = strlen(folder);

    if (n == 0 || n > FOLDER_BYTES_MAX)
        return berth_err_set(e, BERTH_EINVAL, "a folder's name has 1 to %d bytes",
                             FOLDER_BYTES_MAX);
    memcpy(path, folder, n + 1);
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        const char kept = path[i];
        path[i] = '\0';
        if (mkdir(path, 0777) < 0 && errno != EEXIST)
            return berth_err_set(e, BERTH_EIO, "%.300s: cannot be made: %m", path);
        path[i] = kept;
    }
    return 0;
}

static int
expect(struct job *j, const char *hex, const char *who)
{
    if (j->sha256[0] != '\0' && strcmp(j->sha256, hex) != 0)
        return berth_err_set(j->e, BERTH_EBACKEND,
                             "%s: %s says its SHA-256 is %s, but %s is expected: another file",
                             j->source.label, who, hex, j->sha256);
    (void)snprintf(j->sha256, sizeof j->sha256, "%s", hex);
    return 0;
}

static int
prepare(struct job *j)
{
    const struct berth_fetch *what = j->what;
    const char *name = what->name != NULL ? what->name : j->source.name;
    int r = 0;

    if (what->sha256 != NULL && !berth_digest_parse(what->sha256, strlen(what->sha256), j->sha256))
        return berth_err_set(j->e, BERTH_EINVAL, "a SHA-256 has 64 hex digits, not '%.80s'",
                             what->sha256);
    if (j->source.sha256[0] != '\0')
        r = expect(j, j->source.sha256, "the source");
    if (r < 0 || j->source.kind == BERTH_SOURCE_PATH)
        return r;
    if (name == NULL)
        return berth_err_set(j->e, BERTH_EINVAL, "%s: it names no file: give a name",
                             j->source.label);
    r = berth_source_name_check(name, j->e);
    if (r == 0)
        r = make_folder(what->folder, j->e);
    if (r == 0 && asprintf(&j->file, "%s/%s", what->folder, name) < 0)
        r = berth_err_set(j->e, BERTH_ENOMEM, "out of memory");
    return r;
}

/* Is the file in place the expected one? */
static int
is_in_place(struct job *j, bool *ret)
{
    char sum[BERTH_DIGEST_HEX];
    struct stat st;

    *ret = false;
    if (j->sha256[0] == '\0' || stat(j->file, &st) < 0 || !S_ISREG(st.st_mode) ||
        (j->total > 0 && (uint64_t)st.st_size != j->total))
        return 0;
    const int r = berth_part_sum_file(j->file, sum, go_on_summing, j, j->e);
    if (r == 0)
        *ret = strcmp(sum, j->sha256) == 0;
    return r;
}

/* ---- while it comes ---- */

/* Room on the disk for what is still to come. */
static int
check_room(struct job *j)
{
    const uint64_t bytes_max = j->what->bytes_max;
    const uint64_t rest = j->total > j->part.len ? j->total - j->part.len : 0;
    struct statvfs fs;
    uint64_t room;

    if (bytes_max > 0 && j->total > bytes_max)
        return berth_err_set(j->e, BERTH_ETOOBIG, "%s: %llu bytes, at most %llu", j->source.label,
                             (unsigned long long)j->total, (unsigned long long)bytes_max);
    if (statvfs(j->what->folder, &fs) < 0)
        return 0; /* no figure: writing will tell */
    if (__builtin_mul_overflow((uint64_t)fs.f_bavail, (uint64_t)fs.f_frsize, &room))
        room = UINT64_MAX;
    if (rest > room)
        return berth_err_set(
            j->e, BERTH_ETOOBIG, "%s: %llu bytes are to come, the disk of %s has room for %llu",
            j->source.label, (unsigned long long)rest, j->what->folder, (unsigned long long)room);
    return 0;
}

/* "\"HEX\"", as the hub writes a large file's checksum.  False for a small one's git hash. */
static bool
hub_checksum(const char *linked_etag, char ret[BERTH_DIGEST_HEX])
{
    size_t n = strlen(linked_etag);

    if (n < 2 || linked_etag[0] != '"' || linked_etag[n - 1] != '"')
        return false;
    return berth_digest_parse(linked_etag + 1, n - 2, ret);
}

static int
head(struct job *j, const struct berth_client_answer *a)
{
    char sum[BERTH_DIGEST_HEX];
    int r = 0;

    if (a->status != 200 && a->status != 206)
        return 0;
    j->total = a->content_length != UINT64_MAX ? a->content_length : 0;
    if (j->source.kind == BERTH_SOURCE_HUB && hub_checksum(a->linked_etag, sum))
        r = expect(j, sum, "the hub");
    if (r == 0)
        r = is_in_place(j, &j->have);
    if (r < 0 || j->have)
        return r;
    if (a->partial && j->part.sha256[0] != '\0' && j->sha256[0] != '\0' &&
        strcmp(j->part.sha256, j->sha256) != 0) {
        j->again = true; /* no ETag told, but the file is another one by now */
        return 0;
    }
    if (!a->partial) {
        r = berth_part_clear(&j->part, j->e);
        if (r == 0)
            r = berth_part_describe(&j->part, a->etag, j->sha256, j->e);
    }
    return r == 0 ? check_room(j) : r;
}

static bool
on_head(void *arg, const struct berth_client_answer *a)
{
    struct job *j = arg;

    j->r = head(j, a);
    return j->r == 0 && !j->have && !j->again;
}

static bool
on_part(void *arg, uint16_t status, const char *bytes, size_t n)
{
    struct job *j = arg;
    const uint64_t bytes_max = j->what->bytes_max;

    if (status != 200 && status != 206)
        return true; /* a page about what is wrong */
    if (bytes_max > 0 && (n > bytes_max || j->part.len > bytes_max - n))
        j->r = berth_err_set(j->e, BERTH_ETOOBIG, "%s: more than %llu bytes", j->source.label,
                             (unsigned long long)bytes_max);
    else
        j->r = berth_part_put(&j->part, bytes, n, j->e);
    return j->r == 0;
}

/* ---- afterwards ---- */

static int
refused(const struct job *j, uint16_t status)
{
    const char *label = j->source.label;

    if (status == 404 || status == 410)
        return berth_err_set(j->e, BERTH_ENOENT, "%s: there is no such file (%u)", label, status);
    if (j->source.kind == BERTH_SOURCE_HUB && (status == 401 || status == 403)) {
        if (j->token_sent)
            return berth_err_set(j->e, BERTH_EAUTH,
                                 "%s: the token may not read it (%u): accept the model's terms on "
                                 "its page, or set HF_TOKEN (--token) to another one",
                                 label, status);
        return berth_err_set(j->e, BERTH_EAUTH,
                             "%s: not there, or a token is needed (%u): set HF_TOKEN or give "
                             "--token, and accept the model's terms on its page",
                             label, status);
    }
    if (status == 401 || status == 403)
        return berth_err_set(j->e, BERTH_EAUTH,
                             "%s: it may not be read without credentials (%u); HF_TOKEN and "
                             "--token are for hf:// sources",
                             label, status);
    return berth_err_set(j->e, BERTH_ENETWORK, "%s: the server answered %u; try again later", label,
                         status);
}

static int
broken_off(const struct job *j, const struct berth_err *why)
{
    const bool kept = j->part.etag[0] != '\0' || j->part.sha256[0] != '\0';
    char total[40] = "";

    if (j->total > 0)
        (void)snprintf(total, sizeof total, " of %llu", (unsigned long long)j->total);
    return berth_err_set(j->e, BERTH_ENETWORK, "%s: %s; %llu%s bytes are here, %s", j->source.label,
                         why->msg, (unsigned long long)j->part.len, total,
                         kept || j->part.len == 0 ? "the next try goes on from there"
                                                  : "but the server tells no ETag: the next try "
                                                    "begins anew");
}

/* One request.  0 with j->again: try once more. */
static int
attempt(struct job *j, struct berth_client *client, struct berth_client_answer *answer)
{
    const bool hub = j->source.kind == BERTH_SOURCE_HUB;
    const struct berth_client_call call = {
        .url = j->source.at,
        .bearer = said(hub ? j->what->hf_token : j->what->bearer),
        .body_bytes_max = UINT64_MAX,
        .resume_at = j->part.len,
        .if_range = j->part.etag[0] != '\0' ? j->part.etag : NULL,
        .head = on_head,
        .body_part = on_part,
        .go_on = go_on,
        .arg = j,
    };
    struct berth_err why = {""};

    j->again = j->have = false;
    j->r = 0;
    j->token_sent = call.bearer != NULL;
    const int r = berth_client_call(client, &call, answer, &why);
    if (j->r < 0)
        return j->r;
    if (j->have || j->again)
        return 0;
    if (r == -BERTH_ENETWORK || r == -BERTH_EDEADLINE)
        return broken_off(j, &why);
    if (r < 0)
        return berth_err_set(j->e, (enum berth_code) - r, "%s: %s", j->source.label, why.msg);
    if (answer->status == 416 && j->part.len > 0) {
        /* Nothing behind what we have: either it is all there, or it is of another file. */
        j->again = answer->content_length != j->part.len;
        return 0;
    }
    return answer->status == 200 || answer->status == 206 ? 0 : refused(j, answer->status);
}

static int
finish(struct job *j)
{
    char sum[BERTH_DIGEST_HEX];

    berth_digest_hex(j->part.sum, sum);
    if (j->sha256[0] != '\0' && strcmp(sum, j->sha256) != 0) {
        berth_part_delete(&j->part);
        return berth_err_set(j->e, BERTH_EBACKEND,
                             "%s: what came has the SHA-256 %s, expected %s: it is deleted",
                             j->source.label, sum, j->sha256);
    }
    return berth_part_finish(&j->part, j->e);
}

static int
download(struct job *j, struct berth_client *client)
{
    int r = 0;

    for (int i = 0; i < ATTEMPTS_MAX; i++) {
        struct berth_client_answer answer = {0};
        r = attempt(j, client, &answer);
        berth_buf_fini(&answer.body);
        if (r == 0 && j->have)
            berth_part_delete(&j->part);
        if (r < 0 || j->have)
            return r;
        if (!j->again)
            return finish(j);
        r = berth_part_clear(&j->part, j->e);
        if (r < 0)
            return r;
    }
    return berth_err_set(j->e, BERTH_ENETWORK, "%s: the server contradicts itself on its length",
                         j->source.label);
}

static int
from_elsewhere(struct job *j)
{
    struct berth_client *client;
    bool in_place;
    int r = is_in_place(j, &in_place);

    j->have = r == 0 && in_place;
    if (r < 0 || j->have)
        return r;
    r = berth_part_open(&j->part, j->file, j->source.at, go_on_summing, j, j->e);
    if (r < 0)
        return r;
    r = berth_client_new(&client, j->e);
    if (r < 0)
        return r;
    r = download(j, client);
    berth_client_free(client);
    if (r == 0 && !j->have && j->what->progress != NULL)
        (void)j->what->progress(j->what->arg, j->part.len, j->part.len); /* too late to stop */
    if (r < 0 && j->part.len == 0)
        berth_part_delete(&j->part); /* nothing came: leave nothing */
    return r;
}

static int
from_path(struct job *j)
{
    char sum[BERTH_DIGEST_HEX];
    int r = 0;

    j->file = realpath(j->source.at, NULL);
    if (j->file == NULL)
        return berth_err_set(j->e, errno == ENOENT || errno == ENOTDIR ? BERTH_ENOENT : BERTH_EIO,
                             "%s: %m; a model of a hub is hf://ORG/REPO/FILE", j->source.at);
    if (access(j->file, R_OK) < 0)
        return berth_err_set(j->e, BERTH_EIO, "%s: %m", j->source.at);
    if (j->sha256[0] != '\0')
        r = berth_part_sum_file(j->file, sum, go_on_summing, j, j->e);
    if (r == 0 && j->sha256[0] != '\0' && strcmp(sum, j->sha256) != 0)
        r = berth_err_set(j->e, BERTH_EBACKEND, "%s: its SHA-256 is %s, expected %s", j->source.at,
                          sum, j->sha256);
    return r;
}

int
berth_fetch(const struct berth_fetch *what, char **ret_path, struct berth_err *e)
{
    struct job j = {.what = what, .part = {.fd = -1}, .e = e};
    const char *hub = said(what->hf_endpoint) != NULL ? what->hf_endpoint : hub_address;
    char address[HUB_BYTES_MAX];
    size_t n = strlen(hub);

    while (n > 0 && hub[n - 1] == '/')
        n--;
    if (n == 0 || n >= sizeof address)
        return berth_err_set(e, BERTH_EINVAL, "the hub's address has 1 to %d characters",
                             HUB_BYTES_MAX);
    memcpy(address, hub, n);
    address[n] = '\0';
    int r = berth_source_parse(what->source, address, &j.source, e);
    if (r < 0)
        return r;
    r = prepare(&j);
    if (r == 0)
        r = j.source.kind == BERTH_SOURCE_PATH ? from_path(&j) : from_elsewhere(&j);
    if (r == 0 && what->ret_there != NULL)
        *what->ret_there = j.have || j.source.kind == BERTH_SOURCE_PATH;
    if (r == 0)
        *ret_path = BERTH_TAKE(j.file);
    free(j.file);
    berth_part_fini(&j.part);
    berth_source_fini(&j.source);
    return r;
}
