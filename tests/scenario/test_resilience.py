"""What surrounds the server turns on it: odd files, signals at odd times, changes nobody waits for."""
import contextlib
import http.server
import json
import os
import pty
import shutil
import signal
import subprocess
import threading

import pytest

import harness

sanitize = pytest.mark.sanitize


def infer(server, model, timeout=60):
    return server.post(f"/v2/models/{model}/infer", {"inputs": [
        harness.v2_input("x", "INT32", [1, 1], [1])]}, timeout=timeout)


@sanitize
@pytest.mark.parametrize("name, backend", [("berth.yaml", "echo"), ("berth.json", "echo"),
                                           ("model.onnx", "onnx"), ("model.gguf", "llama")])
def test_a_fifo_in_a_model_folder_holds_nobody_up(make_server, tmp_path, name, backend):
    folder = tmp_path / "m"
    folder.mkdir()
    os.mkfifo(folder / name)
    server = make_server("--set", "engine.loaders=1")
    a = server.post("/v1/models", {"name": "odd", "backend": backend, "model_path": str(folder)})
    if a.status == 200:
        server.wait_model("odd", "Error", 60)
    else:
        assert a.status == 400 and "is not a file" in a.text, a
    server.register("echo")
    assert infer(server, "echo").status == 200
    assert server.stop() == 0


@sanitize
def test_a_sighup_while_stopping_is_no_second_stop(make_server):
    server = make_server()
    server.register("slow", config={"delay_ms": 15000})  # a machine that halts still sees it at work
    answers = []
    client = threading.Thread(target=lambda: answers.append(infer(server, "slow").status))
    client.start()
    harness.wait_until(lambda: server.status("slow")["running"] == 1 or answers, 60, "it runs")
    server.process.terminate()
    harness.wait_until(lambda: "SIGTERM" in server.log(), 60, "the stop begun")
    server.process.send_signal(signal.SIGHUP)
    client.join()
    assert answers == [200]
    assert server.process.wait(60 * harness.SLOW) == 0


