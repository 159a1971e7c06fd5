"""What `berth operator` needs of a cluster, in a real one: definition, rights, manifests, chart."""
import json
import re
import subprocess

import pytest
import yaml

import harness
from modelservices import make_namespace, wait_told_of
from test_helm import helm, sets

HERE = harness.ROOT / "deploy" / "modelservice"
CHART = harness.ROOT / "deploy" / "helm" / "berth-modelservice"
CRD = yaml.safe_load((HERE / "crd.yaml").read_text())
CRD_PATH = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{CRD['metadata']['name']}"
NS = "msvc-test"
PATH = f"/apis/llm-d.ai/v1alpha1/namespaces/{NS}/modelservices"
APPLY = "application/apply-patch+yaml"
OPERATOR = "system:serviceaccount:modelservice-system:modelservice-operator"


def make(cluster, target, *more, ok=True):
    kubectl = f"KUBECTL=kubectl --kubeconfig={cluster.kubeconfig}"
    out = subprocess.run(["make", "-s", "-C", HERE, target, kubectl, *more], capture_output=True, text=True,
                         timeout=540 * harness.SLOW)
    assert (out.returncode == 0) == ok, out
    return out.stdout + out.stderr


def install(cluster):
    """Ends when they are served."""
    make(cluster, "install")
    assert cluster.api("GET", PATH, text=True)[0] == 200
    wait_told_of(cluster, "llm-d.ai/v1alpha1", "modelservices")


@pytest.fixture(scope="module")
def kube(cluster):
    make_namespace(cluster, NS)
    install(cluster)
    yield cluster
    make(cluster, "uninstall", "FORCE=1")
    cluster.api("DELETE", f"/api/v1/namespaces/{NS}")


def service(name="x", uri="hf://a/b", routing=None, artifacts=None, **spec):
    """The least that there can be, and more."""
    return {"apiVersion": "llm-d.ai/v1alpha1", "kind": "ModelService", "metadata": {"name": name, "namespace": NS},
            "spec": {"modelArtifacts": {"uri": uri, **(artifacts or {})},
                     "routing": {"modelName": "m", **(routing or {})}, **spec}}


def container(**more):
    return {"decode": {"containers": [{"name": "c", **more}]}}


def said(body):
    """What is wrong, as {field: [message]}; that CEL had to wait for it is not."""
    ret = {}
    for cause in body["details"]["causes"]:
        if cause["field"] != "<nil>":
            ret.setdefault(cause["field"], []).append(cause["message"])
    return ret


# ---- the definition ----

@pytest.mark.parametrize("more", [
    {}, {"routing": {"modelName": ""}}, {"routing": {"modelName": "m" * 256}},
    {"routing": {"ports": [{"name": "a", "port": 1}, {"name": "b", "port": 70000}]}},
    {"routing": {"gatewayRefs": [
        {"name": "g", "group": "", "kind": "Service", "sectionName": "a.b", "port": 65535}] * 32}},
    {"baseConfigMapRef": {}}, {"baseConfigMapRef": {"name": "base", "namespace": "bases"}},
    {"decode": {"replicas": 0}}, {"decode": {"replicas": None}}, {"decode": {"parallelism": {"tensor": 0}}},
    {"decode": {"parallelism": {"tensor": None}}}, {"decode": {"multinode": True}},
    {"decode": {"multinode": False, "parallelism": {"tensor": 8, "data": 4, "dataLocal": 4, "workers": 1}}},
    {"prefill": {"multinode": True, "parallelism": {"data": 8, "dataLocal": 2, "workers": 4}}},
    {"decode": {"autoscaling": {"minReplicas": 2, "maxReplicas": 2, "targetCPUUtilizationPercentage": 60}}},
    {"decode": {"autoscaling": {"minReplicas": 2}}},  # the base configuration says how many at most
    {"prefill": {"parallelism": {"workers": 2}}}, {"prefill": {"parallelism": {"data": 6, "dataLocal": 2}}},
    {"prefill": {"acceleratorTypes": {"labelKey": "k", "labelValues": ["v"]}}},
    {"artifacts": {"size": 5}}, {"artifacts": {"size": "1.5Gi", "authSecretName": "s", "readOnly": False}},
    {"artifacts": {"authSecretName": ""}}, {"artifacts": {"authSecretName": "a.b-c.0"}},
    {"decode": {"containers": [{"name": "c"}, {"name": "c"}]}},
    container(resources={"limits": {"cpu": 2, "nvidia.com/gpu": "1"}, "claims": [{"name": "gpu", "request": "one"}]}),
    container(command=["a"], args=["--x={{ .ModelPath }}"], mountModelVolume=True,
              envFrom=[{"prefix": "P", "secretRef": {"name": "s", "optional": True}}]),
    {"endpointPicker": {"replicas": 2, "containers": [{"name": "epp", "image": "i"}], "initContainers": [{"name": "i"}]}},
    *({"uri": uri} for uri in (
        "hf://facebook/opt-125m", "pvc://claim/a", "pvc://claim/a/b/c", "pvc://claim/a..b", "pvc+hf://claim/repo/model",
        "pvc+hf://claim/hub/cache/repo/model", "oci://host:5000/a/b:tag", "oci://a@sha256:0a::models/x", "oci://a::b..c")),
], ids=str)
def test_it_takes(kube, more):
    body = service(**more)
    status, got = kube.api("POST", f"{PATH}?dryRun=All&fieldValidation=Strict", body)
    assert status == 201, got


