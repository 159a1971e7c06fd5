"""The whole control plane on a real API server: `berth serve`, `berth deploy` and its kin, what others do
to its objects, and a server of either kind that goes and comes."""
import json
import subprocess

import pytest

import harness
from harness import wait_until
from services import API, berth, events, get, wait_gone

pytestmark = pytest.mark.timeout(1800 * harness.SLOW)  # each wait ends by itself
PATIENCE = 150
KINDS = ("/apis/apps/v1/namespaces/default/deployments", "/apis/apps/v1/namespaces/default/statefulsets",
         "/api/v1/namespaces/default/services", "/api/v1/namespaces/default/pods",
         "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers")
SPEC = {"modelName": "Llama-3.8B", "modelFile": "/models/llama/model.safetensors", "replicaCount": 2,
        "contextLength": 4096, "env": [{"key": "BATCH_SIZE", "value": "8"}],
        "resourceRequirements": {"cpu": "4", "memory": "16Gi", "acceleratorType": "NVIDIA H20",
                                 "acceleratorCount": 2}}


@pytest.fixture
def server(cluster, make_server, tmp_path):
    config = tmp_path / "berth.yaml"
    config.write_text(json.dumps({"plugins": {"plugin_configs": {"kubernetes": {
        "kubeconfig": str(cluster.config), "qps": 200, "burst": 200}}}}))
    s = make_server("--config", config, "--shimlet", "k8s")
    yield s
    if s.alive:  # what a failed test has left takes room of the cluster's
        for one in s.get(API).json["data"]:
            s.delete(f"{API}/{one['serviceId']}")
            wait_gone(s, one["serviceId"], PATIENCE)


def ours(cluster, kind, sid):
    return [o for o in cluster.objects(kind) if o["metadata"].get("labels", {}).get("app") == sid]


def wait_nothing_left(cluster, *sids):
    """A controller that has not heard of a Deployment's end yet makes another pod, which is the garbage collector's."""
    wait_until(lambda: not [o for kind in KINDS for sid in sids for o in ours(cluster, kind, sid)], PATIENCE,
               "nothing is left")


def wait_tracks(server, sid, stable, canary=0):
    """So many replicas are ready on each track and no step is under way."""
    def there():
        seen = get(server, sid)
        tracks = sorted(r["track"] for r in seen["replicas"])
        return (seen["phase"] == "running" and tracks == ["canary"] * canary + ["stable"] * stable
                and all(r["state"] == "ready" for r in seen["replicas"]) and seen)

    try:
        return wait_until(there, PATIENCE, f"{stable} and {canary} replicas of {sid}")
    except AssertionError as e:
        raise AssertionError(f"{e}: {get(server, sid)}\n{server.log()[-3000:]}") from None


def test_a_service_of_a_cluster(server, cluster, tmp_path):
    spec = tmp_path / "service.yaml"
    spec.write_text(json.dumps(SPEC))
    assert "is running" in berth(server, "deploy", "--file", spec)
    sid = get(server, SPEC["modelName"])["serviceId"]
    wait_tracks(server, sid, 2)

    # The documented objects.
    (d,), (s,) = (ours(cluster, kind, sid) for kind in (KINDS[0], KINDS[2]))
    (container,) = d["spec"]["template"]["spec"]["containers"]
    port = container["ports"][0]["containerPort"]
    assert {"--host=0.0.0.0", f"--port={port}", "--model=/models/llama", "--dtype=auto",
            "--served-model-name=Llama-3.8B", "--trust-remote-code", "--max-model-len=4096",
            "--tensor-parallel-size=2"} <= set(container.get("command", []) + container.get("args", []))
    assert container["resources"]["requests"] == {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "2"}
    assert {"name": "BATCH_SIZE", "value": "8"} in container["env"]
    assert d["spec"]["replicas"] == 2 and s["spec"]["ports"][0]["port"] == port
    assert d["metadata"]["annotations"].items() >= {
        "berth/service-id": sid, "berth/model-name": "Llama-3.8B", "berth/shimlet-name": "kubernetes",
        "berth/goal-set-name": "opensourcellm"}.items()
    assert get(server, sid)["endpoint"].endswith(f":{port}/v1/chat/completions")

    # What others change is put right, without being asked, and told.
    name = d["metadata"]["name"]
    cluster.kubectl("scale", f"deployment/{name}", "--replicas=5")
    wait_until(lambda: cluster.get(f"{KINDS[0]}/{name}")["spec"]["replicas"] == 2, PATIENCE, "two again")
    wait_tracks(server, sid, 2)
    wait_until(lambda: "replicas to 5" in json.dumps(events(server, sid)), PATIENCE, "it is told")

    # A canary beside it, and back.
    berth(server, "update", sid, "strategy.type=canary", "strategy.canary.weight=10", "env.STAGE=new")
    wait_tracks(server, sid, 2, canary=1)
    both = ours(cluster, KINDS[0], sid)
    assert sorted(x["metadata"]["labels"]["track"] for x in both) == ["canary", "stable"]
    (stable,) = [x for x in both if x["metadata"]["labels"]["track"] == "stable"]
    assert stable["metadata"]["uid"] == d["metadata"]["uid"]
    berth(server, "rollback", sid)
    wait_tracks(server, sid, 2)
    assert [x["metadata"]["uid"] for x in ours(cluster, KINDS[0], sid)] == [d["metadata"]["uid"]]

    berth(server, "delete", sid)
    wait_gone(server, sid, PATIENCE)
    wait_nothing_left(cluster, sid)


