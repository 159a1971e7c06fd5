#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "wire/json.h"
#include "wire/yaml.h"

static struct berth_arena arena;

/* "LINE:COLUMN text" of each note, in lines. */
static const char *
notes_text(const struct berth_yaml_notes *notes)
{
    struct berth_buf b;

    berth_buf_init(&b, &arena);
    for (size_t i = 0; i < notes->count; i++)
        berth_buf_printf(&b, "%s%zu:%zu %s", i > 0 ? "\n" : "", notes->at[i].line,
                         notes->at[i].column, notes->at[i].text);
    return berth_buf_text(&b);
}

static const struct {
    const char *why, *text, *want, *notes;
} readings[] = {
    {"nothing", "", "null", ""},
    {"comments alone", "# nothing\n", "null", ""},
    {"an object", "{}", "{}", ""},
    {"words for true and false", "[yes, off]", "[true,false]",
     "1:2 yes is read as true: write true, or 'yes' for the word\n"
     "1:7 off is read as false: write false, or 'off' for the word"},
    {"words in quotes", "['yes', \"n\", !!str on]", "[\"yes\",\"n\",\"on\"]", ""},
    {"keys stay as they are", "{n: 1, yes: 2, 0777: 3}", "{\"n\":1,\"yes\":2,\"0777\":3}", ""},
    {"octal by a nought", "[0777, -010, 07, 0]", "[511,-8,7,0]",
     "1:2 0777 is read as 511: a nought in front makes it octal\n"
     "1:8 -010 is read as -8: a nought in front makes it octal"},
    {"bases that are said", "[0x1F, 0o17, 0b101, -0x10]", "[31,15,5,-16]", ""},
    {"underscores", "[1_000, 0x_ff]", "[1000,255]",
     "1:2 1_000 is read as 1000\n1:9 0x_ff is read as 255"},
    {"numbers", "[+1, .5, 1., 1.50, 1e3, 089, 18446744073709551615, 18446744073709551616]",
     "[1,0.5,1.0,1.5,1000.0,89.0,18446744073709551615,\"18446744073709551616\"]",
     "1:52 18446744073709551616 is read as a string: Kubernetes has no such number"},
    {"no numbers", "[1.2.3, -, +, ., e3, 0x, 0b2, 1e, 1e+, _1, 12:30, 2001-01-01, 1e999, .inf]",
     "[\"1.2.3\",\"-\",\"+\",\".\",\"e3\",\"0x\",\"0b2\",\"1e\",\"1e+\",\"_1\",\"12:30\","
     "\"2001-01-01\",\"1e999\",\".inf\"]",
     "1:70 .inf is read as a string: Kubernetes has no such number"},
    {"numbers that there are not",
     "[-.Inf, .nan, '.nan', -9223372036854775809, .Nan, -9223372036854775808]",
     "[\"-.Inf\",\".nan\",\".nan\",\"-9223372036854775809\",\".Nan\",-9223372036854775808]",
     "1:2 -.Inf is read as a string: Kubernetes has no such number\n"
     "1:9 .nan is read as a string: Kubernetes has no such number\n"
     "1:23 -9223372036854775809 is read as a string: Kubernetes has no such number"},
    {"the last of two keys", "a: 1\nb: 2\na: 3\n", "{\"b\":2,\"a\":3}",
     "3:1 a is on line 1 already: the last one counts"},
    {"of three, too", "{a: {x: 1}, a: 2, a: [3]}", "{\"a\":[3]}",
     "1:13 a is on line 1 already: the last one counts\n"
     "1:19 a is on line 1 already: the last one counts"},
    {"in a mapping further in", "a:\n- b: {c: 1, d: 2, c: 3}\n",
     "{\"a\":[{\"b\":{\"d\":2,\"c\":3}}]}", "2:19 c is on line 2 already: the last one counts"},
    {"an anchor in what does not count", "a: {x: &x [1, 2]}\na: 1\nb: *x\n",
     "{\"a\":1,\"b\":[1,2]}", "2:1 a is on line 1 already: the last one counts"},
    {"merged", "x: &a {app: z, b: d}\ny:\n  <<: *a\n  b: c\n",
     "{\"x\":{\"app\":\"z\",\"b\":\"d\"},\"y\":{\"b\":\"c\",\"app\":\"z\"}}", ""},
    {"merged at the end", "x: &a {b: 1}\ny:\n  b: 2\n  <<: *a\n",
     "{\"x\":{\"b\":1},\"y\":{\"b\":2}}", ""},
    {"merged alone", "x: &a {b: 1}\ny: {<<: *a}\nz: {<<: {}}\n",
     "{\"x\":{\"b\":1},\"y\":{\"b\":1},\"z\":{}}", ""},
    {"of a list the first counts", "[&a {b: 1, c: 1}, &b {b: 2, d: 2}, {<<: [*a, *b], e: 3}]",
     "[{\"b\":1,\"c\":1},{\"b\":2,\"d\":2},{\"e\":3,\"b\":1,\"c\":1,\"d\":2}]", ""},
    {"twice merged", "[&a {b: 1}, &b {c: 2}, {<<: *a, <<: *b}]",
     "[{\"b\":1},{\"c\":2},{\"b\":1,\"c\":2}]", ""},
    {"merged from what was merged", "[&a {b: 1}, &b {<<: *a, c: 2}, {<<: *b, c: 3}]",
     "[{\"b\":1},{\"c\":2,\"b\":1},{\"c\":3,\"b\":1}]", ""},
    {"merged and twice", "[&a {b: 1}, {b: 2, <<: *a, b: 3}]", "[{\"b\":1},{\"b\":3}]",
     "1:28 b is on line 1 already: the last one counts"},
    {"a quoted << is a key", "{'<<': 1}", "{\"<<\":1}", ""},
    {"the first document", "a: 1\n---\nb: 2\n---\n*c: d\n", "{\"a\":1}",
     "2:1 of 3 documents the first is read: write one, or each in its own file"},
    {"no YAML behind it", "a: 1\n---\n[\n", "{\"a\":1}",
     "2:1 of 2 documents the first is read: write one, or each in its own file"},
    {"no YAML at all behind it", "a: 1\n---\n@\n", "{\"a\":1}",
     "2:1 of 2 documents the first is read: write one, or each in its own file"},
    {"nothing in the first", "---\n---\nb: 2\n", "{\"b\":2}", ""},
    {"nothing but a comment in the first", "# one\n---\n# two\n---\nb: 2\n...\n", "{\"b\":2}", ""},
    {"nothing behind the last", "a: 1\n---\n", "{\"a\":1}", ""},
    {"nothing but comments behind it", "a: 1\n---\n# end\n---\n", "{\"a\":1}", ""},
    {"nothing between two", "---\n---\na: 1\n---\n---\nb: 2\n", "{\"a\":1}",
     "5:1 of 2 documents the first is read: write one, or each in its own file"},
    {"nothing in any", "---\n---\n", "null", ""},
    {"a text of no letters", "---\n''\n---\na: 1\n", "\"\"",
     "3:1 of 2 documents the first is read: write one, or each in its own file"},
};

