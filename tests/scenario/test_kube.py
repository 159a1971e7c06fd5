"""The Kubernetes shimlet against a real API server, controller manager and scheduler; kwok plays the
machines.  berth has the rights of docs/kubernetes.md and no others."""
import json
import time

import pytest

import harness
from shimlet_drive import (PATIENCE, KubeDrive, asked, deployment, drive, pods_of, service,  # noqa: F401 (fixtures)
                           settings, unit, wait_unplayed_gone)


def wait_asked(cluster, since, want):
    """That has been asked since, and nothing else.  The log has an answer a little later than it is given."""
    harness.wait_until(lambda: want.items() <= asked(cluster, since).items() or
                       sum(asked(cluster, since).values()) > sum(want.values()), 60, f"what was asked: {want}")
    assert asked(cluster, since) == want


# ---- objects ----

def test_a_unit_becomes_a_deployment_and_a_service(cluster, drive):
    since = cluster.audit_lines()
    u = unit("full", cpu_milli=4000, memory_bytes=16 << 30, accelerator_count=2,
             accelerator_resource="nvidia.com/gpu", accelerator_product="h20",
             env={"BATCH_SIZE": "8", "HF_HOME": "/mine"}, labels={"team": "a"},
             spec={"contextLength": 4096, "pipeline": "opensourcellm"})
    plan = drive.do("render", unit=u)["objects"]
    drive.apply(u)
    seen = drive.wait_seen("full", 2)
    d, s = deployment(cluster, "full"), service(cluster, "full")
    assert seen["exists"] and seen["hash"] == "h1" and seen["desired"] == 2
    assert {r["node"] for r in seen["replicas"]} == {"node-a"}, "H20 is NVIDIA-H20 and no A100"
    assert all(r["hash"] == "h1" and r["revision"] == 1 for r in seen["replicas"])
    container = d["spec"]["template"]["spec"]["containers"][0]
    port = container["ports"][0]["containerPort"]
    assert 30000 <= port <= 32767
    assert container["name"] == "llama-3-8b"
    assert container["command"] == ["/engine"] and container["args"] == [f"--port={port}", "--host=0.0.0.0"]
    assert container["image"] == "vllm/vllm-openai:v0.10.0"
    env = {e["name"]: e.get("value") for e in container["env"]}
    assert env.items() >= {"MODEL": "Llama-3.8B", "SERVING_ENGINE": "openai", "PORT": str(port),
                           "TRANSFORMERS_OFFLINE": "1", "HF_HOME": "/mine", "SERVICE_ID": "full-id",
                           "CONTEXT_LENGTH": "4096", "BATCH_SIZE": "8"}.items()
    limits = {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "2"}
    assert container["resources"] == {"limits": limits, "requests": limits}
    assert container["volumeMounts"][0]["mountPath"] == "/models/llama"
    assert d["spec"]["template"]["spec"]["volumes"][0]["hostPath"] == {
        "path": "/models/llama", "type": "Directory"}
    assert d["metadata"]["labels"].items() >= {"app": "full-id", "managed-by": "berth",
                                               "team": "a"}.items()
    assert d["metadata"]["annotations"].items() >= {
        "berth/service-id": "full-id", "berth/model-name": "Llama-3.8B",
        "berth/model-path": "/models/llama", "berth/goal-set-name": "opensourcellm",
        "berth/shimlet-name": "kubernetes", "berth/spec-hash": "h1"}.items()
    assert d["spec"]["selector"]["matchLabels"]["app"] == "full-id"
    assert s["spec"]["selector"]["app"] == "full-id" and s["spec"]["ports"][0]["port"] == port
    managers = {m["manager"]: m["operation"] for m in d["metadata"]["managedFields"]
                if "subresource" not in m}
    assert managers["berth"] == "Apply"
    assert seen["endpoint"] == f"http://full.default.svc:{port}"
    # What plan showed is what was made.
    assert [o["kind"] for o in plan] == ["Deployment", "Service"]
    assert plan[0]["spec"]["template"]["spec"]["containers"][0]["args"] == container["args"]
    # Applying again asks nothing of the server.  The log has an answer a little later than it is given.
    harness.wait_until(lambda: (a := asked(cluster, since))["patch", "deployments"] and a["patch", "services"], 60,
                       "the first apply is in the log")
    before = asked(cluster, since)
    assert before["patch", "deployments"] == before["patch", "services"] == 1
    for _ in range(3):
        drive.apply(u)
    assert asked(cluster, since) == before
    drive.remove("full")