URI = "spec.modelArtifacts.uri"
FORMS = "uri must be one of hf://REPO/MODEL, pvc://CLAIM/PATH, pvc+hf://CLAIM/CACHE/REPO/MODEL, oci://IMAGE[::PATH]"


@pytest.mark.parametrize("more, field, why", [
    ({"routing": {"modelName": "m" * 257}}, "spec.routing.modelName", "Too long"),
    ({"routing": {"ports": [{"name": "a", "port": 1}, {"name": "a", "port": 2}]}}, "spec.routing.ports[1]",
     'Duplicate value: {"name":"a"}'),
    ({"routing": {"ports": [{"name": "a", "port": 0}]}}, "spec.routing.ports[0].port", "greater than or equal to 1"),
    ({"routing": {"ports": [{"port": 1}]}}, "spec.routing.ports[0].name", "Required value"),
    ({"routing": {"ports": [{"name": "a"}]}}, "spec.routing.ports[0].port", "Required value"),
    ({"routing": {"gatewayRefs": [{"kind": "Gateway"}]}}, "spec.routing.gatewayRefs[0].name", "Required value"),
    ({"routing": {"gatewayRefs": [{"name": ""}]}}, "spec.routing.gatewayRefs[0].name", "at least 1 chars"),
    ({"routing": {"gatewayRefs": [{"name": "g"}] * 33}}, "spec.routing.gatewayRefs", "must have at most 32 items"),
    ({"routing": {"gatewayRefs": [{"name": "g", "port": 65536}]}}, "spec.routing.gatewayRefs[0].port",
     "less than or equal to 65535"),
    ({"routing": {"gatewayRefs": [{"name": "g", "namespace": "A"}]}}, "spec.routing.gatewayRefs[0].namespace",
     "should match"),
    ({"artifacts": {"size": "big"}}, "spec.modelArtifacts.size", "should match"),
    *(({"artifacts": {"authSecretName": name}}, "spec.modelArtifacts.authSecretName", why) for name, why in (
        ("A_b", "should match"), ("a..b", "should match"), ("a-", "should match"), ("a" * 254, "Too long"))),
    ({"artifacts": {"readOnly": "no"}}, "spec.modelArtifacts.readOnly", "must be of type boolean"),
    ({"decoupleScaling": "true"}, "spec.decoupleScaling", "must be of type boolean"),
    ({"decode": {"replicas": -1}}, "spec.decode.replicas", "greater than or equal to 0"),
    ({"decode": {"replicas": "2"}}, "spec.decode.replicas", "must be of type integer"),
    ({"prefill": {"parallelism": {"tensor": -1}}}, "spec.prefill.parallelism.tensor", "greater than or equal to 0"),
    ({"decode": {"multinode": "yes"}}, "spec.decode.multinode", "must be of type boolean"),
    ({"decode": {"autoscaling": {"minReplicas": 3, "maxReplicas": 2}}}, "spec.decode.autoscaling", "must not be more"),
    ({"decode": {"parallelism": {"workers": 0}}}, "spec.decode.parallelism.workers", "greater than or equal to 1"),
    ({"decode": {"parallelism": {"data": 1 << 21}}}, "spec.decode.parallelism.data", "less than or equal to"),
    ({"decode": {"parallelism": {"data": 5, "workers": 2}}}, "spec.decode.parallelism",
     "data must be a multiple of workers"),
    ({"decode": {"parallelism": {"data": 5, "dataLocal": 2}}}, "spec.decode.parallelism",
     "data must be a multiple of dataLocal"),
    ({"decode": {"parallelism": {"data": 4, "dataLocal": 2, "workers": 4}}}, "spec.decode.parallelism",
     "data must be dataLocal x workers"),
    ({"decode": {"multinode": False, "parallelism": {"workers": 2}}}, "spec.decode",
     "more workers than one take multinode"),
    ({"prefill": {"acceleratorTypes": {"labelKey": "", "labelValues": ["v"]}}},
     "spec.prefill.acceleratorTypes.labelKey", "at least 1 chars"),
    ({"prefill": {"acceleratorTypes": {"labelKey": "k", "labelValues": []}}},
     "spec.prefill.acceleratorTypes.labelValues", "at least 1 items"),
    ({"decode": {"containers": [{"image": "i"}]}}, "spec.decode.containers[0].name", "Required value"),
    (container(args=[1]), "spec.decode.containers[0].args[0]", "must be of type string"),
    (container(env=[{"name": "A"}, {"name": "A"}]), "spec.decode.containers[0].env[1]", "Duplicate value"),
    (container(resources={"limits": {"cpu": "lots"}}), "spec.decode.containers[0].resources.limits.cpu", "should match"),
    (container(env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s"}}}]),
     "spec.decode.containers[0].env[0].valueFrom.secretKeyRef.key", "Required value"),
    *(({"uri": uri}, URI, FORMS) for uri in (
        "", "opt-125m", "HF://a/b", " hf://a/b", "s3://a/b", "hf://a", "hf://a/", "hf:///b", "hf://a/b/c", "pvc://claim",
        "pvc://claim/", "pvc:///a", "pvc+hf://claim/model", "pvc+hf://claim/repo/", "oci://", "oci://::models")),
    *(({"uri": uri}, URI, 'uri must not have ".." in its path') for uri in (
        "pvc://claim/../a", "pvc://claim/a/..", "pvc+hf://claim/../a/b", "oci://a::../b", "oci://a::b/../../c")),
    ({"uri": "hf://a/" + "b" * 4090}, URI, "Too long"),
], ids=str)
def test_it_refuses(kube, more, field, why):
    status, got = kube.api("POST", f"{PATH}?dryRun=All", service(**more))
    assert status == 422, got
    errors = said(got)
    assert list(errors) == [field] and why in errors[field][0], errors


def test_what_must_be_there(kube):
    for drop, fields in (("routing", ["spec.routing"]), ("modelArtifacts", ["spec.modelArtifacts"])):
        body = service()
        del body["spec"][drop]
        assert list(said(kube.api("POST", f"{PATH}?dryRun=All", body)[1])) == fields


def test_defaults_and_what_is_not_known(kube):
    key = {"key": "k"}
    unknown = {"ports": [{"containerPort": 1}], "imagePullPolicy": "Always", "volumeMounts": []}
    body = service(decode={"parallelism": {}}, prefill={"replicas": None}, endpointPicker={},
                   routing={"gatewayRefs": [{"name": "g"}]})
    body["spec"]["decode"]["containers"] = [{"name": "c", **unknown, "env": [
        {"name": "A", "valueFrom": {"configMapKeyRef": key}}, {"name": "B", "valueFrom": {"secretKeyRef": key}}]}]
    status, got = kube.api("POST", f"{PATH}?dryRun=All", body)
    assert status == 201, got
    # Absent replicas are the base configuration's, and so is null.
    assert got["spec"]["prefill"] == {"replicas": None} and got["spec"]["endpointPicker"] == {}
    named = {"key": "k", "name": ""}
    assert got["spec"]["decode"] == {"parallelism": {"tensor": 1}, "containers": [{"name": "c", "env": [
        {"name": "A", "valueFrom": {"configMapKeyRef": named}}, {"name": "B", "valueFrom": {"secretKeyRef": named}}]}]}
    assert got["spec"]["routing"]["gatewayRefs"] == [
        {"name": "g", "group": "gateway.networking.k8s.io", "kind": "Gateway"}]
    # Who asks for it is told what was not known.
    status, got = kube.api("POST", f"{PATH}?dryRun=All&fieldValidation=Strict", body)
    assert status == 400 and all(f'"spec.decode.containers[0].{k}"' in got["message"] for k in unknown), got


def test_the_model_name_stays(kube):
    kube.create(PATH, service("fixed"))
    merge = "application/merge-patch+json"
    status, got = kube.api("PATCH", f"{PATH}/fixed", {"spec": {"routing": {"modelName": "other"}}}, content_type=merge)
    assert status == 422, got
    (errors,) = said(got).items()
    assert errors[0] == "spec.routing.modelName" and "modelName is immutable" in errors[1][0]
    kube.merge(f"{PATH}/fixed", {"spec": {"modelArtifacts": {"uri": "pvc://c/p"}, "decode": {"replicas": 3}}})


def test_status_and_columns(kube):
    assert kube.get(CRD_PATH)["status"]["acceptedNames"]["shortNames"] == ["msvc"]
    made = kube.create(PATH, service("seen", decoupleScaling=True))
    assert made["metadata"]["generation"] == 1

    def apply(manager, **status):
        return kube.api("PATCH", f"{PATH}/seen/status?fieldManager={manager}", {
            "apiVersion": made["apiVersion"], "kind": "ModelService", "metadata": {"name": "seen"}, "status": status},
            content_type=APPLY)

    def condition(kind, **more):
        return {"type": kind, "status": "True", "reason": "AsWanted", "message": "",
                "lastTransitionTime": "2025-01-01T00:00:00Z", **more}

    assert kube.kubectl("get", "modelservices", "seen", "-n", NS).splitlines()[1].split()[:2] == ["seen", "true"]
    assert apply("a", observedGeneration=1, prefillReady="1/2", conditions=[condition("Ready")])[0] == 200
    status, got = apply("b", prefillAvailable=1, decodeReady="0/1", decodeAvailable=0,
                        conditions=[condition("ConfigValid")])
    assert status == 200, got
    # Each has its own conditions; a status is no change of what is wanted.
    assert [c["type"] for c in got["status"]["conditions"]] == ["Ready", "ConfigValid"]
    assert got["metadata"]["generation"] == 1 and got["status"]["observedGeneration"] == 1
    status, got = apply("b", conditions=[condition("ConfigValid", reason="no reason")])
    assert status == 422 and list(said(got)) == ["status.conditions[1].reason"], got
    head, line = kube.kubectl("get", "modelservices", "seen", "-n", NS).splitlines()
    assert [w.strip() for w in head.split("  ") if w.strip()] == [
        "NAME", "DECOUPLE SCALING", "PREFILL READY", "PREFILL AVAIL", "DECODE READY", "DECODE AVAIL", "READY", "AGE"]
    assert line.split()[:-1] == ["seen", "true", "1/2", "1", "0/1", "0", "True"]


def test_what_was_taken_once_can_be_changed_elsewhere(kube):
    """Objects of before the checks, as llm-d's definition took them, stay in use."""
    loose = yaml.safe_load((HERE / "crd.yaml").read_text())
    spec = loose["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    del spec["modelArtifacts"]["properties"]["uri"]["x-kubernetes-validations"]
    for key in ("x-kubernetes-list-type", "x-kubernetes-list-map-keys"):
        del spec["routing"]["properties"]["ports"][key]
    old = service("old", uri="", routing={"ports": [{"name": "a", "port": 1}] * 2})
    status, got = kube.api("PATCH", f"{CRD_PATH}?fieldManager=test&force=true", loose, content_type=APPLY)
    assert status == 200, got

    def is_put():  # an apply takes nothing of others away; its status may be written meanwhile, by the server
        return kube.api("PUT", CRD_PATH, {**loose, "metadata": kube.get(CRD_PATH)["metadata"]})[0] == 200

    harness.wait_until(is_put, 60, "the loose definition is put")
    try:
        harness.wait_until(lambda: kube.api("POST", PATH, old)[0] == 201, 90, "the loose definition")
    finally:
        make(kube, "install")
    harness.wait_until(lambda: kube.api("POST", f"{PATH}?dryRun=All", service("new", uri=""))[0] == 422, 90,
                       "the strict one")
    assert kube.merge(f"{PATH}/old", {"spec": {"decode": {"replicas": 2}}})["spec"]["decode"] == {"replicas": 2}
    assert kube.merge(f"{PATH}/old/status", {"status": {"observedGeneration": 2}})["status"] == {"observedGeneration": 2}


# ---- rights ----

CHILDREN = [("", "configmaps"), ("", "serviceaccounts"), ("", "services"), ("apps", "deployments"),
            ("autoscaling", "horizontalpodautoscalers"), ("leaderworkerset.x-k8s.io", "leaderworkersets"),
            ("gateway.networking.k8s.io", "httproutes"), ("inference.networking.x-k8s.io", "inferencepools"),
            ("inference.networking.x-k8s.io", "inferencemodels"), ("inference.networking.k8s.io", "inferencepools"),
            ("inference.networking.x-k8s.io", "inferenceobjectives"), ("rbac.authorization.k8s.io", "rolebindings")]
MAY = [*((verb, *of, NS) for of in CHILDREN for verb in ("get", "list", "watch", "create", "patch", "delete")),
       *((verb, "llm-d.ai", "modelservices", NS) for verb in ("get", "list", "watch")),
       ("list", "", "pods", NS), ("patch", "llm-d.ai", "modelservices/status", NS), ("create", "", "events", NS),
       ("patch", "", "events", NS)]
LEASES = [(verb, "coordination.k8s.io", "leases", "modelservice-system") for verb in ("get", "create", "patch")]
MAY_NOT = [("create", "llm-d.ai", "modelservices", NS), ("patch", "llm-d.ai", "modelservices", NS),
           ("delete", "llm-d.ai", "modelservices", NS), ("get", "", "secrets", NS), ("create", "", "pods", NS),
           ("create", "apps", "deployments/scale", NS), ("deletecollection", "apps", "deployments", NS),
           ("create", "rbac.authorization.k8s.io", "roles", NS),
           ("create", "rbac.authorization.k8s.io", "clusterrolebindings", ""),
           ("bind", "rbac.authorization.k8s.io", "clusterroles", ""), ("impersonate", "", "users", ""),
           ("list", "apiextensions.k8s.io", "customresourcedefinitions", ""),
           ("get", "coordination.k8s.io", "leases", NS), ("list", "", "nodes", ""), ("create", "", "namespaces", "")]


def may(cluster, user, verb, group, resource, namespace, name=""):
    resource, _, sub = resource.partition("/")
    return cluster.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", {
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {
            "user": user, "groups": ["system:serviceaccounts", "system:authenticated"], "resourceAttributes": {
                "verb": verb, "group": group, "resource": resource, "subresource": sub, "namespace": namespace,
                "name": name}}})["status"]["allowed"]


