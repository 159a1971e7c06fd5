"""UniModel's own API, as its README and its clients use it."""
import concurrent.futures
import os
import pathlib
import re
import subprocess

import numpy as np
import pytest
import yaml

import harness

# The command lines of UniModel's README, byte for byte; only the paths are of models that exist.
README_REGISTER = r"""curl -X POST http://localhost:8000/v1/models \
  -H "Content-Type: application/json" \
  -d '{
    "name": "llama-2-7b",
    "backend": "gguf",
    "model_path": "/models/llama-2-7b.gguf",
    "config": {
      "max_context_length": 4096,
      "gpu_layers": 35
    }
  }'
"""
README_ASK = r"""curl -X POST http://localhost:8000/v1/models/llama-2-7b:predict \
  -H "Content-Type: application/json" \
  -d '{"input": "What is artificial intelligence?"}'
"""
README_IMAGE = r"""curl -X POST http://localhost:8000/v1/models/resnet-50:predict \
  -H "Content-Type: application/json" \
  -d '{"input": "base64_encoded_image_data"}'
"""
README_GENERATE = r"""curl -X POST http://localhost:8000/v1/models/llama-2-7b:predict \
  -H "Content-Type: application/json" \
  -d '{
    "input": "Explain quantum computing in simple terms:",
    "max_tokens": 100,
    "temperature": 0.7
  }'
"""
README_STATUS = "curl http://localhost:8000/v1/models/llama-2-7b/status\n"
README_METRICS = "curl http://localhost:9000/metrics\n"

CONFIG = """\
server:
  host: "127.0.0.1"
  port: {port}
  grpc_port: {grpc_port}

engine:
  max_models: 10
  default_batch_size: 8
  max_batch_wait_ms: 50

gpu:
  device_ids: [0, 1]
  memory_fraction: 0.8
  enable_pooling: true

monitoring:
  prometheus_port: {prometheus_port}
  log_level: "info"
"""


@pytest.fixture(scope="module")
def echo_server():
    with harness.Server() as server:
        server.register("echo")
        yield server


@pytest.fixture
def unimodel(tmp_path):
    """unimodel(text of a config file or None, env, *flags) -> Server called unimodel-server."""
    made = []
    link = tmp_path / "unimodel-server"
    link.symlink_to(harness.BERTH)

    def make(config=None, env=None, flags=(), port=None):
        argv = [str(link)]
        if config is not None:
            (tmp_path / "config").mkdir(exist_ok=True)
            (tmp_path / "config" / "default.yaml").write_text(config)
            argv += ["--config", str(tmp_path / "config" / "default.yaml")]
        env = {"BERTH_STATE_DIR": str(tmp_path / "state"), **(env or {})}
        server = harness.Server(argv=argv + list(flags), env=env, port=port)
        made.append(server)
        return server

    yield make
    try:
        for server in made:
            server.finish()
    finally:
        for server in made:
            server.remove()


# ---- the README, by bash and curl ----

def shell(script, curl_home):
    r = subprocess.run(["bash", "-c", script.replace("curl ", "curl -sS ", 1)], timeout=300,
                       capture_output=True, text=True, env={**os.environ, "CURL_HOME": curl_home})
    assert r.returncode == 0, r.stderr
    return r.stdout


