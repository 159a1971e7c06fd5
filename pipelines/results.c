#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/siphash.h"
#include "pipelines/parts.h"

/* A list has a name a line; the newest is the last. */
enum { LIST_MAX = 32 * 1024, STEM_MAX = 180, FILES_MAX = 10000 };
static const char *const tracks[] = {"stable", "canary"};
#define TRACKS (sizeof tracks / sizeof tracks[0])

int
berth_parts_result(const char *folder, const char *name, const char *made_of, char ret[PATH_MAX],
                   struct berth_err *e)
{
    static const uint8_t key[BERTH_SIPHASH_KEY]; /* names must stay: no secret in it */
    uint8_t sum[BERTH_SIPHASH_BYTES];
    const char *dot = strrchr(name, '.');
    const size_t stem = dot != NULL && dot != name ? (size_t)(dot - name) : strlen(name);
    struct berth_siphash h;
    char hex[17];

    berth_siphash_init(&h, key);
    berth_siphash_put(&h, made_of, strlen(made_of));
    berth_siphash_end(&h, sum);
    for (size_t i = 0; i < 8; i++)
        (void)snprintf(hex + 2 * i, 3, "%02x", sum[i]);
    const int n =
        snprintf(ret, PATH_MAX, "%s/%.*s-%s%s", folder, (int)stem, name, hex, name + stem);
    return stem <= STEM_MAX && strlen(name + stem) < 32 && n > 0 && n < PATH_MAX - 8
               ? 0
               : berth_err_set(e, BERTH_EINVAL, "%s: its name is too long", name);
}

/* ---- lists ---- */

static void
list_path(const char *folder, const char *track, char ret[PATH_MAX + 16])
{
    (void)snprintf(ret, PATH_MAX + 16, "%s/%s.uses", folder, track);
}

/* False: there is none, or it is not whole. */
static bool
list_read(const char *folder, const char *track, char text[LIST_MAX])
{
    char path[PATH_MAX + 16];

    list_path(folder, track, path);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return false;
    const size_t n = fread(text, 1, LIST_MAX - 1, f);
    const bool ok = ferror(f) == 0 && n > 0 && text[n - 1] == '\n';
    (void)fclose(f);
    text[ok ? n : 0] = '\0';
    return ok;
}

/* Renamed into place: a half one would have results in use removed. */
static int
list_write(const char *folder, const char *track, const char *text, struct berth_err *e)
{
    char path[PATH_MAX + 16], fresh[PATH_MAX + 24];

    list_path(folder, track, path);
    (void)snprintf(fresh, sizeof fresh, "%s.new", path);
    FILE *f = fopen(fresh, "we");
    const bool ok = f != NULL && fputs(text, f) >= 0;
    if (f == NULL || fclose(f) != 0 || !ok || rename(fresh, path) < 0)
        return berth_err_set(e, BERTH_EIO, "%s: %m", path);
    return 0;
}

/* Does a file belong to one of the list: is it that, or its note, or what is there of it so far? */
static bool
list_has(const char *text, const char *file)
{
    while (*text != '\0') {
        const size_t len = strcspn(text, "\n");

        if (len > 0 && strncmp(text, file, len) == 0)
            return true;
        text += len + (text[len] != '\0');
    }
    return false;
}

static const char *
base_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}

/* Which track the step is of. */
static int
track_of(struct berth_deployment *d, const char **ret, struct berth_err *e)
{
    const struct berth_unit *u = berth_parts_host()->unit(d);

    if (u == NULL)
        return berth_err_set(e, BERTH_EINVAL, "the unit cannot be made as it stands");
    *ret = strcmp(u->track, tracks[1]) == 0 ? tracks[1] : tracks[0];
    return 0;
}

int
berth_parts_use(struct berth_deployment *d, const char *result, struct berth_err *e)
{
    char text[LIST_MAX];
    const char *folder, *track, *name = base_of(result);
    int r;

    if ((r = berth_parts_folder(d, &folder, e)) < 0 || (r = track_of(d, &track, e)) < 0)
        return r;
    if (!list_read(folder, track, text))
        text[0] = '\0';
    const size_t len = strlen(text), name_len = strlen(name);
    if (list_has(text, name))
        return 0;
    if (len + name_len + 2 > sizeof text)
        return berth_err_set(e, BERTH_ELIMIT, "%s/%s.uses: too many results were never served",
                             folder, track);
    (void)snprintf(text + len, sizeof text - len, "%s\n", name);
    return list_write(folder, track, text, e);
}

/* ---- what nobody uses ---- */

/* Has the name a digest in it?  Other files of the folder are not ours to judge. */
static bool
is_result(const char *file)
{
    for (const char *at = strchr(file, '-'); at != NULL; at = strchr(at + 1, '-')) {
        if (strspn(at + 1, "0123456789abcdef") == 16 && (at[17] == '.' || at[17] == '\0'))
            return true;
    }
    return false;
}

static void
remove_others(struct berth_deployment *d, const char *folder, char lists[TRACKS][LIST_MAX])
{
    DIR *dir = opendir(folder);
    int seen = 0;

    for (struct dirent *f; dir != NULL && seen < FILES_MAX && (f = readdir(dir)) != NULL; seen++) {
        char line[300];
        bool kept = !is_result(f->d_name);

        for (size_t i = 0; i < TRACKS; i++)
            kept = kept || list_has(lists[i], f->d_name);
        if (kept || unlinkat(dirfd(dir), f->d_name, 0) < 0)
            continue;
        (void)snprintf(line, sizeof line, "%s: removed, as no revision uses it", f->d_name);
        berth_parts_host()->note(d, line);
    }
    if (dir != NULL)
        (void)closedir(dir);
}

/* The track serves what it was last given: what it used before is free.  Best effort: what stays is
 * looked at the next time, and goes with the service. */
static void
tidy(struct berth_deployment *d)
{
    BERTH_AUTO_FREE char(*lists)[LIST_MAX] = calloc(TRACKS, sizeof *lists);
    const char *result, *folder, *own;
    bool known = lists != NULL;

    if (!known || berth_parts_model(d, &result, NULL) < 0 ||
        berth_parts_folder(d, &folder, NULL) < 0 || track_of(d, &own, NULL) < 0)
        return;
    for (size_t i = 0; i < TRACKS && known; i++) {
        char key[32], path[PATH_MAX + 16];

        if (strcmp(tracks[i], own) == 0) {
            (void)snprintf(lists[i], sizeof lists[i], "%s\n", base_of(result));
            known = list_write(folder, own, lists[i], NULL) == 0;
            continue;
        }
        (void)snprintf(key, sizeof key, "%s.revision", tracks[i]);
        if (berth_parts_host()->get(d, key) != NULL) {
            known = list_read(folder, tracks[i], lists[i]); /* else it is not known what it uses */
        } else {
            list_path(folder, tracks[i], path);
            (void)unlink(path);
        }
    }
    if (known)
        remove_others(d, folder, lists);
}

int
berth_parts_healthy(struct berth_deployment *d, struct berth_err *e)
{
    const int r = berth_parts_host()->goal("health-check")->achieved(d, e);

    if (r > 0)
        tidy(d);
    return r;
}

int
berth_parts_check_health(struct berth_deployment *d, struct berth_err *e)
{
    return berth_parts_host()->goal("health-check")->ensure(d, e);
}
