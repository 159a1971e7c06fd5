"""`berth operator` and what leads requests to pods: pools of both generations, and the routes to them."""
import json
import subprocess

import pytest
import yaml

import harness
from gateway_kinds import MODEL, NEW, OBJECTIVE, OLD, OLD_POOL, POOL, ROUTE, define, defined, path_of
from modelservices import SERVICES, SPACE, condition, service, wait_ready, wait_still, with_base

OLD_FORM = {
    "inferencePool": "spec: {targetPortNumber: 8000, extensionRef: {failureMode: FailOpen}}\n",
    "inferenceModel": "spec: {criticality: Critical}\n",
    "httpRoute": "spec:\n  rules:\n  - backendRefs:\n    - group: inference.networking.x-k8s.io\n"
                 "      kind: InferencePool\n      name: '{{ .InferencePoolName }}'\n",
}
NEW_FORM = {
    "inferencePool": "apiVersion: inference.networking.k8s.io/v1\nspec:\n  targetPorts: [{number: 8000}]\n"
                     "  endpointPickerRef: {failureMode: FailOpen, port: {number: 9002}}\n",
    "inferenceObjective": "spec: {priority: 7}\n",
    "httpRoute": "spec:\n  rules:\n  - backendRefs:\n    - {group: inference.networking.k8s.io, kind: InferencePool,"
                 " name: '{{ .InferencePoolName }}'}\n",
}
FORMS = pytest.mark.parametrize("form", [OLD_FORM, NEW_FORM], ids=["written-as-v1alpha2", "written-as-v1"])
LABELS = {"llm-d.ai/inferenceServing": "true", "llm-d.ai/model": "org-model"}


def specs(cluster, kind):
    """{name: spec}, none where the kind is not served."""
    status, got = cluster.api("GET", path_of(kind, SPACE), text=True)
    return {o["metadata"]["name"]: o["spec"] for o in json.loads(got)["items"]} if status == 200 else {}


def wait_for(cluster, kind, name="svc"):
    harness.wait_until(lambda: name in specs(cluster, kind), 120, f"there is {kind[2]} {name}")
    return specs(cluster, kind)[name]


def group_of_route(cluster):
    return wait_for(cluster, ROUTE, "svc-http-route")["rules"][0]["backendRefs"][0]["group"]


def writes(cluster, since, *resources):
    """What the operator wrote of these, in order: (verb, group).  What was refused was not written."""
    return [(e["verb"], e["objectRef"]["apiGroup"]) for e in cluster.audited(since)
            if e["verb"] in ("patch", "delete", "create") and e["objectRef"]["resource"] in resources
            and e["responseStatus"]["code"] < 300]


@FORMS
def test_a_cluster_with_the_older_generation_has_pools_of_that(prepared, make_operator, form):
    with defined(prepared, ROUTE, OLD_POOL, MODEL):
        make_operator()
        prepared.create(SERVICES, service("svc", decode={}, **with_base(prepared, **form)))
        wait_ready(prepared, "svc")
        assert wait_for(prepared, OLD_POOL, "svc-inference-pool") == {
            "selector": LABELS, "targetPortNumber": 8000,
            "extensionRef": {"name": "svc-epp-service", "failureMode": "FailOpen",
                             **({"portNumber": 9002} if form is NEW_FORM else {})}}
        assert wait_for(prepared, MODEL) == {"modelName": "org/model", "criticality": "Critical",
                                             "poolRef": {"name": "svc-inference-pool"}}
        assert group_of_route(prepared) == OLD
        status = prepared.get(f"{SERVICES}/svc")["status"]
        assert (status["inferencePoolRef"], status["inferenceModelRef"]) == ("svc-inference-pool", "svc")
        prepared.kubectl("delete", "modelservice", "svc", "-n", SPACE)


@FORMS
def test_a_cluster_with_the_newer_generation_has_pools_of_that(prepared, make_operator, form):
    with defined(prepared, ROUTE, POOL, OBJECTIVE):
        make_operator()
        prepared.create(SERVICES, service("svc", decode={}, **with_base(prepared, **form)))
        status = wait_ready(prepared, "svc")["status"]
        assert wait_for(prepared, POOL, "svc-inference-pool") == {
            "selector": {"matchLabels": LABELS}, "targetPorts": [{"number": 8000}],
            "endpointPickerRef": {"name": "svc-epp-service", "failureMode": "FailOpen", "port": {"number": 9002}}}
        assert wait_for(prepared, OBJECTIVE) == {
            "priority": 7 if form is NEW_FORM else 1,
            "poolRef": {"group": NEW, "kind": "InferencePool", "name": "svc-inference-pool"}}
        assert group_of_route(prepared) == NEW
        assert (status["inferencePoolRef"], status["inferenceObjectiveRef"]) == ("svc-inference-pool", "svc")
        assert "inferenceModelRef" not in status
        prepared.kubectl("delete", "modelservice", "svc", "-n", SPACE)


