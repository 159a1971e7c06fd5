"""`berth operator` against a real API server: ModelServices come to objects, and stay so."""
import time

import pytest

import harness
from modelservices import (BASE, DEPLOYMENTS, MAPS, SERVICES, SPACE, asked_by_a_restart, assert_said_once, condition,
                           names, replicas, service, wait_lists, wait_ready, wait_replicas, wait_still, with_base)


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
                       150, "its objects go")


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
                       "svc-epp-service" not in names(prepared, "services"), 90, "the picker goes")

    def args():
        found = prepared.get(f"{DEPLOYMENTS}/svc-decode")
        assert found["metadata"]["annotations"]["me"] == "1"
        return found["spec"]["template"]["spec"]["containers"][0]["args"]

    harness.wait_until(lambda: args() == ["--port", "9000"], 90, "the new port is there")


def test_an_autoscaler_is_left_to_scale(prepared, operator):
    prepared.create(SERVICES, service("svc", decoupleScaling=True, decode={
        "replicas": 3, "containers": [{"name": "llm", "image": "a"}]}))
    wait_replicas(prepared, "svc-decode", 3)
    wait_ready(prepared, "svc")
    prepared.kubectl("scale", "deployment/svc-decode", "--replicas=5", "-n", SPACE)
    prepared.merge(f"{SERVICES}/svc", {"spec": {"decode": {
        "replicas": 2, "containers": [{"name": "llm", "image": "b"}]}}})
    harness.wait_until(lambda: prepared.get(f"{DEPLOYMENTS}/svc-decode")["spec"]["template"]["spec"]
                       ["containers"][0]["image"] == "b", 90, "the image is changed")
    assert replicas(prepared, "svc-decode") == 5
    prepared.merge(f"{SERVICES}/svc", {"spec": {"decoupleScaling": False}})
    wait_replicas(prepared, "svc-decode", 2)


