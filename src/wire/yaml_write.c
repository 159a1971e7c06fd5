#include "wire/yaml.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <yaml.h>

#include "base/arena.h"
#include "wire/json.h"

/* A tree as block YAML, in the order of kubectl: members sorted by name. */

enum { MEMBERS_MAX = 4096 /* sorted; an object with more keeps its order */ };

static int
on_bytes(void *arg, unsigned char *bytes, size_t n)
{
    struct berth_buf *b = arg;

    berth_buf_put(b, bytes, n);
    return !b->failed;
}

/* Would a reader of YAML 1.1 or 1.2 take this text, written plainly, for something else? */
static bool
needs_quotes(const char *text, size_t len)
{
    static const char *const words[] = {"null", "true", "false", "yes", "no", "on",   "off",
                                        "y",    "n",    "~",     "=",   "<<", ".inf", ".nan"};

    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strlen(words[i]) == len && strncasecmp(text, words[i], len) == 0)
            return true;
    }
    if (len == 0)
        return true;
    /* What could be a number of any base, a date or a time of day. */
    if (strchr("0123456789+-.", text[0]) == NULL)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (strchr("0123456789abcdefABCDEFxXoO_+-.:TZ infINFna", text[i]) == NULL ||
            text[i] == '\0')
            return false;
    }
    return true;
}

static bool
put_scalar(yaml_emitter_t *to, const char *text, size_t len, bool is_text)
{
    yaml_event_t event;
    const bool quoted = is_text && needs_quotes(text, len);
    const bool lines = is_text && memchr(text, '\n', len) != NULL;
    const yaml_scalar_style_t style = quoted  ? YAML_DOUBLE_QUOTED_SCALAR_STYLE
                                      : lines ? YAML_LITERAL_SCALAR_STYLE
                                              : YAML_PLAIN_SCALAR_STYLE;

    return yaml_scalar_event_initialize(&event, NULL, NULL, (const yaml_char_t *)text, (int)len, 1,
                                        1, style) != 0 &&
           yaml_emitter_emit(to, &event) != 0;
}

static int
compare_keys(const void *x, const void *y)
{
    const struct berth_json_iter *a = x, *b = y;
    const size_t n = a->key.len < b->key.len ? a->key.len : b->key.len;
    const int r = memcmp(a->key.at, b->key.at, n);

    return r != 0 ? r : (a->key.len > b->key.len) - (a->key.len < b->key.len);
}

static bool put(yaml_emitter_t *to, const struct berth_json *v, struct berth_arena *a);

static bool
put_members(yaml_emitter_t *to, const struct berth_json *v, struct berth_arena *a)
{
    const size_t n = berth_json_len(v);
    struct berth_json_iter *sorted =
        n <= MEMBERS_MAX ? berth_arena_alloc_n(a, n, sizeof *sorted) : NULL;
    size_t at = 0;

    for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);) {
        if (sorted != NULL)
            sorted[at++] = it;
        else if (!put_scalar(to, it.key.at, it.key.len, true) || !put(to, it.value, a))
            return false;
    }
    if (sorted == NULL)
        return true;
    qsort(sorted, at, sizeof *sorted, compare_keys);
    for (size_t i = 0; i < at; i++) {
        if (!put_scalar(to, sorted[i].key.at, sorted[i].key.len, true) ||
            !put(to, sorted[i].value, a))
            return false;
    }
    return true;
}

static bool
put_object(yaml_emitter_t *to, const struct berth_json *v, struct berth_arena *a)
{
    yaml_event_t event;
    const yaml_mapping_style_t style =
        berth_json_len(v) == 0 ? YAML_FLOW_MAPPING_STYLE : YAML_BLOCK_MAPPING_STYLE;

    return yaml_mapping_start_event_initialize(&event, NULL, NULL, 1, style) != 0 &&
           yaml_emitter_emit(to, &event) != 0 && put_members(to, v, a) &&
           yaml_mapping_end_event_initialize(&event) != 0 && yaml_emitter_emit(to, &event) != 0;
}

static bool
put_array(yaml_emitter_t *to, const struct berth_json *v, struct berth_arena *a)
{
    yaml_event_t event;
    const yaml_sequence_style_t style =
        berth_json_len(v) == 0 ? YAML_FLOW_SEQUENCE_STYLE : YAML_BLOCK_SEQUENCE_STYLE;

    if (yaml_sequence_start_event_initialize(&event, NULL, NULL, 1, style) == 0 ||
        yaml_emitter_emit(to, &event) == 0)
        return false;
    for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);) {
        if (!put(to, it.value, a))
            return false;
    }
    return yaml_sequence_end_event_initialize(&event) != 0 && yaml_emitter_emit(to, &event) != 0;
}

static bool
put(yaml_emitter_t *to, const struct berth_json *v, struct berth_arena *a)
{
    struct berth_slice text;
    struct berth_buf b;

    switch (berth_json_type(v)) {
    case BERTH_JSON_OBJECT:
        return put_object(to, v, a);
    case BERTH_JSON_ARRAY:
        return put_array(to, v, a);
    case BERTH_JSON_STRING:
        return berth_json_string(v, &text) && put_scalar(to, text.at, text.len, true);
    default:
        berth_buf_init(&b, a);
        berth_json_put(&b, v);
        return !b.failed && put_scalar(to, b.at, b.len, false);
    }
}

int
berth_yaml_put(struct berth_buf *to, const struct berth_json *v, struct berth_arena *a)
{
    yaml_emitter_t emitter;
    yaml_event_t event;

    if (yaml_emitter_initialize(&emitter) == 0)
        return -BERTH_ENOMEM;
    yaml_emitter_set_output(&emitter, on_bytes, to);
    yaml_emitter_set_unicode(&emitter, 1);
    yaml_emitter_set_width(&emitter, -1); /* a line stays one: people compare these */
    const bool ok = yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING) != 0 &&
                    yaml_emitter_emit(&emitter, &event) != 0 &&
                    yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1) != 0 &&
                    yaml_emitter_emit(&emitter, &event) != 0 && put(&emitter, v, a) &&
                    yaml_document_end_event_initialize(&event, 1) != 0 &&
                    yaml_emitter_emit(&emitter, &event) != 0 &&
                    yaml_stream_end_event_initialize(&event) != 0 &&
                    yaml_emitter_emit(&emitter, &event) != 0 && yaml_emitter_flush(&emitter) != 0;
    yaml_emitter_delete(&emitter);
    return ok && !to->failed ? 0 : -BERTH_ENOMEM;
}
