"""`berth operator` in trouble: names that meet, objects of others, programs that undo its work, crashes."""
import datetime
import time

import pytest

import harness
from modelservices import (BASE, DEPLOYMENTS, MAPS, SERVICES, SPACE, condition, names, replicas, service,
                           wait_lists, wait_ready, wait_replicas, wait_still, with_base)
from test_operator_races import assert_ever_more_seldom, patches

BINDINGS = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{SPACE}/rolebindings"
LLM = {"replicas": 1, "containers": [{"name": "llm", "image": "a"}]}


def seconds(timestamp):
    return datetime.datetime.fromisoformat(timestamp.replace("Z", "+00:00")).timestamp()


def test_the_longest_name_there_can_be(prepared, operator):
    name = "m" * 63 + ("." + "n" * 62) * 3 + "x"
    assert len(name) == 253
    prepared.create(SERVICES, service(name, decode=LLM, **with_base(prepared)))
    wait_ready(prepared, name)
    assert len(names(prepared, "deployments", "apis/apps/v1")) == 2


def test_a_blank_namespace_is_the_services_own(prepared, operator):
    refs = with_base(prepared)
    refs["baseConfigMapRef"]["namespace"] = "  "
    prepared.create(SERVICES, service("svc", decode=LLM, **refs))
    wait_ready(prepared, "svc")
    prepared.merge("/api/v1/namespaces/msvc/configmaps/base", {"data": {"eppService": None}})
    harness.wait_until(lambda: "svc-epp-service" not in names(prepared, "services"), 90,
                       "a change of the base is followed")


def test_what_the_server_leaves_out_is_not_written_again_and_again(prepared, operator):
    empty = with_base(prepared, decodeDeployment=(
        "metadata: {annotations: {}, labels: {empty: ''}}\n"
        "spec:\n  replicas: 0\n  paused: false\n  template:\n    spec:\n      nodeName: ''\n"
        "      hostNetwork: false\n      nodeSelector: {}\n      tolerations: []\n      volumes: []\n"
        "      containers:\n      - {name: llm, image: engine, tty: false, args: [], env: [{name: A, value: ''}],\n"
        "         resources: {limits: {cpu: 1000m, memory: 1024Mi}}}\n"))
    prepared.create(SERVICES, service("svc", decode={}, **empty))
    wait_ready(prepared, "svc")
    wait_still(prepared)
    before = prepared.audit_lines()
    # Events that change nothing of what is wished for.
    for i in range(5):
        prepared.kubectl("annotate", "--overwrite", "deployment", "svc-decode", f"tick={i}", "-n", SPACE)
        wait_still(prepared, 1)
    # A Deployment's controller takes an annotation for a new generation: that may be told meanwhile.
    asked = {call: n for call, n in prepared.calls(before).items()
             if call[1] not in ("modelservices/status", "events")}
    assert not {verb for verb, _ in asked} & {"patch", "update", "create", "delete"}, asked


def test_one_who_undoes_it_each_time_is_told_of_and_not_fought(prepared, operator):
    prepared.create(SERVICES, service("svc", decode=LLM))
    wait_ready(prepared, "svc")
    before = prepared.audit_lines()

    def undo():
        """Whatever was done; and the times at which that was, once there are some, and it is told."""
        if replicas(prepared, "svc-decode") == 1:
            prepared.merge(f"{DEPLOYMENTS}/svc-decode", {"spec": {"replicas": 3}})
        told = condition(prepared, "svc")
        done = [at for at, code in patches(prepared, before, "deployments") if code == 200]
        return told["reason"] == "Contested" and "Deployment svc-decode" in told["message"] and len(done) >= 4 and done

    assert_ever_more_seldom(harness.wait_until(undo, 120, "it is told"))
    wait_replicas(prepared, "svc-decode", 1, 150)  # it may be a minute
    wait_ready(prepared, "svc")


