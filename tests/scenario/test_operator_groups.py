"""`berth operator`: roles that are groups of pods, of a LeaderWorkerSet.  Its controller is played by the test."""
import pytest

import harness
from gateway_kinds import wait_untold
from modelservices import (BASE, DEPLOYMENTS, SERVICES, SPACE, condition, names, rights_but, service, wait_ready,
                           wait_still, wait_told_of, with_base)

GROUP = "leaderworkerset.x-k8s.io"
GROUPS = f"/apis/{GROUP}/v1/namespaces/{SPACE}/leaderworkersets"
ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
NUMBER = {"type": "integer", "format": "int32"}
# As much of it as the operator makes use of, with the defaults that the real one has.
CRD = {
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
    "metadata": {"name": f"leaderworkersets.{GROUP}"},
    "spec": {
        "group": GROUP, "scope": "Namespaced",
        "names": {"kind": "LeaderWorkerSet", "plural": "leaderworkersets", "singular": "leaderworkerset"},
        "versions": [{
            "name": "v1", "served": True, "storage": True,
            "subresources": {"status": {}, "scale": {
                "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}},
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "required": ["leaderWorkerTemplate"], "properties": {
                    "replicas": {**NUMBER, "default": 1},
                    "startupPolicy": {"type": "string", "default": "LeaderCreated"},
                    "leaderWorkerTemplate": {"type": "object", "required": ["workerTemplate"], "properties": {
                        "size": {**NUMBER, "default": 1}, "leaderTemplate": ANYTHING, "workerTemplate": ANYTHING,
                        "restartPolicy": {"type": "string", "default": "RecreateGroupOnPodRestart"}}}}},
                "status": ANYTHING}}}}]}}


def install(cluster):
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    if not cluster.exists(f"{path}/{CRD['metadata']['name']}"):
        cluster.create(path, CRD)
    # Told of later than it is served; the operator goes by what is told.
    wait_told_of(cluster, f"{GROUP}/v1", "leaderworkersets")


def remove(cluster):
    cluster.kubectl("delete", "crd", CRD["metadata"]["name"], "--timeout=150s", "--ignore-not-found")
    wait_untold(cluster, f"{GROUP}/v1", "leaderworkersets")


@pytest.fixture(scope="module")
def removed_in_the_end(prepared):
    yield
    remove(prepared)


@pytest.fixture
def groups(prepared, removed_in_the_end):
    """The kind is there."""
    install(prepared)


