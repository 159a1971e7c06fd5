#ifndef BERTH_TEMPLATE_VALUE_H
#define BERTH_TEMPLATE_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct berth_arena;

/*
 * One value while a template runs.  It is small and copied; what it points to lives in the run's
 * arena.  Text may be any bytes.  Lists never change once made; maps do (set, unset, merge).
 */
enum berth_tkind {
    BERTH_T_NONE, /* nothing: what a missing member of a map gives; printed as <no value> */
    BERTH_T_NIL,  /* a nil that is there: a null of JSON, an element of a list */
    BERTH_T_BOOL,
    BERTH_T_INT,
    BERTH_T_UINT,
    BERTH_T_FLOAT,
    BERTH_T_STRING,
    BERTH_T_LIST,
    BERTH_T_MAP,
    BERTH_T_OBJECT,
};

/* Which of Go's types of that kind it is, or, for lists and maps, of which their elements are. */
enum berth_ttype {
    BERTH_TT_PLAIN, /* int, uint64, float64, string; elements: any */
    BERTH_TT_INT32,
    BERTH_TT_INT64,
    BERTH_TT_UINT8,
    BERTH_TT_OF_STRING, /* []string, map[string]string */
    BERTH_TT_OF_INT,    /* []int */
    BERTH_TT_OF_LIST,   /* [][]any */
    BERTH_TT_TIME,      /* of objects */
    BERTH_TT_SEMVER,
};

struct berth_tvalue {
    uint8_t kind; /* enum berth_tkind */
    uint8_t type; /* enum berth_ttype */
    union {
        bool b;
        int64_t i;
        uint64_t u;
        double f;
        struct berth_slice s;
        const struct berth_tlist *list;
        struct berth_tmap *map;
        const struct berth_tobject *object;
    };
};

struct berth_tlist {
    const struct berth_tvalue *at;
    size_t len;
    bool is_nil; /* Go's nil slice: null in JSON */
};

/* Members in the order of their keys' bytes. */
struct berth_tmap {
    struct berth_tentry {
        struct berth_slice key;
        struct berth_tvalue value;
    } * at;
    size_t len, cap;
};

/* A time or a version: printed as its text, with fields to ask for. */
struct berth_tobject {
    struct berth_slice text, json; /* json: as toJson writes it, when that is another */
    const struct berth_tmap *fields;
    int64_t sec; /* of a time: since 1970, and the offset of its zone */
    int32_t ns, offset_s;
    const char *zone; /* "UTC" */
};

static inline struct berth_tvalue
berth_tv_bool(bool b)
{
    return (struct berth_tvalue){.kind = BERTH_T_BOOL, .b = b};
}

static inline struct berth_tvalue
berth_tv_int(int64_t i)
{
    return (struct berth_tvalue){.kind = BERTH_T_INT, .i = i};
}

static inline struct berth_tvalue
berth_tv_int64(int64_t i)
{
    return (struct berth_tvalue){.kind = BERTH_T_INT, .type = BERTH_TT_INT64, .i = i};
}

static inline struct berth_tvalue
berth_tv_float(double f)
{
    return (struct berth_tvalue){.kind = BERTH_T_FLOAT, .f = f};
}

static inline struct berth_tvalue
berth_tv_slice(struct berth_slice s)
{
    return (struct berth_tvalue){.kind = BERTH_T_STRING, .s = s};
}

/* The text is borrowed, for as long as the arena at least. */
static inline struct berth_tvalue
berth_tv_text(const char *text)
{
    return berth_tv_slice(berth_slice_of(text));
}

static inline struct berth_tvalue
berth_tv_nil(void)
{
    return (struct berth_tvalue){.kind = BERTH_T_NIL};
}

static inline bool
berth_tv_is_nil(const struct berth_tvalue *v)
{
    return v->kind <= BERTH_T_NIL;
}

/* Go's name of its type: "int", "[]interface {}"; static. */
const char *berth_tv_type_name(const struct berth_tvalue *v);
/* Go's name of its kind: "slice", "map", "invalid"; static. */
const char *berth_tv_kind_name(const struct berth_tvalue *v);
/* Is it other than its type's zero, or not empty? */
bool berth_tv_truth(const struct berth_tvalue *v);
/* The member, or NULL. */
const struct berth_tvalue *berth_tmap_get(const struct berth_tmap *m, struct berth_slice key);
/* False: no memory. */
bool berth_tmap_set(struct berth_arena *a, struct berth_tmap *m, struct berth_slice key,
                    const struct berth_tvalue *v);
void berth_tmap_unset(struct berth_tmap *m, struct berth_slice key);
int berth_tslice_cmp(struct berth_slice x, struct berth_slice y);

#endif
