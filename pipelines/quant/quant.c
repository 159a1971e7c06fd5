#include "pipelines/quant/quant.h"

#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pipelines/parts.h"

/* The result lies in the service's own folder as NAME.TYPE-DIGEST.gguf (of what it is made of), and
 * beside it RESULT.from says what it was made of: the same again is not made again. */

enum { TYPE_MAX = 24, FROM_MAX = PATH_MAX + 128 };
/* A large model takes its time. */
#define QUANT_POLICY                                   \
    {                                                  \
        .retries_max = 2, .timeout_ms = 60 * 60 * 1000 \
    }

static bool
is_gguf(const char *path)
{
    char magic[4] = "";
    FILE *f = fopen(path, "re");
    const bool is = f != NULL && fread(magic, 1, sizeof magic, f) == sizeof magic &&
                    memcmp(magic, "GGUF", sizeof magic) == 0;

    if (f != NULL)
        (void)fclose(f);
    return is;
}

int
berth_quant_check(struct berth_deployment *d, struct berth_err *e)
{
    const struct berth_goal *found = berth_parts_host()->goal("model-validation");
    const char *path;
    int r = found->ensure(d, e);

    if (r < 0 || (r = berth_parts_model(d, &path, e)) < 0)
        return r;
    if (access(path, R_OK) < 0)
        return berth_err_set(e, BERTH_EINVAL, "%s: %m", path);
    if (!is_gguf(path))
        return berth_err_set(e, BERTH_EINVAL, "%s: only a GGUF file can be quantised", path);
    return 0;
}

/* Lower case, and nothing that does not belong into a file's name. */
static int
read_type(struct berth_deployment *d, char ret[TYPE_MAX], struct berth_err *e)
{
    const char *text = berth_parts_host()->get(d, "quantConfig.type");
    size_t i = 0;

    if (text == NULL)
        text = "q8_0";
    for (; text[i] != '\0' && i < TYPE_MAX - 1; i++) {
        if (!isalnum((unsigned char)text[i]) && text[i] != '_')
            break;
        ret[i] = (char)tolower((unsigned char)text[i]);
    }
    ret[i] = '\0';
    return text[i] == '\0' && i > 0
               ? 0
               : berth_err_set(e, BERTH_EINVAL, "quantConfig.type: \"%.40s\" is no type", text);
}

/* FOLDER/NAME.TYPE-DIGEST.gguf */
static int
name_result(const char *folder, const char *source, const char *type, const char *from,
            char ret[PATH_MAX], struct berth_err *e)
{
    const char *slash = strrchr(source, '/'), *name = slash != NULL ? slash + 1 : source;
    size_t len = strlen(name);
    char plain[NAME_MAX + TYPE_MAX + 8];

    if (len > 5 && strcasecmp(name + len - 5, ".gguf") == 0)
        len -= 5;
    if (len > NAME_MAX)
        return berth_err_set(e, BERTH_EINVAL, "%s: its name is too long", source);
    (void)snprintf(plain, sizeof plain, "%.*s.%s.gguf", (int)len, name, type);
    return berth_parts_result(folder, plain, from, ret, e);
}

