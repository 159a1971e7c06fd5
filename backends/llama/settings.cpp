#include "settings.h"

#include <cstdlib>
#include <cstring>
#include <string>

#include "json.h"

/* C++ because the only JSON reader at hand is the engine's own. */

static const struct berth_setting table[] = {
#define X(type, name, start, min, max, dflt, help) \
    {#name, BERTH_SETTING_##type, (double)(min), (double)(max), dflt, help},
    BERTH_LLAMA_SETTINGS(X)
#undef X
        {nullptr, BERTH_SETTING_INT, 0, 0, nullptr, nullptr}};

const struct berth_setting *
berth_llama_settings_table(void)
{
    return table;
}

void
berth_llama_settings_fini(struct berth_llama_settings *s)
{
#define FREE_INT(name)
#define FREE_FLOAT(name)
#define FREE_BOOL(name)
#define FREE_STRING(name)                          free(s->name);
#define X(type, name, start, min, max, dflt, help) FREE_##type(name)
    BERTH_LLAMA_SETTINGS(X)
#undef X
    memset(s, 0, sizeof *s);
}

static bool
read_value(const common_json &v, int64_t *ret)
{
    if (!v.is_number_integer())
        return false;
    *ret = v.get<int64_t>();
    return true;
}

static bool
read_value(const common_json &v, double *ret)
{
    if (!v.is_number())
        return false;
    *ret = v.get<double>();
    return true;
}

static bool
read_value(const common_json &v, int *ret)
{
    if (!v.is_boolean())
        return false;
    *ret = v.get<bool>() ? 1 : 0;
    return true;
}

static bool
read_value(const common_json &v, char **ret)
{
    if (!v.is_string())
        return false;
    char *copy = strdup(v.get<std::string>().c_str());
    if (copy == nullptr)
        throw std::bad_alloc();
    free(*ret);
    *ret = copy;
    return true;
}

static const struct berth_setting *
row_of(const std::string &key)
{
    for (const struct berth_setting *row = table; row->key != nullptr; row++)
        if (key == row->key)
            return row;
    return nullptr;
}

static int
read_one(const std::string &key, const common_json &v, struct berth_llama_settings *s,
         struct berth_err *e)
{
    static const char *const type_names[] = {"a whole number", "a number", "true or false",
                                             "a string"};
    const struct berth_setting *row = row_of(key);
    bool ok = false;

    if (row == nullptr)
        return berth_err_set(e, BERTH_ECONFIG, "setting %s: not one of this backend's",
                             key.c_str());
#define X(type, name, start, min, max, dflt, help) \
    if (key == #name)                              \
        ok = read_value(v, &s->name);
    BERTH_LLAMA_SETTINGS(X)
#undef X
    if (!ok)
        return berth_err_set(e, BERTH_ECONFIG, "setting %s: must be %s", key.c_str(),
                             type_names[row->type]);
    if (row->min < row->max) {
        const double x = v.get<double>();

        if (!(x >= row->min && x <= row->max))
            return berth_err_set(e, BERTH_ECONFIG, "setting %s: %g is outside %g to %g",
                                 key.c_str(), x, row->min, row->max);
    }
    return 0;
}

static int
start_values(struct berth_llama_settings *s)
{
#define START_INT(name, start)   s->name = (start);
#define START_FLOAT(name, start) s->name = (start);
#define START_BOOL(name, start)  s->name = (start);
#define START_STRING(name, start)             \
    if ((s->name = strdup(start)) == nullptr) \
        return -BERTH_ENOMEM;
#define X(type, name, start, min, max, dflt, help) START_##type(name, start)
    BERTH_LLAMA_SETTINGS(X)
#undef X
    return 0;
}

int
berth_llama_settings_init(const char *json, struct berth_llama_settings *ret, struct berth_err *e)
{
    struct berth_llama_settings s;
    int r;

    memset(&s, 0, sizeof s);
    try {
        const common_json doc = common_json::parse(json);

        r = start_values(&s);
        if (r < 0)
            (void)berth_err_set(e, BERTH_ENOMEM, "settings: out of memory");
        else if (!doc.is_object())
            r = berth_err_set(e, BERTH_ECONFIG, "settings: not a JSON object");
        for (auto it = doc.begin(); r == 0 && it != doc.end(); ++it)
            r = read_one(it.key(), *it, &s, e);
    } catch (const std::bad_alloc &) {
        r = berth_err_set(e, BERTH_ENOMEM, "settings: out of memory");
    } catch (const std::exception &x) {
        r = berth_err_set(e, BERTH_ECONFIG, "settings: %s", x.what());
    }
    if (r < 0) {
        berth_llama_settings_fini(&s);
        return r;
    }
    *ret = s;
    return 0;
}
