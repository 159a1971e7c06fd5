"""The whole control plane on a real Docker daemon: `berth serve`, `berth deploy` and its kin, and
clients that know one address."""
import collections
import json
import pathlib
import socket
import subprocess
import urllib.parse

import pytest

import dockerd
import harness
from harness import wait_until
from services import API, berth, get, wait_gone, wait_phase

PATIENCE = 120  # a replica may wait long for a processor


@pytest.fixture
def server(docker, make_server, tmp_path):
    config = tmp_path / "berth.yaml"
    config.write_text(json.dumps({"plugins": {"plugin_configs": {"docker": {
        "host": docker.host, "image": dockerd.IMAGE, "pull": "never", "network": "host",
        "stop_timeout_ms": 2000}}}}))
    yield make_server("--config", config, "--shimlet", "docker")
    wait_until(lambda: docker.containers() == [], 60, "no container is left")


def chat(server, model, at=None, **more):
    """Ask a model, through Berth or at the service's own endpoint."""
    port = urllib.parse.urlsplit(at).port if at else None
    return server.post("/v1/chat/completions", {
        "model": model, "messages": [{"role": "user", "content": "What is the sea?"}], **more},
        port=port, timeout=PATIENCE)


def ids(docker):
    """Of the containers that run, with the moment when each was started."""
    found = {}
    for c in docker.containers():
        status, seen = docker.ask("GET", f"/containers/{c['Id']}/json")
        assert status in (200, 404), seen
        if status == 200:  # else it went after it was listed
            found[c["Id"]] = (seen["State"]["StartedAt"], seen["State"]["Running"])
    return found


def wait_ready(server, name, stable, canary=0):
    """So many replicas are ready on each track, there is no other, and no step is under way."""
    seen = {}

    def there():
        seen.update(get(server, name))
        tracks = collections.Counter(r["track"] for r in seen["replicas"])
        return (seen["phase"] == "running" and tracks == +collections.Counter(
                    stable=stable, canary=canary)
                and all(r["state"] == "ready" for r in seen["replicas"]))

    try:
        wait_until(there, PATIENCE, f"{stable} and {canary} replicas of {name}")
    except AssertionError as e:
        raise AssertionError(f"{e}: {seen}\n{server.log()[-3000:]}") from None
    return seen["replicas"]


def asked(server, model, n, **more):
    """How many of n requests each replica answered."""
    seen = collections.Counter()
    for _ in range(n):
        answer = chat(server, model, **more)
        assert answer.status == 200, (answer, server.log()[-3000:])
        seen[answer.headers["x-berth-replica"]] += 1
    return seen


def spread(server, model, replicas, **more):
    """Requests reach each of them: what one learns of a new replica, the router knows soon."""
    want, seen = {r["id"] for r in replicas}, collections.Counter()

    def all_asked():
        seen.update(asked(server, model, len(want), **more))
        return want <= set(seen)

    wait_until(all_asked, PATIENCE, f"an answer of each of {want}: {seen}")


def records(server):
    """What the environment keeps of each unit."""
    return [p.name for p in pathlib.Path(server.state_dir, "shimlets", "docker").rglob("*.json")]


def nothing_left(server, docker, ports):
    """Of a service that was deleted: no container, no port, no record."""
    assert docker.containers() == []
    for port in ports:
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(("127.0.0.1", port))
    assert records(server) == []
    listed = server.get(API).json["data"]
    assert [s for s in listed if s["phase"] != "terminated"] == []


def ports_of(replicas):
    return [urllib.parse.urlsplit(r["endpoint"]).port for r in replicas]


def test_a_language_model_is_deployed(server, docker):
    """SmolLM2 answers at its own endpoint and by its name, comes back when its engine is killed,
    and three of it share the work."""
    out = berth(server, "deploy", harness.SMOLLM, "modelName=smollm2", "engine=berth",
                'args=["--set=engine.cores=1"]', "resourceRequirements.memory=1Gi")
    assert "is running" in out, out
    few = {"max_tokens": 4, "temperature": 0}
    (replica,) = wait_ready(server, "smollm2", 1)
    endpoint = get(server, "smollm2")["endpoint"]
    answers = [chat(server, "smollm2", at=endpoint, **few), chat(server, "smollm2", **few)]
    for answer in answers:
        assert answer.status == 200, answer
        assert answer.json["usage"]["completion_tokens"] == 4
    texts = {a.json["choices"][0]["message"]["content"] for a in answers}
    assert len(texts) == 1 and texts != {""}
    assert answers[1].headers["x-berth-replica"] == replica["id"]
    assert "smollm2" in [m["id"] for m in server.get("/v1/models").json["data"]]
    assert "smollm2" in berth(server, "services")
    assert "smollm2" in berth(server, "logs", "smollm2")

    (made,) = docker.containers()
    pid = docker.good("GET", f"/containers/{made['Id']}/json")["State"]["Pid"]
    subprocess.run([*docker.enter(), "bash", "-c", f"kill -9 {pid}"], check=True)
    wait_until(lambda: [r["restarts"] for r in get(server, "smollm2")["replicas"]] == [1],
               PATIENCE, "its restart is told")
    (back,) = wait_ready(server, "smollm2", 1)
    assert (back["id"], back["endpoint"]) == (replica["id"], replica["endpoint"])
    assert set(ids(docker)) == {made["Id"]}
    assert wait_until(lambda: chat(server, "smollm2", **few).status == 200, PATIENCE, "an answer")

    berth(server, "scale", "smollm2", 3)
    replicas = wait_ready(server, "smollm2", 3)
    assert replica["id"] in {r["id"] for r in replicas}
    spread(server, "smollm2", replicas, **few)
    assert len(records(server)) == 1
    berth(server, "delete", "smollm2")
    wait_gone(server, "smollm2", PATIENCE)
    nothing_left(server, docker, ports_of(replicas))
    assert chat(server, "smollm2", **few).status == 404


