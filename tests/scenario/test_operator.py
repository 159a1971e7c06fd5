"""`berth operator` against a real API server: ModelServices come to objects, and stay so."""
import subprocess
import time

import pytest

import harness
import kube_servers

ROOT = harness.ROOT
GROUP = "llm-d.ai/v1alpha1"
SPACE = "msvc"
SERVICES = f"/apis/{GROUP}/namespaces/{SPACE}/modelservices"
DEPLOYMENTS = f"/apis/apps/v1/namespaces/{SPACE}/deployments"
MAPS = f"/api/v1/namespaces/{SPACE}/configmaps"
BASE = {
    "configMaps": "- metadata: {name: shared}\n  data: {model: '{{ .ModelName }}'}\n",
    "decodeDeployment": "spec:\n  replicas: 2\n  template:\n    spec:\n      containers:\n"
                        "      - {name: llm, image: engine, args: ['--port', '8000']}\n",
    "decodeService": "spec: {ports: [{port: 80}]}\n",
    "eppDeployment": "spec: {template: {spec: {containers: [{name: epp, image: picker}]}}}\n",
    "eppService": "spec: {ports: [{port: 9002}]}\n",
}


class Operator:
    def __init__(self, cluster, log):
        self.cluster, self.log, self.process = cluster, log, None

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [harness.BERTH, "operator", "--epp-cluster-role", "view", "--namespace", SPACE,
                 "--kubeconfig", self.cluster.config], stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(20 * harness.SLOW)


@pytest.fixture(scope="module")
def prepared(cluster):
    """The cluster with the kind in it, and rights for the operator."""
    cluster.kubectl("apply", "-f", ROOT / "deploy/modelservice/crd.yaml")
    cluster.create("/api/v1/namespaces", {"metadata": {"name": SPACE}})
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    cluster.create(f"{rbac}/clusterrolebindings", {
        "metadata": {"name": "berth-operates"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "User", "name": kube_servers.BERTH, "apiGroup": "rbac.authorization.k8s.io"}]})
    # Not by `kubectl wait`, which fails while the definition has no conditions at all.
    harness.wait_until(lambda: cluster.api("GET", SERVICES, text=True)[0] == 200, 60, "the kind is served")
    yield cluster
    cluster.kubectl("delete", "clusterrolebinding", "berth-operates")
    cluster.kubectl("delete", "namespace", SPACE, "--wait=false")
    cluster.kubectl("delete", "crd", "modelservices.llm-d.ai", "--timeout=60s")


@pytest.fixture
def operator(prepared, tmp_path):
    o = Operator(prepared, tmp_path / "operator.log")
    o.start()
    try:
        yield o
        assert o.stop() == 0, o.log.read_text()
    finally:
        if o.process.poll() is None:
            o.kill()
        prepared.kubectl("delete", "modelservices", "--all", "-n", SPACE, "--timeout=60s")
        harness.wait_until(lambda: not prepared.objects(DEPLOYMENTS), 60, "what they came to is gone")
        for found in prepared.objects(MAPS):
            if found["metadata"]["name"] != "kube-root-ca.crt":
                prepared.kubectl("delete", "configmap", found["metadata"]["name"], "-n", SPACE)


def service(name, model="org/model", **spec):
    return {"apiVersion": GROUP, "kind": "ModelService", "metadata": {"name": name},
            "spec": {"routing": {"modelName": model}, "modelArtifacts": {"uri": "hf://org/model"}, **spec}}


def with_base(cluster, name="base", **changes):
    cluster.create(MAPS, {"metadata": {"name": name}, "data": {**BASE, **changes}})
    return {"baseConfigMapRef": {"name": name}}


def condition(cluster, name, kind="Ready"):
    found = cluster.get(f"{SERVICES}/{name}").get("status", {}).get("conditions", [])
    return next((c for c in found if c["type"] == kind), {"status": "", "reason": "", "message": ""})


def wait_ready(cluster, name):
    harness.wait_until(lambda: condition(cluster, name)["status"] == "True", 60, f"{name} is ready")
    return cluster.get(f"{SERVICES}/{name}")


def replicas(cluster, name):
    status, got = cluster.api("GET", f"{DEPLOYMENTS}/{name}")
    return got["spec"]["replicas"] if status == 200 else None


def wait_replicas(cluster, name, want):
    harness.wait_until(lambda: replicas(cluster, name) == want, 30, f"{name} has {want} replicas")


