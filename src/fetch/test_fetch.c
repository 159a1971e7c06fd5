#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/assert.h"
#include "fetch/fetch.h"
#include "net/digest.h"
#include "net/test_peer.h"

/* Two versions of a file, and a server of it that misbehaves as it is told. */
enum { FILE_BYTES = 300000 };

struct site {
    char versions[2][FILE_BYTES];
    char sums[2][BERTH_DIGEST_HEX];
    int version;           /* which one it has now */
    size_t cut_at;         /* > 0: close after that many bytes of a body */
    const char *etags[2];  /* as sent; NULL: none */
    const char *linked;    /* X-Linked-ETag, NULL: none */
    unsigned status;       /* not 0: answer that and no file */
    const char *length;    /* not NULL: this Content-Length, whatever comes */
    bool if_range_ignored; /* answer 206 to any range */
    char folder[64];
    char url[96], hub[64];
    struct test_peer peer;
};

/* What the request wants from where on; 0: everything. */
static size_t
range_of(const struct site *s, const char *request)
{
    const char *range = strstr(request, "\r\nRange: bytes="), *etag = s->etags[s->version];
    const char *condition = strstr(request, "\r\nIf-Range: ");

    if (range == NULL)
        return 0;
    if (!s->if_range_ignored && condition != NULL &&
        (etag == NULL || strncmp(condition + 12, etag, strlen(etag)) != 0))
        return 0;
    return strtoul(range + 15, NULL, 10);
}

static void
serve(void *arg, int fd, unsigned n, const char *request)
{
    const struct site *s = arg;
    const char *bytes = s->versions[s->version], *etag = s->etags[s->version];
    const size_t at = range_of(s, request);
    size_t len = FILE_BYTES - (at <= FILE_BYTES ? at : FILE_BYTES);
    char head[1024], length[32], range[96] = "";

    (void)snprintf(length, sizeof length, "%zu", len);
    if (s->status != 0) {
        (void)snprintf(head, sizeof head,
                       "HTTP/1.1 %u No\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno\n",
                       s->status);
        test_peer_say(fd, head);
        return;
    }
    if (at >= FILE_BYTES) {
        (void)snprintf(head, sizeof head,
                       "HTTP/1.1 416 No\r\nContent-Range: bytes */%d\r\nContent-Length: 0\r\n\r\n",
                       FILE_BYTES);
        test_peer_say(fd, head);
        return;
    }
    if (at > 0)
        (void)snprintf(range, sizeof range, "Content-Range: bytes %zu-%d/%d\r\n", at,
                       FILE_BYTES - 1, FILE_BYTES);
    (void)snprintf(head, sizeof head,
                   "HTTP/1.1 %s\r\nContent-Length: %s\r\n%s%s%s%s%s%s%sConnection: close\r\n\r\n",
                   at > 0 ? "206 Partial Content" : "200 OK",
                   s->length != NULL ? s->length : length, range, etag != NULL ? "ETag: " : "",
                   etag != NULL ? etag : "", etag != NULL ? "\r\n" : "",
                   s->linked != NULL ? "X-Linked-ETag: " : "", s->linked != NULL ? s->linked : "",
                   s->linked != NULL ? "\r\n" : "");
    test_peer_say(fd, head);
    if (s->cut_at > 0 && s->cut_at < len)
        len = s->cut_at;
    test_peer_write(fd, bytes + at, len);
}

static int
set_up(void **state)
{
    struct site *s = calloc(1, sizeof *s);

    assert_non_null(s);
    for (int v = 0; v < 2; v++) {
        for (size_t i = 0; i < FILE_BYTES; i++)
            s->versions[v][i] = (char)(i * 7 + i / 251 + (size_t)v * 31);
        berth_digest_of(s->versions[v], FILE_BYTES, s->sums[v]);
    }
    s->etags[0] = "\"v0\"";
    s->etags[1] = "\"v1\"";
    (void)snprintf(s->folder, sizeof s->folder, "/tmp/berth-fetch-XXXXXX");
    assert_non_null(mkdtemp(s->folder));
    s->peer.answer = serve;
    s->peer.arg = s;
    test_peer_start(&s->peer);
    (void)snprintf(s->hub, sizeof s->hub, "http://127.0.0.1:%u", s->peer.port);
    (void)snprintf(s->url, sizeof s->url, "%s/x/m.gguf?key=secret", s->hub);
    *state = s;
    return 0;
}

static char *
in_folder(const struct site *s, const char *name)
{
    static char path[128];

    (void)snprintf(path, sizeof path, "%s/%s", s->folder, name);
    return path;
}

