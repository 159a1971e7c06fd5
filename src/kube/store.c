#include "kube/store.h"

#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>
#include <utlist.h>

#include "kube/client.h"
#include "kube/object.h"
#include "wire/json.h"

/* The objects of one index value. */
struct bucket {
    struct link *first;
    UT_hash_handle hh;
    char value[];
};

/* That an object has an index value. */
struct link {
    struct bucket *bucket;
    struct entry *entry;
    struct link *next, *prev; /* in the bucket */
    struct link *more;        /* of the object */
};

struct entry {
    char *text; /* JSON */
    size_t text_len;
    struct link *links;
    size_t link_count;
    UT_hash_handle hh;
    uint32_t generation; /* of the list that had it last */
    char version[BERTH_KUBE_VERSION_TEXT];
    size_t name_at; /* in key, behind the space's NUL */
    size_t key_len;
    char key[]; /* "SPACE\0NAME\0" */
};

struct berth_kube_store {
    char *index_label; /* NULL: none */
    berth_kube_index_fn *index;
    bool names_only;
    uint64_t bytes, bytes_max;
    uint32_t generation;
    struct entry *entries;
    struct bucket *buckets;
};

struct berth_kube_store *
berth_kube_store_new(const char *index_label, berth_kube_index_fn *index, uint64_t bytes_max)
{
    struct berth_kube_store *s = calloc(1, sizeof *s);

    if (s == NULL)
        return NULL;
    s->bytes_max = bytes_max;
    s->index = index;
    if (index_label != NULL) {
        s->index_label = strdup(index_label);
        if (s->index_label == NULL) {
            free(s);
            return NULL;
        }
    }
    return s;
}

void
berth_kube_store_keep_names(struct berth_kube_store *s)
{
    s->names_only = true;
}

static uint64_t
weight(const struct entry *x)
{
    return sizeof *x + x->key_len + x->text_len + x->link_count * sizeof *x->links;
}

static void
leave_buckets(struct berth_kube_store *s, struct entry *x)
{
    while (x->links != NULL) {
        struct link *l = x->links;
        struct bucket *b = l->bucket;
        x->links = l->more;
        DL_DELETE(b->first, l);
        free(l);
        if (b->first == NULL) {
            HASH_DEL(s->buckets, b);
            free(b);
        }
    }
    s->bytes -= x->link_count * sizeof *x->links;
    x->link_count = 0;
}

static struct bucket *
bucket_of(struct berth_kube_store *s, struct berth_slice value)
{
    struct bucket *b;

    HASH_FIND(hh, s->buckets, value.at, value.len, b);
    if (b != NULL)
        return b;
    b = calloc(1, sizeof *b + value.len + 1);
    if (b == NULL)
        return NULL;
    memcpy(b->value, value.at, value.len);
    HASH_ADD(hh, s->buckets, value[0], value.len, b);
    if (b->hh.tbl != NULL)
        return b;
    free(b);
    return NULL;
}

struct joiner {
    struct berth_kube_store *s;
    struct entry *x;
    bool failed;
};

static void
join_bucket(void *arg, struct berth_slice value)
{
    struct joiner *j = arg;

    if (value.len == 0 || j->failed || j->x->link_count >= BERTH_KUBE_VALUES_MAX)
        return;
    struct link *l = calloc(1, sizeof *l);
    struct bucket *b = l != NULL ? bucket_of(j->s, value) : NULL;
    j->failed = b == NULL;
    for (const struct link *at = j->x->links; b != NULL && at != NULL; at = at->more) {
        if (at->bucket == b) /* said twice */
            b = NULL;
    }
    if (b == NULL) {
        free(l);
        return;
    }
    *l = (struct link){.bucket = b, .entry = j->x, .more = j->x->links};
    DL_APPEND(b->first, l);
    j->x->links = l;
    j->x->link_count++;
    j->s->bytes += sizeof *l;
}

/* False: out of memory. */
static bool
join_buckets(struct berth_kube_store *s, struct entry *x, const struct berth_json *object)
{
    struct joiner j = {.s = s, .x = x};

    if (s->index_label != NULL)
        join_bucket(&j, berth_kube_label(object, s->index_label));
    if (s->index != NULL)
        s->index(object, join_bucket, &j);
    return !j.failed;
}

static void
drop(struct berth_kube_store *s, struct entry *x)
{
    leave_buckets(s, x);
    HASH_DEL(s->entries, x);
    s->bytes -= weight(x);
    free(x->text);
    free(x);
}

void
berth_kube_store_free(struct berth_kube_store *s)
{
    struct entry *x, *next;

    if (s == NULL)
        return;
    HASH_ITER(hh, s->entries, x, next)
    drop(s, x);
    free(s->index_label);
    free(s);
}

/* A key's bytes; NULL: out of memory.  free() it. */
static char *
make_key(struct berth_slice space, struct berth_slice name, size_t *ret_len)
{
    const size_t len = space.len + name.len + 2;
    char *key = calloc(1, len);

    if (key == NULL)
        return NULL;
    memcpy(key, space.at, space.len);
    memcpy(key + space.len + 1, name.at, name.len);
    *ret_len = len;
    return key;
}

static struct entry *
find(const struct berth_kube_store *s, struct berth_slice space, struct berth_slice name)
{
    struct entry *x = NULL;
    size_t len;
    char *key = make_key(space, name, &len);

    if (key != NULL)
        HASH_FIND(hh, s->entries, key, len, x);
    free(key);
    return x;
}

static bool
is_kept(const struct berth_kube_store *s, struct berth_slice key, bool in_metadata)
{
    if (!in_metadata)
        return !s->names_only || berth_slice_is(key, "metadata");
    return s->names_only ? berth_slice_is(key, "namespace") || berth_slice_is(key, "name") ||
                               berth_slice_is(key, "resourceVersion")
                         : !berth_slice_is(key, "managedFields");
}

