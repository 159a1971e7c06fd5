"""How models have been doing, as Triton's clients ask for it, and how their states went."""
import concurrent.futures
import functools
import time

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton

import harness

pytestmark = pytest.mark.sanitize

DURATIONS = ["success", "fail", "queue", "compute_input", "compute_infer", "compute_output",
             "cache_hit", "cache_miss"]


def connect(server):
    return triton.InferenceServerClient(f"127.0.0.1:{server.port}", concurrency=8)


def tensor(values, shape=None):
    x = np.array(values, np.int32).reshape(shape or [len(values)])
    t = triton.InferInput("x", list(x.shape), "INT32")
    t.set_data_from_numpy(x)
    return t


def stats_of(client, model, version=""):
    found = client.get_inference_statistics(model, version)["model_stats"]
    assert len(found) == 1
    return found[0]


def test_every_member_is_there_and_adds_up(make_server):
    """A sum for each stage of each request, and each batch once: as Triton counts."""
    server = make_server()
    server.register("echo", config={"delay_ms": 500, "fail_on": "13",
                                    "batching": {"max_batch_size": 4, "max_wait_ms": 200}})
    client = connect(server)
    begin = time.time() * 1000
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: connect(server).infer("echo", [tensor([i])]), range(4)))
    with pytest.raises(Exception):
        client.infer("echo", [tensor([13])])
    s = stats_of(client, "echo", "1")
    assert set(s) == {"name", "version", "last_inference", "inference_count", "execution_count",
                      "inference_stats", "response_stats", "batch_stats", "memory_usage"}
    assert (s["name"], s["version"], s["inference_count"]) == ("echo", "1", 4)
    assert begin - 1000 <= s["last_inference"] <= time.time() * 1000 + 1000
    told = s["inference_stats"]
    assert list(told) == DURATIONS
    assert all(set(told[d]) == {"count", "ns"} for d in DURATIONS)
    counts = {d: told[d]["count"] for d in DURATIONS}
    assert counts == {"success": 4, "fail": 1, "queue": 4, "compute_input": 4, "compute_infer": 4,
                      "compute_output": 4, "cache_hit": 0, "cache_miss": 0}
    stages = ["queue", "compute_input", "compute_infer", "compute_output"]
    total = sum(told[d]["ns"] for d in stages)
    assert total <= told["success"]["ns"] <= total * 1.5
    assert told["compute_infer"]["ns"] >= 4 * 500_000_000  # each request has its whole batch's time
    batches = s["batch_stats"]
    sizes = [b["batch_size"] for b in batches]
    assert sizes == sorted(set(sizes)) and max(sizes) <= 4
    for stage in ("compute_input", "compute_infer", "compute_output"):
        assert sum(b[stage]["count"] for b in batches) == s["execution_count"]
    assert sum(b["batch_size"] * b["compute_infer"]["count"] for b in batches) == 5


def test_rows_of_a_request_count_as_inferences(models_server):
    client = triton.InferenceServerClient(f"127.0.0.1:{models_server.port}")
    before = stats_of(client, "digits")
    x = np.zeros((3, 1, 8, 8), np.float32)
    t = triton.InferInput("image", list(x.shape), "FP32")
    t.set_data_from_numpy(x)
    client.infer("digits", [t])
    after = stats_of(client, "digits")
    assert after["inference_count"] - before["inference_count"] == 3
    assert after["execution_count"] - before["execution_count"] == 1
    (three,) = [b for b in after["batch_stats"] if b["batch_size"] == 3]
    assert three["compute_infer"]["ns"] > 0
    (memory,) = after["memory_usage"]
    assert memory["type"] == "CPU" and memory["byte_size"] > 0


def test_versions_are_counted_apart_and_all_are_told(make_server, tmp_path):
    for v in ("1", "2"):
        (tmp_path / "m" / v).mkdir(parents=True)
        (tmp_path / "m" / v / "model.echo").write_text("echo\n")
    server = make_server()
    server.register("m", path=tmp_path / "m", config={"versions": "all"})
    server.register("other")
    client = connect(server)
    harness.wait_until(lambda: client.is_model_ready("m", "1") and client.is_model_ready("m", "2"),
                       60, "both versions")
    for version, n in (("1", 2), ("2", 3)):
        for i in range(n):
            client.infer("m", [tensor([i])], model_version=version)
    assert stats_of(client, "m", "1")["inference_count"] == 2
    assert stats_of(client, "m", "2")["inference_count"] == 3
    both = client.get_inference_statistics("m")["model_stats"]
    assert [(s["version"], s["inference_count"]) for s in both] == [("1", 2), ("2", 3)]
    everything = client.get_inference_statistics()["model_stats"]
    assert [(s["name"], s["version"]) for s in everything] == [("m", "1"), ("m", "2"),
                                                              ("other", "1")]
    assert server.get("/v2/models/m/versions/9/stats").status == 404
    assert server.get("/v2/models/nope/stats").status == 404


