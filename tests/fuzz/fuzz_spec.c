#include <stdint.h>
#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "deploy/spec.h"

/* Any text as a deploy request: refused, or its one form reads back as itself. */
int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static const struct berth_spec_defaults dflt = {
        .pipeline = "p", .shimlet = "s", .model_root = "/m"};
    struct berth_arena a;
    struct berth_spec s, again;
    struct berth_spec_fault f;
    struct berth_err e;
    bool lenient;
    const char *dir;

    berth_arena_init(&a, 64 << 20);
    if (berth_spec_parse_text((struct berth_slice){(const char *)bytes, len}, &dflt, &a, &s,
                              &lenient, &f, &e) == 0) {
        struct berth_buf out;

        berth_buf_init(&out, &a);
        if (berth_spec_parse_text((struct berth_slice){s.json, s.json_len}, &dflt, &a, &again,
                                  &lenient, &f, &e) == 0) {
            berth_assert(strcmp(s.json, again.json) == 0 && strcmp(s.hash, again.hash) == 0);
            berth_spec_diff(&s, &again, &a, &out);
        } else {
            berth_assert(s.json_len > BERTH_SPEC_BYTES_MAX || a.used_bytes > 32 << 20);
        }
        (void)berth_name_service(s.model_name, "u", &a);
        if (s.model_file != NULL)
            (void)berth_name_model_dir(s.model_file, &a, &dir, &e);
    }
    berth_arena_fini(&a);
    return 0;
}
