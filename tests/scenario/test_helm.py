"""The Helm chart: what the real helm makes of it, a real API server takes, and the real program runs with."""
import json
import os
import subprocess

import pytest
import yaml

import harness
import kube_servers
import services

CHART = harness.ROOT / "deploy" / "helm" / "berth"
HELM = harness.CACHE / "tools" / "helm"
EVERYTHING = ["ingress.enabled=true", "ingress.className=web", "ingress.tlsSecret=tls", "autoscaling.enabled=true",
              "persistence.enabled=false", "hostNetwork=true", "auth.existingSecret=keys", "models.hostPath=/srv/models",
              "models.existingClaim=", "service.type=NodePort", "nodeSelector.disk=fast", "podLabels.team=a",
              "podAnnotations.note=b", "serviceAccount.annotations.c=d", "extraArgs={--access-log}",
              "imagePullSecrets[0].name=pull", "service.annotations.e=f", "ingress.annotations.g=h",
              "tolerations[0].operator=Exists", "extraEnv[0].name=A", "extraEnv[0].value=one"]


def helm(*args, ok=True):
    assert HELM.exists(), f"{HELM} is missing; run tools/setup kubernetes"
    # What it would keep goes nowhere.
    out = subprocess.run([HELM, *map(str, args)], capture_output=True, text=True, timeout=600 * harness.SLOW,
                         env={**os.environ, "HELM_CACHE_HOME": "/nonexistent", "HELM_CONFIG_HOME": "/nonexistent",
                              "HELM_DATA_HOME": "/nonexistent"})
    assert (out.returncode == 0) == ok, out
    return out.stdout if ok else out.stderr


def sets(*values):
    return [w for v in values for w in ("--set", v)]


def objects(text):
    return {d["kind"]: d for d in yaml.safe_load_all(text) if d}


@pytest.fixture(scope="module")
def cluster():
    missing = kube_servers.missing()
    assert not missing, f"missing: {missing}; run tools/setup kubernetes"
    c = kube_servers.Cluster()
    try:
        c.start()
        c.add_node("node-a")
        yield c
    finally:
        c.finish()


def test_the_linter_has_nothing_to_say():
    out = helm("lint", "--strict", CHART)
    assert "1 chart(s) linted, 0 chart(s) failed" in out and "WARNING" not in out and "ERROR" not in out, out


@pytest.mark.parametrize("values, kinds", [
    ([], {"ServiceAccount", "ConfigMap", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding",
          "PersistentVolumeClaim", "Service", "Deployment"}),
    (EVERYTHING, {"ServiceAccount", "ConfigMap", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding",
                  "Service", "Deployment", "Ingress", "HorizontalPodAutoscaler"}),
    (["serviceAccount.create=false", "rbac.create=false", "persistence.existingClaim=mine"],
     {"ConfigMap", "Service", "Deployment"}),
    (["rbac.nodes=false", "persistence.storageClass=fast", "models.existingClaim=models"],
     {"ServiceAccount", "ConfigMap", "Role", "RoleBinding", "PersistentVolumeClaim", "Service", "Deployment"}),
], ids=["default", "everything", "least", "claims"])
def test_the_api_server_takes_it(cluster, values, kinds):
    text = helm("template", "c", CHART, *sets(*values))
    assert set(objects(text)) == kinds
    assert "sleep" not in text
    out = subprocess.run(["kubectl", "--kubeconfig", cluster.kubeconfig, "apply", "--dry-run=server",
                          "--validate=true", "-f", "-"], input=text, capture_output=True, text=True,
                         timeout=240 * harness.SLOW)
    assert out.returncode == 0 and len(out.stdout.splitlines()) == len(kinds), out
    assert "Warning" not in out.stderr, out.stderr


@pytest.mark.parametrize("values", [["replicaCount=2"], ["autoscaling.enabled=true"]])
def test_two_servers_with_one_store_are_refused(values):
    assert "persistence.enabled=false" in helm("template", "c", CHART, *sets(*values), ok=False)


