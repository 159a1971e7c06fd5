#include <string.h>

#include "template/run_priv.h"

/* Which line of the text each line of the output came from, and what failed. */

int
berth_ttrace_begin(struct berth_trun *r)
{
    size_t count = 1;

    for (size_t i = 0; i < r->text.len; i++)
        count += r->text.at[i] == '\n';
    r->line_starts = BERTH_NEW_N(r->a, uint32_t, count);
    if (r->line_starts == NULL)
        return berth_trun_nomem(r);
    for (size_t i = 0; i < r->text.len; i++) {
        if (r->text.at[i] == '\n')
            r->line_starts[++r->line_count] = (uint32_t)i + 1;
    }
    r->line_count++;
    berth_buf_init(&r->lines, r->a);
    return 0;
}

static uint32_t
line_of(const struct berth_trun *r, size_t pos)
{
    size_t low = 0, high = r->line_count;

    while (high - low > 1) {
        const size_t mid = low + (high - low) / 2;
        if (r->line_starts[mid] <= pos)
            low = mid;
        else
            high = mid;
    }
    return (uint32_t)(low + (r->t->first_line > 0 ? r->t->first_line : 1));
}

static void
note_line(struct berth_trun *r, uint32_t line)
{
    berth_buf_put(&r->lines, &line, sizeof line);
}

/* A line is where its first byte that is no blank came from, or its first byte at all. */
int
berth_ttrace_put(struct berth_trun *r, const char *at, size_t len)
{
    const bool is_text = at >= r->text.at && at < r->text.at + r->text.len;
    size_t i = 0;

    while (i < len) {
        const char *end = memchr(at + i, '\n', len - i);
        const size_t n = end != NULL ? (size_t)(end - at) - i : len - i;
        size_t blank = 0;
        while (blank < n && (at[i + blank] == ' ' || at[i + blank] == '\t'))
            blank++;
        if (!r->in_line || (r->blank_line && blank < n)) {
            const size_t first = i + (blank < n ? blank : 0);
            if (r->in_line)
                r->lines.len -= sizeof(uint32_t);
            note_line(r, line_of(r, is_text ? (size_t)(at - r->text.at) + first : r->pos));
            r->blank_line = true;
        }
        r->blank_line = r->blank_line && blank == n;
        r->in_line = end == NULL;
        i += n + (end != NULL);
    }
    return r->lines.failed ? berth_trun_nomem(r) : 0;
}

bool
berth_ttrace_fail(struct berth_trun *r)
{
    struct berth_template_trace *trace = r->t->trace;
    const char *why = berth_arena_strdup(r->a, r->e->msg);

    for (size_t i = 0; i < trace->failure_count; i++) {
        if (trace->failures[i].at == r->pos)
            return true; /* of another turn of a range */
    }
    trace->failures[trace->failure_count++] =
        (struct berth_template_failure){.at = r->pos, .why = why != NULL ? why : "out of memory"};
    return trace->failure_count < BERTH_TEMPLATE_FAILURES_MAX;
}

void
berth_ttrace_end(struct berth_trun *r)
{
    struct berth_template_trace *trace = r->t->trace;

    trace->lines = (const uint32_t *)(const void *)r->lines.at;
    trace->line_count = r->lines.len / sizeof(uint32_t);
}
