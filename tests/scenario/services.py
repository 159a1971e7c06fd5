"""What the scenarios about deployed services share: a control plane over HTTP."""
import json
import re
import subprocess
import time

import harness

API = "/api/v1/modserv"
STEPS = ["model-validation", "config-rendering", "resource-deployment", "health-check"]


def berth(server, *args):
    """A command against that server; what it printed."""
    r = subprocess.run([harness.BERTH, *map(str, args), "--server", server.url], text=True,
                       capture_output=True, timeout=600 * harness.SLOW, env=server.env)
    assert r.returncode == 0, (args, r.stdout, r.stderr, server.log()[-3000:])
    return r.stdout


def deploy(server, spec, headers=None, **more):
    """Deploy; the answer's data."""
    answer = server.post(f"{API}/deploy", {**spec, **more}, headers=headers)
    assert answer.status == 200, answer
    assert answer.json["code"] == 0
    return answer.json["data"]


def get(server, service, what=""):
    answer = server.get(f"{API}/{service}{what}")
    assert answer.status == 200, answer
    return answer.json["data"]


def wait_phase(server, service, phase="running", seconds=60):
    """Wait for a phase; a failure that was not waited for ends the wait."""
    seen = {}

    def there():
        seen.update(get(server, service))
        assert phase == "failed" or seen["phase"] != "failed", (seen, server.log()[-3000:])
        return seen["phase"] == phase

    harness.wait_until(there, seconds, f"{service} is {phase}, not {seen.get('phase')}")
    return seen


def wait_gone(server, service, seconds=60):
    def gone():
        answer = server.get(f"{API}/{service}")
        return answer.status == 404 or answer.json["data"]["phase"] == "terminated"

    harness.wait_until(gone, seconds, f"{service} is gone")


def events(server, service=None, kind=None):
    query = "&".join(["list=1", "limit=10000"] + ([f"serviceId={service}"] if service else []) +
                     ([f"type={kind}"] if kind else []))
    answer = server.get(f"/api/v1/events?{query}", headers={"Accept": "application/json"})
    assert answer.status == 200, answer
    return answer.json["data"]


def shimmy(model="m", **script):
    """A spec for the scripted environment."""
    spec = {"modelName": model, "modelFile": "/tmp", "shimlet": "shimmy"}
    if script:
        spec["shimletConfig"] = script
    return spec


def step(server, service, name):
    (found,) = [s for s in get(server, service, "/pipeline")["steps"] if s["name"] == name]
    return found


def calls(server, service):
    """How often each operation of the scripted environment was called for a service."""
    message = get(server, service)["message"]
    return {k: int(v) for k, v in re.findall(r"(\w+) (\d+)", message)}


def wait(seconds):
    """A pause that a test is about: that nothing happens in it."""
    time.sleep(seconds)


def dumps(value):
    return json.dumps(value).encode()
