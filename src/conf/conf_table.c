#include "conf/conf_priv.h"

/* One row a setting, in the order of the documentation.  Short names keep a row readable. */
#define LIVE   BERTH_CONF_LIVE
#define SECRET BERTH_CONF_SECRET
#define NUL    BERTH_CONF_NULL
#define INERT  BERTH_CONF_INERT
#define MAIN   BERTH_CONF_MAIN
#define AT(f)  offsetof(struct berth_conf, f)

#define ROW(type_, f, dflt_, lo, hi, choices_, bits_, flag_, help_)                            \
    {                                                                                          \
        .key = #f, .type = BERTH_CONF_##type_, .offset = AT(f), .dflt = (dflt_), .min = (lo),  \
        .max = (hi), .choices = (choices_), .bits = (bits_), .flag = (flag_), .help = (help_), \
    }
#define INT(f, d, lo, hi, bits, flag, help)   ROW(INT, f, d, lo, hi, NULL, bits, flag, help)
#define FLOAT(f, d, lo, hi, bits, flag, help) ROW(FLOAT, f, d, lo, hi, NULL, bits, flag, help)
#define BOOL(f, d, bits, flag, help)          ROW(BOOL, f, d, 0, 0, NULL, bits, flag, help)
#define TEXT(f, d, bits, flag, help)          ROW(STRING, f, d, 1, 0, NULL, bits, flag, help)
#define ONE_OF(f, d, ch, bits, flag, help)    ROW(STRING, f, d, 1, 0, ch, bits, flag, help)
#define LIST(f, d, bits, flag, help)          ROW(STRINGS, f, d, 0, 0, NULL, bits, flag, help)

#define SECS_MAX 86400
#define MAX_INT  9007199254740992.0