static void
it_reads_as_kubectl_does(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(readings); i++) {
        const struct berth_json *v = NULL;
        struct berth_yaml_notes notes = {0};
        struct berth_err e = {""};
        struct berth_buf b;

        print_message("  %s\n", readings[i].why);
        if (berth_yaml_parse_told(&arena, readings[i].text, strlen(readings[i].text), &v, &notes,
                                  &e) != 0)
            fail_msg("%s", e.msg);
        berth_buf_init(&b, &arena);
        berth_json_put(&b, v);
        assert_string_equal(berth_buf_text(&b), readings[i].want);
        assert_string_equal(notes_text(&notes), readings[i].notes);
        berth_arena_reset(&arena);
    }
}

static void
what_it_refuses(void **unused)
{
    static const struct {
        const char *why, *text, *want;
    } cases[] = {
        {"no mapping to merge", "a: 1\nb:\n  <<: 2\n",
         "line 3, column 3: << takes a mapping or a list of mappings"},
        {"not all of them mappings", "[&a {}, {<<: [*a, 1]}]",
         "line 1, column 10: << takes a mapping or a list of mappings"},
        {"an escape that is none", "a: \"\\d\"\n",
         "line 1, column 5: found unknown escape character"},
        {"what ends too soon", "a: [1\n",
         "line 1, column 4: the [ that begins here is not closed: put a ] where its list ends"},
        {"an alias to itself", "a: &x {<<: *x}\n",
         "line 1, column 12: an alias to the value that it is part of"},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        const struct berth_json *v = NULL;
        struct berth_yaml_notes notes = {0};
        struct berth_err e = {""};

        print_message("  %s\n", cases[i].why);
        assert_int_equal(
            berth_yaml_parse_told(&arena, cases[i].text, strlen(cases[i].text), &v, &notes, &e),
            -BERTH_EINVAL);
        assert_string_equal(e.msg, cases[i].want);
        berth_arena_reset(&arena);
    }
}

