#ifndef BERTH_NET_BLOCKS_H
#define BERTH_NET_BLOCKS_H

#include <stddef.h>

/*
 * Large blocks for request bodies, kept for the next request: fresh ones cost a page fault every
 * 4 KiB, which for a 600 KB body is more than receiving it.  One thread.
 */
enum {
    BERTH_BLOCK_MIN = 64 * 1024, /* smaller sizes are no gain */
    BERTH_BLOCK_CLASSES = 7,     /* 64 KiB, 128 KiB, ... 4 MiB; larger ones are not kept */
    BERTH_BLOCKS_KEPT_MAX = 16 * 1024 * 1024,
};

struct berth_block;

struct berth_blocks {
    struct berth_block *kept[BERTH_BLOCK_CLASSES];
    size_t kept_bytes;
};

/* A block with room for n bytes, aligned to 64; NULL: no memory, or n is not of a kept size. */
void *berth_block_take(struct berth_blocks *b, size_t n);
/* Give one back; knows where it came from. */
void berth_block_give(void *block);
/* Free what is kept. */
void berth_blocks_drop(struct berth_blocks *b);

#endif
