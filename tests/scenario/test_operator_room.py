"""`berth operator` with more ConfigMaps than it keeps, which is 64 MiB: no service is the worse for it."""
import pathlib
import re

import pytest

import harness
from modelservices import (BASE, DEPLOYMENTS, MAPS, SERVICES, condition, names, service, wait_ready, wait_replicas,
                           wait_still, with_base)

LARGE, COUNT = 1_000_000, 70
LLM = {"replicas": 1, "containers": [{"name": "llm", "image": "a"}]}


def base(text, port):
    """Too large for what room there may be left; so is the ConfigMap that is made of it."""
    return {"configMaps": f"- metadata: {{name: shared}}\n  data: {{text: '{text * 200_000}'}}\n",
            "decodeDeployment": BASE["decodeDeployment"].replace("8000", str(port))}


@pytest.fixture
def full(prepared):
    for i in range(COUNT):  # they come before others in a list, which is in order of names
        prepared.create(MAPS, {"metadata": {"name": f"a{i:02}"}, "data": {"large": "x" * LARGE}})


def resident_mib(operator):
    status = pathlib.Path(f"/proc/{operator.process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) / 1024


def port(cluster):
    return cluster.get(f"{DEPLOYMENTS}/svc-decode")["spec"]["template"]["spec"]["containers"][0]["args"][-1]


def wait_told_all(cluster):
    """Ready, and the status has the last of what the Deployment says: nothing is left to be written."""
    def is_told():
        live = cluster.get(f"{DEPLOYMENTS}/svc-decode")
        says = {c["type"]: c for c in live["status"].get("conditions", [])}
        return live["status"].get("observedGeneration") == live["metadata"]["generation"] and \
            says["Progressing"]["reason"] == "NewReplicaSetAvailable" and \
            all(condition(cluster, "svc", f"Decode{name}")["message"] == c["message"] for name, c in says.items()) and \
            condition(cluster, "svc")["status"] == "True"

    harness.wait_until(is_told, 150, "it is ready, and all of that is told")


def test_more_config_maps_than_are_kept(prepared, full, make_operator):
    o = make_operator()
    prepared.create(SERVICES, service("svc", decode=LLM, **with_base(prepared, **base("a", 8000))))
    wait_ready(prepared, "svc")
    assert port(prepared) == "8000" and prepared.get(f"{MAPS}/shared")["data"] == {"text": "a" * 200_000}
    wait_still(prepared)
    # What it does not keep it asks for; it is told of changes all the same.
    prepared.merge(f"{MAPS}/base", {"data": base("b", 9000)})
    harness.wait_until(lambda: port(prepared) == "9000", 90, "the base is followed")
    harness.wait_until(lambda: prepared.get(f"{MAPS}/shared")["data"]["text"][0] == "b", 90, "what it makes, too")
    wait_told_all(prepared)
    wait_still(prepared)
    # One that begins with all of that finds everything as it should be.
    assert o.stop() == 0
    before = prepared.audit_lines()
    o = make_operator()
    harness.wait_until(lambda: prepared.calls(before)["watch", "modelservices"], 90, "it watches")
    wait_still(prepared)
    assert {verb for verb, _ in prepared.calls(before)} <= {"list", "watch", "get"}, prepared.calls(before)
    prepared.merge(f"{SERVICES}/svc", {"spec": {"decode": {"replicas": 3}}})
    wait_replicas(prepared, "svc-decode", 3)
    wait_ready(prepared, "svc")
    # What is not wished for goes, though it is not among what is kept.
    prepared.merge(f"{MAPS}/base", {"data": {"configMaps": None}})
    harness.wait_until(lambda: "shared" not in names(prepared, "configmaps"), 90, "what is not wished for goes")
    wait_ready(prepared, "svc")
    assert condition(prepared, "svc", "ConfigValid")["status"] == "True"
    # Twice as much as is kept would be no bound.
    assert resident_mib(o) < 128 * harness.ROOM, resident_mib(o)


def test_names_of_what_could_not_be_taken_away_are_kept(prepared, full, operator):
    """The cache does not have it: its name in the status is all by which it is found."""
    prepared.create(SERVICES, service("svc", decode=LLM, **with_base(prepared, **base("a", 8000))))
    wait_ready(prepared, "svc")

    def maps():
        return prepared.get(f"{SERVICES}/svc")["status"].get("configMapNames")

    assert maps() == ["shared"]
    # Nothing goes while something is refused.
    prepared.merge(f"{MAPS}/base", {"data": {"configMaps": None, "decodeService": "spec: {ports: [{port: 70000}]}\n"}})
    harness.wait_until(lambda: condition(prepared, "svc")["reason"] == "ApplyFailed", 90, "it is refused")
    wait_still(prepared)
    assert maps() == ["shared"] and "shared" in names(prepared, "configmaps")
    prepared.merge(f"{MAPS}/base", {"data": {"decodeService": BASE["decodeService"]}})
    harness.wait_until(lambda: "shared" not in names(prepared, "configmaps"), 90, "then it goes")
    harness.wait_until(lambda: not maps(), 90, "and is not named any more")
    wait_ready(prepared, "svc")
