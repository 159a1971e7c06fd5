#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/assert.h"
#include "wire/diff.h"

static struct berth_arena arena;

static const char *
diff(const char *from, const char *to)
{
    const struct berth_diff_text x = {"a", berth_slice_of(from)}, y = {"b", berth_slice_of(to)};
    struct berth_buf out;
    bool differ = false;

    berth_buf_init(&out, &arena);
    assert_int_equal(berth_diff(&x, &y, &arena, &out, &differ), 0);
    assert_int_equal(differ, strcmp(from, to) != 0);
    const char *text = berth_buf_text(&out);
    return out.len == 0 ? "" : text;
}

#define HEAD "--- a\n+++ b\n"

static void
it_prints_a_unified_diff(void **unused)
{
    static const struct {
        const char *why, *from, *to, *want;
    } cases[] = {
        {"the same", "a\nb\n", "a\nb\n", ""},
        {"both empty", "", "", ""},
        {"all of it is new", "", "a\nb\n", HEAD "@@ -0,0 +1,2 @@\n+a\n+b\n"},
        {"all of it goes", "a\n", "", HEAD "@@ -1 +0,0 @@\n-a\n"},
        {"one line", "a\nb\nc\n", "a\nx\nc\n", HEAD "@@ -1,3 +1,3 @@\n a\n-b\n+x\n c\n"},
        {"no newline at the end", "a\nb", "a\nb\n",
         HEAD "@@ -1,2 +1,2 @@\n a\n-b\n\\ No newline at end of file\n+b\n"},
        {"six lines between: one hunk", "A\n1\n2\n3\n4\n5\n6\nB\n", "a\n1\n2\n3\n4\n5\n6\nb\n",
         HEAD "@@ -1,8 +1,8 @@\n-A\n+a\n 1\n 2\n 3\n 4\n 5\n 6\n-B\n+b\n"},
        {"seven: two", "A\n1\n2\n3\n4\n5\n6\n7\nB\n", "a\n1\n2\n3\n4\n5\n6\n7\nb\n",
         HEAD "@@ -1,4 +1,4 @@\n-A\n+a\n 1\n 2\n 3\n@@ -6,4 +6,4 @@\n 5\n 6\n 7\n-B\n+b\n"},
        {"in the middle", "1\n2\n3\n4\n5\n6\n7\n8\n", "1\n2\n3\n4\n4b\n5\n6\n7\n8\n",
         HEAD "@@ -2,6 +2,7 @@\n 2\n 3\n 4\n+4b\n 5\n 6\n 7\n"},
    };

    (void)unused;
    for (size_t i = 0; i < BERTH_COUNT(cases); i++) {
        print_message("  %s\n", cases[i].why);
        assert_string_equal(diff(cases[i].from, cases[i].to), cases[i].want);
        berth_arena_reset(&arena);
    }
}

/* ---- against diff(1) ---- */

static uint32_t state = 1;

static uint32_t
next(uint32_t below)
{
    state = state * 1664525u + 1013904223u;
    return (state >> 16) % below;
}

/* Few different lines, so that many of them are the same. */
static void
put_text(struct berth_buf *b, uint32_t lines)
{
    for (uint32_t i = 0; i < lines; i++)
        berth_buf_printf(b, "%c\n", 'a' + (char)next(5));
}

/* The text with some lines other, gone and new. */
static void
put_edited(struct berth_buf *b, const char *text)
{
    for (; *text != '\0'; text += 2) {
        const uint32_t what = next(12);
        if (what == 0)
            continue;
        berth_buf_put(b, what == 1 ? "X\n" : text, 2);
        if (what == 2)
            berth_buf_puts(b, "new\n");
    }
}

static void
write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

