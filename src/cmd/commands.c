#include "cmd/cmd_priv.h"

#include <string.h>

#include "base/assert.h"

/* Every command, in the order of --help, which puts them into groups.  Help, completion and manual
 * pages follow from this. */

static const struct berth_option json_only[] = {
    {"json", NULL, "print the server's answer as it is", 0},
    {NULL, NULL, NULL, 0},
};

static const struct berth_option services_options[] = {
    {"all", NULL, "those that were deleted lately, too", 0},
    {"units", NULL, "what the environments have, orphans too", 0},
    {"json", NULL, "print the server's answer as it is", 0},
    {NULL, NULL, NULL, 0},
};

static const struct berth_option explain_options[] = {
    {"slowest", NULL, "list those that took longest first", 0},
    {"failed", NULL, "list only those that failed", 0},
    {"model", "NAME", "list only those of this model", 0},
    {"limit", "N", "list so many; 20", 0},
    {"json", NULL, "print the server's answer as it is", 0},
    {NULL, NULL, NULL, 0},
};

static const struct berth_option plan_options[] = {
    {"backend", "NAME", "of a path; else by the file", 0},
    {"config", "JSON", "of a path: what it would be registered with", 0},
    {"json", NULL, "print the server's answer as it is", 0},
    {NULL, NULL, NULL, 0},
};

static const struct berth_option run_options[] = {
    {"system", "TEXT", "what the model is told first", 0},
    {"max-tokens", "N", "longest answer", 0},
    {"temperature", "X", "0, unless told: always the likeliest word", 0},
    {"verbose", NULL, "say how fast it was", 0},
    {NULL, NULL, NULL, 0},
};

static const struct berth_option pull_options[] = {
    {"name", "NAME", "the model's name when registered", 0},
    {"register", NULL, "register it with the running server", 0},
    {"sha256", "HEX", "what the file's checksum must be", 0},
    {"dir", "DIR", "put it there instead of the state folder", 0},
    {"token", "TOKEN", "access token for hf:// (HF_TOKEN)", 0},
    {NULL, NULL, NULL, 0},
};

static const struct berth_option quantize_options[] = {
    {"type", "TYPE", "q8_0, unless told; another one lists them all", 0},
    {"again", NULL, "also what is quantised already, at a loss", 0},
    {"threads", "N", "cores; all, unless told", 0},
    {"backend", "NAME", "else by the file", 0},
    {NULL, NULL, NULL, 0},
};

static const struct berth_option predict_options[] = {
    {"parameters", "JSON", "e.g. '{\"max_tokens\": 20}'", 0},
    {"json", NULL, "print the whole answer", 0},
    {NULL, NULL, NULL, 0},
};

static const struct berth_option bench_options[] = {
    {"protocol", "P", "rest, binary (tensors as bytes) or grpc (rest)", 0},
    {"concurrency", "N[xM]", "connections, and streams on each (1)", 0},
    {"rate", "N", "requests a second whatever the answers (open loop)", 0},
    {"arrivals", "A", "of these: constant or poisson (constant)", 0},
    {"sweep", "FROM:TO:STEP", "one run for each rate", 0},
    {"p99", "MS", "a sweep ends where p99 is longer", 0},
    {"duration", "S", "seconds to measure (5)", 0},
    {"requests", "N", "measure N requests instead of a time", 0},
    {"warmup", "S", "seconds of load before that, not counted (1)", 0},
    {"input", "INPUT", "what to send, as for predict; or {\"inputs\": [...]}", 0},
    {"path", "PATH", "post INPUT as it is to PATH, of any server", 0},
    {"chat", "PROMPT", "measure a chat: tokens/s, time to first token", 0},
    {"max-tokens", "N", "longest answer of a chat (64)", 0},
    {"compare", "URL", "the same to another server, in turns", 0},
    {"rounds", "N", "runs of each, for medians (1; to compare: 3)", 0},
    {"server-pid", "P[,P]", "CPU time a request of local servers", 0},
    {"cpu", "N", "run this client on that core", 0},
    {"json", "FILE", "write the result as JSON; -: to standard output", 0},
    {NULL, NULL, NULL, 0},
};

static const struct berth_option config_options[] = {
    {"docs", NULL, "print every setting as Markdown", 0},
    {"dump", NULL, "without where the values came from", 0},
    {NULL, NULL, NULL, 0},
};

