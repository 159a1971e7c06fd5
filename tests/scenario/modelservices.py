"""What the scenarios of `berth operator` share: the program, the cluster made ready, ModelServices."""
import collections
import contextlib
import json
import os
import pathlib
import subprocess
import time

import pytest
import yaml

import harness
import kube_servers

ROOT = harness.ROOT
GROUP = "llm-d.ai/v1alpha1"
SPACE = "msvc"
ACCOUNT = "system:serviceaccount:default:default"  # whose token operators with other rights have
SERVICES = f"/apis/{GROUP}/namespaces/{SPACE}/modelservices"
DEFINITION = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/modelservices.llm-d.ai"
DEPLOYMENTS = f"/apis/apps/v1/namespaces/{SPACE}/deployments"
MAPS = f"/api/v1/namespaces/{SPACE}/configmaps"
ACCOUNTS = f"/api/v1/namespaces/{SPACE}/serviceaccounts"
EVENTS = f"/apis/events.k8s.io/v1/namespaces/{SPACE}/events"
# What a service comes to, in a cluster that serves nothing but Kubernetes' own kinds and groups of pods.
CHILDREN = (DEPLOYMENTS, f"/apis/leaderworkerset.x-k8s.io/v1/namespaces/{SPACE}/leaderworkersets",
            f"/api/v1/namespaces/{SPACE}/services", ACCOUNTS, MAPS,
            f"/apis/rbac.authorization.k8s.io/v1/namespaces/{SPACE}/rolebindings",
            f"/apis/autoscaling/v2/namespaces/{SPACE}/horizontalpodautoscalers")
BASE = {
    "configMaps": "- metadata: {name: shared}\n  data: {model: '{{ .ModelName }}'}\n",
    "decodeDeployment": "spec:\n  replicas: 2\n  template:\n    spec:\n      containers:\n"
                        "      - {name: llm, image: engine, args: ['--port', '8000']}\n",
    "decodeService": "spec: {ports: [{port: 80}]}\n",
    "eppDeployment": "spec: {template: {spec: {containers: [{name: epp, image: picker}]}}}\n",
    "eppService": "spec: {ports: [{port: 9002}]}\n",
}

begun = set()  # operators, some of which have ended


class Operator:
    """One process of it.  flags: more of them, or in place of those with the same name."""

    def __init__(self, cluster, log, flags=None, env=None):
        self.cluster, self.log, self.process = cluster, log, None
        self.flags = {"--epp-cluster-role": "view", "--namespace": SPACE,
                      "--kubeconfig": cluster.config, **(flags or {})}
        self.env = env or {}

    def start(self):
        """A flag whose value is None is left out; "" is one without a value."""
        flags = [str(part) for name, value in self.flags.items() if value is not None
                 for part in (name, value) if part != ""]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [harness.BERTH, "operator", *flags], stdout=log, stderr=log,
                stdin=subprocess.DEVNULL, env={**os.environ, **harness.SANITIZER_ENV, **self.env})
        begun.add(self)
        return self

    def kill(self):
        self.process.kill()
        self.process.wait()

    def rests(self):
        """Is there none of its threads that runs, or waits for a processor or a disk?"""
        for at in pathlib.Path(f"/proc/{self.process.pid}/task").glob("*/stat"):
            with contextlib.suppress(OSError):  # that one has ended
                if at.read_text().rpartition(")")[2].split()[0] != "S":
                    return False
        return True

    def said(self):
        return self.log.read_text(errors="replace")  # of a line that is being written there may be half a character

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        status = self.process.wait(60 * harness.SLOW)
        harness.assert_sane(self.said())
        return status


def make_namespace(cluster, name):
    """One that another module's tests had may still be going."""
    harness.wait_until(lambda: cluster.api("POST", "/api/v1/namespaces", {"metadata": {"name": name}})[0] == 201,
                       180, f"there is a namespace {name}")


