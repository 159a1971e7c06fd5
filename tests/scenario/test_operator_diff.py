"""`berth modelservice generate --diff`: what two files would change in a cluster that a real API server has."""
import json
import os
import subprocess

import pytest

import harness
from modelservices import (BASE, DEPLOYMENTS, MAPS, SERVICES, SPACE, condition, make_operator, names, operator,  # noqa: F401
                           prepared, service, wait_ready, wait_replicas, wait_still, with_base)

SAME, DIFFERS, TROUBLE = 0, 1, 2


@pytest.fixture
def diff(prepared, tmp_path):  # noqa: F811
    """diff(service, base): how it ends, what it prints and what it says; it wrote nothing."""


    def run(what, base=None, *flags, config=prepared.config):
        files = {"msvc.yaml": what, "base.yaml": base}
        for name, value in files.items():
            if value is not None:
                (tmp_path / name).write_text(json.dumps(value))
        args = [harness.BERTH, "modelservice", "generate", "--diff", "-m", "msvc.yaml", "--kubeconfig", config,
                "--namespace", SPACE, "--epp-cluster-role", "view", *flags]
        if base is not None:
            args += ["-b", "base.yaml"]
        done = subprocess.run(args, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        return done.returncode, done.stdout, done.stderr

    return run


def config_map(**changes):
    data = {**BASE, **changes}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "base"},
            "data": {k: v for k, v in data.items() if v is not None}}


def test_what_would_change_is_shown_and_nothing_is_done(prepared, operator, diff):  # noqa: F811
    refs = with_base(prepared)
    mine = service("svc", decode={}, prefill={"replicas": 1, "containers": [{"name": "llm", "image": "engine"}]},
                   **refs)
    # New: all of it, each object from nothing.
    status, out, said = diff(mine, config_map())
    assert status == DIFFERS, said
    assert "ModelService msvc/svc is not in the cluster" in said
    assert out.count("--- /dev/null") == 9 and "clusterIP:" not in out and "+  replicas: 2\n" in out, out
    assert not names(prepared, "deployments", "apis/apps/v1")

    prepared.create(SERVICES, mine)
    wait_ready(prepared, "svc")
    wait_still(prepared)
    # As the operator left it: exactly nothing, by the file as by what is in the cluster.
    assert diff(mine, config_map()) == (SAME, "", "")
    assert diff(mine) == (SAME, "", "")

    # What a person gave the service is the person's.
    owner = {"apiVersion": "llm-d.ai/v1alpha1", "kind": "ModelService", "name": "svc",
             "uid": prepared.get(f"{SERVICES}/svc")["metadata"]["uid"]}
    prepared.create(MAPS, {"metadata": {"name": "mine", "ownerReferences": [owner]}, "data": {"my": "own"}})
    assert diff(mine) == (SAME, "", "")
    # A changed number of replicas, and nothing beside.  What is asked from now on is not the operator's.
    assert operator.stop() == 0
    before = prepared.audit_lines()
    changed = service("svc", decode={"replicas": 5}, prefill=mine["spec"]["prefill"], **refs)
    status, out, said = diff(changed, config_map())
    assert (status, said) == (DIFFERS, "")
    lines = [line for line in out.splitlines() if line[0] in "+-"]
    assert lines == ["--- Deployment/msvc/svc-decode (live)", "+++ Deployment/msvc/svc-decode (then)",
                     "-  replicas: 2", "+  replicas: 5"], out
    # A role that is left out: its objects go.
    status, out, said = diff(service("svc", decode={}, **refs), config_map(eppService=None))
    assert (status, said) == (DIFFERS, "")
    gone = [line for line in out.splitlines() if line.startswith("--- ")]
    assert gone == ["--- Deployment/msvc/svc-prefill (live)", "--- Service/msvc/svc-epp-service (live)"], out
    assert out.count("+++ /dev/null") == 2
    assert replicas_of(prepared, "svc-prefill") == 1 and replicas_of(prepared, "svc-decode") == 2
    # Watches are the operator's, whose end is told of.
    assert [e for e in prepared.audited(before) if e["verb"] not in ("get", "list", "watch")
            and not (e["verb"] == "patch" and "dryRun=All" in e["requestURI"])] == []


