#include <stdio.h>

#include "wire/json.h"

/* Members of an object that was written by this program: what is not there is a default. */

uint64_t
berth_json_member_uint(const struct berth_json *v, const char *key)
{
    uint64_t n = 0;

    (void)berth_json_uint(berth_json_get(v, key), &n);
    return n;
}

bool
berth_json_member_bool(const struct berth_json *v, const char *key)
{
    bool b = false;

    (void)berth_json_bool(berth_json_get(v, key), &b);
    return b;
}

const char *
berth_json_member_text(const struct berth_json *v, const char *key, const char *dflt)
{
    struct berth_slice text;

    return berth_json_string(berth_json_get(v, key), &text) ? text.at : dflt;
}

void
berth_json_member_copy(const struct berth_json *v, const char *key, char *ret, size_t cap)
{
    (void)snprintf(ret, cap, "%s", berth_json_member_text(v, key, ""));
}
