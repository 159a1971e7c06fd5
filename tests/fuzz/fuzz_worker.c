#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "plugin/message.h"

/* What a worker may say, with the area that its offsets point to.  The first byte picks which. */
static void
read_tensors(struct berth_unpack *u)
{
    static unsigned char bytes[4096];
    const struct berth_area area = {bytes, sizeof bytes};
    struct berth_tensor t;

    while (u->pos < u->len && berth_message_get_tensor(u, area, &t)) {
        const unsigned char *at = t.bytes;
        berth_assert(at >= bytes && t.size <= sizeof bytes - (size_t)(at - bytes));
        berth_assert(t.rank <= BERTH_RANK_MAX && strlen(t.name) <= BERTH_NAME_LEN_MAX);
        (void)berth_message_bytes_fit(&t, t.bytes);
    }
}

static void
read_events(struct berth_unpack *u, struct berth_arena *a)
{
    struct berth_event x;
    size_t sum = 0;

    while (u->pos < u->len && berth_message_get_event(u, a, &x)) {
        berth_assert(x.slot < BERTH_SEQUENCES_MAX);
        sum += x.msg != NULL ? strlen(x.msg) : 0;
        sum += x.finish.stop != NULL ? strlen(x.finish.stop) : 0;
        for (size_t i = 0; x.delta.tokens != NULL && i < x.delta.token_count; i++) {
            const struct berth_token *t = &x.delta.tokens[i];
            sum += t->text_len > 0 ? (unsigned char)t->text[t->text_len - 1] : 0;
            for (size_t k = 0; k < t->top_count; k++)
                sum += t->top[k].text_len > 0 ? (unsigned char)t->top[k].text[0] : 0;
        }
        berth_arena_reset(a);
    }
    berth_assert(sum < SIZE_MAX);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct berth_arena a;
    struct berth_worker_load load;
    struct berth_gen gen;

    if (len == 0)
        return 0;
    /* Its own block of just that size: a read behind the end is seen. */
    unsigned char *copy = malloc(len);
    memcpy(copy, bytes, len);
    struct berth_unpack u = {.at = copy, .len = len, .pos = 1};
    berth_arena_init(&a, 1 << 20);
    switch (copy[0] % 5) {
    case 0:
        read_tensors(&u);
        break;
    case 1:
        read_events(&u, &a);
        break;
    case 2:
        (void)berth_message_get_describe(&u, &a);
        break;
    case 3:
        if (berth_message_get_load(&u, &load))
            berth_assert(strlen(load.key) < len && strlen(load.settings_json) < len);
        break;
    case 4:
        if (berth_message_get_gen(&u, &a, &gen) && gen.prompt != NULL)
            berth_assert(gen.prompt[gen.prompt_len] == '\0');
        break;
    }
    berth_arena_fini(&a);
    free(copy);
    return 0;
}
