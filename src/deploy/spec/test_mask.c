#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/buf.h"
#include "deploy/spec/mask.h"
#include "wire/json.h"

static void
what_looks_secret_is_masked(void **unused)
{
    static const struct {
        const char *why, *from, *to;
    } cases[] = {
        {"by the name of a member, at any depth, but not what is not there",
         "{\"modelName\":\"m\",\"password\":{\"a\":[1,null]}}",
         "{\"modelName\":\"m\",\"password\":{\"a\":[\"***\",null]}}"},
        {"by the key beside a value",
         "[{\"key\":\"API_TOKEN\",\"value\":\"x\"},{\"key\":\"A\",\"value\":\"y\"}]",
         "[{\"key\":\"API_TOKEN\",\"value\":\"***\"},{\"key\":\"A\",\"value\":\"y\"}]"},
        {"the word after a flag", "[\"--api-key\",\"X\",\"Y\"]", "[\"--api-key\",\"***\",\"Y\"]"},
        {"with its blanks", "[\"--api-key\",\"X Y\"]", "[\"--api-key\",\"***\"]"},
        {"but not the next flag", "[\"--no-token\",\"--port=1\"]", "[\"--no-token\",\"--port=1\"]"},
        {"what is behind its =", "[\"--hf-token=X\",\"Y\"]", "[\"--hf-token=***\",\"Y\"]"},
        {"in a line for a shell", "[\"sh\",\"-c\",\"API_KEY=X vllm serve --token 'a b' --port 1\"]",
         "[\"sh\",\"-c\",\"API_KEY=*** vllm serve --token *** --port 1\"]"},
        {"in a line that ends with the flag", "[\"run --token\",\"X\"]",
         "[\"run --token\",\"***\"]"},
        {"a quote that is not closed", "{\"line\":\"put --password 'a b\"}",
         "{\"line\":\"put --password *** b\"}"},
        {"quoted behind =", "{\"line\":\"put --password='a b' c\"}",
         "{\"line\":\"put --password=*** c\"}"},
        {"a model's tokens are none",
         "[\"--tokenizer\",\"/m\",\"--max-num-batched-tokens\",\"8\",\"--max-tokens=9\"]",
         "[\"--tokenizer\",\"/m\",\"--max-num-batched-tokens\",\"8\",\"--max-tokens=9\"]"},
        {"but one behind such a word is", "[\"--max-tokenizer-token=9\"]",
         "[\"--max-tokenizer-token=***\"]"},
        {"a hook's line, as a whole", "{\"steps\":{\"a\":{\"preHook\":\"x\",\"postHook\":\"y\"}}}",
         "{\"steps\":{\"a\":{\"preHook\":\"***\",\"postHook\":\"***\"}}}"},
        {"a header", "[\"curl -H 'Authorization: Bearer X' u\",\"Authorization:basic  X\"]",
         "[\"curl -H 'Authorization: Bearer ***' u\",\"Authorization:basic  ***\"]"},
        {"any header whose name looks so, as a word of its own",
         "[\"curl\",\"-H\",\"X-API-Key: K L\",\"--header\",\"Authorization: Digest a=b c\",\"-H\","
         "\"Cookie:x\",\"X-Auth-Token: T\",\"-H\",\"Accept: a\",\"-HX-API-Key:K\"]",
         "[\"curl\",\"-H\",\"X-API-Key: ***\",\"--header\",\"Authorization: ***\",\"-H\","
         "\"Cookie:***\",\"X-Auth-Token: ***\",\"-H\",\"Accept: a\",\"-HX-API-Key:***\"]"},
        {"and in a line",
         "[\"curl -H 'X-API-Key: K L' -H \\\"Authorization: K\\\" --header=\\\"X-Token: T\\\" "
         "-H'Cookie: "
         "C' -H X-API-Key:K -H X-API-Key: K -H Authorization: Bearer K -H 'Accept: a' u\"]",
         "[\"curl -H 'X-API-Key: ***' -H \\\"Authorization: ***\\\" --header=\\\"X-Token: ***\\\" "
         "-H'Cookie: ***' -H X-API-Key:*** -H X-API-Key: *** -H Authorization: Bearer *** -H "
         "'Accept: "
         "a' u\"]"},
        {"a user's password",
         "[\"curl\",\"-u\",\"ann:p "
         "w\",\"--user\",\"ann:p\",\"-uann:p\",\"--user=ann:p\",\"-U\",\"a:p\"]",
         "[\"curl\",\"-u\",\"ann:***\",\"--user\",\"ann:***\",\"-uann:***\",\"--user=ann:***\",\"-"
         "U\","
         "\"a:***\"]"},
        {"and in a line",
         "[\"curl -u ann:p:q --user 'ann:p w' -u \\\"ann:p\\\" --proxy-user=a:p u\"]",
         "[\"curl -u ann:*** --user 'ann:***' -u \\\"ann:***\\\" --proxy-user=a:*** u\"]"},
        {"what is neither a header nor a password",
         "[\"-u\",\"1000:1000\",\"python\",\"-u\",\"x.py\",\"-H\",\"0.0.0.0:80\",\"secret-app:1."
         "2\",\"-u\","
         "\"http://h:1/\",\"--user=7:8\",\"--update=a:b\"]",
         "[\"-u\",\"1000:1000\",\"python\",\"-u\",\"x.py\",\"-H\",\"0.0.0.0:80\",\"secret-app:1."
         "2\",\"-u\","
         "\"http://h:1/\",\"--user=7:8\",\"--update=a:b\"]"},
        {"a flag that begins like one of those", "[\"-update-token\",\"T\",\"-Hosts\",\"a\"]",
         "[\"-update-token\",\"***\",\"-Hosts\",\"a\"]"},
        {"what only looks like one", "[\"--basic x\",\"basics x\",\"Bearer\",\"Bearer \"]",
         "[\"--basic x\",\"basics x\",\"Bearer\",\"Bearer \"]"},
        {"the password of an address",
         "[{\"key\":\"DB\",\"value\":\"postgres://u:p@w@h:1/d\"},\"get http://:p@h "
         "'ftp://u:p@h'\"]",
         "[{\"key\":\"DB\",\"value\":\"postgres://u:***@h:1/d\"},\"get http://:***@h "
         "'ftp://u:***@h'\"]"},
        {"an address without one",
         "[\"http://h:80/a@b\",\"http://u@h\",\"://\",\"a://:@\",\"http://h:1?x@y\"]",
         "[\"http://h:80/a@b\",\"http://u@h\",\"://\",\"a://:@\",\"http://h:1?x@y\"]"},
        {"nothing", "[\"\",\" \",\"=\",\"-\",null,1,true]", "[\"\",\" \",\"=\",\"-\",null,1,true]"},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct berth_json *v;
        struct berth_arena a;
        struct berth_buf b;
        struct berth_jw w;

        print_message("  %s\n", cases[i].why);
        berth_arena_init(&a, 1 << 20);
        assert_int_equal(berth_json_parse(&a, cases[i].from, strlen(cases[i].from), NULL, &v, NULL),
                         0);
        berth_buf_init(&b, &a);
        berth_jw_init(&w, &b);
        berth_mask_put(&w, v, false);
        assert_string_equal(berth_buf_text(&b), cases[i].to);
        berth_arena_fini(&a);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_looks_secret_is_masked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
