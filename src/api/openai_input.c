#include <stdio.h>
#include <string.h>

#include "api/openai.h"
#include "base/arena.h"

/* Messages and prompts as OpenAI's clients send them.  Pure. */

static bool
has_nul(struct berth_slice s)
{
    return memchr(s.at, '\0', s.len) != NULL;
}

/* The parts of one content, joined; what is no text is refused. */
static int
put_parts(struct berth_fields *f, struct berth_jw *w, const char *path,
          const struct berth_json *parts)
{
    struct berth_buf joined;
    struct berth_slice type, text;
    int r = 0;

    berth_buf_init(&joined, w->b->arena);
    for (struct berth_json_iter it = berth_json_iter(parts); r == 0 && berth_json_next(&it);) {
        if (!berth_json_string(berth_json_get(it.value, "type"), &type))
            r = berth_field_bad(f, path, "content[%zu].type: must be a string", it.index);
        else if (!berth_slice_is(type, "text"))
            r = berth_field_bad(f, path,
                                "content[%zu]: this model reads text only, not parts of type "
                                "\"%.*s\"",
                                it.index, (int)(type.len < 40 ? type.len : 40), type.at);
        else if (!berth_json_string(berth_json_get(it.value, "text"), &text) || has_nul(text))
            r = berth_field_bad(f, path, "content[%zu].text: must be a string without U+0000",
                                it.index);
        else
            berth_buf_put(&joined, text.at, text.len);
    }
    if (r == 0)
        berth_jw_string_n(w, joined.len > 0 ? joined.at : "", joined.len);
    w->b->failed |= joined.failed;
    if (joined.arena == NULL)
        berth_buf_fini(&joined);
    return r;
}

static int
put_message(struct berth_fields *f, struct berth_jw *w, const struct berth_json *m, size_t i)
{
    static const char *const roles[] = {"system", "developer", "user", "assistant"};
    const struct berth_json *content = berth_json_get(m, "content");
    struct berth_slice role, text;
    char path[40];
    size_t k = 0;
    int r = 0;

    (void)snprintf(path, sizeof path, "messages[%zu]", i);
    if (berth_json_type(m) != BERTH_JSON_OBJECT)
        return berth_field_bad(f, path, "must be an object, not %s", berth_json_type_name(m));
    if (!berth_json_string(berth_json_get(m, "role"), &role))
        return berth_field_bad(f, path, "role: must be a string");
    while (k < sizeof roles / sizeof *roles && !berth_slice_is(role, roles[k]))
        k++;
    if (k == sizeof roles / sizeof *roles)
        return berth_field_bad(f, path,
                               "role: must be system, developer, user or assistant, not \"%.*s\"",
                               (int)(role.len < 40 ? role.len : 40), role.at);
    if (berth_json_len(berth_json_get(m, "tool_calls")) > 0)
        return berth_field_bad(f, path, "tool_calls: tools are not offered by this model");
    berth_jw_object(w);
    berth_jw_key(w, "role");
    berth_jw_string(w, k == 1 ? "system" : roles[k]); /* developer is system's newer name */
    berth_jw_key(w, "content");
    if (berth_json_string(content, &text)) {
        if (has_nul(text))
            return berth_field_bad(f, path, "content: must not contain U+0000");
        berth_jw_string_n(w, text.at, text.len);
    } else if (berth_json_type(content) == BERTH_JSON_ARRAY) {
        r = put_parts(f, w, path, content);
    } else if (berth_json_type(content) == BERTH_JSON_NULL && k == 3) {
        berth_jw_string(w, ""); /* an assistant may have said nothing */
    } else {
        r = berth_field_bad(f, path, "content: must be a string or an array of parts, not %s",
                            berth_json_type_name(content));
    }
    berth_jw_object_end(w);
    return r;
}