def test_its_rights_are_those_that_are_documented_and_tested():
    made = objects(helm("template", "c", CHART))
    assert made["Role"]["rules"] == kube_servers.ROLE
    of_pods = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}  # for sums; may be left out
    assert made["ClusterRole"]["rules"] == [*kube_servers.CLUSTER_ROLE, of_pods]
    told = (harness.ROOT / "docs" / "kubernetes.md").read_text().split("```yaml\n")[1:3]
    assert [yaml.safe_load(t.split("```")[0])["rules"] for t in told] == [
        made["Role"]["rules"], made["ClusterRole"]["rules"]]


def test_a_name_is_made_once():
    def name(release, *values):
        return objects(helm("template", release, CHART, *sets(*values)))["Deployment"]["metadata"]["name"]

    assert (name("c"), name("berth"), name("c", "nameOverride=x"), name("c", "fullnameOverride=y")) == (
        "c-berth", "berth", "c-x", "y")
    assert len(name("c" * 53, "nameOverride=" + "n" * 40)) <= 63


def test_the_program_runs_as_its_pod_would(cluster, tmp_path, make_server):
    """Installed for real; then the container's arguments, environment and files, with its account's rights."""
    helm("install", "demo", CHART, "--kubeconfig", cluster.kubeconfig, "--set", "serviceAccount.name=berth-demo",
         "--set", "persistence.enabled=false", "--wait", "--timeout", "540s")  # kwok plays the pod
    try:
        made = cluster.get("/apis/apps/v1/namespaces/default/deployments/demo-berth")
        (container,) = made["spec"]["template"]["spec"]["containers"]
        config = cluster.get("/api/v1/namespaces/default/configmaps/demo-berth")["data"]["berth.yaml"]
        (tmp_path / "berth.yaml").write_text(config)
        port = harness.free_port()
        # Only where things are, and the port, are this machine's.
        args = [{"--config=/etc/berth/berth.yaml": f"--config={tmp_path}/berth.yaml",
                 "--host=0.0.0.0": "--host=127.0.0.1", "--port=8000": f"--port={port}"}.get(a, a)
                for a in container["args"]]
        assert args != container["args"]
        status, token = cluster.api("POST", "/api/v1/namespaces/default/serviceaccounts/berth-demo/token",
                                    {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}})
        assert status == 201, token
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(json.dumps(cluster.config_of("demo", token=token["status"]["token"])))
        env = {e["name"]: e["value"] for e in container["env"]}
        server = harness.Server(argv=[str(harness.BERTH), *args], port=port, env={**env, "KUBECONFIG": str(kubeconfig)})
        with server:
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                path = container[probe]["httpGet"]["path"]
                harness.wait_until(lambda: server.get(path).status == 200, 60, probe)  # noqa: B023
            sid = services.deploy(server, {"modelName": "llama", "contextLength": 8192})["serviceId"]
            seen = services.wait_phase(server, sid, seconds=150)
            assert seen["shimlet"] == "kubernetes" and seen["status"] == "running"
            (made,) = cluster.objects(f"/apis/apps/v1/namespaces/default/deployments?labelSelector=app={sid}")
            (container,) = made["spec"]["template"]["spec"]["containers"]
            assert container["command"] == ["python3", "-m", "vllm.entrypoints.openai.api_server"]
            assert {"--model=/models/llama", "--max-model-len=8192", "--trust-remote-code"} <= set(container["args"])
            for word in ("drain", "undrain"):
                assert server.post(f"{services.API}/nodes/node-a/{word}").status == 200
            server.delete(f"{services.API}/{sid}")
            services.wait_gone(server, sid, 150)
            assert json.loads(server.log().splitlines()[0])["level"] == "info"  # the chart's config is in effect
    finally:
        helm("uninstall", "demo", "--kubeconfig", cluster.kubeconfig)
