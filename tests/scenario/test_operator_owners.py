"""`berth operator` and objects that are there: others', llm-d's own, and those that services share."""
import contextlib
import signal
import threading
import time

import harness
from admission import amid_writes
from modelservices import (ACCOUNTS, DEPLOYMENTS, MAPS, SERVICES, SPACE, condition, names, replicas, service,
                           wait_ready, wait_replicas, wait_still, with_base)

LLM = {"replicas": 1, "containers": [{"name": "llm", "image": "a"}]}
OWNER = {"apiVersion": "llm-d.ai/v1alpha1", "kind": "ModelService"}
BINDINGS = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{SPACE}/rolebindings"


def deployment(name, owner=None, **spec):
    labels = {"app": name}
    meta = {"name": name, "labels": {"mine": "1"}}
    if owner:
        meta["ownerReferences"] = [{**OWNER, "name": owner["metadata"]["name"], "controller": True,
                                    "blockOwnerDeletion": True, "uid": owner["metadata"]["uid"]}]
    return {"metadata": meta, "spec": {"selector": {"matchLabels": labels}, "template": {
        "metadata": {"labels": labels}, "spec": {"containers": [{"name": "x", "image": "x"}]}}, **spec}}


def wait_conflict(cluster, name, *words):
    def says():
        c = condition(cluster, name)
        return c["reason"] == "Conflict" and all(w in c["message"] for w in words)

    harness.wait_until(says, 120, f"{name} is told of {words}: {condition(cluster, name)}")


def owners(cluster, path):
    return {o["name"] for o in cluster.get(path)["metadata"].get("ownerReferences", [])}


def test_what_somebody_else_made_is_not_touched_until_it_is_given(prepared, make_operator):
    prepared.create(DEPLOYMENTS, deployment("svc-decode"))
    prepared.create(MAPS, {"metadata": {"name": "shared"}, "data": {"their": "own"}})
    before = [prepared.get(path)["metadata"]["resourceVersion"]
              for path in (f"{DEPLOYMENTS}/svc-decode", f"{MAPS}/shared")]
    made = prepared.create(SERVICES, service("svc", decode=LLM, **with_base(prepared)))
    make_operator()
    wait_conflict(prepared, "svc", "Deployment svc-decode", "ConfigMap shared", "kubectl label")
    assert condition(prepared, "svc")["status"] == "False"
    assert condition(prepared, "svc", "Progressing")["reason"] == "Blocked"
    # The other children are made all the same.
    assert "svc-service-decode" in names(prepared, "services")
    meta = prepared.get(f"{MAPS}/shared")["metadata"]
    assert meta["resourceVersion"] == before[1] and "ownerReferences" not in meta
    assert not any("berth" in m["manager"] for m in
                   prepared.get(f"{DEPLOYMENTS}/svc-decode")["metadata"]["managedFields"])
    # One goes, one is given: what the message says is done.
    prepared.kubectl("delete", "deployment", "svc-decode", "-n", SPACE)
    prepared.kubectl("label", "-n", SPACE, "configmaps", "shared",
                     f"llm-d.ai/modelservice-uid={made['metadata']['uid']}")
    wait_ready(prepared, "svc")
    shared = prepared.get(f"{MAPS}/shared")
    assert shared["data"] == {"their": "own", "model": "org/model"}
    assert owners(prepared, f"{MAPS}/shared") == {"svc"}


