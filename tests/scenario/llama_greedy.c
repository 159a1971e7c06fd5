/*
 * What llama.cpp itself answers, to compare the server with.  Prompts come on standard input, each
 * ended by a NUL; so do the answers on standard output.  Nothing of Berth is in it.
 *
 *   llama_greedy MODEL TOKENS
 */
#include <stdio.h>
#include <stdlib.h>

#include "llama_reference.h"

enum { TEXT_MAX = 1 << 16, TOKENS_MAX = 2048, CONTEXT = 4096, CHUNK = 512 };

int
main(int argc, char **argv)
{
    static char text[TEXT_MAX];
    static int32_t prompt[TOKENS_MAX], answer[TOKENS_MAX];
    const long want = argc == 3 ? strtol(argv[2], NULL, 10) : 0;
    struct reference *r;
    size_t len = 0;

    if (want < 1 || want > TOKENS_MAX) {
        (void)fprintf(stderr, "usage: llama_greedy MODEL TOKENS (1 to %d)\n", TOKENS_MAX);
        return 2;
    }
    r = reference_new(argv[1], 1, CONTEXT, CHUNK);
    if (r == NULL) {
        (void)fprintf(stderr, "llama_greedy: cannot load %s\n", argv[1]);
        return 1;
    }
    for (int c = getchar(); c != EOF && len < TEXT_MAX; c = getchar()) {
        float margin;
        size_t n;

        text[len++] = (char)c;
        if (c != '\0')
            continue;
        n = reference_tokens(r, text, prompt, TOKENS_MAX);
        n = reference_greedy(r, prompt, n, answer, (size_t)want, &margin);
        reference_text(r, answer, n, text, TEXT_MAX);
        (void)printf("%s%c", text, '\0');
        len = 0;
    }
    reference_free(r);
    return 0;
}