def held_up_deployment(cluster):
    """svc-decode as one that a finalizer keeps, and that is being deleted; and when that began."""
    path = f"{DEPLOYMENTS}/svc-decode"
    cluster.merge(path, {"metadata": {"finalizers": ["example.com/kept"]}})
    wait_still(cluster)
    status, got = cluster.api("DELETE", path)
    assert status == 200 and got["metadata"]["deletionTimestamp"], got
    return got["metadata"]


def test_a_child_that_a_finalizer_keeps_from_going_is_told_of(prepared, operator):
    prepared.create(SERVICES, service("svc", decode=LLM))
    wait_ready(prepared, "svc")
    going = held_up_deployment(prepared)
    before, seen = prepared.audit_lines(), set()

    def is_told():
        seen.add(condition(prepared, "svc")["reason"])
        return "Terminating" in seen

    harness.wait_until(is_told, 90, "it is told")
    told = condition(prepared, "svc")
    # A deletion that takes a moment is none of anybody's business.
    assert seen <= {"Ready", "Terminating"}, seen
    assert seconds(told["lastTransitionTime"]) - seconds(going["deletionTimestamp"]) >= 9, told
    for part in ("Deployment svc-decode", "example.com/kept", going["deletionTimestamp"]):
        assert part in told["message"], told
    assert told["status"] == "False" and condition(prepared, "svc", "Progressing")["reason"] == "Blocked"
    # Another wish, and more looks, change nothing about it: no call, and no status again and again.
    # Its controller may have had more to say.
    wait_still(prepared)
    assert 1 <= prepared.calls(before)["patch", "modelservices/status"] <= 2
    prepared.merge(f"{SERVICES}/svc", {"spec": {"decode": {"replicas": 2}}})
    for i in range(3):
        prepared.kubectl("annotate", "--overwrite", "deployment", "svc-decode", f"tick={i}", "-n", SPACE)
        wait_still(prepared, 1)
    asked = prepared.calls(before)
    assert asked["patch", "modelservices/status"] <= 4 and not asked["patch", "deployments"], asked
    assert condition(prepared, "svc")["reason"] == "Terminating"
    prepared.merge(f"{DEPLOYMENTS}/svc-decode", {"metadata": {"finalizers": None}})
    wait_replicas(prepared, "svc-decode", 2)
    wait_ready(prepared, "svc")
    assert prepared.get(f"{DEPLOYMENTS}/svc-decode")["metadata"]["uid"] != going["uid"]


def test_a_child_that_was_going_already_is_told_of_after_a_restart(prepared, make_operator):
    first = make_operator()
    prepared.create(SERVICES, service("svc", decode=LLM))
    wait_ready(prepared, "svc")
    first.stop()
    held_up_deployment(prepared)
    time.sleep(11)  # longer than a deletion that is none of anybody's business
    make_operator()
    harness.wait_until(lambda: condition(prepared, "svc")["reason"] == "Terminating", 90, "it is told")
    prepared.merge(f"{DEPLOYMENTS}/svc-decode", {"metadata": {"finalizers": None}})
    wait_ready(prepared, "svc")


def test_killed_in_the_middle_of_twenty_it_goes_on_where_it_was(prepared, make_operator):
    first = make_operator()
    base = with_base(prepared)
    for i in range(20):
        prepared.create(SERVICES, service(f"s{i}", f"org/m{i}", decode=LLM, **base))
    harness.wait_until(lambda: prepared.objects(DEPLOYMENTS), 90, "it has begun")
    first.kill()
    second = make_operator()
    time.sleep(0.5)
    second.kill()
    prepared.merge(f"{MAPS}/base", {"data": {"configMaps": None, "eppService": None}})
    make_operator()
    for i in range(20):
        wait_ready(prepared, f"s{i}")
    harness.wait_until(lambda: names(prepared, "services") == {f"s{i}-service-decode" for i in range(20)} and
                       names(prepared, "configmaps") == {"base"}, 90, "what is not wished for is gone")
    wait_still(prepared)
    assert names(prepared, "services") == {f"s{i}-service-decode" for i in range(20)}
    assert names(prepared, "deployments", "apis/apps/v1") == {f"s{i}-{r}" for i in range(20)
                                                              for r in ("decode", "epp")}
    owned = {o["metadata"]["name"]: [w["name"] for w in o["metadata"]["ownerReferences"]]
             for o in prepared.objects(DEPLOYMENTS)}
    assert all(who == [name.rsplit("-", 1)[0]] for name, who in owned.items()), owned


