#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/buf.h"
#include "merge/merge.h"
#include "wire/json.h"
#include "wire/yaml.h"

static struct berth_arena arena;

static const struct berth_json *
read_yaml(const char *text)
{
    const struct berth_json *v = NULL;
    struct berth_err e;

    if (text == NULL)
        return NULL;
    if (berth_yaml_parse(&arena, text, strlen(text), &v, &e) != 0)
        fail_msg("%s: %s", text, e.msg);
    return v;
}

static const char *
text_of(const struct berth_json *v)
{
    struct berth_buf b;

    berth_buf_init(&b, &arena);
    berth_json_put(&b, v);
    return berth_buf_text(&b);
}

/* Every mode under a short path. */
static const struct berth_merge_rule rules[] = {
    {"append", BERTH_MERGE_APPEND, NULL},
    {"args", BERTH_MERGE_PREPEND, NULL},
    {"caps", BERTH_MERGE_PREPEND, "distinct"},
    {"flags", BERTH_MERGE_FLAGS, NULL},
    {"keyed", BERTH_MERGE_KEYED, "name"},
    {"keyed[].units", BERTH_MERGE_KEYED_UNITS, "name"},
    {"ports", BERTH_MERGE_KEYED, "port,protocol=TCP"},
    {"refs", BERTH_MERGE_KEYED, "kind=Gateway,name,section?,port*"},
    {"terms", BERTH_MERGE_AND, NULL},
    {"atom|other", BERTH_MERGE_ATOMIC, NULL},
    {"probe", BERTH_MERGE_ONE_OF, "exec,httpGet"},
    {"volume", BERTH_MERGE_ONE_OF, "!name"},
    {"strategy", BERTH_MERGE_ONE_OF, "type=Rolling:rolling"},
    {"**.deep.args", BERTH_MERGE_PREPEND, NULL},
};

struct row {
    const char *why, *base, *overlay, *want;
};

static void
check(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct berth_json *got = NULL;
        struct berth_err e = {""};

        print_message("  %s\n", rows[i].why);
        const int rc = berth_merge(rules, BERTH_COUNT(rules), read_yaml(rows[i].base),
                                   read_yaml(rows[i].overlay), &arena, &got, &e);
        if (rc != 0)
            fail_msg("%s", e.msg);
        assert_string_equal(text_of(got), text_of(read_yaml(rows[i].want)));
        berth_arena_reset(&arena);
    }
}

static void
a_flag_that_is_given_again_takes_the_bases_place(void **unused)
{
    static const struct row rows[] = {
        {"others stay, behind", "{flags: [--port, '1']}", "{flags: [m]}",
         "{flags: [m, --port, '1']}"},
        {"a value of its own", "{flags: [--port, '1', --x]}", "{flags: [--port, '2']}",
         "{flags: [--port, '2', --x]}"},
        {"in one word", "{flags: [--port=1, --x]}", "{flags: [--port=2]}",
         "{flags: [--port=2, --x]}"},
        {"two words for one", "{flags: [--port=1, --x]}", "{flags: [--port, '2']}",
         "{flags: [--port, '2', --x]}"},
        {"one word for two", "{flags: [--port, '1', --x]}", "{flags: [--port=2]}",
         "{flags: [--port=2, --x]}"},
        {"without a value", "{flags: [m, --x, --y]}", "{flags: [--x]}", "{flags: [--x, m, --y]}"},
        {"what is no value is an argument", "{flags: [--x, m]}", "{flags: [--x]}",
         "{flags: [--x, m]}"},
        {"and behind '=' it is one", "{flags: [--x=1, m]}", "{flags: [--x, '2']}",
         "{flags: [--x, '2', m]}"},
        {"a negative number is a value", "{flags: [--n, '-1', --y]}", "{flags: [--n, '-2']}",
         "{flags: [--n, '-2', --y]}"},
        {"one that may be a list stays", "{flags: [--x=1, a, --x, '2']}", "{flags: [--x=3]}",
         "{flags: [--x=3, --x=1, a, --x, '2']}"},
        {"also the overlay's", "{flags: [--x, '1', --y]}", "{flags: [--x, '2', --x, '3']}",
         "{flags: [--x, '2', --x, '3', --x, '1', --y]}"},
        {"an argument is not lost", "{flags: [--x, m]}", "{flags: [--x, a, b]}",
         "{flags: [--x, a, b, --x, m]}"},
        {"a switch here, words there", "{flags: [m, --x]}", "{flags: [--x, a, b]}",
         "{flags: [--x, a, b, m]}"},
        {"of several values nothing goes", "{flags: [--l, a, b, --y]}", "{flags: [--l, c]}",
         "{flags: [--l, c, --l, a, b, --y]}"},
        {"another name that begins so", "{flags: [--port-x, '1', --por=1]}", "{flags: [--port=2]}",
         "{flags: [--port=2, --port-x, '1', --por=1]}"},
        {"short ones may be many at once", "{flags: [-v, -v]}", "{flags: [-v]}",
         "{flags: [-v, -v, -v]}"},
        {"behind -- there are none", "{flags: [--, --x]}", "{flags: [--x]}",
         "{flags: [--x, --, --x]}"},
        {"nor behind the overlay's", "{flags: [--x]}", "{flags: [--x, --, a]}",
         "{flags: [--x, --, a, --x]}"},
        {"what is not text is no flag", "{flags: [1, ~, {a: b}]}", "{flags: [--x]}",
         "{flags: [--x, 1, ~, {a: b}]}"},
        {"the mark takes all of them away", "{flags: [--x, a]}", "{flags: [$replace, b]}",
         "{flags: [b]}"},
        {"no base", "{}", "{flags: [--x]}", "{flags: [--x]}"},
    };

    (void)unused;
    check(rows, BERTH_COUNT(rows));
}

