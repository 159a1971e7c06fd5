#include "cmd/table.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"

void
berth_table_init(struct berth_table *t, struct berth_arena *arena, size_t columns,
                 const char *const *titles)
{
    berth_assert(columns > 0 && columns <= BERTH_TABLE_COLUMNS);
    *t = (struct berth_table){.arena = arena, .columns = columns};
    t->cells = BERTH_NEW_N(arena, const char *, columns *BERTH_TABLE_ROWS);
    for (size_t i = 0; i < columns; i++)
        berth_table_put(t, "%s", titles[i]);
}

void
berth_table_put(struct berth_table *t, const char *fmt, ...)
{
    char text[400];
    va_list ap;

    if (t->cells == NULL || t->rows == BERTH_TABLE_ROWS)
        return;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    for (char *at = text; *at != '\0'; at++) /* a cell is one line */
        if ((unsigned char)*at < ' ')
            *at = ' ';
    const char *copy = berth_arena_strdup(t->arena, text);
    const size_t len = strlen(text);
    t->cells[t->rows * t->columns + t->next] = copy != NULL ? copy : "";
    if (len > t->widths[t->next])
        t->widths[t->next] = len;
    if (++t->next == t->columns) {
        t->next = 0;
        t->rows++;
    }
}

void
berth_table_print(const struct berth_table *t, struct berth_buf *out)
{
    for (size_t row = 0; row < t->rows; row++) {
        for (size_t i = 0; i < t->columns; i++) {
            const int width = i + 1 < t->columns ? (int)t->widths[i] + 2 : 0;
            berth_buf_printf(out, "%-*s", width, t->cells[row * t->columns + i]);
        }
        berth_buf_putc(out, '\n');
    }
}

const char *
berth_bytes_text(uint64_t bytes, char room[24])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double n = (double)bytes; /* for people to read */
    size_t unit = 0;

    while (n >= 1024 && unit + 1 < BERTH_COUNT(units)) {
        n /= 1024;
        unit++;
    }
    (void)snprintf(room, 24, unit == 0 ? "%.0f %s" : "%.1f %s", n, units[unit]);
    return room;
}