/* What goes by this diff from the first text to the second: is it that? */
static void
apply(const char *from, const char *patch, const char *to)
{
    struct berth_buf got;
    size_t line = 1;

    berth_buf_init(&got, &arena);
    patch = strchr(strchr(patch, '\n') + 1, '\n') + 1;
    while (*patch != '\0') {
        const char *end = strchr(patch, '\n') + 1;
        if (*patch == '@') {
            size_t at = strtoul(patch + 4, NULL, 10), count = 1;
            const char *comma = patch + 4 + strspn(patch + 4, "0123456789");
            if (*comma == ',')
                count = strtoul(comma + 1, NULL, 10);
            for (at += count == 0; line < at; line++) {
                const char *stop = strchr(from, '\n') + 1;
                berth_buf_put(&got, from, (size_t)(stop - from));
                from = stop;
            }
        } else {
            if (*patch != '-')
                berth_buf_put(&got, patch + 1, (size_t)(end - patch) - 1);
            if (*patch != '+') {
                assert_memory_equal(from, patch + 1, (size_t)(end - patch) - 1);
                from = strchr(from, '\n') + 1;
                line++;
            }
        }
        patch = end;
    }
    berth_buf_puts(&got, from);
    assert_string_equal(berth_buf_text(&got), to);
}

static size_t
edits(const char *patch)
{
    size_t n = 0;

    for (const char *at = patch; (at = strchr(at, '\n')) != NULL; at++)
        n += at[1] == '+' || at[1] == '-';
    return n; /* the header's second line among them */
}

/* diff(1) may choose other lines, but not fewer. */
static void
it_is_as_short_as_that_of_diff(void **unused)
{
    enum { CASES = 150, BYTES_MAX = 1 << 16 };
    static char theirs[BYTES_MAX];
    char dir[] = "/tmp/berth-diff-XXXXXX", command[128];

    (void)unused;
    assert_non_null(mkdtemp(dir));
    (void)snprintf(command, sizeof command, "cd %s && diff -u --minimal a b", dir);
    for (int i = 0; i < CASES; i++) {
        struct berth_buf from, to;
        char path[64];
        berth_buf_init(&from, &arena);
        berth_buf_init(&to, &arena);
        put_text(&from, next(60));
        const char *x = berth_buf_text(&from);
        if (i % 3 == 0)
            put_text(&to, next(60));
        else
            put_edited(&to, x);
        const char *y = berth_buf_text(&to);
        (void)snprintf(path, sizeof path, "%s/a", dir);
        write_file(path, x);
        (void)snprintf(path, sizeof path, "%s/b", dir);
        write_file(path, y);
        FILE *p = popen(command, "r"); /* NOLINT(cert-env33-c): a fixed command */
        assert_non_null(p);
        const size_t n = fread(theirs, 1, sizeof theirs - 1, p);
        theirs[n] = '\0';
        (void)pclose(p);
        const char *ours = diff(x, y);
        assert_int_equal(edits(ours), edits(theirs));
        if (n > 0)
            apply(x, ours, y);
        berth_arena_reset(&arena);
    }
    (void)snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): a fixed command */
}

/* Beyond the bound it is longer, and still right. */
static void
many_edits_replace_all(void **unused)
{
    struct berth_buf from, to;

    (void)unused;
    berth_buf_init(&from, &arena);
    berth_buf_init(&to, &arena);
    berth_buf_puts(&from, "first\n");
    berth_buf_puts(&to, "first\n");
    for (int i = 0; i < 3 * BERTH_DIFF_EDITS_MAX; i++) {
        berth_buf_printf(&from, "same %d\nold %d\n", i, i);
        berth_buf_printf(&to, "same %d\nnew %d\n", i, i);
    }
    berth_buf_puts(&from, "last\n");
    berth_buf_puts(&to, "last\n");
    const char *x = berth_buf_text(&from), *y = berth_buf_text(&to);
    apply(x, diff(x, y), y);
    berth_arena_reset(&arena);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_prints_a_unified_diff),
        cmocka_unit_test(it_is_as_short_as_that_of_diff),
        cmocka_unit_test(many_edits_replace_all),
    };

    berth_arena_init(&arena, 128u << 20);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    berth_arena_fini(&arena);
    return failed;
}