/* The object without what nobody reads.  False: out of memory. */
static bool
write_text(const struct berth_kube_store *s, const struct berth_json *object, char **ret,
           size_t *ret_len)
{
    struct berth_json_iter it = berth_json_iter(object);
    struct berth_buf b;
    struct berth_jw w;

    berth_buf_init(&b, NULL);
    berth_jw_init(&w, &b);
    berth_jw_object(&w);
    while (berth_json_next(&it)) {
        if (!is_kept(s, it.key, false))
            continue;
        berth_jw_key_n(&w, it.key.at, it.key.len);
        if (!berth_slice_is(it.key, "metadata")) {
            berth_jw_value(&w, it.value);
            continue;
        }
        struct berth_json_iter meta = berth_json_iter(it.value);
        berth_jw_object(&w);
        while (berth_json_next(&meta)) {
            if (!is_kept(s, meta.key, true))
                continue;
            berth_jw_key_n(&w, meta.key.at, meta.key.len);
            berth_jw_value(&w, meta.value);
        }
        berth_jw_object_end(&w);
    }
    berth_jw_object_end(&w);
    if (berth_buf_text(&b) == NULL) {
        berth_buf_fini(&b);
        return false;
    }
    *ret_len = b.len;
    *ret = realloc(b.at, b.len + 1); /* the buffer grew by doubling */
    if (*ret == NULL)
        *ret = b.at;
    return true;
}

static struct entry *
new_entry(struct berth_kube_store *s, struct berth_slice space, struct berth_slice name)
{
    const size_t len = space.len + name.len + 2;
    struct entry *x = calloc(1, sizeof *x + len);

    if (x == NULL)
        return NULL;
    memcpy(x->key, space.at, space.len);
    memcpy(x->key + space.len + 1, name.at, name.len);
    x->name_at = space.len + 1;
    x->key_len = len;
    HASH_ADD(hh, s->entries, key[0], len, x);
    if (x->hh.tbl == NULL) {
        free(x);
        return NULL;
    }
    s->bytes += weight(x);
    return x;
}

int
berth_kube_store_put(struct berth_kube_store *s, const struct berth_json *object)
{
    const struct berth_slice space = berth_kube_text(object, "metadata.namespace");
    const struct berth_slice name = berth_kube_text(object, "metadata.name");
    const struct berth_slice version = berth_kube_text(object, "metadata.resourceVersion");
    struct entry *x;
    char *text;
    size_t len;

    if (name.len == 0 || version.len >= sizeof x->version)
        return -BERTH_EINVAL;
    x = find(s, space, name);
    if (x != NULL && version.len > 0 && berth_slice_is(version, x->version)) {
        x->generation = s->generation;
        return 0;
    }
    if (!write_text(s, object, &text, &len))
        return -BERTH_ENOMEM;
    if (x == NULL)
        x = new_entry(s, space, name);
    if (x == NULL) {
        free(text);
        return -BERTH_ENOMEM;
    }
    leave_buckets(s, x);
    s->bytes = s->bytes - x->text_len + len;
    free(x->text);
    x->text = text;
    x->text_len = len;
    x->generation = s->generation;
    memcpy(x->version, version.at, version.len);
    x->version[version.len] = '\0';
    const bool joined = join_buckets(s, x, object);
    if (joined && s->bytes <= s->bytes_max)
        return 1;
    drop(s, x);
    return joined ? -BERTH_ELIMIT : -BERTH_ENOMEM;
}

bool
berth_kube_store_remove(struct berth_kube_store *s, const char *space, const char *name)
{
    struct entry *x = find(s, berth_slice_of(space), berth_slice_of(name));

    if (x != NULL)
        drop(s, x);
    return x != NULL;
}

static struct berth_kube_stored
stored(const struct entry *x)
{
    return (struct berth_kube_stored){x->key, x->key + x->name_at, {x->text, x->text_len}};
}

bool
berth_kube_store_get(const struct berth_kube_store *s, const char *space, const char *name,
                     struct berth_kube_stored *ret)
{
    const struct entry *x = find(s, berth_slice_of(space), berth_slice_of(name));

    if (x != NULL)
        *ret = stored(x);
    return x != NULL;
}

void
berth_kube_store_each(const struct berth_kube_store *s, const char *index,
                      bool (*each)(void *arg, const struct berth_kube_stored *one), void *arg)
{
    struct berth_kube_stored one;
    struct bucket *b = NULL;
    struct entry *x, *next;
    struct link *l;

    if (index != NULL) {
        HASH_FIND(hh, s->buckets, index, strlen(index), b);
        if (b == NULL)
            return;
        DL_FOREACH(b->first, l)
        {
            one = stored(l->entry);
            if (!each(arg, &one))
                return;
        }
        return;
    }
    HASH_ITER(hh, s->entries, x, next)
    {
        one = stored(x);
        if (!each(arg, &one))
            return;
    }
}

void
berth_kube_store_begin(struct berth_kube_store *s)
{
    s->generation++;
}

void
berth_kube_store_sweep(struct berth_kube_store *s,
                       void (*gone)(void *arg, const struct berth_kube_stored *one), void *arg)
{
    struct entry *x, *next;

    HASH_ITER(hh, s->entries, x, next)
    {
        if (x->generation == s->generation)
            continue;
        const struct berth_kube_stored one = stored(x);
        gone(arg, &one);
        drop(s, x);
    }
}

uint64_t
berth_kube_store_bytes(const struct berth_kube_store *s)
{
    return s->bytes;
}

size_t
berth_kube_store_count(const struct berth_kube_store *s)
{
    return HASH_COUNT(s->entries);
}