@pytest.fixture(scope="module")
def prepared(cluster):
    """The cluster with the kind in it, and rights for the operator."""
    cluster.kubectl("apply", "-f", ROOT / "deploy/modelservice/crd.yaml")
    make_namespace(cluster, SPACE)
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    cluster.create(f"{rbac}/clusterrolebindings", {
        "metadata": {"name": "berth-operates"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "User", "name": kube_servers.BERTH, "apiGroup": "rbac.authorization.k8s.io"}]})
    # Not by `kubectl wait`, which fails while the definition has no conditions at all.
    harness.wait_until(lambda: cluster.api("GET", SERVICES, text=True)[0] == 200, 120, "the kind is served")
    wait_told_of(cluster, GROUP, "modelservices")
    wait_rights(cluster, kube_servers.BERTH)
    yield cluster
    cluster.kubectl("delete", "clusterrolebinding", "berth-operates")
    cluster.kubectl("delete", "namespace", SPACE, "--wait=false")
    cluster.kubectl("delete", "crd", "modelservices.llm-d.ai", "--wait=false")
    harness.wait_until(lambda: cluster.api("GET", DEFINITION)[0] == 404, 180, "the kind is not defined any more")


@pytest.fixture
def make_operator(prepared, tmp_path):
    """make_operator(flags, env): one that runs; what it looked after goes after the test."""
    made = []

    def make(flags=None, env=None):
        made.append(Operator(prepared, tmp_path / f"operator{len(made)}.log", flags, env).start())
        return made[-1]

    try:
        yield make
        for o in made:
            assert o.process.returncode is not None or o.stop() == 0, o.said()
    finally:
        for o in made:
            if o.process.poll() is None:
                o.kill()
        clear(prepared)


def wait_told_of(cluster, version, plural):
    """Who asks what kinds there are, as kubectl and the operator do, is told of one later than it is served."""
    def is_told():
        both = (cluster.api("GET", f"/apis/{version}", text=True)[1],
                cluster.api("GET", "/apis", text=True, accept="application/json;g=apidiscovery.k8s.io;v=v2;"
                            "as=APIGroupDiscoveryList")[1])
        return all(f'"{plural}"' in text for text in both)

    harness.wait_until(is_told, 120, f"{plural} are told of")


def wait_rights(cluster, user, are=True):
    """What a role gives is known to the API server a little after the role is; or what it gives no more."""
    def may():
        return cluster.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", {
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {"user": user, "resourceAttributes": {"verb": "list", "group": GROUP.partition("/")[0],
                                                          "resource": "modelservices", "namespace": SPACE}}})

    harness.wait_until(lambda: may()["status"]["allowed"] == are, 120, f"{user}: rights: {are}")


def wait_lists(cluster):
    """A server that has just begun says 429 to who would list what it has not read itself yet."""
    harness.wait_until(lambda: all(cluster.api("GET", path, text=True)[0] == 200 for path in
                                   (SERVICES, DEPLOYMENTS, MAPS, f"/api/v1/namespaces/{SPACE}/services")),
                       120, "the API server lists")


def clear(cluster):
    """No ModelService, nothing that one came to, no Deployment, ConfigMap or event."""
    def is_empty(path):
        status, got = cluster.api("GET", path, text=True)
        # A kind that is not served has none; one that has just come to be, or goes, may not answer yet.
        return status == 404 or status == 200 and not [
            o for o in json.loads(got)["items"] if path == DEPLOYMENTS or o["metadata"].get("ownerReferences")]

    assert cluster.api("DELETE", SERVICES)[0] == 200
    # The garbage collector takes half a minute to find its watches again after an API server that was away.
    harness.wait_until(lambda: all(map(is_empty, CHILDREN)), 180, "what they came to is gone")
    for found in cluster.objects(MAPS):
        if found["metadata"]["name"] != "kube-root-ca.crt":
            cluster.api("DELETE", f"{MAPS}/{found['metadata']['name']}")
    assert cluster.api("DELETE", EVENTS)[0] == 200


@pytest.fixture
def operator(make_operator):
    return make_operator()