/* What the result is made of, as text. */
static int
describe(const char *source, const char *type, char ret[FROM_MAX], struct berth_err *e)
{
    struct stat st;

    if (stat(source, &st) < 0)
        return berth_err_set(e, BERTH_EINVAL, "%s: %m", source);
    (void)snprintf(ret, FROM_MAX, "%s %s %lld %lld.%09ld\n", type, source, (long long)st.st_size,
                   (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    return 0;
}

static bool
is_made_of(const char *note, const char *result, const char *from)
{
    char text[FROM_MAX] = "";
    FILE *f = fopen(note, "re");

    if (f == NULL)
        return false;
    const size_t n = fread(text, 1, sizeof text - 1, f);
    (void)fclose(f);
    return n > 0 && strcmp(text, from) == 0 && access(result, R_OK) == 0;
}

/* After the result, so that a note is never there without it. */
static int
write_note(const char *note, const char *from, struct berth_err *e)
{
    FILE *f = fopen(note, "we");
    const bool ok = f != NULL && fputs(from, f) >= 0;

    if (f == NULL || fclose(f) != 0 || !ok)
        return berth_err_set(e, BERTH_EIO, "%s: %m", note);
    return 0;
}

static int
make(struct berth_deployment *d, const char *source, const char *type, const char *result,
     struct berth_err *e)
{
    const char *threads = berth_parts_host()->get(d, "quantConfig.threads");
    char option[2][48], part[PATH_MAX + 8], line[200];
    const char *argv[8] = {"berth", "quantize", option[0]};
    size_t n = 3;

    (void)snprintf(option[0], sizeof option[0], "--type=%s", type);
    if (berth_parts_flag(d, "quantConfig.requantize"))
        argv[n++] = "--again";
    if (threads != NULL) {
        (void)snprintf(option[1], sizeof option[1], "--threads=%.10s", threads);
        argv[n++] = option[1];
    }
    argv[n++] = source;
    argv[n++] = result;
    (void)snprintf(part, sizeof part, "%s.part", result);
    (void)snprintf(line, sizeof line, "quantising to %s", type);
    berth_parts_host()->note(d, line);
    const int r = berth_parts_run(d, argv, part, e);
    if (r < 0)
        (void)unlink(part); /* of a child that was killed */
    return r;
}

static void
tell(struct berth_deployment *d, const char *source, const char *result)
{
    char was[BERTH_PARTS_BYTES_TEXT], is[BERTH_PARTS_BYTES_TEXT], line[PATH_MAX + 100];
    uint64_t before = 0, after = 0;

    if (berth_parts_bytes(source, &before, NULL) < 0 || berth_parts_bytes(result, &after, NULL) < 0)
        return;
    (void)snprintf(line, sizeof line, "%s: %s, from %s", result, berth_parts_bytes_text(after, is),
                   berth_parts_bytes_text(before, was));
    berth_parts_host()->note(d, line);
}

int
berth_quant_ensure(struct berth_deployment *d, struct berth_err *e)
{
    char type[TYPE_MAX], result[PATH_MAX], note[PATH_MAX + 8], from[FROM_MAX];
    const char *folder, *source;
    int r;

    /* A value that this step has set before must not become its own source. */
    source = berth_parts_host()->get(d, "quantSource");
    if (source == NULL) {
        if ((r = berth_parts_model(d, &source, e)) < 0 ||
            (r = berth_parts_host()->set(d, "quantSource", source, e)) < 0)
            return r;
    }
    if ((r = read_type(d, type, e)) < 0 || (r = berth_parts_folder(d, &folder, e)) < 0 ||
        (r = describe(source, type, from, e)) < 0 ||
        (r = name_result(folder, source, type, from, result, e)) < 0 ||
        (r = berth_parts_use(d, result, e)) < 0)
        return r;
    (void)snprintf(note, sizeof note, "%s.from", result);
    if (!is_made_of(note, result, from)) {
        (void)unlink(note);
        if ((r = make(d, source, type, result, e)) < 0 || (r = write_note(note, from, e)) < 0)
            return r;
        tell(d, source, result);
    }
    return berth_parts_host()->set(d, "modelPath", result, e);
}

const struct berth_pipeline_ops *
berth_pipeline_quant(const struct berth_pipeline_host *h, struct berth_err *e)
{
    static const char *const names[] = {"model-validation", "model-quantization",
                                        "config-rendering", "resource-deployment",
                                        "health-check",     NULL};
    static const struct berth_goal own[] = {
        {.name = "model-validation", .ensure = berth_quant_check},
        {.name = "model-quantization", .ensure = berth_quant_ensure, .policy = QUANT_POLICY},
        {.name = "health-check",
         .achieved = berth_parts_healthy,
         .ensure = berth_parts_check_health},
        {.name = NULL},
    };
    static const char *const aliases[] = {"quant-pipeline", "quant-llm-deploy", NULL};
    /* Filled in once, by the one call of the entry. */
    static struct berth_goal deploy[6], removal[4];
    static const struct berth_pipeline_ops ops = {
        .abi = BERTH_PIPELINE_ABI,
        .struct_size = sizeof ops,
        .name = "quant",
        .version = "1",
        .description = "a GGUF model, quantised first",
        .aliases = aliases,
        .deploy = deploy,
        .remove = removal,
    };

    berth_parts_begin(h);
    return berth_parts_goals(names, own, deploy, e) < 0 || berth_parts_removal(removal, e) < 0
               ? NULL
               : &ops;
}
