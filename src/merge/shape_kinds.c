#include "merge/shape_priv.h"

/* Kinds of Kubernetes 1.34 itself, and LeaderWorkerSet v1 (0.8). */

static const struct shape_field rolling_update_deployment_fields[] = {
    INT_OR_STRING("maxSurge"), INT_OR_STRING("maxUnavailable")};
static const struct berth_shape shape_rolling_update_deployment =
    SHAPE(rolling_update_deployment_fields);

static const struct shape_field deployment_strategy_fields[] = {
    OBJECT("rollingUpdate", rolling_update_deployment), STRING("type")};
static const struct berth_shape shape_deployment_strategy = SHAPE(deployment_strategy_fields);

static const struct shape_field deployment_spec_fields[] = {INT32("minReadySeconds"),
                                                            BOOL("paused"),
                                                            INT32("progressDeadlineSeconds"),
                                                            INT32("replicas"),
                                                            INT32("revisionHistoryLimit"),
                                                            OBJECT("selector", label_selector),
                                                            OBJECT("strategy", deployment_strategy),
                                                            OBJECT("template", pod_template_spec)};
static const struct berth_shape shape_deployment_spec = SHAPE(deployment_spec_fields);

static const struct shape_field deployment_fields[] = {
    STRING("apiVersion"), STRING("kind"), OBJECT("metadata", object_meta),
    OBJECT("spec", deployment_spec), ANY("status")};
const struct berth_shape shape_deployment = SHAPE(deployment_fields);

static const struct shape_field leader_worker_sub_group_policy_fields[] = {
    STRING("subGroupPolicyType"), INT32("subGroupSize")};
static const struct berth_shape shape_leader_worker_sub_group_policy =
    SHAPE(leader_worker_sub_group_policy_fields);

static const struct shape_field leader_worker_leader_worker_template_fields[] = {
    OBJECT("leaderTemplate", pod_template_spec),
    ANY("persistentVolumeClaimRetentionPolicy"),
    STRING("restartPolicy"),
    INT32("size"),
    OBJECT("subGroupPolicy", leader_worker_sub_group_policy),
    ANY("volumeClaimTemplates"),
    OBJECT("workerTemplate", pod_template_spec)};
static const struct berth_shape shape_leader_worker_leader_worker_template =
    SHAPE(leader_worker_leader_worker_template_fields);

static const struct shape_field leader_worker_network_config_fields[] = {STRING("subdomainPolicy")};
static const struct berth_shape shape_leader_worker_network_config =
    SHAPE(leader_worker_network_config_fields);

static const struct shape_field leader_worker_rolling_update_configuration_fields[] = {
    INT_OR_STRING("maxSurge"), INT_OR_STRING("maxUnavailable"), INT32("partition")};
static const struct berth_shape shape_leader_worker_rolling_update_configuration =
    SHAPE(leader_worker_rolling_update_configuration_fields);

static const struct shape_field leader_worker_rollout_strategy_fields[] = {
    OBJECT("rollingUpdateConfiguration", leader_worker_rolling_update_configuration),
    STRING("type")};
static const struct berth_shape shape_leader_worker_rollout_strategy =
    SHAPE(leader_worker_rollout_strategy_fields);

static const struct shape_field leader_worker_spec_fields[] = {
    OBJECT("leaderWorkerTemplate", leader_worker_leader_worker_template),
    OBJECT("networkConfig", leader_worker_network_config), INT32("replicas"),
    OBJECT("rolloutStrategy", leader_worker_rollout_strategy), STRING("startupPolicy")};
static const struct berth_shape shape_leader_worker_spec = SHAPE(leader_worker_spec_fields);

static const struct shape_field leader_worker_set_fields[] = {
    STRING("apiVersion"), STRING("kind"), OBJECT("metadata", object_meta),
    OBJECT("spec", leader_worker_spec), ANY("status")};
const struct berth_shape shape_leader_worker_set = SHAPE(leader_worker_set_fields);

static const struct shape_field hpa_scaling_policy_fields[] = {INT32("periodSeconds"),
                                                               STRING("type"), INT32("value")};
static const struct berth_shape shape_hpa_scaling_policy = SHAPE(hpa_scaling_policy_fields);

static const struct shape_field hpa_scaling_rules_fields[] = {
    OBJECTS("policies", hpa_scaling_policy), STRING("selectPolicy"),
    INT32("stabilizationWindowSeconds"), QUANTITY("tolerance")};
static const struct berth_shape shape_hpa_scaling_rules = SHAPE(hpa_scaling_rules_fields);

static const struct shape_field horizontal_pod_autoscaler_behavior_fields[] = {
    OBJECT("scaleDown", hpa_scaling_rules), OBJECT("scaleUp", hpa_scaling_rules)};
static const struct berth_shape shape_horizontal_pod_autoscaler_behavior =
    SHAPE(horizontal_pod_autoscaler_behavior_fields);

static const struct shape_field metric_target_fields[] = {
    INT32("averageUtilization"), QUANTITY("averageValue"), STRING("type"), QUANTITY("value")};
static const struct berth_shape shape_metric_target = SHAPE(metric_target_fields);

static const struct shape_field container_resource_metric_source_fields[] = {
    STRING("container"), STRING("name"), OBJECT("target", metric_target)};
static const struct berth_shape shape_container_resource_metric_source =
    SHAPE(container_resource_metric_source_fields);