def replicas_of(cluster, name):
    return cluster.get(f"{DEPLOYMENTS}/{name}")["spec"]["replicas"]


def test_what_others_changed_would_be_mended_and_what_they_added_stays(prepared, make_operator, diff):  # noqa: F811
    running = make_operator()
    mine = service("svc", decode={}, **with_base(prepared))
    prepared.create(SERVICES, mine)
    wait_ready(prepared, "svc")
    wait_still(prepared)
    assert running.stop() == 0
    prepared.merge(f"{DEPLOYMENTS}/svc-decode", {"spec": {"replicas": 7}, "metadata": {"annotations": {"me": "1"}}})
    status, out, said = diff(mine, config_map())
    assert (status, said) == (DIFFERS, "")
    assert [line for line in out.splitlines() if line[0] in "+-"][2:] == ["-  replicas: 7", "+  replicas: 2"], out
    # Who scales is another: what that one set stays.
    prepared.merge(f"{SERVICES}/svc", {"spec": {"decoupleScaling": True}})
    mine["spec"]["decoupleScaling"] = True
    assert diff(mine, config_map()) == (SAME, "", "")


def test_a_base_configuration_of_the_cluster_is_told_of_by_its_keys(prepared, diff):  # noqa: F811
    refs = with_base(prepared, decodeDeployment="spec:\n  # how many\n  replicas: two\n")
    try:
        status, out, said = diff(service("svc", decode={}, **refs))
        assert (status, out) == (TROUBLE, "")
        assert "ConfigMap base: decodeDeployment line 3: spec.replicas: a whole number is wanted" in said, said
    finally:
        prepared.kubectl("delete", "configmap", "base", "-n", SPACE)


