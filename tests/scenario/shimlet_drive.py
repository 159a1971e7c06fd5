"""A shimlet without the control plane: build/test_shimlet_drive does what it is told, line by line."""
import collections
import json
import os
import queue
import subprocess
import threading

import pytest

import harness

PROGRAM = harness.BERTH.parent / "test_shimlet_drive"


class Drive:
    """with Drive("kubernetes", {...settings}) as d: d.apply(unit) ..."""

    def __init__(self, name, settings, owner="test", env=None, state_dir=None):
        args = [PROGRAM, name, json.dumps(settings), owner] + ([state_dir] if state_dir else [])
        self.process = subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, env={**os.environ, **(env or {})})
        self.answers = queue.Queue()
        self.events = []  # (name, what), all so far
        self.lock = threading.Lock()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            self.process.wait(60 * harness.SLOW)
        self.reader.join()
        self.process.stdout.close()

    def read(self):
        for line in self.process.stdout:
            said = json.loads(line)
            if "event" in said:
                with self.lock:
                    self.events.append((said["event"], said["what"]))
            else:
                self.answers.put(said)

    def ask(self, op, **what):
        """The answer, whatever it is: {"r": 0, ...}."""
        self.process.stdin.write(json.dumps({"op": op, "timeout_ms": 240_000, **what}) + "\n")
        self.process.stdin.flush()
        return self.answers.get(timeout=300 * harness.SLOW)

    def do(self, op, **what):
        """The answer of what must succeed."""
        answer = self.ask(op, **what)
        assert answer["r"] >= 0, answer
        return answer

    def wait_does(self, op, **what):
        """Until it succeeds: the server may be slow, or have come back just now."""
        return harness.wait_until(lambda: (a := self.ask(op, **what))["r"] >= 0 and a, PATIENCE, f"{op} {what}")

    def apply(self, unit):
        return self.do("apply", unit=unit)

    def status(self, name):
        return self.do("status", name=name)

    def said(self, name, since=0):
        """What events of that name said, from the event number `since` on."""
        with self.lock:
            return [what for event, what in self.events[since:] if event == name]

    def count(self):
        with self.lock:
            return len(self.events)

    def ready(self, name):
        return [r for r in self.status(name)["replicas"] if r["state"] == "ready"]

    def wait_ready(self, name, n, seconds=60):
        def all_ready():
            seen = self.status(name)
            up = [r for r in seen["replicas"] if r["state"] == "ready"]
            return seen if seen["exists"] and len(up) == n == len(seen["replicas"]) else None
        return harness.wait_until(all_ready, seconds, f"{n} replicas of {name} ready")

    def remove(self, name, seconds=60):
        """Until nothing is left.  A call that fails is made again."""
        said = {"r": 1}

        def gone():
            said.update(self.ask("remove", name=name))
            return said["r"] == 0

        try:
            harness.wait_until(gone, seconds, f"{name} gone")
        except AssertionError as e:
            raise AssertionError(f"{e}: {said}") from None

    def memory(self):
        """Resident MiB."""
        with open(f"/proc/{self.process.pid}/statm") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    def cpu(self):
        """Seconds of CPU so far."""
        with open(f"/proc/{self.process.pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# ---- the Kubernetes one ----

# What a cluster does takes a minute on a busy machine, and its garbage collector more after an API server was away.
PATIENCE = 150
PLAIN = {"name": "llama-stable", "service_id": "llama-0b0c", "hash": "h1", "replicas": 2,
         "model_name": "Llama-3.8B", "model_path": "/models/llama", "image": "vllm/vllm-openai:v0.10.0",
         "command": ["/engine", "--port=$(PORT)", "--host=$(HOST)"]}


class KubeDrive(Drive):
    def wait_ready(self, name, n, seconds=PATIENCE):
        return super().wait_ready(name, n, seconds)

    def wait_seen(self, name, n):
        """As wait_ready(), and its workload and its Service are known, too: each kind's watch may lag."""
        return harness.wait_until(lambda: not (x := self.wait_ready(name, n))["drifted"] and x, PATIENCE,
                                  f"all of {name} is seen")

    def remove(self, name, seconds=PATIENCE):
        super().remove(name, seconds)


def unit(name, **more):
    return {**PLAIN, "name": name, "service_id": f"{name}-id", **more}


@pytest.fixture
def settings(cluster):
    # The limits of 10 calls a second, and of how long one takes, are other tests'.
    return {"kubeconfig": str(cluster.config), "qps": 200, "burst": 200, "timeout_s": 120}


@pytest.fixture
def drive(settings):
    with KubeDrive("kubernetes", settings) as d:
        yield d


def deployment(cluster, name):
    return cluster.get(f"/apis/apps/v1/namespaces/default/deployments/{name}")


def service(cluster, name):
    return cluster.get(f"/api/v1/namespaces/default/services/{name}")


def pods_of(cluster, name):
    return cluster.objects("/api/v1/namespaces/default/pods?labelSelector="
                           f"app.kubernetes.io/instance={name}")


def wait_unplayed_gone(cluster, drive, name):
    """Of a machine where no kubelet ends the pods.  A controller that has not heard of their end yet may make more."""
    def gone():
        for pod in pods_of(cluster, name):
            path = f"/api/v1/namespaces/default/pods/{pod['metadata']['name']}?gracePeriodSeconds=0"
            cluster.api("DELETE", path)
        return drive.ask("remove", name=name)["r"] == 0

    harness.wait_until(gone, PATIENCE, f"{name} gone")


def asked(cluster, since):
    """As calls(), but for watches, which end and begin anew every few minutes, and for what a server in trouble
    could not do or put off, which is asked again."""
    counts = collections.Counter()
    for event in cluster.audited(since):
        ref, code = event.get("objectRef", {}), event.get("responseStatus", {}).get("code", 0)
        if event["verb"] != "watch" and event["stage"] == "ResponseComplete" and code < 500 and code != 429:
            name = ref.get("resource", event["requestURI"].split("?")[0])
            counts[event["verb"], name + ("/" + ref["subresource"] if "subresource" in ref else "")] += 1
    return counts