static const struct berth_option deploy_options[] = {
    {"file", "FILE", "the service as YAML or JSON; -: standard input", 'f'},
    {"shimlet", "NAME", "where it runs: process, docker, kubernetes, ...", 0},
    {"pipeline", "NAME", "how it is brought about", 0},
    {"replicas", "N", "copies of it", 0},
    {"plan", NULL, "only say what would be done", 0},
    {"no-wait", NULL, "do not wait until it runs", 0},
    {"timeout", "S", "wait at most so long (600)", 0},
    {"json", NULL, "print the server's answer as it is", 0},
    {NULL, NULL, NULL, 0},
};

static const struct berth_option update_options[] = {
    {"file", "FILE", "the whole new service, as YAML or JSON", 'f'},
    {"plan", NULL, "only say what would change", 0},
    {"no-wait", NULL, "do not wait until it runs", 0},
    {"timeout", "S", "wait at most so long (600)", 0},
    {"json", NULL, "print the server's answer as it is", 0},
    {NULL, NULL, NULL, 0},
};

static const struct berth_option wait_options[] = {
    {"no-wait", NULL, "do not wait until it is done", 0},
    {NULL, NULL, NULL, 0},
};

static const struct berth_option logs_options[] = {
    {"follow", NULL, "go on with what comes", 'f'},
    {"tail", "N", "the last N lines", 0},
    {"replica", "ID", "of this one alone", 0},
    {"track", "NAME", "stable or canary", 0},
    {"pipeline", NULL, "what its steps did, instead", 0},
    {NULL, NULL, NULL, 0},
};

static const struct berth_option events_options[] = {
    {"follow", NULL, "what comes from now on, as it comes", 'f'},
    {"json", NULL, "each as the server tells it, a line of JSON", 0},
    {NULL, NULL, NULL, 0},
};

static const struct berth_option plugins_options[] = {
    {"type", "TYPE", "shimlet or pipeline; else by the file's name", 0},
    {"replace", NULL, "load: take the place of one of that name", 0},
    {"json", NULL, "print the server's answer as it is", 0},
    {NULL, NULL, NULL, 0},
};

static const struct berth_option node_options[] = {
    {"shimlet", "NAME", "the environment that it is a machine of", 0},
    {NULL, NULL, NULL, 0},
};

static const struct berth_option modelservice_options[] = {
    {"modelservice", "FILE", "the ModelService (required); - for standard input", 'm'},
    {"baseconfig", "FILE", "the ConfigMap of its base configuration", 'b'},
    {"output", "FORMAT", "map (the default), yaml (for kubectl) or json", 'o'},
    {"inference-api", "VERSION", "pools of v1 or v1alpha2; else as written", 0},
    {"strict", NULL, "fail on warnings, too", 0},
    {"diff", NULL, "what it would change in a cluster; writes nothing", 0},
    {"epp-cluster-role", "NAME", "the rights of endpoint pickers", 0},
    {"epp-pull-secrets", BERTH_OPTION_LIST, "their image pull secrets", 0},
    {"pd-pull-secrets", BERTH_OPTION_LIST, "those of prefill and decode pods", 0},
    {"namespace", "NAME", "--diff: where the file does not say", 'n'},
    {"kubeconfig", "FILE", "--diff: which cluster; else as kubectl finds it", 0},
    {"context", "NAME", "--diff: of the kubeconfig; else its current one", 0},
    {NULL, NULL, NULL, 0},
};

static const struct berth_option operator_options[] = {
    {"epp-cluster-role", "NAME", "the rights of endpoint pickers (required)", 0},
    {"epp-pull-secrets", BERTH_OPTION_LIST, "their image pull secrets", 0},
    {"pd-pull-secrets", BERTH_OPTION_LIST, "those of prefill and decode pods", 0},
    {"namespace", "NAME", "look after this one alone; else all", 'n'},
    {"leader-elect", NULL, "of several operators, one works at a time", 0},
    {"leader-elect-lease-duration", "TIME", "until another takes over (15s)", 0},
    {"log-level", "LEVEL", "debug, info (if none is said), warn or error", 'l'},
    {"health-probe-bind-address", "ADDR", "/healthz, /readyz at HOST:PORT or :PORT", 0},
    {"metrics-bind-address", "ADDR", "/metrics, likewise", 0},
    {"metrics-secure", NULL, "by HTTPS, as it is with a certificate", 0},
    {"metrics-cert-path", "DIR", "the folder of its certificate and key", 0},
    {"metrics-cert-name", "FILE", "the certificate there (tls.crt)", 0},
    {"metrics-cert-key", "FILE", "the key there (tls.key)", 0},
    {"metrics-token-file", "FILE", "show /metrics only to who sends this token", 0},
    {"base-namespaces", BERTH_OPTION_LIST, "where others' base configurations may be; * any", 0},
    {"kubeconfig", "FILE", "which cluster; else as kubectl finds it", 0},
    {NULL, NULL, NULL, 0},
};

