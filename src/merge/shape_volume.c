#include "merge/shape_priv.h"

/* Volumes of a pod, as Kubernetes 1.34 has them. */

static const struct shape_field aws_elastic_block_store_volume_source_fields[] = {
    STRING("fsType"), INT32("partition"), BOOL("readOnly"), STRING("volumeID")};
static const struct berth_shape shape_aws_elastic_block_store_volume_source =
    SHAPE(aws_elastic_block_store_volume_source_fields);

static const struct shape_field azure_disk_volume_source_fields[] = {
    STRING("cachingMode"), STRING("diskName"), STRING("diskURI"),
    STRING("fsType"),      STRING("kind"),     BOOL("readOnly")};
static const struct berth_shape shape_azure_disk_volume_source =
    SHAPE(azure_disk_volume_source_fields);

static const struct shape_field azure_file_volume_source_fields[] = {
    BOOL("readOnly"), STRING("secretName"), STRING("shareName")};
static const struct berth_shape shape_azure_file_volume_source =
    SHAPE(azure_file_volume_source_fields);

static const struct shape_field local_object_reference_fields[] = {STRING("name")};
static const struct berth_shape shape_local_object_reference = SHAPE(local_object_reference_fields);

static const struct shape_field ceph_fs_volume_source_fields[] = {
    STRINGS("monitors"),
    STRING("path"),
    BOOL("readOnly"),
    STRING("secretFile"),
    OBJECT("secretRef", local_object_reference),
    STRING("user")};
static const struct berth_shape shape_ceph_fs_volume_source = SHAPE(ceph_fs_volume_source_fields);

static const struct shape_field cinder_volume_source_fields[] = {
    STRING("fsType"), BOOL("readOnly"), OBJECT("secretRef", local_object_reference),
    STRING("volumeID")};
static const struct berth_shape shape_cinder_volume_source = SHAPE(cinder_volume_source_fields);

static const struct shape_field key_to_path_fields[] = {STRING("key"), INT32("mode"),
                                                        STRING("path")};
static const struct berth_shape shape_key_to_path = SHAPE(key_to_path_fields);

static const struct shape_field config_map_volume_source_fields[] = {
    INT32("defaultMode"), OBJECTS("items", key_to_path), STRING("name"), BOOL("optional")};
static const struct berth_shape shape_config_map_volume_source =
    SHAPE(config_map_volume_source_fields);

static const struct shape_field csi_volume_source_fields[] = {
    STRING("driver"), STRING("fsType"), OBJECT("nodePublishSecretRef", local_object_reference),
    BOOL("readOnly"), STRING_MAP("volumeAttributes")};
static const struct berth_shape shape_csi_volume_source = SHAPE(csi_volume_source_fields);

static const struct shape_field downward_api_volume_file_fields[] = {
    OBJECT("fieldRef", object_field_selector), INT32("mode"), STRING("path"),
    OBJECT("resourceFieldRef", resource_field_selector)};
static const struct berth_shape shape_downward_api_volume_file =
    SHAPE(downward_api_volume_file_fields);

static const struct shape_field downward_api_volume_source_fields[] = {
    INT32("defaultMode"), OBJECTS("items", downward_api_volume_file)};
static const struct berth_shape shape_downward_api_volume_source =
    SHAPE(downward_api_volume_source_fields);

static const struct shape_field empty_dir_volume_source_fields[] = {STRING("medium"),
                                                                    QUANTITY("sizeLimit")};
static const struct berth_shape shape_empty_dir_volume_source =
    SHAPE(empty_dir_volume_source_fields);

static const struct shape_field typed_local_object_reference_fields[] = {
    STRING("apiGroup"), STRING("kind"), STRING("name")};
static const struct berth_shape shape_typed_local_object_reference =
    SHAPE(typed_local_object_reference_fields);

static const struct shape_field typed_object_reference_fields[] = {
    STRING("apiGroup"), STRING("kind"), STRING("name"), STRING("namespace")};
static const struct berth_shape shape_typed_object_reference = SHAPE(typed_object_reference_fields);

static const struct shape_field volume_resource_requirements_fields[] = {QUANTITY_MAP("limits"),
                                                                         QUANTITY_MAP("requests")};
static const struct berth_shape shape_volume_resource_requirements =
    SHAPE(volume_resource_requirements_fields);

static const struct shape_field persistent_volume_claim_spec_fields[] = {
    STRINGS("accessModes"),
    OBJECT("dataSource", typed_local_object_reference),
    OBJECT("dataSourceRef", typed_object_reference),
    OBJECT("resources", volume_resource_requirements),
    OBJECT("selector", label_selector),
    STRING("storageClassName"),
    STRING("volumeAttributesClassName"),
    STRING("volumeMode"),
    STRING("volumeName")};
static const struct berth_shape shape_persistent_volume_claim_spec =
    SHAPE(persistent_volume_claim_spec_fields);

static const struct shape_field persistent_volume_claim_template_fields[] = {
    OBJECT("metadata", object_meta), OBJECT("spec", persistent_volume_claim_spec)};
