#include "kube/tally.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "kube/object.h"

/* Calls of one sort.  It does not change once it can be found. */
struct row {
    const struct berth_kube_kind *kind; /* NULL: a path that belongs to none */
    enum berth_kube_verb verb;
    uint16_t code; /* one of `codes`; 1 to 5: any other of that class; 0: none */
    struct berth_series *answers;
    struct berth_series *seconds; /* NULL: a watch's */
};

struct berth_kube_tally {
    struct berth_metrics *metrics;
    enum berth_family answers, seconds;
    struct row *_Atomic rows[BERTH_KUBE_TALLY_MAX]; /* from the first on, without gaps */
};

static const char *const verbs[] = {
    [BERTH_KUBE_GET] = "get",       [BERTH_KUBE_LIST] = "list",   [BERTH_KUBE_WATCH] = "watch",
    [BERTH_KUBE_CREATE] = "create", [BERTH_KUBE_APPLY] = "apply", [BERTH_KUBE_PATCH] = "patch",
    [BERTH_KUBE_DELETE] = "delete",
};

/* What an API server answers, but for oddities: those are counted by class. */
static const uint16_t codes[] = {200, 201, 202, 400, 401, 403, 404, 409,
                                 410, 413, 422, 429, 500, 502, 503, 504};

static uint16_t
code_of(uint16_t status)
{
    for (size_t i = 0; i < BERTH_COUNT(codes); i++)
        if (codes[i] == status)
            return status;
    return status / 100 < 6 ? status / 100 : 0;
}

struct berth_kube_tally *
berth_kube_tally_new(struct berth_metrics *m, enum berth_family answers, enum berth_family seconds)
{
    struct berth_kube_tally *t = calloc(1, sizeof *t);

    if (t != NULL) {
        t->metrics = m;
        t->answers = answers;
        t->seconds = seconds;
    }
    return t;
}

void
berth_kube_tally_free(struct berth_kube_tally *t)
{
    if (t == NULL)
        return;
    for (size_t i = 0; i < BERTH_KUBE_TALLY_MAX; i++)
        free(atomic_load(&t->rows[i]));
    free(t);
}

static struct row *
row_new(struct berth_kube_tally *t, const struct row *like)
{
    char resource[128] = "", code[8] = "none";
    const char *version =
        like->kind != NULL ? strchr(like->kind->group_version, '/') : NULL; /* of core: none */
    struct row *row = malloc(sizeof *row);

    if (row == NULL)
        return NULL;
    if (like->kind != NULL)
        (void)snprintf(resource, sizeof resource, "%s%s%.*s", like->kind->plural,
                       version != NULL ? "." : "",
                       version != NULL ? (int)(version - like->kind->group_version) : 0,
                       like->kind->group_version);
    if (like->code > 0)
        (void)snprintf(code, sizeof code, like->code < 10 ? "%uxx" : "%u", like->code);
    *row = *like;
    row->answers = berth_metrics_series(
        t->metrics, t->answers, (const char *const[]){verbs[like->verb], resource, code, NULL});
    row->seconds = like->verb == BERTH_KUBE_WATCH
                       ? NULL
                       : berth_metrics_series(t->metrics, t->seconds,
                                              (const char *const[]){verbs[like->verb], NULL});
    return row;
}

/* Found, or made: two threads may both make one, and the first has it.  NULL: no room. */
static struct row *
row_of(struct berth_kube_tally *t, const struct row *like)
{
    struct row *made = NULL, *at = NULL;

    for (size_t i = 0; i < BERTH_KUBE_TALLY_MAX; i++) {
        at = atomic_load_explicit(&t->rows[i], memory_order_acquire);
        if (at == NULL) {
            if (made == NULL && (made = row_new(t, like)) == NULL)
                return NULL;
            if (atomic_compare_exchange_strong(&t->rows[i], &at, made))
                return made;
        }
        if (at->kind == like->kind && at->verb == like->verb && at->code == like->code)
            break;
        at = NULL;
    }
    free(made);
    return at;
}

void
berth_kube_tally_add(struct berth_kube_tally *t, enum berth_kube_verb verb,
                     const struct berth_kube_kind *kind, uint16_t status, uint64_t took_ns)
{
    static const char *const other[] = {"other", "other", "other", NULL};

    if (t == NULL)
        return;
    const struct row *row =
        row_of(t, &(struct row){.kind = kind, .verb = verb, .code = code_of(status)});
    berth_series_add(
        row != NULL ? row->answers : berth_metrics_series(t->metrics, t->answers, other), 1);
    if (row != NULL && row->seconds != NULL)
        berth_series_observe(row->seconds, (double)took_ns / 1e9);
}
