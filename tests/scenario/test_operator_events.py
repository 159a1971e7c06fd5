"""Events that `berth operator` tells of ModelServices, as `kubectl describe` shows them."""
import re

import harness
from modelservices import BASE, DEPLOYMENTS, EVENTS, MAPS, SERVICES, SPACE, condition, rights_but, service, \
    wait_ready, wait_replicas, wait_still, with_base

DECODE = {"replicas": 1, "containers": [{"name": "llm", "image": "engine"}]}


def told(cluster, name, reason=None):
    """Events about that ModelService, the oldest first."""
    found = [e for e in cluster.objects(EVENTS) if e["regarding"]["name"] == name and
             e["regarding"]["kind"] == "ModelService" and reason in (None, e["reason"])]
    return sorted(found, key=lambda e: e["eventTime"])


def wait_told(cluster, name, reason, part=""):
    harness.wait_until(lambda: any(part in e["note"] for e in told(cluster, name, reason)), 90,
                       f"{reason} {part!r} of {name}: {told(cluster, name)}")
    return next(e for e in told(cluster, name, reason) if part in e["note"])


def test_what_is_done_is_told_and_seen_by_describe(prepared, operator):
    prepared.create(SERVICES, service("told", decode={}, **with_base(prepared)))
    seen = wait_ready(prepared, "told")
    applied = wait_told(prepared, "told", "Applied")
    assert all(part in applied["note"] for part in (
        "Deployment told-decode", "Service told-service-decode", "ConfigMap shared")), applied
    ready = wait_told(prepared, "told", "Ready")
    assert (ready["type"], ready["note"]) == ("Normal", "every replica is available")
    assert ready["regarding"]["uid"] == seen["metadata"]["uid"]
    assert ready["reportingController"] == "berth-modelservice" and ready["reportingInstance"]
    prepared.merge(f"{MAPS}/base", {"data": {"decodeService": None}})
    gone = wait_told(prepared, "told", "Deleted")
    assert gone["note"] == "took away Service told-service-decode"
    # The log has it, too.
    for reason, note in [("Applied", applied["note"]), ("Ready", ready["note"]), ("Deleted", gone["note"])]:
        line = f"info  ModelService {SPACE}/told: {reason}: {note}\n"
        harness.wait_until(lambda: line in operator.said(), 60, f"{line!r} in {operator.said()}")  # noqa: B023
    shown = prepared.kubectl("describe", "modelservice", "told", "-n", SPACE).partition("Events:")[2]
    lines = [line.split() for line in shown.splitlines()]
    assert {(words[0], words[1]) for words in lines if words and words[0] in ("Normal", "Warning")} >= {
        ("Normal", "Applied"), ("Normal", "Ready"), ("Normal", "Deleted")}, shown
    # Nothing is told of what stays as it is, and nothing told costs nothing.
    wait_still(prepared)
    assert len(told(prepared, "told", "Ready")) == 1, told(prepared, "told")


def test_what_is_wrong_is_told_once(prepared, make_operator):
    # Before the operator begins: of one that it does not know yet it would tell, too.
    bad = with_base(prepared, decodeDeployment="spec: {{ .Nope }}\n")
    operator = make_operator()
    prepared.create(SERVICES, service("svc", decode={}, **bad))
    warned = wait_told(prepared, "svc", "ConfigInvalid")
    assert warned["type"] == "Warning" and ".Nope" in warned["note"]
    harness.wait_until(lambda: condition(prepared, "svc")["message"] == warned["note"], 60, "the status says the same")
    # Another mistake is another event; touching the service is none.
    prepared.merge(f"{SERVICES}/svc", {"metadata": {"labels": {"a": "b"}}})
    wait_still(prepared)  # what is looked at while the status is not heard of yet is told of in each version
    prepared.merge(f"{MAPS}/base", {"data": {"decodeDeployment": "spec: {{ .Other }}\n"}})
    wait_told(prepared, "svc", "ConfigInvalid", ".Other")
    prepared.merge(f"{MAPS}/base", {"data": {"decodeDeployment": BASE["decodeDeployment"]}})
    wait_told(prepared, "svc", "Ready")
    wait_still(prepared)
    assert [e["reason"] for e in told(prepared, "svc")].count("ConfigInvalid") == 2, told(prepared, "svc")
    assert operator.said().count(f"warn  ModelService {SPACE}/svc: ConfigInvalid: ") == 2, operator.said()


def test_objects_of_others_and_labels_that_cannot_be_are_told(prepared, operator):
    """Conflicts, and what llm-d's operator said in its debug log alone."""
    labels = {"app": "theirs"}
    prepared.create(DEPLOYMENTS, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "taken-decode"},
                                  "spec": {"selector": {"matchLabels": labels}, "template": {
                                      "metadata": {"labels": labels},
                                      "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
    try:
        prepared.create(SERVICES, service("taken", model="org/taken", decode=DECODE))
        conflict = wait_told(prepared, "taken", "Conflict")
        assert conflict["type"] == "Warning" and "Deployment taken-decode" in conflict["note"], conflict
    finally:
        prepared.kubectl("delete", "deployment", "taken-decode", "-n", SPACE)
    prepared.create(SERVICES, service("four", model="org/four", decode={
        **DECODE, "acceleratorTypes": {"labelKey": "not a label!", "labelValues": ["v"]}}))
    harness.wait_until(lambda: "not a label!" in condition(prepared, "four")["message"], 90, "it is reported")
    refused = wait_told(prepared, "four", condition(prepared, "four")["reason"], "not a label!")
    assert refused["type"] == "Warning", refused


def test_what_is_told_again_is_counted(prepared, operator):
    prepared.create(SERVICES, service("svc", decode=DECODE))
    wait_ready(prepared, "svc")
    wait_told(prepared, "svc", "Ready")

    def mended(times):
        count = [e.get("series", {}).get("count", 1) for e in told(prepared, "svc", "Applied")
                 if e["note"] == "applied Deployment svc-decode"]
        return len(count) == 1 and count[0] >= times

    for times in (1, 2, 3):
        prepared.merge(f"{DEPLOYMENTS}/svc-decode", {"spec": {"replicas": 7}})
        wait_replicas(prepared, "svc-decode", 1)
        harness.wait_until(lambda: mended(times), 90, f"it is told {times} times")  # noqa: B023
    shown = prepared.kubectl("describe", "modelservice", "svc", "-n", SPACE)
    assert re.search(r"Applied .*\(x[3-9] over", shown), shown


def test_one_that_may_not_tell_works_nevertheless(prepared, make_operator, tmp_path):
    """Without the right to events: said once, in the log."""
    with rights_but(prepared, "events", tmp_path) as config:
        o = make_operator({"--kubeconfig": config})
        prepared.create(SERVICES, service("mute", decode=DECODE))
        wait_ready(prepared, "mute")
        harness.wait_until(lambda: "an event could not be told" in o.said(), 90, "it is said")
        for i in range(3):
            prepared.merge(f"{SERVICES}/mute", {"spec": {"decode": {"replicas": 2 + i}}})
            wait_replicas(prepared, "mute-decode", 2 + i)
            wait_ready(prepared, "mute")
        assert o.said().count("an event could not be told") == 1, o.said()
        assert not told(prepared, "mute")