def test_a_service_goes_over_when_the_newer_generation_is_defined(prepared, make_operator):
    with defined(prepared, ROUTE, OLD_POOL, MODEL):
        make_operator()
        prepared.create(SERVICES, service("svc", decode={}, **with_base(prepared, **OLD_FORM)))
        wait_ready(prepared, "svc")
        wait_for(prepared, OLD_POOL, "svc-inference-pool")
        wait_still(prepared)  # nothing is asked again and again
        before = prepared.audit_lines()
        define(prepared, OBJECTIVE)
        define(prepared, POOL)
        wait_for(prepared, POOL, "svc-inference-pool")
        harness.wait_until(lambda: group_of_route(prepared) == NEW, 90, "the route leads to it")
        harness.wait_until(lambda: not specs(prepared, OLD_POOL) and not specs(prepared, MODEL), 120, "the old go")
        assert wait_for(prepared, OBJECTIVE)["priority"] == 1
        wait_ready(prepared, "svc")
        # In that order: the route never leads to a pool that is not there.  The log has an answer a little later than
        # it is seen what it brought about; one that the watches are slow to tell of may be written again.
        order = [("patch", NEW), ("patch", ROUTE[0]), ("delete", OLD)]
        done = harness.wait_until(lambda: (w := writes(prepared, before, "inferencepools", "httproutes")) and
                                  order[-1] in w and w, 60, "the writes in the log")
        assert list(dict.fromkeys(done)) == order and len(done) <= 2 * len(order), done
        prepared.kubectl("delete", "modelservice", "svc", "-n", SPACE)


def test_a_definition_of_another_version_is_not_waited_for_long(prepared, make_operator):
    with defined(prepared, ROUTE, POOL):
        define(prepared, OBJECTIVE, version="v9")
        make_operator()
        prepared.create(SERVICES, service("svc", decode={}, **with_base(prepared, **NEW_FORM)))
        wait_ready(prepared, "svc")  # half a minute, in which it might come to be served
        wait_still(prepared, seconds=12)
        prepared.kubectl("delete", "modelservice", "svc", "-n", SPACE)


@FORMS
def test_what_the_cluster_lacks_is_named(prepared, make_operator, form):
    with defined(prepared, ROUTE):
        make_operator()
        prepared.create(SERVICES, service("svc", decode={}, **with_base(prepared, **form)))
        harness.wait_until(lambda: "InferencePool" in condition(prepared, "svc")["message"], 90, "it is told")
        said = condition(prepared, "svc")
        assert said["reason"] == "ApplyFailed"
        # However it was written: what was looked for, and what brings it.
        assert f"neither inferencepools of {NEW}/v1 nor inferencepools of {OLD}/v1alpha2: install the Gateway API " \
               "Inference Extension, of either generation" in said["message"], said
        # The pools alone, as the extension's last version has them.
        define(prepared, POOL)
        wait_for(prepared, POOL, "svc-inference-pool")
        harness.wait_until(lambda: condition(prepared, "svc")["status"] == "True", 150, "it is ready")
        valid = condition(prepared, "svc", "ConfigValid")
        assert (valid["reason"], "InferenceObjectives" in valid["message"]) == ("Warnings", True), valid
        prepared.kubectl("delete", "modelservice", "svc", "-n", SPACE)


@pytest.mark.parametrize("form,asked,group", [
    (OLD_FORM, None, OLD), (NEW_FORM, None, NEW), (OLD_FORM, "v1", NEW), (NEW_FORM, "v1alpha2", OLD)])
def test_without_a_cluster_the_generation_is_the_written_one_or_the_one_asked_for(tmp_path, form, asked, group):
    (tmp_path / "msvc.yaml").write_text(json.dumps(service("svc", decode={})))
    (tmp_path / "base.yaml").write_text(yaml.safe_dump({"data": form}))
    args = [harness.BERTH, "modelservice", "generate", "-m", "msvc.yaml", "-b", "base.yaml"]
    done = subprocess.run(args + (["--inference-api", asked] if asked else []), cwd=tmp_path, capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    made = yaml.safe_load(done.stdout)
    assert made["inferencePool"]["apiVersion"].split("/")[0] == group
    assert made["httpRoute"]["spec"]["rules"][0]["backendRefs"][0]["group"] == group
    assert ("inferenceObjective" in made, "inferenceModel" in made) == (group == NEW, group == OLD)


def test_a_generation_that_there_is_not_is_refused():
    done = subprocess.run([harness.BERTH, "modelservice", "generate", "-m", "-", "--inference-api", "v2"],
                          capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert (done.returncode, "v1 or v1alpha2" in done.stderr) == (2, True), done
