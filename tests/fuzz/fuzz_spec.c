#include <stdint.h>
#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "deploy/spec/mask.h"
#include "deploy/spec/spec.h"
#include "wire/json.h"

/* Masked once is masked for good, and still JSON. */
static void
mask(const char *json, size_t len, struct berth_arena *a)
{
    const struct berth_json *v;
    struct berth_buf out[2];
    struct berth_jw w;

    for (int i = 0; i < 2; i++) {
        if (berth_json_parse(a, json, len, NULL, &v, NULL) < 0) {
            berth_assert(a->used_bytes > 32 << 20);
            return;
        }
        berth_buf_init(&out[i], a);
        berth_jw_init(&w, &out[i]);
        berth_mask_put(&w, v, false);
        if (out[i].failed)
            return;
        json = out[i].at;
        len = out[i].len;
    }
    berth_assert(out[0].len == out[1].len && memcmp(out[0].at, out[1].at, out[0].len) == 0);
}

/* What is sent back as it was shown is never refused for its stars. */
static void
send_back(const struct berth_spec *s, const struct berth_spec_defaults *dflt, struct berth_arena *a)
{
    struct berth_spec shown, got;
    const struct berth_json *v;
    struct berth_buf out;
    struct berth_jw w;
    struct berth_err e;
    bool lenient;

    berth_buf_init(&out, a);
    berth_jw_init(&w, &out);
    if (berth_json_parse(a, s->json, s->json_len, NULL, &v, NULL) < 0)
        return;
    berth_mask_put(&w, v, false);
    if (!out.failed && berth_spec_parse_text((struct berth_slice){out.at, out.len}, dflt, a, &shown,
                                             &lenient, NULL, &e) == 0) {
        const int r = berth_spec_unmasked(&shown, s, a, &got, &e);
        berth_assert(r == 0 || r == -BERTH_ENOMEM);
    }
}

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
            mask(s.json, s.json_len, &a);
            send_back(&s, &dflt, &a);
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
