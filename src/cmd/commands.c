#include "cmd/cmd_priv.h"

#include <string.h>

#include "base/assert.h"

/* Every command, in the order of --help.  Help, completion and manual pages follow from this. */

static const struct berth_option json_only[] = {
    {"json", NULL, "print the server's answer as it is"},
    {NULL, NULL, NULL},
};

static const struct berth_option explain_options[] = {
    {"slowest", NULL, "list those that took longest first"},
    {"failed", NULL, "list only those that failed"},
    {"model", "NAME", "list only those of this model"},
    {"limit", "N", "list so many; 20"},
    {"json", NULL, "print the server's answer as it is"},
    {NULL, NULL, NULL},
};

static const struct berth_option plan_options[] = {
    {"backend", "NAME", "of a path; else by the file"},
    {"config", "JSON", "of a path: what it would be registered with"},
    {"json", NULL, "print the server's answer as it is"},
    {NULL, NULL, NULL},
};

static const struct berth_option run_options[] = {
    {"system", "TEXT", "what the model is told first"},
    {"max-tokens", "N", "longest answer"},
    {"temperature", "X", "0, unless told: always the likeliest word"},
    {"verbose", NULL, "say how fast it was"},
    {NULL, NULL, NULL},
};

static const struct berth_option pull_options[] = {
    {"name", "NAME", "the model's name when registered"},
    {"register", NULL, "register it with the running server"},
    {"sha256", "HEX", "what the file's checksum must be"},
    {"dir", "DIR", "put it there instead of the state folder"},
    {"token", "TOKEN", "access token for hf:// (HF_TOKEN)"},
    {NULL, NULL, NULL},
};

static const struct berth_option predict_options[] = {
    {"parameters", "JSON", "e.g. '{\"max_tokens\": 20}'"},
    {"json", NULL, "print the whole answer"},
    {NULL, NULL, NULL},
};

static const struct berth_option bench_options[] = {
    {"protocol", "P", "rest, binary (tensors as bytes) or grpc (rest)"},
    {"concurrency", "N[xM]", "connections, and streams on each (1)"},
    {"rate", "N", "requests a second whatever the answers (open loop)"},
    {"arrivals", "A", "of these: constant or poisson (constant)"},
    {"sweep", "FROM:TO:STEP", "one run for each rate"},
    {"p99", "MS", "a sweep ends where p99 is longer"},
    {"duration", "S", "seconds to measure (5)"},
    {"requests", "N", "measure N requests instead of a time"},
    {"warmup", "S", "seconds of load before that, not counted (1)"},
    {"input", "INPUT", "what to send, as for predict; or {\"inputs\": [...]}"},
    {"path", "PATH", "post INPUT as it is to PATH, of any server"},
    {"chat", "PROMPT", "measure a chat: tokens/s, time to first token"},
    {"max-tokens", "N", "longest answer of a chat (64)"},
    {"compare", "URL", "the same to another server, in turns"},
    {"rounds", "N", "runs of each, for medians (1; to compare: 3)"},
    {"server-pid", "P[,P]", "CPU time a request of local servers"},
    {"cpu", "N", "run this client on that core"},
    {"json", "FILE", "write the result as JSON; -: to standard output"},
    {NULL, NULL, NULL},
};

static const struct berth_option config_options[] = {
    {"docs", NULL, "print every setting as Markdown"},
    {"dump", NULL, "without where the values came from"},
    {NULL, NULL, NULL},
};

static const struct berth_cmd commands[] = {
    {"serve", "[options] [NAME=PATH...]", "serve models",
     "`berth config --docs` lists every setting, with its variable and flag.\n", NULL, 0, 0, true,
     false, berth_run_serve},
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
    {"doctor", "[options]", "what this machine has, what is wrong, what to do",
     "Takes the flags of `berth serve` and looks at what it would do with them.\n", NULL, 0, 0,
     true, false, berth_run_doctor},
    {"config", "[options]", "the settings in effect and where they came from",
     "Takes the flags of `berth serve` besides.\n", config_options, 0, 0, true, false,
     berth_run_config},
    {"version", "", "what program this is", NULL, NULL, 0, 0, false, false, berth_run_version},
    {"completion", "bash|zsh|fish", "completion for a shell",
     "  bash:  . <(berth completion bash)\n"
     "  zsh:   berth completion zsh > ~/.zfunc/_berth   (a folder of $fpath)\n"
     "  fish:  berth completion fish > ~/.config/fish/completions/berth.fish\n",
     NULL, 1, 1, false, false, berth_run_completion},
    {"man", "[COMMAND]", "a manual page in roff", "  berth man run | man -l -\n", NULL, 0, 1, false,
     false, berth_run_man},
    {"worker", "MODEL [SOCKET]", "runs one isolated model; `berth serve` starts it", NULL, NULL, 1,
     2, false, false, berth_run_worker},
};

static const struct berth_option client_options[] = {
    {"server", "URL", "the server (BERTH_SERVER; http://127.0.0.1:8000)"},
    {"api-key", "KEY", "its key (BERTH_API_KEY)"},
};
static const struct berth_option help_option = {"help", NULL, "print this"};

const struct berth_cmd *
berth_cmd_at(size_t index)
{
    return index < BERTH_COUNT(commands) ? &commands[index] : NULL;
}

const struct berth_cmd *
berth_cmd_find(const char *name)
{
    for (size_t i = 0; i < BERTH_COUNT(commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
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
