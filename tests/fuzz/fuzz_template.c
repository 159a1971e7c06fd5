#include <stdint.h>
#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "template/template.h"
#include "wire/json.h"

/* Whatever the template, it ends within its bounds and says what is wrong. */
int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static const char text[] = "{\"Name\":\"a/b-c\",\"N\":3,\"F\":1.5,\"L\":[\"x\",2,null],"
                               "\"M\":{\"k\":\"v\",\"n\":{\"d\":true}},\"Nil\":null}";
    enum { OUT_MAX = 1 << 16 };
    struct berth_template t = {.name = "fuzz", .out_max = OUT_MAX, .work_max = 1 << 18};
    struct berth_template_trace trace = {0};
    struct berth_arena a;
    struct berth_buf out;
    struct berth_err e = {{0}};

    if (len % 2 == 1)
        t.trace = &trace;
    berth_arena_init(&a, 64 << 20);
    berth_buf_init(&out, &a);
    berth_assert(berth_json_parse(&a, text, sizeof text - 1, NULL, &t.data, &e) == 0);
    const int r = berth_template_render(&t, (const char *)bytes, len, &a, &out, &e);
    berth_assert(out.len <= OUT_MAX);
    berth_assert(r == 0 || t.trace != NULL || strncmp(e.msg, "fuzz: line ", 11) == 0);
    berth_assert(t.trace == NULL || (r < 0) == (trace.failure_count > 0));
    size_t lines = out.len > 0 && out.at[out.len - 1] != '\n';
    for (size_t i = 0; i < out.len; i++)
        lines += out.at[i] == '\n';
    berth_assert(r < 0 || t.trace == NULL || lines == trace.line_count);
    berth_arena_fini(&a);
    return 0;
}
