"""The response cache: an equal request is answered without a run, and nothing wrong is ever given."""
import json
import signal
import time

import grpc
import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.grpc import service_pb2 as pb

import harness

pytestmark = pytest.mark.sanitize

ON = {"response_cache": True}


def infer(server, model, data, dtype="INT32", **more):
    return server.post(f"/v2/models/{model}/infer", {"inputs": [
        harness.v2_input("x", dtype, [len(data)], data)], **more})


def runs(server, model):
    (s,) = server.get(f"/v2/models/{model}/stats").json["model_stats"]
    return s["execution_count"]


def test_second_request_is_a_hit_and_quick(make_server):
    server = make_server()
    server.register("slow", config={"delay_ms": 1000, "batching": "off", **ON})
    server.register("plain", config={"delay_ms": 1})
    first = infer(server, "slow", [1, 2])
    assert first.headers["x-cache"] == "miss"
    conn = server.connection()
    body = json.dumps({"inputs": [harness.v2_input("x", "INT32", [2], [1, 2])]})
    best = 1e9
    for _ in range(20):
        begin = time.perf_counter()
        conn.request("POST", "/v2/models/slow/infer", body, {"Content-Type": "application/json"})
        a = conn.getresponse()
        text = a.read()
        best = min(best, time.perf_counter() - begin)
        assert a.headers["x-cache"] == "hit" and text == first.body
    conn.close()
    # Not how fast, but that no run was waited for; the server's own view of it is below.
    assert best < 1 and runs(server, "slow") == 1
    told = server.get("/v1/requests?model=slow&limit=1").json["requests"][0]
    account = server.get(f"/v1/requests/{told['id']}/explain").json
    assert account["cached"] and "cache" in {s["stage"] for s in account["stages"]}
    assert account["run"] is None
    assert "x-cache" not in infer(server, "plain", [1]).headers


def test_whatever_makes_a_difference_makes_a_miss(make_server):
    server = make_server()
    server.register("echo", config=ON)
    server.register("other", config=ON)

    def cache(*args, **kw):
        a = infer(server, *args, **kw)
        assert a.status == 200, a
        return a.headers["x-cache"]

    assert [cache("echo", [1, 2]), cache("echo", [1, 2])] == ["miss", "hit"]
    assert cache("echo", [2, 1]) == "miss"
    assert cache("echo", [1, 2], dtype="INT64") == "miss"
    assert cache("other", [1, 2]) == "miss"
    assert cache("echo", [1, 2], outputs=[{"name": "x"}]) == "miss"
    assert cache("echo", [1, 2], outputs=[{"name": "x", "parameters": {"binary_data": True}}]) == "hit"
    assert cache("echo", [1, 2], id="an id is not part of it") == "hit"
    assert infer(server, "echo", [1, 2], id="mine").json["id"] == "mine"


def test_real_models_give_the_same_from_the_cache(make_server):
    server = make_server()
    server.register("digits", "onnx", harness.DIGITS, {**ON, "threads": 1})
    client = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
    samples = harness.heldout()["samples"][:8]
    got = []
    for _ in range(2):
        for s in samples:
            x = np.array(s["pixels"], np.float32).reshape(1, 1, 8, 8) / np.float32(255)
            t = triton.InferInput("image", list(x.shape), "FP32")
            t.set_data_from_numpy(x)
            got.append(client.infer("digits", [t]).as_numpy("scores"))
    for i, s in enumerate(samples):
        assert (got[i] == got[i + 8]).all()
        assert np.abs(got[i][0] - s["python_scores"]).max() < 1e-5
    (s,) = client.get_inference_statistics("digits")["model_stats"]
    told = s["inference_stats"]
    assert told["cache_hit"]["count"] == 8 and told["cache_miss"]["count"] == 8
    assert told["cache_hit"]["ns"] > 0 and told["cache_miss"]["ns"] > 0
    assert told["success"]["count"] == 16 and told["compute_infer"]["count"] == 8
    assert s["inference_count"] == 8
    assert server.metric("berth_cache_hits_total", model="digits") == 8
    assert server.metric("berth_cache_misses_total", model="digits") == 8
    assert server.metric("berth_cache_entries") == 8 and server.metric("berth_cache_bytes") > 0


