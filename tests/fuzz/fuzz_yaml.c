#include <stdint.h>

#include "base/arena.h"
#include "wire/json.h"
#include "wire/yaml.h"

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct berth_arena a;
    struct berth_err e;
    const struct berth_json *v;

    berth_arena_init(&a, 16 << 20);
    (void)berth_yaml_parse(&a, (const char *)bytes, len, &v, &e);
    (void)berth_yaml_line((const char *)bytes, len, "server.port");
    berth_arena_fini(&a);
    return 0;
}
