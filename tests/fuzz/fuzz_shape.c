#include <stdint.h>
#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/buf.h"
#include "merge/limits.h"
#include "merge/shape.h"
#include "wire/json.h"
#include "wire/quantity.h"
#include "wire/yaml.h"

static const char *const kinds[] = {
    "Deployment",
    "LeaderWorkerSet",
    "HorizontalPodAutoscaler",
    "Service",
    "ConfigMap",
    "HTTPRoute",
    "InferencePool",
    "ServiceAccount",
    "InferenceModel",
    "InferenceObjective",
    "ModelService",
};

static int
check(struct berth_arena *a, const struct berth_shape *shape, const struct berth_shape_how *how,
      const struct berth_json *v, const struct berth_json **ret,
      struct berth_shape_problems *problems)
{
    struct berth_err e;

    const int rc = berth_shape_check(shape, v, how, a, ret, problems, &e);
    if (rc == 0)
        berth_assert(problems->count <= BERTH_SHAPE_PROBLEMS_MAX &&
                     problems->errors <= problems->count + problems->beyond);
    return rc;
}

/* What is meant is meant for good: checked again it stays, with the same problems. */
static void
document(struct berth_arena *a, const struct berth_shape *shape, const struct berth_json *v)
{
    static const struct berth_shape_how typed = {.is_typed = true};
    const struct berth_json *once, *twice;
    struct berth_shape_problems first, second;
    struct berth_buf b[2];

    if (check(a, shape, &typed, v, &once, &first) != 0 ||
        check(a, shape, NULL, v, &once, &first) != 0 ||
        check(a, shape, NULL, once, &twice, &second) != 0)
        return;
    berth_assert(first.errors == second.errors && first.count == second.count);
    berth_buf_init(&b[0], a);
    berth_buf_init(&b[1], a);
    berth_json_put(&b[0], once);
    berth_json_put(&b[1], twice);
    if (!b[0].failed && !b[1].failed)
        berth_assert(b[0].len == b[1].len && memcmp(b[0].at, b[1].at, b[0].len) == 0);
}

/* A document of any kind: what is of another type is not looked at. */
static void
limited(struct berth_arena *a, const struct berth_json *v)
{
    struct berth_shape_problems found;
    struct berth_err e;
    size_t count;
    const struct berth_limit *limits = berth_limits_of_model_service(&count);

    if (berth_limits_check(limits, count, v, a, &found, &e) == 0)
        berth_assert(found.count <= BERTH_SHAPE_PROBLEMS_MAX &&
                     found.errors <= found.count + found.beyond);
    limits = berth_limits_beyond_definition(&count);
    (void)berth_limits_check(limits, count, v, a, &found, &e);
}

static void
quantity(const char *text, size_t len)
{
    struct berth_quantity q, again;
    char once[BERTH_QUANTITY_TEXT_MAX], twice[BERTH_QUANTITY_TEXT_MAX];

    if (!berth_quantity_parse(text, len, &q))
        return;
    berth_quantity_text(&q, once);
    berth_assert(berth_quantity_parse(once, strlen(once), &again));
    berth_quantity_text(&again, twice);
    berth_assert(q.nano == again.nano && q.negative == again.negative && strcmp(once, twice) == 0);
}

/* The first byte (0 to 9, :) chooses the kind, the rest is the document, and a quantity. */
int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct berth_arena a;
    const struct berth_json *v;
    struct berth_yaml_notes notes;
    struct berth_err e;

    if (len == 0)
        return 0;
    const char *api = bytes[0] >= 'a' ? "inference.networking.k8s.io/v1" : NULL;
    const struct berth_shape *shape =
        berth_shape_of(kinds[(uint8_t)(bytes[0] - '0') % BERTH_COUNT(kinds)], api);
    const char *text = (const char *)bytes + 1;
    berth_arena_init(&a, 32 << 20);
    if (berth_yaml_parse_told(&a, text, len - 1, &v, &notes, &e) == 0) {
        document(&a, shape, v);
        limited(&a, v);
    }
    quantity(text, len - 1);
    berth_arena_fini(&a);
    return 0;
}