static const struct berth_cmd commands[] = {
    {"serve", "[options] [NAME=PATH...]", "serve models",
     "`berth config --docs` lists every setting, with its variable and flag.\n", NULL, 0, 0, true,
     false, berth_run_serve},
    {"doctor", "[options]", "what this machine has, what is wrong, what to do",
     "Takes the flags of `berth serve` and looks at what it would do with them.\n", NULL, 0, 0,
     true, false, berth_run_doctor},
    {"config", "[options]", "the settings in effect and where they came from",
     "Takes the flags of `berth serve` besides.\n", config_options, 0, 0, true, false,
     berth_run_config},
    {"run", "[options] MODEL [PROMPT]", "talk to a model; starts a server when none runs",
     "MODEL is a registered name, or a model's file.  Without PROMPT it is read\n"
     "from standard input; on a terminal that is a conversation: /clear forgets\n"
     "it, /bye ends it, Ctrl-C stops an answer.  A server that had to be started\n"
     "ends with the command; its log is run.log in the state folder.\n",
     run_options, 1, 2, false, true, berth_run_run},
    {"pull", "[options] SOURCE", "fetch a model file, going on where it stopped",
     "SOURCE is https://HOST/FILE, hf://ORG/REPO/FILE[@REVISION] or a path, and may\n"
     "end in #sha256=HEX.  HF_ENDPOINT is where hf:// goes.  Ctrl-C keeps the part:\n"
     "the same command goes on from there.\n",
     pull_options, 1, 1, false, true, berth_run_pull},
    {"list", "[options]", "the models that the server knows", NULL, json_only, 0, 0, false, true,
     berth_run_list},
    {"show", "[options] MODEL", "what a model is, takes and gives", NULL, json_only, 1, 1, false,
     true, berth_run_show},
    {"ps", "[options]", "the models in memory and what they do", NULL, json_only, 0, 0, false, true,
     berth_run_ps},
    {"plan", "[options] MODEL|PATH", "what loading it would take, and evict",
     "Nothing is loaded.  What was expected and how it turned out is in `berth show`.\n",
     plan_options, 1, 1, false, true, berth_run_plan},
    {"stop", "[options] MODEL", "unload a model; it stays registered", NULL, NULL, 1, 1, false,
     true, berth_run_stop},
    {"load", "[options] MODEL", "load a model that was unloaded or has failed", NULL, NULL, 1, 1,
     false, true, berth_run_load},
    {"rm", "[options] MODEL", "unregister a model; its files stay", NULL, NULL, 1, 1, false, true,
     berth_run_rm},
    {"predict", "[options] MODEL INPUT", "one prediction",
     "INPUT is text, JSON, a file's path (or @PATH), or - for standard input.\n"
     "An image is sent as it is; a file that ends in .json as what it says.\n",
     predict_options, 2, 2, false, true, berth_run_predict},
    {"explain", "[options] [REQUEST]", "where a request's time went",
     "REQUEST is the X-Request-Id of an answer.  Without it, the requests that the\n"
     "server remembers are listed, newest first: slow and failed ones longer than\n"
     "others (monitoring.explain_requests says how many).\n",
     explain_options, 0, 1, false, true, berth_run_explain},
    {"bench", "[options] MODEL", "measure a model, or several as NAME{0..9[:zipf]}", NULL,
     bench_options, 1, 1, false, true, berth_run_bench},
    {"deploy", "[options] [MODEL] [KEY=VALUE...]", "deploy a model as a service of its own",
     "MODEL is a file or folder, a model that the server has, or one of its model\n"
     "root.  KEY is a member of the service's spec: env.NAME=VALUE,\n"
     "resourceRequirements.memory=2Gi, contextLength=4096 (docs/services.md).\n"
     "Ctrl-C ends the watching, not the work.\n",
     deploy_options, 0, BERTH_CMD_WORDS_MAX, false, true, berth_run_deploy},
    {"services", "[options]", "the services that are deployed", NULL, services_options, 0, 0, false,
     true, berth_run_services},
    {"describe", "[options] SERVICE", "all about a service",
     "SERVICE is its id, its model's name, or the beginning of its id.\n", json_only, 1, 1, false,
     true, berth_run_describe},
    {"logs", "[options] SERVICE", "what a service's replicas print", NULL, logs_options, 1, 1,
     false, true, berth_run_logs},
    {"update", "[options] SERVICE [KEY=VALUE...]", "change a service",
     "KEY as for deploy; KEY=null takes a member away.  With\n"
     "strategy.type=canary strategy.canary.weight=10 the change gets a tenth of the\n"
     "requests until `berth promote` or `berth rollback`.\n",
     update_options, 1, BERTH_CMD_WORDS_MAX, false, true, berth_run_update},
    {"scale", "[options] SERVICE N", "another number of replicas", NULL, wait_options, 2, 2, false,
     true, berth_run_scale},
    {"rollback", "[options] SERVICE [REVISION]", "back to an earlier revision",
     "Without REVISION to the one before; a canary is ended.\n", wait_options, 1, 2, false, true,
     berth_run_rollback},
    {"promote", "[options] SERVICE", "the canary becomes the service",
     "The strategy stays: the next update is a canary, too, unless it says\n"
     "strategy.type=rolling.\n",
     wait_options, 1, 1, false, true, berth_run_promote},
    {"weight", "[options] SERVICE PERCENT", "the canary's share of requests", NULL, wait_options, 2,
     2, false, true, berth_run_weight},
    {"retry", "[options] SERVICE", "try a failed service again", NULL, wait_options, 1, 1, false,
     true, berth_run_retry},
    {"delete", "[options] SERVICE...", "delete services",
     "SERVICE is its whole id, or its model's name.\n", wait_options, 1, BERTH_CMD_WORDS_MAX, false,
     true, berth_run_delete},
    {"events", "[options] [SERVICE]", "what happened to services", NULL, events_options, 0, 1,
     false, true, berth_run_events},
    {"plugins", "[options] [list|load FILE|reload NAME|unload NAME]",
     "shimlets and pipelines of the server", NULL, plugins_options, 0, 2, false, true,
     berth_run_plugins},
    {"node", "[options] drain|undrain NODE", "take a machine out of service, or back", NULL,
     node_options, 2, 2, false, true, berth_run_node},
    {"modelservice", "[options] generate|help", "what a ModelService of llm-d comes to",
     "  berth modelservice generate -m msvc.yaml -b base.yaml            # look\n"
     "  berth modelservice generate -m msvc.yaml -b base.yaml --diff     # changes\n"
     "  berth modelservice generate -m msvc.yaml -b base.yaml -o yaml |  # and apply,\n"
     "      kubectl apply --server-side -f -          # where no operator is to do it\n"
     "A base is needed where the ModelService names one (baseConfigMapRef).\n"
     "--diff exits with 0: nothing would change, 1: something, 2: it cannot be told.\n"
     "It asks the API server as the operator would (server-side apply, dry run).\n",
     modelservice_options, 0, BERTH_CMD_WORDS_MAX, false, false, berth_run_modelservice},
    {"operator", "[options]", "looks after the ModelServices of a cluster",
     "  berth operator --epp-cluster-role modelservice-epp\n"
     "For --watch-namespace say --namespace, for -v=4 or --zap-log-level --log-level;\n"
     "--sync-period is not needed, as all that changes is seen.\n",
     operator_options, 0, 0, false, false, berth_run_operator},
    {"version", "", "what program this is", NULL, NULL, 0, 0, false, false, berth_run_version},
    {"completion", "bash|zsh|fish", "completion for a shell",
     "  bash:  . <(berth completion bash)\n"
     "  zsh:   berth completion zsh > ~/.zfunc/_berth   (a folder of $fpath)\n"
     "  fish:  berth completion fish > ~/.config/fish/completions/berth.fish\n",
     NULL, 1, 1, false, false, berth_run_completion},
    {"man", "[COMMAND]", "a manual page in roff", "  berth man run | man -l -\n", NULL, 0, 1, false,
     false, berth_run_man},
    {"quantize", "[options] FILE RESULT", "a model's file with smaller numbers",
     "  berth quantize --type q4_k_m model-f16.gguf model-q4.gguf\n", quantize_options, 2, 2, false,
     false, berth_run_quantize},
    {"worker", "MODEL [SOCKET]", "runs one isolated model; `berth serve` starts it", NULL, NULL, 1,
     2, false, false, berth_run_worker},
    {"probe", "shimlet|pipeline [FOLDER]",
     "tries a plugin before it is loaded; `berth serve` starts it", NULL, NULL, 1, 2, false, false,
     berth_run_probe},
};

