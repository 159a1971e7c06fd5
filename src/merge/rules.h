#ifndef BERTH_MERGE_RULES_H
#define BERTH_MERGE_RULES_H

#include <stddef.h>

struct berth_merge_rule;

/*
 * How objects of a kind merge: Deployment, LeaderWorkerSet, Service, HTTPRoute, InferencePool,
 * InferenceModel, InferenceObjective, HorizontalPodAutoscaler, ConfigMap, ServiceAccount.  What is
 * no path of a kind does no harm there, so that there is one table; of an unknown kind its metadata
 * and its pod templates, wherever they are, merge as those of the known ones.
 */
const struct berth_merge_rule *berth_merge_rules(size_t *ret_count);

#endif
