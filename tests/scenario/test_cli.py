"""The command line, as a person and as a script use it."""
import functools
import hashlib
import http.server
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import threading
import time

import pytest
import yaml

import harness

COMMANDS = ["serve", "run", "pull", "list", "show", "ps", "plan", "stop", "load", "rm", "predict", "explain", "bench", "doctor",
            "config", "version", "completion"]


def berth(*args, env=None, input=None, timeout=60, server=None, cwd=None, name=None):
    environment = {k: v for k, v in os.environ.items()
                   if not k.startswith(("UNIMODEL_", "BERTH_")) or k == "BERTH_PLUGIN_DIR"}
    if server is not None:
        environment["BERTH_HOST"] = f"127.0.0.1:{server.port}"
    environment.update(env or {})
    return subprocess.run([str(name or harness.BERTH), *map(str, args)], capture_output=True,
                          text=True, timeout=timeout * harness.SLOW, env=environment, input=input,
                          stdin=None if input is not None else subprocess.DEVNULL, cwd=cwd)


def ok(*args, **kw):
    r = berth(*args, **kw)
    assert r.returncode == 0, (args, r.stdout, r.stderr)
    return r.stdout


@pytest.fixture(scope="module")
def server():
    with harness.Server() as s:
        s.register("echo")
        s.register("digits", "onnx", harness.DIGITS)
        yield s


# ---- version and help ----

@pytest.mark.parametrize("args", [("--version",), ("version",), ("-V",)])
def test_version(args):
    assert re.match(r"^berth v?\d+\.\d+\.\d+", ok(*args).splitlines()[0])


def test_help_names_every_command():
    out = ok("--help")
    for command in COMMANDS:
        assert re.search(rf"^\s+{command}\b", out, re.M), command
    assert out == ok("help") and berth().returncode != 0


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_fits_a_screen(command):
    r = berth(command, "--help")
    assert r.returncode == 0 and r.stderr == ""
    lines = r.stdout.splitlines()
    assert 2 <= len(lines) <= 24 and max(map(len, lines)) <= 80, r.stdout
    assert lines[0].lower().startswith("usage: berth " + command)


def test_unknown_things_are_named_and_exit_2():
    for args, word in ((["fly"], "fly"), (["serve", "--wings"], "--wings"),
                       (["list", "--port"], "--port"), (["serve", "--port", "x"], "x"),
                       (["serve", "--port", "70000"], "70000"), (["rm"], "rm"),
                       (["serve", "--set", "no.such.key=1"], "no.such.key"),
                       (["serve", "--set", "server.port"], "server.port")):
        r = berth(*args)
        assert r.returncode == 2 and r.stdout == "", (args, r)
        assert word in r.stderr and "--help" in r.stderr, (args, r.stderr)


def test_a_typo_gets_a_hint():
    assert "serve" in berth("serv").stderr
    assert "`berth stop`" in berth("unload", "x").stderr


# ---- with a server ----

def test_list_and_ps_and_show(server):
    for command in ("list", "ps"):
        out = ok(command, server=server)
        assert "echo" in out and "digits" in out and re.search(r"ready", out, re.I), out
    out = ok("show", "digits", server=server)
    for word in ("digits", "onnx", "image", "FP32", "scores", "[-1,1,8,8]"):
        assert word in out.replace(", ", ","), out
    data = json.loads(ok("list", "--json", server=server))
    listed = data if isinstance(data, list) else data.get("models")
    assert {m["name"] for m in listed} >= {"echo", "digits"}
    assert json.loads(ok("show", "digits", "--json", server=server))["name"] == "digits"


def test_show_tells_how_many_sequences_run_at_once(models_server):
    n = models_server.status("smollm2")["batching"]["max_sequences"]
    out = ok("show", "smollm2", server=models_server)
    assert n > 1 and f"up to {n} sequences at once" in out and "batch dimension" not in out, out
    out = ok("show", "digits", server=models_server)
    assert "sequences" not in out and re.search(r"^batching +auto", out, re.M), out


