"""Several models at work on the same cores: the threads that run never pass the cores there are."""
import concurrent.futures
import subprocess
import threading

import harness


def generate(server, model, tokens=48):
    a = server.post("/v1/completions", {"model": model, "prompt": "A ship left its berth and",
                                        "max_tokens": tokens, "ignore_eos": True,
                                        "temperature": 0}, timeout=120 * harness.SLOW)
    assert a.status == 200, a
    assert a.json["usage"]["completion_tokens"] == tokens
    return a.json["choices"][0]["text"]


def instances(server, model):
    return server.get(f"/v1/models/{model}/status").json["instances"]


class Watch(threading.Thread):
    """The most cores that were in use at any look."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.most, self.stop = server, 0, threading.Event()

    def run(self):
        while not self.stop.wait(0.005):
            self.most = max(self.most, self.server.metric("berth_cores_in_use") or 0)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc):
        self.stop.set()
        self.join()


def both(server):
    with Watch(server) as watch, concurrent.futures.ThreadPoolExecutor(2) as pool:
        for job in [pool.submit(generate, server, m) for m in ("one", "two")]:
            job.result()
    return watch.most


def both_seen(server, waits=0):
    """The same, until they were seen at work and each has waited more than so often for the other: on a
    machine that halts nobody looks meanwhile, or one is done before the other begins."""
    most = 0

    def met():
        nonlocal most
        most = max(most, both(server))
        waited = [server.metric("berth_cores_wait_seconds_count", model=m) or 0 for m in ("one", "two")]
        return most >= 1 and (waits == 0 or min(waited) > waits)

    harness.wait_until(met, 60, "both at work at once")
    return most


def forced(server):
    """Where a step lasts more than a second, on a machine in trouble, the next does not wait for it."""
    return server.metric("berth_cores_forced_total")


def test_two_generations_share_two_cores(make_server):
    server = make_server("--cores", 2)
    for name in ("one", "two"):
        server.register(name, "llama", harness.SMOLLM, config={"context_length": 512})
        assert instances(server, name)[0]["threads"] == 2
    assert server.metric("berth_cores") == 2
    assert 1 <= both_seen(server) <= 2 + forced(server)
    for name in ("one", "two"):  # their last steps were beside each other, or alone
        assert instances(server, name)[0]["cores_given"] in (1, 2)
    harness.wait_until(lambda: server.metric("berth_cores_in_use") == 0, 60, "all cores given back")


def test_on_one_core_they_take_turns(make_server):
    server = make_server("--cores", 1)
    for name in ("one", "two"):
        server.register(name, "llama", harness.SMOLLM, config={"context_length": 512})
    assert 1 <= both_seen(server, waits=5) <= 1 + forced(server)
    for name in ("one", "two"):
        assert instances(server, name)[0]["cores_given"] == 1
    text = subprocess.run([harness.BERTH, "show", "one", "--server", server.url],
                          capture_output=True, text=True, timeout=60 * harness.SLOW).stdout
    assert ", 1 thread" in text, text
    text = subprocess.run([harness.BERTH, "ps", "--server", server.url],
                          capture_output=True, text=True, timeout=60 * harness.SLOW).stdout
    head, first = text.splitlines()[:2]
    at = head.index("THREADS")
    assert first[at:].split()[0] == "1", text


def test_who_only_waits_takes_no_core(make_server):
    """An engine that says it computes nothing runs beside others of its kind on one core."""
    server = make_server("--cores", 1)
    names = [f"sleeper{i}" for i in range(4)]
    for name in names:
        server.register(name, config={"delay_ms": 300})
    gate = threading.Barrier(4)

    def ask(name):
        gate.wait(60)
        return server.post(f"/v2/models/{name}/infer",
                           {"inputs": [harness.v2_input("x", "INT32", [1], [1])]})

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert [a.status for a in pool.map(ask, names)] == [200] * 4
    for name in names:
        assert server.metric("berth_cores_wait_seconds_count", model=name) == 0
        assert instances(server, name)[0]["threads"] == 0


def test_the_governor_can_be_switched_off(make_server):
    server = make_server("--cores", 2, "--set", "engine.governor=false")
    for name in ("one", "two"):
        server.register(name, "llama", harness.SMOLLM, config={"context_length": 512,
                                                               "threads": 1})
    assert both(server) == 0
    assert instances(server, "one")[0] | {"threads": 1, "cores_given": 0} == \
        instances(server, "one")[0]
