#include "vocab.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <berth/err.h>

enum { PIECE_BYTES_MAX = 4096 };

/* Write the token's text at *ret_len of v->text, which grows as needed. */
static int
add_piece(struct berth_vocab *v, int32_t token, size_t *len, size_t *cap)
{
    char piece[PIECE_BYTES_MAX];
    const int32_t n = llama_token_to_piece(v->engine, token, piece, sizeof piece, 0, true);
    const size_t bytes = n > 0 ? (size_t)n : 0; /* negative: longer than any real token */

    if (*len + bytes > *cap) {
        const size_t more = *cap * 2 + PIECE_BYTES_MAX;
        char *const bigger = realloc(v->text, more);

        if (bigger == NULL)
            return -BERTH_ENOMEM;
        v->text = bigger;
        *cap = more;
    }
    (void)memcpy(v->text + *len, piece, bytes);
    v->offset[token] = (uint32_t)*len;
    *len += bytes;
    v->hidden[token] = llama_token_to_piece(v->engine, token, piece, sizeof piece, 0, false) == 0;
    return *len > UINT32_MAX ? -BERTH_EINVAL : 0;
}

static int
fill(struct berth_vocab *v)
{
    size_t len = 0, cap = 0;

    for (int32_t t = 0; t < v->count; t++) {
        const int r = add_piece(v, t, &len, &cap);

        if (r < 0)
            return r;
        if (llama_vocab_is_eog(v->engine, t))
            v->no_end[v->no_end_count++] = (struct llama_logit_bias){t, -INFINITY};
    }
    v->offset[v->count] = (uint32_t)len;
    for (int32_t i = 0; i < v->count; i++) {
        const uint32_t bytes = v->offset[i + 1] - v->offset[i];

        v->longest_bytes = bytes > v->longest_bytes ? bytes : v->longest_bytes;
    }
    return 0;
}

int
berth_vocab_init(struct berth_vocab *v, const struct llama_vocab *engine, struct berth_err *e)
{
    const int32_t count = llama_vocab_n_tokens(engine);
    int r = -BERTH_ENOMEM;

    *v = (struct berth_vocab){.engine = engine, .count = count};
    if (count <= 0)
        return berth_err_set(e, BERTH_EINVAL, "the model has no tokens");
    v->offset = calloc((size_t)count + 1, sizeof *v->offset);
    v->hidden = calloc((size_t)count, 1);
    v->no_end = calloc((size_t)count, sizeof *v->no_end);
    if (v->offset != NULL && v->hidden != NULL && v->no_end != NULL)
        r = fill(v);
    if (r < 0)
        berth_vocab_fini(v);
    return r < 0 ? berth_err_set(e, (enum berth_code) - r,
                                 "the list of the model's %d tokens does "
                                 "not fit in memory",
                                 count)
                 : 0;
}

void
berth_vocab_fini(struct berth_vocab *v)
{
    free(v->text);
    free(v->offset);
    free(v->hidden);
    free(v->no_end);
    *v = (struct berth_vocab){0};
}

const char *
berth_vocab_text(const struct berth_vocab *v, int32_t token, size_t *ret_len)
{
    if (token < 0 || token >= v->count || v->text == NULL) {
        *ret_len = 0;
        return "";
    }
    *ret_len = v->offset[token + 1] - v->offset[token];
    return v->text + v->offset[token];
}