def names(cluster, plural, group="api/v1"):
    found = cluster.objects(f"/{group}/namespaces/{SPACE}/{plural}")
    return {o["metadata"]["name"] for o in found} - {"default", "kube-root-ca.crt"}


def test_a_service_comes_to_objects_and_goes_with_them(prepared, operator):
    decode = {"containers": [{"name": "llm", "mountModelVolume": True, "args": ["{{ .HFModelName }}"]}]}
    prepared.create(SERVICES, service("svc", decode=decode, prefill={"replicas": 1, "containers": [
        {"name": "llm", "image": "engine"}]}, **with_base(prepared)))
    seen = wait_ready(prepared, "svc")
    assert names(prepared, "deployments", "apis/apps/v1") == {"svc-decode", "svc-prefill", "svc-epp"}
    assert names(prepared, "services") == {"svc-service-decode", "svc-epp-service"}
    assert names(prepared, "serviceaccounts") == {"svc-sa", "svc-epp-sa"}
    assert names(prepared, "configmaps") == {"base", "shared"}
    assert prepared.get(f"{MAPS}/shared")["data"] == {"model": "org/model"}
    status = seen["status"]
    assert (status["decodeReady"], status["decodeAvailable"], status["prefillReady"]) == ("2/2", 2, "1/1")
    assert status["observedGeneration"] == seen["metadata"]["generation"]
    pod = prepared.get(f"{DEPLOYMENTS}/svc-decode")["spec"]["template"]["spec"]
    assert pod["containers"][0]["args"] == ["org/model", "--port", "8000"]
    assert [v["name"] for v in pod["volumes"]] == ["model-storage"]
    # Gone with it: the garbage collector follows the owner that each names.
    prepared.kubectl("delete", "modelservice", "svc", "-n", SPACE)
    harness.wait_until(lambda: not names(prepared, "deployments", "apis/apps/v1") and
                       not names(prepared, "services") and names(prepared, "configmaps") == {"base"},
                       60, "its objects go")


def test_what_is_changed_comes_about_and_what_others_change_is_mended(prepared, operator):
    prepared.create(SERVICES, service("svc", decode={}, **with_base(prepared)))
    wait_ready(prepared, "svc")
    prepared.merge(f"{SERVICES}/svc", {"spec": {"decode": {"replicas": 3}}})
    wait_replicas(prepared, "svc-decode", 3)
    prepared.merge(f"{DEPLOYMENTS}/svc-decode", {"spec": {"replicas": 7}})
    wait_replicas(prepared, "svc-decode", 3)
    prepared.kubectl("delete", "deployment", "svc-decode", "-n", SPACE)
    wait_replicas(prepared, "svc-decode", 3)
    prepared.merge(f"{SERVICES}/svc", {"spec": {"decode": {"replicas": 0}}})
    wait_replicas(prepared, "svc-decode", 0)
    # What others add is left alone.
    prepared.kubectl("annotate", "deployment", "svc-decode", "me=1", "-n", SPACE)
    # The base configuration: all that refer to it follow, also in what is not there any more.
    prepared.merge(f"{MAPS}/base", {"data": {
        "decodeDeployment": BASE["decodeDeployment"].replace("8000", "9000"), "eppDeployment": None}})
    harness.wait_until(lambda: "svc-epp" not in names(prepared, "deployments", "apis/apps/v1") and
                       "svc-epp-service" not in names(prepared, "services"), 30, "the picker goes")

    def args():
        found = prepared.get(f"{DEPLOYMENTS}/svc-decode")
        assert found["metadata"]["annotations"]["me"] == "1"
        return found["spec"]["template"]["spec"]["containers"][0]["args"]

    harness.wait_until(lambda: args() == ["--port", "9000"], 30, "the new port is there")


def test_an_autoscaler_is_left_to_scale(prepared, operator):
    prepared.create(SERVICES, service("svc", decoupleScaling=True, decode={
        "replicas": 3, "containers": [{"name": "llm", "image": "a"}]}))
    wait_replicas(prepared, "svc-decode", 3)
    wait_ready(prepared, "svc")
    prepared.kubectl("scale", "deployment/svc-decode", "--replicas=5", "-n", SPACE)
    prepared.merge(f"{SERVICES}/svc", {"spec": {"decode": {
        "replicas": 2, "containers": [{"name": "llm", "image": "b"}]}}})
    harness.wait_until(lambda: prepared.get(f"{DEPLOYMENTS}/svc-decode")["spec"]["template"]["spec"]
                       ["containers"][0]["image"] == "b", 30, "the image is changed")
    assert replicas(prepared, "svc-decode") == 5
    prepared.merge(f"{SERVICES}/svc", {"spec": {"decoupleScaling": False}})
    wait_replicas(prepared, "svc-decode", 2)