/* Far behind where the parser is when it is told. */
static void
what_no_text_has_in_it_is_found(void **unused)
{
    static const struct {
        const char *why, *bytes, *want;
        size_t len;
    } cases[] = {
        {"no UTF-8", "\xff", "line 302, column 6: invalid leading UTF-8 octet", 1},
        {"a letter of Latin-1", "\xe9x", "line 302, column 6: invalid trailing UTF-8 octet", 2},
        {"one of three bytes, cut", "\xe2\x82z", "line 302, column 6: invalid trailing UTF-8 octet",
         3},
        {"a NUL", "\0", "line 302, column 6: control characters are not allowed", 1},
        {"a bell", "\a", "line 302, column 6: control characters are not allowed", 1},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        const struct berth_json *v = NULL;
        struct berth_yaml_notes notes = {0};
        struct berth_err e = {""};
        struct berth_buf b;

        print_message("  %s\n", cases[i].why);
        berth_buf_init(&b, &arena);
        berth_buf_puts(&b, "\xef\xbb\xbf"
                           "a:\n");
        for (int line = 0; line < 300; line++)
            berth_buf_puts(&b, "- \xc3\xa4\n");
        berth_buf_puts(&b, "- \xc3\xa4 b");
        berth_buf_put(&b, cases[i].bytes, cases[i].len);
        berth_buf_puts(&b, "\nc: 1\n");
        assert_int_equal(berth_yaml_parse_told(&arena, b.at, b.len, &v, &notes, &e), -BERTH_EINVAL);
        assert_string_equal(e.msg, cases[i].want);
        berth_arena_reset(&arena);
    }
}

