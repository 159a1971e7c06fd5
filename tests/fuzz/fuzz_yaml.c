#include <stdint.h>
#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/buf.h"
#include "wire/json.h"
#include "wire/yaml.h"

/* No object of what is told has two members of one name. */
static void
names_are_single(const struct berth_json *v)
{
    for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);) {
        if (berth_json_type(v) == BERTH_JSON_OBJECT && strlen(it.key.at) == it.key.len)
            berth_assert(berth_json_get(v, it.key.at) == it.value);
        names_are_single(it.value); /* at most BERTH_JSON_DEPTH_MAX deep */
    }
}

/* What is written reads back, in the stricter of the two readings, and is written the same again.
 */
static void
written(struct berth_arena *a, const struct berth_json *v)
{
    struct berth_yaml_notes notes;
    struct berth_buf once, twice;
    struct berth_err e = {""};

    berth_buf_init(&once, a);
    berth_buf_init(&twice, a);
    if (berth_yaml_put(&once, v, a) < 0 ||
        berth_yaml_parse_told(a, once.at, once.len, &v, &notes, &e) == -BERTH_ENOMEM)
        return;
    berth_assert(e.msg[0] == '\0');
    if (berth_yaml_put(&twice, v, a) == 0)
        berth_assert(once.len == twice.len && memcmp(once.at, twice.at, once.len) == 0);
}

static void
told(struct berth_arena *a, const char *text, size_t len)
{
    struct berth_yaml_notes notes;
    const struct berth_json *v;
    struct berth_err e;

    if (berth_yaml_parse_told(a, text, len, &v, &notes, &e) != 0)
        return;
    berth_assert(notes.count <= BERTH_YAML_NOTES_MAX);
    if (len < 10000) /* looking a name up takes as long as there are names */
        names_are_single(v);
    written(a, v);
}

/* What is looked for besides makes no difference. */
static void
places(const char *text, size_t len)
{
    static const char *const paths[] = {"a[1].b[0].c", "a", "a.b", "[0][1]", "a[0]", ""};
    struct berth_yaml_place all[BERTH_COUNT(paths)], one;

    berth_yaml_places_near(text, len, paths, BERTH_COUNT(paths), all);
    for (size_t i = 0; i < BERTH_COUNT(paths); i++) {
        berth_yaml_places_near(text, len, &paths[i], 1, &one);
        berth_assert(one.line == all[i].line && one.column == all[i].column &&
                     one.value_line == all[i].value_line && one.value_end == all[i].value_end);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct berth_arena a;
    struct berth_err e;
    const struct berth_json *v;
    const char *text = (const char *)bytes;

    berth_arena_init(&a, 16 << 20);
    (void)berth_yaml_parse(&a, text, len, &v, &e);
    berth_arena_reset(&a);
    told(&a, text, len);
    (void)berth_yaml_line(text, len, "server.port");
    places(text, len);
    berth_arena_fini(&a);
    return 0;
}