def test_fields_of_llmds_operator_that_are_not_wished_for_go(prepared, make_operator):
    probe = make_operator()
    made = prepared.create(SERVICES, service("svc", decode=LLM, decoupleScaling=True))
    wait_ready(prepared, "svc")
    wait_still(prepared)
    probe.stop()
    # As the other operator leaves it: the same selector, one update by "manager", fields of its own.
    ours = prepared.get(f"{DEPLOYMENTS}/svc-decode")
    prepared.kubectl("delete", "deployment", "svc-decode", "-n", SPACE)
    theirs = deployment("svc-decode", made, minReadySeconds=7, replicas=4)
    theirs["metadata"]["labels"] = {"from": "llm-d"}
    theirs["spec"]["selector"] = ours["spec"]["selector"]
    theirs["spec"]["template"] = ours["spec"]["template"]
    theirs["spec"]["template"]["spec"]["containers"][0]["tty"] = True
    status, got = prepared.api("POST", f"{DEPLOYMENTS}?fieldManager=manager", theirs)
    assert status == 201, got
    prepared.kubectl("annotate", "deployment", "svc-decode", "by=hand", "-n", SPACE)
    make_operator()
    wait_ready(prepared, "svc")

    def is_clean():
        got = prepared.get(f"{DEPLOYMENTS}/svc-decode")
        pod = got["spec"]["template"]["spec"]["containers"][0]
        return ("minReadySeconds" not in got["spec"] and "tty" not in pod
                and "from" not in got["metadata"]["labels"])

    harness.wait_until(is_clean, 90, "what it set is gone")
    got = prepared.get(f"{DEPLOYMENTS}/svc-decode")
    assert got["metadata"]["annotations"]["by"] == "hand"
    assert "manager" not in {m["manager"] for m in got["metadata"]["managedFields"]}
    assert got["spec"]["replicas"] == 4  # an autoscaler's, all the time
    wait_still(prepared)


def test_what_a_person_gave_a_service_goes_with_it_and_not_before(prepared, operator):
    made = prepared.create(SERVICES, service("svc", decode=LLM, **with_base(prepared)))
    wait_ready(prepared, "svc")
    begin = prepared.audit_lines()
    mine = {"name": "mine", "ownerReferences": [{**OWNER, "name": "svc", "uid": made["metadata"]["uid"]}]}
    prepared.create(MAPS, {"metadata": mine, "data": {"my": "own"}})
    status, got = prepared.api("POST", f"{MAPS}?fieldManager=manager", {
        "metadata": {**mine, "name": "left"}, "data": {"llm-d": "made it"}})
    assert status == 201, got
    harness.wait_until(lambda: "left" not in names(prepared, "configmaps"), 90, "what llm-d's operator left goes")
    # Of that one it may be asked a little later.
    harness.wait_until(lambda: [e for e in prepared.audited(begin) if e["verb"] == "get" and
                                e.get("objectRef", {}).get("name") == "mine"], 90, "it is asked whose the other is")
    wait_still(prepared)
    before = prepared.audit_lines()
    prepared.merge(f"{MAPS}/base", {"data": {"configMaps": None}})
    harness.wait_until(lambda: "shared" not in names(prepared, "configmaps"), 90, "what was made for it goes")
    wait_still(prepared)
    assert prepared.get(f"{MAPS}/mine")["data"] == {"my": "own"}
    assert not prepared.calls(before)["get", "configmaps"], "it is known whose it is"
    prepared.kubectl("delete", "modelservice", "svc", "-n", SPACE)
    harness.wait_until(lambda: "mine" not in names(prepared, "configmaps"), 150, "it goes with its owner")


def test_nothing_goes_before_what_takes_its_place_is_there(prepared, operator):
    prepared.create(SERVICES, service("svc", decode=LLM, **with_base(prepared)))
    wait_ready(prepared, "svc")
    wait_still(prepared)
    prepared.create(DEPLOYMENTS, deployment("svc-prefill"))
    prepared.merge(f"{SERVICES}/svc", {"spec": {"prefill": LLM}})
    wait_conflict(prepared, "svc", "Deployment svc-prefill")
    prepared.merge(f"{MAPS}/base", {"data": {"decodeService": None}})
    wait_still(prepared)
    assert "svc-service-decode" in names(prepared, "services")
    prepared.kubectl("delete", "deployment", "svc-prefill", "-n", SPACE)
    harness.wait_until(lambda: "svc-service-decode" not in names(prepared, "services"), 120, "it goes then")
    wait_ready(prepared, "svc")