def wait_rights(cluster, user, rights, are=True):
    """What a role gives is known to the API server a little after the role is; or what it gives no more."""
    harness.wait_until(lambda: all(may(cluster, user, *m) == are for m in rights), 120, f"{user}: {are}: {rights}")


@pytest.fixture
def deployed(kube):
    make(kube, "deploy", "IMG=registry.example:5000/team/berth:1")
    wait_rights(kube, OPERATOR, [*MAY, *LEASES])
    yield kube
    make(kube, "undeploy")
    wait_rights(kube, OPERATOR, MAY[:1], are=False)  # the next one waits for them to come


def test_the_operator_may_do_what_it_must(deployed):
    assert [m for m in MAY if not may(deployed, OPERATOR, *m)] == []
    epp = ("rbac.authorization.k8s.io", "clusterroles", "", "modelservice-epp")
    assert all(may(deployed, OPERATOR, verb, *epp) for verb in ("bind", "get", "list", "watch"))
    assert [m for m in MAY_NOT if may(deployed, OPERATOR, *m)] == []
    assert [m for m in LEASES if not may(deployed, OPERATOR, *m)] == []
    assert not may(deployed, OPERATOR, "delete", "coordination.k8s.io", "leases", "modelservice-system")
    for group, resource in CHILDREN:  # the definitions of what a cluster may lack, and of nothing else
        lacking = group.startswith(("leaderworkerset.", "gateway.", "inference."))
        for verb in ("get", "list", "watch"):
            assert lacking == may(deployed, OPERATOR, verb, "apiextensions.k8s.io", "customresourcedefinitions", "",
                                  f"{resource}.{group}"), (verb, resource, group)


