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


def wait_us(answer):
    """How long a request of infer(berth_timing=True) was in the queue.  Who came later and waited
    less ran earlier; the server tells it, whenever clients come to read their answers."""
    return answer.json["parameters"]["berth_queue_us"]


def value_of(server, name, **labels):
    return server.metrics().get((name, tuple(sorted(labels.items()))), 0)


def status(server, model):
    return server.get(f"/v1/models/{model}/status").json


def in_a_queue(server, model, *asks):
    """The answers to asks: they were in the queue together, in this order, while the one instance of
    a model of `delay_ms` was busy with another request."""
    def queued():
        return status(server, model)["queue_length"]

    for _ in range(5):  # the machine may be so slow that the other request has ended too early
        with concurrent.futures.ThreadPoolExecutor(len(asks) + 1) as pool:
            first = pool.submit(infer, server, model, -1)
            harness.wait_until(lambda: first.done() or status(server, model)["running"] == 1, 60, "it runs")
            asked = []
            for ask in asks:
                asked.append(pool.submit(ask))
                harness.wait_until(lambda: first.done() or queued() == len(asked), 60, "it is queued")
            together = queued() == len(asks)
        assert first.result().status == 200
        if together:
            return [f.result() for f in asked]
    pytest.fail("they never waited together")


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
    def ask(**priority):
        return lambda: infer(server, "echo", 0, berth_timing=True, **priority)

    low, low_too, normal, high = in_a_queue(server, "echo", ask(priority=3), ask(priority=3), ask(), ask(priority=1))
    assert wait_us(high) < wait_us(normal) < wait_us(low) < wait_us(low_too)


