#include <stdint.h>
#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/buf.h"
#include "operator/modelservice/generate.h"
#include "operator/modelservice/service.h"

/* A ModelService, a line of "===" and a base configuration, as far as objects. */
int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static const char line[] = "\n===\n";
    const char *text = (const char *)bytes;
    const char *cut = len > 0 ? memmem(text, len, line, sizeof line - 1) : NULL;
    const size_t n = cut != NULL ? (size_t)(cut - text) : len;
    const size_t skip = cut != NULL ? n + sizeof line - 1 : len;
    const struct berth_msvc_files files = {.service = {text, n},
                                           .base = {cut != NULL ? text + skip : NULL, len - skip}};
    const struct berth_msvc_conf conf = {.epp_cluster_role = "picker",
                                         .managed = len % 2 == 0,
                                         .inference = (enum berth_msvc_inference)(len / 6 % 3),
                                         .no_objectives = len % 5 == 0};
    struct berth_msvc_problems problems;
    struct berth_arena a;
    struct berth_buf out;
    struct berth_err e = {""};

    berth_arena_init(&a, 64u << 20);
    problems = (struct berth_msvc_problems){.arena = &a};
    berth_buf_init(&out, &a);
    const int r = berth_msvc_generate(&files, &conf, (enum berth_msvc_format)(len % 3), &a,
                                      &problems, &out, &e);
    /* Who is refused is told why. */
    berth_assert(r == 0 || problems.errors > 0 || e.msg[0] != '\0');
    berth_arena_fini(&a);
    return 0;
}
