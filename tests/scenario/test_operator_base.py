"""`berth operator` and base configurations that say what only a cluster may say, or what no cluster takes."""
import json
import subprocess

import pytest
import yaml

import harness
from modelservices import (DEPLOYMENTS, MAPS, SERVICES, SPACE, condition, service, wait_ready, wait_still,
                           with_base)

POD = "template: {spec: {containers: [{name: llm, image: a}]}}"
# As `kubectl get deployment -o yaml` prints one of another cluster.
FOUND = f"""apiVersion: apps/v1beta1
kind: Deployment
metadata:
  annotations: {{deployment.kubernetes.io/revision: "7", kept: "yes"}}
  creationTimestamp: "2025-01-01T00:00:00Z"
  finalizers: [example.org/nobody]
  generation: 9
  managedFields: [{{manager: kubectl, operation: Update, apiVersion: apps/v1}}]
  namespace: elsewhere
  ownerReferences:
  - {{apiVersion: v1, kind: ConfigMap, name: gone, uid: 11111111-1111-1111-1111-111111111111}}
  resourceVersion: "123"
  uid: 22222222-2222-2222-2222-222222222222
spec: {{replicas: 1, {POD}}}
status: {{replicas: 5}}
"""
LEFT_OUT = ("creationTimestamp", "finalizers", "generation", "managedFields", "ownerReferences", "resourceVersion", "uid")


def test_what_only_a_cluster_may_say_is_left_out(prepared, operator):
    prepared.create(SERVICES, service("svc", **with_base(
        prepared, decodeDeployment=FOUND,
        configMaps="- metadata: {name: shared, finalizers: [example.org/nobody]}\n  data: {a: b}\n")))
    wait_ready(prepared, "svc")
    before = prepared.get(f"{DEPLOYMENTS}/svc-decode")["metadata"]
    assert [o["name"] for o in before["ownerReferences"]] == ["svc"]
    assert "finalizers" not in before and "finalizers" not in prepared.get(f"{MAPS}/shared")["metadata"]
    assert before["annotations"]["kept"] == "yes"
    valid = condition(prepared, "svc", "ConfigValid")
    assert (valid["status"], valid["reason"]) == ("True", "Warnings"), valid
    for line, name in ((1, "apiVersion"), (6, "metadata.finalizers")):  # the message has room for some
        assert f"decodeDeployment line {line}: {name}" in valid["message"], valid
    # Neither its controller nor the garbage collector is at odds with the operator.
    wait_still(prepared, 5)
    after = prepared.get(f"{DEPLOYMENTS}/svc-decode")["metadata"]
    assert after["uid"] == before["uid"]
    prepared.kubectl("delete", "modelservice", "svc", "-n", SPACE)
    harness.wait_until(lambda: prepared.api("GET", f"{DEPLOYMENTS}/svc-decode", text=True)[0] == 404, 150,
                       "it goes with the service")


def generate(folder, data, *args):
    (folder / "msvc.yaml").write_text(json.dumps(service("svc", decode={})))
    (folder / "base.yaml").write_text(yaml.safe_dump({"data": data}, default_style="|"))
    return subprocess.run([harness.BERTH, "modelservice", "generate", "-m", "msvc.yaml", "-b", "base.yaml", *args],
                          cwd=folder, capture_output=True, text=True)


def test_what_is_left_out_is_told_with_its_place(tmp_path):
    data = {"decodeDeployment": FOUND}
    for output in ("yaml", "json"):
        done = generate(tmp_path, data, "-o", output)
        made = next(o for o in (yaml.safe_load_all(done.stdout) if output == "yaml"
                                else json.loads(done.stdout)["items"]) if o["kind"] == "Deployment")
        assert done.returncode == 0 and not set(LEFT_OUT) & set(made["metadata"]) and "status" not in made
        assert made["metadata"]["annotations"] == {"kept": "yes"}
    # llm-d's mapping is as it was, and the same is told.
    mapped = generate(tmp_path, data)
    made = yaml.safe_load(mapped.stdout)["decodeDeployment"]
    assert set(LEFT_OUT) <= set(made["metadata"]) and made["status"] == {"replicas": 5}
    for told in (done.stderr, mapped.stderr):
        for name in LEFT_OUT:
            assert any(line.startswith("base.yaml:") and f": warning: decodeDeployment: metadata.{name}: " in line
                       for line in told.splitlines()), (name, told)
    assert generate(tmp_path, data, "--strict").returncode == 1


TWO = "[{name: llm, image: a}, {name: llm, image: b}]"
C = "{name: llm, image: a"
REFUSED = [
    ("replicas: -1", "spec.replicas", "0 or more"),
    (f"template: {{spec: {{containers: {TWO}}}}}", "containers[1]", "two containers"),
    (f"template: {{spec: {{initContainers: [{C}}}], containers: [{C}}}]}}}}", "containers[0]", "initContainers"),
    (f"template: {{spec: {{volumes: [{{name: v}}, {{name: w}}], containers: [{C}, volumeMounts: "
     "[{name: v, mountPath: /x}, {name: w, mountPath: /x}]}]}}", "containers[0].volumeMounts[1]", "two volumes"),
]