def test_logs_are_followed_over_rollouts_and_restarts(server, cluster, logging_node, tmp_path):
    kubelet = logging_node
    spec = {**SPEC, "modelName": "talks", "replicaCount": 1, "resourceRequirements": {},
            "shimletConfig": {"node_selector": "logging=yes", "tolerations": "all"}}
    sid = server.post(f"{API}/deploy", spec).json["data"]["serviceId"]

    def bound(n):
        """The names of its pods, once n are on that machine."""
        names = {p["metadata"]["name"] for p in ours(cluster, KINDS[3], sid) if p["spec"].get("nodeName")}
        return names if len(names) == n else None

    first = wait_until(lambda: bound(1), PATIENCE, "a pod")
    since = cluster.audit_lines()
    out = tmp_path / "log"
    with out.open("wb") as f:
        follower = subprocess.Popen([harness.BERTH, "logs", "-f", sid, "--server", server.url], stdout=f,
                                    env=server.env)
    try:
        heard = lambda pods, n=1: all(
            out.read_text().splitlines().count(f"[{p}] {p} {what}") == n
            for p in pods for what in ("begins", "goes on"))
        wait_until(lambda: heard(first), PATIENCE, "the log of the first")
        # More of them; a rollout, as far as it comes where none gets ready.
        assert server.post(f"{API}/{sid}/scale", {"replicaCount": 2}).status == 200
        two = wait_until(lambda: bound(2), PATIENCE, "another pod")
        wait_until(lambda: heard(two), PATIENCE, "the log of the second")
        assert server.request("PATCH", f"{API}/{sid}", {"env": [{"key": "A", "value": "b"}]}).status == 200
        three = wait_until(lambda: bound(3), PATIENCE, "a pod of the new revision")
        wait_until(lambda: heard(three), PATIENCE, "the log of the third")
        # A container ends, waits, and is started again: its new log, and nothing of the old one.
        (again,) = first
        for state, restarts in (({"running": {}}, 0), ({"terminated": {"exitCode": 1}}, 0),
                                ({"waiting": {"reason": "CrashLoopBackOff"}}, 0), ({"running": {}}, 1)):
            if restarts == 1:
                harness.time.sleep(1)  # in which nothing may be read anew
                assert heard(first), out.read_text()
            cluster.merge(f"{KINDS[3]}/{again}/status", {"status": {"containerStatuses": [{
                "name": "talks", "image": "x", "imageID": "", "ready": False, "restartCount": restarts,
                "state": {"running": None, "terminated": None, "waiting": None, **state}}]}})
            if "terminated" in state:  # which is known before its log ends: else that were read on, and never end here
                wait_until(lambda: "ended with" in json.dumps(get(server, sid)["replicas"]), PATIENCE, "it is known")
                kubelet.ended.add(again)
                wait_until(lambda: again not in kubelet.ended, PATIENCE, "the end of its log")
        wait_until(lambda: heard(first, 2), PATIENCE, "the log of its second life")
        assert heard(three - first), out.read_text()
        # One for each life, and some more where a server was slow; not again and again.
        assert 4 <= cluster.calls(since)["get", "pods/log"] <= 8, cluster.calls(since)
        # It ends when the service does.
        assert server.delete(f"{API}/{sid}").status == 200
        wait_until(lambda: all(p["metadata"].get("deletionTimestamp") for p in ours(cluster, KINDS[3], sid)),
                   PATIENCE, "all of them are going")

        def ends():
            more = {p["metadata"]["name"] for p in ours(cluster, KINDS[3], sid)}
            for name in more:  # no kubelet ends them, and one may be made while they go
                cluster.api("DELETE", f"{KINDS[3]}/{name}?gracePeriodSeconds=0")
            kubelet.ended.update(more)
            return follower.poll() is not None

        kubelet.ended.update(three)
        wait_until(ends, PATIENCE, "nobody follows any more")
        assert follower.returncode == 0, out.read_text()
        assert heard(first, 2) and heard(three - first), out.read_text()
    finally:
        follower.kill()
    wait_gone(server, sid, PATIENCE)


def test_either_server_goes_and_comes(server, cluster):
    """The control plane is killed while the API server is away; what was wanted meanwhile comes."""
    sid = server.post(f"{API}/deploy", SPEC).json["data"]["serviceId"]
    wait_tracks(server, sid, 2)
    (d,) = ours(cluster, KINDS[0], sid)
    since = cluster.audit_lines()
    cluster.stop_api()
    answer = server.request("PATCH", f"{API}/{sid}", {"replicaCount": 3})
    assert answer.status == 200, answer
    server.kill()
    server.start()
    assert get(server, sid)["replicaCount"] == 3, "what was answered is kept"
    cluster.start_api()
    wait_tracks(server, sid, 3)
    (now,) = ours(cluster, KINDS[0], sid)
    assert now["metadata"]["uid"] == d["metadata"]["uid"] and now["spec"]["replicas"] == 3
    # A server that has just come back may refuse what it does not know yet to be allowed: that is tried again.
    assert changes(cluster, since) == [("patch", d["metadata"]["name"])]
    # At rest it asks nothing but its watches.
    wait_until(lambda: rests(cluster), PATIENCE, "four quiet seconds")
    assert berth(server, "delete", sid)
    wait_gone(server, sid, PATIENCE)
    wait_nothing_left(cluster, sid)


def changes(cluster, since):
    """What berth changed of Deployments: (verb, name) of each."""
    return [(e["verb"], e["objectRef"].get("name")) for e in cluster.audited(since)
            if e["verb"] in ("create", "patch", "update", "delete") and e["responseStatus"]["code"] < 300
            and e["objectRef"]["resource"] == "deployments"]


def rests(cluster):
    before = cluster.audit_lines()
    harness.time.sleep(4)
    return not cluster.calls(before)
