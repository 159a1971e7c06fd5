"""The process environment through the control plane: engines that are processes of this machine."""
import os
import pathlib
import signal
import urllib.request

from harness import wait_until
from services import API, deploy, get, wait_gone, wait_phase

ENGINE = ["berth", "serve", "--host", "$(HOST)", "--port", "$(PORT)"]


def service(model, replicas, **more):
    return {"modelName": model, "modelFile": "/tmp", "shimlet": "process", "engine": "command",
            "command": ENGINE, "healthPath": "/v2/health/ready", "replicaCount": replicas, **more}


def replicas(server):
    """{replica: pid} of the engines that run for this server, by the mark in their environment."""
    mark = f"BERTH_REPLICA_OF={os.path.realpath(server.state_dir)}/shimlets/process"
    found = {}
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            env = (folder / "environ").read_text(errors="replace").split("\0")
            leads = os.getsid(int(folder.name)) == int(folder.name)
        except OSError:
            continue
        if mark in env and leads:
            name = next(e for e in env if e.startswith("BERTH_REPLICA=")).partition("=")[2]
            assert name not in found, f"two processes of {name}"
            found[name] = int(folder.name)
    return found


def all_ready(server, name, n):
    seen = get(server, name)["replicas"]
    return len(seen) == n and all(r["state"] == "ready" for r in seen)


def test_engines_outlive_the_control_plane(make_server):
    server = make_server()
    deploy(server, service("m", 2))
    wait_phase(server, "m")
    wait_until(lambda: all_ready(server, "m", 2), 60, "two replicas are ready")
    before = replicas(server)
    assert len(before) == 2
    for replica in get(server, "m")["replicas"]:
        with urllib.request.urlopen(replica["endpoint"] + "/v2/health/ready") as answer:
            assert answer.status == 200

    server.kill()
    assert replicas(server) == before
    server.start()
    wait_phase(server, "m")
    wait_until(lambda: all_ready(server, "m", 2), 60, "they are ready again")
    assert replicas(server) == before  # the same processes
    assert [r["restarts"] for r in get(server, "m")["replicas"]] == [0, 0]

    name, pid = next(iter(before.items()))
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: replicas(server).get(name, pid) != pid, 60, "a killed engine comes back")
    wait_until(lambda: all_ready(server, "m", 2), 60, "and is ready")

    assert server.delete(f"{API}/{get(server, 'm')['serviceId']}").status == 200
    wait_gone(server, "m")
    assert replicas(server) == {}
    left = pathlib.Path(server.state_dir, "shimlets/process")
    assert sorted(str(p.relative_to(left)) for p in left.rglob("*")) == ["lock", "units"]


def test_a_crash_loop_is_told_with_the_last_lines(make_server):
    server = make_server()
    deploy(server, service("m", 1, command=["sh", "-c", "echo no such model; exit 3"]))

    def told():
        return any("crash loop" in r["reason"] and "no such model" in r["reason"]
                   for r in get(server, "m")["replicas"])

    wait_until(told, 90, "the reason is told")
    server.delete(f"{API}/{get(server, 'm')['serviceId']}")
    wait_gone(server, "m")
    assert replicas(server) == {}
