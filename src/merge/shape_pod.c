#include "merge/shape_priv.h"

/* A pod, as Kubernetes 1.34 has it. */

static const struct shape_field label_selector_requirement_fields[] = {
    STRING("key"), STRING("operator"), STRINGS("values")};
static const struct berth_shape shape_label_selector_requirement =
    SHAPE(label_selector_requirement_fields);

static const struct shape_field node_selector_term_fields[] = {
    OBJECTS("matchExpressions", label_selector_requirement),
    OBJECTS("matchFields", label_selector_requirement)};
static const struct berth_shape shape_node_selector_term = SHAPE(node_selector_term_fields);

static const struct shape_field preferred_scheduling_term_fields[] = {
    OBJECT("preference", node_selector_term), INT32("weight")};
static const struct berth_shape shape_preferred_scheduling_term =
    SHAPE(preferred_scheduling_term_fields);

static const struct shape_field node_selector_fields[] = {
    OBJECTS("nodeSelectorTerms", node_selector_term)};
static const struct berth_shape shape_node_selector = SHAPE(node_selector_fields);

static const struct shape_field node_affinity_fields[] = {
    OBJECTS("preferredDuringSchedulingIgnoredDuringExecution", preferred_scheduling_term),
    OBJECT("requiredDuringSchedulingIgnoredDuringExecution", node_selector)};
static const struct berth_shape shape_node_affinity = SHAPE(node_affinity_fields);

static const struct shape_field pod_affinity_term_fields[] = {
    OBJECT("labelSelector", label_selector),
    STRINGS("matchLabelKeys"),
    STRINGS("mismatchLabelKeys"),
    OBJECT("namespaceSelector", label_selector),
    STRINGS("namespaces"),
    STRING("topologyKey")};
static const struct berth_shape shape_pod_affinity_term = SHAPE(pod_affinity_term_fields);

static const struct shape_field weighted_pod_affinity_term_fields[] = {
    OBJECT("podAffinityTerm", pod_affinity_term), INT32("weight")};
static const struct berth_shape shape_weighted_pod_affinity_term =
    SHAPE(weighted_pod_affinity_term_fields);

static const struct shape_field pod_affinity_fields[] = {
    OBJECTS("preferredDuringSchedulingIgnoredDuringExecution", weighted_pod_affinity_term),
    OBJECTS("requiredDuringSchedulingIgnoredDuringExecution", pod_affinity_term)};
static const struct berth_shape shape_pod_affinity = SHAPE(pod_affinity_fields);

static const struct shape_field affinity_fields[] = {OBJECT("nodeAffinity", node_affinity),
                                                     OBJECT("podAffinity", pod_affinity),
                                                     OBJECT("podAntiAffinity", pod_affinity)};
static const struct berth_shape shape_affinity = SHAPE(affinity_fields);

static const struct shape_field config_map_key_selector_fields[] = {STRING("key"), STRING("name"),
                                                                    BOOL("optional")};
const struct berth_shape shape_config_map_key_selector = SHAPE(config_map_key_selector_fields);

static const struct shape_field object_field_selector_fields[] = {STRING("apiVersion"),
                                                                  STRING("fieldPath")};
const struct berth_shape shape_object_field_selector = SHAPE(object_field_selector_fields);

static const struct shape_field file_key_selector_fields[] = {STRING("key"), BOOL("optional"),
                                                              STRING("path"), STRING("volumeName")};
static const struct berth_shape shape_file_key_selector = SHAPE(file_key_selector_fields);

static const struct shape_field resource_field_selector_fields[] = {
    STRING("containerName"), QUANTITY("divisor"), STRING("resource")};
const struct berth_shape shape_resource_field_selector = SHAPE(resource_field_selector_fields);

static const struct shape_field env_var_source_fields[] = {
    OBJECT("configMapKeyRef", config_map_key_selector), OBJECT("fieldRef", object_field_selector),
    OBJECT("fileKeyRef", file_key_selector), OBJECT("resourceFieldRef", resource_field_selector),
    OBJECT("secretKeyRef", config_map_key_selector)};
static const struct berth_shape shape_env_var_source = SHAPE(env_var_source_fields);

static const struct shape_field env_var_fields[] = {STRING("name"), STRING("value"),
                                                    OBJECT("valueFrom", env_var_source)};
static const struct berth_shape shape_env_var = SHAPE(env_var_fields);

static const struct shape_field config_map_env_source_fields[] = {STRING("name"), BOOL("optional")};
static const struct berth_shape shape_config_map_env_source = SHAPE(config_map_env_source_fields);

