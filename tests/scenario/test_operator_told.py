"""`berth operator`: what goes wrong behind its back, told in the status of those whom it concerns, and mended."""
import harness
from modelservices import (BASE, DEPLOYMENTS, GROUP, MAPS, SERVICES, SPACE, asked_by_a_restart, assert_said_once, condition,
                           names, rights_but, service, wait_ready, wait_still, with_base)
from test_operator_groups import CRD, DECODE, groups, play, removed_in_the_end, wait_gone, wait_group  # noqa: F401

DEFINITION = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{CRD['metadata']['name']}"
LLM = {"replicas": 1, "containers": [{"name": "llm", "image": "a"}]}
# What is wrong is one thing.  An API server that stands still meanwhile is told of, too: by a watch, and by events.
MOST = 3


def serve(cluster, served):
    version = {**CRD["spec"]["versions"][0], "served": served}
    cluster.merge(DEFINITION, {"spec": {"versions": [version]}})


def test_a_kind_that_is_not_served_any_more(prepared, operator, groups):  # noqa: F811
    prepared.create(SERVICES, service("svc", decode={**DECODE, **LLM, "replicas": 2}))
    prepared.create(SERVICES, service("other", "org/other", decode=LLM))
    wait_group(prepared)
    play(prepared, "svc-decode", ready=2)
    wait_ready(prepared, "svc")
    wait_ready(prepared, "other")
    serve(prepared, False)
    try:
        # Its watch lasts as long as the API server lets it.
        harness.wait_until(lambda: "leaderworkerset.x-k8s.io/v1 any more" in condition(prepared, "svc")["message"],
                           180, "it is told")
        told = condition(prepared, "svc")
        assert (told["status"], told["reason"]) == ("False", "ApplyFailed") and "served again" in told["message"], told
        # Whoever has none is as it was, and can be changed.
        prepared.merge(f"{SERVICES}/other", {"spec": {"decode": {"replicas": 2}}})
        harness.wait_until(lambda: prepared.get(f"{DEPLOYMENTS}/other-decode")["spec"]["replicas"] == 2, 90, "it goes on")
        wait_ready(prepared, "other")
    finally:
        serve(prepared, True)
    wait_ready(prepared, "svc")
    wait_gone(prepared)


def test_what_is_not_wished_for_and_is_kept_from_going(prepared, operator):
    prepared.create(SERVICES, service("svc", decode=LLM, prefill=LLM))
    wait_ready(prepared, "svc")
    path = f"{DEPLOYMENTS}/svc-prefill"
    prepared.merge(path, {"metadata": {"finalizers": ["example.com/kept"]}})
    prepared.merge(f"{SERVICES}/svc", {"spec": {"prefill": None}})
    harness.wait_until(lambda: condition(prepared, "svc")["reason"] == "Terminating", 90, "it is told")
    told = condition(prepared, "svc")
    for part in ("Deployment svc-prefill", "example.com/kept", "is not wished for any more", "kubectl edit"):
        assert part in told["message"], told
    assert "anew" not in told["message"] and condition(prepared, "svc", "Progressing")["reason"] == "Blocked", told
    prepared.merge(path, {"metadata": {"finalizers": None}})
    wait_ready(prepared, "svc")
    assert "svc-prefill" not in names(prepared, "deployments", "apis/apps/v1")


def test_what_selects_pods_that_there_are_not(prepared, operator):
    """A Service's is told and taken; a Deployment's, which no API server takes, is told before one is asked."""
    refs = with_base(prepared, decodeService="spec:\n  ports: [{port: 80}]\n  selector: {tier: gold}\n")
    prepared.create(SERVICES, service("svc", decode=LLM, **refs))
    wait_ready(prepared, "svc")
    told = condition(prepared, "svc", "ConfigValid")
    assert told["reason"] == "Warnings" and "decodeService line 3: spec.selector: " in told["message"], told
    assert "none of the pods bears tier: gold" in told["message"], told
    prepared.merge(f"{MAPS}/base", {"data": {
        "decodeService": BASE["decodeService"],
        "eppDeployment": "spec:\n  selector: {matchLabels: {tier: gold}}\n  template: {spec: {containers: [{name: epp, image: i}]}}\n"}})
    harness.wait_until(lambda: condition(prepared, "svc")["reason"] == "ConfigInvalid", 90, "it is told")
    told = condition(prepared, "svc")["message"]
    assert "eppDeployment line 2: spec.selector.matchLabels: its own pods do not bear tier: gold" in told, told
    prepared.merge(f"{MAPS}/base", {"data": {"eppDeployment": BASE["eppDeployment"]}})
    wait_ready(prepared, "svc")
    assert condition(prepared, "svc", "ConfigValid")["reason"] == "Valid"


def test_a_role_of_endpoint_pickers_that_there_is_not(prepared, make_operator):
    o = make_operator({"--epp-cluster-role": "picks-endpoints"})
    path = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
    prepared.create(SERVICES, service("svc", decode=LLM, **with_base(prepared)))
    prepared.create(SERVICES, service("other", "org/other", decode=LLM))  # it has no picker
    harness.wait_until(lambda: condition(prepared, "svc", "ConfigValid")["reason"] == "Warnings", 90, "it is told")
    told = condition(prepared, "svc", "ConfigValid")
    assert "there is no ClusterRole picks-endpoints" in told["message"] and "epp.yaml" in told["message"], told
    wait_ready(prepared, "svc")
    wait_ready(prepared, "other")
    assert condition(prepared, "other", "ConfigValid")["reason"] == "Valid"
    # Whoever makes it need not tell the operator.
    prepared.create(path, {"metadata": {"name": "picks-endpoints"}, "rules": []})
    try:
        harness.wait_until(lambda: condition(prepared, "svc", "ConfigValid")["reason"] == "Valid", 120, "it is seen")
        wait_ready(prepared, "svc")
        harness.wait_until(lambda: "there is a ClusterRole picks-endpoints now" in o.said(), 90, "it is logged")
        wait_still(prepared)
        assert_said_once(o, MOST)
    finally:
        prepared.api("DELETE", f"{path}/picks-endpoints")