def test_the_network_policy_that_is_documented(deployed):
    """It is taken, and is about the operator's pods and its ports."""
    text = (harness.ROOT / "docs" / "modelservice.md").read_text()
    (policy,) = [p for p in map(yaml.safe_load, re.findall(r"```yaml\n(.*?)```", text, re.S))
                 if p.get("kind") == "NetworkPolicy"]
    out = subprocess.run(["kubectl", "--kubeconfig", deployed.kubeconfig, "apply", "--dry-run=server", "-f", "-"],
                         input=yaml.safe_dump(policy), capture_output=True, text=True, timeout=180 * harness.SLOW)
    assert out.returncode == 0, out
    pod = documents(deployed.kubectl("kustomize", str(HERE)))["Deployment", "modelservice-operator"]["spec"]["template"]
    assert policy["metadata"]["namespace"] == "modelservice-system"
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    (c,) = pod["spec"]["containers"]
    assert [rule["ports"][0]["port"] for rule in policy["spec"]["ingress"]] == [p["containerPort"] for p in c["ports"]]


def test_it_gives_endpoint_pickers_their_role_and_no_other(deployed, tmp_path):
    def give(role):
        (tmp_path / "binding.json").write_text(json.dumps({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": f"x-{role}"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": "x-epp-sa", "namespace": NS}]}))
        return deployed.kubectl("apply", "--server-side", "-n", NS, f"--as={OPERATOR}", "-f",
                                str(tmp_path / "binding.json"))

    give("modelservice-epp")
    picker = f"system:serviceaccount:{NS}:x-epp-sa"
    watched = (("", "pods"), ("discovery.k8s.io", "endpointslices"), ("inference.networking.k8s.io", "inferencepools"),
               ("inference.networking.x-k8s.io", "inferenceobjectives"))
    wait_rights(deployed, picker, [("watch", *of, NS) for of in watched])
    for group, resource in watched:
        assert not may(deployed, picker, "watch", group, resource, "default")
    assert not may(deployed, picker, "delete", "", "pods", NS) and not may(deployed, picker, "get", "", "secrets", NS)
    for role in ("cluster-admin", "edit"):
        with pytest.raises(subprocess.CalledProcessError) as refused:
            give(role)
        assert "attempting to grant RBAC permissions not currently held" in refused.value.stderr


