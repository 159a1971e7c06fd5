"""Kinds of the Gateway API and of both generations of its Inference Extension, as far as these tests need
them: definitions of our own, which check what the real ones check of what the operator writes."""
import contextlib

import harness
from modelservices import wait_told_of

GATEWAY = "gateway.networking.k8s.io"
OLD, NEW = "inference.networking.x-k8s.io", "inference.networking.k8s.io"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

TEXT = {"type": "string"}
PORT = {"type": "integer", "minimum": 1, "maximum": 65535}
LABELS = {"type": "object", "additionalProperties": TEXT}
REFERENCE = {"group": TEXT, "kind": TEXT, "name": TEXT}


def members(required=(), **properties):
    return {"type": "object", "properties": properties, "required": list(required)}


POOL_REF = members(["name"], **REFERENCE)
FREE = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
# (group, version, kind): its spec
SPECS = {
    (GATEWAY, "v1", "HTTPRoute"): FREE,
    (OLD, "v1alpha2", "InferencePool"): members(
        ["selector", "targetPortNumber", "extensionRef"], selector=LABELS, targetPortNumber=PORT,
        extensionRef=members(["name"], **REFERENCE, portNumber=PORT, failureMode=TEXT)),
    (OLD, "v1alpha2", "InferenceModel"): members(
        ["modelName", "poolRef"], modelName=TEXT, poolRef=POOL_REF,
        criticality={"type": "string", "enum": ["Critical", "Standard", "Sheddable"]},
        targetModels={"type": "array", "items": FREE}),
    (OLD, "v1alpha2", "InferenceObjective"): members(
        ["poolRef"], poolRef=POOL_REF, priority={"type": "integer"}),
    (NEW, "v1", "InferencePool"): members(
        ["selector", "targetPorts", "endpointPickerRef"], appProtocol=TEXT,
        selector=members(["matchLabels"], matchLabels=LABELS),
        targetPorts={"type": "array", "minItems": 1, "maxItems": 8, "items": members(["number"], number=PORT)},
        endpointPickerRef={**members(["name"], **REFERENCE, port=members(["number"], number=PORT), failureMode=TEXT),
                           "x-kubernetes-validations": [{
                               "rule": "(has(self.kind) && self.kind != 'Service') || has(self.port)",
                               "message": "port is required when kind is Service"}]}),
}
ROUTE, OLD_POOL, MODEL, OBJECTIVE, POOL = SPECS


def name_of(kind):
    group, _, word = kind
    return f"{word.lower()}s.{group}"


def path_of(kind, space):
    group, version, word = kind
    return f"/apis/{group}/{version}/namespaces/{space}/{word.lower()}s"


def define(cluster, kind, version=None):
    """version: another one than the operator knows."""
    group, _, word = kind
    version = version or kind[1]
    # Groups of Kubernetes' own community are protected by an annotation.
    notes = {"api-approved.kubernetes.io": "unapproved, for tests"}
    cluster.create(DEFINITIONS, {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": name_of(kind), "annotations": notes},
        "spec": {"group": group, "scope": "Namespaced",
                 "names": {"kind": word, "plural": f"{word.lower()}s", "singular": word.lower()},
                 "versions": [{"name": version, "served": True, "storage": True, "schema": {
                     "openAPIV3Schema": members(spec=SPECS[kind], status=FREE)}}]}})
    path = path_of((group, version, word), "default")
    harness.wait_until(lambda: cluster.api("GET", path, text=True)[0] == 200, 120, f"{path} is served")
    wait_told_of(cluster, f"{group}/{version}", f"{word.lower()}s")


def wait_untold(cluster, version, plural):
    """Who asks what kinds there are, as the operator does, is told of one for a little longer than it is there."""
    harness.wait_until(lambda: f'"{plural}"' not in cluster.api("GET", f"/apis/{version}", text=True)[1], 120,
                       f"{plural} of {version} are told of no more")


@contextlib.contextmanager
def defined(cluster, *kinds):
    """With these kinds; afterwards none of them is there."""
    try:
        for kind in kinds:
            define(cluster, kind)
        yield
    finally:
        for kind in SPECS:
            cluster.api("DELETE", f"{DEFINITIONS}/{name_of(kind)}")
        for kind in SPECS:  # which may have been defined in another version
            for path in (f"{DEFINITIONS}/{name_of(kind)}", path_of(kind, "default")):
                harness.wait_until(lambda path=path: cluster.api("GET", path, text=True)[0] == 404, 150,
                                   f"{path} is gone")
            group, version, word = kind
            wait_untold(cluster, f"{group}/{version}", f"{word.lower()}s")
