#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "infer/config_priv.h"

/* The keys that say when a model is in memory. */

static int
get_loading(const struct berth_json *v, struct berth_model_conf *c, struct berth_err *e)
{
    static const char *const names[] = {"start", "demand", "manual"};
    struct berth_slice text;

    for (size_t i = 0; berth_json_string(v, &text) && i < BERTH_COUNT(names); i++) {
        if (berth_slice_is(text, names[i])) {
            c->loading = (enum berth_loading)i;
            return 0;
        }
    }
    return berth_config_bad("load", "start, demand or manual", 0, 0, v, e);
}

/* As Ollama has it: seconds, or a number with a unit ("90s", "5m", "1h30m"); negative: for ever. */
static int
get_keep_alive(const struct berth_json *v, struct berth_model_conf *c, struct berth_err *e)
{
    static const struct {
        const char *unit;
        double seconds;
    } units[] = {{"ms", 0.001}, {"s", 1}, {"m", 60}, {"h", 3600}};
    struct berth_slice text = {NULL, 0};
    double sum = 0;

    if (!berth_json_real(v, &sum) && berth_json_string(v, &text) && text.len > 0 && text.len < 24) {
        const char *at = text.at;
        while (*at != '\0') {
            char *end;
            size_t i = 0;
            const double n = strtod(at, &end);
            const size_t len = strspn(end, "mhs");
            while (i < BERTH_COUNT(units) &&
                   (strlen(units[i].unit) != len || memcmp(units[i].unit, end, len) != 0))
                i++;
            if (end == at || i == BERTH_COUNT(units))
                break;
            sum += n * units[i].seconds;
            at = end + len;
        }
        text.len = *at == '\0' ? text.len : 0;
    }
    if ((berth_json_type(v) == BERTH_JSON_STRING && text.len == 0) ||
        (berth_json_type(v) != BERTH_JSON_STRING && !berth_json_real(v, &sum)) ||
        !(sum <= 31536000))
        return berth_config_bad("keep_alive", "seconds, or a text such as 5m; negative: for ever",
                                0, 0, v, e);
    c->has_keep_alive = true;
    c->keep_alive_ns = sum < 0 ? UINT64_MAX : (uint64_t)(sum * 1e9);
    return 0;
}

static int
get_memory(const struct berth_json *v, struct berth_model_conf *c, struct berth_err *e)
{
    static const double most = 1073741824;
    uint64_t mb;

    if (!berth_json_uint(v, &mb) || (double)mb > most)
        return berth_config_bad("memory_mb", "a whole number", 0, most, v, e);
    c->memory_bytes = mb << 20;
    return 0;
}

int
berth_config_memory(const char *key, const struct berth_json *v, struct berth_model_conf *c,
                    struct berth_err *e)
{
    if (strcmp(key, "load") == 0)
        return get_loading(v, c, e);
    if (strcmp(key, "keep_alive") == 0)
        return get_keep_alive(v, c, e);
    if (strcmp(key, "memory_mb") == 0)
        return get_memory(v, c, e);
    return berth_json_bool(v, &c->pin) ? 0 : berth_config_bad(key, "true or false", 0, 0, v, e);
}