static int
tear_down(void **state)
{
    struct site *s = *state;
    static const char *const names[] = {"m.gguf", "m.gguf.part", "m.gguf.part.from"};

    for (size_t i = 0; i < BERTH_COUNT(names); i++)
        (void)unlink(in_folder(s, names[i]));
    assert_int_equal(rmdir(s->folder), 0); /* nothing else was left */
    test_peer_stop(&s->peer);
    free(s);
    return 0;
}

static bool
exists(const struct site *s, const char *name)
{
    return access(in_folder(s, name), F_OK) == 0;
}

static long
size_of(const struct site *s, const char *name)
{
    struct stat st;

    return stat(in_folder(s, name), &st) == 0 ? (long)st.st_size : -1;
}

/* The file in place is that version, and nothing is left beside it. */
static void
assert_in_place(const struct site *s, int version)
{
    char *bytes = malloc(FILE_BYTES + 1);
    FILE *f = fopen(in_folder(s, "m.gguf"), "re");

    assert_non_null(bytes);
    assert_non_null(f);
    assert_int_equal(fread(bytes, 1, FILE_BYTES + 1, f), FILE_BYTES);
    assert_memory_equal(bytes, s->versions[version], FILE_BYTES);
    (void)fclose(f);
    free(bytes);
    assert_false(exists(s, "m.gguf.part"));
    assert_false(exists(s, "m.gguf.part.from"));
}

/* Fetch, expecting the code; the message is in e. */
static void
fetch(const struct site *s, struct berth_fetch what, int want, struct berth_err *e)
{
    char *path = NULL;

    what.source = what.source != NULL ? what.source : s->url;
    what.folder = s->folder;
    what.hf_endpoint = s->hub;
    e->msg[0] = '\0';
    const int r = berth_fetch(&what, &path, e);
    print_message("  %d %s\n", r, e->msg);
    assert_int_equal(r, want);
    assert_null(strstr(e->msg, "secret"));
    if (r == 0)
        assert_string_equal(path, in_folder(s, "m.gguf"));
    free(path);
}

static void
a_file_comes_whole(void **state)
{
    struct site *s = *state;
    struct berth_err e;

    fetch(s, (struct berth_fetch){.sha256 = s->sums[0]}, 0, &e);
    assert_in_place(s, 0);
    fetch(s, (struct berth_fetch){.sha256 = s->sums[0]}, 0, &e); /* it is there: nothing is asked */
    assert_int_equal(atomic_load(&s->peer.requests), 1);
}

static void
a_cut_fetch_goes_on(void **state)
{
    struct site *s = *state;
    struct berth_err e;

    s->cut_at = 100000;
    fetch(s, (struct berth_fetch){0}, -BERTH_ENETWORK, &e);
    assert_non_null(strstr(e.msg, "100000 of 300000 bytes"));
    assert_int_equal(size_of(s, "m.gguf.part"), 100000);
    fetch(s, (struct berth_fetch){0}, -BERTH_ENETWORK, &e);
    assert_int_equal(size_of(s, "m.gguf.part"), 200000);
    s->cut_at = 0;
    fetch(s, (struct berth_fetch){0}, 0, &e);
    assert_in_place(s, 0);
    assert_non_null(strstr(s->peer.log[1], "\r\nRange: bytes=100000-\r\nIf-Range: \"v0\"\r\n"));
    assert_non_null(strstr(s->peer.log[2], "\r\nRange: bytes=200000-\r\n"));
}

static void
a_file_changed_meanwhile_begins_anew(void **state)
{
    struct site *s = *state;
    struct berth_err e;

    s->cut_at = 100000;
    fetch(s, (struct berth_fetch){0}, -BERTH_ENETWORK, &e);
    s->cut_at = 0;
    s->version = 1;
    fetch(s, (struct berth_fetch){.sha256 = s->sums[1]}, 0, &e);
    assert_in_place(s, 1);
}

/* Without an ETag the checksum holds the pieces together, and finds a wrong one. */
static void
without_an_etag_the_checksum_decides(void **state)
{
    struct site *s = *state;
    struct berth_err e;

    s->etags[0] = s->etags[1] = NULL;
    s->cut_at = 100000;
    fetch(s, (struct berth_fetch){0}, -BERTH_ENETWORK, &e);
    assert_non_null(strstr(e.msg, "begins anew"));
    fetch(s, (struct berth_fetch){.sha256 = s->sums[0]}, -BERTH_ENETWORK, &e);
    assert_null(strstr(s->peer.log[1], "Range:"));
    s->cut_at = 0;
    s->version = 1;
    fetch(s, (struct berth_fetch){.sha256 = s->sums[0]}, -BERTH_EBACKEND, &e);
    assert_non_null(strstr(s->peer.log[2], "Range: bytes=100000-"));
    assert_false(exists(s, "m.gguf.part"));
    assert_false(exists(s, "m.gguf"));
    s->version = 0;
    fetch(s, (struct berth_fetch){.sha256 = s->sums[0]}, 0, &e);
    assert_in_place(s, 0);
}

