"""The pipelines that come along, each with what it is for."""
import hashlib
import http.server
import json
import os
import pathlib
import re
import sys
import threading

import pytest

import harness
import services
from services import deploy, get, shimmy, step, wait_gone, wait_phase

pytestmark = pytest.mark.timeout(900 * harness.SLOW)  # a model is quantised, twice, on a busy machine
PLUGINS = "/api/v1/plugins"


@pytest.fixture
def server(make_server):
    return make_server("--shimlet", "shimmy")


def log_of(server, sid):
    return server.get(f"{services.API}/{sid}/pipeline/logs?format=text").text


def made_files(server):
    return sorted(p for p in pathlib.Path(server.state_dir).rglob("*.gguf*"))


def gguf(path, size=4 << 20):
    """Something with a GGUF's first bytes, for what looks at sizes alone."""
    path.write_bytes(b"GGUF" + bytes(size - 4))
    return path


def test_they_are_listed(server):
    listed = {p["name"]: p for p in server.get(PLUGINS).json["data"]["pipelines"]}
    assert {"opensourcellm", "quant", "edge", "privatellm", "multimodal"} <= set(listed)
    assert listed["quant"]["steps"] == ["model-validation", "model-quantization", "config-rendering",
                                        "resource-deployment", "health-check"]


# ---- quant ----

def test_a_model_is_quantised_and_the_result_is_served(make_server):
    """all-MiniLM-L6-v2 as 32 bit numbers becomes q8_0, a quarter of its size, and answers."""
    server = make_server("--shimlet", "process")
    spec = {"modelName": "minilm", "modelFile": str(harness.MINILM), "pipeline": "quant",
            "quantConfig": {"type": "Q8_0", "threads": 1}, "replicaCount": 1}
    data = deploy(server, spec)
    assert data["totalSteps"][1] == "model-quantization"
    sid = data["serviceId"]
    wait_phase(server, sid, seconds=240)
    assert step(server, sid, "model-quantization")["state"] == "succeeded"
    result, note = made_files(server)
    assert re.fullmatch(r"all-MiniLM-L6-v2\.q8_0-[0-9a-f]{16}\.gguf", result.name)
    assert note.name == result.name + ".from"
    assert result.read_bytes()[:4] == b"GGUF"
    assert result.stat().st_size < harness.MINILM.stat().st_size * 0.4
    assert str(result) in log_of(server, sid)

    # The engine serves that file: its command line names it, and it answers.
    engines = [c.read_bytes().split(b"\0") for c in pathlib.Path("/proc").glob("[0-9]*/cmdline") if is_of(c, result)]
    assert engines, "no process has the result in its command line"
    answer = server.post("/v1/embeddings", {"model": "minilm", "input": "a small test"}, timeout=120)
    assert answer.status == 200, answer
    vector = answer.json["data"][0]["embedding"]
    want = reference("a small test")
    cosine = sum(a * b for a, b in zip(vector, want)) / (norm(vector) * norm(want)) if want else 1.0
    assert len(vector) == 384 and cosine > 0.98, cosine

    # The same spec with another number of replicas makes nothing anew.
    before = result.stat().st_mtime_ns
    assert server.request("PUT", f"{services.API}/{sid}", {**spec, "contextLength": 256}).status == 200
    wait_phase(server, sid, seconds=240)
    assert get(server, sid)["runningRevision"] == 2
    assert result.stat().st_mtime_ns == before
    assert server.delete(f"{services.API}/{sid}").status == 200
    wait_gone(server, sid, 60)
    assert made_files(server) == []


def is_of(cmdline, result):
    try:
        return str(result).encode() in cmdline.read_bytes()
    except OSError:  # it has ended meanwhile
        return False


def norm(v):
    return sum(x * x for x in v) ** 0.5


def reference(text):
    """What the model says as it came, by a server of its own."""
    with harness.Server() as plain:
        plain.register("plain", "llama", harness.MINILM, {"threads": 1})
        return plain.post("/v1/embeddings", {"model": "plain", "input": text}, timeout=120).json["data"][0]["embedding"]


def beside(spec):
    """The same as a canary."""
    return {**spec, "strategy": {"type": "canary", "canary": {"weight": 20, "replicas": 1}}}