def test_two_services_share_a_config_map(prepared, operator):
    base = with_base(prepared, configMaps="- metadata: {name: shared}\n  data: {k: v}\n")
    prepared.create(SERVICES, service("a", "org/a", decode=LLM, **base))
    prepared.create(SERVICES, service("b", "org/b", decode=LLM, **base))
    wait_ready(prepared, "a")
    wait_ready(prepared, "b")
    harness.wait_until(lambda: owners(prepared, f"{MAPS}/shared") == {"a", "b"}, 90, "both own it")
    wait_still(prepared)
    # One that is taken away by hand comes back, for it, too.
    one = [o for o in prepared.get(f"{MAPS}/shared")["metadata"]["ownerReferences"] if o["name"] == "b"]
    prepared.merge(f"{MAPS}/shared", {"metadata": {"ownerReferences": one}})
    harness.wait_until(lambda: owners(prepared, f"{MAPS}/shared") == {"a", "b"}, 90, "both own it")
    # Both follow the base.
    prepared.merge(f"{MAPS}/base", {"data": {
        "configMaps": "- metadata: {name: shared}\n  data: {k: w}\n"}})
    harness.wait_until(lambda: prepared.get(f"{MAPS}/shared")["data"] == {"k": "w"}, 90, "it is followed")
    wait_ready(prepared, "a")
    wait_ready(prepared, "b")
    wait_still(prepared)
    prepared.kubectl("delete", "modelservice", "a", "-n", SPACE)
    harness.wait_until(lambda: owners(prepared, f"{MAPS}/shared") == {"b"}, 150, "the other keeps it")
    time.sleep(3)  # for the garbage collector to err
    assert prepared.get(f"{MAPS}/shared")["data"] == {"k": "w"}
    # Not wished for any more by the last: it goes.
    prepared.merge(f"{MAPS}/base", {"data": {"configMaps": None}})
    harness.wait_until(lambda: not prepared.exists(f"{MAPS}/shared"), 90, "it goes")


def test_one_that_lets_go_of_a_shared_config_map_leaves_it_to_the_other(prepared, operator):
    text = "- metadata: {name: shared}\n  data: {k: v}\n"
    first, second = with_base(prepared, "first", configMaps=text), with_base(prepared, "second", configMaps=text)
    prepared.create(SERVICES, service("a", "org/a", decode=LLM, **first))
    prepared.create(SERVICES, service("b", "org/b", decode=LLM, **second))
    harness.wait_until(lambda: prepared.exists(f"{MAPS}/shared") and
                       owners(prepared, f"{MAPS}/shared") == {"a", "b"}, 90, "both own it")
    wait_still(prepared)
    prepared.merge(f"{MAPS}/first", {"data": {"configMaps": None}})
    harness.wait_until(lambda: owners(prepared, f"{MAPS}/shared") == {"b"}, 90, "one lets go")
    wait_still(prepared)
    assert prepared.get(f"{MAPS}/shared")["data"] == {"k": "v"}


def test_two_services_that_want_different_data_do_not_fight(prepared, operator):
    base = with_base(prepared)  # its ConfigMap holds the model's name
    prepared.create(SERVICES, service("older", "org/older", decode=LLM, **base))
    wait_ready(prepared, "older")
    time.sleep(1.1)  # a second is what creationTimestamp tells apart
    prepared.create(SERVICES, service("younger", "org/younger", decode=LLM, **base))
    wait_conflict(prepared, "younger", "ConfigMap shared", "older")
    assert condition(prepared, "older")["status"] == "True"
    wait_still(prepared)
    assert prepared.get(f"{MAPS}/shared")["data"] == {"model": "org/older"}
    assert owners(prepared, f"{MAPS}/shared") == {"older"}
    prepared.kubectl("delete", "modelservice", "older", "-n", SPACE)
    wait_ready(prepared, "younger")
    assert prepared.get(f"{MAPS}/shared")["data"] == {"model": "org/younger"}


