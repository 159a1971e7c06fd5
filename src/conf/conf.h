#ifndef BERTH_CONF_H
#define BERTH_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <berth/err.h>

#include "base/buf.h"

struct berth_json;

/*
 * The settings of a server.  One table (conf_table.c) has a row for each: key, type, limits,
 * default, environment variable, flag and help; parsing, checking, --help and the documentation
 * follow from it.  Where several say something, the later wins, key by key:
 * defaults < file < environment < flags.
 *
 * Immutable after berth_conf_load(); any thread may read it.  Every pointer in it belongs to it.
 * Paths are as given, not made absolute.  Numbers are in the unit their name says.
 */
struct berth_conf_strings {
    const char *const *at;
    size_t count;
};

struct berth_conf_ints {
    const int64_t *at;
    size_t count;
};

/* A model to be served from the start. */
struct berth_conf_model {
    const char *name;
    const char *path;
    const char *backend;             /* NULL: by the file */
    const struct berth_json *config; /* the backend's settings; NULL: none */
};

struct berth_conf_models {
    const struct berth_conf_model *at;
    size_t count;
};

struct berth_conf_server {
    const char *host;
    int64_t port, grpc_port; /* 0: any free one */
    int64_t max_connections;
    int64_t worker_threads; /* 0: by the number of cores */
    int64_t request_timeout_secs;
    int64_t head_timeout_secs, body_timeout_secs, receive_timeout_secs, idle_timeout_secs,
        write_timeout_secs;
    int64_t drain_timeout_secs;
    int64_t max_head_bytes, max_body_bytes, max_unsent_bytes, max_streams;
    bool enable_tls;
    const char *tls_cert_path, *tls_key_path, *tls_client_ca_path; /* NULL: none */
};

struct berth_conf_batch {
    int64_t max_batch_size, max_wait_time_ms, timeout_ms;
    bool dynamic_padding;
};

struct berth_conf_gpu {
    struct berth_conf_ints device_ids;
    double memory_fraction;
    bool enable_pooling, enable_p2p;
};

struct berth_conf_memory {
    double max_memory_gb;
    int64_t reserve_mb, keep_alive_secs; /* 0: null */
    bool enable_mmap;
    int64_t cache_size_mb;
};

struct berth_conf_engine {
    int64_t max_models;
    int64_t cores;     /* that engines may use together; 0: all of the machine */
    bool governor;     /* hand them out run by run */
    int64_t loaders;   /* loads at once */
    int64_t queue_len; /* requests waiting for one model */
    int64_t load_wait_secs;
    int64_t default_batch_size, max_batch_wait_ms;
    struct berth_conf_batch batch_config;
    struct berth_conf_gpu gpu;
    struct berth_conf_memory memory;
};

struct berth_conf_plugins {
    const char *plugin_dir;
    struct berth_conf_strings enabled_plugins; /* empty: all that are found */
    const struct berth_json *plugin_configs;   /* an object: shimlet's name to its settings */
    int64_t plugin_timeout_secs;
    const char *isolation; /* of models that say nothing: "none", "process" */
    int64_t run_timeout_secs, adopt_secs;
    bool keep_workers;
};

/* The control plane. */
struct berth_conf_deploy {
    bool enabled;
    const char *shimlet, *pipeline; /* of services that name none */
    const char *model_root;
    struct berth_conf_strings preload; /* shared objects of shimlets and pipelines */
    bool load_folder, load_any_path, load_strict;
    const char *plugin_sums;               /* NULL: none */
    const struct berth_json *accelerators; /* an object: what people write to a resource */
    int64_t workers, resync_secs, poll_ms, forget_secs;
    int64_t max_services, max_events, max_revisions;
};

struct berth_conf_monitoring {
    bool prometheus_enabled, jaeger_enabled, access_log;
    int64_t prometheus_port;
    const char *jaeger_endpoint; /* NULL: none */
    int64_t health_check_interval_secs, metrics_collection_interval_secs;
    int64_t explain_requests;
};

struct berth_conf_rate {
    bool enabled;
    int64_t requests_per_minute, burst_size;
};

