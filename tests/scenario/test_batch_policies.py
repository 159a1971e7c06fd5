"""Preferred sizes, priorities, timeouts in the queue, and what is decided from measured runs."""
import concurrent.futures
import os
import pathlib
import signal
import statistics
import subprocess
import threading
import time

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

import harness

pytestmark = pytest.mark.sanitize


def infer(server, model, value, **parameters):
    body = {"inputs": [harness.v2_input("x", "INT32", [1], [value])]}
    if parameters:
        body["parameters"] = parameters
    return server.post(f"/v2/models/{model}/infer", body, timeout=60)


def value_of(server, name, **labels):
    return server.metrics().get((name, tuple(sorted(labels.items()))), 0)


def status(server, model):
    return server.get(f"/v1/models/{model}/status").json


class Busy:
    """The one instance of a model of `delay_ms` is kept busy while the others come."""

    def __init__(self, server, model):
        self.server, self.model = server, model
        self.pool = concurrent.futures.ThreadPoolExecutor(64)
        self.first = self.pool.submit(infer, server, model, -1)
        harness.wait_until(lambda: status(server, model)["running"] == 1, 10, "a running request")

    def ask(self, n, **parameters):
        """n requests, each queued before the next one is sent."""
        asked = []
        for i in range(n):
            before = status(self.server, self.model)["queue_length"]
            asked.append(self.pool.submit(self.one, i, parameters))
            harness.wait_until(
                lambda: status(self.server, self.model)["queue_length"] > before, 10, "it queued")
        return asked

    def one(self, i, parameters):
        answer = infer(self.server, self.model, i, **parameters)
        return answer, time.monotonic()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.pool.shutdown()


def test_a_preferred_size_goes_at_once(make_server):
    server = make_server()
    server.register("echo", config={"batching": {
        "mode": "dynamic", "max_batch_size": 16, "max_wait_ms": 20000, "preferred_batch_size": [4]}})
    begin = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda i: infer(server, "echo", i), range(4)))
    assert all(a.status == 200 for a in answers)
    assert time.monotonic() - begin < 15, "four are a preferred size: nobody waits 20 s"
    assert value_of(server, "berth_batch_size_count", model="echo") == 1


def test_the_urgent_pass_those_that_wait(make_server):
    server = make_server()
    server.register("echo", config={"delay_ms": 600, "batching": {
        "mode": "off", "priority_levels": 3, "default_priority_level": 2}})
    with Busy(server, "echo") as busy:
        low = busy.ask(2, priority=3)
        normal = busy.ask(1)
        high = busy.ask(1, priority=1)
        ends = [f.result()[1] for f in (high[0], normal[0], low[0], low[1])]
    assert ends == sorted(ends)