/* The place, what was expected there, in a person's words. */
static void
usual_mistakes_are_said(void **unused)
{
    static const struct {
        const char *why, *text, *want;
    } cases[] = {
        {"a tab", "a:\n\tb: 1\n", "line 2, column 1: a tab indents this line: indent it by spaces"},
        {"a tab behind spaces", "a:\n  b: 1\n \tc: 2\n", "line 3, column 2: a tab indents"},
        {"a tab before an item", "a:\n\t- b\n", "line 2, column 1: a tab indents"},
        {"a key less indented", "a:\n    b: 1\n  c: 2\n",
         "line 3, column 3: this line is indented by 2 spaces, and what is above (line 2) by 4: "
         "keys "
         "of one mapping begin in one column"},
        {"a key less indented than an item's", "a:\n- b: 1\n c: 2\n",
         "line 3, column 2: this line is indented by 1 spaces, and what is above (line 2) by 2"},
        {"comments between them", "a:\n    b: 1\n\n# no\n  c: 2\n",
         "line 5, column 3: this line is indented by 2 spaces, and what is above (line 2) by 4"},
        {"a key more indented", "a: 1\n  b: 2\n",
         "line 2, column 3: this key is indented by 2 spaces, and the one above (line 1) by 0"},
        {"an item less indented", "a:\n    - b: 1\n   - c: 2\n",
         "line 3, column 4: this item is indented by 3 spaces, and the one of line 2 by 4: items "
         "of "
         "one list begin in one column"},
        {"an item more indented", "a:\n- b: 1\n  - c: 2\n",
         "line 3, column 3: this item is indented by 2 spaces, and the one of line 2 by 0"},
        {"an item among keys", "a:\n  b: 1\n  - c\n",
         "line 3, column 3: an item of a list (\"- \") among keys: indent it below the key"},
        {"a key among items", "a:\n  - b\n  c: 1\n",
         "line 3, column 3: an item of the list that begins in line 2 is wanted here"},
        {"no space behind a colon", "a:1\nb: 2\n",
         "line 1, column 3: a space is missing behind the colon: write a: VALUE"},
        {"nor further down", "x: 1\na:1\nb: 2\n", "line 2, column 3: a space is missing behind"},
        {"nor at the end", "x: 1\na/b.c:1\n",
         "line 2, column 7: a space is missing behind the colon: write a/b.c: VALUE"},
        {"no colon at all", "x: 1\na\nb: 2\n", "line 2, column 1: this is neither \"key: value\""},
        {"a colon too many", "x: y: z\n", "line 1, column 5: a second \": \" on one line: put the"},
        {"a quote that is not closed", "a: \"x\nb: 1\n",
         "line 1, column 4: the quote that begins here is not closed: put another where"},
        {"one that closes at the next", "a: 'x\nb: 'y'\n",
         "line 1, column 4: the quote that begins here is not closed on its line: it ends at the "
         "next one, in line 2"},
        {"in a list", "a: [\"\xc3\xa4\", \"b]\nc: \"d\"\n",
         "line 1, column 10: the quote that begins here is not closed on its line"},
        {"behind one, below another's", "a: |\n  echo \"x\n  y\"\nb: \"c\" d\n",
         "line 4, column 8: text behind a closing quote"},
        {"no comma in brackets", "a: [\"b\" \"c\"]\n",
         "line 1, column 9: did not find expected ','"},
        {"a bracket that is not closed, behind a comma", "x: 1\n\xc3\xa4: [b,\n- c\nd: [1]\n",
         "line 2, column 4: the [ that begins here is not closed: put a ] where its list ends"},
        {"without one", "x: 1\na: [b\nc: d\ne: [1]\n", "line 2, column 4: the [ that begins here"},
        {"a brace", "a: {b: c\nd: e\n",
         "line 1, column 4: the { that begins here is not closed: put a } where its mapping ends"},
        {"of two the inner one", "a: [b, {c: d]\n", "line 1, column 8: the { that begins here"},
        {"closed by the other one", "a: [b}\n", "line 1, column 4: the [ that begins here"},
        {"by none in quotes", "a: [b, 'c''] \"', \"\\\"]\" # ]\nd: e\n",
         "line 1, column 4: the [ that begins here"},
        {"a comma that is missing further down", "a: [b,\n  c, # it's\n  {d: e} f]\ng: h\n",
         "line 3, column 10: did not find expected ',' or ']'"},
        {"an address is no key", "- hf://a/b\n  c: d\n", "line 2, column 4: mapping values"},
        {"an image is none either", "- docker.io/x:1\n  c: d\n",
         "line 2, column 4: mapping values"},
        {"a text less indented", "a: |\n    b\n  c\n",
         "line 3, column 3: this line is indented less than the first of the text that line 1"},
        {"no quote but an apostrophe", "a: don't\nb: \"x\" y\n",
         "line 2, column 8: text behind a closing quote: put all of the value in one pair"},
        {"what no value begins with", "a: \xc3\xa4\nb: @x\n",
         "line 2, column 4: a value cannot begin with @: put it in quotes"},
        {"a template without quotes", "a: {{ .X }}\n",
         "line 1, column 5: a template is a text: write it in quotes, \"{{ .NAME }}\", or '{{ f "
         "\"x\" }}' where it has quotes of its own"},
        {"one in a list", "a: [b, {{ .X }}]\n", "line 1, column 9: a template is a text"},
        {"one behind an anchor", "a: &x {{ .X }}\n", "line 1, column 8: a template is a text"},
        {"one behind a tag", "- !!str {{ .X }}\n", "line 1, column 10: a template is a text"},
        {"one behind both, on a line of its own", "a: &x !!str\n  {{ .X }}\n",
         "line 2, column 4: a template is a text"},
        {"one with something behind it", "- {{ .X }}-b\n",
         "line 1, column 4: a template is a text"},
        {"one within a word of a list", "a: [--b={{ .X }}]\n",
         "line 1, column 9: a template is a text"},
        {"quotes within a template's quotes", "a: [\"{{ default \"b\" .X }}\"]\n",
         "line 1, column 18: a template is a text"},
        {"the same without a list", "a: \"{{ default \"b\" .X }}\"\n",
         "line 1, column 17: a template is a text"},
        {"no template", "a: [\"{{ .X }}\" \"c\"]\n", "line 1, column 16: did not find expected"},
        {"a key that is no template", "{ {b: c}: d}\n", "line 1, column 3: a key must be a plain"},
        {"nor is one outside of braces", "a:\n  {b: c}: d\n",
         "line 2, column 3: a key must be a plain"},
        {"nor is what is no mapping", "{[b]: c}\n", "line 1, column 2: a key must be a plain"},
        {"without a last line's end", "a:\n    b: 1\n  c: 2",
         "line 3, column 3: this line is indented by 2 spaces"},
        {"as Windows ends lines", "a:\r\n    b: 1\r\n  c: 2\r\n",
         "line 3, column 3: this line is indented by 2 spaces"},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        const struct berth_json *v = NULL;
        struct berth_err e = {""};

        print_message("  %s\n", cases[i].why);
        assert_int_equal(berth_yaml_parse(&arena, cases[i].text, strlen(cases[i].text), &v, &e),
                         -BERTH_EINVAL);
        if (strncmp(e.msg, cases[i].want, strlen(cases[i].want)) != 0)
            fail_msg("%s, should be %s", e.msg, cases[i].want);
        berth_arena_reset(&arena);
    }
}