def run_canary_and_promote(server, sid, canary):
    """Yields when the canary runs, then when it is the service."""
    assert server.request("PUT", f"{services.API}/{sid}", canary).status == 200
    harness.wait_until(lambda: get(server, sid)["phase"] == "running" and get(server, sid)["canary"]
                       and len(get(server, sid)["replicas"]) == 2, 120, "the canary runs beside")
    yield
    assert server.post(f"{services.API}/{sid}/promote", {}).status == 200
    harness.wait_until(lambda: get(server, sid)["phase"] == "running" and not get(server, sid)["canary"]
                       and len(get(server, sid)["replicas"]) == 1, 120, "the canary is the service")
    yield


def test_a_canary_has_a_result_of_its_own(server, tmp_path):
    """What stable serves is not overwritten, and goes when nothing serves it."""
    source = tmp_path / harness.MINILM.name
    source.symlink_to(harness.MINILM)
    spec = {**shimmy(), "modelFile": str(harness.MINILM), "pipeline": "quant",
            "quantConfig": {"type": "Q8_0", "threads": 1}, "replicaCount": 1}
    sid = deploy(server, spec)["serviceId"]
    wait_phase(server, sid, seconds=240)
    first, note = made_files(server)
    was = first.stat()
    steps = run_canary_and_promote(server, sid, beside({**spec, "modelFile": str(source)}))
    next(steps)
    second = [p for p in made_files(server) if p not in (first, note) and p.suffix == ".gguf"]
    assert len(second) == 1 and len(made_files(server)) == 4
    assert (first.stat().st_ino, first.stat().st_mtime_ns) == (was.st_ino, was.st_mtime_ns)
    next(steps)
    assert made_files(server) == [second[0], second[0].with_name(second[0].name + ".from")]
    assert first.name in log_of(server, sid), "its removal is told"
    server.delete(f"{services.API}/{sid}")
    wait_gone(server, sid, 60)
    assert made_files(server) == [] and not list((pathlib.Path(server.state_dir) / "files").iterdir())


@pytest.mark.parametrize("quant, words", [
    ({"type": "q99_x"}, "is not known; there is"),
    ({"type": "../../x"}, "is no type"),
])
def test_a_type_that_is_not_known_fails_the_step(server, quant, words):
    sid = deploy(server, {**shimmy(), "modelFile": str(harness.MINILM)}, pipeline="quant", quantConfig=quant,
                 steps={"model-quantization": {"maxRetries": 0}})["serviceId"]
    wait_phase(server, sid, "failed", 60)
    assert words in step(server, sid, "model-quantization")["error"]
    assert made_files(server) == []


def test_only_a_gguf_is_quantised(server, tmp_path):
    other = tmp_path / "model.gguf"
    other.write_text("no model")
    sid = deploy(server, {**shimmy(), "modelFile": str(other)}, pipeline="quant")["serviceId"]
    wait_phase(server, sid, "failed")
    failed = step(server, sid, "model-validation")
    assert "only a GGUF" in failed["error"] and failed["attempts"] == 1


# ---- edge ----

def test_what_does_not_fit_is_refused_with_the_sums(server, tmp_path):
    model = gguf(tmp_path / "m.gguf")
    spec = {**shimmy(), "modelFile": str(model), "pipeline": "edge"}
    sid = deploy(server, spec, resourceRequirements={"memory": "20Mi"})["serviceId"]
    wait_phase(server, sid, "failed")
    failed = step(server, sid, "resource-check")
    assert failed["attempts"] == 1
    for number in ("4.0 MiB of weights", "make 52.0 MiB", "may have 20.0 MiB"):
        assert number in failed["error"], failed
    assert step(server, sid, "resource-deployment")["state"] == "skipped"
    assert services.calls(server, sid).get("apply", 0) == 0

    sid = deploy(server, spec, resourceRequirements={"memory": "64Mi"})["serviceId"]
    wait_phase(server, sid)
    assert "52.0 MiB" in log_of(server, sid)


