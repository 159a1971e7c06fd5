#include "obs/metrics.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "base/assert.h"
#include "base/utf8.h"

enum { BOUNDS_MAX = 18, HOOKS_MAX = 16, LABEL_BYTES_MAX = 256, KEY_BYTES_MAX = 2048 };

/* Upper bounds of the buckets; the last one, +Inf, is implied. */
static const double seconds_bounds[] = {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005,
                                        0.01,   0.025,   0.05,   0.1,   0.25,   0.5,
                                        1,      2.5,     5,      10,    60,     300};
static const double count_bounds[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 1024};
_Static_assert(BERTH_COUNT(seconds_bounds) <= BOUNDS_MAX, "buckets of a series");
_Static_assert(BERTH_COUNT(count_bounds) <= BOUNDS_MAX, "buckets of a series");

static const struct {
    enum berth_metric_type type;
    const char *name, *help, *labels;
} families[BERTH_FAMILY_COUNT] = {
#define X(id, type, name, help, labels) [BERTH_METRIC_##id] = {type, name, help, labels},
    BERTH_FAMILIES(X)
#undef X
};

struct berth_series {
    UT_hash_handle hh;
    enum berth_family family;
    const double *bounds; /* histograms */
    size_t bound_count;
    size_t holders; /* under mu: who got it and has not released it */
    bool gone;      /* under mu: forgotten, and freed by the last who releases it */
    atomic_uint_least64_t
        value; /* counter: a number; gauge and a histogram's sum: bits of a double */
    atomic_uint_least64_t buckets[BOUNDS_MAX + 1]; /* each for itself, not yet added up */
    char *first;                                   /* first label's value, "" without labels */
    char key[];                                    /* `model="digits",state="READY"` */
};

struct family {
    struct berth_series *series; /* uthash by key, under mu */
    struct berth_series *gone;   /* forgotten, but somebody holds the pointer */
    struct berth_series *other;  /* where everything beyond the limit goes */
    size_t len;
};

struct berth_metrics {
    atomic_uint refs;
    pthread_mutex_t mu;
    struct family families[BERTH_FAMILY_COUNT];
    struct {
        void (*fn)(void *);
        void *arg;
    } hooks[HOOKS_MAX];
    size_t hook_len;
};

static uint64_t
bits_of(double v)
{
    uint64_t bits;

    memcpy(&bits, &v, sizeof bits);
    return bits;
}

static double
double_of(uint64_t bits)
{
    double v;

    memcpy(&v, &bits, sizeof v);
    return v;
}

static void
double_add(atomic_uint_least64_t *at, double v)
{
    uint64_t old = atomic_load_explicit(at, memory_order_relaxed);

    while (!atomic_compare_exchange_weak_explicit(at, &old, bits_of(double_of(old) + v),
                                                  memory_order_relaxed, memory_order_relaxed))
        continue;
}

/* A label's value as it stands between quotes: escaped, bounded, and UTF-8 in any case. */
static void
put_value(struct berth_buf *b, const char *value)
{
    size_t len = strnlen(value, LABEL_BYTES_MAX);

    while (len > 0 && value[len] != '\0' && ((unsigned char)value[len] & 0xc0) == 0x80)
        len--; /* do not cut a character in half */
    bool valid = berth_utf8_valid(value, len);
    for (size_t i = 0; i < len; i++) {
        if (value[i] == '\\' || value[i] == '"')
            berth_buf_putc(b, '\\');
        if (value[i] == '\n')
            berth_buf_puts(b, "\\n");
        else
            berth_buf_putc(b, (char)(valid || (unsigned char)value[i] < 0x80 ? value[i] : '?'));
    }
}

/* `label="value",...` for the family; labels NULL: "other" everywhere. */
static void
put_key(struct berth_buf *b, enum berth_family f, const char *const *labels)
{
    const char *name = families[f].labels;

    for (size_t i = 0; *name != '\0'; i++) {
        size_t len = strcspn(name, ",");
        berth_assert(i < BERTH_LABELS_MAX);
        berth_assert(labels == NULL || labels[i] != NULL);
        berth_buf_put(b, name, len);
        berth_buf_puts(b, "=\"");
        put_value(b, labels != NULL ? labels[i] : "other");
        berth_buf_putc(b, '"');
        name += len;
        if (*name == ',') {
            berth_buf_putc(b, ',');
            name++;
        }
    }
}