static const struct berth_shape shape_persistent_volume_claim_template =
    SHAPE(persistent_volume_claim_template_fields);

static const struct shape_field ephemeral_volume_source_fields[] = {
    OBJECT("volumeClaimTemplate", persistent_volume_claim_template)};
static const struct berth_shape shape_ephemeral_volume_source =
    SHAPE(ephemeral_volume_source_fields);

static const struct shape_field fc_volume_source_fields[] = {
    STRING("fsType"), INT32("lun"), BOOL("readOnly"), STRINGS("targetWWNs"), STRINGS("wwids")};
static const struct berth_shape shape_fc_volume_source = SHAPE(fc_volume_source_fields);

static const struct shape_field flex_volume_source_fields[] = {
    STRING("driver"), STRING("fsType"), STRING_MAP("options"), BOOL("readOnly"),
    OBJECT("secretRef", local_object_reference)};
static const struct berth_shape shape_flex_volume_source = SHAPE(flex_volume_source_fields);

static const struct shape_field flocker_volume_source_fields[] = {STRING("datasetName"),
                                                                  STRING("datasetUUID")};
static const struct berth_shape shape_flocker_volume_source = SHAPE(flocker_volume_source_fields);

static const struct shape_field gce_persistent_disk_volume_source_fields[] = {
    STRING("fsType"), INT32("partition"), STRING("pdName"), BOOL("readOnly")};
static const struct berth_shape shape_gce_persistent_disk_volume_source =
    SHAPE(gce_persistent_disk_volume_source_fields);

static const struct shape_field git_repo_volume_source_fields[] = {
    STRING("directory"), STRING("repository"), STRING("revision")};
static const struct berth_shape shape_git_repo_volume_source = SHAPE(git_repo_volume_source_fields);

static const struct shape_field glusterfs_volume_source_fields[] = {
    STRING("endpoints"), STRING("path"), BOOL("readOnly")};
static const struct berth_shape shape_glusterfs_volume_source =
    SHAPE(glusterfs_volume_source_fields);

static const struct shape_field host_path_volume_source_fields[] = {STRING("path"), STRING("type")};
static const struct berth_shape shape_host_path_volume_source =
    SHAPE(host_path_volume_source_fields);

static const struct shape_field image_volume_source_fields[] = {STRING("pullPolicy"),
                                                                STRING("reference")};
static const struct berth_shape shape_image_volume_source = SHAPE(image_volume_source_fields);

static const struct shape_field iscsi_volume_source_fields[] = {
    BOOL("chapAuthDiscovery"),
    BOOL("chapAuthSession"),
    STRING("fsType"),
    STRING("initiatorName"),
    STRING("iqn"),
    STRING("iscsiInterface"),
    INT32("lun"),
    STRINGS("portals"),
    BOOL("readOnly"),
    OBJECT("secretRef", local_object_reference),
    STRING("targetPortal")};
static const struct berth_shape shape_iscsi_volume_source = SHAPE(iscsi_volume_source_fields);

static const struct shape_field nfs_volume_source_fields[] = {STRING("path"), BOOL("readOnly"),
                                                              STRING("server")};
static const struct berth_shape shape_nfs_volume_source = SHAPE(nfs_volume_source_fields);

static const struct shape_field persistent_volume_claim_volume_source_fields[] = {
    STRING("claimName"), BOOL("readOnly")};
static const struct berth_shape shape_persistent_volume_claim_volume_source =
    SHAPE(persistent_volume_claim_volume_source_fields);

static const struct shape_field photon_persistent_disk_volume_source_fields[] = {STRING("fsType"),
                                                                                 STRING("pdID")};
static const struct berth_shape shape_photon_persistent_disk_volume_source =
    SHAPE(photon_persistent_disk_volume_source_fields);

static const struct shape_field portworx_volume_source_fields[] = {
    STRING("fsType"), BOOL("readOnly"), STRING("volumeID")};
static const struct berth_shape shape_portworx_volume_source = SHAPE(portworx_volume_source_fields);

static const struct shape_field cluster_trust_bundle_projection_fields[] = {
    OBJECT("labelSelector", label_selector), STRING("name"), BOOL("optional"), STRING("path"),
    STRING("signerName")};
static const struct berth_shape shape_cluster_trust_bundle_projection =
    SHAPE(cluster_trust_bundle_projection_fields);

static const struct shape_field config_map_projection_fields[] = {OBJECTS("items", key_to_path),
                                                                  STRING("name"), BOOL("optional")};
static const struct berth_shape shape_config_map_projection = SHAPE(config_map_projection_fields);

static const struct shape_field downward_api_projection_fields[] = {
    OBJECTS("items", downward_api_volume_file)};
static const struct berth_shape shape_downward_api_projection =
    SHAPE(downward_api_projection_fields);

static const struct shape_field pod_certificate_projection_fields[] = {
    STRING("certificateChainPath"),
    STRING("credentialBundlePath"),
    STRING("keyPath"),
    STRING("keyType"),
    INT32("maxExpirationSeconds"),
    STRING("signerName")};
static const struct berth_shape shape_pod_certificate_projection =
    SHAPE(pod_certificate_projection_fields);

