"""`berth operator` from one end to the other in little time: it also runs under sanitizers.  Everything that a
service may come to, what changes it, what is wrong with it; leading, and its end, while its watches tell.

What comes to everything is the last: the garbage collector takes half a minute to learn of a new kind of owner."""
import datetime
import json
import os
import subprocess

import pytest

import harness
from gateway_kinds import OBJECTIVE, POOL, ROUTE, defined, path_of
from modelservices import (BASE, DEPLOYMENTS, MAPS, SERVICES, SPACE, clear, condition, names, service,
                           wait_ready, wait_replicas, with_base)
from test_operator_http import BOTH, ask, metrics, port_of
from test_operator_lead import LEASE, holder, identity, wait_leads
from test_operator_races import all_the_time

pytestmark = pytest.mark.sanitize

LLM = {"replicas": 1, "containers": [{"name": "llm", "image": "engine"}]}
# Who is halted for a third of it may lead no more, which is not what is shown here.
LEAD = {"--leader-elect": "", "--leader-elect-lease-duration": f"{max(45, int(15 * harness.SLOW))}s"}
EVERYTHING = {
    "prefillDeployment": BASE["decodeDeployment"], "prefillService": BASE["decodeService"],
    "decodeHPA": "spec: {maxReplicas: 3}\n",
    "inferencePool": "spec: {targetPortNumber: 8000}\n", "inferenceModel": "spec: {criticality: Critical}\n",
    "httpRoute": "spec:\n  rules:\n  - backendRefs:\n    - {group: inference.networking.x-k8s.io, kind: InferencePool,"
                 " name: '{{ .InferencePoolName }}'}\n",
}


@pytest.fixture
def busy(prepared):
    """Three services whose base, children and selves others change all the time, within a `with busy():`."""
    prepared.api("DELETE", LEASE)
    base = with_base(prepared, configMaps=None)  # of each model another one
    for name in ("a", "b", "c"):
        prepared.create(SERVICES, service(name, f"org/{name}", decode={}, **base))

    def change(i):
        if i % 3 == 0:
            prepared.merge(f"{MAPS}/base", {"data": {
                "decodeDeployment": BASE["decodeDeployment"].replace("engine", f"image{i}")}})
        elif i % 3 == 1:
            prepared.merge(f"{SERVICES}/b", {"spec": {"decode": {"replicas": i % 4}}})
        elif i % 2 == 0:
            prepared.api("DELETE", f"{DEPLOYMENTS}/c-decode")
        else:
            prepared.api("PATCH", f"{DEPLOYMENTS}/a-decode", {"spec": {"replicas": 7}},
                         content_type="application/merge-patch+json")  # it need not be there

    return lambda: all_the_time(change, 30)


def asked_at(event):
    """The server's moment, as a text that is greater when it is later: it tells of calls in the order of their ends."""
    return event["requestReceivedTimestamp"]


def of_leases(event):
    return event.get("objectRef", {}).get("resource") == "leases"


def writes(cluster, since, after=""):
    """What was written besides leases, and asked for after that moment."""
    return [e for e in cluster.audited(since) if e["verb"] in ("patch", "create", "delete", "update") and
            not of_leases(e) and asked_at(e) > after]


def looked_up(cluster, since):
    """When a lease was asked for, first; None: it was not."""
    return min((asked_at(e) for e in cluster.audited(since) if e["verb"] == "get" and of_leases(e)), default=None)


def gave_back(o):
    """Has it, which has ended, given its lease back?  An API server that is halted has three seconds to answer, which
    is told then; who comes next need not wait for what is left."""
    if "could not be given back" in o.said():
        o.cluster.api("DELETE", LEASE)
        return False
    assert holder(o.cluster) == "", o.said()
    return True


def test_the_lease_is_lost_while_watches_tell(prepared, make_operator, busy):
    o = make_operator({**LEAD, **BOTH})
    wait_leads(o)
    for name in ("a", "b", "c"):
        wait_ready(prepared, name)
    with busy():
        for times in (1, 2):
            before = prepared.audit_lines()
            harness.wait_until(lambda: writes(prepared, before), 90, "it is at work")  # noqa: B023
            prepared.merge(LEASE, {"spec": {
                "holderIdentity": "somebody", "leaseDurationSeconds": int(3 * harness.SLOW)}})
            harness.wait_until(lambda: o.said().count("leads no more: somebody") == times,  # noqa: B023
                               90, "it steps down")
            # It asks for the lease again when what it did as a leader is over.
            before = prepared.audit_lines()
            stands_by = harness.wait_until(lambda: looked_up(prepared, before), 90, "it stands by")  # noqa: B023
            while True:
                written = writes(prepared, before, stands_by)
                if holder(prepared) != "somebody":
                    break
                assert not written, written
            wait_leads(o)
    wait_ready(prepared, "a")
    assert o.stop() == 0, o.said()
    gave_back(o)