def test_errors_of_the_server_are_shown_and_exit_1(server):
    for args in (["show", "nope"], ["rm", "nope"], ["predict", "nope", "x"], ["stop", "nope"]):
        r = berth(*args, server=server)
        assert r.returncode == 1 and "nope" in r.stderr and r.stdout == "", (args, r)


def test_predict_a_picture_and_a_text(server):
    for path in sorted((harness.DIGITS / "heldout").glob("*.png"))[:3]:
        out = ok("predict", "digits", path, server=server)
        assert out.split()[0].strip('":') == path.stem[-1] or f'"{path.stem[-1]}"' in out, out
    assert "hello there" in ok("predict", "echo", "hello there", server=server)
    assert "from the pipe" in ok("predict", "echo", "-", input="from the pipe", server=server)
    data = json.loads(ok("predict", "digits", path, "--json", server=server))
    assert data["output"]["label"] == path.stem[-1]


def test_stop_unloads_and_rm_forgets(server):
    server.register("brief")
    ok("stop", "brief", server=server)
    harness.wait_until(lambda: server.get("/v2/models/brief/ready").status != 200, 10, "unloaded")
    assert "brief" in ok("list", server=server)
    ok("rm", "brief", server=server)
    assert "brief" not in ok("list", server=server)


def test_an_unloaded_model_says_how_to_load_it(server):
    server.register("brief")
    ok("stop", "brief", server=server)
    harness.wait_until(lambda: server.get("/v2/models/brief/ready").status != 200, 10, "unloaded")
    r = berth("predict", "brief", "x", server=server)
    assert r.returncode == 1 and "berth load" in r.stderr, r.stderr
    ok("load", "brief", server=server)
    server.wait_model("brief")
    ok("rm", "brief", server=server)


def test_usual_mistakes_get_a_next_step(server):
    for args, words in ((["explain", "nope"], ("'nope'", "`berth explain` lists")),
                        (["run", "./nope.gguf", "hi"], ("'./nope.gguf'", "nor a file")),
                        (["run", "digits", "hi"], ("chat", "tensor inference", "berth predict")),
                        (["predict", "digits", "sevn.png"], ("no file sevn.png",))):
        r = berth(*args, server=server)
        assert r.returncode == 1 and all(w in r.stderr for w in words), (args, r.stderr)
    assert "sent as text" not in berth("predict", "digits", "@sevn.png", server=server).stderr


def test_a_taken_port_is_named(server):
    r = berth("serve", "--port", server.port, "--state-dir", "none")
    assert r.returncode == 1 and f"server.port: port {server.port} is taken" in r.stderr, r.stderr
    r = berth("doctor", "--port", server.port)
    assert r.returncode == 0 and "is in use" in r.stdout and "--port" in r.stdout, r.stdout


def test_serve_says_what_is_missing(tmp_path):
    (tmp_path / "folder").mkdir()
    with harness.Server("--plugin-dir", "/nowhere", env={}) as s:
        harness.wait_until(lambda: "no models yet" in s.log(), 10, s.log)
        assert "/nowhere" in s.log() and "berth pull" in s.log()
        assert "whoever reaches" not in s.log()
    r = berth("serve", "--port", "0", "--state-dir", "none", "--model", f"x={tmp_path / 'folder'}")
    assert r.returncode == 1 and "--model-dir" in r.stderr, r.stderr


def test_without_a_server_it_says_how_to_start_one():
    r = berth("list", env={"BERTH_HOST": f"127.0.0.1:{harness.free_port()}"})
    assert r.returncode == 1 and "berth serve" in r.stderr


def test_bench_prints_percentiles_as_json(server):
    for mode in ((), ("--rate", "200")):
        r = json.loads(ok("bench", "echo", "--duration", "1", "--concurrency", "4", "--json", "-", *mode,
                          server=server))
        flat = json.dumps(r)
        for key in ("p50", "p95", "p99"):
            assert key in flat, r
        found = re.findall(r'"(?:requests|count|ok)": (\d+)', flat)
        assert found and max(map(int, found)) > 50, r
    out = ok("bench", "echo", "--duration", "1", server=server)
    assert "p99" in out