static const struct shape_field service_account_token_projection_fields[] = {
    STRING("audience"), INT("expirationSeconds"), STRING("path")};
static const struct berth_shape shape_service_account_token_projection =
    SHAPE(service_account_token_projection_fields);

static const struct shape_field volume_projection_fields[] = {
    OBJECT("clusterTrustBundle", cluster_trust_bundle_projection),
    OBJECT("configMap", config_map_projection),
    OBJECT("downwardAPI", downward_api_projection),
    OBJECT("podCertificate", pod_certificate_projection),
    OBJECT("secret", config_map_projection),
    OBJECT("serviceAccountToken", service_account_token_projection)};
static const struct berth_shape shape_volume_projection = SHAPE(volume_projection_fields);

static const struct shape_field projected_volume_source_fields[] = {
    INT32("defaultMode"), OBJECTS("sources", volume_projection)};
static const struct berth_shape shape_projected_volume_source =
    SHAPE(projected_volume_source_fields);

static const struct shape_field quobyte_volume_source_fields[] = {
    STRING("group"),  BOOL("readOnly"), STRING("registry"),
    STRING("tenant"), STRING("user"),   STRING("volume")};
static const struct berth_shape shape_quobyte_volume_source = SHAPE(quobyte_volume_source_fields);

static const struct shape_field rbd_volume_source_fields[] = {
    STRING("fsType"),
    STRING("image"),
    STRING("keyring"),
    STRINGS("monitors"),
    STRING("pool"),
    BOOL("readOnly"),
    OBJECT("secretRef", local_object_reference),
    STRING("user")};
static const struct berth_shape shape_rbd_volume_source = SHAPE(rbd_volume_source_fields);

static const struct shape_field scale_io_volume_source_fields[] = {
    STRING("fsType"),
    STRING("gateway"),
    STRING("protectionDomain"),
    BOOL("readOnly"),
    OBJECT("secretRef", local_object_reference),
    BOOL("sslEnabled"),
    STRING("storageMode"),
    STRING("storagePool"),
    STRING("system"),
    STRING("volumeName")};
static const struct berth_shape shape_scale_io_volume_source = SHAPE(scale_io_volume_source_fields);

static const struct shape_field secret_volume_source_fields[] = {
    INT32("defaultMode"), OBJECTS("items", key_to_path), BOOL("optional"), STRING("secretName")};
static const struct berth_shape shape_secret_volume_source = SHAPE(secret_volume_source_fields);

static const struct shape_field storage_os_volume_source_fields[] = {
    STRING("fsType"), BOOL("readOnly"), OBJECT("secretRef", local_object_reference),
    STRING("volumeName"), STRING("volumeNamespace")};
static const struct berth_shape shape_storage_os_volume_source =
    SHAPE(storage_os_volume_source_fields);

static const struct shape_field vsphere_virtual_disk_volume_source_fields[] = {
    STRING("fsType"), STRING("storagePolicyID"), STRING("storagePolicyName"), STRING("volumePath")};
static const struct berth_shape shape_vsphere_virtual_disk_volume_source =
    SHAPE(vsphere_virtual_disk_volume_source_fields);

static const struct shape_field volume_fields[] = {
    OBJECT("awsElasticBlockStore", aws_elastic_block_store_volume_source),
    OBJECT("azureDisk", azure_disk_volume_source),
    OBJECT("azureFile", azure_file_volume_source),
    OBJECT("cephfs", ceph_fs_volume_source),
    OBJECT("cinder", cinder_volume_source),
    OBJECT("configMap", config_map_volume_source),
    OBJECT("csi", csi_volume_source),
    OBJECT("downwardAPI", downward_api_volume_source),
    OBJECT("emptyDir", empty_dir_volume_source),
    OBJECT("ephemeral", ephemeral_volume_source),
    OBJECT("fc", fc_volume_source),
    OBJECT("flexVolume", flex_volume_source),
    OBJECT("flocker", flocker_volume_source),
    OBJECT("gcePersistentDisk", gce_persistent_disk_volume_source),
    OBJECT("gitRepo", git_repo_volume_source),
    OBJECT("glusterfs", glusterfs_volume_source),
    OBJECT("hostPath", host_path_volume_source),
    OBJECT("image", image_volume_source),
    OBJECT("iscsi", iscsi_volume_source),
    STRING("name"),
    OBJECT("nfs", nfs_volume_source),
    OBJECT("persistentVolumeClaim", persistent_volume_claim_volume_source),
    OBJECT("photonPersistentDisk", photon_persistent_disk_volume_source),
    OBJECT("portworxVolume", portworx_volume_source),
    OBJECT("projected", projected_volume_source),
    OBJECT("quobyte", quobyte_volume_source),
    OBJECT("rbd", rbd_volume_source),
    OBJECT("scaleIO", scale_io_volume_source),
    OBJECT("secret", secret_volume_source),
    OBJECT("storageos", storage_os_volume_source),
    OBJECT("vsphereVolume", vsphere_virtual_disk_volume_source)};
const struct berth_shape shape_volume = SHAPE(volume_fields);
