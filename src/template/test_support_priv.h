#ifndef BERTH_TEMPLATE_TEST_SUPPORT_H
#define BERTH_TEMPLATE_TEST_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/assert.h"
#include "template/template.h"
#include "template/value.h"
#include "wire/json.h"

/* What Go makes of a text; NULL: an error. */
struct agreed {
    const char *text, *result;
};

static const char agreed_data[] =
    "{\"ModelName\":\"facebook/opt-125m\",\"Empty\":\"\",\"Port\":8000,\"On\":true,\"Off\":false,"
    "\"List\":[\"a\",\"b\",\"c\"],\"Ints\":[3,1,2],\"Map\":{\"b\":2,\"a\":\"one\",\"c\":{\"d\":"
    "\"deep\"}},\"F\":1.5,\"Nil\":null,\"Text\":\"line one\\nline two\",\"E\":[],\"EM\":{}}";

/* Every port is 8000, an int32 as the operator's are. */
static inline int
get_port(void *arg, struct berth_arena *a, const struct berth_tvalue *argv, size_t argc,
         struct berth_tvalue *ret, struct berth_err *e)
{
    (void)arg, (void)a, (void)argc;
    if (argv[0].kind != BERTH_T_STRING)
        return berth_err_set(e, BERTH_EINVAL, "a port's name is a text");
    *ret = berth_tv_int(8000);
    ret->type = BERTH_TT_INT32;
    return 0;
}

static const struct berth_template_fn outer_fns[] = {{"getPort", 1, 1, get_port, NULL}};

/* Renders text with agreed_data into a, which is new; the result is NUL-ended. */
static inline int
render(struct berth_arena *a, const struct berth_template *how, const char *text, const char **ret,
       struct berth_err *e)
{
    struct berth_template t = *how;
    struct berth_buf out;

    berth_buf_init(&out, a);
    if (t.data == NULL)
        assert_int_equal(berth_json_parse(a, agreed_data, sizeof agreed_data - 1, NULL, &t.data, e),
                         0);
    t.fns = outer_fns;
    t.fn_count = BERTH_COUNT(outer_fns);
    const int got = berth_template_render(&t, text, strlen(text), a, &out, e);
    if (got == 0)
        *ret = berth_buf_text(&out);
    return got;
}

static inline void
all_agree(const struct agreed *rows, size_t n)
{
    static const struct berth_template how;

    for (size_t i = 0; i < n; i++) {
        struct berth_arena a;
        struct berth_err e = {{0}};
        const char *got = NULL;
        berth_arena_init(&a, 64 << 20);
        const int r = render(&a, &how, rows[i].text, &got, &e);
        if ((r == 0) != (rows[i].result != NULL))
            fail_msg("%s: %s", rows[i].text, r == 0 ? got : e.msg);
        if (r == 0)
            assert_string_equal(got, rows[i].result);
        berth_arena_fini(&a);
    }
}

#endif