def test_make_run_with_the_operators_rights_alone(deployed, tmp_path):
    """All that it does for a ModelService, up to taking away a child, as the account of its pod."""
    account, name = OPERATOR.split(":")[2:]
    status, got = deployed.api("POST", f"/api/v1/namespaces/{account}/serviceaccounts/{name}/token", {
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}})
    assert status == 201, got
    config = deployed.config_of("pod", token=got["status"]["token"])
    config["contexts"][0]["context"]["namespace"] = account  # where its lease is, as in its pod
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    containers = "spec: {template: {spec: {containers: [{name: main, image: i}]}}}"
    maps = f"/api/v1/namespaces/{NS}/configmaps"
    base = {"configMaps": "[{metadata: {name: run-map}, data: {a: b}}]", "decodeDeployment": containers,
            "decodeService": "spec: {ports: [{port: 80}]}", "eppDeployment": containers,
            "eppService": "spec: {ports: [{port: 9002}]}"}
    with open(tmp_path / "log", "wb") as log:
        run = subprocess.Popen(["make", "-s", "-C", HERE, "run", f"BERTH={harness.BERTH}",
                                f"ARGS=--kubeconfig={tmp_path}/kubeconfig --leader-elect"], stdout=log, stderr=log)
    try:
        deployed.create(maps, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "run-base"}, "data": base})
        made = deployed.create(PATH, service("run", baseConfigMapRef={"name": "run-base"},
                                             routing={"modelName": "run-model"}))

        def children():
            kinds = "deployments.apps,services,serviceaccounts,rolebindings,configmaps"
            items = json.loads(deployed.kubectl("get", kinds, "-n", NS, "-o", "json"))["items"]
            return sorted(i["kind"] for i in items if any(
                o["uid"] == made["metadata"]["uid"] for o in i["metadata"].get("ownerReferences", [])))

        def status():
            return deployed.get(f"{PATH}/run").get("status", {})

        harness.wait_until(lambda: children() == [
            "ConfigMap", "Deployment", "Deployment", "RoleBinding", "Service", "Service", "ServiceAccount",
            "ServiceAccount"], 120, "its children")
        harness.wait_until(lambda: status().get("eppRoleBinding"), 90, "its status")
        deployed.merge(f"{maps}/run-base", {"data": {"decodeService": None}})
        harness.wait_until(lambda: children().count("Service") == 1, 90, "a child taken away")
        said_of = {c["type"]: c for c in status()["conditions"]}
        assert said_of["ConfigValid"]["status"] == "True" and said_of["Ready"]["reason"] in ("Ready", "Progressing")
    finally:
        run.terminate()
        run.wait(60 * harness.SLOW)
    log = (tmp_path / "log").read_text()
    assert "forbidden" not in log.lower(), log


