"""Requests that come together run together, and nothing else changes for them."""
import concurrent.futures
import signal
import threading
import time

import numpy as np
import pytest

import harness

pytestmark = pytest.mark.sanitize


def infer(server, model, data, dtype="INT32", timeout=60, shape=None):
    return server.post(f"/v2/models/{model}/infer", {"inputs": [
        harness.v2_input("x", dtype, shape or [len(data)], data)]}, timeout=timeout)


def batching(size, wait_ms):
    """Flags for these defaults; the upper bound on waits moves with them."""
    return ("--batch-size", size, "--batch-wait", wait_ms,
            "--set", f"engine.batch_config.max_wait_time_ms={max(wait_ms, 1)}")


def at_once(n, ask):
    """ask(0) .. ask(n - 1) from n threads that start together."""
    gate = threading.Barrier(n)

    def one(i):
        gate.wait(60)
        return ask(i)

    with concurrent.futures.ThreadPoolExecutor(n) as pool:
        return list(pool.map(one, range(n)))


def batches(server, model):
    m = server.metrics()
    count = m["berth_batch_size_count", (("model", model),)]
    total = m["berth_batch_size_sum", (("model", model),)]
    return count, total


def largest_bucket(server, model):
    """The smallest bound of the histogram that every batch keeps."""
    m = server.metrics()
    bounds = {}
    for (name, labels), value in m.items():
        ls = dict(labels)
        if name == "berth_batch_size_bucket" and ls["model"] == model:
            bounds[float(ls["le"].replace("+Inf", "inf"))] = value
    return min(b for b, v in bounds.items() if v == bounds[float("inf")])


def test_a_hundred_at_once_run_in_batches(make_server):
    server = make_server(*batching(32, 50))
    server.register("echo", config={"delay_ms": 300})  # a slow client's come together meanwhile
    answers = at_once(100, lambda i: infer(server, "echo", [i]))
    assert [a.json["outputs"][0]["data"] for a in answers] == [[i] for i in range(100)]
    count, total = batches(server, "echo")
    assert total == 100 and total / count > 4
    assert largest_bucket(server, "echo") <= 32


def test_no_batch_is_larger_than_the_model_takes(make_server):
    server = make_server()
    server.register("three", config={"delay_ms": 10, "batch": 3})
    answers = at_once(30, lambda i: infer(server, "three", [i]))
    assert all(a.status == 200 for a in answers)
    count, total = batches(server, "three")
    assert total == 30 and count >= 10


def test_rows_count_not_requests(make_server):
    """Two requests of three rows do not fit a batch of four rows together."""
    server = make_server()
    server.register("four", config={"delay_ms": 10, "batch": 4})
    answers = at_once(8, lambda i: infer(server, "four", [i, i, i]))
    assert [a.json["outputs"][0]["data"] for a in answers] == [[i] * 3 for i in range(8)]
    count, total = batches(server, "four")
    assert total == 8 == count


def test_more_rows_than_the_model_takes_is_400(make_server):
    server = make_server()
    server.register("four", config={"batch": 4})
    a = infer(server, "four", [1, 2, 3, 4, 5])
    assert a.status == 400 and "4" in a.json["error"] and "5" in a.json["error"]


def test_a_lonely_request_waits_its_wait_and_no_longer(make_server):
    server = make_server(*batching(8, 1000))
    server.register("echo", config={"batching": {"mode": "dynamic"}})

    def took(i):
        begin = time.monotonic()
        assert infer(server, "echo", [i]).status == 200
        return time.monotonic() - begin

    # Dispatched by age, not expired and not only when full.
    assert any(1 <= took(i) < 1.9 for i in range(5))


def test_no_wait_means_none(make_server, tmp_path):
    config = tmp_path / "berth.yaml"
    config.write_text("engine: {max_batch_wait_ms: 1000, batch_config: {max_wait_time_ms: 1000}}\n")
    server = make_server("--config", config, "--batch-size", 8, "--batch-wait", 0)
    server.register("echo", config={"batching": {"mode": "dynamic"}})
    took = []
    for i in range(20):
        begin = time.monotonic()
        assert infer(server, "echo", [i]).status == 200
        took.append(time.monotonic() - begin)
    assert min(took) < 0.5