static const struct shape_field metric_identifier_fields[] = {STRING("name"),
                                                              OBJECT("selector", label_selector)};
static const struct berth_shape shape_metric_identifier = SHAPE(metric_identifier_fields);

static const struct shape_field external_metric_source_fields[] = {
    OBJECT("metric", metric_identifier), OBJECT("target", metric_target)};
static const struct berth_shape shape_external_metric_source = SHAPE(external_metric_source_fields);

static const struct shape_field cross_version_object_reference_fields[] = {
    STRING("apiVersion"), STRING("kind"), STRING("name")};
static const struct berth_shape shape_cross_version_object_reference =
    SHAPE(cross_version_object_reference_fields);

static const struct shape_field object_metric_source_fields[] = {
    OBJECT("describedObject", cross_version_object_reference), OBJECT("metric", metric_identifier),
    OBJECT("target", metric_target)};
static const struct berth_shape shape_object_metric_source = SHAPE(object_metric_source_fields);

static const struct shape_field resource_metric_source_fields[] = {STRING("name"),
                                                                   OBJECT("target", metric_target)};
static const struct berth_shape shape_resource_metric_source = SHAPE(resource_metric_source_fields);

static const struct shape_field metric_spec_fields[] = {
    OBJECT("containerResource", container_resource_metric_source),
    OBJECT("external", external_metric_source),
    OBJECT("object", object_metric_source),
    OBJECT("pods", external_metric_source),
    OBJECT("resource", resource_metric_source),
    STRING("type")};
static const struct berth_shape shape_metric_spec = SHAPE(metric_spec_fields);

static const struct shape_field horizontal_pod_autoscaler_spec_fields[] = {
    OBJECT("behavior", horizontal_pod_autoscaler_behavior), INT32("maxReplicas"),
    OBJECTS("metrics", metric_spec), INT32("minReplicas"),
    OBJECT("scaleTargetRef", cross_version_object_reference)};
static const struct berth_shape shape_horizontal_pod_autoscaler_spec =
    SHAPE(horizontal_pod_autoscaler_spec_fields);

static const struct shape_field autoscaler_fields[] = {
    STRING("apiVersion"), STRING("kind"), OBJECT("metadata", object_meta),
    OBJECT("spec", horizontal_pod_autoscaler_spec), ANY("status")};
const struct berth_shape shape_autoscaler = SHAPE(autoscaler_fields);

static const struct shape_field service_port_fields[] = {
    STRING("appProtocol"), STRING("name"),     INT32("nodePort"),
    INT32("port"),         STRING("protocol"), INT_OR_STRING("targetPort")};
static const struct berth_shape shape_service_port = SHAPE(service_port_fields);

static const struct shape_field client_ip_config_fields[] = {INT32("timeoutSeconds")};
static const struct berth_shape shape_client_ip_config = SHAPE(client_ip_config_fields);

static const struct shape_field session_affinity_config_fields[] = {
    OBJECT("clientIP", client_ip_config)};
static const struct berth_shape shape_session_affinity_config =
    SHAPE(session_affinity_config_fields);

static const struct shape_field service_spec_fields[] = {
    BOOL("allocateLoadBalancerNodePorts"),
    STRING("clusterIP"),
    STRINGS("clusterIPs"),
    STRINGS("externalIPs"),
    STRING("externalName"),
    STRING("externalTrafficPolicy"),
    INT32("healthCheckNodePort"),
    STRING("internalTrafficPolicy"),
    STRINGS("ipFamilies"),
    STRING("ipFamilyPolicy"),
    STRING("loadBalancerClass"),
    STRING("loadBalancerIP"),
    STRINGS("loadBalancerSourceRanges"),
    OBJECTS("ports", service_port),
    BOOL("publishNotReadyAddresses"),
    STRING_MAP("selector"),
    STRING("sessionAffinity"),
    OBJECT("sessionAffinityConfig", session_affinity_config),
    STRING("trafficDistribution"),
    STRING("type")};
static const struct berth_shape shape_service_spec = SHAPE(service_spec_fields);

static const struct shape_field service_fields[] = {STRING("apiVersion"), STRING("kind"),
                                                    OBJECT("metadata", object_meta),
                                                    OBJECT("spec", service_spec), ANY("status")};
const struct berth_shape shape_service = SHAPE(service_fields);

static const struct shape_field config_map_fields[] = {
    STRING("apiVersion"), STRING_MAP("binaryData"), STRING_MAP("data"),
    BOOL("immutable"),    STRING("kind"),           OBJECT("metadata", object_meta)};
const struct berth_shape shape_config_map = SHAPE(config_map_fields);

static const struct shape_field local_object_reference_fields[] = {STRING("name")};
static const struct berth_shape shape_local_object_reference = SHAPE(local_object_reference_fields);

static const struct shape_field object_reference_fields[] = {
    STRING("apiVersion"), STRING("fieldPath"),       STRING("kind"), STRING("name"),
    STRING("namespace"),  STRING("resourceVersion"), STRING("uid")};
const struct berth_shape shape_object_reference = SHAPE(object_reference_fields);

static const struct shape_field service_account_fields[] = {
    STRING("apiVersion"),
    BOOL("automountServiceAccountToken"),
    OBJECTS("imagePullSecrets", local_object_reference),
    STRING("kind"),
    OBJECT("metadata", object_meta),
    OBJECTS("secrets", object_reference)};
const struct berth_shape shape_service_account = SHAPE(service_account_fields);