@sanitize
def test_stopping_with_changes_waiting_whose_clients_are_gone(make_server, tmp_path):
    model = tmp_path / "x.echo"
    model.write_text("")
    server = make_server("--set", "engine.max_models=1000")
    for i in range(200):
        body = json.dumps({"name": f"m{i}", "backend": "echo", "model_path": str(model)}).encode()
        with server.socket() as s:
            s.sendall(b"POST /v1/models HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                      b"Content-Length: %d\r\n\r\n" % len(body) + body)
    assert server.stop() == 0, server.log()[-3000:]
    assert "Sanitizer" not in server.log()


@pytest.mark.parametrize("settings", [{}, {"instances": 2}])
def test_a_served_file_that_is_cut_off_costs_its_model_only(make_server, tmp_path, settings):
    file = tmp_path / "m.gguf"
    shutil.copy(harness.SMOLLM, file)
    server = make_server()
    server.register("echo")
    server.register("m", "llama", file, {"threads": 1, "context_length": 512, **settings})
    ask = {"model": "m", "prompt": "Hi", "max_tokens": 4}
    assert server.post("/v1/completions", ask).status == 200
    os.truncate(file, 100000)

    def given_up():
        a = server.post("/v1/completions", ask)
        assert a.status >= 500, a
        return a.status == 503

    harness.wait_until(given_up, 60, "the model failed")
    assert "cut off or overwritten" in server.get("/v1/models/m/status").text
    assert infer(server, "echo").status == 200
    shutil.copy(harness.SMOLLM, file)
    assert server.post("/v2/repository/models/m/load", {}).status == 200
    harness.wait_until(lambda: server.post("/v1/completions", ask).status == 200, 60, "it is back")


def test_a_model_overwritten_in_its_folder_is_loaded_anew(make_server, tmp_path):
    file = tmp_path / "m.gguf"
    shutil.copy(harness.SMOLLM, file)
    server = make_server("--model-dir", str(tmp_path))
    server.wait_model("m")
    ask = {"model": "m", "prompt": "Hi", "max_tokens": 2}
    data = harness.SMOLLM.read_bytes()
    with open(file, "wb") as f:
        for at in range(0, len(data), 16 << 20):
            f.write(data[at:at + (16 << 20)])
            f.flush()
            assert server.post("/v1/completions", ask).status in (200, 500, 503)
    harness.wait_until(lambda: server.post("/v1/completions", ask).status == 200, 60, "it is back")


@sanitize
def test_sighups_while_serving(make_server, tmp_path):
    file = tmp_path / "berth.yaml"
    file.write_text("engine:\n  default_batch_size: 8\n")
    server = make_server("--config", str(file), "--set", "logging.level=debug")
    server.register("echo")
    for i in range(20):
        file.write_text(f"engine:\n  default_batch_size: {i + 1}\n" if i % 3 else "engine: [broken\n")
        server.process.send_signal(signal.SIGHUP)
        assert infer(server, "echo").status == 200
    file.unlink()
    server.process.send_signal(signal.SIGHUP)
    harness.wait_until(lambda: "the old configuration stays" in server.log(), 60, "it said so")
    assert infer(server, "echo").status == 200
    assert server.stop() == 0


class Rude(http.server.BaseHTTPRequestHandler):
    """A server whose every text would take a terminal over."""
    protocol_version = "HTTP/1.1"
    text = "\x1b]0;title\x07\x1b[2J\x9b31mred\x7f\r"

    def log_message(self, *args):
        pass

    def do_GET(self):
        body = {"name": self.text, "status": "Ready", "message": self.text, "error": self.text,
                "inputs": [{"name": self.text, "datatype": self.text, "shape": [1]}],
                "output": self.text}
        code, kind, data = 200, "application/json", json.dumps(body)
        if "/bad" in self.path:
            code = 400
        elif self.path.endswith("/chat/completions"):
            kind = "text/event-stream"
            event = {"choices": [{"index": 0, "delta": {"content": self.text}}]}
            data = f"data: {json.dumps(event)}\n\ndata: [DONE]\n\n"
        elif self.path.endswith("/models"):
            data = json.dumps({"models": [body], "total": 1})
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data.encode())

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()


def on_terminal(*args):
    """What a command writes, to both outputs, when they are a terminal."""
    parent, child = pty.openpty()
    process = subprocess.Popen([harness.BERTH, *args], stdin=subprocess.DEVNULL, stdout=child,
                               stderr=child)
    os.close(child)
    data = b""
    with contextlib.suppress(OSError):  # the end of a terminal
        while more := os.read(parent, 4096):
            data += more
    os.close(parent)
    process.wait(60 * harness.SLOW)
    return data


@pytest.mark.parametrize("args", [["list"], ["ps"], ["show", "m"], ["show", "bad"],
                                  ["predict", "m", "hello"], ["predict", "bad", "hello"],
                                  ["run", "m", "hello"], ["stop", "bad"]], ids=" ".join)
def test_a_terminal_is_not_taken_over_by_what_a_server_says(args):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Rude)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        data = on_terminal(args[0], "--server", f"127.0.0.1:{server.server_address[1]}", *args[1:])
    finally:
        server.shutdown()
        server.server_close()
    assert b"red" in data, data
    text = data.decode().replace("\r\n", "\n")
    assert not [c for c in text if (c < " " and c not in "\n\t") or "\x7f" <= c < "\xa0"], data


def test_a_prompt_of_megabytes_does_not_hold_up_its_model(make_server):
    server = make_server()
    server.register("m", "llama", harness.SMOLLM, {"threads": 1, "context_length": 512})
    text = "a " * 4000000
    for path, ask in (("completions", {"prompt": text}),
                      ("chat/completions", {"messages": [{"role": "user", "content": text}]})):
        a = server.post(f"/v1/{path}", {"model": "m", "max_tokens": 1, **ask})
        # In bytes, and not in tokens: it was never cut into them.
        assert a.status == 400 and " bytes; the context holds 512 tokens" in a.text, a