def test_bench_counts_so_many_requests(server):
    for mode in ((), ("--rate", "500")):
        r = json.loads(ok("bench", "echo", "--requests", "100", "--warmup", "0.2", "--json", "-", *mode,
                          server=server))
        assert r["requests"] == r["ok"] == 100 and r["failed"] == 0, r
        assert r["errors"] == {"connect": 0, "timeout": 0, "broken": 0, "unsent": 0, "status": {},
                               "grpc": {}}, r
    r = berth("bench", "echo", "--requests", "9", "--duration", "1", server=server)
    assert r.returncode == 2 and "not both" in r.stderr, r


def test_bench_says_the_same_in_every_way(server, tmp_path):
    request = tmp_path / "request.json"
    request.write_text(json.dumps({"inputs": [harness.v2_input("x", "FP32", [2, 3], [1, 2, 3, 4, 5, 6])]}))
    body = tmp_path / "body.json"
    body.write_bytes(request.read_bytes())
    for way in (("--protocol", "rest"), ("--protocol", "binary"), ("--concurrency", "2x8"),
                ("--protocol", "binary", "--concurrency", "2x8"),
                ("--path", "/v2/models/echo/infer")):
        r = json.loads(ok("bench", "echo", "--requests", "300", "--warmup", "0", "--input", f"@{request}",
                          "--server-pid", server.pid, "--json", "-", *way, server=server))
        assert r["ok"] == 300 and r["failed"] == 0, (way, r)
        assert r["server_cpu_us"] >= 0 and r["client_cpu_share"] > 0, (way, r)


def test_bench_tells_where_the_servers_time_went(server):
    r = json.loads(ok("bench", "echo", "--requests", "50", "--warmup", "0", "--json", "-", server=server))
    assert set(r["stages_ms"]) == {"queue", "compute_input", "compute_infer", "compute_output"}, r
    request = json.dumps({"inputs": [harness.v2_input("x", "FP32", [1], [1])]})
    r = json.loads(ok("bench", "echo", "--requests", "50", "--warmup", "0", "--json", "-", "--input", request,
                      "--path", "/v2/models/echo/infer?berth_timing=true", server=server))
    assert {"total", "queue", "engine"} <= set(r["stages_ms"]), r
    assert r["stages_ms"]["total"] <= r["latency_ms"]["mean"], r
    r = json.loads(ok("bench", "echo", "--requests", "50", "--warmup", "0", "--json", "-", "--protocol", "grpc",
                      "--input", request, "--concurrency", "2x4", server=server))
    assert r["ok"] == 50 and "compute_infer" in r["stages_ms"], r


def test_bench_sweeps_until_p99_is_too_long(server):
    r = json.loads(ok("bench", "echo", "--sweep", "100:300:100", "--arrivals", "poisson", "--warmup", "0",
                      "--duration", "0.4", "--json", "-", server=server))
    assert [m["rate"] for m in r["medians"]] == [100, 200, 300] and r["arrivals"] == "poisson", r
    r = json.loads(ok("bench", "echo", "--sweep", "100:300:100", "--p99", "0.001", "--warmup", "0",
                      "--requests", "20", "--json", "-", server=server))
    assert [run["rate"] for run in r["runs"]] == [100], r


def test_bench_asks_several_models(make_server):
    s = make_server()
    for i in range(3):
        s.register(f"m{i}")
    for names in ("m{0..2}", "m{0..2:zipf}"):
        r = json.loads(ok("bench", names, "--requests", "300", "--warmup", "0", "--concurrency", "2", "--json", "-",
                          server=s))
        assert r["ok"] == 300 and r["failed"] == 0, r
    asked = [s.get(f"/v2/models/m{i}/stats").json["model_stats"][0]["inference_stats"]["success"]["count"]
             for i in range(3)]
    # In turns 100 each; by Zipf's law some 164, 82 and 54; and one of the first to see that it works.
    assert sum(asked) == 602 and asked[0] > asked[1] > asked[2] > 100, asked
    assert berth("bench", "m{2..0}", server=s).returncode == 2


