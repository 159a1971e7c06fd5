#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/siphash.h"
#include "net/certificate.h"
#include "pipelines/parts.h"
#include "pipelines/secure/secure_priv.h"
#include "wire/json.h"

/* The certificate, the key that the engine asks for, and how it is told of both. */

enum {
    ARENA_BYTES_MAX = 1 << 20,
    HOSTS_MAX = 40,
    PATH_MAX_BYTES = 500, /* environments keep paths of this length */
    OPTIONS_MAX = 8,
    DAYS = 3650, /* its authority signs nothing else, and goes with the service */
};

/* ---- which engine? ---- */

enum engine { BERTH, LLAMA, VLLM, SGLANG, OTHER };

static bool
is_program(const char *word, const char *name)
{
    const char *slash = strrchr(word, '/');

    return strcmp(slash != NULL ? slash + 1 : word, name) == 0;
}

static enum engine
engine_of(const struct berth_json *command)
{
    for (struct berth_json_iter it = berth_json_iter(command); berth_json_next(&it);) {
        struct berth_slice word;

        if (!berth_json_string(it.value, &word))
            continue;
        if (it.index == 0 && is_program(word.at, "berth"))
            return BERTH;
        if (it.index == 0 && is_program(word.at, "llama-server"))
            return LLAMA;
        if (it.index <= 2 && strcmp(word.at, "vllm.entrypoints.openai.api_server") == 0)
            return VLLM;
        if (it.index <= 2 && strcmp(word.at, "sglang.launch_server") == 0)
            return SGLANG;
    }
    return OTHER;
}

/* Before anything is rendered, from what the spec says. */
static bool
wants_berth(struct berth_deployment *d, struct berth_arena *a)
{
    const char *engine = berth_parts_host()->get(d, "engine");
    const char *text = berth_parts_host()->get(d, "command");
    const struct berth_json *command = NULL;
    struct berth_err e;

    if (text == NULL)
        return engine == NULL || strcmp(engine, "berth") == 0;
    return berth_json_parse(a, text, strlen(text), NULL, &command, &e) == 0 &&
           engine_of(command) == BERTH;
}

/* ---- certificate and key ---- */

static int
hosts_of(struct berth_deployment *d, struct berth_arena *a, const char *ret[HOSTS_MAX],
         struct berth_err *e)
{
    static const char *const always[] = {"localhost", "127.0.0.1", "::1"};
    char *name = berth_arena_alloc(a, 256);
    size_t n = 0;

    for (; n < sizeof always / sizeof always[0]; n++)
        ret[n] = always[n];
    if (name != NULL && gethostname(name, 255) == 0 && name[0] != '\0' &&
        strcmp(name, "localhost") != 0)
        ret[n++] = name;
    return secure_texts(d, "securityConfig.hosts", a, ret, HOSTS_MAX, &n, e);
}

/* Other hosts, other files: replicas that run keep what they were started with. */
static const char *
path_for(struct berth_arena *a, const char *folder, const char *const *hosts, const char *suffix)
{
    static const uint8_t key[BERTH_SIPHASH_KEY] = "berth tls hosts";
    uint8_t sum[BERTH_SIPHASH_BYTES];
    struct berth_siphash h;

    berth_siphash_init(&h, key);
    for (; *hosts != NULL; hosts++)
        berth_siphash_put(&h, *hosts, strlen(*hosts) + 1);
    berth_siphash_end(&h, sum);
    return berth_arena_printf(a, "%s/tls-%02x%02x%02x%02x%s", folder, sum[0], sum[1], sum[2],
                              sum[3], suffix);
}

static int
make_own(struct berth_deployment *d, struct berth_arena *a, const char *folder,
         struct berth_certificate_paths *ret, struct berth_certificate *seen, struct berth_err *e)
{
    const char *hosts[HOSTS_MAX];
    struct berth_err ignored;
    int r = hosts_of(d, a, hosts, e);