/* Each merges the one before twice over: text that doubles. */
static void
merging_is_bounded(void **unused)
{
    const struct berth_json *v = NULL;
    struct berth_yaml_notes notes;
    struct berth_err e = {""};
    struct berth_buf b;

    (void)unused;
    berth_buf_init(&b, &arena);
    berth_buf_puts(&b, "a0: &a0 {x: lol}\n");
    for (int i = 1; i < 30; i++)
        berth_buf_printf(&b, "a%d: &a%d {<<: {p%d: *a%d}, <<: {q%d: *a%d}}\n", i, i, i, i - 1, i,
                         i - 1);
    assert_int_equal(berth_yaml_parse_told(&arena, b.at, b.len, &v, &notes, &e), -BERTH_EINVAL);
    berth_arena_reset(&arena);

    berth_buf_init(&b, &arena);
    for (int i = 0; i < 10000; i++)
        berth_buf_printf(&b, "k%d: 1\n", i);
    assert_int_equal(berth_yaml_parse_told(&arena, b.at, b.len, &v, &notes, &e), -BERTH_EINVAL);
    assert_non_null(strstr(e.msg, "too many keys"));
    berth_arena_reset(&arena);
}

static void
notes_are_bounded(void **unused)
{
    const struct berth_json *v = NULL;
    struct berth_yaml_notes notes;
    struct berth_buf b;

    (void)unused;
    berth_buf_init(&b, &arena);
    for (int i = 0; i < 1000; i++)
        berth_buf_puts(&b, "- yes\n");
    assert_int_equal(berth_yaml_parse_told(&arena, b.at, b.len, &v, &notes, NULL), 0);
    assert_int_equal(notes.count, BERTH_YAML_NOTES_MAX);
    assert_int_equal(notes.beyond, 1000 - BERTH_YAML_NOTES_MAX);
    assert_int_equal(berth_json_len(v), 1000);
    berth_arena_reset(&arena);
}