def test_bench_compares_two_servers_in_turns(server, make_server, tmp_path):
    other = make_server()
    other.register("echo")
    out = tmp_path / "result.json"
    text = ok("bench", "echo", "--requests", "100", "--warmup", "0", "--compare", other.url, "--rounds", "2",
              "--server-pid", f"{server.pid},{other.pid}", "--json", out, server=server)
    r = json.loads(out.read_text())
    assert [(run["server"], run["round"]) for run in r["runs"]] == [
        (server.url, 1), (other.url, 1), (server.url, 2), (other.url, 2)], r
    assert all(run["ok"] == 100 for run in r["runs"]), r
    assert "first / second" in text and other.url in text, text
    bad = berth("bench", "echo", "--compare", f"http://127.0.0.1:{harness.free_port()}", server=server)
    assert bad.returncode == 1 and "127.0.0.1" in bad.stderr, bad


def test_bench_speaks_grpc_to_any_server(tmp_path):
    import concurrent.futures
    import grpc
    asked = []

    def infer(request, context):
        asked.append(request)
        if len(asked) % 4 == 0:
            context.abort(grpc.StatusCode.UNAVAILABLE, "busy")
        return b""

    method = grpc.unary_unary_rpc_method_handler(infer)  # bytes in, bytes out
    service = grpc.method_handlers_generic_handler("inference.GRPCInferenceService", {"ModelInfer": method})
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        s = grpc.server(pool, handlers=[service])
        port = s.add_insecure_port("127.0.0.1:0")
        s.start()
        try:
            tensor = harness.v2_input("x", "FP32", [1, 300000], [0.5] * 300000)
            request = tmp_path / "request.json"
            request.write_text(json.dumps({"inputs": [tensor]}))
            r = json.loads(ok("bench", "m", "--protocol", "grpc", "--input", request, "--concurrency", "2x3",
                              "--requests", "39", "--warmup", "0", "--json", "-",
                              "--server", f"http://127.0.0.1:{port}"))
        finally:
            s.stop(None).wait()
    assert (r["ok"], r["failed"]) == (29, 10) and r["errors"]["grpc"] == {"UNAVAILABLE": 10}, r
    assert len(asked) == 40 and len(set(asked)) == 1, len(asked)
    from tritonclient.grpc import service_pb2
    message = service_pb2.ModelInferRequest.FromString(asked[0])
    assert message.model_name == "m" and message.inputs[0].shape == [1, 300000], message.inputs
    assert message.raw_input_contents[0] == struct.pack("<f", 0.5) * 300000


@pytest.mark.parametrize("args", [("--protocol", "soap"), ("--sweep", "1:2"), ("--concurrency", "4x0"),
                                  ("--arrivals", "late"), ("--server-pid", "1,2,3"),
                                  ("--rate", "5", "--sweep", "1:2:1"), ("--cpu", "1023")])
def test_bench_refuses_what_makes_no_sense(args):
    r = berth("bench", "m", *args)
    assert r.returncode == 2 and "See `berth bench --help`" in r.stderr, r


