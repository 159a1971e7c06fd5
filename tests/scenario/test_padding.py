"""Requests that differ in length run together, and each gets what it would have got alone."""
import concurrent.futures
import random
import signal

import numpy as np
import onnxruntime
import pytest

import harness
import tiny_encoder

pytestmark = pytest.mark.sanitize

PAD = [{"input": "input_ids", "value": 0}, {"input": "attention_mask", "value": 0}]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return tiny_encoder.write(tmp_path_factory.mktemp("encoder") / "model.onnx")


def infer(server, model, ids):
    """The outputs of one request, by name."""
    ids = np.atleast_2d(ids)
    mask = np.ones_like(ids)
    a = server.post(f"/v2/models/{model}/infer", {"inputs": [
        harness.v2_input("input_ids", "INT64", list(ids.shape), ids.ravel().tolist()),
        harness.v2_input("attention_mask", "INT64", list(ids.shape), mask.ravel().tolist()),
    ]}, timeout=60)
    assert a.status == 200, a
    return {o["name"]: np.array(o["data"], dtype=np.float32).reshape(o["shape"])
            for o in a.json["outputs"]}


def metric(server, name, **labels):
    return server.metrics().get((name, tuple(sorted(labels.items()))), 0)


def texts(n, longest, seed):
    rng = random.Random(seed)
    return [[rng.randrange(1, tiny_encoder.WORDS) for _ in range(rng.randint(1, longest))]
            for _ in range(n)]


def together(server, model, items):
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        return list(pool.map(lambda ids: infer(server, model, ids), items))


def check_alone(encoder, items, answers):
    """Each answer against the engine alone, in Python, without any padding."""
    session = onnxruntime.InferenceSession(str(encoder), providers=["CPUExecutionProvider"])
    worst = 0
    for ids, got in zip(items, answers):
        ids = np.atleast_2d(np.array(ids, dtype=np.int64))
        want = session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
        for name, w in zip(("tokens", "pooled"), want):
            assert got[name].shape == w.shape
            worst = max(worst, float(np.abs(got[name] - w).max()))
    assert worst < 1e-5, worst


@pytest.mark.parametrize("buckets", [None, [8, 16, 32, 64]])
def test_padded_equals_alone(make_server, encoder, buckets):
    server = make_server()
    batching = {"mode": "dynamic", "max_batch_size": 16, "max_wait_ms": 200, "pad": PAD}
    if buckets:
        batching["length_buckets"] = buckets
    server.register("m", "onnx", encoder, {"batching": batching})
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    items = texts(200, 70, seed)
    check_alone(encoder, items, together(server, "m", items))
    runs = metric(server, "berth_batch_size_count", model="m")
    assert runs < len(items) / 2, "lengths that differ met"
    data = metric(server, "berth_padded_elements_total", model="m", kind="data")
    padding = metric(server, "berth_padded_elements_total", model="m", kind="padding")
    assert data > 0 and padding > 0
    print(f"{runs:g} runs, {padding / (data + padding):.0%} padding")
    if not buckets:
        assert metric(server, "berth_padded_batches_total", model="m", length="longest") == runs
    else:
        lengths = {n: metric(server, "berth_padded_batches_total", model="m", length=n)
                   for n in ("8", "16", "32", "64", "longest")}
        assert all(lengths.values()) and sum(lengths.values()) == runs, lengths


def test_padded_equals_alone_wherever_it_runs(make_server, encoder):
    """Left to itself a model this small runs on the loops that read its requests."""
    server = make_server()
    server.register("m", "onnx", encoder, {"batching": {"pad": PAD, "max_batch_size": 16}})
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    items = texts(600, 40, seed)
    check_alone(encoder, items, together(server, "m", items))
    assert metric(server, "berth_inferences_total", model="m", result="ok") == len(items)


def test_buckets_need_less_padding(make_server, encoder):
    """The same texts, sent at once, with and without buckets."""
    share = {}
    server = make_server()
    for name, buckets in (("free", {}), ("buckets", {"length_buckets": [8, 16, 32, 48, 64]})):
        server.register(name, "onnx", encoder, {"batching": {
            "mode": "dynamic", "max_batch_size": 32, "max_wait_ms": 300, "pad": PAD, **buckets}})
        together(server, name, texts(320, 64, 5))
        data = metric(server, "berth_padded_elements_total", model=name, kind="data")
        padding = metric(server, "berth_padded_elements_total", model=name, kind="padding")
        share[name] = padding / (data + padding)
    assert share["buckets"] < share["free"], share


