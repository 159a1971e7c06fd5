#include "conf/near.h"

#include <string.h>

enum { WORD_MAX = 64 };

/* Letters to change, leave out, put in or swap with their neighbour to come from a to b. */
static size_t
distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    size_t rows[3][WORD_MAX + 1];

    for (size_t j = 0; j <= b_len; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        size_t *now = rows[i % 3];
        const size_t *last = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t best = last[j - 1] + (a[i - 1] != b[j - 1]);
            if (last[j] + 1 < best)
                best = last[j] + 1;
            if (now[j - 1] + 1 < best)
                best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            now[j] = best;
        }
    }
    return rows[a_len % 3][b_len];
}

const char *
berth_near_miss(const char *word, const char *const *names, size_t count)
{
    const size_t len = strnlen(word, WORD_MAX + 1);
    size_t least = len < 3 ? 1 : len / 3 + 1; /* a third of it may be wrong */
    const char *found = NULL;

    for (size_t i = 0; i < count && len <= WORD_MAX; i++) {
        const size_t n = strnlen(names[i], WORD_MAX + 1);
        if (n > WORD_MAX)
            continue;
        const size_t d = distance(word, len, names[i], n);
        if (d < least || (d == least && found == NULL)) {
            least = d;
            found = names[i];
        }
    }
    return found;
}