static const struct shape_field env_from_source_fields[] = {
    OBJECT("configMapRef", config_map_env_source), STRING("prefix"),
    OBJECT("secretRef", config_map_env_source)};
const struct berth_shape shape_env_from_source = SHAPE(env_from_source_fields);

static const struct shape_field exec_action_fields[] = {STRINGS("command")};
static const struct berth_shape shape_exec_action = SHAPE(exec_action_fields);

static const struct shape_field http_header_fields[] = {STRING("name"), STRING("value")};
static const struct berth_shape shape_http_header = SHAPE(http_header_fields);

static const struct shape_field http_get_action_fields[] = {
    STRING("host"), OBJECTS("httpHeaders", http_header), STRING("path"), INT_OR_STRING("port"),
    STRING("scheme")};
static const struct berth_shape shape_http_get_action = SHAPE(http_get_action_fields);

static const struct shape_field sleep_action_fields[] = {INT("seconds")};
static const struct berth_shape shape_sleep_action = SHAPE(sleep_action_fields);

static const struct shape_field tcp_socket_action_fields[] = {STRING("host"),
                                                              INT_OR_STRING("port")};
static const struct berth_shape shape_tcp_socket_action = SHAPE(tcp_socket_action_fields);

static const struct shape_field lifecycle_handler_fields[] = {
    OBJECT("exec", exec_action), OBJECT("httpGet", http_get_action), OBJECT("sleep", sleep_action),
    OBJECT("tcpSocket", tcp_socket_action)};
static const struct berth_shape shape_lifecycle_handler = SHAPE(lifecycle_handler_fields);

static const struct shape_field lifecycle_fields[] = {OBJECT("postStart", lifecycle_handler),
                                                      OBJECT("preStop", lifecycle_handler),
                                                      STRING("stopSignal")};
static const struct berth_shape shape_lifecycle = SHAPE(lifecycle_fields);

static const struct shape_field grpc_action_fields[] = {INT32("port"), STRING("service")};
static const struct berth_shape shape_grpc_action = SHAPE(grpc_action_fields);

static const struct shape_field probe_fields[] = {OBJECT("exec", exec_action),
                                                  INT32("failureThreshold"),
                                                  OBJECT("grpc", grpc_action),
                                                  OBJECT("httpGet", http_get_action),
                                                  INT32("initialDelaySeconds"),
                                                  INT32("periodSeconds"),
                                                  INT32("successThreshold"),
                                                  OBJECT("tcpSocket", tcp_socket_action),
                                                  INT("terminationGracePeriodSeconds"),
                                                  INT32("timeoutSeconds")};
static const struct berth_shape shape_probe = SHAPE(probe_fields);

static const struct shape_field container_port_fields[] = {INT32("containerPort"), STRING("hostIP"),
                                                           INT32("hostPort"), STRING("name"),
                                                           STRING("protocol")};
static const struct berth_shape shape_container_port = SHAPE(container_port_fields);

static const struct shape_field container_resize_policy_fields[] = {STRING("resourceName"),
                                                                    STRING("restartPolicy")};
static const struct berth_shape shape_container_resize_policy =
    SHAPE(container_resize_policy_fields);

static const struct shape_field resource_claim_fields[] = {STRING("name"), STRING("request")};
static const struct berth_shape shape_resource_claim = SHAPE(resource_claim_fields);

static const struct shape_field resource_requirements_fields[] = {
    OBJECTS("claims", resource_claim), QUANTITY_MAP("limits"), QUANTITY_MAP("requests")};
const struct berth_shape shape_resource_requirements = SHAPE(resource_requirements_fields);

static const struct shape_field container_restart_rule_on_exit_codes_fields[] = {STRING("operator"),
                                                                                 INTS("values")};
static const struct berth_shape shape_container_restart_rule_on_exit_codes =
    SHAPE(container_restart_rule_on_exit_codes_fields);

static const struct shape_field container_restart_rule_fields[] = {
    STRING("action"), OBJECT("exitCodes", container_restart_rule_on_exit_codes)};
static const struct berth_shape shape_container_restart_rule = SHAPE(container_restart_rule_fields);

static const struct shape_field app_armor_profile_fields[] = {STRING("localhostProfile"),
                                                              STRING("type")};
static const struct berth_shape shape_app_armor_profile = SHAPE(app_armor_profile_fields);