static void
what_is_there_is_meant(void **unused)
{
    static const struct row rows[] = {
        {"nothing over nothing", "{}", "{}", "{}"},
        {"no base", NULL, "{a: 1}", "{a: 1}"},
        {"no overlay", "{a: 1}", NULL, "{a: 1}"},
        {"members of both, the base's first", "{a: 1, b: 2}", "{c: 3, b: 4}", "{a: 1, b: 4, c: 3}"},
        {"nought overrides", "{replicas: 2}", "{replicas: 0}", "{replicas: 0}"},
        {"false overrides", "{a: true}", "{a: false}", "{a: false}"},
        {"an empty string overrides", "{a: x}", "{a: ''}", "{a: ''}"},
        {"a number for a string, and back", "{a: x, b: 1}", "{a: 1, b: x}", "{a: 1, b: x}"},
        {"a percentage becomes a number", "{maxSurge: 25%}", "{maxSurge: 0}", "{maxSurge: 0}"},
        {"null takes away", "{a: 1, b: {c: 2, d: 3}}", "{a: null, b: {c: ~}}", "{b: {d: 3}}"},
        {"null takes nothing away", "{a: 1}", "{b: null, c: {d: null}}", "{a: 1, c: {}}"},
        {"null in the base gives way", "{a: null, b: ~}", "{a: {x: 1}}", "{a: {x: 1}, b: ~}"},
        {"objects merge at any depth", "{a: {b: {c: 1, x: {y: 2}}}}", "{a: {b: {d: {e: 3}}}}",
         "{a: {b: {c: 1, x: {y: 2}, d: {e: 3}}}}"},
        {"a list without a rule is replaced", "{l: [1, 2, 3]}", "{l: [4]}", "{l: [4]}"},
        {"an empty list keeps the base's", "{l: [1]}", "{l: []}", "{l: [1]}"},
        {"null takes a list away", "{l: [1]}", "{l: null}", "{}"},
        {"the mark alone empties it", "{l: [1]}", "{l: [$replace]}", "{l: []}"},
        {"an atomic object", "{atom: {a: 1, b: 2}}", "{atom: {b: 3}}", "{atom: {b: 3}}"},
        {"an empty atomic object", "{other: {a: 1}}", "{other: {}}", "{other: {}}"},
        {"an empty atomic list", "{atom: [1]}", "{atom: []}", "{atom: []}"},
    };

    (void)unused;
    check(rows, BERTH_COUNT(rows));
}