@pytest.mark.parametrize("role, can, cannot", [
    ("view", ["get", "list", "watch"], ["create", "delete"]),
    ("edit", ["create", "patch", "delete", "get"], []),
    ("admin", ["create", "patch", "delete", "get"], [])])
def test_people_have_it_with_the_roles_of_the_cluster(kube, role, can, cannot):
    kube.create(f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NS}/rolebindings", {
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": f"people-{role}"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": f"a-{role}"}]})

    def allowed(verb):
        return may(kube, f"a-{role}", verb, "llm-d.ai", "modelservices", NS)

    harness.wait_until(lambda: all(map(allowed, can)), 90, "the roles to come together")
    assert not any(map(allowed, cannot)) and may(kube, f"a-{role}", "get", "llm-d.ai", "modelservices/status", NS)


# ---- manifests, make, chart ----

def hardened(deployment):
    pod = deployment["spec"]["template"]["spec"]
    (c,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert c["securityContext"] == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                                    "capabilities": {"drop": ["ALL"]}}
    assert c["resources"]["requests"] == {"cpu": "10m", "memory": "32Mi"}
    assert c["args"][0] == "operator"
    # A new one may begin beside the old one: one of them leads.
    assert deployment["spec"]["replicas"] == 1 and "strategy" not in deployment["spec"]
    assert "--leader-elect" in c["args"] and "--health-probe-bind-address=:8081" in c["args"]
    assert "--metrics-bind-address=:8080" in c["args"]
    assert c["ports"] == [{"name": "health", "containerPort": 8081}, {"name": "metrics", "containerPort": 8080}]
    assert [c[p]["httpGet"] for p in ("livenessProbe", "readinessProbe")] == [
        {"path": "/healthz", "port": "health"}, {"path": "/readyz", "port": "health"}]
    return c


def documents(text):
    return {(d["kind"], d["metadata"]["name"]): d for d in yaml.safe_load_all(text) if d}