static const struct shape_field capabilities_fields[] = {STRINGS("add"), STRINGS("drop")};
static const struct berth_shape shape_capabilities = SHAPE(capabilities_fields);

static const struct shape_field se_linux_options_fields[] = {STRING("level"), STRING("role"),
                                                             STRING("type"), STRING("user")};
static const struct berth_shape shape_se_linux_options = SHAPE(se_linux_options_fields);

static const struct shape_field windows_security_context_options_fields[] = {
    STRING("gmsaCredentialSpec"), STRING("gmsaCredentialSpecName"), BOOL("hostProcess"),
    STRING("runAsUserName")};
static const struct berth_shape shape_windows_security_context_options =
    SHAPE(windows_security_context_options_fields);

static const struct shape_field security_context_fields[] = {
    BOOL("allowPrivilegeEscalation"),
    OBJECT("appArmorProfile", app_armor_profile),
    OBJECT("capabilities", capabilities),
    BOOL("privileged"),
    STRING("procMount"),
    BOOL("readOnlyRootFilesystem"),
    INT("runAsGroup"),
    BOOL("runAsNonRoot"),
    INT("runAsUser"),
    OBJECT("seLinuxOptions", se_linux_options),
    OBJECT("seccompProfile", app_armor_profile),
    OBJECT("windowsOptions", windows_security_context_options)};
static const struct berth_shape shape_security_context = SHAPE(security_context_fields);

static const struct shape_field volume_device_fields[] = {STRING("devicePath"), STRING("name")};
static const struct berth_shape shape_volume_device = SHAPE(volume_device_fields);

static const struct shape_field volume_mount_fields[] = {
    STRING("mountPath"),         STRING("mountPropagation"), STRING("name"),       BOOL("readOnly"),
    STRING("recursiveReadOnly"), STRING("subPath"),          STRING("subPathExpr")};
static const struct berth_shape shape_volume_mount = SHAPE(volume_mount_fields);

static const struct shape_field container_fields[] = {
    STRINGS("args"),
    STRINGS("command"),
    OBJECTS("env", env_var),
    OBJECTS("envFrom", env_from_source),
    STRING("image"),
    STRING("imagePullPolicy"),
    OBJECT("lifecycle", lifecycle),
    OBJECT("livenessProbe", probe),
    STRING("name"),
    OBJECTS("ports", container_port),
    OBJECT("readinessProbe", probe),
    OBJECTS("resizePolicy", container_resize_policy),
    OBJECT("resources", resource_requirements),
    STRING("restartPolicy"),
    OBJECTS("restartPolicyRules", container_restart_rule),
    OBJECT("securityContext", security_context),
    OBJECT("startupProbe", probe),
    BOOL("stdin"),
    BOOL("stdinOnce"),
    STRING("terminationMessagePath"),
    STRING("terminationMessagePolicy"),
    BOOL("tty"),
    OBJECTS("volumeDevices", volume_device),
    OBJECTS("volumeMounts", volume_mount),
    STRING("workingDir")};
static const struct berth_shape shape_container = SHAPE(container_fields);

static const struct shape_field pod_dns_config_fields[] = {
    STRINGS("nameservers"), OBJECTS("options", http_header), STRINGS("searches")};
static const struct berth_shape shape_pod_dns_config = SHAPE(pod_dns_config_fields);

static const struct shape_field ephemeral_container_fields[] = {
    STRINGS("args"),
    STRINGS("command"),
    OBJECTS("env", env_var),
    OBJECTS("envFrom", env_from_source),
    STRING("image"),
    STRING("imagePullPolicy"),
    OBJECT("lifecycle", lifecycle),
    OBJECT("livenessProbe", probe),
    STRING("name"),
    OBJECTS("ports", container_port),
    OBJECT("readinessProbe", probe),
    OBJECTS("resizePolicy", container_resize_policy),
    OBJECT("resources", resource_requirements),
    STRING("restartPolicy"),
    OBJECTS("restartPolicyRules", container_restart_rule),
    OBJECT("securityContext", security_context),
    OBJECT("startupProbe", probe),
    BOOL("stdin"),
    BOOL("stdinOnce"),
    STRING("targetContainerName"),
    STRING("terminationMessagePath"),
    STRING("terminationMessagePolicy"),
    BOOL("tty"),
    OBJECTS("volumeDevices", volume_device),
    OBJECTS("volumeMounts", volume_mount),
    STRING("workingDir")};
static const struct berth_shape shape_ephemeral_container = SHAPE(ephemeral_container_fields);

