#include <stdint.h>

#include "api/fields.h"
#include "api/openai.h"
#include "base/arena.h"
#include "base/assert.h"
#include "wire/json.h"

/* A body of OpenAI's: messages that are taken are right JSON again, with a string in each content;
 * sampling that is taken is in range. */
int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct berth_openai_prompt *prompts;
    const struct berth_json *body, *again;
    struct berth_arena a;
    struct berth_err e;
    struct berth_buf b;
    struct berth_gen g;
    size_t n;

    berth_arena_init(&a, 8 << 20);
    if (berth_json_parse(&a, (const char *)bytes, len, NULL, &body, &e) == 0) {
        struct berth_fields f = berth_fields(body, "", &e);

        berth_gen_init(&g);
        if (berth_gen_read(&f, &a, &g) == 0) {
            berth_assert(g.temperature >= 0 && g.temperature <= 2 && g.top_p > 0 && g.top_p <= 1);
            berth_assert(g.top_k >= 0 && g.stop_count <= BERTH_STOP_MAX);
        }
        berth_buf_init(&b, &a);
        if (berth_openai_messages(&f, &b) == 0) {
            berth_assert(berth_json_parse(&a, b.at, b.len, NULL, &again, &e) == 0);
            again = berth_json_get(again, "messages");
            for (struct berth_json_iter it = berth_json_iter(again); berth_json_next(&it);)
                berth_assert(berth_json_type(berth_json_get(it.value, "content")) ==
                             BERTH_JSON_STRING);
        }
        if (berth_openai_prompts(&f, &a, "prompt", &prompts, &n) == 0)
            berth_assert(n >= 1 && n <= BERTH_PROMPTS_MAX);
        (void)berth_openai_prompts(&f, &a, "input", &prompts, &n);
    }
    berth_arena_fini(&a);
    return 0;
}
