#include "merge/shape_priv.h"

/* ModelService (llm-d.ai/v1alpha1), and what this program's operator takes beside: as
 * deploy/modelservice/crd.yaml has it, which a test compares. */

static const struct shape_field port_fields[] = {STRING("name"), INT32("port")};
static const struct berth_shape shape_port = SHAPE(port_fields);

static const struct shape_field routing_fields[] = {OBJECTS("gatewayRefs", route_parent_refs),
                                                    STRING("modelName"), OBJECTS("ports", port)};
static const struct berth_shape shape_routing = SHAPE(routing_fields);

static const struct shape_field artifacts_fields[] = {STRING("authSecretName"), BOOL("readOnly"),
                                                      QUANTITY("size"), STRING("uri")};
static const struct berth_shape shape_artifacts = SHAPE(artifacts_fields);

/* As a pod's, without what newer Kubernetes has: its definition has not got that. */
static const struct shape_field env_source_fields[] = {
    OBJECT("configMapKeyRef", config_map_key_selector), OBJECT("fieldRef", object_field_selector),
    OBJECT("resourceFieldRef", resource_field_selector),
    OBJECT("secretKeyRef", config_map_key_selector)};
static const struct berth_shape shape_env_source = SHAPE(env_source_fields);

static const struct shape_field env_var_fields[] = {STRING("name"), STRING("value"),
                                                    OBJECT("valueFrom", env_source)};
static const struct berth_shape shape_env_var = SHAPE(env_var_fields);

static const struct shape_field container_fields[] = {
    STRINGS("args"),         STRINGS("command"),
    OBJECTS("env", env_var), OBJECTS("envFrom", env_from_source),
    STRING("image"),         BOOL("mountModelVolume"),
    STRING("name"),          OBJECT("resources", resource_requirements),
};
static const struct berth_shape shape_container = SHAPE(container_fields);

static const struct shape_field accelerators_fields[] = {STRING("labelKey"),
                                                         STRINGS("labelValues")};
static const struct berth_shape shape_accelerators = SHAPE(accelerators_fields);

static const struct shape_field parallelism_fields[] = {INT32("data"), INT32("dataLocal"),
                                                        INT32("tensor"), INT32("workers")};
static const struct berth_shape shape_parallelism = SHAPE(parallelism_fields);

static const struct shape_field autoscaling_fields[] = {INT32("maxReplicas"), INT32("minReplicas"),
                                                        INT32("targetCPUUtilizationPercentage")};
static const struct berth_shape shape_autoscaling = SHAPE(autoscaling_fields);

static const struct shape_field role_fields[] = {
    OBJECT("acceleratorTypes", accelerators),
    OBJECT("autoscaling", autoscaling),
    OBJECTS("containers", container),
    OBJECTS("initContainers", container),
    BOOL("multinode"),
    OBJECT("parallelism", parallelism),
    INT32("replicas"),
};
static const struct berth_shape shape_role = SHAPE(role_fields);

static const struct shape_field picker_fields[] = {
    OBJECTS("containers", container),
    OBJECTS("initContainers", container),
    INT32("replicas"),
};
static const struct berth_shape shape_picker = SHAPE(picker_fields);

static const struct shape_field spec_fields[] = {
    OBJECT("baseConfigMapRef", object_reference),
    OBJECT("decode", role),
    BOOL("decoupleScaling"),
    OBJECT("endpointPicker", picker),
    OBJECT("modelArtifacts", artifacts),
    OBJECT("prefill", role),
    OBJECT("routing", routing),
};
static const struct berth_shape shape_spec = SHAPE(spec_fields);

static const struct shape_field model_service_fields[] = {
    STRING("apiVersion"), STRING("kind"), OBJECT("metadata", object_meta),
    OBJECT("spec", spec), ANY("status"),
};
const struct berth_shape shape_model_service = SHAPE(model_service_fields);