@pytest.mark.parametrize("spec,path,why", REFUSED, ids=lambda x: x[:40])
def test_what_the_api_server_refuses_is_told_before(prepared, tmp_path, spec, path, why):
    base = f"spec: {{{spec}}}\n"
    # It is refused, indeed, of what llm-d's mapping has.
    made = yaml.safe_load(generate(tmp_path, {"decodeDeployment": base}).stdout)["decodeDeployment"]
    del made["metadata"]["ownerReferences"]
    made["spec"].setdefault("template", {}).setdefault("spec", {}).setdefault("containers", [{"name": "x", "image": "x"}])
    status, got = prepared.api("PATCH", f"{DEPLOYMENTS}/svc-decode?fieldManager=test&dryRun=All", made,
                               content_type="application/apply-patch+yaml")
    assert status >= 400, got
    done = generate(tmp_path, {"decodeDeployment": base}, "-o", "yaml")
    assert done.returncode == 1 and done.stdout == "" and f"{path}: " in done.stderr and why in done.stderr, done.stderr


# Of these the last is kept.
TWICE = [
    (f"template: {{spec: {{containers: [{C}, ports: [{{name: p, containerPort: 1}}, {{name: p, containerPort: 2}}]}}]}}}}",
     "containers[0].ports[1]", "two ports"),
    (f"template: {{spec: {{containers: [{C}, ports: [{{containerPort: 1}}, {{containerPort: 1}}]}}]}}}}",
     "containers[0].ports[1]", "twice"),
    (f"template: {{spec: {{containers: [{C}, env: [{{name: A, value: x}}, {{name: A, value: y}}]}}]}}}}",
     "containers[0].env[1]", "two variables"),
    (f"template: {{spec: {{volumes: [{{name: v}}, {{name: v}}], containers: [{C}}}]}}}}", "volumes[1]", "two volumes"),
]


@pytest.mark.parametrize("spec,path,why", TWICE, ids=lambda x: x[:60])
def test_of_what_is_there_twice_the_last_is_applied(prepared, tmp_path, spec, path, why):
    base = f"spec: {{{spec}}}\n"
    done = generate(tmp_path, {"decodeDeployment": base}, "-o", "yaml")
    made = next(o for o in yaml.safe_load_all(done.stdout) if o["kind"] == "Deployment")
    assert done.returncode == 0 and f"{path}: " in done.stderr and why in done.stderr, done.stderr
    url = f"{DEPLOYMENTS}/svc-decode?fieldManager=test&dryRun=All"
    status, got = prepared.api("PATCH", url, made, content_type="application/apply-patch+yaml")
    assert status < 300, got
    # As it was written it is not taken.
    made["spec"]["template"]["spec"] = yaml.safe_load(base)["spec"]["template"]["spec"]
    status, got = prepared.api("PATCH", url, made, content_type="application/apply-patch+yaml")
    assert status >= 400, got


def test_what_is_refused_stands_in_the_status_and_nothing_is_applied(prepared, operator):
    prepared.create(SERVICES, service("svc", decode={"containers": [{"name": "llm"}]}, **with_base(
        prepared, decodeDeployment=f"spec:\n  {POD}\n")))
    wait_ready(prepared, "svc")
    prepared.merge(f"{SERVICES}/svc", {"spec": {"decode": {"containers": [{"name": "x", "image": "a"}] * 2}}})
    harness.wait_until(lambda: condition(prepared, "svc", "ConfigValid")["status"] == "False", 90, "it is told")
    valid = condition(prepared, "svc", "ConfigValid")
    assert "spec.decode.containers[1]: x: the pod has two containers of that name" in valid["message"], valid
    containers = prepared.get(f"{DEPLOYMENTS}/svc-decode")["spec"]["template"]["spec"]["containers"]
    assert [c["name"] for c in containers] == ["llm"]


def test_a_base_beyond_the_memory_of_a_look_is_told(prepared, operator):
    prepared.create(SERVICES, service("svc", decode={}, **with_base(prepared)))
    wait_ready(prepared, "svc")
    many = "".join(f"- metadata: {{name: c{i}}}\n" for i in range(16000))
    prepared.merge(f"{MAPS}/base", {"data": {"configMaps": many}})
    harness.wait_until(lambda: condition(prepared, "svc")["reason"] == "ConfigInvalid", 90, "it is told")
    assert "memory" in condition(prepared, "svc", "ConfigValid")["message"]
    prepared.merge(f"{MAPS}/base", {"data": {"configMaps": None}})
    wait_ready(prepared, "svc")