static struct berth_series *
series_new(enum berth_family f, const char *key, const char *first)
{
    size_t len = strlen(key);
    struct berth_series *s = calloc(1, sizeof *s + len + 1);

    if (s == NULL || (s->first = strdup(first)) == NULL) {
        free(s);
        return NULL;
    }
    memcpy(s->key, key, len);
    s->family = f;
    if (families[f].type == BERTH_HISTOGRAM) {
        bool seconds = strstr(families[f].name, "_seconds") != NULL;
        s->bounds = seconds ? seconds_bounds : count_bounds;
        s->bound_count = seconds ? BERTH_COUNT(seconds_bounds) : BERTH_COUNT(count_bounds);
    }
    return s;
}

static void
series_free(struct berth_series *s)
{
    free(s->first);
    free(s);
}

struct berth_metrics *
berth_metrics_new(void)
{
    struct berth_metrics *m = calloc(1, sizeof *m);

    if (m == NULL)
        return NULL;
    atomic_init(&m->refs, 1);
    (void)pthread_mutex_init(&m->mu, NULL);
    for (size_t f = 0; f < BERTH_FAMILY_COUNT; f++) {
        struct berth_buf b;
        berth_buf_init(&b, NULL);
        put_key(&b, (enum berth_family)f, NULL);
        const char *key = berth_buf_text(&b);
        if (key != NULL)
            m->families[f].other = series_new((enum berth_family)f, key, "other");
        berth_buf_fini(&b);
        if (m->families[f].other == NULL) {
            berth_metrics_free(m);
            return NULL;
        }
    }
    return m;
}

struct berth_metrics *
berth_metrics_ref(struct berth_metrics *m)
{
    (void)atomic_fetch_add(&m->refs, 1);
    return m;
}

void
berth_metrics_free(struct berth_metrics *m)
{
    if (m == NULL || atomic_fetch_sub(&m->refs, 1) != 1)
        return;
    for (size_t f = 0; f < BERTH_FAMILY_COUNT; f++) {
        struct berth_series *s, *next;
        HASH_ITER(hh, m->families[f].series, s, next)
        {
            HASH_DEL(m->families[f].series, s);
            if (s != m->families[f].other)
                series_free(s);
        }
        HASH_ITER(hh, m->families[f].gone, s, next)
        {
            HASH_DEL(m->families[f].gone, s);
            series_free(s);
        }
        if (m->families[f].other != NULL)
            series_free(m->families[f].other);
    }
    (void)pthread_mutex_destroy(&m->mu);
    free(m);
}

/* The forgotten series of this key that somebody holds still, from zero again, or NULL.  A gauge
 * goes on: whoever added to it before will take that away again. */
static struct berth_series *
revive_locked(struct family *family, const char *key)
{
    struct berth_series *s;

    HASH_FIND_STR(family->gone, key, s);
    if (s == NULL)
        return NULL;
    HASH_DEL(family->gone, s);
    s->gone = false;
    if (families[s->family].type != BERTH_GAUGE)
        atomic_store(&s->value, 0);
    for (size_t i = 0; i <= BOUNDS_MAX; i++)
        atomic_store(&s->buckets[i], 0);
    return s;
}

/* The series of this key, made when there is room for it. */
static struct berth_series *
find_or_add_locked(struct berth_metrics *m, enum berth_family f, const char *key, const char *first)
{
    struct family *family = &m->families[f];
    struct berth_series *s;

    HASH_FIND_STR(family->series, key, s);
    if (s != NULL)
        return s;
    if (family->len < BERTH_SERIES_MAX - 1 && (s = revive_locked(family, key)) == NULL)
        s = series_new(f, key, first);
    if (s == NULL) {
        s = family->other;
        if (s->hh.tbl != NULL)
            return s;
    }
    HASH_ADD_STR(family->series, key, s);
    family->len += s != family->other;
    return s;
}

