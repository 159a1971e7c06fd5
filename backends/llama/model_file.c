#include "model_file.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <gguf.h>

#include "engine.h"
#include "guard.h"

enum { FOLDER_ENTRIES_MAX = 10000 };

static bool
is_model_name(const char *name)
{
    const size_t n = strlen(name);

    /* An image projector lies beside its model and is none by itself. */
    return n > 5 && strcasecmp(name + n - 5, ".gguf") == 0 && strncmp(name, "mmproj", 6) != 0;
}

/* Later parts of a split model: "-00002-of-00005.gguf". */
static bool
is_later_part(const char *name)
{
    const char *const of = strstr(name, "-of-");

    return of != NULL && of - name >= 6 && of[-6] == '-' && strncmp(of - 5, "00001", 5) != 0 &&
           strspn(of - 5, "0123456789") == 5;
}

static int
find_in_folder(const char *path, char *ret, size_t cap, struct berth_err *e)
{
    DIR *const dir = opendir(path);
    char found[NAME_MAX + 1] = "";
    int n = 0;

    if (dir == NULL)
        return berth_err_set(e, BERTH_EIO, "%s: %m", path);
    for (int i = 0; i < FOLDER_ENTRIES_MAX; i++) {
        const struct dirent *const d = readdir(dir); /* NOLINT(concurrency-mt-unsafe): own dir */

        if (d == NULL)
            break;
        if (!is_model_name(d->d_name) || is_later_part(d->d_name))
            continue;
        n++;
        (void)snprintf(found, sizeof found, "%s", d->d_name);
    }
    (void)closedir(dir);
    if (n == 0)
        return berth_err_set(e, BERTH_EINVAL, "%s: no .gguf file in this folder", path);
    if (n > 1)
        return berth_err_set(e, BERTH_EINVAL,
                             "%s: %d models in this folder; name the .gguf file itself", path, n);
    if ((size_t)snprintf(ret, cap, "%s/%s", path, found) >= cap)
        return berth_err_set(e, BERTH_EINVAL, "%s: the path is too long", path);
    return 0;
}

int
berth_model_file_find(const char *path, char *ret, size_t cap, struct berth_err *e)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return berth_err_set(e, errno == ENOENT ? BERTH_ENOENT : BERTH_EIO, "%s: %m", path);
    if (S_ISDIR(st.st_mode))
        return find_in_folder(path, ret, cap, e);
    if ((size_t)snprintf(ret, cap, "%s", path) >= cap)
        return berth_err_set(e, BERTH_EINVAL, "%s: the path is too long", path);
    return 0;
}

/* A whole number under "ARCHITECTURE.name": one value or, as some models have it for each layer, a
 * list, of which the smallest counts.  false when it is not there or no number. */
static bool
number(const struct gguf_context *g, const char *arch, const char *name, int64_t *ret)
{
    char key[160];

    (void)snprintf(key, sizeof key, "%s.%s", arch, name);
    const int64_t id = gguf_find_key(g, key);
    if (id < 0)
        return false;
    switch (gguf_get_kv_type(g, id)) {
    case GGUF_TYPE_UINT32:
        *ret = gguf_get_val_u32(g, id);
        return true;
    case GGUF_TYPE_INT32:
        *ret = gguf_get_val_i32(g, id);
        return true;
    case GGUF_TYPE_UINT64:
        *ret = (int64_t)(gguf_get_val_u64(g, id) & INT64_MAX);
        return true;
    case GGUF_TYPE_UINT16:
        *ret = gguf_get_val_u16(g, id);
        return true;
    default:
        return false;
    }
}

