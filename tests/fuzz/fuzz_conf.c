#include <stdint.h>

#include "base/arena.h"
#include "conf/conf_priv.h"

/* Any text as a configuration file: refused or taken, never more. */
int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static struct berth_conf_full c;
    struct berth_err e;
    struct berth_buf out;

    c = (struct berth_conf_full){0};
    berth_arena_init(&c.arena, 16 << 20);
    (void)berth_conf_set_text(&c, &berth_conf_rows[berth_conf_find("plugins.plugin_configs")], "{}",
                              false, &e);
    if (berth_conf_text_read(&c, "file", (struct berth_slice){(const char *)bytes, len}, &e) == 0) {
        berth_buf_init(&out, &c.arena);
        for (size_t i = 0; i < berth_conf_row_count; i++)
            berth_conf_value_put(&c.conf, &berth_conf_rows[i], &out);
    }
    berth_arena_fini(&c.arena);
    return 0;
}