    if (r < 0)
        return r;
    *ret = (struct berth_certificate_paths){.ca = path_for(a, folder, hosts, ".ca.pem"),
                                            .cert = path_for(a, folder, hosts, ".cert.pem"),
                                            .key = path_for(a, folder, hosts, ".key.pem")};
    if (ret->ca == NULL || ret->cert == NULL || ret->key == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    /* One that is there and good stays. */
    if (access(ret->cert, F_OK) == 0 && berth_certificate_check(ret, seen, &ignored) == 0 &&
        seen->seconds_left > 30 * 86400)
        return 0;
    if ((r = berth_certificate_make(hosts, DAYS, ret, e)) < 0)
        return r;
    return berth_certificate_check(ret, seen, e);
}

/* A file that cannot be read will not be there a moment later: the spec is wrong. */
static int
given_is_wrong(struct berth_err *e, int r, const char *what)
{
    return berth_err_wrap(e, r == -BERTH_EIO ? -BERTH_EINVAL : r, "%s", what);
}

/* What the spec brings along. */
static int
take_given(struct berth_deployment *d, struct berth_certificate_paths *ret,
           struct berth_certificate *seen, struct berth_err *e)
{
    const char *key = berth_parts_host()->get(d, "securityConfig.keyFile");
    const char *ca = berth_parts_host()->get(d, "securityConfig.caFile");

    ret->key = key != NULL ? key : ret->cert; /* both may be in one file */
    ret->ca = ca != NULL ? ca : ret->cert;    /* pinned */
    const int r = berth_certificate_check(ret, seen, e);
    if (r < 0)
        return given_is_wrong(e, r, "securityConfig");
    if (seen->seconds_left <= 0)
        return berth_err_set(e, BERTH_EINVAL, "securityConfig.certFile: %s has expired", ret->cert);
    return 0;
}

static int
set_all(struct berth_deployment *d, const struct berth_certificate_paths *at, const char *sha256,
        const char *key_path, struct berth_err *e)
{
    /* The certificate's sum is part of the workload: another one in the same file is rolled out. */
    const struct {
        const char *key, *value;
    } values[] = {{"caPath", at->ca},
                  {"keyPath", key_path},
                  {"tlsCert", at->cert},
                  {"tlsKey", at->key},
                  {"env.TLS_CERT_SHA256", sha256}};

    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        if (strlen(values[i].value) > PATH_MAX_BYTES)
            return berth_err_set(e, BERTH_EINVAL, "%s: longer than %d bytes", values[i].value,
                                 PATH_MAX_BYTES);
        const int r = berth_parts_host()->set(d, values[i].key, values[i].value, e);
        if (r < 0)
            return r;
    }
    return 0;
}

/* A key that the engine asks for: given, or made once.  With Berth it may do no more than ask. */
static int
find_key(struct berth_deployment *d, struct berth_arena *a, const char *folder, const char **ret,
         struct berth_err *e)
{
    const char *given = berth_parts_host()->get(d, "securityConfig.apiKeyFile");
    const bool berth = wants_berth(d, a);
    char word[BERTH_BEARER_MAX];
    int r;

    *ret = given != NULL ? given
                         : berth_arena_printf(a, "%s/%s", folder, berth ? "berth.key" : "api.key");
    if (*ret == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "out of memory");
    if (given == NULL && (r = berth_bearer_make(*ret, berth ? " user" : "", e)) < 0)
        return r;
    r = berth_bearer_read(*ret, word, e);
    explicit_bzero(word, sizeof word);
    return r < 0 && given != NULL ? given_is_wrong(e, r, "securityConfig.apiKeyFile") : r;
}

static int
set_up(struct berth_deployment *d, struct berth_arena *a, struct berth_err *e)
{
    struct berth_certificate_paths at = {.cert =
                                             berth_parts_host()->get(d, "securityConfig.certFile")};
    struct berth_certificate seen;
    const char *folder, *key_path;
    char text[160];
    int r = berth_parts_folder(d, &folder, e);

    if (r < 0)
        return r;
    if (at.cert == NULL && (berth_parts_host()->get(d, "securityConfig.keyFile") != NULL ||
                            berth_parts_host()->get(d, "securityConfig.caFile") != NULL))
        return berth_err_set(e, BERTH_EINVAL,
                             "securityConfig.certFile: is missing beside keyFile or caFile");
    r = at.cert != NULL ? take_given(d, &at, &seen, e) : make_own(d, a, folder, &at, &seen, e);
    if (r < 0 || (r = find_key(d, a, folder, &key_path, e)) < 0 ||
        (r = set_all(d, &at, seen.sha256, key_path, e)) < 0)
        return r;
    (void)snprintf(text, sizeof text, "certificate sha256 %s, good for %" PRId64 " days",
                   seen.sha256, seen.seconds_left / 86400);
    return berth_parts_host()->audit(d, "tls", true, NULL, text, e);
}