def test_a_service_is_changed_and_adopted(server, docker, tmp_path):
    """A cheap engine: removed containers, a canary's tenth, back again, and a control plane that
    was killed at its work."""
    model = tmp_path / "m.echo"
    model.write_text("echo\n")
    spec = tmp_path / "service.yaml"
    spec.write_text(json.dumps({
        "modelName": "echo", "modelFile": str(model), "engine": "command", "replicaCount": 2,
        "command": ["berth", "serve", "--host=$(HOST)", "--port=$(PORT)", "--state-dir=none",
                    "--set=deploy.enabled=false",
                    "--model=" + json.dumps({"echo": {"path": str(model), "backend": "echo"}})],
        "healthPath": "/ready", "strategy": {"type": "canary", "canary": {"weight": 10}}}))
    berth(server, "deploy", "--file", spec)
    replicas = wait_ready(server, "echo", 2)
    spread(server, "echo", replicas)

    # A container that somebody removed is made again, and nobody notices.
    before = ids(docker)
    docker.good("DELETE", f"/containers/{next(iter(before))}?force=1")
    wait_until(lambda: (now := set(ids(docker))) != set(before) and len(now) == 2,
               PATIENCE, "another container")
    replicas = wait_ready(server, "echo", 2)
    spread(server, "echo", replicas)

    # The control plane dies and comes back: the same containers, and none besides.
    before = ids(docker)
    server.kill()
    assert ids(docker) == before
    server.start()
    wait_phase(server, "echo", seconds=PATIENCE)
    assert {r["id"] for r in wait_ready(server, "echo", 2)} == {r["id"] for r in replicas}
    # What one sees of a replica that was taken over, the router knows a moment later.
    wait_until(lambda: chat(server, "echo").status == 200, PATIENCE, "requests reach them again")
    spread(server, "echo", replicas)
    assert ids(docker) == before

    # A canary: a tenth of the requests, and it dies when it is taken back.
    berth(server, "update", "echo", "env.STAGE=new")
    both = wait_ready(server, "echo", 2, canary=1)
    (canary,) = [r["id"] for r in both if r["track"] == "canary"]
    spread(server, "echo", both)
    share = collections.Counter()

    def is_a_tenth():
        share.clear()
        share.update(asked(server, "echo", 100))
        return 5 <= share[canary] <= 15 and set(share) == {r["id"] for r in both}

    # One that gives no answer for seconds, as on a busy machine, gets no requests.
    wait_until(is_a_tenth, PATIENCE, f"a tenth of a hundred reaches {canary}")
    assert set(before) < set(ids(docker)) and len(records(server)) == 2
    berth(server, "rollback", "echo")
    assert {r["id"] for r in wait_ready(server, "echo", 2)} == {r["id"] for r in replicas}
    wait_until(lambda: ids(docker) == before, PATIENCE, "the canary is gone, the others stayed")
    assert canary not in asked(server, "echo", 20)
    wait_until(lambda: len(records(server)) == 1, PATIENCE, "the canary's record is gone")

    # Killed in the middle of an update and of a scale: it goes on with both.
    berth(server, "update", "echo", "strategy.type=rolling", "env.STAGE=newer", "--no-wait")
    berth(server, "scale", "echo", 3, "--no-wait")
    server.kill()
    server.start()
    wait_until(lambda: len(now := set(ids(docker))) == 3 and not set(before) & now,
               PATIENCE, "three new ones, and none of the old")
    after = wait_ready(server, "echo", 3)
    assert len({r["hash"] for r in after}) == 1

    sid = get(server, "echo")["serviceId"]
    berth(server, "delete", "echo", "--no-wait")  # and killed in the middle of that
    server.kill()
    server.start()
    wait_gone(server, sid, PATIENCE)
    nothing_left(server, docker, ports_of(both) + ports_of(after))
