#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <regex.h>

#include "base/assert.h"
#include "merge/limits.h"
#include "merge/shape_priv.h"
#include "operator/modelservice/kinds.h"
#include "operator/modelservice/test_arena.h"
#include "wire/json.h"
#include "wire/yaml.h"

/* What is known here of a ModelService is what its definition says (deploy/modelservice/crd.yaml),
 * all of it and nothing else. */

/* Facts, a line each: "spec.routing.ports[].port range 1 *". */
enum { FACTS_MAX = 1024 };
struct facts {
    const char *at[FACTS_MAX];
    size_t count;
};

__attribute__((format(printf, 2, 3))) static void
note(struct facts *f, const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    const int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    assert_in_range(n, 1, sizeof text - 1);
    assert_in_range(f->count, 0, FACTS_MAX - 1);
    f->at[f->count++] = berth_arena_strdup(&arena, text);
}

static const char *
bound_text(int64_t n, char ret[static 24])
{
    (void)snprintf(ret, 24, n == INT64_MAX ? "*" : "%lld", (long long)n);
    return ret;
}

static void
note_bounds(struct facts *f, const char *path, const char *what, int64_t min, int64_t max)
{
    char least[24], most[24];

    note(f, "%s %s %s %s", path, what, bound_text(min, least), bound_text(max, most));
}

static int
by_text(const void *x, const void *y)
{
    return strcmp(*(const char *const *)x, *(const char *const *)y);
}

static void
assert_same(struct facts *have, struct facts *want)
{
    size_t i = 0, k = 0, wrong = 0;

    qsort(have->at, have->count, sizeof have->at[0], by_text);
    qsort(want->at, want->count, sizeof want->at[0], by_text);
    while (i < have->count || k < want->count) {
        const int r = i == have->count   ? 1
                      : k == want->count ? -1
                                         : strcmp(have->at[i], want->at[k]);
        if (r < 0)
            print_message("  the table alone has: %s\n", have->at[i]);
        if (r > 0)
            print_message("  the definition alone has: %s\n", want->at[k]);
        wrong += r != 0;
        i += r <= 0;
        k += r >= 0;
    }
    assert_int_equal(wrong, 0);
}

/* ---- what the definition says ---- */

static const struct berth_json *
definition(void)
{
    const char *source = getenv("BERTH_SOURCE");
    const struct berth_json *v = NULL;
    struct berth_yaml_notes notes;
    struct berth_err e = {""};
    static char text[1 << 16];
    char path[4096];

    if (source == NULL)
        fail_msg("BERTH_SOURCE is not set: run it by meson test");
    (void)snprintf(path, sizeof path, "%s/deploy/modelservice/crd.yaml", source);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        fail_msg("%s: no such file", path);
    const size_t n = fread(text, 1, sizeof text, file);
    (void)fclose(file);
    assert_in_range(n, 1, sizeof text - 1);
    if (berth_yaml_parse_told(&arena, text, n, &v, &notes, &e) != 0)
        fail_msg("%s: %s", path, e.msg);
    return v;
}

static const struct berth_json *
schema_of(const struct berth_json *crd)
{
    struct berth_json_iter it =
        berth_json_iter(berth_json_get(berth_json_get(crd, "spec"), "versions"));

    assert_true(berth_json_next(&it));
    return berth_json_get(berth_json_get(it.value, "schema"), "openAPIV3Schema");
}

static void
note_range(struct facts *f, const char *path, const struct berth_json *schema, const char *what,
           const char *least, const char *most, int64_t min)
{
    int64_t max = INT64_MAX;
    const bool has_min = berth_json_int(berth_json_get(schema, least), &min);

    if (berth_json_int(berth_json_get(schema, most), &max) || has_min)
        note_bounds(f, path, what, min, max);
}

static void
note_lists(struct facts *f, const char *path, const struct berth_json *schema)
{
    const struct berth_json *keys = berth_json_get(schema, "x-kubernetes-list-map-keys");
    struct berth_json_iter it = berth_json_iter(berth_json_get(schema, "required"));
    struct berth_slice text;

    while (berth_json_next(&it)) {
        assert_true(berth_json_string(it.value, &text));
        note(f, "%s required %s", path, text.at);
    }
    it = berth_json_iter(berth_json_get(schema, "x-kubernetes-validations"));
    while (berth_json_next(&it))
        note(f, "%s rule %s", path, berth_json_member_text(it.value, "rule", "?"));
    it = berth_json_iter(keys);
    if (keys != NULL && berth_json_next(&it) && berth_json_string(it.value, &text))
        note(f, "%s distinct %s", path, text.at);
    assert_in_range(berth_json_len(keys), 0, 1);
}