struct berth_series *
berth_metrics_series(struct berth_metrics *m, enum berth_family f, const char *const *labels)
{
    char text[KEY_BYTES_MAX];
    struct berth_buf b;
    struct berth_series *s;

    berth_buf_init(&b, NULL);
    put_key(&b, f, labels);
    const char *key = berth_buf_text(&b);
    if (key == NULL || b.len >= sizeof text) {
        berth_buf_fini(&b);
        return m->families[f].other;
    }
    memcpy(text, key, b.len + 1);
    berth_buf_fini(&b);
    (void)pthread_mutex_lock(&m->mu);
    s = find_or_add_locked(m, f, text, families[f].labels[0] != '\0' ? labels[0] : "");
    s->holders++;
    (void)pthread_mutex_unlock(&m->mu);
    return s;
}

void
berth_metrics_release(struct berth_metrics *m, struct berth_series *const *held, size_t n)
{
    (void)pthread_mutex_lock(&m->mu);
    for (size_t i = 0; i < n; i++) {
        struct berth_series *s = held[i];
        if (s == NULL || s == m->families[s->family].other)
            continue;
        berth_assert(s->holders > 0);
        s->holders--;
        if (s->gone && s->holders == 0) {
            HASH_DEL(m->families[s->family].gone, s);
            series_free(s);
        }
    }
    (void)pthread_mutex_unlock(&m->mu);
}

static void
forget_locked(struct family *family, struct berth_series *s)
{
    HASH_DEL(family->series, s);
    family->len--;
    s->gone = s->holders > 0;
    if (s->gone)
        HASH_ADD_STR(family->gone, key, s);
    else
        series_free(s);
}

void
berth_metrics_forget_of(struct berth_metrics *m, const char *label, const char *first_label)
{
    const size_t len = strlen(label);

    (void)pthread_mutex_lock(&m->mu);
    for (size_t f = 0; f < BERTH_FAMILY_COUNT; f++) {
        struct berth_series *s, *next;
        if (strncmp(families[f].labels, label, len) != 0 ||
            (families[f].labels[len] != '\0' && families[f].labels[len] != ','))
            continue;
        HASH_ITER(hh, m->families[f].series, s, next)
        {
            if (s == m->families[f].other || strcmp(s->first, first_label) != 0)
                continue;
            forget_locked(&m->families[f], s);
        }
    }
    (void)pthread_mutex_unlock(&m->mu);
}

void
berth_metrics_forget_one(struct berth_metrics *m, enum berth_family f, const char *const *labels)
{
    struct berth_series *s = NULL;
    struct berth_buf b;

    berth_buf_init(&b, NULL);
    put_key(&b, f, labels);
    const char *key = berth_buf_text(&b);
    (void)pthread_mutex_lock(&m->mu);
    if (key != NULL)
        HASH_FIND_STR(m->families[f].series, key, s);
    if (s != NULL && s != m->families[f].other)
        forget_locked(&m->families[f], s);
    (void)pthread_mutex_unlock(&m->mu);
    berth_buf_fini(&b);
}

void
berth_metrics_forget(struct berth_metrics *m, const char *first_label)
{
    berth_metrics_forget_of(m, "model", first_label);
}

void
berth_series_add(struct berth_series *s, uint64_t n)
{
    if (families[s->family].type == BERTH_COUNTER)
        (void)atomic_fetch_add_explicit(&s->value, n, memory_order_relaxed);
    else
        double_add(&s->value, (double)n);
}

void
berth_series_sub(struct berth_series *s, uint64_t n)
{
    berth_assert(families[s->family].type == BERTH_GAUGE);
    double_add(&s->value, -(double)n);
}

void
berth_series_set_count(struct berth_series *s, uint64_t n)
{
    berth_assert(families[s->family].type == BERTH_COUNTER);
    atomic_store_explicit(&s->value, n, memory_order_relaxed);
}

void
berth_series_set(struct berth_series *s, double v)
{
    berth_assert(families[s->family].type == BERTH_GAUGE ||
                 families[s->family].type == BERTH_COUNTER_REAL);
    atomic_store_explicit(&s->value, bits_of(v), memory_order_relaxed);
}

