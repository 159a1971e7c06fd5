#include <string.h>

#include "cmd/cmd_priv.h"
#include "cmd/service.h"
#include "wire/json.h"

/* events: what happened to services, a line each, as it is read by people or with --json. */

/* "env.A: 1 -> 2" for each change of the spec. */
static void
put_changes(struct berth_buf *out, const struct berth_json *changes)
{
    for (struct berth_json_iter it = berth_json_iter(changes); berth_json_next(&it);) {
        berth_buf_printf(out, "%s%s: ", it.index > 0 ? ", " : "; ",
                         berth_remote_text(it.value, "path", "?"));
        berth_json_put(out, berth_json_get(it.value, "from"));
        berth_buf_puts(out, " -> ");
        berth_json_put(out, berth_json_get(it.value, "to"));
    }
}

static void
put_word(struct berth_buf *out, const struct berth_json *event, const char *key, const char *before)
{
    const char *text = berth_remote_text(event, key, "");

    if (text[0] != '\0')
        berth_buf_printf(out, "%s%s", before, text);
}

/* What happened, as a line for people: an event of the server's. */
static void
put_event(struct berth_buf *out, const struct berth_json *event)
{
    const char *type = berth_remote_text(event, "type", "?");
    const struct berth_json *more = berth_json_get(event, "parameters");
    const uint64_t revision = berth_json_member_uint(more, "revision");
    const uint64_t took_ms = berth_json_member_uint(event, "durationMs");
    const struct berth_json *weight = berth_json_get(more, "weight");
    const bool is_step = berth_json_get(event, "step") != NULL;
    const bool is_change = !is_step && strcmp(type, "service.status") != 0;

    berth_buf_printf(out, "%s  %s  %s", berth_remote_text(event, "time", "?"),
                     berth_remote_text(event, "serviceId", "-"), type);
    put_word(out, event, "action", " ");
    if (weight != NULL) {
        berth_buf_putc(out, ' ');
        berth_json_put(out, weight);
    }
    put_word(out, event, "decision", " ");
    put_word(out, event, "step", " ");
    put_word(out, event, "event", " ");
    put_word(out, event, "unit", " ");
    put_word(out, event, "from", " ");
    put_word(out, event, "to", " -> ");
    if (revision > 0)
        berth_buf_printf(out, ", revision %llu%s", (unsigned long long)revision,
                         strcmp(berth_remote_text(more, "track", ""), "canary") == 0 ? " (canary)"
                                                                                     : "");
    if (is_step && took_ms > 0) /* of a status it is how long the one before stood */
        berth_buf_printf(out, ", %llu ms", (unsigned long long)took_ms);
    if (is_change)
        put_word(out, event, "operator", ", by ");
    put_word(out, event, "reason", ": ");
    put_word(out, event, "message", ": ");
    put_changes(out, berth_json_get(more, "changes"));
    berth_buf_putc(out, '\n');
}

enum { EVENT_BYTES_MAX = 4 << 20 };

/* One of a stream.  What cannot be read is printed as it came. */
static void
put_text(struct berth_buf *out, struct berth_slice text)
{
    const struct berth_json *event = NULL;
    struct berth_arena a;

    berth_arena_init(&a, EVENT_BYTES_MAX);
    if (berth_json_parse(&a, text.at, text.len, NULL, &event, NULL) == 0) {
        put_event(out, event);
    } else {
        berth_buf_put(out, text.at, text.len);
        berth_buf_putc(out, '\n');
    }
    berth_arena_fini(&a);
}

static int
print_all(struct berth_remote *r, const char *id, bool json)
{
    const struct berth_json *events = NULL;
    struct berth_buf out;
    int rc = berth_remote_call(r, "GET",
                               id != NULL ? "/api/v1/events?list=1&limit=10000&serviceId={}"
                                          : "/api/v1/events?list=1&limit=10000",
                               id, NULL, &events);

    if (rc != BERTH_EXIT_OK)
        return rc;
    berth_buf_init(&out, NULL);
    for (struct berth_json_iter it = berth_json_iter(berth_json_get(events, "data"));
         berth_json_next(&it);) {
        if (json) {
            berth_json_put(&out, it.value);
            berth_buf_putc(&out, '\n');
        } else {
            put_event(&out, it.value);
        }
    }
    return berth_print(r->args, &out);
}

int
berth_run_events(const struct berth_args *args)
{
    const bool json = berth_arg(args, "json") != NULL;
    const struct berth_json *s = NULL;
    struct berth_remote r;
    int rc = berth_remote_init(&r, args);

    if (rc == BERTH_EXIT_OK && args->word_count > 0)
        rc = berth_service_call(&r, "GET", "/{}", args->words[0], NULL, &s);
    const char *id = berth_remote_text(s, "serviceId", NULL);
    if (rc == BERTH_EXIT_OK && berth_arg(args, "follow") != NULL)
        rc = berth_service_stream(&r, berth_remote_url(&r, "/api/v1/events?serviceId={}", id), true,
                                  json ? NULL : put_text);
    else if (rc == BERTH_EXIT_OK)
        rc = print_all(&r, id, json);
    berth_remote_fini(&r);
    return rc;
}