def test_it_ends_while_watches_tell(prepared, make_operator, busy):
    kept = 0
    with busy():
        for at_once in (False, True, False):
            begun = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            o = make_operator({**LEAD, **BOTH})
            harness.wait_until(lambda: identity(o), 90, "it has begun")  # noqa: B023
            before = prepared.audit_lines()
            harness.wait_until(lambda: at_once or writes(prepared, before), 90, "it is at work")  # noqa: B023
            assert o.stop() == 0, o.said()
            assert "ends on" in o.said()
            if not gave_back(o):
                kept += 1
                continue
            # What it did as a leader is over when it gives the lease back.  One that had not asked for it did nothing.
            given_back = max((asked_at(e) for e in prepared.audited(before) if of_leases(e)), default=begun)
            assert at_once or given_back > begun
            assert not writes(prepared, before, given_back)
    assert kept <= 1
    make_operator()
    want = prepared.get(f"{MAPS}/base")["data"]["decodeDeployment"]

    def are_as_wished():
        got = [o["spec"]["template"]["spec"]["containers"][0]["image"] for o in prepared.objects(DEPLOYMENTS)
               if o["metadata"]["name"].endswith("-decode")]
        return len(got) == 3 and all(f"image: {i}," in want for i in got)

    harness.wait_until(are_as_wished, 150, "the next one has brought the last change about")


def diff(cluster, folder, what):
    (folder / "msvc.json").write_text(json.dumps(what))
    done = subprocess.run([
        harness.BERTH, "modelservice", "generate", "--diff", "-m", folder / "msvc.json", "--kubeconfig", cluster.config,
        "--namespace", SPACE, "--epp-cluster-role", "view", "--pd-pull-secrets", "a,b"],
        env={**os.environ, **harness.SANITIZER_ENV}, capture_output=True, text=True,
        timeout=180 * harness.SLOW)
    harness.assert_sane(done.stderr)
    return done.returncode, done.stdout + done.stderr


def test_all_that_a_service_may_come_to(prepared, make_operator, tmp_path):
    prepared.api("DELETE", LEASE)
    with defined(prepared, ROUTE, POOL, OBJECTIVE):
        o = make_operator({**LEAD, **BOTH, "--pd-pull-secrets": "a,b"})
        wait_leads(o)
        mine = service("svc", decode=LLM, prefill={"replicas": 1, "acceleratorTypes": {
            "labelKey": "type", "labelValues": ["kwok"]}}, **with_base(prepared, **EVERYTHING))
        prepared.create(SERVICES, mine)
        wait_ready(prepared, "svc")
        assert names(prepared, "deployments", "apis/apps/v1") == {"svc-prefill", "svc-decode", "svc-epp"}
        assert names(prepared, "services") == {"svc-service-prefill", "svc-service-decode", "svc-epp-service"}
        for kind in (ROUTE, POOL, OBJECTIVE):
            assert len(prepared.objects(path_of(kind, SPACE))) == 1, kind
        assert ask(port_of(o, "/healthz and /readyz"), "/readyz") == (200, "ok\n")
        assert metrics(port_of(o, "/metrics"))['berth_modelservice_writes_total{kind="apply"}'] >= 14
        # A file that says something else; the tries change nothing.
        mine["spec"]["prefill"]["replicas"] = 2
        status, told = diff(prepared, tmp_path, mine)
        assert status == 1 and "+  replicas: 2" in told and "svc-decode" not in told, told
        # What is changed, taken away and undone.
        prepared.merge(f"{SERVICES}/svc", {"spec": {"prefill": {"replicas": 2}}})
        wait_replicas(prepared, "svc-prefill", 2)
        prepared.merge(f"{DEPLOYMENTS}/svc-prefill", {"spec": {"replicas": 5}})
        wait_replicas(prepared, "svc-prefill", 2)
        prepared.merge(f"{MAPS}/base", {"data": {"configMaps": None, "eppService": "spec: {{ .Nope }}\n"}})
        harness.wait_until(lambda: ".Nope" in condition(prepared, "svc", "ConfigValid")["message"], 90, "it is told")
        prepared.merge(f"{MAPS}/base", {"data": {"eppService": "spec: {ports: [{port: 70000}]}\n"}})
        harness.wait_until(lambda: condition(prepared, "svc")["reason"] == "ApplyFailed", 90, "it is refused")
        prepared.merge(f"{MAPS}/base", {"data": {"eppService": BASE["eppService"], "decodeHPA": None}})
        harness.wait_until(lambda: names(prepared, "configmaps") == {"base"} and
                           not names(prepared, "horizontalpodautoscalers", "apis/autoscaling/v2"), 90, "two of it go")
        wait_ready(prepared, "svc")
        # One of the same model waits, and follows.
        prepared.create(SERVICES, service("younger", decode=LLM))
        harness.wait_until(lambda: "svc" in condition(prepared, "younger")["message"], 90, "it is told")
        assert prepared.api("DELETE", f"{SERVICES}/svc")[0] == 200
        wait_ready(prepared, "younger")
        assert o.stop() == 0, o.said()
        clear(prepared)  # while the kinds are there: the garbage collector halts for half a minute when they go
