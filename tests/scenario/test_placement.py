"""Tiny models run on the loops that read their requests, and nothing else changes for anyone."""
import concurrent.futures
import subprocess

import pytest

import harness

pytestmark = pytest.mark.sanitize


def infer(server, model, data, **kw):
    return server.post(f"/v2/models/{model}/infer", {"inputs": [
        harness.v2_input("x", "INT32", [len(data)], data)]}, **kw)


def placement(server, model):
    return server.get(f"/v1/models/{model}/status").json["instances"][0]["placement"]


def settle(server, model):
    """Small runs on a busy machine may look long for a while.  How many it took."""
    asked = []

    def there():
        for i in range(32):
            assert infer(server, model, [i]).json["outputs"][0]["data"] == [i]
            asked.append(i)
        return placement(server, model) == "inline"

    harness.wait_until(there, 120, f"{model} runs inline")
    return len(asked)


def test_a_tiny_model_runs_inline_and_answers_the_same(make_server):
    server = make_server()
    server.register("echo")
    assert placement(server, "echo") == "threaded"
    asked = settle(server, "echo")

    def many(k):
        return [infer(server, "echo", [k, i]).json["outputs"][0]["data"] for i in range(50)]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for k, got in enumerate(pool.map(many, range(8))):
            assert got == [[k, i] for i in range(50)]
    harness.wait_until(lambda: server.metric("berth_inferences_total", model="echo", result="ok") == asked + 400,
                       60, f"{asked} + 400 are counted")


def test_what_fails_inline_fails_alone(make_server):
    server = make_server()
    server.register("echo", config={"fail_on": "-7"})
    settle(server, "echo")

    def ask(i):
        return infer(server, "echo", [-7 if i % 10 == 0 else i]).status

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for i, status in enumerate(pool.map(ask, range(200))):
            assert status == (400 if i % 10 == 0 else 200)
    settle(server, "echo")  # they do not take it from the loop


def test_sleepers_asked_for_waits_and_generations_stay_on_threads(make_server):
    server = make_server()
    server.register("slow", config={"delay_ms": 1})
    server.register("waits", config={"max_batch_wait_ms": 1})
    for _ in range(40):
        assert infer(server, "slow", [1]).status == 200
        assert infer(server, "waits", [1]).status == 200
    assert placement(server, "slow") == placement(server, "waits") == "threaded"


def test_a_wait_that_is_asked_for_later_counts_at_once(make_server):
    server = make_server()
    server.register("echo")
    settle(server, "echo")
    a = server.request("PATCH", "/v1/models/echo", {"config": {"max_batch_wait_ms": 1}})
    assert a.status == 200, a
    harness.wait_until(lambda: placement(server, "echo") == "threaded", 60, "it has left the loop")
    for i in range(60):
        assert infer(server, "echo", [i]).json["outputs"][0]["data"] == [i]
    assert placement(server, "echo") == "threaded"


def test_a_generation_goes_on_beside_inline_runs(make_server):
    """One engine, tensors inline and text on its thread: each waits for the other, none for ever."""
    server = make_server()
    server.register("echo")
    settle(server, "echo")
    text = "word " * 200
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        story = pool.submit(server.post, "/v1/completions", {"model": "echo", "prompt": text})
        for i in range(300):
            assert infer(server, "echo", [i]).json["outputs"][0]["data"] == [i]
        assert story.result().json["choices"][0]["text"].strip().startswith("word word")


def test_unloading_while_it_runs_inline_answers_everybody(make_server):
    server = make_server()
    server.register("echo")
    settle(server, "echo")

    def ask(i):
        return infer(server, "echo", [i]).status

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, i) for i in range(400)]
        assert server.delete("/v1/models/echo").status < 300
        assert {f.result() for f in asked} <= {200, 404, 503}


def test_digits_run_inline_and_show_says_so(make_server):
    server = make_server()
    server.register("digits", "onnx", harness.DIGITS)
    meta = server.get("/v2/models/digits").json["inputs"][0]
    shape = [1] + [int(n) for n in meta["shape"][1:]]
    size = 1
    for n in shape:
        size *= n
    body = {"inputs": [harness.v2_input(meta["name"], "FP32", shape, [1.0] * size)]}
    first = server.post("/v2/models/digits/infer", body).json["outputs"]

    def inline():
        for _ in range(32):
            assert server.post("/v2/models/digits/infer", body).json["outputs"] == first
        return placement(server, "digits") == "inline"

    def shown():
        return inline() and "runs inline" in subprocess.run(
            [harness.BERTH, "show", "digits", "--server", server.url], capture_output=True, text=True,
            timeout=60 * harness.SLOW).stdout

    harness.wait_until(shown, 120, "digits run inline")