def test_deploy_and_back(kube):
    path = "/apis/apps/v1/namespaces/modelservice-system/deployments/modelservice-operator"
    kube.create(PATH, service("stays"))
    make(kube, "deploy", "IMG=registry.example:5000/team/berth:1")
    harness.wait_until(lambda: kube.get(path)["status"].get("replicas") == 1, 120, "its pod")
    c = hardened(documents(kube.kubectl("kustomize", str(HERE)))["Deployment", "modelservice-operator"])
    assert c["image"].startswith("berth:") and "--epp-cluster-role=modelservice-epp" in c["args"]
    (c,) = kube.get(path)["spec"]["template"]["spec"]["containers"]
    assert c["image"] == "registry.example:5000/team/berth:1"
    make(kube, "deploy", "EPP_CLUSTERROLE=picker")
    (c,) = kube.get(path)["spec"]["template"]["spec"]["containers"]
    bind = ("bind", "rbac.authorization.k8s.io", "clusterroles", NS)
    assert "--epp-cluster-role=picker" in c["args"]
    wait_rights(kube, OPERATOR, [(*bind, "picker")])
    wait_rights(kube, OPERATOR, [(*bind, "modelservice-epp")], are=False)
    kube.kubectl("apply", "-k", str(HERE))  # the other way that it is documented
    make(kube, "undeploy")
    assert not kube.exists(path) and kube.exists(f"{PATH}/stays")
    # Nothing that people run goes by mistake.
    said = make(kube, "uninstall", ok=False)
    count = len(kube.objects(PATH))
    assert f"ModelServices ({count}) would go" in said and f"  {NS}/stays\n" in said and " more\n" not in said, said
    for i in range(21):
        kube.create(PATH, service(f"too-{i:02}"))
    said = make(kube, "uninstall", ok=False)
    assert f"ModelServices ({count + 21}) would go" in said and said.count(f"  {NS}/") == 20, said
    assert f"  and {count + 1} more\n" in said, said
    assert "FORCE=1" in said and kube.exists(f"{PATH}/stays")
    make(kube, "uninstall", "FORCE=1")
    harness.wait_until(lambda: not kube.exists(CRD_PATH), 150, "the definition's end")
    make(kube, "uninstall")  # there is nothing, which is as it should be
    install(kube)


def test_install_waits_until_modelservices_are_served(tmp_path):
    """A cluster that takes its time, and one that never comes to it; what can be seen is the same for both."""
    fake = tmp_path / "kubectl"
    fake.write_text("""#!/bin/sh
case "$*" in
*--raw*) n=$(($(cat %(at)s/asked) + 1)); echo $n > %(at)s/asked
    [ $n -gt $(cat %(at)s/after) ] || { echo "the server could not find the requested resource" >&2; exit 1; };;
esac
""" % {"at": tmp_path})
    fake.chmod(0o755)
    for after, asked in ((0, 1), (2, 3)):
        (tmp_path / "after").write_text(str(after))
        (tmp_path / "asked").write_text("0")
        out = subprocess.run(["make", "-s", "-C", HERE, "install", f"KUBECTL={fake}"], capture_output=True, text=True,
                             timeout=180 * harness.SLOW)
        assert out.returncode == 0 and int((tmp_path / "asked").read_text()) == asked, out
        assert out.stdout.count("waiting until ModelServices are served") == after, out


def rules(made, kind, name):
    return made[kind, name]["rules"]


def test_the_chart_is_the_same(kube):
    base = documents(kube.kubectl("kustomize", str(HERE)))
    out = helm("lint", "--strict", CHART)
    assert "1 chart(s) linted, 0 chart(s) failed" in out and "WARNING" not in out and "ERROR" not in out, out
    chart = documents(helm("template", "berth-modelservice", CHART, "--include-crds", "--namespace", "n"))
    assert chart["CustomResourceDefinition", CRD["metadata"]["name"]] == base[
        "CustomResourceDefinition", CRD["metadata"]["name"]] == CRD
    hardened(chart["Deployment", "berth-modelservice"])
    name = "n-berth-modelservice"
    told = rules(base, "ClusterRole", "modelservice-operator")
    assert [r["resourceNames"] for r in told if "bind" in r["verbs"]] == [["modelservice-epp"]]
    same = [{**r, "resourceNames": [f"{name}-epp"]} if "bind" in r["verbs"] else r for r in told]
    assert rules(chart, "ClusterRole", name) == same
    assert rules(chart, "Role", f"{name}-lease") == rules(base, "Role", "modelservice-operator")
    for ours, theirs in (("modelservice-epp", f"{name}-epp"), ("modelservice-admin", f"{name}-admin"),
                         ("modelservice-editor", f"{name}-edit"), ("modelservice-viewer", f"{name}-view")):
        assert rules(chart, "ClusterRole", theirs) == rules(base, "ClusterRole", ours)