def test_what_is_anothers_is_trouble(prepared, diff):  # noqa: F811
    labels = {"app": "mine"}
    prepared.create(DEPLOYMENTS, {"metadata": {"name": "svc-decode"}, "spec": {
        "replicas": 0, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
    try:
        status, out, said = diff(service("svc", decode={"containers": [{"name": "llm", "image": "a"}]}))
        assert status == TROUBLE and "svc-decode: it is there and was not made for this" in said, said
        assert "+++ ServiceAccount/msvc/svc-sa (then)" in out  # the others are shown all the same
    finally:
        prepared.kubectl("delete", "deployment", "svc-decode", "-n", SPACE)


def test_what_the_operator_keeps_is_kept(prepared, make_operator, diff):  # noqa: F811
    """Pull secrets of others, owners of a ConfigMap that two have, and an autoscaler's replicas."""
    running = make_operator({"--pd-pull-secrets": "mine"})
    base = with_base(prepared, configMaps="- metadata: {name: shared}\n  data: {k: v}\n")
    mine = service("svc", decode={}, **base)
    for one in (mine, service("other", "org/other", decode={}, **base)):
        prepared.create(SERVICES, one)
        wait_ready(prepared, one["metadata"]["name"])
    account = f"/api/v1/namespaces/{SPACE}/serviceaccounts/svc-sa"
    prepared.merge(account, {"imagePullSecrets": [{"name": "mine"}, {"name": "theirs"}]})
    wait_still(prepared)
    flags = ["--pd-pull-secrets", "mine"]
    assert diff(mine, None, *flags) == (SAME, "", "")
    # Replicas are handed over by the next look: what is there then stays.
    assert running.stop() == 0
    mine["spec"]["decoupleScaling"] = True
    mine["spec"]["decode"] = {"replicas": 7}
    assert diff(mine, None, *flags) == (SAME, "", "")
    # Another secret of ours takes the place of the one before, and of no other.
    status, out, said = diff(mine, None, "--pd-pull-secrets", "new")
    lines = out.splitlines()
    assert (status, said) == (DIFFERS, "")
    assert "-- name: mine" in lines and "+- name: new" in lines and " - name: theirs" in lines, out


def test_a_config_map_that_an_older_one_has_otherwise_is_trouble(prepared, operator, diff):  # noqa: F811
    base = with_base(prepared)  # its ConfigMap holds the model's name
    prepared.create(SERVICES, service("older", "org/older", decode={}, **base))
    wait_ready(prepared, "older")
    status, out, said = diff(service("younger", "org/younger", decode={}, **base))
    assert status == TROUBLE and "ConfigMap shared: it is ModelService older's, too" in said, said
    assert "Deployment/msvc/younger-decode" in out


def test_a_binding_to_another_role_is_made_anew(prepared, operator, diff):  # noqa: F811
    mine = service("svc", decode={}, **with_base(prepared))
    prepared.create(SERVICES, mine)
    wait_ready(prepared, "svc")
    wait_still(prepared)
    status, out, said = diff(mine, None, "--epp-cluster-role", "edit")
    assert (status, said) == (DIFFERS, "")
    assert [line for line in out.splitlines() if line[0] in "+-"] == [
        "--- RoleBinding/msvc/svc-epp-rolebinding (live)", "+++ RoleBinding/msvc/svc-epp-rolebinding (then)",
        "-  name: view", "+  name: edit"], out


def test_what_cannot_be_told_is_trouble(prepared, diff, tmp_path):  # noqa: F811
    mine = service("svc", decode={})
    status, out, said = diff(service("svc", decode={}, baseConfigMapRef={"name": "mine"}))
    assert (status, out) == (TROUBLE, "") and "spec.baseConfigMapRef" in said and "mine" in said, said
    status, out, said = diff(service("svc", decode={"replicas": "two"}))
    assert (status, out) == (TROUBLE, "") and "msvc.yaml:1:" in said
    # Nobody there, and no such context.
    nobody = tmp_path / "config"
    nobody.write_text("apiVersion: v1\nkind: Config\ncurrent-context: c\n"
                      "contexts: [{name: c, context: {cluster: c, user: u}}]\n"
                      "clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\n"
                      "users: [{name: u, user: {token: x}}]\n")
    status, out, said = diff(mine, None, config=nobody)
    assert (status, out) == (TROUBLE, "") and "kubectl cluster-info" in said, said
    status, out, said = diff(mine, None, "--context", "nix", config=nobody)
    assert (status, out) == (TROUBLE, "") and "nix" in said and "c" in said, said
    none = {**os.environ, "KUBECONFIG": "", "HOME": str(tmp_path / "nowhere")}
    done = subprocess.run([harness.BERTH, "modelservice", "generate", "--diff", "-m", tmp_path / "msvc.yaml"], env=none,
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == TROUBLE and "name a kubeconfig" in done.stderr


@pytest.mark.parametrize("how", [["--server-side"], [], ["--server-side", "--dry-run=server"], ["--dry-run=server"]])
@pytest.mark.parametrize("form", ["yaml", "json"])
def test_kubectl_applies_what_is_printed(prepared, tmp_path, form, how):  # noqa: F811
    """Both streams, by both kinds of apply; what was applied is there, what was tried is not."""

    mine = service("svc", decode={"containers": [{"name": "llm", "mountModelVolume": True}]})
    mine["metadata"]["namespace"] = SPACE
    (tmp_path / "base.yaml").write_text(json.dumps(config_map()))
    made = subprocess.run([harness.BERTH, "modelservice", "generate", "--strict", "-m", "-", "-b", tmp_path / "base.yaml",
                           "-o", form, "--epp-cluster-role", "view"], input=json.dumps(mine), capture_output=True,
                          text=True, timeout=60)
    assert (made.returncode, made.stderr) == (0, "")
    stream = tmp_path / f"stream.{form}"
    stream.write_text(made.stdout)
    try:
        prepared.kubectl("apply", *how, "-f", stream)
        dry = "--dry-run=server" in how
        want = set() if dry else {"svc-decode", "svc-epp"}
        assert names(prepared, "deployments", "apis/apps/v1") == want
        # A second time changes nothing.
        assert "unchanged" in prepared.kubectl("apply", *how, "-f", stream) or "--server-side" in how or dry
    finally:
        prepared.kubectl("delete", "--ignore-not-found", "-f", stream)


def test_what_two_have_is_let_go_and_not_taken_away(prepared, make_operator, diff):  # noqa: F811
    running = make_operator()
    base = with_base(prepared, configMaps="- metadata: {name: shared}\n  data: {k: v}\n")
    mine = service("svc", decode={}, **base)
    for one in (mine, service("other", "org/other", decode={}, **base)):
        prepared.create(SERVICES, one)
        wait_ready(prepared, one["metadata"]["name"])
    wait_still(prepared)
    status, out, said = diff(mine, config_map(configMaps=None))
    assert (status, said) == (DIFFERS, ""), said
    # YAML puts quotes around what looks like a number, as 83e99804 does.
    assert [line.replace('"', "") for line in out.splitlines() if line[0] in "+-"] == [
        "--- ConfigMap/msvc/shared (live)", "+++ ConfigMap/msvc/shared (then)", "-  - apiVersion: llm-d.ai/v1alpha1",
        "-    kind: ModelService", "-    name: svc",
        f"-    uid: {prepared.get(f'{SERVICES}/svc')['metadata']['uid']}"], out
    # And so it is done.
    prepared.merge(f"{MAPS}/base", {"data": {"configMaps": None}})
    harness.wait_until(lambda: "shared" not in names(prepared, "configmaps"), 90, "when nobody wishes for it, it goes")
    assert running.stop() == 0


def test_what_a_conflict_keeps_is_not_shown_as_going(prepared, make_operator, diff):  # noqa: F811
    running = make_operator()
    mine = service("svc", decode={}, prefill={"replicas": 1, "containers": [{"name": "llm", "image": "engine"}]},
                   **with_base(prepared))
    prepared.create(SERVICES, mine)
    wait_ready(prepared, "svc")
    wait_still(prepared)
    assert running.stop() == 0
    # The picker's account is somebody else's by now, and a role is left out.
    account = f"/api/v1/namespaces/{SPACE}/serviceaccounts/svc-epp-sa"
    prepared.merge(account, {"metadata": {"ownerReferences": None, "labels": {"llm-d.ai/modelservice-uid": None}}})
    del mine["spec"]["prefill"]
    status, out, said = diff(mine)
    assert status == TROUBLE and "ServiceAccount svc-epp-sa: it is there and was not made for this" in said, said
    assert "+++ /dev/null" not in out, out
    assert "Deployment svc-prefill: it is not wished for any more, and stays until" in said, said
    prepared.merge(f"{SERVICES}/svc", {"spec": {"prefill": None}})
    make_operator()
    harness.wait_until(lambda: condition(prepared, "svc")["reason"] == "Conflict", 90, "it is a conflict")
    wait_still(prepared)
    assert replicas_of(prepared, "svc-prefill") == 1  # as was said
    prepared.kubectl("delete", "serviceaccount", "svc-epp-sa", "-n", SPACE)
    wait_ready(prepared, "svc")
    harness.wait_until(lambda: "svc-prefill" not in names(prepared, "deployments", "apis/apps/v1"), 90, "then it goes")


def test_a_mistyped_field_is_a_fault_of_that_object_alone(prepared, operator, diff):  # noqa: F811
    """The API server answers 500 to it, as if it were its own fault: that is not asked again and again."""
    refs = with_base(prepared)
    mine = service("svc", decode={}, **refs)
    base = config_map(decodeDeployment=BASE["decodeDeployment"].replace("containers:", "enableServiceLink: false\n      containers:"))
    status, out, said = diff(mine, base)
    assert status == TROUBLE and "Deployment svc-decode: " in said and ".spec.template.spec.enableServiceLink" in said, said
    assert "Is the cluster there?" not in said and "+kind: Service\n" in out, (said, out)
    prepared.merge(MAPS + "/base", {"data": base["data"]})
    prepared.create(SERVICES, mine)
    harness.wait_until(lambda: condition(prepared, "svc", "Ready").get("reason") == "ApplyFailed", 60, "it is told")
    assert ".spec.template.spec.enableServiceLink: field not declared" in condition(prepared, "svc", "Ready")["message"]
