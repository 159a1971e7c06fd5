#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "shimlets/ollama/ollama_priv.h"

/* What a unit is to be on a server: its own settings over the environment's. */

static const struct key {
    const char *name;
    enum berth_json_type type;
} keys[] = {
    {"host", BERTH_JSON_STRING},       {"model", BERTH_JSON_STRING},
    {"parameters", BERTH_JSON_OBJECT}, {"system", BERTH_JSON_STRING},
    {"template", BERTH_JSON_STRING},   {"insecure", BERTH_JSON_BOOL},
};

static int
check_keys(const struct berth_json *root, struct berth_err *e)
{
    for (struct berth_json_iter it = berth_json_iter(root); berth_json_next(&it);) {
        size_t i = 0;

        while (i < sizeof keys / sizeof keys[0] && !berth_slice_is(it.key, keys[i].name))
            i++;
        if (i == sizeof keys / sizeof keys[0])
            return berth_err_set(e, BERTH_EINVAL,
                                 "shimletConfig.%.*s is not known to ollama: host, model, "
                                 "parameters, system, template and insecure are",
                                 (int)(it.key.len < 64 ? it.key.len : 64), it.key.at);
        if (berth_json_type(it.value) != keys[i].type)
            return berth_err_set(e, BERTH_EINVAL, "shimletConfig.%s is %s", keys[i].name,
                                 berth_json_type_name(it.value));
    }
    return 0;
}

static const char *
text_of(const struct berth_json *root, const char *key)
{
    struct berth_slice s;

    return berth_json_string(berth_json_get(root, key), &s) && s.len > 0 ? s.at : NULL;
}

/* A file of one model: what it is called in a catalogue is another thing. */
static int
check_file(const char *path, struct berth_err *e)
{
    struct stat st;
    char magic[5] = "";
    FILE *f;

    if (stat(path, &st) < 0)
        return berth_err_set(e, BERTH_EINVAL,
                             "%.300s: %m; for a model of Ollama's library give no modelFile, and "
                             "its name as modelName or shimletConfig.model",
                             path);
    if (S_ISREG(st.st_mode) && (f = fopen(path, "rbe")) != NULL) {
        (void)fread(magic, 1, 4, f); /* a shorter one is none, either */
        (void)fclose(f);
    }
    if (strcmp(magic, "GGUF") != 0)
        return berth_err_set(e, BERTH_EINVAL,
                             "%.300s is no GGUF file that can be read here: Ollama takes one, or a "
                             "name of its library as shimletConfig.model",
                             path);
    return 0;
}

static int
check_unit(const struct berth_unit *u, struct berth_err *e)
{
    if (u->replicas > 1 || u->scale_max > 1)
        return berth_err_set(e, BERTH_EINVAL,
                             "replicaCount: an Ollama server runs a model once, for several "
                             "requests at a time (its OLLAMA_NUM_PARALLEL): 0 or 1");
    if (u->command != NULL)
        return berth_err_set(e, BERTH_EINVAL,
                             "command: Ollama runs its own engine: leave command, args and engine "
                             "out");
    return 0;
}

int
berth_ollama_plan(const struct berth_shimlet *s, const struct berth_unit *u, struct berth_arena *a,
                  struct berth_ollama_plan *ret, struct berth_err *e)
{
    const char *json = u->settings_json != NULL ? u->settings_json : "{}";
    const char *spec_json = u->spec_json != NULL ? u->spec_json : "{}";
    const struct berth_json *root = NULL, *spec = NULL;
    struct berth_ollama_plan p = {.file = u->model_path};
    int r = check_unit(u, e);

    if (r == 0 && (r = berth_json_parse(a, json, strlen(json), NULL, &root, e)) < 0)
        r = berth_err_wrap(e, r, "shimletConfig");
    if (r == 0)
        r = check_keys(root, e);
    if (r == 0)
        r = berth_json_parse(a, spec_json, strlen(spec_json), NULL, &spec, e);
    if (r == 0) {
        const char *host = text_of(root, "host");
        r = berth_ollama_host(host != NULL ? host : s->host, p.host, e);
    }
    if (r < 0)
        return r;
    p.from = text_of(root, "model");
    if (p.from != NULL)
        p.file = NULL; /* said for Ollama: the service's own may be for other environments */
    else if (p.file == NULL)
        p.from = u->model_name;
    p.parameters = berth_json_get(root, "parameters");
    if (berth_json_get(p.parameters, "num_ctx") == NULL)
        (void)berth_json_uint(berth_json_get(spec, "contextLength"), &p.context_len);
    p.system = text_of(root, "system");
    p.prompt = text_of(root, "template");
    (void)berth_json_bool(berth_json_get(root, "insecure"), &p.insecure);
    if (p.file != NULL && (r = check_file(p.file, e)) < 0)
        return r;
    *ret = p;
    return 0;
}

void
berth_ollama_create_body(const struct berth_ollama_plan *p, const char *name,
                         const char *file_digest, struct berth_buf *ret)
{
    char digest[80];
    struct berth_jw w;

    berth_jw_init(&w, ret);
    berth_jw_object(&w);
    berth_jw_key(&w, "model");
    berth_jw_string(&w, name);
    if (p->file != NULL) {
        (void)snprintf(digest, sizeof digest, "sha256:%s", file_digest);
        berth_jw_key(&w, "files");
        berth_jw_object(&w);
        berth_jw_key(&w, "model.gguf");
        berth_jw_string(&w, digest);
        berth_jw_object_end(&w);
    } else {
        berth_jw_key(&w, "from");
        berth_jw_string(&w, p->from);
    }
    if (p->parameters != NULL || p->context_len > 0) {
        berth_jw_key(&w, "parameters");
        berth_jw_object(&w);
        for (struct berth_json_iter it = berth_json_iter(p->parameters); berth_json_next(&it);) {
            berth_jw_key_n(&w, it.key.at, it.key.len);
            berth_jw_value(&w, it.value);
        }
        if (p->context_len > 0) {
            berth_jw_key(&w, "num_ctx");
            berth_jw_uint(&w, p->context_len);
        }
        berth_jw_object_end(&w);
    }
    if (p->system != NULL) {
        berth_jw_key(&w, "system");
        berth_jw_string(&w, p->system);
    }
    if (p->prompt != NULL) {
        berth_jw_key(&w, "template");
        berth_jw_string(&w, p->prompt);
    }
    berth_jw_key(&w, "stream");
    berth_jw_bool(&w, false);
    berth_jw_object_end(&w);
}