def test_under_saturation_the_urgent_are_faster(make_server):
    """Sixteen clients keep one instance busy: p99 of the urgent is below p50 of the others."""
    server = make_server("--set", "engine.queue_len=1024")
    server.register("echo", config={"delay_ms": 5, "batching": {
        "mode": "dynamic", "max_batch_size": 2, "max_wait_ms": 0, "priority_levels": 2,
        "default_priority_level": 2}})
    times = {1: [], 2: []}
    stop = time.monotonic() + 4 * harness.SLOW

    def client(priority):
        while time.monotonic() < stop:
            begin = time.monotonic()
            assert infer(server, "echo", 1, priority=priority).status == 200
            times[priority].append(time.monotonic() - begin)

    threads = [threading.Thread(target=client, args=(1 if i < 2 else 2,)) for i in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    high = sorted(times[1])
    assert len(high) > 100
    assert high[int(len(high) * 0.99)] < statistics.median(times[2])


def test_generations_have_priorities(make_server):
    server = make_server()
    server.register("echo", config={"token_ms": 2, "batching": {"priority_levels": 2,
                                                                "default_priority_level": 2}})
    # 64 sequences are all that echo takes at once: fill them, then ask in the wrong order.
    long = " ".join(["w"] * 400)
    ended = []

    def ask(text, priority):
        body = {"model": "echo", "prompt": text, "max_tokens": 400}
        if priority:
            body["priority"] = priority
        assert server.post("/v1/completions", body, timeout=60).status == 200
        ended.append((text, priority))

    with concurrent.futures.ThreadPoolExecutor(80) as pool:
        for _ in range(64):
            pool.submit(ask, long, 0)
        harness.wait_until(lambda: status(server, "echo")["running"] == 64, 20, "64 sequences")
        pool.submit(ask, "low " + long, 0)
        harness.wait_until(lambda: status(server, "echo")["queue_length"] == 1, 10, "one waits")
        pool.submit(ask, "x", 1)
    tail = [e for e in ended if e[0] != long]
    assert tail == [("x", 1), ("low " + long, 0)]


def test_who_waits_too_long_is_refused_in_time(make_server):
    server = make_server()
    server.register("echo", config={"delay_ms": 3000, "batching": {
        "mode": "off", "queue_policy": {"default_timeout_ms": 200}}})
    with Busy(server, "echo") as busy:
        begin = time.monotonic()
        answer, end = busy.ask(1)[0].result()
        assert answer.status == 504
        assert "Request timeout expired" in answer.json["error"]
        assert end - begin < 2.5, "it was answered when its time was up, not when the engine was free"
        assert busy.first.result().status == 200
    assert value_of(server, "berth_queue_timeouts_total", model="echo") == 1


def test_a_request_may_ask_for_less_where_it_is_allowed(make_server):
    server = make_server()
    server.register("may", config={"delay_ms": 2000, "batching": {
        "mode": "off", "queue_policy": {"allow_timeout_override": True}}})
    # Its time is the queue's: the run that takes longer is not cut.
    assert infer(server, "may", 1, timeout=1_000_000).status == 200
    client = triton.InferenceServerClient(f"127.0.0.1:{server.port}", network_timeout=60)
    x = triton.InferInput("x", [1], "INT32")
    x.set_data_from_numpy(np.array([1], dtype=np.int32))
    with Busy(server, "may"):
        with pytest.raises(InferenceServerException, match="Request timeout expired"):
            client.infer("may", [x], timeout=100_000, priority=1)
    client.close()
    # Elsewhere it is the whole request's.
    server.register("not", config={"delay_ms": 2000})
    a = infer(server, "not", 1, timeout=100_000)
    assert a.status == 504 and "did not answer within 0.100 s" in a.json["error"]


def test_the_delayed_are_served_all_the_same(make_server):
    server = make_server()
    server.register("echo", config={"delay_ms": 500, "batching": {
        "mode": "off", "queue_policy": {"timeout_action": "delay", "default_timeout_ms": 100}}})
    with Busy(server, "echo") as busy:
        assert [f.result()[0].status for f in busy.ask(2)] == [200, 200]
    assert value_of(server, "berth_queue_timeouts_total", model="echo") == 0


def test_a_level_takes_no_more_than_its_size(make_server):
    server = make_server()
    server.register("echo", config={"delay_ms": 1500, "batching": {
        "mode": "off", "priority_levels": 2, "default_priority_level": 1,
        "priority_queue_policy": {"2": {"max_queue_size": 1}}}})
    with Busy(server, "echo") as busy:
        waiting = busy.ask(1, priority=2)
        a = infer(server, "echo", 5, priority=2)
        assert a.status == 429 and "priority 2" in a.json["error"]
        assert "retry-after" in a.headers
        assert infer(server, "echo", 5, priority=1).status == 200
        assert waiting[0].result()[0].status == 200


@pytest.mark.parametrize("batching,words", [
    ({"mode": "sometimes"}, ["auto, dynamic or off"]),
    ({"preferred_batch_size": [8, 4]}, ["larger than the one before"]),
    ({"priority_levels": 2, "default_priority_level": 3}, ["default_priority_level", "2 levels"]),
    ({"priority_levels": 2, "priority_queue_policy": {"3": {}}}, ["beyond", "priority_levels"]),
    ({"queue_policy": {"timeout_action": "DROP"}}, ["reject or delay"]),
    ({"queue_policy": {"timeout": 3}}, ["unknown key 'timeout'", "default_timeout_ms"]),
    ({"length_buckets": [8]}, ["pad"]),
])
def test_a_wrong_policy_is_refused_with_its_place(make_server, batching, words):
    server = make_server()
    a = server.post("/v1/models", {"name": "m", "backend": "echo", "model_path": server.log_path,
                                   "config": {"batching": batching}})
    assert a.status == 400
    for w in words:
        assert w in a.text, a.text


def test_triton_sees_the_policy(make_server):
    server = make_server()
    server.register("echo", config={"batching": {
        "max_wait_ms": 3, "preferred_batch_size": [4, 8], "priority_levels": 2,
        "default_priority_level": 1,
        "queue_policy": {"timeout_action": "delay", "default_timeout_ms": 7}}})
    d = server.get("/v2/models/echo/config").json["dynamic_batching"]
    assert d["preferred_batch_size"] == [4, 8]
    assert d["max_queue_delay_microseconds"] == 3000
    assert d["priority_levels"] == 2 and d["default_priority_level"] == 1
    assert d["priority_queue_policy"]["2"] == {
        "timeout_action": "DELAY", "default_timeout_microseconds": 7000,
        "allow_timeout_override": False, "max_queue_size": 0}


def test_triton_sees_the_policy_over_grpc(make_server):
    import tritonclient.grpc as triton_grpc
    server = make_server()
    server.register("echo", config={"batching": {
        "max_wait_ms": 3, "preferred_batch_size": [4, 8], "priority_levels": 2,
        "priority_queue_policy": {"2": {"timeout_action": "delay", "default_timeout_ms": 7}}}})
    server.register("plain", config={"batching": {"queue_policy": {"max_queue_size": 9}}})
    client = triton_grpc.InferenceServerClient(f"127.0.0.1:{server.port}")
    d = client.get_model_config("echo").config.dynamic_batching
    assert list(d.preferred_batch_size) == [4, 8] and d.max_queue_delay_microseconds == 3000
    assert d.priority_levels == 2 and d.default_priority_level == 1
    p = d.priority_queue_policy[2]
    assert p.timeout_action == 1 and p.default_timeout_microseconds == 7000
    d = client.get_model_config("plain").config.dynamic_batching
    assert d.priority_levels == 0 and d.default_queue_policy.max_queue_size == 9
    client.close()


def decided(server, model, decision):
    """Clients ask until that is decided."""
    def ask(_):
        assert infer(server, model, 1).status == 200

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for _ in range(40):
            list(pool.map(ask, range(16)))
            ask(0)
            if status(server, model)["batching"]["decision"] == decision:
                return True
    return False


def test_a_model_that_gains_is_batched_and_says_so(make_server):
    server = make_server()
    # Each run takes 5 ms, however many are in it.
    server.register("gains", config={"delay_ms": 5})
    assert status(server, "gains")["batching"]["decision"] == "measuring"
    assert decided(server, "gains", "batch"), status(server, "gains")["batching"]
    b = status(server, "gains")["batching"]
    assert b["mode"] == "auto" and b["batched_ms"] < b["single_ms"]
    assert "in a batch" in b["reason"]
    shown = subprocess.run([harness.BERTH, "show", "gains"], text=True,
                           env={**os.environ, "BERTH_HOST": f"127.0.0.1:{server.port}"},
                           capture_output=True, check=True, timeout=60).stdout
    assert "batching   auto, batch: a request costs" in shown, shown


def test_what_has_no_batch_dimension_does_not_wait(make_server):
    server = make_server()
    server.register("single", config={"batch": 0, "delay_ms": 1})
    infer(server, "single", 1)
    b = status(server, "single")["batching"]
    assert b["decision"] == "alone" and b["wait_ms"] == 0
    assert b["reason"] == "the model has no batch dimension"


def test_a_slow_instance_holds_nobody_else(make_server):
    """Two instances: while one works for long, the other goes on with what comes."""
    server = make_server()
    server.register("two", config={"instances": 2, "delay_ms": 300, "batching": "off"})
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        begin = time.monotonic()
        assert all(a.status == 200 for a in pool.map(lambda i: infer(server, "two", i), range(8)))
        took = time.monotonic() - begin
    assert took < 8 * 0.3, "eight runs of 300 ms on two instances take four turns, not eight"


def workers_of(server):
    """The processes of the server's isolated models."""
    children = pathlib.Path(f"/proc/{server.pid}/task").glob("*/children")
    pids = {int(p) for f in children for p in f.read_text().split()}
    return {p for p in pids
            if pathlib.Path(f"/proc/{p}/cmdline").read_bytes().startswith(b"berth\0worker\0")}


def wakes_of(pid):
    """How often a process' threads have waited for something so far."""
    texts = [f.read_text() for f in pathlib.Path(f"/proc/{pid}/task").glob("*/status")]
    return sum(int(t.split("\nvoluntary_ctxt_switches:")[1].split()[0]) for t in texts)


def test_what_an_instance_fails_another_does(make_server):
    """Two instances in processes of their own; the one at work is killed: its request is answered."""
    server = make_server()
    server.register("two", config={"instances": 2, "isolation": "process", "delay_ms": 1500,
                                   "batching": "off"})

    def retries():
        return value_of(server, "berth_retries_total", model="two")

    # Which process works on a request nobody tells, but it was woken for it.  Should it be the other one,
    # nothing is lost; the fifth crash within a minute would be the model's end.
    for _ in range(4):
        workers = harness.wait_until(
            lambda: len(workers_of(server)) == 2 and workers_of(server), 20, "two workers")
        before = {pid: wakes_of(pid) for pid in workers}
        with Busy(server, "two") as busy:
            os.kill(max(workers, key=lambda pid: wakes_of(pid) - before[pid]), signal.SIGKILL)
            assert busy.first.result().status == 200
        if retries() > 0:
            break
    assert retries() == 1
    assert value_of(server, "berth_inferences_total", model="two", result="error") == 0


def test_grpc_has_priorities_and_timeouts_too(make_server):
    import tritonclient.grpc as triton_grpc
    server = make_server()
    server.register("echo", config={"delay_ms": 700, "batching": {
        "mode": "off", "priority_levels": 2, "default_priority_level": 2,
        "queue_policy": {"allow_timeout_override": True}}})
    client = triton_grpc.InferenceServerClient(f"127.0.0.1:{server.port}")
    x = triton_grpc.InferInput("x", [1], "INT32")
    x.set_data_from_numpy(np.array([1], dtype=np.int32))
    with Busy(server, "echo") as busy:
        low = busy.ask(1)
        client.infer("echo", [x], priority=1)
        high_end = time.monotonic()
        assert low[0].result()[1] > high_end
    with Busy(server, "echo"):
        with pytest.raises(InferenceServerException, match="Request timeout expired"):
            client.infer("echo", [x], timeout=50_000)
    client.close()


@pytest.mark.parametrize("body", [{"priority": 1}, {"parameters": {"priority": 1}},
                                  {"options": {"priority": 1}}])
def test_unimodel_has_priorities(make_server, body):
    server = make_server()
    server.register("echo", config={"delay_ms": 400, "batching": {
        "mode": "off", "priority_levels": 2, "default_priority_level": 2}})
    with Busy(server, "echo") as busy:
        low = busy.ask(2)
        a = server.post("/v1/models/echo:predict", {"input": [1], **body}, timeout=60)
        high_end = time.monotonic()
        assert a.status == 200, a
        assert all(f.result()[1] > high_end for f in low)


def test_a_bad_priority_is_named(make_server):
    server = make_server()
    server.register("echo")
    a = server.post("/v1/models/echo:predict", {"input": [1], "priority": "high"})
    assert a.status == 400 and "priority" in a.text
    a = infer(server, "echo", 1, priority="high")
    assert a.status == 400 and "priority" in a.text