def test_names_of_two_services_that_meet(prepared, operator):
    prepared.create(SERVICES, service("a", "org/a", decode=LLM, **with_base(prepared)))
    wait_ready(prepared, "a")
    # The account of a's endpoint picker is a-epp-sa; so is that of the pods of one named a-epp.
    prepared.create(SERVICES, service("a-epp", "org/b", decode=LLM))
    wait_conflict(prepared, "a-epp", "ServiceAccount a-epp-sa", "ModelService a")
    assert owners(prepared, f"{ACCOUNTS}/a-epp-sa") == {"a"}
    prepared.kubectl("delete", "modelservice", "a", "-n", SPACE)
    wait_ready(prepared, "a-epp")


def test_another_role_for_endpoint_pickers(prepared, make_operator):
    first = make_operator({"--epp-cluster-role": "view"})
    prepared.create(SERVICES, service("svc", decode=LLM, **with_base(prepared)))
    wait_ready(prepared, "svc")
    first.stop()
    make_operator({"--epp-cluster-role": "edit"})
    harness.wait_until(lambda: any(b["roleRef"]["name"] == "edit" for b in prepared.objects(BINDINGS)), 90,
                       "it has the other role")
    bindings = prepared.objects(BINDINGS)
    assert [b["metadata"]["name"] for b in bindings] == ["svc-epp-rolebinding"]
    assert owners(prepared, f"{BINDINGS}/svc-epp-rolebinding") == {"svc"}
    wait_ready(prepared, "svc")
    wait_still(prepared)


def test_replicas_that_an_autoscaler_has_set_outlive_the_hand_over(prepared, operator):
    prepared.create(SERVICES, service("svc", decode=LLM, decoupleScaling=True))
    wait_replicas(prepared, "svc-decode", 1)
    wait_ready(prepared, "svc")
    wait_still(prepared)
    for wanted in (5, 3):
        prepared.kubectl("scale", "deployment/svc-decode", f"--replicas={wanted}", "-n", SPACE)
        prepared.merge(f"{SERVICES}/svc", {"spec": {"decode": {
            "containers": [{"name": "llm", "image": f"image{wanted}"}]}}})
        harness.wait_until(lambda: prepared.get(f"{DEPLOYMENTS}/svc-decode")["spec"]["template"]["spec"]  # noqa: B023
                           ["containers"][0]["image"] == f"image{wanted}", 90, "the image is changed")  # noqa: B023
        assert replicas(prepared, "svc-decode") == wanted


def test_one_made_anew_at_once_has_objects_of_its_own(prepared, operator):
    prepared.create(SERVICES, service("svc", decode=LLM, **with_base(prepared)))
    wait_ready(prepared, "svc")
    prepared.kubectl("delete", "modelservice", "svc", "-n", SPACE)
    made = prepared.create(SERVICES, service("svc", decode=LLM, baseConfigMapRef={"name": "base"}))
    wait_ready(prepared, "svc")
    for path in (f"{DEPLOYMENTS}/svc-decode", f"{DEPLOYMENTS}/svc-epp", f"{MAPS}/shared", f"{ACCOUNTS}/svc-sa"):
        assert [o["uid"] for o in prepared.get(path)["metadata"]["ownerReferences"]] == [made["metadata"]["uid"]]


@contextlib.contextmanager
def halted_when_it_makes(cluster, operator, name):
    """The operator is halted in the midst of a look, when it has that Deployment made: then the event is set.  At
    the latest it goes on after this."""
    halted = threading.Event()

    def halt(request):
        if (request["operation"], request["name"]) == ("CREATE", name) and not halted.is_set():
            operator.process.send_signal(signal.SIGSTOP)
            halted.set()

    with amid_writes(cluster, "apps", "deployments", lambda: cluster.api(
            "POST", f"{DEPLOYMENTS}?dryRun=All", deployment("probe")), halt):
        try:
            yield halted
        finally:
            operator.process.send_signal(signal.SIGCONT)