def test_bench_of_a_chat_goes_on_after_errors():
    class Chats(http.server.BaseHTTPRequestHandler):
        """A server that refuses every other chat after the first, with a streamed answer else."""
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.answer(200, b'{"name":"m","model_type":"LLM"}')

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.server.asked += 1
            if self.server.asked % 2 == 0:
                self.answer(503, b'{"error":{"message":"busy"}}')
                return
            pieces = "".join('data: {"choices":[{"delta":{"content":"%s"}}]}\n\n' % x for x in "abc")
            usage = '{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":3}}'
            self.answer(200, f"{pieces}data: {usage}\n\ndata: [DONE]\n\n".encode())

        def answer(self, status, body):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Chats)
    s.asked = 0
    threading.Thread(target=s.serve_forever, daemon=True).start()
    try:
        args = ("bench", "m", "--server", f"http://127.0.0.1:{s.server_port}", "--requests", "10",
                "--warmup", "0")
        r = json.loads(ok(*args, "--json", "-"))
        s.asked = 0
        text = berth(*args)
    finally:
        s.shutdown()
        s.server_close()
    assert (r["ok"], r["failed"]) == (5, 5) and r["errors"]["status"] == {"503": 5}, r
    assert r["completion_tokens"] == 15 and r["inter_token_ms"]["p95"] >= 0, r
    assert "status 503: 5" in text.stdout and "inter-token" in text.stdout, text
    assert text.stderr == "", text.stderr


def test_bench_of_nothing_fails(server):
    r = berth("bench", "nope", "--duration", "1", server=server)
    assert r.returncode != 0 and "nope" in r.stderr


# ---- run ----

def test_run_starts_a_server_when_none_runs(tmp_path):
    env = {"BERTH_HOST": f"127.0.0.1:{harness.free_port()}", "BERTH_STATE_DIR": str(tmp_path / "s"),
           "HOME": str(tmp_path)}
    out = ok("run", harness.SMOLLM, "What is the capital of France? Answer in one word.", env=env,
             timeout=90)
    assert "Paris" in out
    r = berth("list", env=env)
    if r.returncode == 0:  # it was left running: then it must be stoppable by its own command
        pytest.fail(f"run left a server behind: {r.stdout}")


def test_run_with_a_prompt_uses_the_running_server(models_server):
    out = ok("run", "smollm2", "What is the capital of France? Answer in one word.",
             server=models_server)
    assert "Paris" in out


