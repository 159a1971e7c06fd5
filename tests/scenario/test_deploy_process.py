"""Services as processes of this machine: deployed, hurt, scaled, changed and deleted, with real engines."""
import collections
import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess

import openai
import pytest

import harness
import services
from services import API, deploy, get, wait_gone, wait_phase

# One thread each, and short answers: this machine's cores are shared.
SMOL = {"modelName": "assistant", "modelFile": str(harness.SMOLLM), "resourceRequirements": {"cpu": "1"}}
ASKED = {"messages": [{"role": "user", "content": "What is the capital of France? Answer in one word."}],
         "max_tokens": 8, "temperature": 0}


def records(server):
    """{replica: (pid, its files)} of everything that the process environment keeps."""
    found = {}
    for run in pathlib.Path(server.state_dir, "shimlets").glob("*/units/*/*.run"):
        with contextlib.suppress(FileNotFoundError):  # it went after it was listed
            found[run.stem] = int(run.read_text().split()[0])
    return found


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # gone before it was opened, or before it was read
        return False


def marked(server):
    """Every process that was started for a service of this server: by what its environment says."""
    found = set()
    for at in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if server.state_dir.encode() in (at / "environ").read_bytes() and int(at.name) != server.pid:
                found.add(int(at.name))
        except OSError:
            pass
    return {p for p in found if alive(p)}


def ready(server, service, n):
    """n replicas, all of them ready, and a canary that there is has come about."""
    seen = get(server, service)
    up = [r for r in seen["replicas"] if r["state"] == "ready"]
    well = seen["phase"] == "running" and (seen["canary"] is None or seen["canary"]["state"] == "running")
    return seen if well and len(up) == len(seen["replicas"]) == n else None


def wait_ready(server, service, n, seconds=90):
    return harness.wait_until(lambda: ready(server, service, n), seconds,
                              f"{n} ready replicas: {get(server, service)}")


def base(endpoint):
    """The address of an endpoint, whichever path of it is told."""
    return endpoint.split("/v1/")[0]


def say(url, model="assistant"):
    client = openai.OpenAI(base_url=base(url) + "/v1", api_key="none", max_retries=0, timeout=60 * harness.SLOW)
    return client.chat.completions.create(model=model, **ASKED).choices[0].message.content


def chat(server, model):
    return server.post("/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": "x"}],
                                                "max_tokens": 1})


def asked(server, model, n):
    """How often which replica answered."""
    seen = collections.Counter()
    for _ in range(n):
        a = chat(server, model)
        assert a.status == 200, a
        seen[a.headers["x-berth-replica"]] += 1
    return seen


def echo(server, model="echo-1", **more):
    path = pathlib.Path(server.own_dir, "x.echo")
    path.write_text("echo\n")
    return deploy(server, {"modelName": model, "modelFile": str(path)}, **more)["serviceId"]