def test_what_is_not_wished_for_any_more_goes_after_a_restart(prepared, make_operator):
    first = make_operator()
    prepared.create(SERVICES, service("svc", decode=LLM, **with_base(prepared)))
    wait_ready(prepared, "svc")
    first.stop()
    prepared.merge(f"{MAPS}/base", {"data": {"configMaps": None, "eppDeployment": None, "eppService": None}})
    make_operator()
    harness.wait_until(lambda: names(prepared, "serviceaccounts") == {"svc-sa"} and
                       names(prepared, "configmaps") == {"base"} and
                       names(prepared, "services") == {"svc-service-decode"} and
                       not prepared.objects(BINDINGS), 90, "five kinds of it go")

    def said_of_it():
        status = prepared.get(f"{SERVICES}/svc")["status"]
        words = [*status, *(c["type"] for c in status["conditions"])]
        return [word for word in words if word.lower().startswith("epp")]

    harness.wait_until(lambda: not said_of_it(), 90, "nothing is said of it")
    wait_ready(prepared, "svc")


def test_more_than_256_of_a_kind_go(prepared, make_operator):
    first = make_operator()
    many = "".join(f"- metadata: {{name: c{i}}}\n" for i in range(300))
    prepared.create(SERVICES, service("svc", decode=LLM, **with_base(prepared, configMaps=many)))
    wait_ready(prepared, "svc")
    assert len(names(prepared, "configmaps")) == 301
    first.stop()
    prepared.merge(f"{MAPS}/base", {"data": {"configMaps": None}})
    make_operator()
    harness.wait_until(lambda: names(prepared, "configmaps") == {"base"}, 150, "all of them go")


def test_conditions_without_a_time_or_a_reason(prepared, operator):
    prepared.create(SERVICES, service("svc", decode=LLM))
    wait_ready(prepared, "svc")
    path = f"{DEPLOYMENTS}/svc-decode"
    prepared.merge(f"{path}/status", {"status": {"conditions": [
        *prepared.get(path)["status"]["conditions"], {"type": "Odd", "status": "True", "reason": "", "message": ""}]}})
    harness.wait_until(lambda: condition(prepared, "svc", "DecodeOdd")["reason"] == "Unknown", 90, "it is told")
    wait_still(prepared)
    # A later look finds the same, and says so since the same moment.
    before = condition(prepared, "svc", "DecodeOdd")
    prepared.kubectl("annotate", "deployment", "svc-decode", "tick=1", "-n", SPACE)
    wait_still(prepared)
    assert condition(prepared, "svc", "DecodeOdd") == before


def test_labels_and_owners_that_are_taken_away_come_back(prepared, operator):
    made = prepared.create(SERVICES, service("svc", decode=LLM, **with_base(prepared)))
    wait_ready(prepared, "svc")
    path = f"{DEPLOYMENTS}/svc-decode"

    def is_whole():
        meta = prepared.get(path)["metadata"]
        return (meta["labels"].get("llm-d.ai/modelservice-uid") == made["metadata"]["uid"] and
                [o["uid"] for o in meta.get("ownerReferences", [])] == [made["metadata"]["uid"]])

    assert is_whole()
    prepared.merge(path, {"metadata": {"ownerReferences": None}})
    harness.wait_until(is_whole, 90, "its owner is back")
    prepared.merge(path, {"metadata": {"labels": {"llm-d.ai/modelservice-uid": None}}})
    harness.wait_until(is_whole, 90, "its label is back")
    prepared.merge(f"{MAPS}/shared", {"metadata": {"ownerReferences": None, "labels": {
        "llm-d.ai/modelservice-uid": made["metadata"]["uid"]}}})
    harness.wait_until(lambda: prepared.get(f"{MAPS}/shared")["metadata"].get("ownerReferences"), 90,
                       "the ConfigMap's owner is back")