def test_run_that_is_interrupted_is_no_success(server):
    server.register("slow", config={"token_ms": 100})
    environment = {**os.environ, "BERTH_HOST": f"127.0.0.1:{server.port}"}
    p = subprocess.Popen([str(harness.BERTH), "run", "slow", "word " * 500], env=environment,
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert p.stdout.read(4) == b"word"
        p.send_signal(signal.SIGINT)
        assert p.wait(20 * harness.SLOW) == 130
    finally:
        p.kill()
        p.communicate()
        server.delete("/v1/models/slow")


def test_run_on_a_terminal_is_a_conversation(models_server):
    parent, child = pty.openpty()
    env = {**os.environ, "BERTH_HOST": f"127.0.0.1:{models_server.port}", "TERM": "dumb"}
    p = subprocess.Popen([str(harness.BERTH), "run", "smollm2"], stdin=child, stdout=child,
                         stderr=child, env=env, close_fds=True)
    os.close(child)
    seen = b""

    def read_until(pattern, seconds=60):
        nonlocal seen
        end = time.monotonic() + seconds * harness.SLOW
        while not re.search(pattern, seen):
            assert time.monotonic() < end, seen
            if select.select([parent], [], [], 1)[0]:
                try:
                    seen += os.read(parent, 4096)
                except OSError:
                    return
    def prompt_tokens():
        return models_server.metric("berth_prompt_tokens_total", model="smollm2") or 0

    try:
        read_until(rb"> $")
        counts = [prompt_tokens()]
        for line in (b"My name is Ada. Say hello.", b"What is my name?"):
            seen = b""
            os.write(parent, line + b"\n")
            read_until(re.escape(line) + rb"\s+\S[\s\S]*> $")
            counts.append(prompt_tokens())
        # The second question carries the first one and its answer along.
        assert counts[2] - counts[1] > counts[1] - counts[0] + 10, counts
        os.write(parent, b"/bye\n")
        assert p.wait(20 * harness.SLOW) == 0
    finally:
        if p.poll() is None:
            p.kill()
            p.wait()
        os.close(parent)


# ---- pull ----

class Files(http.server.SimpleHTTPRequestHandler):
    """Files with ranges, so that a download can go on where it stopped."""

    def do_GET(self):
        self.server.seen.append(self.headers.get("Range"))
        self.server.tokens.append(self.headers.get("Authorization"))
        path = self.translate_path(self.path)
        if not os.path.isfile(path):
            self.send_error(404)
            return
        data = open(path, "rb").read()
        m = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        begin = int(m.group(1)) if m else 0
        cut = self.server.cut if not m else None
        self.send_response(206 if m else 200)
        self.send_header("Content-Length", str(len(data) - begin))
        self.send_header("ETag", '"one"')
        self.send_header("Accept-Ranges", "bytes")
        if m:
            self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if self.server.pause_s:  # a slow one: a hundred pieces
            step = len(data) // 100
            for at in range(begin, len(data), step):
                try:
                    self.wfile.write(data[at:at + step])
                except OSError:
                    return
                if self.server.stop.wait(self.server.pause_s):
                    return
            return
        self.wfile.write(data[begin:cut])
        if cut:
            self.close_connection = True

    def log_message(self, *args):
        pass


@pytest.fixture
def files(tmp_path):
    root = tmp_path / "files"
    root.mkdir()
    s = http.server.ThreadingHTTPServer(("127.0.0.1", 0),
                                        functools.partial(Files, directory=str(root)))
    s.seen, s.tokens, s.cut, s.root = [], [], None, root
    s.pause_s, s.stop = 0, threading.Event()
    t = threading.Thread(target=s.serve_forever, daemon=True)
    t.start()
    yield s
    s.stop.set()
    s.shutdown()
    s.server_close()


def pull_started(tmp_path, *args, stderr=subprocess.PIPE):
    env = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    env.update(BERTH_STATE_DIR=str(tmp_path / "state"), HOME=str(tmp_path))
    return subprocess.Popen([str(harness.BERTH), "pull", *args], env=env, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=stderr, cwd=tmp_path)


def pull(files, tmp_path, *args):
    return berth("pull", *args, env={"BERTH_STATE_DIR": str(tmp_path / "state"),
                                     "HOME": str(tmp_path)}, cwd=tmp_path)


def stored(tmp_path, data):
    return [p for p in tmp_path.rglob("*") if p.is_file() and "files" not in p.parts
            and p.stat().st_size == len(data) and p.read_bytes() == data]


def test_pull_by_http_with_checksum(files, tmp_path):
    data = os.urandom(3 << 20)
    (files.root / "model.onnx").write_bytes(data)
    url = f"http://127.0.0.1:{files.server_port}/model.onnx"
    digest = hashlib.sha256(data).hexdigest()
    r = pull(files, tmp_path, url, "--sha256", digest)
    assert r.returncode == 0, r
    assert stored(tmp_path, data)
    again = pull(files, tmp_path, url, "--sha256", digest)
    assert again.returncode == 0


def test_pull_refuses_a_wrong_checksum(files, tmp_path):
    data = os.urandom(100000)
    (files.root / "model.onnx").write_bytes(data)
    r = pull(files, tmp_path, f"http://127.0.0.1:{files.server_port}/model.onnx", "--sha256", "0" * 64)
    assert r.returncode == 1 and "0000" in r.stderr and hashlib.sha256(data).hexdigest() in r.stderr
    assert not stored(tmp_path, data), "a file with a wrong checksum is kept under its name"


def test_pull_goes_on_where_it_stopped(files, tmp_path):
    data = os.urandom(2 << 20)
    (files.root / "model.gguf").write_bytes(data)
    files.cut = 700000
    url = f"http://127.0.0.1:{files.server_port}/model.gguf"
    r = pull(files, tmp_path, url)
    if r.returncode != 0:
        files.cut = None
        r = pull(files, tmp_path, url)
    assert r.returncode == 0, r
    assert stored(tmp_path, data)
    assert any(x and x.startswith("bytes=") for x in files.seen), files.seen


def test_pull_that_is_interrupted_goes_on(files, tmp_path):
    data = os.urandom(1 << 20)
    (files.root / "model.gguf").write_bytes(data)
    url = f"http://127.0.0.1:{files.server_port}/model.gguf"
    files.pause_s = 0.05
    p = pull_started(tmp_path, url)
    try:
        harness.wait_until(lambda: any(x.stat().st_size > 50000 for x in tmp_path.rglob("*.part")),
                           20, "a part")
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=20 * harness.SLOW)
    finally:
        p.kill()
        p.wait()
    assert p.returncode == 130 and out == b"", (p.returncode, out, err)
    assert b"same command" in err and err.count(b"\n") == 1, err
    files.pause_s = 0
    r = pull(files, tmp_path, url)
    assert r.returncode == 0 and stored(tmp_path, data), r
    assert re.fullmatch(r"bytes=[1-9]\d*-", files.seen[-1]), files.seen