/* Numbers that the engine divides by or makes tables of without asking. */
static int
check_numbers(const struct gguf_context *g, const char *file, struct berth_err *e)
{
    static const struct {
        const char *name;
        int64_t min, max;
    } rows[] = {
        {"block_count", 1, 4096},
        {"embedding_length", 1, 1 << 20},
        {"context_length", 1, 1 << 28},
        {"attention.head_count", 1, 1 << 16},
        {"feed_forward_length", 1, 1 << 26},
        {"attention.head_count_kv", 0, 1 << 16},
        {"attention.key_length", 1, 1 << 16},
        {"attention.value_length", 1, 1 << 16},
        {"rope.dimension_count", 0, 1 << 16},
        {"vocab_size", 1, 1 << 26},
        {"expert_count", 0, 1 << 16},
    };
    const int64_t id = gguf_find_key(g, "general.architecture");

    if (id < 0 || gguf_get_kv_type(g, id) != GGUF_TYPE_STRING)
        return berth_err_set(e, BERTH_EINVAL,
                             "%s: no general.architecture in it; this is not a model", file);
    const char *const arch = gguf_get_val_str(g, id);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t x;

        if (number(g, arch, rows[i].name, &x) && (x < rows[i].min || x > rows[i].max))
            return berth_err_set(e, BERTH_EINVAL,
                                 "%s: %s.%s is %lld; the file is damaged, fetch it again", file,
                                 arch, rows[i].name, (long long)x);
    }
    return 0;
}

/* Every tensor's bytes must lie in the file: a download that broke off is found here, before
 * gigabytes are mapped. */
static int
check_extent(const struct gguf_context *g, const char *file, uint64_t file_bytes,
             struct berth_err *e)
{
    const uint64_t data = gguf_get_data_offset(g);

    for (int64_t i = 0; i < gguf_get_n_tensors(g); i++) {
        uint64_t end;

        if (__builtin_add_overflow(data, (uint64_t)gguf_get_tensor_offset(g, i), &end) ||
            __builtin_add_overflow(end, (uint64_t)gguf_get_tensor_size(g, i), &end) ||
            end > file_bytes)
            return berth_err_set(e, BERTH_EINVAL,
                                 "%s: %llu bytes, but tensor %s ends beyond them; the file is cut "
                                 "off, fetch it again",
                                 file, (unsigned long long)file_bytes, gguf_get_tensor_name(g, i));
    }
    return 0;
}

struct open_head {
    const char *file;
    struct gguf_context *g;
};

static void
open_head(void *arg)
{
    struct open_head *const o = arg;

    o->g = gguf_init_from_file(o->file, (struct gguf_init_params){true, NULL});
}

int
berth_model_file_check(const char *file, struct berth_err *e)
{
    struct stat st;
    char magic[4] = "";
    FILE *f;

    /* To open a FIFO would wait for somebody who writes into it. */
    if (stat(file, &st) == 0 && !S_ISREG(st.st_mode))
        return berth_err_set(e, BERTH_EINVAL, "%s: is not a file", file);
    f = fopen(file, "rbe");
    if (f == NULL || fstat(fileno(f), &st) < 0) {
        const int r = berth_err_set(e, errno == ENOENT ? BERTH_ENOENT : BERTH_EIO, "%s: %m", file);

        if (f != NULL)
            (void)fclose(f);
        return r;
    }
    const size_t got = fread(magic, 1, sizeof magic, f);
    (void)fclose(f);
    if (got != sizeof magic || memcmp(magic, "GGUF", sizeof magic) != 0)
        return berth_err_set(e, BERTH_EINVAL,
                             "%s: not a GGUF file (it does not begin with \"GGUF\"); convert the "
                             "model with llama.cpp's convert_hf_to_gguf.py",
                             file);
    berth_engine_clear_error();
    struct open_head o = {.file = file};
    (void)berth_guard_call(true, open_head, &o);
    struct gguf_context *const g = o.g;
    if (g == NULL)
        return berth_err_set(e, BERTH_EINVAL,
                             "%s: the head of the file is damaged (%s); fetch it again", file,
                             berth_engine_last_error());
    int r = check_numbers(g, file, e);
    if (r == 0)
        r = check_extent(g, file, (uint64_t)st.st_size, e);
    gguf_free(g);
    return r;
}