@pytest.mark.parametrize("allowed", ["one", "*"])
def test_bases_of_other_namespaces_with_an_operator_of_one(prepared, make_operator, allowed):
    space = prepared.create("/api/v1/namespaces", {"metadata": {"generateName": "bases-"}})["metadata"]["name"]
    maps = f"/api/v1/namespaces/{space}/configmaps"
    try:
        prepared.create(maps, {"metadata": {"name": "base"}, "data": BASE})
        make_operator({"--base-namespaces": space if allowed == "one" else allowed})
        prepared.create(SERVICES, service("svc", decode={}, baseConfigMapRef={"name": "base", "namespace": space}))
        wait_ready(prepared, "svc")
        wait_replicas(prepared, "svc-decode", 2)
        wait_still(prepared)
        prepared.merge(f"{maps}/base", {"data": {
            "decodeDeployment": BASE["decodeDeployment"].replace("replicas: 2", "replicas: 3")}})
        wait_replicas(prepared, "svc-decode", 3)
    finally:
        prepared.api("DELETE", f"/api/v1/namespaces/{space}")  # it goes by and by


def test_the_api_server_dies_while_many_are_made(prepared, operator):
    base = with_base(prepared)
    for i in range(10):
        prepared.create(SERVICES, service(f"s{i}", f"org/m{i}", decode=LLM, **base))
    harness.wait_until(lambda: len(prepared.objects(DEPLOYMENTS)) > 2, 90, "it is at it")
    prepared.stop_api()
    prepared.start_api()
    wait_lists(prepared)
    prepared.merge(f"{MAPS}/base", {"data": {"eppService": None, "configMaps": None}})
    for i in range(10):
        wait_ready(prepared, f"s{i}")
    # What the base does not have any more is seen by a watch, which rests for up to 8 s before it tries again.
    harness.wait_until(lambda: names(prepared, "services") == {f"s{i}-service-decode" for i in range(10)}, 120,
                       "what is not wished for is gone")
    wait_still(prepared)
    assert len(names(prepared, "deployments", "apis/apps/v1")) == 20
    assert names(prepared, "services") == {f"s{i}-service-decode" for i in range(10)}


def test_all_that_fails_is_told_and_what_can_be_made_is(prepared, operator):
    bad = "spec: {template: {spec: {containers: [{name: epp, image: picker, ports: [{containerPort: 70000}]}]}}}\n"
    port = "spec: {ports: [{port: 70000}]}\n"
    prepared.create(SERVICES, service("svc", decode=LLM, **with_base(
        prepared, eppDeployment=bad, eppService=port)))
    harness.wait_until(lambda: condition(prepared, "svc")["reason"] == "ApplyFailed", 90, "it is told")
    message = condition(prepared, "svc")["message"]
    assert "Deployment svc-epp" in message and "Service svc-epp-service" in message, message
    assert condition(prepared, "svc", "Progressing")["reason"] == "Retrying"
    assert "svc-decode" in names(prepared, "deployments", "apis/apps/v1")
    prepared.merge(f"{MAPS}/base", {"data": {"eppDeployment": BASE["eppDeployment"],
                                             "eppService": BASE["eppService"]}})
    wait_ready(prepared, "svc")
    assert condition(prepared, "svc", "Progressing")["reason"] == "Complete"