def test_averages_are_those_that_a_client_measures(make_server):
    """A run of 20 ms outweighs what is outside of Berth's view."""
    server = make_server()
    server.register("slow", config={"delay_ms": 20, "batching": "off"})
    client = connect(server)
    seen = []
    for i in range(60):
        begin = time.monotonic()
        client.infer("slow", [tensor([i])])
        seen.append((time.monotonic() - begin) * 1000)
    told = server.get("/v1/models/slow").json["performance_stats"]
    moving = functools.reduce(lambda average, ms: average + 0.1 * (ms - average), seen)
    seen.sort()
    for name, mine in (("avg_latency_ms", moving), ("p95_latency_ms", seen[56]),
                       ("p99_latency_ms", seen[59])):
        assert 20 <= told[name] <= mine * 1.05 + 1, (name, told[name], mine)


def test_life_of_a_model_is_told(make_server):
    server = make_server()
    server.register("m")

    def life():
        return [(x["state"], x["reason"]) for x in server.status("m")["life"]]

    assert life() == [("LOADING", ""), ("READY", "")]
    assert server.post("/v2/repository/models/m/unload").status == 200
    server.wait_model("m", "Unloaded")
    harness.wait_until(lambda: len(life()) == 4, 60, "the unloading's end")
    assert life()[2:] == [("DRAINING", "asked to unload"), ("UNLOADED", "")]
    assert server.post("/v2/repository/models/m/load").status == 200
    server.wait_model("m")
    assert [s for s, _ in life()[4:]] == ["LOADING", "READY"]
    assert server.post("/v2/repository/models/m/load").status == 200
    harness.wait_until(lambda: len(life()) == 10, 60, "the new one in the old one's place")
    assert ("DRAINING", "a newer load serves in its place") in life()[6:]
    told = server.status("m")
    assert told["life_total"] == 10
    times = [x["time"] for x in told["life"]]
    assert times == sorted(times) and {x["version"] for x in told["life"]} == {"1"}


def test_plugins_are_listed_with_version_and_formats(make_server):
    listed = {p["name"]: p for p in make_server().get("/v1/plugins").json}
    assert {"echo", "llama", "onnx"} <= set(listed)
    for plugin in listed.values():
        assert {"name", "version", "supported_formats"} <= set(plugin)
        assert plugin["status"] == "available" and plugin["version"] and plugin["reason"] is None
    assert ".gguf" in listed["llama"]["supported_formats"]
    assert ".onnx" in listed["onnx"]["supported_formats"]


def test_grpc_tells_the_same_numbers(make_server):
    server = make_server()
    server.register("echo", config={"response_cache": True, "fail_on": "13"})
    client = connect(server)
    for value in (1, 1, 2):
        client.infer("echo", [tensor([value])])
    with pytest.raises(Exception):
        client.infer("echo", [tensor([13])])
    rest = stats_of(client, "echo", "1")
    told = triton_grpc.InferenceServerClient(f"127.0.0.1:{server.port}").get_inference_statistics(
        "echo", "1").model_stats[0]
    assert rest["inference_stats"]["cache_hit"]["count"] == 1
    for name in DURATIONS:
        d = getattr(told.inference_stats, name)
        assert {"count": d.count, "ns": d.ns} == rest["inference_stats"][name], name
    assert told.last_inference == rest["last_inference"]
    assert told.inference_count == rest["inference_count"] == 2
    assert told.execution_count == rest["execution_count"] == 3
    assert [b.batch_size for b in told.batch_stats] == [b["batch_size"] for b in rest["batch_stats"]]
    assert told.batch_stats[0].compute_infer.ns == rest["batch_stats"][0]["compute_infer"]["ns"]