int
berth_openai_messages(struct berth_fields *f, struct berth_buf *b)
{
    const struct berth_json *messages = berth_field(f, "messages");
    const size_t n = berth_json_len(messages);
    struct berth_jw w;
    int r = 0;

    if (messages == NULL)
        return berth_field_bad(f, "messages", "is missing; give the conversation");
    if (berth_json_type(messages) != BERTH_JSON_ARRAY || n == 0 || n > BERTH_MESSAGES_MAX)
        return berth_field_bad(f, "messages", "must be an array of 1 to %d messages",
                               BERTH_MESSAGES_MAX);
    berth_jw_init(&w, b);
    berth_jw_object(&w);
    berth_jw_key(&w, "messages");
    berth_jw_array(&w);
    for (struct berth_json_iter it = berth_json_iter(messages); r == 0 && berth_json_next(&it);)
        r = put_message(f, &w, it.value, it.index);
    berth_jw_array_end(&w);
    berth_jw_object_end(&w);
    if (r == 0 && b->failed)
        r = berth_err_set(f->e, BERTH_ENOMEM, "the request is larger than its memory limit");
    return r;
}

static int
read_tokens(struct berth_fields *f, struct berth_arena *a, const char *key,
            const struct berth_json *v, struct berth_openai_prompt *p)
{
    const size_t n = berth_json_len(v);
    int32_t *tokens = BERTH_NEW_N(a, int32_t, n);
    int64_t x;

    if (tokens == NULL)
        return berth_err_set(f->e, BERTH_ENOMEM, "the request is larger than its memory limit");
    if (n == 0)
        return berth_field_bad(f, key, "must not have an empty list of tokens");
    for (struct berth_json_iter it = berth_json_iter(v); berth_json_next(&it);) {
        if (!berth_json_int(it.value, &x) || x < 0 || x > INT32_MAX)
            return berth_field_bad(f, key, "token %zu must be a whole number, at least 0",
                                   it.index);
        tokens[it.index] = (int32_t)x;
    }
    p->tokens = tokens;
    p->token_count = n;
    return 0;
}

static int
read_prompt(struct berth_fields *f, struct berth_arena *a, const char *key,
            const struct berth_json *v, struct berth_openai_prompt *p)
{
    if (berth_json_type(v) == BERTH_JSON_ARRAY)
        return read_tokens(f, a, key, v, p);
    if (!berth_json_string(v, &p->text))
        return berth_field_bad(f, key, "must be a string, an array of strings, or tokens, not %s",
                               berth_json_type_name(v));
    if (has_nul(p->text))
        return berth_field_bad(f, key, "must not contain U+0000");
    return 0;
}

int
berth_openai_prompts(struct berth_fields *f, struct berth_arena *a, const char *key,
                     struct berth_openai_prompt **ret, size_t *ret_count)
{
    const struct berth_json *v = berth_field(f, key);
    struct berth_json_iter first = berth_json_iter(v);
    struct berth_openai_prompt *p;
    size_t n = 1;
    bool many = false;
    int r = 0;

    if (v == NULL)
        return berth_field_bad(f, key, "is missing");
    if (berth_json_type(v) == BERTH_JSON_ARRAY) {
        if (!berth_json_next(&first))
            return berth_field_bad(f, key, "must not be empty");
        many = berth_json_type(first.value) != BERTH_JSON_INT;
        n = many ? berth_json_len(v) : 1;
    }
    if (n > BERTH_PROMPTS_MAX)
        return berth_field_bad(f, key, "must have at most %d entries", BERTH_PROMPTS_MAX);
    p = BERTH_NEW_N(a, struct berth_openai_prompt, n);
    if (p == NULL)
        return berth_err_set(f->e, BERTH_ENOMEM, "the request is larger than its memory limit");
    if (!many)
        r = read_prompt(f, a, key, v, &p[0]);
    for (struct berth_json_iter it = berth_json_iter(v); many && r == 0 && berth_json_next(&it);)
        r = read_prompt(f, a, key, it.value, &p[it.index]);
    *ret = p;
    *ret_count = n;
    return r;
}
