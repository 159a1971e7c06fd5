"""berth bench, as a person and as a script use it."""
import concurrent.futures
import http.server
import json
import re
import struct
import threading

import pytest

import harness
from test_cli import berth, ok, server  # noqa: F401


def test_bench_prints_percentiles_as_json(server):
    for mode in ((), ("--rate", "200")):
        r = json.loads(ok("bench", "echo", "--duration", "1", "--concurrency", "4", "--json", "-", *mode,
                          server=server))
        flat = json.dumps(r)
        for key in ("p50", "p95", "p99"):
            assert key in flat, r
        found = re.findall(r'"(?:requests|count|ok)": (\d+)', flat)
        assert found and max(map(int, found)) > 5, r
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
    asked, lock = [], threading.Lock()

    def infer(request, context):
        with lock:
            asked.append(request)
            is_fourth = len(asked) % 4 == 0
        if is_fourth:
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