static void
the_nearest_line_is_found(void **unused)
{
    static const char text[] = "spec:\n"                                   /* 1 */
                               "  containers:\n"                           /* 2 */
                               "  - name: a\n"                             /* 3 */
                               "  - name: b\n"                             /* 4 */
                               "    args:\n"                               /* 5 */
                               "    - --x\n"                               /* 6 */
                               "    - {y: 1}\n"                            /* 7 */
                               "  labels: {a.b/c: &l {d: 1}, 'e[0]': 2}\n" /* 8 */
                               "  copy: *l\n"                              /* 9 */
                               "  twice: 1\n"                              /* 10 */
                               "  twice: {in: 2}\n"                        /* 11 */
                               "  grid: [[1, 2],\n    [3,\n      4]]\n"    /* 12 to 14 */
                               "---\nspec: {other: 1}\n";
    static const struct {
        const char *path;
        size_t want;
    } cases[] = {
        {"spec", 1},
        {"spec.containers", 2},
        {"spec.containers[0]", 3},
        {"spec.containers[1].name", 4},
        {"spec.containers[1].args[0]", 6},
        {"spec.containers[1].args[1].y", 7},
        {"spec.containers[1].args[7]", 5},
        {"spec.containers[2].name", 2},
        {"spec.containers.name", 2},
        {"spec.labels.a.b/c.d", 8},
        {"spec.labels.e[0]", 8},
        {"spec.copy.d", 9},
        {"spec.twice", 11},
        {"spec.twice.in", 11},
        {"spec.grid[1][1]", 14},
        {"spec.other", 1},
        {"spe", 0},
        {"", 0},
        {"[0]", 0},
    };

    (void)unused;
    const char *paths[BERTH_COUNT(cases)];
    struct berth_yaml_place all[BERTH_COUNT(cases)], one;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++)
        paths[i] = cases[i].path;
    berth_yaml_places_near(text, sizeof text - 1, paths, BERTH_COUNT(paths), all);
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        print_message("  %s\n", cases[i].path);
        assert_int_equal(all[i].line, cases[i].want);
        /* The others make no difference. */
        berth_yaml_places_near(text, sizeof text - 1, &paths[i], 1, &one);
        assert_memory_equal(&one, &all[i], sizeof one);
    }
    berth_yaml_places_near("- a: 1\n- b: 2\n", 14, (const char *const[]){"[1].b"}, 1, &one);
    assert_int_equal(one.line, 2);
    assert_int_equal(one.value_line, 2);
    assert_int_equal(one.value_column, 6);
}

/* As many paths as there may be, each as deep as there may be. */
static void
the_deepest_places_are_found(void **unused)
{
    const char *paths[BERTH_YAML_PATHS_MAX];
    struct berth_yaml_place places[BERTH_YAML_PATHS_MAX];
    struct berth_buf text, path;

    (void)unused;
    berth_buf_init(&text, &arena);
    berth_buf_init(&path, &arena);
    for (int i = 0; i < BERTH_JSON_DEPTH_MAX - 1; i++) {
        berth_buf_puts(&text, i % 2 == 0 ? "{a: " : "[0, ");
        berth_buf_puts(&path, i == 0 ? "a" : i % 2 == 0 ? ".a" : "[1]");
    }
    berth_buf_puts(&text, "\n[");
    for (size_t i = 0; i < BERTH_YAML_PATHS_MAX; i++) {
        berth_buf_printf(&text, "%zu,\n", i);
        paths[i] = berth_arena_printf(&arena, "%s[%zu]", berth_buf_text(&path), i);
        assert_non_null(paths[i]);
    }
    berth_buf_puts(&text, "]");
    for (int i = BERTH_JSON_DEPTH_MAX - 1; i-- > 0;)
        berth_buf_puts(&text, i % 2 == 0 ? "}" : "]");
    berth_yaml_places_near(text.at, text.len, paths, BERTH_YAML_PATHS_MAX, places);
    for (size_t i = 0; i < BERTH_YAML_PATHS_MAX; i++)
        assert_int_equal(places[i].line, i + 2);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_reads_as_kubectl_does),
        cmocka_unit_test(what_it_refuses),
        cmocka_unit_test(what_no_text_has_in_it_is_found),
        cmocka_unit_test(usual_mistakes_are_said),
        cmocka_unit_test(merging_is_bounded),
        cmocka_unit_test(notes_are_bounded),
        cmocka_unit_test(the_nearest_line_is_found),
        cmocka_unit_test(the_deepest_places_are_found),
    };

    berth_arena_init(&arena, 64 << 20);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    berth_arena_fini(&arena);
    return failed;
}