static void
a_weak_etag_holds_nothing_together(void **state)
{
    struct site *s = *state;
    struct berth_err e;

    s->etags[0] = "W/\"v0\"";
    s->cut_at = 100000;
    fetch(s, (struct berth_fetch){0}, -BERTH_ENETWORK, &e);
    s->cut_at = 0;
    fetch(s, (struct berth_fetch){0}, 0, &e);
    assert_null(strstr(s->peer.log[1], "Range:"));
    assert_in_place(s, 0);
}

/* Stopped between the last byte and the rename. */
static void
a_complete_part_is_put_in_place(void **state)
{
    struct site *s = *state;
    struct berth_err e;

    s->cut_at = FILE_BYTES - 1;
    fetch(s, (struct berth_fetch){0}, -BERTH_ENETWORK, &e);
    int fd = open(in_folder(s, "m.gguf.part"), O_WRONLY | O_APPEND | O_CLOEXEC);
    assert_int_equal(write(fd, s->versions[0] + FILE_BYTES - 1, 1), 1);
    fetch(s, (struct berth_fetch){0}, 0, &e);
    assert_in_place(s, 0);
    (void)unlink(in_folder(s, "m.gguf"));
    s->cut_at = FILE_BYTES - 1;
    fetch(s, (struct berth_fetch){0}, -BERTH_ENETWORK, &e);
    (void)close(fd);
    fd = open(in_folder(s, "m.gguf.part"), O_WRONLY | O_APPEND | O_CLOEXEC);
    assert_int_equal(write(fd, "too long", 8), 8);
    s->cut_at = 0;
    fetch(s, (struct berth_fetch){0}, 0, &e);
    (void)close(fd);
    assert_in_place(s, 0);
}

static void
a_wrong_checksum_leaves_nothing(void **state)
{
    struct site *s = *state;
    struct berth_err e;

    fetch(s, (struct berth_fetch){.sha256 = s->sums[1]}, -BERTH_EBACKEND, &e);
    assert_non_null(strstr(e.msg, s->sums[0]));
    assert_non_null(strstr(e.msg, s->sums[1]));
    assert_false(exists(s, "m.gguf"));
    assert_false(exists(s, "m.gguf.part"));
    assert_false(exists(s, "m.gguf.part.from"));
}

static void
refusals_say_what_to_do(void **state)
{
    struct site *s = *state;
    static const struct {
        unsigned status;
        const char *source, *token;
        int want;
        const char *says;
    } cases[] = {
        {404, NULL, NULL, -BERTH_ENOENT, "no such file"},
        {401, NULL, NULL, -BERTH_EAUTH, "credentials"},
        {503, NULL, NULL, -BERTH_ENETWORK, "503"},
        {404, "hf://o/r/m.gguf", NULL, -BERTH_ENOENT, "hf://o/r/m.gguf"},
        {401, "hf://o/r/m.gguf", NULL, -BERTH_EAUTH, "set HF_TOKEN or give --token"},
        {401, "hf://o/r/m.gguf", "", -BERTH_EAUTH, "set HF_TOKEN or give --token"},
        {403, "hf://o/r/m.gguf", "t0ken", -BERTH_EAUTH, "accept the model's terms"},
    };

    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        struct berth_err e;
        s->status = cases[i].status;
        fetch(s, (struct berth_fetch){.source = cases[i].source, .hf_token = cases[i].token},
              cases[i].want, &e);
        assert_non_null(strstr(e.msg, cases[i].says));
        assert_false(exists(s, "m.gguf.part"));
        assert_int_equal(strstr(s->peer.log[i], "Authorization: Bearer t0ken") != NULL,
                         cases[i].token != NULL && cases[i].token[0] != '\0');
    }
}

static void
a_hub_file_is_checked_by_the_hubs_sum(void **state)
{
    struct site *s = *state;
    char linked[2][80];
    struct berth_err e;
    const struct berth_fetch what = {.source = "hf://o/r/sub/m.gguf@v 1", .hf_token = "t0ken"};

    for (int v = 0; v < 2; v++)
        (void)snprintf(linked[v], sizeof linked[v], "\"%s\"", s->sums[v]);
    s->linked = linked[1];
    fetch(s, what, -BERTH_EBACKEND, &e);
    assert_non_null(strstr(s->peer.log[0], "GET /o/r/resolve/v%201/sub/m.gguf HTTP/1.1\r\n"));
    assert_non_null(strstr(s->peer.log[0], "Authorization: Bearer t0ken\r\n"));
    s->linked = linked[0];
    fetch(s, what, 0, &e);
    assert_in_place(s, 0);
    fetch(s, what, 0, &e); /* the head says that it is there already */
    assert_in_place(s, 0);
    fetch(s, (struct berth_fetch){.source = what.source, .sha256 = s->sums[1]}, -BERTH_EBACKEND,
          &e);
    assert_non_null(strstr(e.msg, "another file"));
    s->linked = "\"0123456789abcdef0123456789abcdef01234567\""; /* a small file's: not its sum */
    fetch(s, what, 0, &e);
}