def test_what_is_wrong_stands_in_the_status(prepared, operator):
    refs = with_base(prepared, decodeDeployment="spec: {{ .Nope }}\n", eppService="spec: [1]\n")
    prepared.create(SERVICES, service("svc", decode={}, **refs))
    harness.wait_until(lambda: condition(prepared, "svc", "ConfigValid")["status"] == "False", 30, "it is told")
    message = condition(prepared, "svc", "ConfigValid")["message"]
    assert ".Nope" in message and "decodeDeployment" in message and "eppService" in message, message
    assert condition(prepared, "svc")["reason"] == "ConfigInvalid"
    assert not names(prepared, "deployments", "apis/apps/v1")
    # Mended where it was wrong, with no touch of the service.
    prepared.merge(f"{MAPS}/base", {"data": {"decodeDeployment": BASE["decodeDeployment"], "eppService": None}})
    wait_ready(prepared, "svc")


def test_a_base_configuration_in_another_namespace_is_not_read(prepared, operator):
    prepared.create("/api/v1/namespaces/default/configmaps", {"metadata": {"name": "foreign"}, "data": BASE})
    try:
        prepared.create(SERVICES, service("svc", baseConfigMapRef={"name": "foreign", "namespace": "default"}))
        harness.wait_until(lambda: "--base-namespaces default" in condition(prepared, "svc")["message"], 30,
                           "it is told")
    finally:
        prepared.kubectl("delete", "configmap", "foreign")


def test_config_maps_stay_in_the_services_namespace(prepared, operator):
    prepared.create(SERVICES, service("svc", **with_base(
        prepared, configMaps="- metadata: {name: stolen, namespace: default}\n  data: {k: v}\n")))
    harness.wait_until(lambda: "own namespace" in condition(prepared, "svc")["message"], 30, "it is told")
    assert not prepared.exists("/api/v1/namespaces/default/configmaps/stolen")


def test_one_model_has_one_service(prepared, operator):
    decode = {"replicas": 1, "containers": [{"name": "llm", "image": "a"}]}
    prepared.create(SERVICES, service("older", decode=decode))
    wait_ready(prepared, "older")
    time.sleep(1.1)  # a second is what creationTimestamp tells apart
    prepared.create(SERVICES, service("younger", decode=decode))
    harness.wait_until(lambda: "older" in condition(prepared, "younger")["message"], 30, "it is told")
    assert names(prepared, "deployments", "apis/apps/v1") == {"older-decode"}
    prepared.kubectl("delete", "modelservice", "older", "-n", SPACE)
    wait_ready(prepared, "younger")


def test_an_idle_operator_asks_nothing_and_a_restart_writes_nothing(prepared, operator):
    prepared.create(SERVICES, service("svc", decode={}, **with_base(prepared)))
    wait_ready(prepared, "svc")

    def is_still():
        before = prepared.audit_lines()
        time.sleep(3)
        return prepared.audit_lines() == before

    harness.wait_until(is_still, 60, "no call is made")
    before = prepared.audit_lines()
    operator.kill()
    operator.start()
    harness.wait_until(lambda: prepared.calls(before)["watch", "modelservices"] == 1, 30, "it watches again")
    harness.wait_until(is_still, 60, "no call is made")
    asked = prepared.calls(before)
    assert {verb for verb, _ in asked} <= {"list", "watch", "get"}, asked


def test_the_api_server_goes_and_comes_back(prepared, operator):
    prepared.create(SERVICES, service("svc", decode={}, **with_base(prepared)))
    wait_ready(prepared, "svc")
    prepared.stop_api()
    time.sleep(6)
    prepared.start_api()
    prepared.merge(f"{SERVICES}/svc", {"spec": {"decode": {"replicas": 4}}})
    wait_replicas(prepared, "svc-decode", 4)
    wait_ready(prepared, "svc")
    # One line, and one for each watch that a server which has just begun may refuse.
    assert operator.log.read_text().count("warn") <= 12, operator.log.read_text()
