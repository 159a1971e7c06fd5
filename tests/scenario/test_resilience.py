"""What surrounds the server turns on it: odd files, signals at odd times, changes nobody waits for."""
import json
import os
import shutil
import signal
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
    a = server.post("/v1/models", {"name": "odd", "backend": backend, "model_path": str(folder)},
                    timeout=5)
    if a.status == 200:
        server.wait_model("odd", "Error", 10)
    else:
        assert a.status == 400 and "is not a file" in a.text, a
    server.register("echo")
    assert infer(server, "echo").status == 200
    assert server.stop() == 0


@sanitize
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
    server.process.terminate()
    assert server.process.wait(60 * harness.SLOW) == 0, server.log()[-3000:]
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

    harness.wait_until(given_up, 30, "the model failed")
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
    harness.wait_until(lambda: "the old configuration stays" in server.log(), 10, "it said so")
    assert infer(server, "echo").status == 200
    assert server.stop() == 0