def test_pull_shows_lines_in_a_log_and_a_bar_on_a_terminal(files, tmp_path):
    (files.root / "model.gguf").write_bytes(os.urandom(1 << 20))
    url = f"http://127.0.0.1:{files.server_port}/model.gguf"
    files.pause_s = 0.06
    parent, child = pty.openpty()
    log, terminal = (pull_started(tmp_path, url, "--dir", tmp_path / name, stderr=to)
                     for name, to in (("log", subprocess.PIPE), ("terminal", child)))
    os.close(child)
    try:
        err = log.communicate(timeout=40 * harness.SLOW)[1].decode()
        terminal.communicate(timeout=40 * harness.SLOW)
        drawn = os.read(parent, 65536).decode()
    finally:
        for p in (log, terminal):
            p.kill()
            p.wait()
        os.close(parent)
    assert (log.returncode, terminal.returncode) == (0, 0), (err, drawn)
    figures = r"[\d.]+ KiB of 1\.0 MiB \(\d+ %\), [\d.]+ KiB/s"
    assert re.search(rf"^berth pull: {figures}", err) and "\r" not in err, err
    assert len(err.splitlines()) < 10, err
    assert re.search(rf"\r\[#+\.+\] {figures}, \d+ s left", drawn), drawn
    assert all(len(x) <= 80 for x in re.split(r"[\r\n]+", drawn)), drawn


def test_pull_says_that_it_is_there_already(files, tmp_path):
    data = os.urandom(100000)
    (files.root / "model.onnx").write_bytes(data)
    args = (f"http://127.0.0.1:{files.server_port}/model.onnx", "--sha256",
            hashlib.sha256(data).hexdigest())
    first, second = pull(files, tmp_path, *args), pull(files, tmp_path, *args)
    assert "already" not in first.stderr and "already" in second.stderr, (first, second)
    assert first.stdout == second.stdout and len(files.seen) == 1, files.seen


def test_pull_sends_the_token_that_is_given(files, tmp_path):
    path = files.root / "org/repo/resolve/main"
    path.mkdir(parents=True)
    (path / "m.gguf").write_bytes(b"GGUF")
    hub = {"HF_ENDPOINT": f"http://127.0.0.1:{files.server_port}", "HF_TOKEN": "of-the-variable",
           "BERTH_STATE_DIR": str(tmp_path / "state"), "HOME": str(tmp_path)}
    for extra, token in (((), "of-the-variable"), (("--token", "of-the-option"), "of-the-option")):
        ok("pull", "hf://org/repo/m.gguf", *extra, env=hub, cwd=tmp_path)
        assert files.tokens[-1] == f"Bearer {token}", files.tokens