def test_a_role_that_cannot_be_watched(prepared, make_operator):
    """A comma and an equals sign mean something else where a watch is asked for."""
    o = make_operator({"--epp-cluster-role": "picks,all=now"})
    prepared.create(SERVICES, service("svc", decode=LLM, **with_base(prepared)))
    harness.wait_until(lambda: condition(prepared, "svc", "ConfigValid")["reason"] == "Warnings", 90, "it is told")
    harness.wait_until(lambda: "ClusterRole picks,all=now comes or goes cannot be seen" in o.said(), 90, "it is logged")
    wait_ready(prepared, "svc")


def test_a_right_that_the_operator_lacks(prepared, groups, make_operator, tmp_path):  # noqa: F811
    with rights_but(prepared, "leaderworkersets", tmp_path) as config:
        o = make_operator({"--kubeconfig": config})
        prepared.create(SERVICES, service("svc", decode={**DECODE, **LLM}))
        right = "the operator's role lacks this right"
        # Not that a list was not answered in time, which is told, too; and the log may have it later than the status.
        harness.wait_until(lambda: right in condition(prepared, "svc")["message"] and right in o.said(), 90, "it is told")
        told = condition(prepared, "svc")["message"]
        assert "leaderworkersets" in told, told
        for text in (told, o.said()):
            assert right in text and "deploy/modelservice/rbac.yaml" in text, text
            assert "upgrade the Helm release" in text and "a RoleBinding" not in text, text


def test_a_namespace_that_is_made_later(prepared, make_operator):
    o = make_operator({"--namespace": "msvc-later"})
    try:
        harness.wait_until(lambda: "there is no namespace msvc-later" in o.said(), 90, "it is told")
        assert "kubectl create namespace msvc-later" in o.said(), o.said()
        wait_still(prepared)
        prepared.kubectl("create", "namespace", "msvc-later")
        path = f"/apis/{GROUP}/namespaces/msvc-later/modelservices"
        prepared.create(path, service("svc", decode=LLM))

        def is_ready():
            found = prepared.get(f"{path}/svc").get("status", {}).get("conditions", [])
            return any(c["type"] == "Ready" and c["status"] == "True" for c in found)

        harness.wait_until(is_ready, 150, "it goes on by itself")
        assert_said_once(o, MOST)
    finally:
        prepared.api("DELETE", "/api/v1/namespaces/msvc-later")


def test_pods_that_have_no_room(prepared, operator):
    """What the scheduler says, once it has been so for a while; and pods are not asked for all the time."""
    before = prepared.audit_lines()
    vast = {"limits": {"nvidia.com/gpu": "99"}}
    prepared.create(SERVICES, service("svc", decode={"replicas": 1, "containers": [
        {"name": "llm", "image": "a", "resources": vast}]}))
    harness.wait_until(lambda: "0 of 1 replicas" in condition(prepared, "svc")["message"], 90, "it is told")
    harness.wait_until(lambda: "Unschedulable" in condition(prepared, "svc")["message"], 150, "it is told why")
    told = condition(prepared, "svc")
    assert "svc-decode: 0 of 1 replicas are available; pod svc-decode-" in told["message"], told
    assert "Insufficient nvidia.com/gpu" in told["message"] and told["status"] == "False", told
    wait_still(prepared)
    assert prepared.calls(before)["list", "pods"] <= 8, prepared.calls(before)
    prepared.merge(f"{SERVICES}/svc", {"spec": {"decode": {"containers": [{"name": "llm", "image": "a"}]}}})
    wait_ready(prepared, "svc")
    assert "Unschedulable" not in condition(prepared, "svc")["message"]


def test_a_restart_says_nothing_anew_of_what_is_wrong(prepared, make_operator):
    o = make_operator({"--epp-cluster-role": "picks-nothing"})
    vast = {"containers": [{"name": "llm", "image": "a", "resources": {"limits": {"nvidia.com/gpu": "99"}}}]}
    prepared.create(SERVICES, service("svc", prefill=LLM, decode=vast, **with_base(prepared)))
    harness.wait_until(lambda: "Unschedulable" in condition(prepared, "svc")["message"], 150, "it is told why")
    harness.wait_until(lambda: condition(prepared, "svc", "ConfigValid")["reason"] == "Warnings", 90, "it is told")
    wait_still(prepared)
    asked = asked_by_a_restart(prepared, o, ("list", "pods"))
    assert {verb for verb, _ in asked} <= {"list", "watch", "get"}, asked


def test_pods_that_nobody_makes(prepared, operator):
    path = f"/api/v1/namespaces/{SPACE}/resourcequotas"
    prepared.create(path, {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}})
    try:
        # The API server itself, which takes pods, learns of it a little later than it answers who asks for it.
        pod = {"metadata": {"name": "one"}, "spec": {"containers": [{"name": "llm", "image": "a"}]}}
        harness.wait_until(lambda: "exceeded quota: none" in prepared.api(
            "POST", f"/api/v1/namespaces/{SPACE}/pods?dryRun=All", pod)[1].get("message", ""), 120, "a quota")
        prepared.create(SERVICES, service("svc", decode=LLM))
        harness.wait_until(lambda: "exceeded quota: none" in condition(prepared, "svc")["message"], 90, "it is told why")
    finally:
        prepared.api("DELETE", f"{path}/none")