def test_the_status_of_one_that_is_gone_is_not_its_namesakes(prepared, operator):
    prepared.create(SERVICES, service("svc", decode=LLM))
    wait_ready(prepared, "svc")  # one that has a status
    wait_still(prepared)
    with halted_when_it_makes(prepared, operator, "svc-prefill") as halted:
        prepared.merge(f"{SERVICES}/svc", {"spec": {"prefill": LLM}})
        harness.wait_until(halted.is_set, 90, "it is halted")
        assert prepared.api("DELETE", f"{SERVICES}/svc")[0] == 200
        prepared.create(SERVICES, service("svc", decode=LLM))
        before = prepared.audit_lines()
    wait_ready(prepared, "svc")

    def answers():
        return [event["responseStatus"]["code"] for event in prepared.audited(before)
                if event["verb"] == "patch" and event["objectRef"].get("subresource") == "status"
                and event["objectRef"]["name"] == "svc"]

    harness.wait_until(lambda: 200 in answers(), 60, "that it was answered is written down")
    # It may be tried more than once, as long as the operator does not know that there is another.
    codes = answers()
    taken = codes.index(200)
    assert taken >= 1 and set(codes[:taken]) == {422} and 422 not in codes[taken:], codes


def test_what_was_orphaned_is_given_to_another_by_its_label(prepared, operator):
    prepared.create(SERVICES, service("svc", decode=LLM))
    wait_ready(prepared, "svc")
    before = prepared.get(f"{DEPLOYMENTS}/svc-decode")["metadata"]["uid"]
    prepared.kubectl("delete", "modelservice", "svc", "-n", SPACE, "--cascade=orphan")
    made = prepared.create(SERVICES, service("svc", decode=LLM))
    wait_conflict(prepared, "svc", "Deployment svc-decode", "ServiceAccount svc-sa")
    for kind in ("deployment/svc-decode", "serviceaccount/svc-sa"):
        prepared.kubectl("label", "--overwrite", "-n", SPACE, kind,
                         f"llm-d.ai/modelservice-uid={made['metadata']['uid']}")
    wait_ready(prepared, "svc")
    assert prepared.get(f"{DEPLOYMENTS}/svc-decode")["metadata"]["uid"] == before
    assert owners(prepared, f"{DEPLOYMENTS}/svc-decode") == {"svc"}


def test_a_hand_over_that_fails_half_way_keeps_what_an_autoscaler_sets(prepared, operator):
    def with_port(port):
        return {"decodeDeployment": "spec: {template: {spec: {containers: [{name: llm, image: a, "
                                    f"ports: [{{containerPort: {port}}}]}}]}}}}}}\n"}

    prepared.create(SERVICES, service("svc", decode={"replicas": 2}, **with_base(prepared, **with_port(80))))
    wait_ready(prepared, "svc")
    prepared.merge(f"{MAPS}/base", {"data": with_port(70000)})
    prepared.merge(f"{SERVICES}/svc", {"spec": {"decoupleScaling": True}})
    changed = prepared.get(f"{SERVICES}/svc")["metadata"]["generation"]

    def is_refused():  # with both changes
        said = condition(prepared, "svc")
        return said["reason"] == "ApplyFailed" and said["observedGeneration"] == changed

    harness.wait_until(is_refused, 90, "it is refused")
    for wanted in (5, 3):
        since = prepared.audit_lines()
        prepared.kubectl("scale", "deployment/svc-decode", f"--replicas={wanted}", "-n", SPACE)
        harness.wait_until(lambda: prepared.calls(since)["patch", "deployments"] > 0,  # noqa: B023
                           120, "it is tried again")
        assert replicas(prepared, "svc-decode") == wanted
    prepared.merge(f"{MAPS}/base", {"data": with_port(81)})
    harness.wait_until(lambda: prepared.get(f"{DEPLOYMENTS}/svc-decode")["spec"]["template"]["spec"]
                       ["containers"][0]["ports"][0]["containerPort"] == 81, 90, "the port is changed")
    wait_ready(prepared, "svc")
    assert replicas(prepared, "svc-decode") == 3
