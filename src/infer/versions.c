#include "infer/versions.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/num.h"

static int
compare(const void *a, const void *b)
{
    const struct berth_version_dir *x = a, *y = b;

    return (x->number > y->number) - (x->number < y->number);
}

static bool
is_version_dir(const char *path, const char *name, int64_t *ret_number)
{
    size_t len = strlen(name);
    char full[4096];
    struct stat st;

    if (len >= BERTH_VERSION_LABEL || !berth_int_parse(name, len, 0, INT64_MAX, ret_number))
        return false;
    int n = snprintf(full, sizeof full, "%s/%s", path, name);
    return n > 0 && (size_t)n < sizeof full && stat(full, &st) == 0 && S_ISDIR(st.st_mode);
}

static int
scan_folder(const char *path, struct berth_version_dirs *v, struct berth_err *e)
{
    DIR *d = opendir(path);

    if (d == NULL)
        return berth_err_set(e, BERTH_EINVAL, "path: %.300s: %m", path);
    for (struct dirent *f; (f = readdir(d)) != NULL;) {
        int64_t number;
        if (!is_version_dir(path, f->d_name, &number))
            continue;
        if (v->len == BERTH_VERSION_DIRS_MAX) {
            (void)closedir(d);
            return berth_err_set(e, BERTH_ELIMIT, "path: %.300s has more than %d versions", path,
                                 BERTH_VERSION_DIRS_MAX);
        }
        v->at[v->len].number = (uint64_t)number;
        (void)snprintf(v->at[v->len].label, BERTH_VERSION_LABEL, "%s", f->d_name);
        v->len++;
    }
    (void)closedir(d);
    return 0;
}

int
berth_versions_scan(const char *path, struct berth_version_dirs *ret, struct berth_err *e)
{
    struct berth_version_dirs v = {.len = 0};
    struct stat st;
    int r;

    if (stat(path, &st) < 0)
        return berth_err_set(e, errno == ENOENT || errno == ENOTDIR ? BERTH_ENOENT : BERTH_EINVAL,
                             "path: %.300s: %m", path);
    if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
        return berth_err_set(e, BERTH_EINVAL, "path: %.300s is neither a file nor a folder", path);
    if (access(path, S_ISDIR(st.st_mode) ? R_OK | X_OK : R_OK) < 0)
        return berth_err_set(e, BERTH_EINVAL, "path: %.300s: %m", path);
    if (S_ISDIR(st.st_mode) && (r = scan_folder(path, &v, e)) < 0)
        return r;
    v.in_folders = v.len > 0;
    if (v.len == 0) {
        v.len = 1;
        v.at[0] = (struct berth_version_dir){.number = 1, .label = "1"};
    }
    qsort(v.at, v.len, sizeof v.at[0], compare);
    *ret = v;
    return 0;
}

bool
berth_versions_labelled(const struct berth_version_routes *r, const char *name, size_t len,
                        uint64_t *ret)
{
    for (uint32_t i = 0; i < r->label_len; i++) {
        if (strlen(r->labels[i].name) == len && memcmp(r->labels[i].name, name, len) == 0) {
            *ret = r->labels[i].number;
            return true;
        }
    }
    return false;
}

bool
berth_versions_named(const struct berth_version_routes *r, uint64_t number)
{
    for (uint32_t i = 0; i < r->label_len; i++) {
        if (r->labels[i].number == number)
            return true;
    }
    for (uint32_t i = 0; i < r->share_len; i++) {
        if (r->shares[i].number == number && r->shares[i].weight > 0)
            return true;
    }
    return false;
}

size_t
berth_versions_pick(const uint32_t *weights, size_t n, uint64_t ticket)
{
    /* Multiples of the golden ratio fall more evenly into [0, 1) than chance does. */
    const uint64_t point = (ticket * UINT64_C(0x9e3779b97f4a7c15)) >> 32;
    uint64_t sum = 0, at;

    for (size_t i = 0; i < n; i++)
        sum += weights[i];
    at = (point * sum) >> 32;
    for (size_t i = 0; i < n; i++) {
        if (at < weights[i])
            return i;
        at -= weights[i];
    }
    return n - 1;
}