def test_generations_are_reused_unless_chance_has_a_part(make_server):
    server = make_server()
    server.register("smol", "llama", harness.SMOLLM, {**ON, "threads": 1})

    def chat(**more):
        a = server.post("/v1/chat/completions", {
            "model": "smol", "max_tokens": 12,
            "messages": [{"role": "user", "content": "Name three colours."}], **more})
        assert a.status == 200, a
        return a

    first, second = chat(temperature=0), chat(temperature=0)
    assert (first.headers["x-cache"], second.headers["x-cache"]) == ("miss", "hit")
    assert first.json["choices"] == second.json["choices"]
    assert first.json["usage"]["completion_tokens"] == second.json["usage"]["completion_tokens"]
    streamed = chat(temperature=0, stream=True)
    assert streamed.headers["x-cache"] == "hit"
    text = "".join(e["choices"][0]["delta"].get("content") or ""
                   for e in harness.events_of(streamed.text) if e != "[DONE]" and e["choices"])
    assert text == first.json["choices"][0]["message"]["content"]
    assert chat(temperature=0, max_tokens=5).headers["x-cache"] == "miss"
    for _ in range(2):
        assert chat(temperature=0.9).headers["x-cache"] == "miss"
        assert chat(temperature=0, logprobs=True).headers["x-cache"] == "miss"
    a, b = chat(temperature=0.9, seed=4), chat(temperature=0.9, seed=4)
    assert b.headers["x-cache"] == "hit" and a.json["choices"] == b.json["choices"]


def test_a_reload_forgets(make_server):
    server = make_server()
    server.register("echo", config=ON)
    assert infer(server, "echo", [1]).headers["x-cache"] == "miss"
    assert infer(server, "echo", [1]).headers["x-cache"] == "hit"
    assert server.post("/v2/repository/models/echo/unload").status == 200
    harness.wait_until(lambda: server.metric("berth_cache_entries") == 0, 60, "an empty cache")
    assert server.post("/v2/repository/models/echo/load").status == 200
    server.wait_model("echo")
    assert infer(server, "echo", [1]).headers["x-cache"] == "miss"


def test_memory_is_bounded_and_the_bound_can_be_changed(make_server, tmp_path):
    conf = tmp_path / "berth.yaml"
    conf.write_text("engine: {memory: {cache_size_mb: 1}}\n")
    server = make_server("--config", conf)
    server.register("echo", config=ON)
    for i in range(60):
        infer(server, "echo", [i] * 8000)
        assert server.metric("berth_cache_bytes") <= 1 << 20
    assert server.metric("berth_cache_evictions_total") > 20
    assert infer(server, "echo", [59] * 8000).headers["x-cache"] == "hit"
    assert infer(server, "echo", [0] * 8000).headers["x-cache"] == "miss"
    conf.write_text("engine: {memory: {cache_size_mb: 0}}\n")
    server.process.send_signal(signal.SIGHUP)
    harness.wait_until(lambda: server.metric("berth_cache_bytes") == 0, 60, "a cache of nothing")
    assert infer(server, "echo", [59] * 8000).headers["x-cache"] == "miss"
    assert infer(server, "echo", [59] * 8000).headers["x-cache"] == "miss"


def test_unimodel_batches_are_hits_when_all_of_them_are(make_server):
    server = make_server()
    server.register("echo", config=ON)
    body = {"inputs": [{"x": [1, 2]}, {"x": [3, 4]}]}
    path = "/v1/models/echo/predict/batch"
    first, second = server.post(path, body), server.post(path, body)
    assert (first.status, first.headers["x-cache"], second.headers["x-cache"]) == (200, "miss", "hit")
    assert first.json["outputs"] == second.json["outputs"]
    body["inputs"].append({"x": [5, 6]})
    assert server.post(path, body).headers["x-cache"] == "miss"


def test_a_bad_value_is_refused(make_server):
    server = make_server()
    path = f"{server.own_dir}/m.echo"
    open(path, "w").close()
    a = server.post("/v1/models", {"name": "m", "backend": "echo", "model_path": path,
                                   "config": {"response_cache": "yes please"}})
    assert a.status == 400 and "response_cache" in a.text


def test_grpc_has_it_in_the_initial_metadata(make_server):
    server = make_server()
    server.register("echo", config=ON)
    x = pb.ModelInferRequest.InferInputTensor(name="x", datatype="INT32", shape=[2])
    x.contents.int_contents.extend([1, 2])
    request = pb.ModelInferRequest(model_name="echo", inputs=[x])
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        ask = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer",
                                  request_serializer=pb.ModelInferRequest.SerializeToString,
                                  response_deserializer=pb.ModelInferResponse.FromString)
        answers = [ask.with_call(request) for _ in range(2)]
    said = [dict(call.initial_metadata())["x-cache"] for _, call in answers]
    assert said == ["miss", "hit"]
    assert answers[0][0].outputs[0].contents == answers[1][0].outputs[0].contents
    assert infer(server, "echo", [1, 2]).headers["x-cache"] == "hit"  # whatever the dialect