def is_free(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@pytest.fixture
def server(make_server):
    s = make_server()
    yield s
    if s.alive:
        for one in s.get(API).json["data"]:
            s.delete(f"{API}/{one['serviceId']}")
            wait_gone(s, one["serviceId"])
    for pid in marked(s):  # what a failed test has left
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_a_language_model_lives_through_everything(server):
    """The whole life of a service: what is asked of it is answered the same throughout."""
    sid = deploy(server, SMOL)["serviceId"]
    seen = wait_phase(server, sid, seconds=90)
    endpoint = seen["endpoint"]
    first = say(endpoint)
    assert "Paris" in first
    assert say(server.url) == first and "assistant" in [m.id for m in openai.OpenAI(
        base_url=server.url + "/v1", api_key="none").models.list()]

    # Its engine is killed: it comes back, at the same address.
    (replica, pid), = records(server).items()
    os.kill(pid, signal.SIGKILL)
    harness.wait_until(lambda: records(server).get(replica, pid) != pid, 60, "another process")
    # Until it is looked at, what one sees is the one before.
    seen = harness.wait_until(lambda: (s := ready(server, sid, 1)) and s["replicas"][0]["restarts"] and s, 90,
                              "it is ready again")
    assert seen["replicas"][0]["restarts"] == 1 and seen["endpoint"] == endpoint, seen
    assert say(server.url) == first
    assert not alive(pid) and len(marked(server)) == 1

    # The control plane is killed: the engine answers on, and is taken over as it is.
    running = records(server)
    server.kill()
    assert say(endpoint) == first
    server.start()
    seen = wait_ready(server, sid, 1)
    assert records(server) == running and marked(server) == set(running.values())
    assert seen["replicas"][0]["restarts"] == 1, seen
    # What one sees of a replica that was taken over, the router knows a moment later.
    harness.wait_until(lambda: chat(server, "assistant").status == 200, 60, "requests reach it again")
    assert say(server.url) == first and get(server, sid)["revision"] == 1

    # Deleted: no process, no file, no port.
    port = int(base(endpoint).rsplit(":", 1)[1])
    assert server.delete(f"{API}/{sid}").status == 200
    wait_gone(server, sid)
    assert marked(server) == set() and records(server) == {} and is_free(port)
    assert list(pathlib.Path(server.state_dir, "shimlets", "process", "units").iterdir()) == []
    assert server.post("/v1/chat/completions", {"model": "assistant", **ASKED}).status == 404


def test_three_replicas_share_the_load(server):
    sid = echo(server)
    wait_phase(server, sid)
    assert server.post(f"{API}/{sid}/scale", {"replicaCount": 3}).status == 200
    seen = wait_ready(server, sid, 3)
    counts = asked(server, "echo-1", 30)
    assert set(counts) == {r["id"] for r in seen["replicas"]} and min(counts.values()) >= 5, counts
    harness.wait_until(lambda: counts == {r: server.metric("berth_forwarded_total", replica=r, status="200")
                                          for r in counts}, 60, f"{counts} are counted")
    # One of them dies under load: nobody notices.
    os.kill(records(server)[seen["replicas"][1]["id"]], signal.SIGKILL)
    asked(server, "echo-1", 20)
    wait_ready(server, sid, 3)
    assert server.post(f"{API}/{sid}/scale", {"replicaCount": 1}).status == 200
    wait_ready(server, sid, 1)
    harness.wait_until(lambda: len(marked(server)) == 1, 60, "the others are gone")
    asked(server, "echo-1", 5)


def test_a_canary_gets_a_tenth(server):
    sid = echo(server)
    wait_phase(server, sid)
    stable = {r["id"] for r in get(server, sid)["replicas"]}
    change = {"env": [{"key": "A", "value": "1"}],
              "strategy": {"type": "canary", "canary": {"weight": 10, "replicas": 1}}}
    assert server.request("PATCH", f"{API}/{sid}", change).status == 200
    wait_ready(server, sid, 2)
    counts = asked(server, "echo-1", 100)
    assert sum(counts[r] for r in stable) == 90 and sum(counts.values()) == 100, counts
    harness.wait_until(lambda: {"stable": 90, "canary": 10} == {
        t: server.metric("berth_forwarded_total", track=t) for t in ("stable", "canary")}, 60, "they are counted")
    # It was no good: back to what was, whose process never went.
    before = records(server)
    assert server.post(f"{API}/{sid}/rollback", {}).status == 200
    seen = wait_ready(server, sid, 1)
    assert {r["id"] for r in seen["replicas"]} == stable and "env" not in seen["spec"], seen
    assert records(server) == {r: before[r] for r in stable}
    assert set(asked(server, "echo-1", 10)) == stable
    # Once more, and it becomes the service.
    assert server.request("PATCH", f"{API}/{sid}", change).status == 200
    wait_ready(server, sid, 2)
    assert server.post(f"{API}/{sid}/promote", {}).status == 200
    seen = harness.wait_until(lambda: (lambda s: s and s["replicas"][0]["id"] not in stable and s)(
        ready(server, sid, 1)), 90, "the canary is the service")
    assert seen["spec"]["env"] == change["env"]
    assert not stable & set(asked(server, "echo-1", 10))


def test_an_update_rolls_and_is_rolled_back(server):
    sid = echo(server, replicaCount=2)
    first = wait_phase(server, sid)
    hashes = {r["hash"] for r in first["replicas"]}
    assert len(hashes) == 1

    def rolled(to):
        seen = ready(server, sid, 2)
        return seen if seen and ({r["hash"] for r in seen["replicas"]} == hashes) == to else None

    assert server.request("PATCH", f"{API}/{sid}", {"env": {"A": "1"}}).status == 200
    while not rolled(False):  # nobody waits for it to be over: no request fails on the way
        asked(server, "echo-1", 5)
    assert get(server, sid)["revision"] == 2
    assert server.post(f"{API}/{sid}/rollback?revision=1").status == 200
    while not rolled(True):
        asked(server, "echo-1", 5)
    assert get(server, sid)["revision"] == 3 and "env" not in get(server, sid)["spec"]
    harness.wait_until(lambda: len(marked(server)) == 2, 60, "those that were replaced are gone")


def test_a_control_plane_that_dies_at_odd_times_makes_nothing_twice(server):
    kept = echo(server, "kept", replicaCount=2)
    wait_phase(server, kept)
    for i in range(3):
        new = echo(server, f"new-{i}", replicaCount=2)
        services.wait(0.02 * i)
        server.kill()
        server.start()
        wait_ready(server, new, 2)
        wait_ready(server, kept, 2)
        assert len(marked(server)) == 2 * (i + 2) == len(records(server))


def test_what_cannot_run_says_why(server):
    bad = pathlib.Path(server.own_dir, "bad.gguf")
    bad.write_text("this is no model\n")
    sid = deploy(server, {"modelName": "bad", "modelFile": str(bad)}, startTimeoutMs=10_000,
                 steps={"health-check": {"maxRetries": 0}})["serviceId"]
    seen = wait_phase(server, sid, "failed", 90)
    assert "not ready" in seen["message"], seen
    # An engine that stood still has said nothing yet: then it has when it is tried again, which it is by itself.
    harness.wait_until(lambda: (s := get(server, sid))["phase"] == "failed" and "not ready" in s["message"] and
                       "bad.gguf" in json.dumps(s["replicas"]), 90, "the engine's words")
    harness.wait_until(lambda: "bad.gguf" in server.get(f"{API}/{sid}/logs").text, 60, "its log has them")
    sid = deploy(server, {"modelName": "absent", "modelFile": "/nowhere/x.gguf"})["serviceId"]
    seen = wait_phase(server, sid, "failed", 60)
    assert seen["message"].startswith("model-validation: modelFile: /nowhere/x.gguf: No such file"), seen
    assert "retry" in seen["message"]
    states = [(s["state"], s["attempts"]) for s in get(server, sid, "/pipeline")["steps"]]
    assert states == [("failed", 1)] + [("skipped", 0)] * 3  # nothing was started


LOADING = """
import http.server, sys
class Loading(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503)
        self.end_headers()
        self.wfile.write(b'{"error": {"message": "Loading\\n model"}}')
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Loading).serve_forever()
"""


def test_what_is_starting_says_what_it_waits_for(server):
    sid = deploy(server, {"modelName": "late", "modelFile": "/tmp", "healthPath": "/up", "startTimeoutMs": 300_000,
                          "command": ["python3", "-c", LOADING, "$(PORT)"]})["serviceId"]

    def told():
        seen = get(server, sid)
        return seen if seen["phase"] == "health-checking" and "answers 503" in seen["message"] else None

    seen = harness.wait_until(told, 60, f"what it waits for: {get(server, sid)}")
    (replica,) = seen["replicas"]
    said = (rf"starting for \d+ s of at most 300 s: {replica['endpoint']}/up answers 503 "
            r'\({"error": {"message": "Loading model"}}\)')
    assert re.fullmatch(said, replica["reason"]), replica
    assert seen["message"].startswith(f"{replica['id']}: {replica['reason']}"), seen
    # The step's beginning is an event, which is written a moment after the phase is seen.
    harness.wait_until(lambda: any(e["step"] == "health-check" for e in services.events(server, sid, "service.step")),
                       60, "its beginning is told")
    before = len(services.events(server, sid))
    harness.wait_until(lambda: get(server, sid)["replicas"][0]["reason"] != replica["reason"], 60, "a second later")
    assert len(services.events(server, sid)) == before  # it is told whoever asks, and nobody else


@pytest.mark.parametrize("engine", ["vllm", "berth"])
def test_a_service_without_a_model_fails_and_harms_nothing(server, engine):
    """It was a crash, and with the record in the store one at each start."""
    sid = deploy(server, {"modelName": "y", "engine": engine})["serviceId"]
    for _ in range(2):
        seen = wait_phase(server, sid, "failed")
        assert seen["message"].startswith("config-rendering: modelFile: is missing"), seen
        server.kill()
        server.start()
    assert server.post(f"{API}/{sid}/retry", {}).status in (200, 202)
    wait_phase(server, sid, "failed")


def test_a_command_is_an_engine_and_needs_no_network(make_server, tmp_path):
    """The edge shimlet, in a network namespace with nothing but loopback."""
    script = tmp_path / "engine.py"
    script.write_text("""
import http.server, os, sys
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(os.environ["SAID"].encode())
    def log_message(self, *a): pass
http.server.HTTPServer((sys.argv[1], int(sys.argv[2])), H).serve_forever()
""")
    spec = tmp_path / "service.json"
    spec.write_text(json.dumps({"modelName": "any", "shimlet": "edge", "command": [
        "python3", str(script), "$(HOST)", "$(PORT)"], "env": {"SAID": "replica $(REPLICA)"}}))
    state, port = tmp_path / "state", harness.free_port()
    lines = f"""
ip link set lo up
{harness.BERTH} serve --shimlet edge --port {port} --state-dir {state} 2>{tmp_path}/log &
server=$!
export BERTH_SERVER=http://127.0.0.1:{port}
for i in $(seq 600); do curl -sf $BERTH_SERVER/health >/dev/null && break; sleep 0.1; done
{harness.BERTH} deploy -f {spec} && curl -s "$({harness.BERTH} describe any --json |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["replicas"][0]["endpoint"])')"
echo; {harness.BERTH} delete any
kill $server; wait $server; echo ended $?
"""
    out = subprocess.run(["unshare", "-rn", "bash", "-c", lines], capture_output=True, text=True,
                         timeout=600 * harness.SLOW)
    assert "is running after" in out.stdout and "replica 0" in out.stdout, (out, (tmp_path / "log").read_text())
    assert "is deleted" in out.stdout and "ended 0" in out.stdout, out
