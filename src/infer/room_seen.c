#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "infer/registry_priv.h"
#include "wire/json.h"

/* What files took with certain settings, under whatever name they were loaded: a model that is
 * named at the command line is no record of the store's, and its next start shall know as much. */

/* FNV-1a; a length goes before each text, so that two texts are not one. */
static uint64_t
mix(uint64_t h, const void *bytes, size_t len)
{
    const unsigned char *at = bytes;

    for (size_t i = 0; i < len; i++)
        h = (h ^ at[i]) * UINT64_C(1099511628211);
    return h;
}

static uint64_t
mix_text(uint64_t h, const char *text)
{
    const uint64_t len = text != NULL ? strlen(text) : 0;

    h = mix(h, &len, sizeof len);
    return len > 0 ? mix(h, text, len) : h;
}

uint64_t
berth_room_place(const char *path, uint64_t files, const char *backend,
                 const struct berth_model_conf *c)
{
    char real[PATH_MAX];
    uint64_t h = UINT64_C(14695981039346656037);

    h = mix_text(h, realpath(path, real) != NULL ? real : path);
    h = mix_text(h, backend);
    h = mix_text(h, c->settings_json);
    h = mix(h, &files, sizeof files);
    h = mix(h, &c->memory_bytes, sizeof c->memory_bytes);
    h = mix(h, &c->instances, sizeof c->instances);
    return h != 0 ? h : 1; /* 0: a free place */
}

const struct berth_seen *
berth_room_seen_locked(const struct berth_room *room, uint64_t place)
{
    for (size_t i = 0; i < BERTH_SEEN_MAX; i++) {
        if (room->seen[i].place == place)
            return &room->seen[i];
    }
    return NULL;
}

void
berth_room_see_locked(struct berth_room *room, uint64_t place, uint64_t bytes, uint64_t load_ns)
{
    struct berth_seen *s = (struct berth_seen *)berth_room_seen_locked(room, place);

    if (s == NULL) { /* the one learned longest ago makes room */
        s = &room->seen[room->seen_next];
        room->seen_next = (room->seen_next + 1) % BERTH_SEEN_MAX;
    }
    *s = (struct berth_seen){.place = place, .bytes = bytes, .load_ns = load_ns};
}

void
berth_room_put_seen(struct berth_jw *w, const struct berth_room *room)
{
    char key[24];

    berth_jw_key(w, "files");
    berth_jw_object(w);
    for (size_t i = 0; i < BERTH_SEEN_MAX; i++) { /* the oldest first, as they are read again */
        const struct berth_seen *s = &room->seen[(room->seen_next + i) % BERTH_SEEN_MAX];
        if (s->place == 0)
            continue;
        (void)snprintf(key, sizeof key, "%016" PRIx64, s->place);
        berth_jw_key(w, key);
        berth_jw_object(w);
        berth_jw_key(w, "bytes");
        berth_jw_uint(w, s->bytes);
        berth_jw_key(w, "load_ns");
        berth_jw_uint(w, s->load_ns);
        berth_jw_object_end(w);
    }
    berth_jw_object_end(w);
}

void
berth_room_read_seen_locked(struct berth_room *room, const struct berth_json *record)
{
    size_t n = 0;

    for (struct berth_json_iter it = berth_json_iter(berth_json_get(record, "files"));
         berth_json_next(&it) && n < BERTH_SEEN_MAX; n++) {
        char key[17], *end;
        uint64_t bytes = 0, load_ns = 0;
        if (it.key.len != 16)
            continue;
        memcpy(key, it.key.at, 16);
        key[16] = '\0';
        const uint64_t place = strtoull(key, &end, 16);
        (void)berth_json_uint(berth_json_get(it.value, "bytes"), &bytes);
        (void)berth_json_uint(berth_json_get(it.value, "load_ns"), &load_ns);
        if (*end == '\0' && place != 0 && bytes > 0)
            berth_room_see_locked(room, place, bytes, load_ns);
    }
}