/* Options of programs that a command takes the place of, for those who come from there. */
static const struct {
    const char *cmd, *option, *instead;
} elsewhere[] = {
    {"operator", "enable-http2",
     "leave it out; HTTP/1.1 and HTTP/2 are both served, within limits"},
    {"operator", "defaults-yaml-path",
     "leave it out; what is the same for many services is in their base configuration"},
    {"operator", "webhook-cert-path", "leave it out; there are no webhooks"},
    {"operator", "webhook-cert-name", "leave it out; there are no webhooks"},
    {"operator", "webhook-cert-key", "leave it out; there are no webhooks"},
    {"operator", "zap-log-level", "say --log-level debug, info, warn or error"},
    {"operator", "zap-devel", "say --log-level debug"},
    {"operator", "zap-encoder", "leave it out; lines are text on standard error"},
    {"operator", "zap-time-encoding", "leave it out; times are as RFC 3339 has them"},
    {"operator", "zap-stacktrace-level", "leave it out; there are no stack traces"},
    {"operator", "zap-*", "say --log-level debug, info, warn or error"},
    {"operator", "v", "say --log-level debug; of less, info, warn or error"},
    {"operator", "watch-namespace", "say --namespace NAME; without it, all are looked after"},
    {"operator", "watch-namespaces",
     "say --namespace NAME, of one; without it, all are looked after"},
    {"operator", "sync-period", "leave it out; what changes is watched, and mended at once"},
    {"operator", "resync-period", "leave it out; what changes is watched, and mended at once"},
    {"operator", "max-concurrent-reconciles", "leave it out; four are looked at at once"},
    {"operator", "kube-api-qps", "leave it out; the API server says when it is too much"},
    {"operator", "kube-api-burst", "leave it out; the API server says when it is too much"},
    {"operator", "leader-election", "say --leader-elect"},
    {"operator", "enable-leader-election", "say --leader-elect"},
    {"operator", "leader-election-id",
     "leave it out; the Lease is berth-modelservice, with --namespace NAME that and -NAME"},
    {"operator", "leader-election-namespace",
     "leave it out; the Lease is in the pod's namespace, or the kubeconfig's"},
    {"operator", "metrics-addr", "say --metrics-bind-address HOST:PORT"},
};