/* A file that changed where no ETag tells, but the hub's checksum does. */
static void
a_changed_checksum_begins_anew(void **state)
{
    struct site *s = *state;
    char linked[2][80];
    struct berth_err e;
    const struct berth_fetch what = {.source = "hf://o/r/m.gguf"};

    for (int v = 0; v < 2; v++)
        (void)snprintf(linked[v], sizeof linked[v], "\"%s\"", s->sums[v]);
    s->etags[0] = s->etags[1] = NULL;
    s->linked = linked[0];
    s->cut_at = 100000;
    fetch(s, what, -BERTH_ENETWORK, &e);
    s->cut_at = 0;
    s->version = 1;
    s->linked = linked[1];
    fetch(s, what, 0, &e);
    assert_in_place(s, 1);
}

static void
what_does_not_fit_is_not_begun(void **state)
{
    struct site *s = *state;
    struct berth_err e;

    fetch(s, (struct berth_fetch){.bytes_max = 1000}, -BERTH_ETOOBIG, &e);
    assert_non_null(strstr(e.msg, "300000 bytes, at most 1000"));
    s->length = "4611686018427387904"; /* no disk has that */
    fetch(s, (struct berth_fetch){0}, -BERTH_ETOOBIG, &e);
    assert_non_null(strstr(e.msg, "4611686018427387904 bytes are to come"));
    assert_false(exists(s, "m.gguf.part"));
}

static bool
stop_midway(void *arg, uint64_t got, uint64_t total)
{
    return got < 100000;
}

static void
a_stopped_fetch_keeps_its_part(void **state)
{
    struct site *s = *state;
    struct berth_err e;

    s->cut_at = 150000;
    fetch(s, (struct berth_fetch){0}, -BERTH_ENETWORK, &e);
    fetch(s, (struct berth_fetch){.progress = stop_midway}, -BERTH_ECANCELED, &e);
    assert_int_equal(size_of(s, "m.gguf.part"), 150000);
    s->cut_at = 0;
    fetch(s, (struct berth_fetch){0}, 0, &e);
    assert_in_place(s, 0);
}

static void
two_do_not_write_into_each_other(void **state)
{
    struct site *s = *state;
    const int fd = open(in_folder(s, "m.gguf.part"), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    struct berth_err e;

    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    fetch(s, (struct berth_fetch){0}, -BERTH_EAGAIN, &e);
    (void)close(fd);
    fetch(s, (struct berth_fetch){0}, 0, &e);
    assert_in_place(s, 0);
}

static void
paths_are_checked_and_given_back(void **state)
{
    struct site *s = *state;
    char *path = NULL, file[128];
    struct berth_err e;

    fetch(s, (struct berth_fetch){0}, 0, &e);
    (void)snprintf(file, sizeof file, "%s/./m.gguf", s->folder);
    const struct berth_fetch good = {.source = file, .folder = s->folder, .sha256 = s->sums[0]};
    const struct berth_fetch bad = {.source = file, .folder = s->folder, .sha256 = s->sums[1]};
    const struct berth_fetch none = {.source = "/no/such/file", .folder = s->folder};
    assert_int_equal(berth_fetch(&good, &path, &e), 0);
    assert_string_equal(path, in_folder(s, "m.gguf"));
    free(path);
    assert_int_equal(berth_fetch(&bad, &path, &e), -BERTH_EBACKEND);
    assert_int_equal(berth_fetch(&none, &path, &e), -BERTH_ENOENT);
}

int
main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(a_file_comes_whole),
        T(a_cut_fetch_goes_on),
        T(a_file_changed_meanwhile_begins_anew),
        T(without_an_etag_the_checksum_decides),
        T(a_weak_etag_holds_nothing_together),
        T(a_complete_part_is_put_in_place),
        T(a_wrong_checksum_leaves_nothing),
        T(refusals_say_what_to_do),
        T(a_hub_file_is_checked_by_the_hubs_sum),
        T(a_changed_checksum_begins_anew),
        T(what_does_not_fit_is_not_begun),
        T(a_stopped_fetch_keeps_its_part),
        T(two_do_not_write_into_each_other),
        T(paths_are_checked_and_given_back),
    };
#undef T

    return cmocka_run_group_tests(tests, NULL, NULL);
}
