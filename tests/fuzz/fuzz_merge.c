#include <stdint.h>
#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/buf.h"
#include "merge/merge.h"
#include "merge/rules.h"
#include "wire/json.h"
#include "wire/yaml.h"

static int
merge(struct berth_arena *a, const struct berth_json *base, const struct berth_json *overlay,
      const struct berth_json **ret)
{
    size_t count;
    const struct berth_merge_rule *rules = berth_merge_rules(&count);
    struct berth_err e;

    return berth_merge(rules, count, base, overlay, a, ret, &e);
}

/* Nothing over v, or v over nothing, is v. */
static void
stays(struct berth_arena *a, const struct berth_json *v)
{
    const struct berth_json *again = NULL;
    struct berth_buf was, is;

    if (merge(a, v, NULL, &again) != 0)
        return; /* the arena's limit */
    berth_buf_init(&was, a);
    berth_buf_init(&is, a);
    berth_json_put(&was, v);
    berth_json_put(&is, again);
    if (!was.failed && !is.failed)
        berth_assert(was.len == is.len && memcmp(was.at, is.at, was.len) == 0);
}

/* Two documents with a line of "---" between: the base and the overlay. */
int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    const char *text = (const char *)bytes;
    const char *cut = memmem(text, len, "\n---\n", 5);
    const size_t first = cut != NULL ? (size_t)(cut - text) : len;
    const size_t rest = cut != NULL ? first + 5 : len;
    struct berth_arena a;
    const struct berth_json *base, *overlay, *got = NULL;
    struct berth_err e;

    berth_arena_init(&a, 32 << 20);
    if (berth_yaml_parse(&a, text, first, &base, &e) == 0 &&
        berth_yaml_parse(&a, text + rest, len - rest, &overlay, &e) == 0 &&
        merge(&a, base, overlay, &got) == 0)
        stays(&a, got);
    berth_arena_fini(&a);
    return 0;
}