struct berth_conf_security {
    bool auth_enabled;
    const char *jwt_secret;   /* NULL: none */
    const char *api_key_file; /* NULL: none; its lines are in api_keys already */
    struct berth_conf_strings
        api_keys; /* "KEY", "KEY ROLE" (admin, operator, user, viewer), "KEY ROLE NAME" */
    bool cors_enabled;
    struct berth_conf_strings cors_allowed_origins;
    struct berth_conf_rate rate_limiting;
};

struct berth_conf_storage {
    const char *model_storage_path, *cache_storage_path, *log_storage_path;
    int64_t max_storage_gb;
};

struct berth_conf_logging {
    const char *level;  /* trace, debug, info, warn, error */
    const char *format; /* text, json */
    bool console_output, file_output, compress, show_line;
    const char *output; /* of the console: stderr, stdout */
    const char *file_path;
    int64_t rotation_size_mb, retention_count, max_age_days;
};

struct berth_conf_from {
    int argc; /* options and their values; no command name, no program name */
    char *const *argv;
    char *const *envp;
    bool file_first; /* argv[0] may be the path of the file, as unimodel-server takes it */
    const char *text, *text_name; /* not NULL: what the file says, instead of one; and its name */
};

struct berth_conf {
    struct berth_conf_server server;
    struct berth_conf_engine engine;
    struct berth_conf_plugins plugins;
    struct berth_conf_deploy deploy;
    struct berth_conf_monitoring monitoring;
    struct berth_conf_security security;
    struct berth_conf_storage storage;
    struct berth_conf_logging logging;
    const char *state_dir;                /* durable records, fetched models; never NULL */
    struct berth_conf_strings model_dirs; /* folders to watch for models */
    struct berth_conf_models models;
    const char *file; /* that was read, or NULL */
    /* Things to tell the operator once at info: keys that have no effect yet, and the like. */
    struct berth_conf_strings notes;
    struct berth_conf_from from; /* as given, to load again */
};

/*
 * Read file, environment and flags, check everything.  *ret is the caller's: berth_conf_free().
 * At SIGHUP call it again with the old one's `from`, whose argv and envp must still be there.
 *   -BERTH_EINVAL   a flag is wrong: a usage error
 *   -BERTH_ECONFIG  a value, key or file is wrong; the message names key and place
 *   -BERTH_ENOMEM
 */
int berth_conf_load(const struct berth_conf_from *from, struct berth_conf **ret,
                    struct berth_err *e);
void berth_conf_free(struct berth_conf *c); /* NULL is fine */

/* Did a file, the environment or a flag set it?  key is one of the table's. */
bool berth_conf_is_set(const struct berth_conf *c, const char *key);

/* The settings in effect as YAML; origins: with a comment where each came from, secrets hidden.
 * Without origins the text can serve as a configuration file: secrets are left out. */
void berth_conf_print(const struct berth_conf *c, bool origins, struct berth_buf *out);
/* Every setting, as Markdown. */
void berth_conf_docs(struct berth_buf *out);
/* The flags that most people need, for --help: at most 16 lines. */
void berth_conf_help(struct berth_buf *out);

/* Call each() for every key in which the two differ; live: it takes effect without a restart. */
void berth_conf_diff(const struct berth_conf *old, const struct berth_conf *now,
                     void (*each)(void *arg, const char *key, bool live), void *arg);

/* Walk the flags, for completion and manual pages.  False at the end. */
struct berth_conf_flag {
    char name[32];     /* without dashes */
    const char *value; /* what the value is called, or NULL for a switch */
    const char *help;
};
bool berth_conf_flag_at(size_t index, struct berth_conf_flag *ret);
/* The key of the setting at index, for completion of --set; NULL at the end. */
const char *berth_conf_key_at(size_t index);

/* Where records are kept when nothing says otherwise: BERTH_STATE_DIR, $XDG_STATE_HOME/berth,
 * ~/.local/state/berth, /var/lib/berth.  Returns room. */
const char *berth_conf_state_dir_default(char *const *envp, char *room, size_t room_size);

#endif
