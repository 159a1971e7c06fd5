#ifndef BERTH_TABLE_H
#define BERTH_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"

/* Rows of text in columns as wide as they need to be.  Texts are copied into the arena. */
enum { BERTH_TABLE_COLUMNS = 8, BERTH_TABLE_ROWS = 4096 };

struct berth_table {
    struct berth_arena *arena;
    size_t columns, rows, next; /* next: cells filled in the last row */
    const char **cells;
    size_t widths[BERTH_TABLE_COLUMNS];
};

/* titles: as many as columns, the first row. */
void berth_table_init(struct berth_table *t, struct berth_arena *arena, size_t columns,
                      const char *const *titles);
/* The next cell, row by row; rows beyond BERTH_TABLE_ROWS are left out. */
__attribute__((format(printf, 2, 3))) void berth_table_put(struct berth_table *t, const char *fmt,
                                                           ...);
void berth_table_print(const struct berth_table *t, struct berth_buf *out);

/* "98.1 MiB"; room holds 24 bytes.  Returns it. */
const char *berth_bytes_text(uint64_t bytes, char room[24]);

#endif