def test_a_default_beyond_what_a_run_can_carry_is_no_harm(make_server):
    server = make_server("--batch-size", 65536, "--set", "engine.batch_config.max_batch_size=65536")
    server.register("echo")
    assert infer(server, "echo", [1]).status == 200


def test_one_bad_item_fails_alone(make_server):
    server = make_server(*batching(8, 100))
    server.register("picky", config={"fail_on": "4", "delay_ms": 5})
    answers = at_once(8, lambda i: infer(server, "picky", [i]))
    assert [a.status for a in answers] == [200] * 4 + [400] + [200] * 3
    assert "fail_on" in answers[4].json["error"]


def test_different_shapes_do_not_meet(make_server):
    server = make_server(*batching(8, 30))
    server.register("echo", config={"delay_ms": 5})
    shapes = [[2, 3], [2, 4], [1, 3], [4]]

    def ask(i):
        shape = shapes[i % 4]
        data = list(range(i, i + int(np.prod(shape))))
        a = infer(server, "echo", data, shape=shape)
        out = a.json["outputs"][0]
        return out["shape"] == shape and out["data"] == data

    assert all(at_once(40, ask))


def test_different_types_and_names_do_not_meet(make_server):
    server = make_server(*batching(8, 30))
    server.register("echo", config={"delay_ms": 5})

    def ask(i):
        name, dtype = (("a", "INT32"), ("b", "INT32"), ("a", "FP32"), ("a", "INT64"))[i % 4]
        a = server.post("/v2/models/echo/infer", {"inputs": [harness.v2_input(name, dtype, [1], [i])]})
        return [(o["name"], o["datatype"], o["data"]) for o in a.json["outputs"]] == [(name, dtype, [i])]

    assert all(at_once(40, ask))


def test_batched_equals_unbatched_on_digits(make_server):
    server = make_server()
    server.register("alone", "onnx", harness.DIGITS, {"batching": {"max_batch_size": 1}})
    server.register("together", "onnx", harness.DIGITS,
                    {"batching": {"mode": "dynamic", "max_batch_size": 32, "max_wait_ms": 200}})
    samples = harness.heldout()["samples"][:96]

    def ask(model, i):
        pixels = [p / 255 for p in samples[i]["pixels"]]
        a = server.post(f"/v2/models/{model}/infer", {"inputs": [
            harness.v2_input("image", "FP32", [1, 1, 8, 8], pixels)]})
        return a.json["outputs"][0]["data"]

    together = at_once(96, lambda i: ask("together", i))
    alone = [ask("alone", i) for i in range(96)]
    assert np.abs(np.array(together) - np.array(alone)).max() < 1e-5
    count, total = batches(server, "together")
    assert total == 96 and count < 96, "nothing ran together"
    assert batches(server, "alone") == (96, 96)


def test_a_batch_says_its_size(make_server):
    server = make_server(*batching(4, 200))
    server.register("echo", config={"delay_ms": 5})
    answers = at_once(4, lambda i: server.post("/v1/models/echo:predict", {"input": [i]}))
    assert all(a.status == 200 for a in answers), answers[0]
    sizes = [a.json["metrics"]["batch_size"] for a in answers]
    assert round(sum(1 / s for s in sizes), 6) == batches(server, "echo")[0]


def test_new_defaults_reach_models_by_sighup(make_server, tmp_path):
    config = tmp_path / "berth.yaml"
    config.write_text("engine:\n  max_batch_wait_ms: 1\n  default_batch_size: 1\n")
    server = make_server("--config", config)
    server.register("echo", config={"delay_ms": 10})
    assert all(a.status == 200 for a in at_once(10, lambda i: infer(server, "echo", [i])))
    assert batches(server, "echo") == (10, 10)
    config.write_text("engine:\n  max_batch_wait_ms: 50\n  default_batch_size: 8\n")
    server.process.send_signal(signal.SIGHUP)

    def together():
        before = batches(server, "echo")
        at_once(8, lambda i: infer(server, "echo", [i]))
        after = batches(server, "echo")
        return after[0] - before[0] < 8

    harness.wait_until(together, 60, "requests running together after SIGHUP")
