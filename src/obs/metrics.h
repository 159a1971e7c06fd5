#ifndef BERTH_METRICS_H
#define BERTH_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/*
 * Metrics in Prometheus' text form.  Families are one table (obs/families.h); a series is a
 * family with its label values, made at first use and kept, so that hot code holds the pointer.
 * Updates are atomic, from any thread.
 */
struct berth_metrics;
struct berth_series;

/* BERTH_COUNTER_REAL: of seconds and other parts of one, kept elsewhere; rendered as a counter. */
enum berth_metric_type { BERTH_COUNTER, BERTH_COUNTER_REAL, BERTH_GAUGE, BERTH_HISTOGRAM };

/* X(id, type, "name", "help", "label,label") */
#include "obs/families.h"
enum berth_family {
#define X(id, type, name, help, labels) BERTH_METRIC_##id,
    BERTH_FAMILIES(X)
#undef X
        BERTH_FAMILY_COUNT
};

/* Series a family may have; label values beyond share one series with every label "other". */
enum { BERTH_SERIES_MAX = 4096, BERTH_LABELS_MAX = 4 };

struct berth_metrics *berth_metrics_new(void); /* NULL: out of memory */
/* For who releases series later than the owner may end. */
struct berth_metrics *berth_metrics_ref(struct berth_metrics *m);
/* Give a reference back; the last one frees it.  NULL is fine. */
void berth_metrics_free(struct berth_metrics *m);
/* Label values in the table's order, NULL-ended; copied.  Never NULL. Takes a lock: not per request
 * where the pointer can be kept.  The pointer is held from then on: of a family whose series are
 * forgotten (below) until berth_metrics_release(), of others for ever. */
struct berth_series *berth_metrics_series(struct berth_metrics *m, enum berth_family f,
                                          const char *const *labels);
/* Give back n pointers, each as often as it was got; NULLs among them are left out.  What is
 * rendered stays so. */
void berth_metrics_release(struct berth_metrics *m, struct berth_series *const *held, size_t n);
/* Drop the series whose first label (the model) has this value: it is gone for good. They are no
 * longer rendered; pointers to them stay valid until they are released. */
void berth_metrics_forget(struct berth_metrics *m, const char *first_label);
/* Likewise of the families whose first label is `label` ("service"), and not "model". */
void berth_metrics_forget_of(struct berth_metrics *m, const char *label, const char *first_label);
/* One series only, by all its labels.  Nothing when there is none. */
void berth_metrics_forget_one(struct berth_metrics *m, enum berth_family f,
                              const char *const *labels);

void berth_series_add(struct berth_series *s, uint64_t n); /* counter, gauge */
/* A counter whose count is kept elsewhere. */
void berth_series_set_count(struct berth_series *s, uint64_t n);
void berth_series_sub(struct berth_series *s, uint64_t n);   /* gauge */
void berth_series_set(struct berth_series *s, double v);     /* gauge, real counter */
void berth_series_observe(struct berth_series *s, double v); /* histogram: seconds or a count */

/* Gauges that are read when somebody asks (memory, queue lengths): called before rendering, on the
 * rendering thread. */
void berth_metrics_on_render(struct berth_metrics *m, void (*fn)(void *arg), void *arg);
void berth_metrics_render(struct berth_metrics *m, struct berth_buf *b);

#endif