def test_a_horizontal_pod_autoscaler_is_made_and_left_to_scale(prepared, operator):
    refs = with_base(prepared, decodeHPA="spec: {minReplicas: 2, maxReplicas: 9}\n",
                     prefillHPA="spec: {maxReplicas: 3}\n")  # of a role that is not there
    autoscalers = f"/apis/autoscaling/v2/namespaces/{SPACE}/horizontalpodautoscalers"
    prepared.create(SERVICES, service("svc", decode={"replicas": 3}, **refs))
    wait_ready(prepared, "svc")
    assert names(prepared, "horizontalpodautoscalers", "apis/autoscaling/v2") == {"svc-decode"}
    made = prepared.get(f"{autoscalers}/svc-decode")
    assert made["spec"]["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "svc-decode"}
    assert made["spec"]["minReplicas"] == 2 and made["spec"]["maxReplicas"] == 9
    assert [o["name"] for o in made["metadata"]["ownerReferences"]] == ["svc"]
    assert replicas(prepared, "svc-decode") == 3  # to begin with
    prepared.merge(f"{DEPLOYMENTS}/svc-decode/scale", {"spec": {"replicas": 5}})
    prepared.merge(f"{SERVICES}/svc", {"spec": {"decode": {
        "replicas": 4, "containers": [{"name": "llm", "image": "b"}]}}})
    harness.wait_until(lambda: prepared.get(f"{DEPLOYMENTS}/svc-decode")["spec"]["template"]["spec"]
                       ["containers"][0]["image"] == "b", 90, "the image is changed")
    wait_ready(prepared, "svc")
    assert replicas(prepared, "svc-decode") == 5
    # Without it the service says how many.
    prepared.merge(f"{MAPS}/base", {"data": {"decodeHPA": None, "prefillHPA": None}})
    harness.wait_until(lambda: not prepared.objects(autoscalers), 90, "it is gone")
    wait_replicas(prepared, "svc-decode", 4)


def test_pull_secrets_of_others_stay(prepared, make_operator):
    account = f"/api/v1/namespaces/{SPACE}/serviceaccounts/svc-sa"

    def secrets():
        status, got = prepared.api("GET", account)
        return [s["name"] for s in got.get("imagePullSecrets", [])] if status == 200 else None

    first = make_operator({"--pd-pull-secrets": "a,b"})
    prepared.create(SERVICES, service("svc", decode={}, **with_base(prepared)))
    wait_ready(prepared, "svc")
    assert secrets() == ["a", "b"]
    # As OpenShift does: the whole list, with its own besides.
    prepared.merge(account, {"imagePullSecrets": [{"name": "a"}, {"name": "b"}, {"name": "theirs"}]})
    wait_still(prepared)
    assert secrets() == ["a", "b", "theirs"]
    first.stop()
    second = make_operator({"--pd-pull-secrets": "b,c"})
    harness.wait_until(lambda: secrets() == ["b", "c", "theirs"], 90, "ours are changed")
    second.stop()
    make_operator()
    harness.wait_until(lambda: secrets() == ["theirs"], 90, "ours are gone")


def test_what_is_wrong_stands_in_the_status(prepared, operator):
    refs = with_base(prepared, decodeDeployment="spec: {{ .Nope }}\n", eppService="spec: [1]\n")
    prepared.create(SERVICES, service("svc", decode={}, **refs))
    # At first its base configuration may not be known yet, which is told, too.
    harness.wait_until(lambda: ".Nope" in condition(prepared, "svc", "ConfigValid")["message"], 90, "it is told")
    valid = condition(prepared, "svc", "ConfigValid")
    message = valid["message"]
    assert valid["status"] == "False", valid
    assert ".Nope" in message and "decodeDeployment line 1: " in message and "eppService line 1: " in message, message
    assert condition(prepared, "svc")["reason"] == "ConfigInvalid"
    assert not names(prepared, "deployments", "apis/apps/v1")
    # Mended where it was wrong, with no touch of the service.
    prepared.merge(f"{MAPS}/base", {"data": {"decodeDeployment": BASE["decodeDeployment"], "eppService": None}})
    wait_ready(prepared, "svc")


def test_a_base_configuration_in_another_namespace_is_not_read(prepared, operator):
    prepared.create("/api/v1/namespaces/default/configmaps", {"metadata": {"name": "foreign"}, "data": BASE})
    try:
        prepared.create(SERVICES, service("svc", baseConfigMapRef={"name": "foreign", "namespace": "default"}))
        harness.wait_until(lambda: "--base-namespaces default" in condition(prepared, "svc")["message"], 90,
                           "it is told")
    finally:
        prepared.kubectl("delete", "configmap", "foreign")


def test_config_maps_stay_in_the_services_namespace(prepared, operator):
    prepared.create(SERVICES, service("svc", **with_base(
        prepared, configMaps="- metadata: {name: stolen, namespace: default}\n  data: {k: v}\n")))
    harness.wait_until(lambda: "own namespace" in condition(prepared, "svc")["message"], 90, "it is told")
    assert not prepared.exists("/api/v1/namespaces/default/configmaps/stolen")


@pytest.mark.parametrize("model", ["org/model", "Org.Model"])
def test_one_model_has_one_service(prepared, operator, model):
    """Pods are told by a label that both names come to."""
    decode = {"replicas": 1, "containers": [{"name": "llm", "image": "a"}]}
    prepared.create(SERVICES, service("older", decode=decode))
    wait_ready(prepared, "older")
    time.sleep(1.1)  # a second is what creationTimestamp tells apart
    prepared.create(SERVICES, service("younger", model=model, decode=decode))
    harness.wait_until(lambda: "older" in condition(prepared, "younger")["message"], 90, "it is told")
    assert names(prepared, "deployments", "apis/apps/v1") == {"older-decode"}
    prepared.kubectl("delete", "modelservice", "older", "-n", SPACE)
    wait_ready(prepared, "younger")


def test_an_idle_operator_asks_nothing_and_a_restart_writes_nothing(prepared, operator):
    prepared.create(SERVICES, service("svc", decode={}, **with_base(prepared)))
    wait_ready(prepared, "svc")
    wait_still(prepared)
    asked = asked_by_a_restart(prepared, operator, ("watch", "modelservices"))
    assert {verb for verb, _ in asked} <= {"list", "watch", "get"}, asked


def test_the_api_server_goes_and_comes_back(prepared, operator):
    prepared.create(SERVICES, service("svc", decode={}, **with_base(prepared)))
    wait_ready(prepared, "svc")
    prepared.stop_api()
    time.sleep(6)
    prepared.start_api()
    wait_lists(prepared)
    prepared.merge(f"{SERVICES}/svc", {"spec": {"decode": {"replicas": 4}}})
    wait_replicas(prepared, "svc-decode", 4)
    wait_ready(prepared, "svc")
    # One line, and one for each watch that a server which has just begun may refuse: none of them each time.
    # Before it went the base may have been unknown for a moment.
    assert_said_once(operator, 14)