int
secure_tls(struct berth_deployment *d, struct berth_err *e)
{
    struct berth_arena a;

    berth_arena_init(&a, ARENA_BYTES_MAX);
    const int r = set_up(d, &a, e);
    berth_arena_fini(&a);
    return r;
}

/* ---- the engine's words for it ---- */

struct options {
    const char *at[OPTIONS_MAX];
    size_t count;
};

static void
add(struct options *o, const char *flag, const char *value)
{
    if (o->count + 2 > OPTIONS_MAX)
        return; /* the tables below are shorter */
    o->at[o->count++] = flag;
    if (value != NULL)
        o->at[o->count++] = value;
}

/* vLLM takes no file with a key: it is in its environment, which only we can read. */
static int
set_vllm_key(struct berth_deployment *d, const char *key_path, struct berth_err *e)
{
    char word[BERTH_BEARER_MAX];
    int r = berth_bearer_read(key_path, word, e);

    if (r == 0)
        r = berth_parts_host()->set(d, "env.VLLM_API_KEY", word, e);
    explicit_bzero(word, sizeof word);
    return r;
}

static int
choose(struct berth_deployment *d, enum engine engine, struct options *o, struct berth_err *e)
{
    const struct berth_pipeline_host *h = berth_parts_host();
    const char *cert = h->get(d, "tlsCert"), *key = h->get(d, "tlsKey");
    const char *key_path = h->get(d, "keyPath");
    int r;

    switch (engine) {
    case BERTH:
        add(o, "--tls", NULL);
        add(o, "--tls-cert", cert);
        add(o, "--tls-key", key);
        add(o, "--api-key-file", key_path);
        return 0;
    case LLAMA:
        add(o, "--ssl-cert-file", cert);
        add(o, "--ssl-key-file", key);
        add(o, "--api-key-file", key_path);
        return 0;
    case VLLM:
        add(o, "--ssl-certfile", cert);
        add(o, "--ssl-keyfile", key);
        return set_vllm_key(d, key_path, e);
    case SGLANG:
        return berth_err_set(e, BERTH_EUNSUPPORTED,
                             "engine: sglang takes a key on its command line alone, where others "
                             "on the machine see it; use vllm, llama-server or berth");
    case OTHER:
        if ((r = h->set(d, "env.TLS_CERT_FILE", cert, e)) < 0 ||
            (r = h->set(d, "env.TLS_KEY_FILE", key, e)) < 0)
            return r;
        return h->set(d, "env.API_KEY_FILE", key_path, e);
    }
    return 0;
}

/* Behind the user's own, so that these win. */
static int
render_in(struct berth_deployment *d, struct berth_arena *a, struct berth_err *e)
{
    const char *text = berth_parts_host()->get(d, "command");
    const struct berth_json *command = NULL;
    struct options o = {.count = 0};
    int r;

    if (text != NULL && (r = berth_json_parse(a, text, strlen(text), NULL, &command, e)) < 0)
        return r;
    if ((r = choose(d, engine_of(command), &o, e)) < 0)
        return r;
    if (o.count > 0 && (r = berth_parts_append(d, command, o.at, o.count, a, e)) < 0)
        return r;
    return berth_parts_host()->check(d, e);
}

int
secure_render(struct berth_deployment *d, struct berth_err *e)
{
    struct berth_arena a;
    int r = berth_parts_host()->goal("config-rendering")->ensure(d, e);

    if (r < 0)
        return r;
    berth_arena_init(&a, ARENA_BYTES_MAX);
    r = render_in(d, &a, e);
    berth_arena_fini(&a);
    return r;
}