def play(cluster, name, ready, **status):
    """What the controller of groups would say."""
    seen = cluster.get(f"{GROUPS}/{name}")
    wanted = seen["spec"]["replicas"]
    cluster.merge(f"{GROUPS}/{name}/status", {"status": {
        "replicas": wanted, "readyReplicas": ready, "updatedReplicas": wanted,
        "observedGeneration": seen["metadata"]["generation"], "conditions": [{
            "type": "Available", "status": "True" if ready == wanted else "False", "reason": "AllGroupsReady",
            "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}], **status}})


def wait_group(cluster, name="svc-decode"):
    harness.wait_until(lambda: cluster.exists(f"{GROUPS}/{name}"), 120, f"{name} is there")
    return cluster.get(f"{GROUPS}/{name}")


def wait_gone(cluster, name="svc-decode"):
    """It names the service as its owner.  Not waited for is the garbage collector, which looks for new kinds
    once in a while."""
    group = cluster.get(f"{GROUPS}/{name}")
    owner = cluster.get(f"{SERVICES}/svc")["metadata"]["uid"]
    assert [o["uid"] for o in group["metadata"]["ownerReferences"]] == [owner]
    cluster.kubectl("delete", "modelservice", "svc", "-n", SPACE)
    # Again, should the operator have made it anew before it knew.
    harness.wait_until(lambda: cluster.api("DELETE", f"{GROUPS}/{name}")[0] == 404, 90, "it is gone")


DECODE = {"multinode": True, "replicas": 2, "parallelism": {"workers": 4},
          "containers": [{"name": "llm", "mountModelVolume": True}]}


def test_groups_from_none_to_ready_and_back(prepared, operator, removed_in_the_end):
    remove(prepared)
    begin = prepared.audit_lines()
    prepared.create(SERVICES, service("svc", decode=DECODE, **with_base(prepared)))
    harness.wait_until(lambda: "install LeaderWorkerSet" in condition(prepared, "svc")["message"], 90,
                       "what is missing is told")
    assert condition(prepared, "svc", "ConfigValid")["status"] == "True"
    # Nobody asks meanwhile, but the back-off: that it comes to be defined is seen.
    harness.wait_until(lambda: prepared.calls(begin)["watch", "customresourcedefinitions"] > 0, 90, "it is waited for")
    before = prepared.audit_lines()
    install(prepared)
    made = wait_group(prepared)
    asked = sum(n for (verb, what), n in prepared.calls(before).items() if what == f"/apis/{GROUP}/v1")
    assert asked <= 40, asked
    # A look of the back-off may have come upon it first.
    harness.wait_until(lambda: "has a definition of leaderworkersets" in operator.said(), 60, "it is seen")
    template = made["spec"]["leaderWorkerTemplate"]
    assert (made["spec"]["replicas"], template["size"]) == (2, 4)
    for part, serves in (("leaderTemplate", "true"), ("workerTemplate", None)):
        assert template[part]["metadata"]["labels"].get("llm-d.ai/inferenceServing") == serves
        assert template[part]["spec"]["containers"][0]["image"] == "engine"
        assert template[part]["spec"]["volumes"][0]["name"] == "model-storage"
    assert not prepared.exists(f"{DEPLOYMENTS}/svc-decode")

    def status():
        return prepared.get(f"{SERVICES}/svc").get("status", {})

    play(prepared, "svc-decode", ready=1)
    harness.wait_until(lambda: status().get("decodeReady") == "1/2", 90, "one group is ready")
    assert condition(prepared, "svc")["reason"] == "Progressing"
    # What the controller of old says, which does not tell what it has seen.
    play(prepared, "svc-decode", ready=2, observedGeneration=None)
    said = wait_ready(prepared, "svc")["status"]
    assert (said["decodeReady"], said["decodeAvailable"]) == ("2/2", 2)
    assert said["decodeLeaderWorkerSetRef"] == "svc-decode" and "decodeDeploymentRef" not in said
    assert condition(prepared, "svc", "DecodeAvailable")["status"] == "True"
    play(prepared, "svc-decode", ready=2, conditions=[{
        "type": "UpdateInProgress", "status": "True", "reason": "Update", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z"}])
    harness.wait_until(lambda: condition(prepared, "svc")["status"] == "False", 90, "an update is no rest")
    play(prepared, "svc-decode", ready=2)
    wait_ready(prepared, "svc")
    wait_still(prepared)

    # One pod is enough: a Deployment, and the groups go.
    prepared.merge(f"{SERVICES}/svc", {"spec": {"decode": {"multinode": None, "parallelism": None}}})
    harness.wait_until(lambda: not prepared.exists(f"{GROUPS}/svc-decode"), 90, "the groups go")
    harness.wait_until(lambda: status().get("decodeDeploymentRef") == "svc-decode", 90, "the status says so")
    assert "decodeLeaderWorkerSetRef" not in wait_ready(prepared, "svc")["status"]
    # And back, from a base that has its own words for leaders.
    prepared.merge(f"/api/v1/namespaces/{SPACE}/configmaps/base", {"data": {
        "decodeLeaderWorkerSet": "spec: {leaderWorkerTemplate: {size: 3, leaderTemplate: {spec: {containers: "
                                 "[{name: llm, image: leader}]}}, workerTemplate: {spec: {containers: "
                                 "[{name: llm, image: worker}]}}}}\n"}})
    prepared.merge(f"{SERVICES}/svc", {"spec": {"decode": {"multinode": True}}})
    wait_group(prepared)

    def template_of_base():  # which may be known later than the service's change
        made = prepared.get(f"{GROUPS}/svc-decode")["spec"]["leaderWorkerTemplate"]
        return made["size"] == 3 and made

    template = harness.wait_until(template_of_base, 90, "the base's size is there")
    assert [template[part]["spec"]["containers"][0]["image"] for part in ("leaderTemplate", "workerTemplate")] == [
        "leader", "worker"]
    harness.wait_until(lambda: "svc-decode" not in names(prepared, "deployments", "apis/apps/v1"), 90,
                       "the Deployment goes")
    wait_gone(prepared)


def test_an_autoscaler_scales_groups(prepared, groups, operator):
    prepared.create(SERVICES, service("svc", decoupleScaling=True, decode={
        **DECODE, "containers": [{"name": "llm", "image": "a"}]}))
    wait_group(prepared)
    play(prepared, "svc-decode", ready=2)
    wait_ready(prepared, "svc")
    prepared.kubectl("scale", "leaderworkerset/svc-decode", "--replicas=5", "-n", SPACE)
    prepared.merge(f"{SERVICES}/svc", {"spec": {"decode": {
        "replicas": 1, "containers": [{"name": "llm", "image": "b"}]}}})

    def image():
        leader = prepared.get(f"{GROUPS}/svc-decode")["spec"]["leaderWorkerTemplate"]["leaderTemplate"]
        return leader["spec"]["containers"][0]["image"]

    harness.wait_until(lambda: image() == "b", 90, "the image is changed")
    assert prepared.get(f"{GROUPS}/svc-decode")["spec"]["replicas"] == 5
    wait_gone(prepared)


def test_groups_and_single_pods_side_by_side(prepared, groups, operator):
    prepared.create(SERVICES, service("svc", decode={"replicas": 1, "containers": [{"name": "llm", "image": "a"}]},
                                      prefill=DECODE, **with_base(prepared, prefillDeployment=BASE["decodeDeployment"])))
    wait_group(prepared, "svc-prefill")
    play(prepared, "svc-prefill", ready=2)
    said = wait_ready(prepared, "svc")["status"]
    assert (said["prefillReady"], said["decodeReady"]) == ("2/2", "1/1")
    assert said["prefillLeaderWorkerSetRef"] == "svc-prefill" and said["decodeDeploymentRef"] == "svc-decode"
    wait_gone(prepared, "svc-prefill")


def test_what_runs_is_told_while_the_configuration_is_wrong(prepared, groups, operator):
    prepared.create(SERVICES, service("svc", decode=DECODE, **with_base(prepared)))
    wait_group(prepared)
    play(prepared, "svc-decode", ready=2)
    before = wait_ready(prepared, "svc")["status"]
    prepared.merge(f"/api/v1/namespaces/{SPACE}/configmaps/base", {"data": {"eppService": "spec: {{ .Nope }}\n"}})
    harness.wait_until(lambda: condition(prepared, "svc")["reason"] == "ConfigInvalid", 90, "it is told")
    after = prepared.get(f"{SERVICES}/svc")["status"]
    assert after["configMapNames"] == ["shared"] and after["decodeLeaderWorkerSetRef"] == "svc-decode"
    assert {key: value for key, value in after.items() if key != "conditions"} == {
        key: value for key, value in before.items() if key != "conditions"}
    wait_still(prepared)
    wait_gone(prepared)


def test_a_kind_that_may_not_be_seen_halts_those_alone_that_need_it(prepared, groups, make_operator, tmp_path):
    one = {"replicas": 1, "containers": [{"name": "llm", "image": "a"}]}
    with rights_but(prepared, "leaderworkersets", tmp_path) as config:
        make_operator({"--kubeconfig": config})
        prepared.create(SERVICES, service("groups", "org/groups", decode=DECODE, **with_base(prepared)))
        harness.wait_until(lambda: "leaderworkersets" in condition(prepared, "groups")["message"], 90, "it is told")
        prepared.create(SERVICES, service("single", "org/single", decode=one))
        wait_ready(prepared, "single")


def test_a_kind_that_goes_is_missing(prepared, groups, operator):
    prepared.create(SERVICES, service("svc", decode=DECODE, **with_base(prepared)))
    wait_group(prepared)
    play(prepared, "svc-decode", ready=2)
    wait_ready(prepared, "svc")
    remove(prepared)
    harness.wait_until(lambda: "install LeaderWorkerSet" in condition(prepared, "svc")["message"], 90,
                       "what is missing is told")
