#include "wire/json.h"

#include <math.h>
#include <string.h>

#include <yyjson.h>

#include "base/arena.h"

/* A value of the tree is yyjson's own, behind a name of ours.  Its readers take pointers that are
 * not const, although they only read. */
static yyjson_val *
val(const struct berth_json *v)
{
    return (yyjson_val *)(uintptr_t)v;
}

static const struct berth_json *
json(const yyjson_val *v)
{
    return (const struct berth_json *)(const void *)v;
}

/* ---- parsing ---- */

static void *
arena_malloc(void *arena, size_t n)
{
    return berth_arena_alloc_raw(arena, n);
}

static void *
arena_realloc(void *arena, void *old, size_t old_size, size_t n)
{
    if (n <= old_size)
        return old;
    void *at = berth_arena_alloc_raw(arena, n);
    return at != NULL ? memcpy(at, old, old_size) : NULL;
}

static void
arena_free(void *arena, void *at)
{
    (void)arena;
    (void)at;
}

/*
 * The parser keeps no stack, but what walks the tree may.  Values lie in the order of the text, so
 * one pass over them suffices; an array that holds no filled containers (a tensor's row) is
 * stepped over whole.
 */
static bool
depth_ok(yyjson_val *root)
{
    yyjson_val *ends[BERTH_JSON_DEPTH_MAX];
    yyjson_val *at = root, *end = unsafe_yyjson_get_next(root);
    size_t depth = 0;

    while (at < end) {
        while (depth > 0 && at >= ends[depth - 1])
            depth--;
        if (!unsafe_yyjson_is_ctn(at)) {
            at++;
            continue;
        }
        if (depth == BERTH_JSON_DEPTH_MAX)
            return false;
        const size_t count = unsafe_yyjson_get_len(at) << (unsafe_yyjson_is_obj(at) ? 1 : 0);
        yyjson_val *next = unsafe_yyjson_get_next(at);
        ends[depth] = next;
        const bool flat = (size_t)(next - at) == count + 1;
        if (flat && depth + 1 < BERTH_JSON_DEPTH_MAX) {
            at = next; /* at most one more level: that of empty containers */
        } else {
            depth++;
            at++;
        }
    }
    return true;
}

static int
parse_failed(const char *text, size_t len, const yyjson_read_err *why, struct berth_err *e)
{
    size_t line = 1, column = 1, chr = 0;

    if (why->code == YYJSON_READ_ERROR_MEMORY_ALLOCATION)
        return berth_err_set(e, BERTH_ENOMEM, "JSON of %zu bytes needs more memory than allowed",
                             len);
    if (len == 0 || !yyjson_locate_pos(text, len, why->pos, &line, &column, &chr))
        return berth_err_set(e, BERTH_EINVAL, "line 1, column 1: %s",
                             len == 0 ? "empty text" : why->msg);
    return berth_err_set(e, BERTH_EINVAL, "line %zu, column %zu: %s", line, column, why->msg);
}

int
berth_json_parse(struct berth_arena *a, const char *text, size_t len,
                 const struct berth_json_parse *how, const struct berth_json **ret,
                 struct berth_err *e)
{
    const yyjson_alc alc = {arena_malloc, arena_realloc, arena_free, a};
    const yyjson_read_flag flags =
        how != NULL && how->allow_nan ? YYJSON_READ_ALLOW_INF_AND_NAN : YYJSON_READ_NOFLAG;
    yyjson_read_err why = {0};

    /* Without the in-place flag the text is only read: the cast takes nothing away. */
    const yyjson_doc *doc =
        len > 0 ? yyjson_read_opts((char *)(uintptr_t)text, len, flags, &alc, &why) : NULL;
    if (doc == NULL)
        return parse_failed(text, len, &why, e);
    if (!depth_ok(doc->root))
        return berth_err_set(e, BERTH_EINVAL, "arrays and objects are nested more than %d deep",
                             BERTH_JSON_DEPTH_MAX);
    *ret = json(doc->root);
    return 0;
}

/* ---- reading ---- */

enum berth_json_type
berth_json_type(const struct berth_json *v)
{
    switch (yyjson_get_type(val(v))) {
    case YYJSON_TYPE_BOOL:
        return BERTH_JSON_BOOL;
    case YYJSON_TYPE_NUM:
        return yyjson_is_real(val(v)) ? BERTH_JSON_REAL : BERTH_JSON_INT;
    case YYJSON_TYPE_STR:
        return BERTH_JSON_STRING;
    case YYJSON_TYPE_ARR:
        return BERTH_JSON_ARRAY;
    case YYJSON_TYPE_OBJ:
        return BERTH_JSON_OBJECT;
    default: /* yyjson's types are plain numbers, not an enum */
        return BERTH_JSON_NULL;
    }
}

