"""What surrounds the server turns on it: odd files, signals at odd times, changes nobody waits for."""
import json
import os
import signal
import threading

import pytest

import harness

pytestmark = pytest.mark.sanitize


def infer(server, model, timeout=60):
    return server.post(f"/v2/models/{model}/infer", {"inputs": [
        harness.v2_input("x", "INT32", [1, 1], [1])]}, timeout=timeout)


@pytest.mark.parametrize("name, backend", [("berth.yaml", "echo"), ("berth.json", "echo"),
                                           ("model.onnx", "onnx"), ("model.gguf", "llama")])
def test_a_fifo_in_a_model_folder_holds_nobody_up(make_server, tmp_path, name, backend):
    if backend == "onnx" and harness.SANITIZED:
        pytest.skip("a sanitizer's dlopen() does not look beside the plugin for the engine")
    folder = tmp_path / "m"
    folder.mkdir()
    os.mkfifo(folder / name)
    server = make_server("--set", "engine.loaders=1")
    a = server.post("/v1/models", {"name": "odd", "backend": backend, "model_path": str(folder)},
                    timeout=5)
    if a.status == 200:
        server.wait_model("odd", "Error", 10)
    else:
        assert a.status == 400 and "is not a file" in a.text, a
    server.register("echo")
    assert infer(server, "echo").status == 200
    assert server.stop() == 0


def test_a_sighup_while_stopping_is_no_second_stop(make_server):
    server = make_server()
    server.register("slow", config={"delay_ms": 1500})
    answers = []
    client = threading.Thread(target=lambda: answers.append(infer(server, "slow").status))
    client.start()
    harness.wait_until(lambda: server.status("slow")["running"] == 1, 10, "it runs")
    server.process.terminate()
    harness.wait_until(lambda: "SIGTERM" in server.log(), 10, "the stop begun")
    server.process.send_signal(signal.SIGHUP)
    client.join()
    assert answers == [200]
    assert server.process.wait(20 * harness.SLOW) == 0


def test_stopping_with_changes_waiting_whose_clients_are_gone(make_server, tmp_path):
    model = tmp_path / "x.echo"
    model.write_text("")
    server = make_server("--set", "engine.max_models=1000")
    for i in range(200):
        body = json.dumps({"name": f"m{i}", "backend": "echo", "model_path": str(model)}).encode()
        with server.socket() as s:
            s.sendall(b"POST /v1/models HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                      b"Content-Length: %d\r\n\r\n" % len(body) + body)
    server.process.terminate()
    assert server.process.wait(60 * harness.SLOW) == 0, server.log()[-3000:]
    assert "Sanitizer" not in server.log()