def test_under_saturation_the_urgent_are_faster(make_server):
    """Sixteen clients keep one instance busy: p95 of the urgent is below p50 of the others."""
    server = make_server("--set", "engine.queue_len=1024")
    server.register("echo", config={"delay_ms": 50, "batching": {
        "mode": "dynamic", "max_batch_size": 2, "max_wait_ms": 0, "priority_levels": 2,
        "default_priority_level": 2}})
    times = {1: [], 2: []}

    def client(priority):
        while len(times[1]) < 120:
            begin = time.monotonic()
            assert infer(server, "echo", 1, priority=priority).status == 200
            times[priority].append(time.monotonic() - begin)

    threads = [threading.Thread(target=client, args=(1 if i < 2 else 2,)) for i in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    high = sorted(times[1])
    # A pause of the whole machine is in one answer of each client.
    assert high[int(len(high) * 0.95)] < statistics.median(times[2])


def test_generations_have_priorities(make_server):
    server = make_server()
    server.register("echo", config={"token_ms": 10, "batching": {"priority_levels": 2,
                                                                 "default_priority_level": 2}})

    def ask(rid, words, **priority):
        body = {"model": "echo", "prompt": "w " * words, "max_tokens": words, **priority}
        assert server.post("/v1/completions", body, headers={"X-Request-Id": rid}).status == 200

    def waited_ms(rid):
        account = harness.wait_until(lambda: server.get(f"/v1/requests/{rid}/explain").json.get("stages"), 60, rid)
        return next(s["ms"] for s in account if s["stage"] == "queue")

    # 64 sequences are all that echo takes at once: fill them, then ask in the wrong order.  The
    # first place that is free is that of the shorter one, and whoever gets it keeps it for a while.
    with concurrent.futures.ThreadPoolExecutor(66) as pool:
        asked = [pool.submit(ask, f"long-{i}", 600) for i in range(63)] + [pool.submit(ask, "short", 400)]
        harness.wait_until(lambda: status(server, "echo")["running"] == 64, 60, "64 sequences")
        asked.append(pool.submit(ask, "low", 150))
        harness.wait_until(lambda: status(server, "echo")["queue_length"] == 1, 60, "one waits")
        asked.append(pool.submit(ask, "high", 150, priority=1))
        harness.wait_until(lambda: status(server, "echo")["queue_length"] == 2, 60, "both wait")
    for f in asked:
        f.result()
    assert waited_ms("high") < waited_ms("low"), "who came later ran earlier"


def test_who_waits_too_long_is_refused_in_time(make_server):
    server = make_server()
    server.register("echo", config={"delay_ms": 60000, "batching": {
        "mode": "off", "queue_policy": {"default_timeout_ms": 1000}}})
    with server.holding("echo"):
        answer = infer(server, "echo", 1)
        assert answer.status == 504
        assert "Request timeout expired" in answer.json["error"]
        assert status(server, "echo")["running"] == 1, "its time was up, not when the engine was free"
    assert value_of(server, "berth_queue_timeouts_total", model="echo") == 1


def test_a_request_may_ask_for_less_where_it_is_allowed(make_server):
    server = make_server()
    may = {"mode": "off", "queue_policy": {"allow_timeout_override": True}}
    server.register("may", config={"delay_ms": 2000, "batching": may})
    # Its time is the queue's: the run that takes longer is not cut.
    assert infer(server, "may", 1, timeout=1_000_000).status == 200
    client = triton.InferenceServerClient(f"127.0.0.1:{server.port}", network_timeout=60)
    x = triton.InferInput("x", [1], "INT32")
    x.set_data_from_numpy(np.array([1], dtype=np.int32))
    server.register("busy", config={"delay_ms": 60000, "batching": may})
    with server.holding("busy"):
        with pytest.raises(InferenceServerException, match="Request timeout expired"):
            client.infer("busy", [x], timeout=100_000, priority=1)
    client.close()
    # Elsewhere it is the whole request's.
    server.register("not", config={"delay_ms": 2000})
    a = infer(server, "not", 1, timeout=100_000)
    assert a.status == 504 and "did not answer within 0.100 s" in a.json["error"]


def test_the_delayed_are_served_all_the_same(make_server):
    server = make_server()
    server.register("echo", config={"delay_ms": 500, "batching": {
        "mode": "off", "queue_policy": {"timeout_action": "delay", "default_timeout_ms": 100}}})
    answers = in_a_queue(server, "echo", *[lambda: infer(server, "echo", 1)] * 2)
    assert [a.status for a in answers] == [200, 200]
    assert value_of(server, "berth_queue_timeouts_total", model="echo") == 0


def test_a_level_takes_no_more_than_its_size(make_server):
    server = make_server()
    server.register("echo", config={"delay_ms": 1500, "batching": {
        "mode": "off", "priority_levels": 2, "default_priority_level": 1,
        "priority_queue_policy": {"2": {"max_queue_size": 1}}}})
    refused = []

    def two():
        """The first waits already; behind it one more of its level is refused, one of another is not."""
        refused.append(infer(server, "echo", 5, priority=2))
        return infer(server, "echo", 5, priority=1)

    answers = in_a_queue(server, "echo", lambda: infer(server, "echo", 5, priority=2), two)
    assert [a.status for a in answers] == [200, 200]
    assert refused[-1].status == 429 and "priority 2" in refused[-1].json["error"]
    assert "retry-after" in refused[-1].headers


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

    def is_decided():
        list(pool.map(ask, range(16)))
        ask(0)
        return status(server, model)["batching"]["decision"] == decision

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        harness.wait_until(is_decided, 60, f"{decision} decided")


def test_a_model_that_gains_is_batched_and_says_so(make_server):
    server = make_server()
    # Each run takes 20 ms, however many are in it.
    server.register("gains", config={"delay_ms": 20})
    assert status(server, "gains")["batching"]["decision"] == "measuring"
    decided(server, "gains", "batch")
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
    server.register("two", config={"instances": 2, "delay_ms": 60000, "batching": "off"})
    with server.holding("two"):
        for _ in range(4):
            with server.holding("two"):
                assert status(server, "two")["running"] == 2
    server.register("quick", config={"instances": 2, "delay_ms": 10, "batching": "off"})
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(a.status == 200 for a in pool.map(lambda i: infer(server, "quick", i), range(8)))


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
            lambda: len(workers_of(server)) == 2 and workers_of(server), 60, "two workers")
        before = {pid: wakes_of(pid) for pid in workers}
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            asked = pool.submit(infer, server, "two", 1)
            harness.wait_until(lambda: asked.done() or status(server, "two")["running"] == 1, 60, "it runs")
            os.kill(max(workers, key=lambda pid: wakes_of(pid) - before[pid]), signal.SIGKILL)
            assert asked.result().status == 200
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
    low, high = in_a_queue(
        server, "echo", lambda: infer(server, "echo", 1, berth_timing=True),
        lambda: client.infer("echo", [x], priority=1, parameters={"berth_timing": True}).get_response())
    assert high.parameters["berth_queue_us"].int64_param < wait_us(low)
    server.register("busy", config={"delay_ms": 60000, "batching": {
        "mode": "off", "queue_policy": {"allow_timeout_override": True}}})
    with server.holding("busy"):
        with pytest.raises(InferenceServerException, match="Request timeout expired"):
            client.infer("busy", [x], timeout=50_000)
    client.close()


@pytest.mark.parametrize("body", [{"priority": 1}, {"parameters": {"priority": 1}},
                                  {"options": {"priority": 1}}])
def test_unimodel_has_priorities(make_server, body):
    server = make_server()
    server.register("echo", config={"delay_ms": 400, "batching": {
        "mode": "off", "priority_levels": 2, "default_priority_level": 2}})
    *low, a = in_a_queue(
        server, "echo", *[lambda: infer(server, "echo", 1, berth_timing=True)] * 2,
        lambda: server.post("/v1/models/echo:predict", {"input": [1], **body}, timeout=60))
    assert a.status == 200, a
    assert a.json["metrics"]["queue_wait_ms"] * 1000 < min(map(wait_us, low))


def test_a_bad_priority_is_named(make_server):
    server = make_server()
    server.register("echo")
    a = server.post("/v1/models/echo:predict", {"input": [1], "priority": "high"})
    assert a.status == 400 and "priority" in a.text
    a = infer(server, "echo", 1, priority="high")
    assert a.status == 400 and "priority" in a.text