static void
lists_merge_by_their_rule(void **unused)
{
    static const struct row rows[] = {
        {"appended without what is there", "{append: [{a: 1}, {b: 2}]}",
         "{append: [{c: 3}, {a: 1}]}", "{append: [{a: 1}, {b: 2}, {c: 3}]}"},
        {"nearly equal is not equal", "{append: [{a: 1}]}", "{append: [{a: '1'}]}",
         "{append: [{a: 1}, {a: '1'}]}"},
        {"put in front, doubles too", "{args: [--port, 1]}", "{args: [m, --port, 2]}",
         "{args: [m, --port, 2, --port, 1]}"},
        {"marked to replace", "{args: [--port, 1]}", "{args: [$replace, m]}", "{args: [m]}"},
        {"marked where there is nothing", "{}", "{args: [$replace, m], new: {args: [$replace, n]}}",
         "{args: [m], new: {args: [n]}}"},
        {"the mark is the first or no mark", "{args: [a]}", "{args: [m, $replace]}",
         "{args: [m, $replace, a]}"},
        {"the base's mark is a word", "{args: [$replace, a]}", "{args: [b]}",
         "{args: [b, $replace, a]}"},
        {"put in front without doubles", "{caps: [ALL, A]}", "{caps: [B, A]}",
         "{caps: [B, A, ALL]}"},
        {"below any number of steps", "{deep: {args: [a]}, x: [1], y: {z: {deep: {args: [b]}}}}",
         "{deep: {args: [c]}, y: {z: {deep: {args: [d]}}}}",
         "{deep: {args: [c, a]}, x: [1], y: {z: {deep: {args: [d, b]}}}}"},
        {"a rule is for its path alone", "{x: {args: [a]}}", "{x: {args: [b]}}",
         "{x: {args: [b]}}"},
        {"a member with the path for a name", "{x.deep: {args: [a]}}", "{x.deep: {args: [b]}}",
         "{x.deep: {args: [b]}}"},
    };

    (void)unused;
    check(rows, BERTH_COUNT(rows));
}

static void
elements_pair_by_key(void **unused)
{
    static const struct row rows[] = {
        {"pairs merge, others follow", "{keyed: [{name: b}, {name: a, v: 1, w: 2}]}",
         "{keyed: [{name: z}, {name: a, v: 3}, {name: c}]}",
         "{keyed: [{name: b}, {name: a, v: 3, w: 2}, {name: z}, {name: c}]}"},
        {"no base", "{keyed: null}", "{keyed: [{name: a}, {name: b}]}",
         "{keyed: [{name: a}, {name: b}]}"},
        {"without a name they are one", "{keyed: [{v: 1}]}", "{keyed: [{w: 2}, {name: '', w: 3}]}",
         "{keyed: [{v: 1, name: '', w: 3}]}"},
        {"of the overlay's doubles the last pairs", "{keyed: [{name: a, v: 1}]}",
         "{keyed: [{name: a, v: 2}, {name: a, w: 3}]}", "{keyed: [{name: a, v: 1, w: 3}]}"},
        {"new doubles are all appended", "{keyed: [{name: q}]}",
         "{keyed: [{name: a, v: 1}, {name: a, v: 2}]}",
         "{keyed: [{name: q}, {name: a, v: 1}, {name: a, v: 2}]}"},
        {"each of the base's doubles is merged", "{keyed: [{name: a, v: 1}, {name: a, v: 2}]}",
         "{keyed: [{name: a, w: 3}]}", "{keyed: [{name: a, v: 1, w: 3}, {name: a, v: 2, w: 3}]}"},
        {"units are not merged",
         "{keyed: [{name: c, units: [{name: T, value: plain}, {name: U, value: x}]}]}",
         "{keyed: [{name: c, units: [{name: V, value: y}, {name: T, from: {s: k}}]}]}",
         "{keyed: [{name: c, units: [{name: T, from: {s: k}}, {name: U, value: x}, "
         "{name: V, value: y}]}]}"},
        {"a missing key has its default", "{ports: [{port: 80}, {port: 80, protocol: UDP}]}",
         "{ports: [{port: 80, protocol: TCP, x: 1}, {port: 81}]}",
         "{ports: [{port: 80, protocol: TCP, x: 1}, {port: 80, protocol: UDP}, {port: 81}]}"},
        {"null is a missing key", "{ports: [{port: 80, protocol: null}]}",
         "{ports: [{port: 80, x: 1}]}", "{ports: [{port: 80, protocol: null, x: 1}]}"},
        {"null in what is appended", "{keyed: [{name: a}]}", "{keyed: [{name: b, v: null}]}",
         "{keyed: [{name: a}, {name: b}]}"},
        {"lists in a pair follow their own rule", "{keyed: [{name: a, units: [{name: X, v: 1}]}]}",
         "{keyed: [{name: a, units: []}]}", "{keyed: [{name: a, units: [{name: X, v: 1}]}]}"},
    };

    (void)unused;
    check(rows, BERTH_COUNT(rows));
}

