#include "net/blocks.h"

#include <stdlib.h>

struct berth_block {
    struct berth_block *next;
    struct berth_blocks *home;
    size_t class;
    _Alignas(64) char bytes[];
};

static size_t
bytes_of(size_t class)
{
    return (size_t)BERTH_BLOCK_MIN << class;
}

void *
berth_block_take(struct berth_blocks *b, size_t n)
{
    size_t class = 0;

    if (n < BERTH_BLOCK_MIN || n > bytes_of(BERTH_BLOCK_CLASSES - 1))
        return NULL;
    while (bytes_of(class) < n)
        class ++;
    struct berth_block *k = b->kept[class];
    if (k != NULL) {
        b->kept[class] = k->next;
        b->kept_bytes -= bytes_of(class);
        return k->bytes;
    }
    k = aligned_alloc(64, sizeof *k + bytes_of(class));
    if (k == NULL)
        return NULL;
    k->home = b;
    k->class = class;
    return k->bytes;
}

void
berth_block_give(void *block)
{
    struct berth_block *k =
        (struct berth_block *)(void *)((char *)block - offsetof(struct berth_block, bytes));
    struct berth_blocks *b = k->home;

    if (b->kept_bytes + bytes_of(k->class) > BERTH_BLOCKS_KEPT_MAX) {
        free(k);
        return;
    }
    k->next = b->kept[k->class];
    b->kept[k->class] = k;
    b->kept_bytes += bytes_of(k->class);
}

void
berth_blocks_drop(struct berth_blocks *b)
{
    for (size_t i = 0; i < BERTH_BLOCK_CLASSES; i++)
        for (struct berth_block *k = b->kept[i], *next; k != NULL; k = next) {
            next = k->next;
            free(k);
        }
    *b = (struct berth_blocks){0};
}