const char *
berth_json_type_name(const struct berth_json *v)
{
    static const char *const names[] = {
        [BERTH_JSON_NULL] = "null",          [BERTH_JSON_BOOL] = "a boolean",
        [BERTH_JSON_INT] = "a whole number", [BERTH_JSON_REAL] = "a number",
        [BERTH_JSON_STRING] = "a string",    [BERTH_JSON_ARRAY] = "an array",
        [BERTH_JSON_OBJECT] = "an object",
    };

    return v == NULL ? "nothing" : names[berth_json_type(v)];
}

bool
berth_json_bool(const struct berth_json *v, bool *ret)
{
    if (!yyjson_is_bool(val(v)))
        return false;
    *ret = unsafe_yyjson_get_bool(val(v));
    return true;
}

bool
berth_json_int(const struct berth_json *v, int64_t *ret)
{
    if (!yyjson_is_int(val(v)))
        return false;
    if (yyjson_is_uint(val(v)) && yyjson_get_uint(val(v)) > (uint64_t)INT64_MAX)
        return false;
    *ret = yyjson_get_sint(val(v));
    return true;
}

bool
berth_json_uint(const struct berth_json *v, uint64_t *ret)
{
    if (!yyjson_is_int(val(v)) || (yyjson_is_sint(val(v)) && yyjson_get_sint(val(v)) < 0))
        return false;
    *ret = yyjson_get_uint(val(v));
    return true;
}

bool
berth_json_real(const struct berth_json *v, double *ret)
{
    if (!yyjson_is_num(val(v)))
        return false;
    *ret = yyjson_get_num(val(v));
    return true;
}

bool
berth_json_string(const struct berth_json *v, struct berth_slice *ret)
{
    if (!yyjson_is_str(val(v)))
        return false;
    *ret = (struct berth_slice){yyjson_get_str(val(v)), yyjson_get_len(val(v))};
    return true;
}

size_t
berth_json_floats(const struct berth_json *v, float *ret, size_t cap)
{
    const size_t len = yyjson_is_arr(val(v)) ? yyjson_get_len(val(v)) : 0;
    const size_t count = len < cap ? len : cap;
    const yyjson_val *at = count > 0 ? unsafe_yyjson_get_first(val(v)) : NULL;

    for (size_t i = 0; i < count; i++, at++) { /* numbers take one place each */
        switch (at->tag & YYJSON_TAG_MASK) {
        case YYJSON_TYPE_NUM | YYJSON_SUBTYPE_REAL:
            ret[i] = (float)at->uni.f64;
            break;
        case YYJSON_TYPE_NUM | YYJSON_SUBTYPE_UINT:
            ret[i] = (float)at->uni.u64;
            break;
        case YYJSON_TYPE_NUM | YYJSON_SUBTYPE_SINT:
            ret[i] = (float)at->uni.i64;
            break;
        default: /* not a number */
            return i;
        }
        if (!isfinite(ret[i]))
            return i;
    }
    return count;
}

size_t
berth_json_len(const struct berth_json *v)
{
    return yyjson_is_ctn(val(v)) ? yyjson_get_len(val(v)) : 0;
}

const struct berth_json *
berth_json_get(const struct berth_json *v, const char *key)
{
    const struct berth_json *found = NULL;
    const size_t len = strlen(key);

    if (!yyjson_is_obj(val(v)))
        return NULL;
    yyjson_val *at = unsafe_yyjson_get_first(val(v));
    for (size_t left = unsafe_yyjson_get_len(val(v)); left > 0; left--) {
        if (unsafe_yyjson_get_len(at) == len && memcmp(unsafe_yyjson_get_str(at), key, len) == 0)
            found = json(at + 1); /* of duplicates the last one */
        at = unsafe_yyjson_get_next(at + 1);
    }
    return found;
}

struct berth_json_iter
berth_json_iter(const struct berth_json *v)
{
    const size_t len = berth_json_len(v);

    return (struct berth_json_iter){
        .key = {"", 0},
        .index = SIZE_MAX, /* 0 after the first step */
        .next_ = len > 0 ? json(unsafe_yyjson_get_first(val(v))) : NULL,
        .left_ = len,
        .object_ = yyjson_is_obj(val(v)),
    };
}

bool
berth_json_next(struct berth_json_iter *it)
{
    yyjson_val *at = val(it->next_);

    if (it->left_ == 0)
        return false;
    if (it->object_) {
        it->key = (struct berth_slice){unsafe_yyjson_get_str(at), unsafe_yyjson_get_len(at)};
        at++;
    }
    it->value = json(at);
    it->index++;
    if (--it->left_ > 0)
        it->next_ = json(unsafe_yyjson_get_next(at));
    return true;
}