static void
graded_keys(void **unused)
{
    static const struct row rows[] = {
        {"another port is another value", "{refs: [{name: g, port: 1}, {name: o}]}",
         "{refs: [{name: g, port: 2}, {name: t}]}",
         "{refs: [{name: g, port: 2}, {name: o}, {name: t}]}"},
        {"another section is another one", "{refs: [{name: g, section: a}]}",
         "{refs: [{name: g, section: b}]}",
         "{refs: [{name: g, section: a}, {name: g, section: b}]}"},
        {"one without a section gets it", "{refs: [{name: g, x: 1}]}",
         "{refs: [{name: g, section: a}, {name: g, section: b}]}",
         "{refs: [{name: g, x: 1, section: a}, {name: g, section: b}]}"},
        {"all sections are meant", "{refs: [{name: g, section: a}, {name: g, section: b}]}",
         "{refs: [{name: g, x: 1}]}",
         "{refs: [{name: g, section: a, x: 1}, {name: g, section: b, x: 1}]}"},
        {"the same one before one that fits", "{refs: [{name: g, port: 2}]}",
         "{refs: [{name: g, port: 1}, {name: g, port: 2, x: 1}]}",
         "{refs: [{name: g, port: 2, x: 1}, {name: g, port: 1}]}"},
        {"two that become one", "{refs: [{name: g, port: 1}, {name: g, port: 2}]}",
         "{refs: [{name: g, port: 3}]}", "{refs: [{name: g, port: 3}]}"},
        {"another kind", "{refs: [{name: g}]}", "{refs: [{name: g, kind: Service}]}",
         "{refs: [{name: g}, {name: g, kind: Service}]}"},
        {"a default said", "{refs: [{name: g}]}", "{refs: [{name: g, kind: Gateway}]}",
         "{refs: [{name: g, kind: Gateway}]}"},
    };

    (void)unused;
    check(rows, BERTH_COUNT(rows));
}

static void
terms_are_alternatives(void **unused)
{
    static const struct row rows[] = {
        {"both must hold", "{terms: [{matchExpressions: [{key: zone}]}]}",
         "{terms: [{matchExpressions: [{key: gpu}]}]}",
         "{terms: [{matchExpressions: [{key: zone}, {key: gpu}]}]}"},
        {"in every term", "{terms: [{matchExpressions: [{key: a}]}, {matchFields: [{key: b}]}]}",
         "{terms: [{matchExpressions: [{key: gpu}]}]}",
         "{terms: [{matchExpressions: [{key: a}, {key: gpu}]}, "
         "{matchExpressions: [{key: gpu}], matchFields: [{key: b}]}]}"},
        {"each with each", "{terms: [{matchExpressions: [{key: a}]}]}",
         "{terms: [{matchExpressions: [{key: b}]}, {matchExpressions: [{key: c}]}]}",
         "{terms: [{matchExpressions: [{key: a}, {key: b}]}, "
         "{matchExpressions: [{key: a}, {key: c}]}]}"},
        {"once is enough", "{terms: [{matchExpressions: [{key: gpu}, {key: a}]}]}",
         "{terms: [{matchExpressions: [{key: gpu}]}]}",
         "{terms: [{matchExpressions: [{key: gpu}, {key: a}]}]}"},
        {"a term that fits nothing stays so", "{terms: [{}, {matchExpressions: [{key: a}]}]}",
         "{terms: [{matchExpressions: [{key: b}]}]}",
         "{terms: [{}, {matchExpressions: [{key: a}, {key: b}]}]}"},
        {"no terms before", "{terms: []}", "{terms: [{matchExpressions: [{key: b}]}]}",
         "{terms: [{matchExpressions: [{key: b}]}]}"},
        {"no terms to add", "{terms: [{matchExpressions: [{key: b}]}]}", "{terms: []}",
         "{terms: [{matchExpressions: [{key: b}]}]}"},
    };

    (void)unused;
    check(rows, BERTH_COUNT(rows));
}

static void
only_one_of_them(void **unused)
{
    static const struct row rows[] = {
        {"another choice", "{probe: {httpGet: {path: /h}, period: 5}}",
         "{probe: {exec: {command: [x]}}}", "{probe: {period: 5, exec: {command: [x]}}}"},
        {"the same choice merges", "{probe: {httpGet: {path: /h, port: 1}}}",
         "{probe: {httpGet: {port: x}}}", "{probe: {httpGet: {path: /h, port: x}}}"},
        {"no choice", "{probe: {exec: {}}}", "{probe: {period: 1}}",
         "{probe: {exec: {}, period: 1}}"},
        {"null is no choice", "{probe: {exec: {}}}", "{probe: {httpGet: null}}",
         "{probe: {exec: {}}}"},
        {"all but the name", "{volume: {name: v, emptyDir: {sizeLimit: 1Gi}}}",
         "{volume: {name: v, pvc: {claimName: c}}}", "{volume: {name: v, pvc: {claimName: c}}}"},
        {"the same source keeps what it says", "{volume: {name: v, emptyDir: {sizeLimit: 1Gi}}}",
         "{volume: {name: v, emptyDir: {}}}", "{volume: {name: v, emptyDir: {sizeLimit: 1Gi}}}"},
        {"what belongs to another type", "{strategy: {type: Rolling, rolling: {a: 1}}}",
         "{strategy: {type: Recreate}}", "{strategy: {type: Recreate}}"},
        {"what belongs to the default", "{strategy: {rolling: {a: 1}}}",
         "{strategy: {type: Recreate}}", "{strategy: {type: Recreate}}"},
        {"what resets the type", "{strategy: {type: Recreate}}", "{strategy: {rolling: {a: 1}}}",
         "{strategy: {rolling: {a: 1}}}"},
        {"the same type merges", "{strategy: {type: Rolling, rolling: {a: 1, b: 2}}}",
         "{strategy: {type: Rolling, rolling: {a: 3}}}",
         "{strategy: {type: Rolling, rolling: {a: 3, b: 2}}}"},
    };

    (void)unused;
    check(rows, BERTH_COUNT(rows));
}

