#include "template/test_support_priv.h"

#include "template/test_cases_core.h"
#include "template/test_cases_match.h"
#include "template/test_cases_more.h"
#include "template/test_cases_sprig.h"

static void
the_language_is_gos(void **unused)
{
    (void)unused;
    all_agree(core_cases, BERTH_COUNT(core_cases));
}

static void
the_functions_are_sprigs(void **unused)
{
    (void)unused;
    all_agree(sprig_cases, BERTH_COUNT(sprig_cases));
}

static void
expressions_and_versions_match_as_gos(void **unused)
{
    (void)unused;
    all_agree(match_cases, BERTH_COUNT(match_cases));
}

static void
urls_words_and_dates_are_as_gos(void **unused)
{
    (void)unused;
    all_agree(more_cases, BERTH_COUNT(more_cases));
}

/* Where ours is not Go's on purpose. */
static void
what_differs(void **unused)
{
    static const struct agreed rows[] = {
        {"{{regexMatch \"\\\\p{Greek}\" \"a\"}}", NULL},        /* \pL, \p{Lu} and \p{Ll} alone */
        {"{{regexMatch \"(\" \"a\"}}", NULL},                   /* sprig: false */
        {"{{toDate \"2006\" \"x\"}}", NULL},                    /* sprig: the year 1 */
        {"{{date \"2006\" \"x\"}}", NULL},                      /* sprig: now */
        {"{{dateInZone \"2006\" 0 \"Asia/Tokyo\"}}", NULL},     /* zones are the machine's */
        {"{{toDate \"2006\" \"2020\" | durationRound}}", NULL}, /* sprig: since then */
        {"{{1+2i}}", NULL},                                     /* nobody deploys complex numbers */
        {"{{until 2 | toJson}} {{until (getPort \"x\") | len}}",
         "[0,1] 8000"},                   /* any whole number */
        {"{{slice \"abcd\" 1 3}}", "bc"}, /* sprig's hides the one for texts */
        {"{{fromJson \"{\"}}", NULL},     /* sprig: nil */
        {"{{b64dec \"?\"}}", NULL},       /* sprig: the message is the text */
        {"{{keys (dict \"b\" 1 \"a\" 2)}} {{values (dict \"b\" 1 \"a\" 2)}}",
         "[a b] [2 1]"}, /* sorted */
        {"{{.Map.nope}}{{.Map.nope.x}}", "<no value><no value>"},
        {"{{$l := list \"b\" \"a\"}}{{$s := sortAlpha $l}}{{$l}}{{$s}}", "[b a][a b]"},
    };

    (void)unused;
    all_agree(rows, BERTH_COUNT(rows));
}

static void
messages_name_the_place_and_the_nearest(void **unused)
{
    static const struct berth_template how = {
        .name = "base.yaml: decode", .first_line = 10, .data_name = "the service's variables"};
    static const struct {
        const char *text, *message;
    } rows[] = {
        {"a\n  {{ .ModelNme }}",
         "base.yaml: decode: line 11, column 6: no variable .ModelNme in the "
         "service's variables (did you mean .ModelName?)"},
        {"{{ .Zzzzzzzzz }}",
         "base.yaml: decode: line 10, column 4: no variable .Zzzzzzzzz in the "
         "service's variables (there are .E, .EM, .Empty, .F, .Ints, .List, .Map, "
         ".ModelName, .Nil, .Off, .On, .Port, .Text)"},
        {"\xc3\xa9{{ qoute 1 }}",
         "base.yaml: decode: line 10, column 5: function \"qoute\" not defined "
         "(did you mean quote?)"},
        {"{{ getport \"a\" }}",
         "base.yaml: decode: line 10, column 4: function \"getport\" not defined "
         "(did you mean getPort?)"},
        {"{{ getPort 1 }}",
         "base.yaml: decode: line 10, column 4: getPort: a port's name is a text"},
        {"{{ env \"HOME\" }}",
         "base.yaml: decode: line 10, column 4: function \"env\" is not offered: "
         "it would read the controller's environment"},
        {"{{ .Map | toYaml }}",
         "base.yaml: decode: line 10, column 11: function \"toYaml\" is not "
         "offered: it is Helm's alone; toJson writes JSON, which is YAML too"},
        {"{{ getPort \"app\" }",
         "base.yaml: decode: line 10, column 18: unexpected \"}\": an action ends with }}"},
        {"{{ .On}",
         "base.yaml: decode: line 10, column 7: unexpected \"}\": an action ends with }}"},
        {"a: \"{{ .On/q\"\nb: \"{{ .Off }}\"",
         "base.yaml: decode: line 10, column 11: unexpected \"/\": is a }} missing?"},
        {"\"{{ .On\"", "base.yaml: decode: line 10, column 8: unexpected '\"': is a }} missing?"},
        {"{{ .On {{ .Off }}",
         "base.yaml: decode: line 10, column 8: unexpected \"{\": is a }} missing?"},
        {"{{ .On/q }}", "base.yaml: decode: line 10, column 7: unexpected \"/\""},
        {"{{ & }}", "base.yaml: decode: line 10, column 4: unexpected \"&\""},
        {"{{ \x01 }}", "base.yaml: decode: line 10, column 4: unexpected character"},
        {"x\n{{ .On", "base.yaml: decode: line 11, column 1: this {{ is not closed with }}"},
        {"{{if .On}}\nx",
         "base.yaml: decode: line 10, column 3: the text ends within if: an {{end}} is "
         "missing"},
        {"{{ index .List 7 }}",
         "base.yaml: decode: line 10, column 4: index: there is no element 7: there are 3"},
        {"{{ eq 1 \"1\" }}", "base.yaml: decode: line 10, column 4: eq: incompatible types for "
                             "comparison: int and string"},
        {"{{ upper .Port }}",
         "base.yaml: decode: line 10, column 10: upper: argument 1 must be a text, not int"},
        {"{{ trunc 1 }}", "base.yaml: decode: line 10, column 4: trunc takes 2 arguments, not 1"},
        {"{{ fail \"no port\" }}", "base.yaml: decode: line 10, column 4: fail: no port"},
        {"{{ template \"x\" }}",
         "base.yaml: decode: line 10, column 4: no template \"x\" is defined here"},
        {"{{ $x }}", "base.yaml: decode: line 10, column 4: undefined variable $x"},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(rows); i++) {
        struct berth_arena a;
        struct berth_err e = {{0}};
        const char *got;
        berth_arena_init(&a, 16 << 20);
        assert_int_equal(render(&a, &how, rows[i].text, &got, &e), -BERTH_EINVAL);
        assert_string_equal(e.msg, rows[i].message);
        berth_arena_fini(&a);
    }
}