/* A new word of the definition is to be thought of. */
static void
assert_known_words(const char *path, const struct berth_json *schema)
{
    static const char words[] =
        " additionalProperties anyOf default description format items maxItems maxLength maximum "
        "minItems minLength minimum nullable pattern properties required type "
        "x-kubernetes-int-or-string x-kubernetes-list-map-keys x-kubernetes-list-type "
        "x-kubernetes-map-type x-kubernetes-validations ";
    char word[64];

    for (struct berth_json_iter it = berth_json_iter(schema); berth_json_next(&it);) {
        (void)snprintf(word, sizeof word, " %.*s ", (int)it.key.len, it.key.at);
        if (strstr(words, word) == NULL)
            fail_msg("%s: what does%smean?", path, word);
    }
}

static void
read_schema(struct facts *f, const char *path, const struct berth_json *schema)
{
    char more[512];

    assert_known_words(path, schema);
    note_range(f, path, schema, "range", "minimum", "maximum", INT64_MIN);
    note_range(f, path, schema, "length", "minLength", "maxLength", 0);
    note_range(f, path, schema, "items", "minItems", "maxItems", 0);
    note_lists(f, path, schema);
    /* That of quantities is their type's. */
    if (berth_json_get(schema, "x-kubernetes-int-or-string") == NULL &&
        berth_json_get(schema, "pattern") != NULL)
        note(f, "%s pattern %s", path, berth_json_member_text(schema, "pattern", ""));
    if (berth_json_get(schema, "items") != NULL) {
        (void)snprintf(more, sizeof more, "%s[]", path);
        read_schema(f, more, berth_json_get(schema, "items"));
    }
    for (struct berth_json_iter it = berth_json_iter(berth_json_get(schema, "properties"));
         berth_json_next(&it);) {
        (void)snprintf(more, sizeof more, "%s%s%s", path, path[0] != '\0' ? "." : "", it.key.at);
        if (strcmp(more, "status") != 0)
            read_schema(f, more, it.value);
    }
}

/* ---- what the table says ---- */

static void
note_limit(struct facts *f, const char *path, const struct berth_limit *l)
{
    switch (l->kind) {
    case BERTH_LIMIT_REQUIRED:
        note(f, "%s required %s", path, l->text);
        break;
    case BERTH_LIMIT_RANGE:
        note_bounds(f, path, "range", l->min, l->max);
        break;
    case BERTH_LIMIT_LENGTH:
        note_bounds(f, path, "length", l->min, l->max);
        break;
    case BERTH_LIMIT_ITEMS:
        note_bounds(f, path, "items", l->min, l->max);
        break;
    case BERTH_LIMIT_PATTERN:
        note(f, "%s pattern %s", path, l->text);
        break;
    case BERTH_LIMIT_DISTINCT:
        note(f, "%s distinct %s", path, l->text);
        break;
    case BERTH_LIMIT_MATCHES:
        note(f, "%s rule self.matches('%s')", path, l->text);
        break;
    case BERTH_LIMIT_NO_MATCH:
        note(f, "%s rule !self.matches('%s')", path, l->text);
        break;
    case BERTH_LIMIT_RULE:
        note(f, "%s rule %s", path, l->text);
        break;
    }
}

/* Each path that "a|b" stands for. */
static void
note_each(struct facts *f, const char *before, const char *path, const struct berth_limit *l)
{
    const size_t bar = strcspn(path, "|");
    size_t begin = bar, step = 0;
    char text[512];

    if (path[bar] == '\0') {
        (void)snprintf(text, sizeof text, "%s%s", before, path);
        note_limit(f, text, l);
        return;
    }
    while (begin > 0 && path[begin - 1] != '.')
        begin--;
    const size_t end = begin + strcspn(path + begin, ".[");
    for (size_t at = begin; at < end; at += step + 1) {
        step = strcspn(path + at, "|.[");
        (void)snprintf(text, sizeof text, "%s%.*s%.*s", before, (int)begin, path, (int)step,
                       path + at);
        note_each(f, text, path + end, l);
    }
}

static void
the_limits_are_those_of_the_definition(void **unused)
{
    static struct facts have, want;
    size_t count;
    const struct berth_limit *limits = berth_limits_of_model_service(&count);

    (void)unused;
    for (size_t i = 0; i < count; i++) {
        note_each(&have, "", limits[i].path, &limits[i]);
        /* One that no holds() goes with is of a change, and such a one alone. */
        if (limits[i].kind == BERTH_LIMIT_RULE)
            assert_int_equal(limits[i].holds == NULL, strstr(limits[i].text, "oldSelf") != NULL);
    }
    read_schema(&want, "", schema_of(definition()));
    assert_in_range(want.count, 100, FACTS_MAX);
    assert_same(&have, &want);
}