/* JSON, where the reader keeps members of one name. */
static void
the_last_of_one_name_counts(void **unused)
{
    const struct berth_json *b, *o, *got;

    (void)unused;
    assert_int_equal(berth_json_parse(&arena, "{\"a\":1,\"a\":2,\"b\":3}", 19, NULL, &b, NULL), 0);
    assert_int_equal(berth_json_parse(&arena, "{\"c\":4,\"b\":5,\"c\":6}", 19, NULL, &o, NULL), 0);
    assert_int_equal(berth_merge(rules, BERTH_COUNT(rules), b, o, &arena, &got, NULL), 0);
    assert_string_equal(text_of(got), "{\"a\":2,\"b\":5,\"c\":6}");
    berth_arena_reset(&arena);
}

static void
what_does_not_fit_is_named(void **unused)
{
    static const struct {
        const char *base, *overlay, *want;
    } cases[] = {
        {"{a: {b: [1]}}", "{a: {b: {c: 1}}}", "a.b: a list is merged with an object"},
        {"{a: {b: 1}}", "{a: {b: [1]}}", "a.b: a whole number is merged with a list"},
        {"{a: {b: {}}}", "{a: {b: x}}", "a.b: an object is merged with a string"},
        {"{keyed: [{name: a, v: {}}]}", "{keyed: [{name: a, v: 1}]}",
         "keyed[name=a].v: an object is merged with a whole number"},
        {"{keyed: [1]}", "{keyed: [{name: a}]}",
         "keyed[0]: an object is expected, not a whole number"},
        {"[1]", "{a: 1}", "(all of it): a list is merged with an object"},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        const struct berth_json *got = NULL;
        struct berth_err e = {""};

        assert_int_equal(berth_merge(rules, BERTH_COUNT(rules), read_yaml(cases[i].base),
                                     read_yaml(cases[i].overlay), &arena, &got, &e),
                         -BERTH_EINVAL);
        assert_string_equal(e.msg, cases[i].want);
        assert_null(got);
        berth_arena_reset(&arena);
    }
}

/* Comparing n with n elements: refused before it takes long. */
static void
work_is_bounded(void **unused)
{
    const struct berth_json *v, *got = NULL;
    struct berth_err e = {""};
    struct berth_buf b;

    (void)unused;
    berth_buf_init(&b, NULL);
    berth_buf_puts(&b, "{\"keyed\":[");
    for (int i = 0; i < 10000; i++)
        berth_buf_printf(&b, "%s{\"name\":\"%d\"}", i > 0 ? "," : "", i);
    berth_buf_puts(&b, "]}");
    assert_int_equal(berth_json_parse(&arena, b.at, b.len, NULL, &v, NULL), 0);
    assert_int_equal(berth_merge(rules, BERTH_COUNT(rules), v, v, &arena, &got, &e),
                     -BERTH_ETOOBIG);
    assert_string_equal(
        e.msg, "keyed: it takes more than 67108864 comparisons to be merged: make it shorter");
    berth_buf_fini(&b);
    berth_arena_reset(&arena);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flag_that_is_given_again_takes_the_bases_place),
        cmocka_unit_test(what_is_there_is_meant),
        cmocka_unit_test(lists_merge_by_their_rule),
        cmocka_unit_test(elements_pair_by_key),
        cmocka_unit_test(graded_keys),
        cmocka_unit_test(terms_are_alternatives),
        cmocka_unit_test(only_one_of_them),
        cmocka_unit_test(the_last_of_one_name_counts),
        cmocka_unit_test(what_does_not_fit_is_named),
        cmocka_unit_test(work_is_bounded),
    };

    berth_arena_init(&arena, 64 << 20);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    berth_arena_fini(&arena);
    return failed;
}