static const struct berth_option client_options[] = {
    {"server", "URL", "the server (BERTH_SERVER; http://127.0.0.1:8000)", 0},
    {"api-key", "KEY", "its key (BERTH_API_KEY)", 0},
};
static const struct berth_option help_option = {"help", NULL, "print this", 0};

const struct berth_cmd *
berth_cmd_at(size_t index)
{
    return index < BERTH_COUNT(commands) ? &commands[index] : NULL;
}

const char *
berth_cmd_group(const struct berth_cmd *cmd)
{
    static const struct {
        const char *first, *title;
    } groups[] = {{"serve", "the server"},
                  {"run", "models"},
                  {"deploy", "services: models deployed to run on their own"},
                  {"modelservice", "ModelServices of llm-d, in Kubernetes"},
                  {"version", "this program"}};

    for (size_t i = 0; i < BERTH_COUNT(groups); i++)
        if (strcmp(cmd->name, groups[i].first) == 0)
            return groups[i].title;
    return NULL;
}

const struct berth_cmd *
berth_cmd_find(const char *name)
{
    for (size_t i = 0; i < BERTH_COUNT(commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

const char *
berth_option_instead(const struct berth_cmd *cmd, const char *name)
{
    for (size_t i = 0; i < BERTH_COUNT(elsewhere); i++) {
        const char *option = elsewhere[i].option;
        const size_t begin = strcspn(option, "*"); /* what comes behind it does not matter */
        if (strcmp(elsewhere[i].cmd, cmd->name) == 0 && strncmp(option, name, begin) == 0 &&
            (option[begin] == '*' || name[begin] == '\0'))
            return elsewhere[i].instead;
    }
    return NULL;
}

const struct berth_option *
berth_option_at(const struct berth_cmd *cmd, size_t index)
{
    for (const struct berth_option *o = cmd->options; o != NULL && o->name != NULL; o++)
        if (index-- == 0)
            return o;
    if (cmd->is_client) {
        if (index < BERTH_COUNT(client_options))
            return &client_options[index];
        index -= BERTH_COUNT(client_options);
    }
    return index == 0 ? &help_option : NULL;
}