@contextlib.contextmanager
def rights_but(cluster, resource, folder):
    """A kubeconfig of somebody who may do what the operator may, but nothing to that resource."""
    roles = yaml.safe_load_all((ROOT / "deploy/modelservice/rbac.yaml").read_text())
    rules = [r for role in roles if role["kind"] == "ClusterRole" for r in role["rules"]
             if resource not in r["resources"]]
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    account = {"apiGroup": "", "kind": "ServiceAccount", "name": "default", "namespace": "default"}
    cluster.create(f"{rbac}/clusterroles", {"metadata": {"name": "limited"}, "rules": rules})
    cluster.create(f"{rbac}/clusterrolebindings", {
        "metadata": {"name": "limited"}, "subjects": [account],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "limited"}})
    try:
        token = cluster.create("/api/v1/namespaces/default/serviceaccounts/default/token", {
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}})["status"]["token"]
        config = folder / "limited"
        config.write_text(json.dumps(cluster.config_of("limited", token=token)))
        wait_rights(cluster, ACCOUNT)
        yield config
    finally:
        cluster.kubectl("delete", "clusterrolebinding", "limited")
        cluster.kubectl("delete", "clusterrole", "limited")
        wait_rights(cluster, ACCOUNT, are=False)


def wait_still(cluster, seconds=3):
    """Until the operator makes no call for so long.  After trouble it may be silent for longer, and go on then:
    what is to come about is waited for by itself.  In short naps: a machine that was halted was not still.  Nor
    was a server that did not answer meanwhile, or an operator that had something to do and came to nothing."""
    def nap():
        time.sleep(0.1)
        return all(o.rests() for o in begun if o.process.poll() is None)

    def is_still():
        before = cluster.audit_lines()
        for _ in range(int(seconds * 10) - 10):
            time.sleep(0.1)
        cluster.api("GET", "/api/v1/namespaces/default")
        rested = [nap() for _ in range(10)]  # one that rests may wake for a moment, but not each time
        return any(rested) and cluster.audit_lines() == before

    harness.wait_until(is_still, 180, "no call is made")


def asked_by_a_restart(cluster, operator, until):
    """What it asks for when it is killed and started anew: `until` it asks for that, and is still."""
    operator.kill()
    before = cluster.audit_lines()
    operator.start()
    harness.wait_until(lambda: cluster.calls(before)[until] >= 1, 150, f"it asks for {until}")
    wait_still(cluster)
    return cluster.calls(before)


def assert_said_once(operator, most):
    """It warned of at most so many things, and of each when it began; once or twice more where it began anew, as
    of a server that comes back slowly.  Each try would be more."""
    said = collections.Counter(line.partition(" warn ")[2] for line in operator.said().splitlines() if " warn " in line)
    assert len(said) <= most and max(said.values(), default=0) <= 3, operator.said()


def service(name, model="org/model", **spec):
    return {"apiVersion": GROUP, "kind": "ModelService", "metadata": {"name": name},
            "spec": {"routing": {"modelName": model}, "modelArtifacts": {"uri": "hf://org/model"}, **spec}}


def with_base(cluster, name="base", **changes):
    cluster.create(MAPS, {"metadata": {"name": name}, "data": {
        key: value for key, value in {**BASE, **changes}.items() if value is not None}})
    return {"baseConfigMapRef": {"name": name}}


def condition_of(found, kind):
    return next((c for c in found.get("status", {}).get("conditions", []) if c["type"] == kind),
                {"status": "", "reason": "", "message": ""})


def condition(cluster, name, kind="Ready"):
    return condition_of(cluster.get(f"{SERVICES}/{name}"), kind)


def wait_ready(cluster, name):
    """As it was when it was.  That it was so before its spec was changed is not meant."""
    def ready():
        found = cluster.get(f"{SERVICES}/{name}")
        said = condition_of(found, "Ready")
        return said["status"] == "True" and said.get("observedGeneration") == found["metadata"]["generation"] and found

    return harness.wait_until(ready, 150, f"{name} is ready")


def replicas(cluster, name):
    status, got = cluster.api("GET", f"{DEPLOYMENTS}/{name}")
    return got["spec"]["replicas"] if status == 200 else None


def wait_replicas(cluster, name, want, seconds=90):
    harness.wait_until(lambda: replicas(cluster, name) == want, seconds, f"{name} has {want} replicas")


def names(cluster, plural, group="api/v1"):
    found = cluster.objects(f"/{group}/namespaces/{SPACE}/{plural}")
    return {o["metadata"]["name"] for o in found} - {"default", "kube-root-ca.crt"}