def test_the_charts_values(kube):
    """With everything set, of one namespace; a real API server takes it as it is."""
    text = helm("template", "c", CHART, *sets(
        "namespace=default", "baseNamespaces={bases,default}", "epp.pullSecrets={a,b}", "pullSecrets={c}",
        "extraArgs={--log-level=debug}", "image.repository=r/berth", "image.tag=9",
        "imagePullSecrets[0].name=p", "metrics.port=8082",
        "nodeSelector.disk=fast", "tolerations[0].operator=Exists", "podLabels.team=a", "podAnnotations.note=b",
        "serviceAccount.annotations.c=d", "serviceAccount.name=me", "rbac.users=false"))
    text = text.replace("namespace: bases", "namespace: default")
    made = documents(text)
    assert len(made) == text.count("\nkind: "), "one place, one object"
    name = "default-c-berth-modelservice"
    assert set(made) == {("ServiceAccount", "me"), ("ClusterRole", f"{name}-epp"),
                         ("Deployment", "c-berth-modelservice"),
                         *((kind, name + end) for kind in ("Role", "RoleBinding") for end in ("", "-lease", "-base"))}
    assert rules(made, "Role", f"{name}-base") == [{"apiGroups": [""], "resources": ["configmaps"],
                                                    "verbs": ["get", "list", "watch"]}]
    anywhere = documents(helm("template", "c", CHART, *sets("namespace=default", "baseNamespaces={*}")))
    assert rules(anywhere, "ClusterRole", f"{name}-base") == rules(made, "Role", f"{name}-base")
    assert ("ClusterRoleBinding", f"{name}-base") in anywhere and ("Role", f"{name}-base") not in anywhere
    (c,) = made["Deployment", "c-berth-modelservice"]["spec"]["template"]["spec"]["containers"]
    assert c["image"] == "r/berth:9" and c["args"] == [
        "operator", f"--epp-cluster-role={name}-epp", "--leader-elect", "--health-probe-bind-address=:8081",
        "--metrics-bind-address=:8082", "--namespace=default", "--base-namespaces=bases,default",
        "--epp-pull-secrets=a,b", "--pd-pull-secrets=c", "--log-level=debug"]
    out = subprocess.run(["kubectl", "--kubeconfig", kube.kubeconfig, "apply", "--dry-run=server", "-f", "-"],
                         input=yaml.safe_dump_all(made.values()), capture_output=True, text=True,
                         timeout=180 * harness.SLOW)
    assert out.returncode == 0 and len(out.stdout.splitlines()) == len(made) and "Warning" not in out.stderr, out
    assert "epp.clusterRole" in helm("template", "c", CHART, "--set", "epp.createClusterRole=false", ok=False)
    least = documents(helm("template", "c", CHART, *sets("epp.createClusterRole=false", "epp.clusterRole=mine",
                                                         "rbac.create=false", "rbac.users=false",
                                                         "serviceAccount.create=false")))
    assert set(least) == {("Deployment", "c-berth-modelservice")}
    alone = documents(helm("template", "c", CHART, *sets("leaderElect=false", "metrics.enabled=false")))
    deployment = alone["Deployment", "c-berth-modelservice"]
    assert deployment["spec"]["strategy"] == {"type": "Recreate"} and not [k for k in alone if "-lease" in k[1]]
    (c,) = deployment["spec"]["template"]["spec"]["containers"]
    assert not [a for a in c["args"] if "leader" in a or "metrics" in a] and len(c["ports"]) == 1
    assert "leaderElect=true" in helm("template", "c", CHART, *sets("leaderElect=false", "replicas=2"), ok=False)
    guarded = helm("template", "c", CHART, *sets("metrics.certSecret=pair", "metrics.tokenSecret=word"))
    pod = documents(guarded)["Deployment", "c-berth-modelservice"]["spec"]["template"]["spec"]
    (c,) = pod["containers"]
    assert [a for a in c["args"] if "metrics-" in a and "bind" not in a] == [
        "--metrics-cert-path=/etc/berth/metrics-cert", "--metrics-token-file=/etc/berth/metrics-token/token"]
    assert [(m["name"], m["mountPath"]) for m in c["volumeMounts"]] == [
        ("metrics-cert", "/etc/berth/metrics-cert"), ("metrics-token", "/etc/berth/metrics-token")]
    assert [v["secret"]["secretName"] for v in pod["volumes"]] == ["pair", "word"]
    assert "metrics.certSecret" in helm("template", "c", CHART, *sets("metrics.tokenSecret=word"), ok=False)
    several = documents(helm("template", "c", CHART, *sets("replicas=3")))
    assert several["Deployment", "c-berth-modelservice"]["spec"]["replicas"] == 3


def test_the_chart_installed_for_one_namespace(kube):
    """Its rights end where it was told."""
    to = ("--kubeconfig", kube.kubeconfig, "--namespace", "default")
    epp = "default-one-berth-modelservice-epp"
    helm("install", "one", CHART, *to, "--set", f"namespace={NS}", "--set", "baseNamespaces={kube-public}")
    try:
        user = "system:serviceaccount:default:one-berth-modelservice"
        bind = ("bind", "rbac.authorization.k8s.io", "clusterroles")
        wait_rights(kube, user, [*MAY, ("watch", "", "configmaps", "kube-public"), (*bind, NS, epp)])
        elsewhere = [(*m[:3], "kube-system") for m in MAY]
        assert [m for m in [*MAY_NOT, *elsewhere] if may(kube, user, *m)] == []
        assert not may(kube, user, "patch", "", "configmaps", "kube-public")
        assert not may(kube, user, *bind, NS, "cluster-admin")
    finally:
        helm("uninstall", "one", *to)
    assert kube.exists(CRD_PATH)
    assert kube.api("DELETE", f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{epp}")[0] == 200, "pickers keep theirs"