def test_readme_lines(unimodel, tmp_path):
    port, grpc_port, prometheus_port = harness.free_ports(3)
    server = unimodel(CONFIG.format(port=port, grpc_port=grpc_port,
                                    prometheus_port=prometheus_port), flags=("--cores", "1"),
                      port=port).start()
    # curl is told where localhost:8000 and :9000 are, so that the lines stay as they are.
    (tmp_path / ".curlrc").write_text(f'connect-to = "localhost:8000:127.0.0.1:{port}"\n'
                                      f'connect-to = "localhost:9000:127.0.0.1:{grpc_port}"\n')
    run = lambda script: shell(script, str(tmp_path))

    line = README_REGISTER.replace("/models/llama-2-7b.gguf", str(harness.SMOLLM))
    answer = yaml.safe_load(run(line))
    assert answer.get("status") == "success", answer
    assert re.fullmatch(
        r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", answer["model_id"])
    assert answer["message"] == "Model 'llama-2-7b' registered successfully"
    server.wait_model("llama-2-7b")
    status = yaml.safe_load(run(README_STATUS))
    assert status["status"] in ("Ready", "Running") and status["health_status"] == "Healthy"
    assert status["name"] == "llama-2-7b" and status["id"] == answer["model_id"]
    for script in (README_ASK, README_GENERATE):
        said = yaml.safe_load(run(script))
        assert isinstance(said["output"], str) and len(said["output"]) > 0, said
    assert 0 < said["metrics"]["tokens_generated"] <= 100
    server.register("resnet-50", "onnx", harness.DIGITS)
    sample = harness.heldout()["samples"][0]
    image = harness.b64(harness.png(sample["pixels"], 8, 8))
    seen = yaml.safe_load(run(README_IMAGE.replace("base64_encoded_image_data", image)))
    assert best(seen["output"]) == str(sample["python_label"])
    assert run(README_METRICS).startswith("# HELP ")


# ---- register, list, get, delete, status ----

def test_register_answers_at_once_and_loads_behind(make_server):
    server = make_server()
    answer = server.register("m", "llama", harness.SMOLLM, {"threads": 1}, wait=False)
    assert answer["status"] == "success"
    server.wait_model("m")
    info = server.get("/v1/models/m").json
    assert info["id"] == answer["model_id"] and info["name"] == "m"
    assert info["model_type"] == "LLM" and info["health_status"] == "Healthy"
    assert info["config"]["model_path"] == str(harness.SMOLLM)
    assert server.get(f"/v1/models/{answer['model_id']}").json["name"] == "m"


def test_backend_and_type_are_inferred(make_server):
    server = make_server()
    for name, path, kind in (("llm", harness.SMOLLM, "LLM"), ("digits", harness.DIGITS, None)):
        a = server.post("/v1/models", {"name": name, "model_path": str(path)})
        assert a.status == 200, a
        server.wait_model(name)
        if kind:
            assert server.get(f"/v1/models/{name}").json["model_type"] == kind
    assert server.get("/v1/models/digits").json["config"]["backend"] == "onnx"


def test_list_serves_both_kinds_of_clients(echo_server):
    a = echo_server.get("/v1/models").json
    assert a["total"] == len(a["models"]) == len(a["data"]) >= 1 and a["object"] == "list"
    assert {m["name"] for m in a["models"]} == {m["id"] for m in a["data"]}


def test_delete_forgets_by_name_and_by_id(echo_server):
    for by_id in (False, True):
        ident = echo_server.register("gone")["model_id"]
        key = ident if by_id else "gone"
        a = echo_server.delete(f"/v1/models/{key}")
        assert a.status == 200 and a.json["status"] == "success"
        assert a.json["message"] == f"Model '{key}' unregistered successfully"
        for path in ("/v1/models/gone", "/v1/models/gone/status", f"/v1/models/{ident}"):
            a = echo_server.get(path)
            assert a.status == 404 and a.json["error"] == "MODEL_ERROR", path
        assert echo_server.delete(f"/v1/models/{key}").status == 404
    assert "gone" not in [m["name"] for m in echo_server.get("/v1/models").json["models"]]


def test_status_has_what_the_specification_lists(echo_server):
    s = echo_server.status("echo")
    assert set(s) >= {"name", "id", "status", "health_status", "is_warm", "loaded_at",
                      "last_accessed", "resource_usage", "performance_stats", "queue_length",
                      "instances"}
    assert s["queue_length"] == 0 and len(s["instances"]) == 1


def test_a_taken_name_is_409(echo_server):
    path = pathlib.Path(echo_server.own_dir) / "other.echo"
    path.write_text("echo\n")
    a = echo_server.post("/v1/models", {"name": "echo", "backend": "echo", "model_path": str(path)})
    assert a.status == 409 and "echo" in a.json["message"]


def test_a_file_that_is_no_model_fails_and_stays_listed(echo_server):
    path = pathlib.Path(echo_server.own_dir) / "junk.gguf"
    path.write_bytes(b"GGUF" + os.urandom(4096))
    a = echo_server.post("/v1/models", {"name": "junk", "model_path": str(path)})
    assert a.status == 200
    echo_server.wait_model("junk", "Error")
    s = echo_server.status("junk")
    assert s["health_status"] == "Unhealthy" and "junk.gguf" in s["error"]
    a = echo_server.post("/v1/models/junk:predict", {"input": "x"})
    assert a.status == 503 and a.json["error"] == "MODEL_ERROR", a
    assert echo_server.delete("/v1/models/junk").status == 200


@pytest.mark.parametrize("field,body", [
    ("name", {"name": "", "backend": "echo"}), ("name", {"name": "a b", "backend": "echo"}),
    ("name", {"name": "a@b", "backend": "echo"}), ("name", {"name": "../x", "backend": "echo"}),
    ("name", {"name": "x" * 200, "backend": "echo"}), ("name", {"backend": "echo"}),
    ("name", {"name": 5, "backend": "echo"}),
    ("backend", {"name": "ok", "backend": "nope"}), ("backend", {"name": "ok", "backend": 7}),
    ("model_path", {"name": "ok", "backend": "echo", "model_path": ""}),
    ("model_path", {"name": "ok", "backend": "echo", "model_path": None}),
    ("model_path", {"name": "ok", "backend": "echo", "model_path": ["x"]}),
    ("/does/not/exist", {"name": "ok", "backend": "echo", "model_path": "/does/not/exist"}),
    ("config", {"name": "ok", "backend": "echo", "config": [1]}),
    ("delay_ms", {"name": "ok", "backend": "echo", "config": {"delay_ms": -1}}),
    ("delay_ms", {"name": "ok", "backend": "echo", "config": {"delay_ms": "long"}}),
    ("colour", {"name": "ok", "backend": "echo", "config": {"colour": "red"}}),
])
def test_a_bad_registration_names_the_field(echo_server, field, body):
    path = pathlib.Path(echo_server.own_dir) / "good.echo"
    path.write_text("echo\n")
    a = echo_server.post("/v1/models", {"model_path": str(path), **body})
    assert a.status in (400, 404), a
    assert a.json["error"] in ("VALIDATION_ERROR", "PLUGIN_ERROR", "IO_ERROR", "CONFIG_ERROR",
                               "MODEL_ERROR")
    assert field in a.json["message"], a
    assert echo_server.get("/v1/models/ok").status == 404


def test_max_models(make_server):
    server = make_server("--set", "engine.max_models=3")
    for i in range(3):
        server.register(f"m{i}")
    path = pathlib.Path(server.own_dir) / "m0.echo"
    a = server.post("/v1/models", {"name": "m3", "backend": "echo", "model_path": str(path)})
    assert a.status in (409, 429, 507) and a.json["error"] in ("MODEL_ERROR", "RESOURCE_ERROR")
    assert "max_models" in a.json["message"] and "3" in a.json["message"]
    assert server.get("/v1/models").json["total"] == 3
    assert server.delete("/v1/models/m0").status == 200
    server.register("m3")


def test_max_models_is_ten_unless_said(make_server):
    server = make_server()
    for i in range(10):
        server.register(f"m{i}", wait=False)
    path = pathlib.Path(server.own_dir) / "m0.echo"
    a = server.post("/v1/models", {"name": "m10", "backend": "echo", "model_path": str(path)})
    assert a.status in (409, 429, 507), a
    assert server.get("/v1/models").json["total"] == 10


# ---- predict ----

def best(output):
    """The most likely label of a classifier's answer."""
    assert output["top"][0]["score"] == max(x["score"] for x in output["top"]) == output["score"]
    return output["label"]


def predict(server, model, timeout=90, query="", **body):
    return server.post(f"/v1/models/{model}:predict{query}", body, timeout=timeout)


def test_predict_plain_text(models_server):
    a = predict(models_server, "smollm2", input="What is artificial intelligence?", max_tokens=12)
    assert a.status == 200, a
    body = a.json
    assert isinstance(body["output"], str) and body["output"]
    assert set(body) >= {"request_id", "metadata", "metrics", "timestamp"}
    m = body["metrics"]
    assert 0 < m["tokens_generated"] <= 12 and m["tokens_input"] > 0
    assert m["total_latency_ms"] >= m["inference_latency_ms"] >= 0 <= m["queue_wait_ms"]
    assert m["batch_size"] >= 1


def test_parameters_flat_and_nested_are_the_same(models_server):
    flat = predict(models_server, "smollm2", input="Count: 1, 2, 3,", max_tokens=5, temperature=0)
    nested = predict(models_server, "smollm2", input="Count: 1, 2, 3,",
                     parameters={"max_tokens": 5, "temperature": 0})
    assert flat.json["output"] == nested.json["output"] != ""
    assert flat.json["metrics"]["tokens_generated"] == 5 == nested.json["metrics"]["tokens_generated"]


def test_tagged_form_and_the_other_path(models_server):
    body = {"input": {"type": "Text", "data": "Count: 1, 2, 3,"},
            "parameters": {"max_tokens": 5, "temperature": 0}}
    plain = predict(models_server, "smollm2", input="Count: 1, 2, 3,", max_tokens=5, temperature=0)
    answers = [models_server.post(p, body) for p in (
        "/models/smollm2/predict?format=tagged", "/v1/models/smollm2/predict?format=tagged")]
    for a in answers:
        assert a.status == 200, a
        assert a.json["output"] == {"type": "Text", "data": plain.json["output"]}
        assert a.json["model_id"] and a.json["request_id"]
    ident = models_server.status("smollm2")["id"]
    by_id = models_server.post(f"/models/{ident}/predict", body)
    # Who sends the tagged form gets it back without asking.
    assert by_id.json["output"] == {"type": "Text", "data": plain.json["output"]}


def test_greedy_is_the_same_twice_and_temperature_is_not(models_server):
    ask = dict(input="Once upon a time", max_tokens=20)
    greedy = {predict(models_server, "smollm2", temperature=0, **ask).json["output"]
              for _ in range(3)}
    warm = {predict(models_server, "smollm2", temperature=1.5, **ask).json["output"]
            for _ in range(3)}
    assert len(greedy) == 1 and len(warm) > 1


@pytest.mark.parametrize("body", [
    {}, {"input": ""}, {"input": None}, {"input": {}}, {"inputs": "x"},
    {"input": {"type": "Text", "data": ""}}, {"input": {"type": "Alien", "data": "x"}},
    {"input": {"type": "Binary", "data": ""}}, {"input": {"type": "Multimodal", "data": {}}},
    {"input": {"type": "Json", "data": None}}, {"input": {"type": "Binary", "data": "%%%"}},
    {"input": {"type": "Multimodal", "data": {"": {"type": "Text", "data": "x"}}}},
    {"input": "x", "max_tokens": -1}, {"input": "x", "max_tokens": "many"},
    {"input": "x", "temperature": -0.1}, {"input": "x", "top_p": 2}, {"input": "x", "top_k": "all"},
    {"input": "x", "parameters": {"max_tokens": -1}}, {"input": "x", "parameters": 5},
    {"input": "x", "stream": "yes"}, {"input": "a" * 1000001},
])
def test_a_bad_prediction_is_a_validation_error(models_server, body):
    a = models_server.post("/v1/models/smollm2:predict", body)
    assert a.status == 400 and a.json["error"] == "VALIDATION_ERROR" and a.json["message"], a


def test_unknown_model_is_404(models_server):
    a = predict(models_server, "nope", input="x")
    assert a.status == 404 and a.json["error"] == "MODEL_ERROR" and "nope" in a.json["message"]


def test_a_loading_model_is_waited_for(make_server):
    server = make_server()
    server.register("big", "llama", harness.SMOLLM, {"threads": 1}, wait=False)
    assert predict(server, "big", input="x", max_tokens=1).status == 200


def test_a_loading_model_is_503_with_retry_after_where_nobody_waits(make_server):
    server = make_server("--load-wait", "0")
    server.register("big", "llama", harness.SMOLLM, {"threads": 1}, wait=False)
    a = predict(server, "big", input="x", max_tokens=1)
    # A fast machine may have loaded it already; then nothing was there to wait for.
    if server.status("big")["loaded_at"] is None or a.status != 200:
        assert a.status == 503 and int(a.headers["retry-after"]) >= 1, a
        assert a.json["error"] == "MODEL_ERROR"
    server.wait_model("big")
    assert predict(server, "big", input="x", max_tokens=1).status == 200


def test_stream(models_server):
    ask = dict(input="Count: 1, 2, 3,", max_tokens=8, temperature=0)
    whole = predict(models_server, "smollm2", **ask).json
    a = predict(models_server, "smollm2", stream=True, **ask)
    assert a.status == 200 and a.headers["content-type"].startswith("text/event-stream")
    events = [e for e in harness.events_of(a.text) if e != "[DONE]"]
    assert len(events) > 2
    assert events[-1]["metrics"]["tokens_generated"] == whole["metrics"]["tokens_generated"]
    assert "".join(e.get("output") or "" for e in events[:-1]) == whole["output"]


def test_batch_keeps_the_order(models_server):
    samples = harness.heldout()["samples"][:12]
    images = [harness.b64(harness.png(s["pixels"], 8, 8)) for s in samples]
    a = models_server.post("/v1/models/digits/predict/batch", {"inputs": images})
    assert a.status == 200, a
    assert [best(o) for o in a.json["outputs"]] == [str(s["python_label"]) for s in samples]
    assert a.json["metrics"]["batch_size"] == 12


def test_batch_of_texts(models_server):
    texts = ["The capital of France is", "The capital of Italy is", "2 + 2 ="]
    a = models_server.post("/v1/models/smollm2/predict/batch", {
        "inputs": [{"type": "Text", "data": t} for t in texts],
        "parameters": {"max_tokens": 6, "temperature": 0}})
    alone = [predict(models_server, "smollm2", input=t, max_tokens=6, temperature=0).json["output"]
             for t in texts]
    outputs = [o["data"] if isinstance(o, dict) else o for o in a.json["outputs"]]
    assert len(outputs) == 3 and sum(x == y for x, y in zip(outputs, alone)) >= 2
    assert a.json["metrics"]["tokens_generated"] <= 18


def test_batch_bounds_and_errors(models_server):
    for body in ({}, {"inputs": []}, {"inputs": "x"}, {"inputs": [None]}, {"inputs": ["x"] * 100000}):
        a = models_server.post("/v1/models/digits/predict/batch", body)
        assert a.status == 400 and a.json["error"] == "VALIDATION_ERROR", (str(body)[:50], a)


# ---- images ----

def test_base64_and_data_url_are_the_same(models_server):
    for path in sorted((harness.DIGITS / "heldout").glob("*.png")):
        plain = harness.b64(path.read_bytes())
        one = predict(models_server, "digits", input=plain)
        other = predict(models_server, "digits", input="data:image/png;base64," + plain)
        tagged = predict(models_server, "digits", input={"type": "Binary", "data": plain})
        assert one.status == 200, one
        output = one.json["output"]
        assert output == other.json["output"] == tagged.json["output"]["data"]
        assert best(output) == path.stem[-1]
        assert abs(sum(output["scores"]) - 1) < 1e-4 and len(output["scores"]) == 10
        assert [x["score"] for x in output["top"]] == sorted(output["scores"], reverse=True)[:5]


def test_jpeg_and_other_sizes_are_scaled(models_server):
    import io
    from PIL import Image
    right = 0
    samples = harness.heldout()["samples"][:20]
    for s in samples:
        small = Image.frombytes("L", (8, 8), bytes(s["pixels"]))
        out = io.BytesIO()
        small.resize((64, 64), Image.BILINEAR).convert("RGB").save(out, "JPEG", quality=95)
        a = predict(models_server, "digits", input=harness.b64(out.getvalue()))
        assert a.status == 200, a
        right += best(a.json["output"]) == str(s["label"])
    assert right >= 16


def test_every_heldout_digit_is_what_python_says(models_server):
    held = harness.heldout()
    samples = held["samples"]
    assert len(samples) == held["count"] == 449

    def ask(sample):
        image = harness.b64(harness.png(sample["pixels"], 8, 8))
        a = predict(models_server, "digits", input=image)
        assert a.status == 200, a
        return a.json["output"]

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        outputs = list(pool.map(ask, samples))
    labels = [best(o) for o in outputs]
    assert labels == [str(s["python_label"]) for s in samples]
    right = sum(x == str(s["label"]) for x, s in zip(labels, samples))
    assert right == held["python_correct"]
    for out, s in zip(outputs, samples):
        assert np.abs(np.array(out["scores"]) - s["python_scores"]).max() < 1e-5


def test_every_class_is_as_good_as_in_python(models_server):
    """The same digits as tensors in one request: accuracy class by class."""
    samples = harness.heldout()["samples"]
    x = (np.array([s["pixels"] for s in samples], np.float32) / np.float32(255)).reshape(-1, 1, 8, 8)
    a = models_server.post("/v2/models/digits/infer", {
        "inputs": [harness.v2_input("image", "FP32", list(x.shape), x.ravel().tolist())]})
    scores = np.array(a.json["outputs"][0]["data"]).reshape(-1, 10)
    got, label = scores.argmax(1), np.array([s["label"] for s in samples])
    python = np.array([s["python_label"] for s in samples])
    for digit in range(10):
        mine = label == digit
        assert (got[mine] == digit).sum() == (python[mine] == digit).sum() > 30, digit


# ---- health, metrics, description ----

def test_ready_follows_the_models(make_server):
    server = make_server()
    assert server.get("/health").status == 200
    assert server.get("/ready").status == 503
    server.register("echo")
    assert server.get("/ready").status == 200
    assert server.delete("/v1/models/echo").status == 200
    harness.wait_until(lambda: server.get("/ready").status == 503, 60, "not ready any more")
    assert server.get("/health").status == 200


def test_metrics_on_every_port_that_is_set(make_server):
    grpc_port, prometheus_port = harness.free_ports(2)
    server = make_server("--set", f"server.grpc_port={grpc_port}",
                         "--set", f"monitoring.prometheus_port={prometheus_port}")
    server.register("echo")
    for port in (server.port, grpc_port, prometheus_port):
        a = server.get("/metrics", port=port)
        assert a.status == 200 and a.text.startswith("# HELP "), port
        assert a.headers["content-type"].startswith("text/plain")
        assert server.metrics(port)["berth_models", (("state", "READY"),)] == 1


def test_metrics_are_well_formed(echo_server):
    text = echo_server.get("/metrics").text
    names = set(re.findall(r"^# TYPE (\S+) ", text, re.M))
    assert names >= {"berth_requests_total", "berth_request_duration_seconds", "berth_models",
                     "berth_batch_size", "berth_connections", "berth_memory_resident_bytes"}
    for line in text.splitlines():
        assert line.startswith("# ") or re.fullmatch(
            r'[A-Za-z_:][\w:]*(\{(\w+="([^"\\]|\\.)*",?)*\})? [-+\dein.INFa]+', line), line
    assert text.endswith("\n")


def test_openapi_names_every_route_that_answers(echo_server):
    d = echo_server.get("/openapi.json").json
    assert d["openapi"].startswith("3.")
    for path in ("/v1/models", "/v1/chat/completions", "/v1/embeddings", "/health", "/metrics",
                 "/v2/health/live"):
        assert path in d["paths"], path
    assert len(d["paths"]) >= 20


def test_method_not_allowed_says_which_is(echo_server):
    a = echo_server.request("PUT", "/v1/models", {})
    assert a.status == 405 and "POST" in a.headers["allow"] and "GET" in a.headers["allow"]


def test_performance_stats_move(echo_server):
    echo_server.register("counted", config={"delay_ms": 5})
    for _ in range(20):
        assert predict(echo_server, "counted", input=[1]).status == 200
    stats = echo_server.get("/v1/models/counted").json["performance_stats"]
    assert stats["total_requests"] == stats["successful_requests"] == 20
    assert stats["failed_requests"] == 0
    assert 5 <= stats["p95_latency_ms"] <= stats["p99_latency_ms"]
    assert stats["avg_latency_ms"] >= 5
    assert echo_server.delete("/v1/models/counted").status == 200