static const struct shape_field host_alias_fields[] = {STRINGS("hostnames"), STRING("ip")};
static const struct berth_shape shape_host_alias = SHAPE(host_alias_fields);

static const struct shape_field local_object_reference_fields[] = {STRING("name")};
static const struct berth_shape shape_local_object_reference = SHAPE(local_object_reference_fields);

static const struct shape_field pod_readiness_gate_fields[] = {STRING("conditionType")};
static const struct berth_shape shape_pod_readiness_gate = SHAPE(pod_readiness_gate_fields);

static const struct shape_field pod_resource_claim_fields[] = {
    STRING("name"), STRING("resourceClaimName"), STRING("resourceClaimTemplateName")};
static const struct berth_shape shape_pod_resource_claim = SHAPE(pod_resource_claim_fields);

static const struct shape_field pod_security_context_fields[] = {
    OBJECT("appArmorProfile", app_armor_profile),
    INT("fsGroup"),
    STRING("fsGroupChangePolicy"),
    INT("runAsGroup"),
    BOOL("runAsNonRoot"),
    INT("runAsUser"),
    STRING("seLinuxChangePolicy"),
    OBJECT("seLinuxOptions", se_linux_options),
    OBJECT("seccompProfile", app_armor_profile),
    INTS("supplementalGroups"),
    STRING("supplementalGroupsPolicy"),
    OBJECTS("sysctls", http_header),
    OBJECT("windowsOptions", windows_security_context_options)};
static const struct berth_shape shape_pod_security_context = SHAPE(pod_security_context_fields);

static const struct shape_field toleration_fields[] = {
    STRING("effect"), STRING("key"), STRING("operator"), INT("tolerationSeconds"), STRING("value")};
static const struct berth_shape shape_toleration = SHAPE(toleration_fields);

static const struct shape_field topology_spread_constraint_fields[] = {
    OBJECT("labelSelector", label_selector),
    STRINGS("matchLabelKeys"),
    INT32("maxSkew"),
    INT32("minDomains"),
    STRING("nodeAffinityPolicy"),
    STRING("nodeTaintsPolicy"),
    STRING("topologyKey"),
    STRING("whenUnsatisfiable")};
static const struct berth_shape shape_topology_spread_constraint =
    SHAPE(topology_spread_constraint_fields);

static const struct shape_field pod_spec_fields[] = {
    INT("activeDeadlineSeconds"),
    OBJECT("affinity", affinity),
    BOOL("automountServiceAccountToken"),
    OBJECTS("containers", container),
    OBJECT("dnsConfig", pod_dns_config),
    STRING("dnsPolicy"),
    BOOL("enableServiceLinks"),
    OBJECTS("ephemeralContainers", ephemeral_container),
    OBJECTS("hostAliases", host_alias),
    BOOL("hostIPC"),
    BOOL("hostNetwork"),
    BOOL("hostPID"),
    BOOL("hostUsers"),
    STRING("hostname"),
    STRING("hostnameOverride"),
    OBJECTS("imagePullSecrets", local_object_reference),
    OBJECTS("initContainers", container),
    STRING("nodeName"),
    STRING_MAP("nodeSelector"),
    OBJECT("os", local_object_reference),
    QUANTITY_MAP("overhead"),
    STRING("preemptionPolicy"),
    INT32("priority"),
    STRING("priorityClassName"),
    OBJECTS("readinessGates", pod_readiness_gate),
    OBJECTS("resourceClaims", pod_resource_claim),
    OBJECT("resources", resource_requirements),
    STRING("restartPolicy"),
    STRING("runtimeClassName"),
    STRING("schedulerName"),
    OBJECTS("schedulingGates", local_object_reference),
    OBJECT("securityContext", pod_security_context),
    STRING("serviceAccount"),
    STRING("serviceAccountName"),
    BOOL("setHostnameAsFQDN"),
    BOOL("shareProcessNamespace"),
    STRING("subdomain"),
    INT("terminationGracePeriodSeconds"),
    OBJECTS("tolerations", toleration),
    OBJECTS("topologySpreadConstraints", topology_spread_constraint),
    OBJECTS("volumes", volume)};
static const struct berth_shape shape_pod_spec = SHAPE(pod_spec_fields);

static const struct shape_field pod_template_spec_fields[] = {OBJECT("metadata", object_meta),
                                                              OBJECT("spec", pod_spec)};
const struct berth_shape shape_pod_template_spec = SHAPE(pod_template_spec_fields);