void
berth_series_observe(struct berth_series *s, double v)
{
    size_t i = 0;

    berth_assert(families[s->family].type == BERTH_HISTOGRAM);
    while (i < s->bound_count && v > s->bounds[i])
        i++;
    (void)atomic_fetch_add_explicit(&s->buckets[i], 1, memory_order_relaxed);
    double_add(&s->value, v);
}

void
berth_metrics_on_render(struct berth_metrics *m, void (*fn)(void *arg), void *arg)
{
    (void)pthread_mutex_lock(&m->mu);
    berth_assert(m->hook_len < HOOKS_MAX);
    m->hooks[m->hook_len].fn = fn;
    m->hooks[m->hook_len].arg = arg;
    m->hook_len++;
    (void)pthread_mutex_unlock(&m->mu);
}

static void
put_number(struct berth_buf *b, double v)
{
    char text[32];

    if (isnan(v)) {
        berth_buf_puts(b, "NaN");
        return;
    }
    if (isinf(v)) {
        berth_buf_puts(b, v > 0 ? "+Inf" : "-Inf");
        return;
    }
    (void)snprintf(text, sizeof text, "%.15g", v);
    if (strtod(text, NULL) < v || strtod(text, NULL) > v)
        (void)snprintf(text, sizeof text, "%.17g", v);
    berth_buf_puts(b, text);
}

static void
put_histogram(struct berth_buf *b, const struct berth_series *s, const char *name)
{
    const char *comma = s->key[0] != '\0' ? "," : "";
    const char *open = s->key[0] != '\0' ? "{" : "", *close = s->key[0] != '\0' ? "}" : "";
    uint64_t sum = 0;

    for (size_t i = 0; i <= s->bound_count; i++) {
        sum += atomic_load_explicit(&s->buckets[i], memory_order_relaxed);
        berth_buf_printf(b, "%s_bucket{%s%sle=\"", name, s->key, comma);
        put_number(b, i < s->bound_count ? s->bounds[i] : INFINITY);
        berth_buf_printf(b, "\"} %" PRIu64 "\n", sum);
    }
    berth_buf_printf(b, "%s_sum%s%s%s ", name, open, s->key, close);
    put_number(b, double_of(atomic_load_explicit(&s->value, memory_order_relaxed)));
    berth_buf_printf(b, "\n%s_count%s%s%s %" PRIu64 "\n", name, open, s->key, close, sum);
}

static void
put_series(struct berth_buf *b, const struct berth_series *s)
{
    const char *name = families[s->family].name;
    uint64_t value = atomic_load_explicit(&s->value, memory_order_relaxed);

    if (families[s->family].type == BERTH_HISTOGRAM) {
        put_histogram(b, s, name);
        return;
    }
    berth_buf_puts(b, name);
    if (s->key[0] != '\0')
        berth_buf_printf(b, "{%s}", s->key);
    berth_buf_putc(b, ' ');
    if (families[s->family].type == BERTH_COUNTER)
        berth_buf_printf(b, "%" PRIu64, value);
    else
        put_number(b, double_of(value));
    berth_buf_putc(b, '\n');
}

void
berth_metrics_render(struct berth_metrics *m, struct berth_buf *b)
{
    static const char *const types[] = {[BERTH_COUNTER] = "counter",
                                        [BERTH_COUNTER_REAL] = "counter",
                                        [BERTH_GAUGE] = "gauge",
                                        [BERTH_HISTOGRAM] = "histogram"};

    (void)pthread_mutex_lock(&m->mu);
    size_t hook_len = m->hook_len; /* hooks are only ever added: reading those needs no lock */
    (void)pthread_mutex_unlock(&m->mu);
    for (size_t i = 0; i < hook_len; i++)
        m->hooks[i].fn(m->hooks[i].arg);
    (void)pthread_mutex_lock(&m->mu);
    for (size_t f = 0; f < BERTH_FAMILY_COUNT; f++) {
        if (m->families[f].series == NULL)
            continue;
        berth_buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", families[f].name, families[f].help,
                         families[f].name, types[families[f].type]);
        for (struct berth_series *s = m->families[f].series; s != NULL; s = s->hh.next)
            put_series(b, s);
    }
    (void)pthread_mutex_unlock(&m->mu);
}