def test_pull_of_what_is_not_there(files, tmp_path):
    r = pull(files, tmp_path, f"http://127.0.0.1:{files.server_port}/nope.onnx")
    assert r.returncode == 1 and "404" in r.stderr and "nope.onnx" in r.stderr
    r = pull(files, tmp_path, f"http://127.0.0.1:{harness.free_port()}/x.onnx")
    assert r.returncode == 1 and r.stderr
    for name in ("llama3", "smollm2:135m"):  # as other programs name them
        r = pull(files, tmp_path, name)
        assert r.returncode == 1 and name in r.stderr and "hf://ORG/REPO/FILE" in r.stderr, r


# ---- config, doctor, completion ----

def test_config_says_where_each_value_came_from(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("engine:\n  max_models: 5\n  default_batch_size: 4\n")
    out = ok("config", "--config", path, "--set", "engine.max_batch_wait_ms=7",
             env={"UNIMODEL_PORT": "8123"})
    settings = yaml.safe_load(out)
    assert settings["engine"]["max_models"] == 5 and settings["engine"]["max_batch_wait_ms"] == 7
    assert settings["server"]["port"] == 8123 and settings["server"]["max_connections"] == 1000

    def line(key):
        return next(x for x in out.splitlines() if x.strip().startswith(key + ":"))

    assert "c.yaml" in line("max_models") and "--set" in line("max_batch_wait_ms")
    assert "UNIMODEL_PORT" in line("port")


def test_config_hides_secrets(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("security:\n  jwt_secret: hunter2hunter2\n  api_keys: [topsecretkey]\n")
    out = ok("config", "--config", path)
    assert "hunter2" not in out and "topsecretkey" not in out


def test_a_printed_config_is_a_config(tmp_path):
    path = tmp_path / "again.yaml"
    path.write_text(ok("config", "--max-models", "7"))
    assert yaml.safe_load(ok("config", "--config", path))["engine"]["max_models"] == 7


def test_doctor_says_what_there_is():
    r = berth("doctor")
    assert r.returncode in (0, 1) and len(r.stdout.splitlines()) >= 5
    for word in ("llama", "onnx", "echo", "memory", "core"):
        assert word in r.stdout.lower(), r.stdout


def test_doctor_sees_a_bad_config(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("engine:\n  max_modles: 5\n")
    r = berth("doctor", "--config", path)
    assert r.returncode == 1 and "max_modles" in r.stdout + r.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell, tmp_path):
    out = ok("completion", shell)
    assert "berth" in out and all(c in out for c in COMMANDS)
    if shell == "bash":
        script = out + '\nCOMP_WORDS=(berth se); COMP_CWORD=1; ' \
            '$(complete -p berth | sed -E "s/.*-F ([^ ]+).*/\\1/") berth se berth; ' \
            'printf "%s\\n" "${COMPREPLY[@]}"\n'
        r = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
        assert r.returncode == 0 and "serve" in r.stdout.split(), (r.stdout, r.stderr)


# ---- other names ----

@pytest.mark.parametrize("name,args", [("unimodel-server", ("--help",)), ("unimodel-cli", ("--help",)),
                                       ("unimodel-bench", ("--help",)),
                                       ("unimodel-server", ("--version",))])
def test_other_names_are_known(tmp_path, name, args):
    link = tmp_path / name
    link.symlink_to(harness.BERTH)
    out = ok(*args, name=link)
    assert name in out or args == ("--version",), out


def test_unimodel_cli_lists_models(tmp_path, server):
    link = tmp_path / "unimodel-cli"
    link.symlink_to(harness.BERTH)
    out = ok("models", "list", name=link, server=server)
    assert "echo" in out and "digits" in out


# ---- serve ----

def test_serve_on_a_port_that_is_taken(server):
    r = berth("serve", "--host", "127.0.0.1", "--port", server.port, "--state-dir", "none")
    assert r.returncode == 1 and str(server.port) in r.stderr and r.stderr.count("\n") < 6


def test_serve_says_where_it_listens(make_server):
    s = make_server()
    assert str(s.port) in s.log()


def test_start_is_quick_and_small(make_server):
    s = make_server()
    assert s.rss() < 24 << 20
    assert len(os.listdir(f"/proc/{s.pid}/task")) < 20
