"""`berth operator` and `generate --diff` in a cluster that has no ModelServices: what to do is said."""
import json
import subprocess

import pytest

import harness
import kube_servers
from modelservices import GROUP, ROOT, SERVICES, Operator, service

RBAC = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
ADVICE = "ModelServices are not defined in this cluster: make -C deploy/modelservice install, or helm install"


@pytest.fixture
def bare(cluster):
    """The operator may do everything, and there is no such kind."""
    cluster.kubectl("delete", "crd", "modelservices.llm-d.ai", "--timeout=450s", "--ignore-not-found")
    # The definition is gone a little before what it defined, and that is told of for longer.
    for path in (SERVICES, f"/apis/{GROUP}"):
        harness.wait_until(lambda: cluster.api("GET", path, text=True)[0] == 404, 120, f"{path} is gone")  # noqa: B023
    cluster.create(RBAC, {
        "metadata": {"name": "berth-looks"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "User", "name": kube_servers.BERTH, "apiGroup": "rbac.authorization.k8s.io"}]})
    yield cluster
    cluster.kubectl("delete", "clusterrolebinding", "berth-looks")
    cluster.kubectl("delete", "crd", "modelservices.llm-d.ai", "--timeout=450s", "--ignore-not-found")


def test_a_cluster_without_the_kind(bare, tmp_path):
    o = Operator(bare, tmp_path / "operator.log").start()
    try:
        # Rights are known a little after they are given: the first answer may be that there are none.
        harness.wait_until(lambda: ADVICE in o.said(), 90, "what is missing is told")
        (tmp_path / "msvc.yaml").write_text(json.dumps(service("svc", decode={"containers": [
            {"name": "llm", "image": "a"}]})))
        done = subprocess.run([harness.BERTH, "modelservice", "generate", "--diff", "-m", tmp_path / "msvc.yaml",
                               "--kubeconfig", bare.config, "--namespace", "default", "--epp-cluster-role", "view"],
                              capture_output=True, text=True, timeout=360)
        assert ADVICE in done.stderr and "+++ Deployment/default/svc-decode (then)" in done.stdout, done
        assert done.returncode == 1, done
        bare.kubectl("apply", "-f", ROOT / "deploy/modelservice/crd.yaml")
        harness.wait_until(lambda: "ModelServices are defined now" in o.said(), 90, "it goes on by itself")
        # What it says of that is all that it says; a watch may have trouble later.
        said = o.said().partition("ModelServices are defined now")[0]
        assert said.count(ADVICE) <= 2 and "answers again" not in said, o.said()
    finally:
        status = o.stop()
    assert status == 0, o.said()