/* clang-format off */
const struct berth_conf_row berth_conf_rows[] = {
    TEXT(server.host, "127.0.0.1", MAIN, "host ADDRESS", "address to listen on; 0.0.0.0: every interface"),
    INT(server.port, "8000", 0, 65535, MAIN, "port PORT", "HTTP port, all APIs; 0: any free one"),
    INT(server.grpc_port, "9000", 0, 65535, MAIN, "grpc-port PORT", "a second port for every API, gRPC too; open when set (or as unimodel-server); 0: any free one"),
    INT(server.max_connections, "1000", 1, 1000000, 0, "max-connections N", "connections at once; beyond them 503"),
    INT(server.worker_threads, NULL, 1, 1024, NUL, "worker-threads N", "event loops; null: one for each core that may be used"),
    INT(server.request_timeout_secs, "300", 1, SECS_MAX, 0, "request-timeout SECONDS", "longest time a request may take; beyond it 504"),
    INT(server.head_timeout_secs, "10", 1, SECS_MAX, 0, NULL, "from a request's first byte to the end of its head"),
    INT(server.body_timeout_secs, "30", 1, SECS_MAX, 0, NULL, "longest wait for the next bytes of a body"),
    INT(server.receive_timeout_secs, "0", 0, SECS_MAX, 0, NULL, "from a request's first byte to the last of its body, however steadily it comes; 0: no limit"),
    INT(server.idle_timeout_secs, "75", 1, SECS_MAX, 0, NULL, "an idle connection is closed after this"),
    INT(server.write_timeout_secs, "60", 1, SECS_MAX, 0, NULL, "a client that reads nothing is dropped after this"),
    INT(server.drain_timeout_secs, "30", 0, SECS_MAX, LIVE, "drain-timeout SECONDS", "at stop: time for running requests to finish"),
    INT(server.max_head_bytes, "32768", 1024, 1 << 20, 0, NULL, "request line and headers together; beyond it 431"),
    INT(server.max_body_bytes, "134217728", 1024, 1 << 30, 0, "max-body-bytes BYTES", "a request's body; beyond it 413"),
    INT(server.max_unsent_bytes, "1048576", 4096, 1 << 30, 0, NULL, "answer bytes kept for a slow reader"),
    INT(server.max_streams, "128", 1, 65536, 0, NULL, "HTTP/2 streams at once on a connection"),
    BOOL(server.enable_tls, "false", MAIN, "tls", "speak TLS on every port"),
    TEXT(server.tls_cert_path, NULL, NUL, "tls-cert FILE", "certificate chain, PEM"),
    TEXT(server.tls_key_path, NULL, NUL, "tls-key FILE", "private key, PEM"),
    TEXT(server.tls_client_ca_path, NULL, NUL, "tls-client-ca FILE", "clients must show a certificate of this authority, PEM"),

    INT(engine.max_models, "10", 1, 1000000, MAIN, "max-models N", "models that may be registered"),
    INT(engine.cores, NULL, 1, 4096, NUL, "cores N", "cores that engines may use together; null: all that this process may use"),
    BOOL(engine.governor, "true", 0, NULL, "hand these cores out run by run; false: leave it to the system, as where each model is pinned to cores of its own"),
    INT(engine.loaders, "2", 1, 64, 0, NULL, "models loaded at the same time"),
    INT(engine.queue_len, "256", 1, 65536, LIVE, "queue-len N", "requests waiting for one model; beyond it 429"),
    INT(engine.load_wait_secs, "120", 0, SECS_MAX, 0, "load-wait SECONDS", "longest wait of a request for its model to be loaded; beyond it 503"),
    INT(engine.default_batch_size, "8", 1, 65536, LIVE, "batch-size N", "requests in one run, when the model says nothing else"),
    INT(engine.max_batch_wait_ms, "50", 0, 60000, LIVE, "batch-wait MS", "longest wait of a request for company in a batch"),
    INT(engine.batch_config.max_batch_size, "32", 1, 65536, LIVE, NULL, "most requests in one run, when the model says nothing else"),
    INT(engine.batch_config.max_wait_time_ms, "50", 1, 60000, LIVE, NULL, "longest wait for company, when the model says nothing else"),
    BOOL(engine.batch_config.dynamic_padding, "true", LIVE, NULL, "inputs that a model lists in batching.pad are padded, so that lengths may meet"),
    INT(engine.batch_config.timeout_ms, "30000", 1, 86400000, 0, NULL, "a tensor request not answered after this gets 504"),
    ROW(INTS, engine.gpu.device_ids, "", 0, 65535, NULL, INERT, "gpu-devices LIST", "GPUs to use; empty: none"),
    FLOAT(engine.gpu.memory_fraction, "0.8", 0.0, 1, INERT, NULL, "share of a GPU's memory that may be used, above 0"),
    BOOL(engine.gpu.enable_pooling, "true", INERT, NULL, "several models may share a GPU"),
    BOOL(engine.gpu.enable_p2p, "false", INERT, NULL, "GPUs may copy to each other directly"),
    FLOAT(engine.memory.max_memory_gb, "16", 0.001, 1e6, MAIN, "max-memory GB", "memory (GiB) that models may take together; unless set: all that the machine or its control group has"),
    INT(engine.memory.reserve_mb, NULL, 1, 1 << 30, NUL, NULL, "memory (MiB) of the machine or control group that models never get; null: a twentieth, 16 to 2048"),
    INT(engine.memory.keep_alive_secs, NULL, 1, MAX_INT, NUL | MAIN, "keep-alive SECONDS", "a model that nobody used for so long is unloaded, and loaded again on demand; null: never"),
    BOOL(engine.memory.enable_mmap, "true", INERT, NULL, "map model files instead of reading them"),
    INT(engine.memory.cache_size_mb, "1024", 0, 1 << 24, LIVE, NULL, "memory for answers of models with response_cache; 0: none"),

    TEXT(plugins.plugin_dir, "./plugins", MAIN, "plugin-dir DIR", "folder with backends (berth-NAME.so)"),
    LIST(plugins.enabled_plugins, "", INERT, NULL, "backends that may be used; empty: all that are found"),
    ROW(MAP, plugins.plugin_configs, "{}", 0, 0, NULL, 0, NULL, "settings of shimlets, by name (docs/services.md); of backends: no effect yet"),
    INT(plugins.plugin_timeout_secs, "300", 1, SECS_MAX, 0, NULL, "longest time an isolated backend may take to load a model"),
    ONE_OF(plugins.isolation, "none", "none|process", MAIN, "isolation WHERE", "where models run: none (in this process), process; a model's own word goes first"),
    INT(plugins.run_timeout_secs, "300", 0, SECS_MAX, 0, NULL, "an isolated model's process is ended when a run or step takes longer; 0: never"),
    INT(plugins.adopt_secs, "30", 0, SECS_MAX, 0, NULL, "how long isolated models wait for the next server when this one is gone; 0: they end"),
    BOOL(plugins.keep_workers, "false", LIVE, "keep-workers", "at SIGTERM leave isolated models to the next server, as for an upgrade"),

    BOOL(deploy.enabled, "true", 0, NULL, "carry the control plane: deploy services, and route to them"),
    TEXT(deploy.shimlet, "process", 0, "shimlet NAME", "where services run that do not say it: process, docker, kubernetes, ..."),
    TEXT(deploy.pipeline, "opensourcellm", 0, "pipeline NAME", "how services are brought about that do not say it"),
    TEXT(deploy.model_root, "/models", 0, "model-root DIR", "a service's model without a path is DIR/NAME"),
    LIST(deploy.preload, "", 0, NULL, "shimlets and pipelines to load at start: paths of shared objects, or shimlet:PATH, pipeline:PATH"),
    BOOL(deploy.load_folder, "true", 0, NULL, "load berth-shimlet-*.so and berth-pipeline-*.so of plugins.plugin_dir at start"),
    BOOL(deploy.load_strict, "false", 0, NULL, "a shimlet or pipeline that cannot be loaded stops the start"),
    BOOL(deploy.load_any_path, "false", 0, NULL, "POST /api/v1/plugins/load may name files outside of plugins.plugin_dir"),
    TEXT(deploy.plugin_sums, NULL, NUL, NULL, "a file of lines 'SHA256  NAME' that shimlets and pipelines must be in"),
    ROW(MAP, deploy.accelerators, "{}", 0, 0, NULL, 0, NULL, "further names of accelerators, to resource names: {\"TPU v5\": \"google.com/tpu\"}"),
    INT(deploy.workers, "5", 1, 64, 0, NULL, "services brought about at the same time"),
    INT(deploy.resync_secs, "300", 1, SECS_MAX, 0, NULL, "every service is compared with its environment at least this often"),
    INT(deploy.poll_ms, "2000", 50, 3600000, 0, NULL, "environments that do not tell of changes are looked at this often"),
    INT(deploy.forget_secs, "600", 0, SECS_MAX, 0, NULL, "a deleted service is shown as terminated for this long"),
    INT(deploy.max_services, "10000", 1, 1000000, 0, NULL, "services that may exist"),
    INT(deploy.max_events, "10000", 100, 1000000, 0, NULL, "events that are kept"),
    INT(deploy.max_revisions, "20", 2, 1000, 0, NULL, "specs kept of a service, for rollback"),

    BOOL(monitoring.prometheus_enabled, "true", 0, NULL, "serve /metrics on prometheus_port as well, once that is set"),
    INT(monitoring.prometheus_port, "9090", 0, 65535, 0, "metrics-port PORT", "that port; open when set (or as unimodel-server); 0: any free one"),
    BOOL(monitoring.access_log, "false", 0, "access-log", "a log line for every request"),
    INT(monitoring.explain_requests, "4096", 0, 1000000, 0, NULL, "requests whose account `berth explain` remembers; 0: none"),
    BOOL(monitoring.jaeger_enabled, "false", INERT, NULL, "send traces"),
    TEXT(monitoring.jaeger_endpoint, NULL, NUL | INERT, NULL, "where to send traces"),
    INT(monitoring.health_check_interval_secs, "30", 1, SECS_MAX, INERT, NULL, "time between checks of a model's health"),
    INT(monitoring.metrics_collection_interval_secs, "60", 1, SECS_MAX, INERT, NULL, "time between measurements of the machine"),

    BOOL(security.auth_enabled, "false", 0, "auth", "ask for a key; on by itself with api_key_file"),
    ROW(STRING, security.jwt_secret, NULL, 8, 0, NULL, NUL | SECRET | INERT, NULL, "secret of HS256 tokens"),
    LIST(security.api_keys, "", SECRET, NULL, "keys: KEY, or 'KEY ROLE' with admin (all), operator (read, manage), user (read, infer), viewer (read), or 'KEY ROLE NAME'"),
    TEXT(security.api_key_file, NULL, NUL | MAIN, "api-key-file FILE", "keys, one a line as in api_keys; turns auth on"),
    BOOL(security.cors_enabled, "true", 0, NULL, "answer browsers of other origins"),
    LIST(security.cors_allowed_origins, "*", 0, NULL, "those origins; *: any"),
    BOOL(security.rate_limiting.enabled, "false", 0, "rate-limit", "limit requests of each client; beyond it 429"),
    INT(security.rate_limiting.requests_per_minute, "1000", 1, 1e9, 0, NULL, "that limit"),
    INT(security.rate_limiting.burst_size, "100", 1, 1e9, 0, NULL, "requests a client may make at once"),

    TEXT(storage.model_storage_path, "./models", INERT, NULL, "folder of models"),
    TEXT(storage.cache_storage_path, "./cache", INERT, NULL, "folder of fetched files"),
    TEXT(storage.log_storage_path, "./logs", INERT, NULL, "folder of logs"),
    INT(storage.max_storage_gb, "1000", 1, MAX_INT, INERT, NULL, "disk that fetched models may take"),

    ONE_OF(logging.level, "info", "trace|debug|info|warn|error", LIVE | MAIN, "log-level LEVEL", "least level that is logged"),
    ONE_OF(logging.format, "text", "text|json|pretty|compact", LIVE | MAIN, "log-format FORMAT", "text or json"),
    BOOL(logging.console_output, "true", LIVE, NULL, "log to standard error, or where logging.output says"),
    ONE_OF(logging.output, "stderr", "stderr|stdout", LIVE, NULL, "where logging.console_output goes"),
    BOOL(logging.file_output, "false", LIVE, NULL, "log to file_path; on when only that is set"),
    TEXT(logging.file_path, "./logs/unimodel.log", LIVE, "log-file FILE", "that file; opened anew at SIGHUP"),
    INT(logging.rotation_size_mb, "100", 1, 1 << 20, LIVE, NULL, "a log file is put aside at this size, as FILE.TIME"),
    INT(logging.retention_count, "10", 1, 1000, LIVE, NULL, "such files kept"),
    INT(logging.max_age_days, "0", 0, 36500, LIVE, NULL, "such files are removed after this; 0: never"),
    BOOL(logging.compress, "false", LIVE, NULL, "such files are compressed, to FILE.TIME.gz"),
    BOOL(logging.show_line, "false", LIVE, NULL, "say where in the source a line was written"),

    TEXT(state_dir, "", MAIN, "state-dir DIR", "registered models and fetched files are kept here"),
    LIST(model_dirs, "", MAIN, "model-dir DIR", "serve the models of a folder, now and later"),
    ROW(MODELS, models, "", 0, 0, NULL, MAIN, "model NAME=PATH", "serve this model; may be given again"),
};
/* clang-format on */

const size_t berth_conf_row_count = sizeof berth_conf_rows / sizeof berth_conf_rows[0];
_Static_assert(sizeof berth_conf_rows / sizeof berth_conf_rows[0] <= BERTH_CONF_ROWS_MAX,
               "origins has a place for every row");

const struct berth_conf_alias berth_conf_env_aliases[] = {
    {"UNIMODEL_HOST", "server.host"},
    {"UNIMODEL_PORT", "server.port"},
    {"UNIMODEL_GRPC_PORT", "server.grpc_port"},
    {"UNIMODEL_MAX_MODELS", "engine.max_models"},
    {"UNIMODEL_GPU_DEVICES", "engine.gpu.device_ids"},
    {"UNIMODEL_PLUGIN_DIR", "plugins.plugin_dir"},
    {NULL, NULL},
};

const struct berth_conf_alias berth_conf_key_aliases[] = {
    {"gpu.", "engine.gpu."},
    {"monitoring.log_level", "logging.level"},
    {NULL, NULL},
};