static void
their_patterns_are_regular_expressions(void **unused)
{
    size_t count;
    const struct berth_limit *limits = berth_limits_of_model_service(&count);
    regex_t r;

    (void)unused;
    for (size_t i = 0; i < count; i++) {
        if (limits[i].kind != BERTH_LIMIT_PATTERN && limits[i].kind != BERTH_LIMIT_MATCHES &&
            limits[i].kind != BERTH_LIMIT_NO_MATCH)
            continue;
        assert_non_null(limits[i].says);
        assert_int_equal(regcomp(&r, limits[i].text, REG_EXTENDED | REG_NOSUB), 0);
        regfree(&r);
    }
}

/* ---- types ---- */

static void
note_shape(struct facts *f, const char *path, const struct berth_shape *shape)
{
    static const char *const types[] = {
        [SHAPE_ANY] = "any",       [SHAPE_STRING] = "string",   [SHAPE_INT] = "int64",
        [SHAPE_INT32] = "int32",   [SHAPE_BOOL] = "boolean",    [SHAPE_NUMBER] = "number",
        [SHAPE_OBJECT] = "object", [SHAPE_QUANTITY] = "amount", [SHAPE_INT_OR_STRING] = "port"};
    static const char *const many[] = {[SHAPE_ONE] = "", [SHAPE_LIST] = "[]", [SHAPE_MAP] = "{}"};
    char more[512];

    for (size_t i = 0; i < shape->count; i++) {
        const struct shape_field *one = &shape->fields[i];
        (void)snprintf(more, sizeof more, "%s.%s%s", path, one->name, many[one->many]);
        note(f, "%s %s", more, types[one->type]);
        if (one->type == SHAPE_OBJECT)
            note_shape(f, more, one->of);
    }
}

static void
note_type(struct facts *f, const char *path, const struct berth_json *schema)
{
    const char *type = berth_json_member_text(schema, "type", "amount");
    const struct berth_json *of = berth_json_get(schema, "additionalProperties");
    char more[512];

    if (strcmp(type, "array") == 0) {
        (void)snprintf(more, sizeof more, "%s[]", path);
        note_type(f, more, berth_json_get(schema, "items"));
        return;
    }
    if (of != NULL) {
        (void)snprintf(more, sizeof more, "%s{}", path);
        note_type(f, more, of);
        return;
    }
    note(f, "%s %s", path,
         strcmp(type, "integer") == 0 ? berth_json_member_text(schema, "format", "int64") : type);
    for (struct berth_json_iter it = berth_json_iter(berth_json_get(schema, "properties"));
         berth_json_next(&it);) {
        (void)snprintf(more, sizeof more, "%s.%s", path, it.key.at);
        note_type(f, more, it.value);
    }
}

static void
the_types_are_those_of_the_definition(void **unused)
{
    static struct facts have, want;
    const struct berth_json *spec =
        berth_json_get(berth_json_get(schema_of(definition()), "properties"), "spec");
    const struct shape_field *field = shape_find(&shape_model_service, BERTH_SLICE("spec"));

    (void)unused;
    note(&have, "spec object");
    note_shape(&have, "spec", field->of);
    note_type(&want, "spec", spec);
    assert_same(&have, &want);
}

static void
the_kind_is_that_of_the_definition(void **unused)
{
    const struct berth_json *spec = berth_json_get(definition(), "spec");
    struct berth_json_iter it = berth_json_iter(berth_json_get(spec, "versions"));
    char version[128];

    (void)unused;
    assert_true(berth_json_next(&it));
    (void)snprintf(version, sizeof version, "%s/%s", berth_json_member_text(spec, "group", ""),
                   berth_json_member_text(it.value, "name", ""));
    assert_string_equal(berth_msvc_services.group_version, version);
    assert_string_equal(berth_msvc_services.kind,
                        berth_json_member_text(berth_json_get(spec, "names"), "kind", ""));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_limits_are_those_of_the_definition, begin, end),
        cmocka_unit_test_setup_teardown(their_patterns_are_regular_expressions, begin, end),
        cmocka_unit_test_setup_teardown(the_types_are_those_of_the_definition, begin, end),
        cmocka_unit_test_setup_teardown(the_kind_is_that_of_the_definition, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
