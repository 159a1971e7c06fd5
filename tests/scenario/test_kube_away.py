"""The API server is away for a minute, while services run, change, come and go; and is back."""
import collections
import contextlib
import json
import socket
import subprocess
import threading
import time

import pytest

import harness
from harness import wait_until
from services import API, berth, deploy, get, wait, wait_gone
from test_deploy_kube import (KINDS, PATIENCE, changes, ours, rests, server,  # noqa: F401 (a fixture)
                              wait_nothing_left, wait_tracks)

AWAY_S = 60  # what this is about; neither longer nor shorter on a slow machine
BACK_S = 120  # from when it answers again until all that is to be changed is: ten times what a calm machine takes
pytestmark = pytest.mark.timeout(1800 * harness.SLOW)  # each wait ends by itself


def spec(name, **more):
    return {"modelName": name, "modelFile": f"/models/{name}/model.safetensors",
            "resourceRequirements": {"cpu": "100m", "memory": "64Mi"}, **more}


class Silence:
    """Hangs up on whoever comes to a port, and counts them."""

    def __init__(self, port):
        self.count = 0
        self.socket = socket.create_server(("127.0.0.1", port))
        self.thread = threading.Thread(target=self.hang_up)
        self.thread.start()

    def hang_up(self):
        with contextlib.suppress(OSError):
            while True:
                self.socket.accept()[0].close()
                self.count += 1

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.socket.close()


def cpu(server):
    with open(f"/proc/{server.pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / harness.os.sysconf("SC_CLK_TCK")


@pytest.fixture
def reachable(cluster):
    """A machine whose pods use its network, which is ours: their endpoints are on loopback."""
    cluster.add_node("loopback", address="127.0.0.1",
                     taints=[{"key": "loopback", "effect": "NoSchedule"}])
    yield {"host_network": True, "node_selector": "kubernetes.io/hostname=loopback",
           "tolerations": "all"}
    cluster.api("DELETE", "/api/v1/nodes/loopback")


def chat(server, model):
    return server.post("/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": "hello"}]})


def ask(server, model):
    answer = chat(server, model)
    assert answer.status == 200, (answer, server.log()[-3000:])
    return answer.headers["x-berth-replica"]


def ask_for(server, out, *args):
    """A command that waits for what it asks for: (it, the file with what it says)."""
    with out.open("wb") as f:
        return subprocess.Popen([harness.BERTH, *map(str, args), "--server", server.url], stdout=f,
                                stderr=f, env=server.env), out


def replicas_of(cluster, sid):
    (d,) = ours(cluster, KINDS[0], sid)
    return d["spec"]["replicas"]