def test_edge_needs_no_network(server, tmp_path):
    sid = deploy(server, {**shimmy(), "modelFile": "hf://org/repo/m.gguf"}, pipeline="edge")["serviceId"]
    assert "offline" in wait_phase(server, sid, "failed")["message"]


def test_edge_tells_the_engine_to_stay_offline(make_server, tmp_path):
    server = make_server("--shimlet", "process")
    out = tmp_path / "env"
    script = (f"env > {out}; exec python3 -m http.server --bind 127.0.0.1 $PORT")
    sid = deploy(server, {"modelName": "m", "modelFile": str(gguf(tmp_path / "m.gguf", 4096)), "pipeline": "edge",
                          "command": ["/bin/sh", "-c", script], "healthPath": "/"})["serviceId"]
    wait_phase(server, sid, seconds=60)
    lines = out.read_text().splitlines()
    assert {"HF_HUB_OFFLINE=1", "TRANSFORMERS_OFFLINE=1"} <= set(lines)
    server.delete(f"{services.API}/{sid}")
    wait_gone(server, sid, 60)


# ---- privatellm ----

class Store(http.server.BaseHTTPRequestHandler):
    token, body = "s3cret", b"GGUF" + b"model" * 1000
    seen = None

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.do_GET(body=False)

    def do_GET(self, body=True):
        self.server.seen.append((self.command, self.headers.get("Authorization")))
        if self.headers.get("Authorization") != f"Bearer {self.token}":
            self.send_response(401)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200 if self.path == "/models/team/m.gguf" else 404)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        if body:
            self.wfile.write(self.body)


@pytest.fixture
def store():
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Store)
    made.seen = []
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def private(server, **parameters):
    spec = shimmy() | {"pipeline": "privatellm", "parameters": {"store": "team", "file": "team/m.gguf", **parameters}}
    del spec["modelFile"]
    return deploy(server, spec)["serviceId"]


def store_env(store, token=None):
    env = {"BERTH_STORE_TEAM_URL": f"http://127.0.0.1:{store.server_port}/models"}
    return env | ({"BERTH_STORE_TEAM_TOKEN": token} if token else {})


@pytest.mark.parametrize("token", [None, "wrong"])
def test_a_store_that_does_not_know_us_fails_the_step_once(make_server, store, token):
    server = make_server("--shimlet", "shimmy", env=store_env(store, token))
    sid = private(server)
    wait_phase(server, sid, "failed")
    failed = step(server, sid, "permission-check")
    assert "401" in failed["error"] and failed["attempts"] == 1
    assert step(server, sid, "model-fetch")["state"] == "skipped"
    assert len(store.seen) == 1, store.seen


def test_a_model_is_fetched_with_the_token_and_deployed(make_server, store):
    server = make_server("--shimlet", "shimmy", env=store_env(store, Store.token))
    sid = private(server, sha256=hashlib.sha256(Store.body).hexdigest())
    wait_phase(server, sid)
    (path,) = made_files(server)
    assert path.read_bytes() == Store.body
    everything = json.dumps(get(server, sid)) + log_of(server, sid) + server.log()
    assert Store.token not in everything
    server.delete(f"{services.API}/{sid}")
    wait_gone(server, sid)
    assert made_files(server) == []


def test_a_canary_fetches_a_file_of_its_own(make_server, store):
    server = make_server("--shimlet", "shimmy", env=store_env(store, Store.token))
    spec = shimmy() | {"pipeline": "privatellm", "parameters": {
        "store": "team", "file": "team/m.gguf", "sha256": hashlib.sha256(Store.body).hexdigest()}}
    del spec["modelFile"]
    sid = deploy(server, spec)["serviceId"]
    wait_phase(server, sid)
    (first,) = made_files(server)
    was = first.stat()
    canary = {**spec, "parameters": {"store": "team", "file": "team/m.gguf"}}
    steps = run_canary_and_promote(server, sid, beside(canary))
    next(steps)
    (second,) = set(made_files(server)) - {first}
    assert (first.stat().st_ino, first.stat().st_mtime_ns) == (was.st_ino, was.st_mtime_ns)
    assert second.name.startswith("m-") and second.read_bytes() == Store.body
    next(steps)
    assert first not in made_files(server)