def test_rows_of_a_request_stay_together(make_server, encoder):
    server = make_server()
    server.register("m", "onnx", encoder, {"batching": {
        "mode": "dynamic", "max_batch_size": 4, "max_wait_ms": 20000, "pad": PAD}})
    items = [[[1, 2, 3], [4, 5, 6]], [[7, 8, 9, 10, 11]], [[1]], [[12, 13]] * 3]
    check_alone(encoder, items, together(server, "m", items))
    assert metric(server, "berth_batch_size_count", model="m") == 1


def test_without_padding_lengths_do_not_meet(make_server, encoder):
    """dynamic_padding: false is the operator's word against any model's."""
    server = make_server("--set", "engine.batch_config.dynamic_padding=false")
    server.register("m", "onnx", encoder, {"batching": {
        "mode": "dynamic", "max_batch_size": 4, "max_wait_ms": 50, "pad": PAD}})
    assert server.get("/v1/models/m").json["config"]["batch_config"]["dynamic_padding"] is False
    items = [[1] * n for n in range(1, 9)]
    check_alone(encoder, items, together(server, "m", items))
    assert metric(server, "berth_batch_size_count", model="m") == len(items)
    assert metric(server, "berth_padded_elements_total", model="m", kind="padding") == 0


def test_what_the_model_has_not_cannot_be_padded(make_server, encoder):
    server = make_server()
    server.register("m", "onnx", encoder, {"batching": {"pad": [{"input": "words"}]}}, wait=False)
    why = harness.wait_until(
        lambda: server.get("/v1/models/m/status").json.get("error"), 60, "it failed")
    assert "no input 'words'" in why


def test_a_padded_echo_gives_back_what_came(make_server):
    """A backend without shapes of its own: outputs are cut by their length."""
    server = make_server()
    server.register("echo", config={"delay_ms": 5, "batching": {
        "mode": "dynamic", "max_batch_size": 8, "max_wait_ms": 1000,
        "pad": [{"input": "x", "value": -1}]}})

    def ask(n):
        a = server.post("/v2/models/echo/infer", {"inputs": [
            harness.v2_input("x", "INT32", [1, n], list(range(n)))]}, timeout=60)
        return a.json["outputs"][0]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for n, out in enumerate(pool.map(ask, range(1, 9)), 1):
            assert out["shape"] == [1, n] and out["data"] == list(range(n))
    assert metric(server, "berth_batch_size_count", model="echo") < 8


def test_padding_can_be_turned_off_while_serving(make_server, encoder, tmp_path):
    config = tmp_path / "berth.yaml"
    text = "engine:\n  batch_config:\n    dynamic_padding: {}\n"
    config.write_text(text.format("true"))
    server = make_server("--config", config)
    server.register("m", "onnx", encoder, {"batching": {
        "mode": "dynamic", "max_batch_size": 4, "max_wait_ms": 1000, "pad": PAD}})
    items = [[1] * n for n in range(1, 5)]

    def runs():
        before = metric(server, "berth_batch_size_count", model="m")
        check_alone(encoder, items, together(server, "m", items))
        return metric(server, "berth_batch_size_count", model="m") - before

    assert runs() < 4
    config.write_text(text.format("false"))
    server.process.send_signal(signal.SIGHUP)
    harness.wait_until(lambda: runs() == 4, 60, "lengths kept apart")


def test_a_batch_that_cannot_be_padded_leaves_nothing_behind(make_server):
    """Filled up it would have 64 GiB: it is refused, and nobody counts it among what runs."""
    server = make_server()
    server.register("echo", config={"batching": {"pad": [{"input": "x"}], "length_buckets": [1024]}})
    for _ in range(3):
        a = server.post("/v2/models/echo/infer", {"inputs": [
            {"name": "x", "datatype": "FP32", "shape": [1, 0, 1 << 24], "data": []}]})
        assert a.status == 503 and "padded batch" in a.json["error"], a.json
    harness.wait_until(lambda: server.get("/v1/models/echo/status").json["running"] == 0, 60, "nothing runs")
