#include <berth/settings.h>

#include "shimlets/shimmy/shimmy_priv.h"

static const char *const op_names[SHIMMY_OP_COUNT] = {
    [SHIMMY_APPLY] = "apply",
    [SHIMMY_REMOVE] = "remove",
    [SHIMMY_STATUS] = "status",
    [SHIMMY_LIST] = "list",
};

const char *
shimmy_op_name(enum shimmy_op op)
{
    return op_names[op];
}

#define INT(key, max, dflt, help)                  \
    {                                              \
        key, BERTH_SETTING_INT, 0, max, dflt, help \
    }
#define STRING(key, dflt, help)                     \
    {                                               \
        key, BERTH_SETTING_STRING, 0, 0, dflt, help \
    }
#define BOOL(key, dflt, help)                     \
    {                                             \
        key, BERTH_SETTING_BOOL, 0, 0, dflt, help \
    }
#define MS(key, dflt, help) INT(key, 86400000, dflt, help)

const struct berth_setting shimmy_settings[] = {
    INT("nodes", SHIMMY_NODES_MAX, "1", "machines, named node-0, node-1, ..."),
    INT("accelerators", 1024, "0", "of each machine; 0: as many as are asked for"),
    INT("cpu_milli", 1e9, "0", "thousandths of a core of each machine; 0: endless"),
    INT("memory_bytes", 1e18, "0", "of each machine; 0: endless"),
    BOOL("watches", "true", "tell of changes; false: the host has to ask"),
    MS("apply_ms", "0", "how long apply takes"),
    MS("remove_ms", "0", "how long remove takes"),
    MS("status_ms", "0", "how long status takes"),
    MS("list_ms", "0", "how long list takes"),
    MS("start_ms", "0", "from the start of a replica to ready"),
    MS("stop_ms", "0", "from the stop of a replica to gone"),
    BOOL("never_ready", "false", "replicas do not get ready, and fail after the start timeout"),
    MS("crash_after_ms", "0", "a replica that is ready crashes after this; 0: never"),
    INT("crash_count", 1e9, "1", "crashes of a unit altogether"),
    MS("restart_ms", "1000", "from a crash to the restart"),
    MS("drift_after_ms", "0", "somebody takes a replica away after this, once; 0: never"),
    STRING("fail_op", "", "operation that fails: apply, remove, status, list"),
    INT("fail_from", 1e9, "1", "first call of it, of a unit, that fails"),
    INT("fail_count", 1e9, "1", "calls that fail from there"),
    STRING("fail_code", "EIO", "EIO, ENETWORK, EAGAIN, EDEADLINE, EINVAL, EPERM, ELIMIT"),
    BOOL("fail_after", "false", "the deed is done and its answer is lost"),
    STRING("hang_op", "", "operation that does not end before it is cancelled"),
    INT("hang_count", 1e9, "1", "calls of it that hang, from the first"),
    STRING("endpoint", "", "of every replica; empty: a name that leads nowhere"),
    {.key = NULL},
};

static void
read_text(const char *json, const char *key, const char *dflt, char *ret, size_t cap)
{
    char was[SHIMMY_TEXT_MAX];

    (void)snprintf(was, sizeof was, "%s", dflt);
    (void)berth_setting_string(json, key, was, ret, cap);
}

struct shimmy_conf
shimmy_conf_read(const char *json, const struct shimmy_conf *dflt)
{
    struct shimmy_conf c = *dflt;

    for (int op = 0; op < SHIMMY_OP_COUNT; op++) {
        char key[32];

        (void)snprintf(key, sizeof key, "%s_ms", op_names[op]);
        c.op_ms[op] = berth_setting_int(json, key, dflt->op_ms[op]);
    }
    c.start_ms = berth_setting_int(json, "start_ms", dflt->start_ms);
    c.stop_ms = berth_setting_int(json, "stop_ms", dflt->stop_ms);
    c.restart_ms = berth_setting_int(json, "restart_ms", dflt->restart_ms);
    c.crash_after_ms = berth_setting_int(json, "crash_after_ms", dflt->crash_after_ms);
    c.crash_count = berth_setting_int(json, "crash_count", dflt->crash_count);
    c.drift_after_ms = berth_setting_int(json, "drift_after_ms", dflt->drift_after_ms);
    c.fail_from = berth_setting_int(json, "fail_from", dflt->fail_from);
    c.fail_count = berth_setting_int(json, "fail_count", dflt->fail_count);
    c.hang_count = berth_setting_int(json, "hang_count", dflt->hang_count);
    c.fail_after = berth_setting_bool(json, "fail_after", dflt->fail_after);
    c.never_ready = berth_setting_bool(json, "never_ready", dflt->never_ready);
    read_text(json, "fail_op", dflt->fail_op, c.fail_op, sizeof c.fail_op);
    read_text(json, "fail_code", dflt->fail_code, c.fail_code, sizeof c.fail_code);
    read_text(json, "hang_op", dflt->hang_op, c.hang_op, sizeof c.hang_op);
    read_text(json, "endpoint", dflt->endpoint, c.endpoint, sizeof c.endpoint);
    return c;
}