static void
bounds_end_it(void **unused)
{
    static const struct {
        const char *text;
        int code;
        const char *part; /* of the message */
    } rows[] = {
        {"{{range until 1000000000}}x{{end}}", -BERTH_ELIMIT, "computes too much"},
        {"{{range 1000000000}}{{end}}", -BERTH_ELIMIT, "computes too much"},
        {"{{repeat 1000000000 \"ab\"}}", -BERTH_ELIMIT, "computes too much"},
        {"{{seq 1000000000}}", -BERTH_ELIMIT, "computes too much"},
        {"{{indent 1000000000 \"ab\"}}", -BERTH_ELIMIT, "computes too much"},
        {"{{printf \"%9000000d\" 1}}", -BERTH_ELIMIT, "computes too much"},
        {"{{printf \"%.9000000f\" 1.0}}", -BERTH_ELIMIT, "computes too much"},
        {"{{range until 3000}}{{range until 3000}}{{end}}{{end}}", -BERTH_ELIMIT,
         "computes too much"},
        {"{{$x := \"ab\"}}{{range until 100}}{{$x = print $x $x}}{{end}}", -BERTH_ELIMIT,
         "computes too much"},
        {"{{$x := list 1}}{{range until 100}}{{$x = concat $x $x}}{{end}}", -BERTH_ELIMIT,
         "computes too much"},
        {"{{uniq (until 100000)}}", -BERTH_ELIMIT, "computes too much"},
        {"{{define \"r\"}}{{template \"r\"}}{{end}}{{template \"r\"}}", -BERTH_ELIMIT,
         "deeper than"},
        {"{{$d := dict}}{{$_ := set $d \"d\" $d}}{{$d}}", -BERTH_EINVAL, "nested deeper than"},
        {"{{$d := dict}}{{$_ := set $d \"d\" $d}}{{toJson $d}}", -BERTH_EINVAL,
         "nested deeper than"},
        {"{{$d := dict}}{{$_ := set $d \"d\" $d}}{{deepCopy $d}}", -BERTH_EINVAL,
         "nested deeper than"},
        {"{{$d := dict}}{{$_ := set $d \"d\" $d}}{{$e := dict \"d\" $d}}{{deepEqual $d $e}}",
         -BERTH_EINVAL, "nested deeper than"},
        {"{{range until 2000}}{{repeat 1000 \"a\"}}{{end}}", -BERTH_ELIMIT,
         "more than 1048576 bytes"},
        {"{{99999999999999999999}}", -BERTH_EINVAL, "beyond 64 bits"},
        {"{{regexMatch \"(x*)*(x*)*(x*)*(x*)*(x*)*y\" (repeat 1000000 \"x\")}}", -BERTH_ELIMIT,
         "computes too much"},
        {"{{$s := repeat 100000 \"a\"}}{{$l := list $s}}{{range until 16}}{{$l = concat $l "
         "$l}}{{end}}"
         "{{sortAlpha $l}}",
         -BERTH_ELIMIT, "computes too much"},
        {"{{$s := repeat 100000 \"a\"}}{{$t := print $s}}{{$l := list $s}}"
         "{{range until 12}}{{$l = concat $l $l}}{{end}}{{deepEqual $l (append (rest $l) $t)}}",
         -BERTH_ELIMIT, "computes too much"},
        {"{{regexMatch \"(?:(?:(?:){1000}){1000}){1000}\" \"\"}}", -BERTH_ELIMIT,
         "computes too much"},
        /* Each of a class' ranges is looked at, by each of a thousand threads at each character. */
        {"{{regexMatch (printf \"(?:[%sy]{1,1000})z\" (repeat 499 \"a-b\")) (repeat 2000 \"y\")}}",
         -BERTH_ELIMIT, "computes too much"},
        {"{{regexMatch (repeat 800 (printf \"[%s]\" (repeat 166 \"[:a\"))) \"a\"}}", -BERTH_ELIMIT,
         "computes too much"},
        {"{{regexFindAll \"x*y|x\" (repeat 100000 \"x\") -1 | len}}", -BERTH_ELIMIT,
         "computes too much"},
        {"{{regexMatch \"((a{100}){100}){100}\" \"a\"}}", -BERTH_EINVAL, "too large"},
        {"{{regexMatch (repeat 200 \"(?:\") \"a\"}}", -BERTH_EINVAL, "nested too deep"},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(rows); i++) {
        static const struct berth_template how;
        struct berth_arena a;
        struct berth_err e = {{0}};
        const char *got;
        berth_arena_init(&a, (size_t)1 << 30);
        assert_int_equal(render(&a, &how, rows[i].text, &got, &e), rows[i].code);
        if (strstr(e.msg, rows[i].part) == NULL)
            fail_msg("%s: %s", rows[i].text, e.msg);
        berth_arena_fini(&a);
    }
}