def test_a_stateful_set_and_an_autoscaler(cluster, drive):
    u = unit("state", workload="StatefulSet", cpu_milli=500, scale_min=2, scale_max=4,
             scale_cpu_percent=60)
    drive.apply(u)
    harness.wait_until(lambda: len(drive.ready("state")) >= 1, PATIENCE, "a replica")
    path = "/apis/apps/v1/namespaces/default/statefulsets/state"
    scaler = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers/state"
    assert cluster.get(path)["spec"]["serviceName"] == "state"
    spec = cluster.get(scaler)["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 4)
    assert spec["scaleTargetRef"]["kind"] == "StatefulSet"
    assert spec["metrics"][0]["resource"]["target"]["averageUtilization"] == 60
    # The autoscaler's replicas are no drift.
    harness.wait_until(lambda: cluster.get(path)["spec"]["replicas"] == 2, PATIENCE, "scaled to 2")
    drive.wait_ready("state", 2)
    # Once more, should the watch tell of them after the apply.
    harness.wait_until(lambda: drive.apply(u) and not drive.status("state")["drifted"], 60, "no drift")
    # Without it, replicas are ours again; as a Deployment, the StatefulSet goes.
    drive.apply(unit("state", replicas=1, cpu_milli=500))
    drive.wait_ready("state", 1)
    assert not cluster.exists(scaler) and not cluster.exists(path)
    drive.remove("state")


def test_an_autoscaler_takes_over_the_replicas_that_there_are(cluster, drive):
    """What an apply leaves out goes: without a hand-over, replicas would be 1 for a moment."""
    u = unit("grow", replicas=4, cpu_milli=100)
    drive.apply(u)
    drive.wait_seen("grow", 4)
    pods = {p["metadata"]["uid"] for p in pods_of(cluster, "grow")}
    scaler = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers/grow"
    scaled = {**u, "hash": "h1", "replicas": 4, "scale_min": 2, "scale_max": 6}
    drive.apply(scaled)
    assert cluster.get(scaler)["spec"]["minReplicas"] == 2
    d = deployment(cluster, "grow")
    assert d["spec"]["replicas"] == 4
    owners = [m["manager"] for m in d["metadata"]["managedFields"]
              if "f:replicas" in m["fieldsV1"].get("f:spec", {})]
    assert owners == ["berth-scale"], "what an autoscaler sets is not Berth's"
    drive.wait_ready("grow", 4)
    assert {p["metadata"]["uid"] for p in pods_of(cluster, "grow")} == pods, "no pod went"
    assert not drive.status("grow")["drifted"]
    # An autoscaler's own number stays, also over another change; then it is Berth's again, and back.
    cluster.kubectl("scale", "deployment/grow", "--replicas=5")
    drive.wait_ready("grow", 5)
    # What is known of the Deployment may still be from before: then somebody else has its replicas, and it is asked
    # again.
    drive.wait_does("apply", unit={**scaled, "hash": "h2", "command": ["/engine", "-v"]})
    assert deployment(cluster, "grow")["spec"]["replicas"] == 5
    drive.apply({**u, "hash": "h3", "replicas": 3})
    assert deployment(cluster, "grow")["spec"]["replicas"] == 3 and not cluster.exists(scaler)
    drive.wait_does("apply", unit={**scaled, "hash": "h4"})
    assert deployment(cluster, "grow")["spec"]["replicas"] == 3
    drive.remove("grow")


def test_a_plan_keeps_no_port(cluster, settings):
    with KubeDrive("kubernetes", settings) as d:
        for i in range(2800):  # there are 2768 ports
            answer = d.ask("render", unit=unit(f"plan-{i}"))
            assert answer["r"] == 0, (i, answer)


def test_what_a_service_may_not_set_is_refused(drive):
    for settings, says in (({"namespace": "kube-system"}, "namespace is nothing that a service may set"),
                           ({"imagePolicy": "Never"}, "image_pull_policy"),
                           ({"host_network": "yes"}, "host_network is a string")):
        for op in ("check", "apply"):
            answer = drive.ask(op, unit=unit("own", settings=settings))
            assert answer["r"] < 0 and says in answer["error"], answer


def test_ports_are_stable_and_never_shared(cluster, settings):
    since = cluster.audit_lines()
    with KubeDrive("kubernetes", settings) as d:
        for i in range(12):
            d.apply(unit(f"port-{i}", replicas=0))
        ports = {i: service(cluster, f"port-{i}")["spec"]["ports"][0]["port"] for i in range(12)}
        assert len(set(ports.values())) == 12
        harness.wait_until(lambda: asked(cluster, since)["patch", "services"] >= 12, 60, "all is in the log")
    since = cluster.audit_lines()
    with KubeDrive("kubernetes", settings) as d:  # another process finds what there is
        listed = {x["name"]: x for x in d.do("list")["items"]}
        assert set(listed) >= {f"port-{i}" for i in range(12)}
        assert listed["port-3"]["service_id"] == "port-3-id" and listed["port-3"]["hash"] == "h1"
        for i in range(12):
            d.apply(unit(f"port-{i}", replicas=0))
            assert service(cluster, f"port-{i}")["spec"]["ports"][0]["port"] == ports[i]
        assert not [c for c in cluster.calls(since) if c[0] in ("patch", "create", "delete")]
        for i in range(12):
            d.do("remove", name=f"port-{i}")
        for i in range(12):
            d.remove(f"port-{i}")
    left = cluster.objects("/api/v1/namespaces/default/services?labelSelector=managed-by=berth")
    assert [s for s in left if s["metadata"]["name"].startswith("port-")] == []


def test_a_change_rolls_and_keeps_serving(cluster, drive):
    u = unit("roll", replicas=3)
    drive.apply(u)
    drive.wait_ready("roll", 3)
    drive.apply({**u, "hash": "h2", "revision": 2, "image": "engine:2", "command": ["/engine"]})
    fewest = 3

    def rolled():
        nonlocal fewest
        ready = drive.ready("roll")
        fewest = min(fewest, len(ready))
        return len(ready) == 3 and all(r["hash"] == "h2" and r["revision"] == 2 for r in ready)
    harness.wait_until(rolled, PATIENCE, "every replica of h2")
    assert fewest >= 3, "maxUnavailable is 0"
    drive.remove("roll")


# ---- pods that do not get ready ----

def test_what_cannot_be_scheduled_says_why(cluster, drive):
    drive.apply(unit("huge", replicas=1, accelerator_count=9, accelerator_resource="nvidia.com/gpu"))
    # Of machines that have just come it says that they are not ready, first.
    replica = harness.wait_until(
        lambda: next((r for r in drive.status("huge")["replicas"] if r["state"] == "failed" and
                      "Insufficient nvidia.com/gpu" in r["reason"]), None), PATIENCE, "the scheduler's word")
    assert "; not enough accelerators are free: ask for fewer" in replica["reason"]
    assert "preemption" not in replica["reason"]
    assert replica["reason"].startswith("Unschedulable: 0/")
    # check() knows beforehand, with the sums.
    refused = drive.ask("check", unit=unit("huge", accelerator_count=9,
                                           accelerator_resource="nvidia.com/gpu"))
    assert refused["r"] < 0 and "none of 2 nodes" in refused["error"], refused
    assert "9 of nvidia.com/gpu" in refused["error"] and "and 8" in refused["error"]
    assert drive.ask("check", unit=unit("fits", accelerator_count=8,
                                        accelerator_resource="nvidia.com/gpu"))["r"] == 0
    drive.remove("huge")


@pytest.fixture(scope="module")
def silent_node(cluster):
    """A machine without a kubelet: its pods say what the test writes."""
    cluster.create("/api/v1/nodes", {
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": "silent", "labels": {"silent": "yes"}},
        "spec": {"taints": [{"key": "silent", "effect": "NoSchedule"}]},  # for that test alone
        "status": {"allocatable": {"cpu": "8", "memory": "8Gi", "pods": "50"},
                   "capacity": {"cpu": "8", "memory": "8Gi", "pods": "50"}}})
    yield
    cluster.api("DELETE", "/api/v1/nodes/silent")


def test_failing_pods_give_their_reason(cluster, drive, silent_node):
    u = unit("sick", replicas=1, settings={"node_selector": "silent=yes", "tolerations": "all"})
    drive.apply(u)
    pod = harness.wait_until(
        lambda: next((p for p in pods_of(cluster, "sick") if p["spec"].get("nodeName")), None),
        PATIENCE, "a pod on the silent machine")
    name = pod["metadata"]["name"]
    # It is known when the watch has told of it; from then on a cold start is no failure.
    seen = harness.wait_until(lambda: [r for r in drive.status("sick")["replicas"] if r["node"]], 60, "the pod is seen")
    assert [r["state"] for r in seen] == ["starting"]

    def say(phase, container=None, ready="False"):
        status = {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]}
        if container:
            status["containerStatuses"] = [{
                "name": "llama-3-8b", "image": "x", "imageID": "", "ready": ready == "True",
                "restartCount": 0, "state": {}, "lastState": {}, **container}]
        cluster.merge(f"/api/v1/namespaces/default/pods/{name}/status", {"status": status})

    def comes(state, words):
        def look():
            r = drive.status("sick")["replicas"][0]
            return r if r["state"] == state and words in (r["reason"] or "") else None
        return harness.wait_until(look, 60, f"{state}: {words}")

    waiting = lambda reason, message: {"state": {"waiting": {"reason": reason, "message": message}}}
    say("Pending", waiting("ContainerCreating", ""))
    comes("starting", "")
    say("Pending", waiting("ImagePullBackOff", "Back-off pulling image x"))
    comes("failed", "ImagePullBackOff: Back-off pulling image x; is `image` right")
    say("Running", {**waiting("CrashLoopBackOff", "back-off 10s"), "restartCount": 4, "lastState": {
        "terminated": {"reason": "OOMKilled", "exitCode": 137}}})
    r = comes("failed", "CrashLoopBackOff")
    assert "OOMKilled, exit code 137; it needs more memory" in r["reason"] and r["restarts"] == 4
    say("Running", {"state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}, ready="True")
    comes("ready", "")
    drive.do("remove", name="sick")
    # A machine without a kubelet does not end its pods either.
    harness.wait_until(lambda: drive.said("drain") == [] and any(
        r["state"] == "stopping" for r in drive.status("sick")["replicas"]), PATIENCE, "stopping")
    wait_unplayed_gone(cluster, drive, "sick")


def test_an_evicted_pod_is_no_replica_once_it_is_replaced(cluster, drive):
    u = unit("evicted")
    drive.apply(u)
    drive.wait_seen("evicted", 2)
    name = pods_of(cluster, "evicted")[0]["metadata"]["name"]
    cluster.merge(f"/api/v1/namespaces/default/pods/{name}/status", {"status": {
        "phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}})
    harness.wait_until(lambda: len(pods_of(cluster, "evicted")) == 3, PATIENCE, "its replacement")
    # What is told of them comes a little later.
    harness.wait_until(lambda: name not in {r["id"] for r in drive.wait_ready("evicted", 2)["replicas"]}, PATIENCE,
                       "it is no replica")
    assert not drive.status("evicted")["drifted"]
    assert name in {p["metadata"]["name"] for p in pods_of(cluster, "evicted")}, "it lies there still"
    drive.apply({**u, "hash": "h2", "command": ["/engine", "-v"]})
    harness.wait_until(lambda: [r["hash"] for r in drive.status("evicted")["replicas"]] == ["h2"] * 2,
                       PATIENCE, "every replica of h2")
    drive.remove("evicted")


# ---- the API server goes and comes ----

def test_the_api_server_is_away_for_a_while(cluster, drive):
    u = unit("away")
    drive.apply(u)
    drive.wait_ready("away", 2)
    cluster.stop_api()
    # What is known stays known, what would change fails with the reason and may be tried again.
    assert len(drive.ready("away")) == 2

    def is_refused():
        refused = drive.ask("apply", unit={**u, "replicas": 3}, timeout_ms=10000)
        assert refused["r"] < 0, refused
        return f"127.0.0.1:{cluster.port}" in refused["error"]  # unless its time was over before it came to that

    harness.wait_until(is_refused, 60, "the reason")
    harness.wait_until(lambda: drive.said("log"), 60, "the log's word")
    before = drive.count()
    cluster.start_api()
    harness.wait_until(lambda: any("works again" in x for x in drive.said("log", before)), 120,
                       "the watches to come back")
    drive.wait_does("apply", unit={**u, "replicas": 3})
    drive.wait_ready("away", 3)
    cluster.kubectl("scale", "deployment/away", "--replicas=1")
    harness.wait_until(lambda: drive.status("away")["drifted"], 120, "drift is seen again")
    drive.apply({**u, "replicas": 3})
    drive.wait_ready("away", 3)
    drive.remove("away")


def test_without_an_api_server_it_says_so(tmp_path):
    config = {"apiVersion": "v1", "kind": "Config", "current-context": "c",
              "contexts": [{"name": "c", "context": {"cluster": "c"}}],
              "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}]}
    path = tmp_path / "config"
    path.write_text(json.dumps(config))
    with KubeDrive("kubernetes", {"kubeconfig": str(path)}) as d:
        answer = d.ask("status", name="x")
        assert answer["r"] < 0 and "127.0.0.1:1" in answer["error"], answer
    with KubeDrive("kubernetes", {"kubeconfig": str(path), "context": "prod"}) as d:
        d.process.wait(60 * harness.SLOW)
        d.reader.join()
        assert d.events == [("failed", f'kubernetes: {path}: there is no context "prod"; there are: c')]


# ---- deleting, machines ----

def test_deleting_leaves_nothing(cluster, drive):
    u = unit("gone", replicas=3, cpu_milli=100, scale_max=3, accelerator_count=1,
             accelerator_resource="nvidia.com/gpu")
    drive.apply(u)
    harness.wait_until(lambda: drive.ready("gone"), PATIENCE, "a replica")
    assert drive.do("held", name="gone")["held"] >= 1
    totals = drive.do("resources")
    assert totals["accelerators_total"] == 16 and totals["accelerators_free"] < 16
    # The rights of docs/kubernetes.md are for one namespace: that it sums up no other is said once.
    said = [x for x in drive.said("log") if "pods of other namespaces" in x]
    assert len(said) == 1, drive.said("log")
    drive.remove("gone")
    # A controller that has not heard of it yet makes another pod, which the garbage collector takes away.
    harness.wait_until(lambda: drive.do("held", name="gone")["held"] == 0 and
                       drive.do("resources")["accelerators_free"] == 16, PATIENCE, "all is free")
    for path in ("/apis/apps/v1/namespaces/default/deployments", "/api/v1/namespaces/default/services",
                 "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers",
                 "/api/v1/namespaces/default/pods", "/apis/apps/v1/namespaces/default/replicasets"):
        harness.wait_until(lambda p=path: not cluster.objects(
            p + "?labelSelector=app.kubernetes.io/instance=gone"), PATIENCE, f"{path} empty")
    assert not drive.status("gone")["exists"]
    since = cluster.audit_lines()
    drive.remove("gone")  # once more is fine, and asks nothing
    drive.remove("never-was")
    assert not [c for c in cluster.calls(since) if c[0] == "delete"]


def test_a_node_is_drained_and_taken_back(cluster, drive):
    u = unit("mover", replicas=4, accelerator_count=1, accelerator_resource="nvidia.com/gpu",
             settings={"node_selector": "type=kwok"})
    drive.apply(u)
    drive.wait_ready("mover", 4)
    nodes = {r["node"] for r in drive.status("mover")["replicas"]}
    leaving = nodes.pop()
    since = cluster.audit_lines()
    drive.do("node", name=leaving, drain=True)
    taints = cluster.get(f"/api/v1/nodes/{leaving}")["spec"]["taints"]
    assert [t for t in taints if t["key"] == "berth/drain" and t["effect"] == "NoSchedule"]

    def moved():
        left = [r["state"] for r in drive.status("mover")["replicas"] if r["node"] == leaving]
        if "ready" in left:  # put there by a scheduler that had not heard of the taint
            drive.ask("node", name=leaving, drain=True)
        return not left and len(drive.ready("mover")) == 4

    harness.wait_until(moved, PATIENCE, "all moved")
    assert cluster.calls(since)["create", "pods/eviction"] >= 1
    assert drive.said("drain"), "the host is asked to send no new requests there"
    drive.do("node", name=leaving, drain=True)  # idempotent
    drive.do("node", name=leaving, drain=False)
    taints = cluster.get(f"/api/v1/nodes/{leaving}")["spec"].get("taints", [])
    assert not [t for t in taints if t["key"] == "berth/drain"]
    assert "no-such" in drive.ask("node", name="no-such")["error"]
    drive.remove("mover")


def test_draining_may_take_longer_than_a_call(cluster, settings):
    """A call that is too slow for a busy machine is tried again: one that has no time left always fails."""
    with KubeDrive("kubernetes", {**settings, "timeout_s": 1}) as d:
        d.wait_does("apply", unit=unit("slow", settings={"node_selector": "type=kwok"}))
        d.wait_ready("slow", 2)
        node = d.status("slow")["replicas"][0]["node"]
        d.wait_does("node", name=node, drain=True, drain_ms=1500)
        d.wait_does("node", name=node, drain=False)
        harness.wait_until(lambda: len(d.ready("slow")) == 2, PATIENCE, "both again")
        d.wait_does("remove", name="slow", drain_ms=1500)
        harness.wait_until(lambda: d.ask("remove", name="slow")["r"] == 0, PATIENCE, "it is gone")


# ---- how much it asks ----

def test_calls_keep_to_the_limit_and_idle_makes_none(cluster, settings):
    n = 20
    since, begin = cluster.audit_lines(), time.monotonic()
    with KubeDrive("kubernetes", {**settings, "qps": 10, "burst": 20}) as d:
        d.do("list")
        lists = {("list", kind): 1 for kind in ("deployments", "statefulsets", "services", "pods")}
        wait_asked(cluster, since, lists)
        for i in range(n):
            d.apply(unit(f"many-{i}", replicas=1))
        for i in range(n):
            d.wait_ready(f"many-{i}", 1)
        wait_asked(cluster, since, {**lists, ("patch", "deployments"): n, ("patch", "services"): n})
        harness.wait_until(lambda: idle_for(d, 3), 120, "three quiet seconds")
        cpu, end = d.cpu(), cluster.audit_lines()
        harness.wait_until(lambda: idle_for(d, 3), 120, "three more")
        assert not asked(cluster, end), "nothing but the watches that there are"
        watches = sum(times for call, times in cluster.calls(since).items() if call[0] == "watch")
        # Four, each anew after four and a half minutes.
        assert watches <= 12 + 4 * (time.monotonic() - begin) // 270, cluster.calls(since)
        assert d.cpu() - cpu < 0.5
        for i in range(n):
            d.do("remove", name=f"many-{i}")
        for i in range(n):
            d.remove(f"many-{i}")


def idle_for(d, seconds):
    """True once no event came for that long."""
    before = d.count()
    time.sleep(seconds)
    return d.count() == before