@pytest.mark.parametrize("parameters, words", [
    ({"store": "nowhere"}, "BERTH_STORE_NOWHERE_URL"), ({"file": "../up"}, "parameters.file"),
    ({"file": "http://evil/x"}, "parameters.file"), ({"file": "none.gguf"}, "404"),
])
def test_what_cannot_be_had_from_a_store(make_server, store, parameters, words):
    server = make_server("--shimlet", "shimmy", env=store_env(store, Store.token))
    sid = private(server, **parameters)
    wait_phase(server, sid, "failed")
    assert words in step(server, sid, "permission-check")["error"]


# ---- multimodal ----

GOOD_CONFIG = {"architectures": ["LlavaForConditionalGeneration"], "vision_config": {"hidden_size": 8}}
GOOD_IMAGES = {"image_processor_type": "CLIPImageProcessor", "image_mean": [0.5, 0.5, 0.5], "image_std": [0.2, 0.2, 0.2],
               "size": {"shortest_edge": 336}, "crop_size": 336}


def seeing(tmp_path, config=None, images=None):
    (tmp_path / "config.json").write_text(json.dumps({**GOOD_CONFIG, **(config or {})}))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**GOOD_IMAGES, **(images or {})}))
    return {**shimmy("eyes"), "modelFile": str(tmp_path), "pipeline": "multimodal", "engine": "vllm"}


@pytest.mark.parametrize("config, images, words", [
    (None, {"image_mean": [0.5, 0.5]}, "image_mean must have 3 numbers"),
    (None, {"image_std": [0.2, 0, 0.2]}, "image_std[1]"),
    (None, {"size": {"shortest_edge": 0}}, "size must be pixels"),
    (None, {"crop_size": "big"}, "crop_size must be pixels"),
    (None, {"image_processor_type": None}, "image_processor_type"),
    ({"vision_config": None}, None, "no eyes"),
    ({"architectures": []}, None, "architectures is missing"),
])
def test_a_model_that_cannot_see_is_refused(server, tmp_path, config, images, words):
    sid = deploy(server, seeing(tmp_path, config, images))["serviceId"]
    wait_phase(server, sid, "failed")
    failed = step(server, sid, "model-validation")
    assert words in failed["error"] and failed["attempts"] == 1
    (tmp_path / "preprocessor_config.json").unlink()


def test_what_images_need_becomes_arguments(make_server, tmp_path):
    """With a program in the engine's place that writes down how it was called."""
    bin_dir, said = tmp_path / "bin", tmp_path / "said"
    bin_dir.mkdir()
    (bin_dir / "python3").write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" > {said}\nexec /usr/bin/env -i {sys.executable} -m http.server '
        '--bind 127.0.0.1 "$PORT"\n')
    (bin_dir / "python3").chmod(0o755)
    model = tmp_path / "model"
    model.mkdir()
    server = make_server("--shimlet", "process", env={"PATH": f"{bin_dir}:{os.environ['PATH']}"})
    spec = seeing(model) | {"shimlet": "process", "healthPath": "/",
                            "parameters": {"imagesPerPrompt": 4, "maxPixels": 1003520, "gpuMemoryFraction": 0.7}}
    sid = deploy(server, spec)["serviceId"]
    wait_phase(server, sid, seconds=60)
    given = said.read_text().splitlines()
    for want in ('--limit-mm-per-prompt={"image":4}', '--mm-processor-kwargs={"max_pixels":1003520}',
                 "--gpu-memory-utilization=0.70", f"--model={model}"):
        assert want in given, given
    server.delete(f"{services.API}/{sid}")
    wait_gone(server, sid, 60)


@pytest.mark.parametrize("parameters, words", [
    ({"imagesPerPrompt": 0}, "parameters.imagesPerPrompt"), ({"gpuMemoryFraction": 1.5}, "between 0 and 1"),
    ({"maxPixels": "many"}, "parameters.maxPixels"),
])
def test_parameters_that_make_no_sense(server, tmp_path, parameters, words):
    sid = deploy(server, seeing(tmp_path) | {"parameters": parameters})["serviceId"]
    wait_phase(server, sid, "failed")
    assert words in step(server, sid, "config-rendering")["error"]