static void
a_small_arena_is_an_error(void **unused)
{
    static const struct berth_template how;

    (void)unused;
    for (size_t max = 4096; max < 200000; max += 1111) {
        struct berth_arena a;
        struct berth_err e = {{0}};
        const char *got = NULL;
        struct berth_buf out;
        berth_arena_init(&a, max);
        berth_buf_init(&out, &a);
        const char text[] = "{{range $i := until 100}}{{dict \"a\" (list $i) | toJson}}{{end}}";
        const int r = berth_template_render(&how, text, sizeof text - 1, &a, &out, &e);
        if (r < 0)
            assert_int_equal(r, -BERTH_ENOMEM);
        (void)got;
        berth_arena_fini(&a);
    }
}

/* Parentheses, blocks and else-ifs within each other. */
static void
depth_is_bounded(void **unused)
{
    static const char *const pieces[] = {
        "{{(",         "{{if 1}}",         "{{if 0}}{{else}}", "{{if 0}}{{else if ",
        "{{range 1}}", "{{block \"x\" 1}}"};
    static const struct berth_template how;

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(pieces); i++) {
        struct berth_arena a;
        struct berth_err e = {{0}};
        struct berth_buf text, out;
        berth_arena_init(&a, 64 << 20);
        berth_buf_init(&text, &a);
        berth_buf_init(&out, &a);
        for (size_t n = 0; n < 2000; n++)
            berth_buf_puts(&text, i == 0 && n > 0   ? "("
                                  : i == 3 && n > 0 ? "0}}{{else if "
                                                    : pieces[i]);
        if (i == 3)
            berth_buf_puts(&text, "1}}{{end}}");
        const int r = berth_template_render(&how, text.at, text.len, &a, &out, &e);
        assert_int_equal(r, -BERTH_EINVAL);
        assert_non_null(strstr(e.msg, "within each other"));
        berth_arena_fini(&a);
    }
}

static void
data_may_be_missing(void **unused)
{
    static const struct berth_template how;
    struct berth_arena a;
    struct berth_buf out;
    struct berth_err e;

    (void)unused;
    berth_arena_init(&a, 1 << 20);
    berth_buf_init(&out, &a);
    berth_buf_puts(&out, "kept ");
    assert_int_equal(berth_template_render(&how, "{{len .}}", 9, &a, &out, &e), 0);
    assert_string_equal(berth_buf_text(&out), "kept 0");
    assert_int_equal(berth_template_render(&how, "{{.X}}", 6, &a, &out, &e), -BERTH_EINVAL);
    assert_string_equal(e.msg, "line 1, column 3: no variable .X in the data (there are none)");
    assert_int_equal(berth_template_render(&how, "", 0, &a, &out, NULL), 0);
    berth_arena_fini(&a);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_language_is_gos),
        cmocka_unit_test(the_functions_are_sprigs),
        cmocka_unit_test(expressions_and_versions_match_as_gos),
        cmocka_unit_test(urls_words_and_dates_are_as_gos),
        cmocka_unit_test(what_differs),
        cmocka_unit_test(messages_name_the_place_and_the_nearest),
        cmocka_unit_test(bounds_end_it),
        cmocka_unit_test(a_small_arena_is_an_error),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(data_may_be_missing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