def test_a_minute_without_an_api_server(server, cluster, reachable, make_server, tmp_path):
    port = harness.free_port()
    engine = make_server(port=port)  # what the pod of "stays" would run
    engine.register("stays")
    ids = {name: deploy(server, spec(name, **more))["serviceId"] for name, more in [
        ("stays", {"port": port, "shimletConfig": reachable}),
        ("changes", {"replicaCount": 2}), ("goes", {}), ("edited", {}), ("shrunk", {"replicaCount": 2})]}
    for name, sid in ids.items():
        wait_tracks(server, sid, 2 if name in ("changes", "shrunk") else 1)
    names = {name: ours(cluster, KINDS[0], sid)[0]["metadata"]["name"] for name, sid in ids.items()}
    uids = {name: ours(cluster, KINDS[0], sid)[0]["metadata"]["uid"] for name, sid in ids.items()}
    wait_until(lambda: rests(cluster), PATIENCE, "four quiet seconds")
    wait_until(lambda: chat(server, "stays").status == 200, PATIENCE, "an answer by way of Berth")

    cluster.kubectl("scale", f"deployment/{names['edited']}", "--replicas=4")
    cluster.stop_api()
    cluster.stop_others()  # as they end when they lose their lease; else they were counted, too
    stopped, before, lines = time.monotonic(), cpu(server), len(server.log().splitlines())
    answer = server.request("PATCH", f"{API}/{ids['changes']}", {"env": [{"key": "A", "value": "2"}]})
    assert answer.status == 200, answer
    new = tmp_path / "comes.yaml"
    new.write_text(json.dumps(spec("comes")))
    asked_for = {"goes": ask_for(server, tmp_path / "deleted", "delete", ids["goes"]),
                 "comes": ask_for(server, tmp_path / "deployed", "deploy", "--file", new)}
    ids["comes"] = wait_until(lambda: server.get(f"{API}/comes").status == 200 and get(
        server, "comes")["serviceId"], PATIENCE, "the new service")

    for name, sid in ids.items():  # what is the matter, since when, and what will be done
        wait_until(lambda: all(w in get(server, sid)["message"] for w in (
            "environment k8s cannot be reached since", f"127.0.0.1:{cluster.port}",
            "done when it is back")), PATIENCE, f"{name}: {get(server, sid)['message']}")
    text = berth(server, "describe", ids["stays"])
    assert "cannot be reached since" in text and "done when it is back" in text, text
    listed = berth(server, "services")
    assert listed.count("environment k8s cannot be reached since") == 1, listed
    assert get(server, ids["comes"])["away"]["since"]
    for command, out in asked_for.values():  # who waits is told, once
        wait_until(lambda: "environment k8s cannot be reached since" in out.read_text(), PATIENCE, f"it in {out}")
    wait(max(0, stopped + AWAY_S / 2 - time.monotonic()))
    silence, begun = Silence(cluster.port), time.monotonic()
    try:
        while time.monotonic() < stopped + AWAY_S:
            assert ask(server, "stays")  # what ran runs, and is asked
            for name in ("stays", "shrunk"):
                seen = get(server, ids[name])
                assert seen["phase"] == "running" and seen["replicasReady"] == seen["replicaCount"], seen
            assert get(server, ids["comes"])["phase"] != "failed"
            wait(2)
    finally:
        silence.close()
    listened, minutes = time.monotonic() - begun, max(1, (time.monotonic() - stopped) / AWAY_S)
    used, said = cpu(server) - before, server.log().splitlines()[lines:]
    print(f"{silence.count} connections in {listened:.1f} s, {used:.2f} s of CPU, {len(said)} lines of "
          f"log in {AWAY_S} s")
    assert silence.count < 2 * listened + 10 and used < 3 * minutes * harness.SLOW and len(said) < 10, said
    since = cluster.audit_lines()
    cluster.start_api()
    back = time.monotonic()
    cluster.start_others()
    cluster.kubectl("scale", f"deployment/{names['shrunk']}", "--replicas=0")
    # What Berth does about it; what the cluster's controllers make of that takes as long as they take.
    wished = {("patch", names["changes"]), ("patch", names["shrunk"]), ("delete", names["goes"])}
    wait_until(lambda: wished <= set(done := changes(cluster, since)) and
               {name for _, name in done} - set(names.values()), PATIENCE, "all is changed, and what comes is made")
    took = time.monotonic() - back
    print(f"all was changed {took:.1f} s after it was back")
    assert took < BACK_S * harness.SLOW
    wait_until(lambda: get(server, ids["changes"])["runningRevision"] == 2, PATIENCE, "the update")
    wait_until(lambda: replicas_of(cluster, ids["edited"]) == 1 and replicas_of(cluster, ids["shrunk"]) == 2,
               PATIENCE, "as many replicas as are wished for")
    for name, sid in ids.items():
        if name != "goes":
            wait_tracks(server, sid, 2 if name in ("changes", "shrunk") else 1)
    wait_gone(server, ids["goes"], PATIENCE)
    for command, out in asked_for.values():
        assert command.wait(PATIENCE * harness.SLOW) == 0, out.read_text()
        # Once for each reason: one that hangs up, and one that does not answer in time; some more where those take
        # turns.  Not at every look, of which there are four a second.
        told = [line for line in out.read_text().splitlines() if "cannot be reached" in line]
        assert 1 <= len(told) <= 10 and all(a != b for a, b in zip(told, told[1:])), told
    for name, uid in uids.items():
        assert [d["metadata"]["uid"] for d in ours(cluster, KINDS[0], ids[name])] == (
            [] if name == "goes" else [uid])
    wait_nothing_left(cluster, ids["goes"])
    (d,) = ours(cluster, KINDS[0], ids["changes"])
    assert {"name": "A", "value": "2"} in d["spec"]["template"]["spec"]["containers"][0]["env"]
    (comes,) = ours(cluster, KINDS[0], ids["comes"])
    for sid in ids.values():
        wait_until(lambda: "cannot be reached" not in json.dumps(server.get(f"{API}/{sid}").json), PATIENCE, sid)
    done = collections.Counter(changes(cluster, since))
    wished |= {("patch", comes["metadata"]["name"])}
    # What was edited may have been put right before the server went.  What is not seen ten seconds after it was
    # applied is applied again.
    assert wished <= set(done) <= wished | {("patch", names["edited"])} and max(done.values()) <= 3, done
    # Its watches see again what others do.
    wait_until(lambda: rests(cluster), PATIENCE, "four quiet seconds")
    cluster.kubectl("scale", f"deployment/{names['stays']}", "--replicas=3")
    wait_until(lambda: replicas_of(cluster, ids["stays"]) == 1, PATIENCE, "one again")
    for name, sid in ids.items():
        if name != "goes":
            assert berth(server, "delete", sid)
            wait_gone(server, sid, PATIENCE)
    wait_nothing_left(cluster, *ids.values())
