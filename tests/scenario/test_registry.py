"""What was acknowledged is kept, whatever happens; loading and dropping harm nobody."""
import os
import shutil
import threading
import time

import pytest

import harness

pytestmark = pytest.mark.sanitize


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state"


def echo_file(tmp_path, name="m.echo"):
    path = tmp_path / name
    path.write_text("echo\n")
    return path


def names(server):
    return {m["name"] for m in server.get("/v1/models").json["models"]}


def infer(server, model, value=7, timeout=60):
    return server.post(f"/v2/models/{model}/infer", {
        "inputs": [harness.v2_input("x", "INT32", [1], [value])]}, timeout=timeout)


class Traffic(threading.Thread):
    """Asks a model all the time; counts answers by status and keeps the slowest."""

    def __init__(self, server, model, allowed=(200,)):
        super().__init__(daemon=True)
        self.server, self.model, self.allowed = server, model, allowed
        self.ended, self.count, self.bad, self.slowest = threading.Event(), 0, [], 0

    def __enter__(self):
        self.start()
        harness.wait_until(lambda: self.count > 5, 60, "traffic")
        return self

    def run(self):
        while not self.ended.wait(0.002):
            begin = time.monotonic()
            try:
                a = infer(self.server, self.model, self.count % 1000)
                if a.status not in self.allowed or (
                        a.status == 200 and a.json["outputs"][0]["data"] != [self.count % 1000]):
                    self.bad.append(a)
            except OSError as e:
                self.bad.append(repr(e))
            self.slowest = max(self.slowest, time.monotonic() - begin)
            self.count += 1

    def __exit__(self, *exc):
        self.ended.set()
        self.join(60)


# ---- kill -9 ----

@pytest.mark.parametrize("after", [1, 7, 23, 60])
def test_kill_while_registering(make_server, state, tmp_path, after):
    """Four clients register; after some answers the server is killed in the middle."""
    path = echo_file(tmp_path)
    server = make_server("--set", "engine.max_models=10000", state_dir=state)
    acknowledged, lock, enough = set(), threading.Lock(), threading.Event()

    def register(worker):
        for i in range(10000):
            name = f"m-{worker}-{i}"
            try:
                a = server.post("/v1/models", {"name": name, "backend": "echo",
                                               "model_path": str(path)})
            except OSError:
                return
            with lock:
                if a.status == 200:
                    acknowledged.add(name)
                if len(acknowledged) >= after:
                    enough.set()

    threads = [threading.Thread(target=register, args=(w,), daemon=True) for w in range(4)]
    for t in threads:
        t.start()
    assert enough.wait(180 * harness.SLOW)
    server.kill()
    for t in threads:
        t.join(60)
    again = make_server("--set", "engine.max_models=10000", state_dir=state)
    there = names(again)
    assert acknowledged <= there, acknowledged - there
    # At most what was on its way when the server died is there besides.
    assert len(there - acknowledged) <= 4
    for name in sorted(acknowledged)[:3]:
        again.wait_model(name)
        assert infer(again, name).status == 200


def test_kill_while_deleting(make_server, state, tmp_path):
    path = echo_file(tmp_path)
    server = make_server("--set", "engine.max_models=200", state_dir=state)
    for i in range(60):
        server.register(f"m{i}", path=path, wait=False)
    gone, enough = set(), threading.Event()

    def delete():
        for i in range(60):
            try:
                if server.delete(f"/v1/models/m{i}").status == 200:
                    gone.add(f"m{i}")
            except OSError:
                return
            if len(gone) == 20:
                enough.set()

    t = threading.Thread(target=delete, daemon=True)
    t.start()
    assert enough.wait(180 * harness.SLOW)
    server.kill()
    t.join(60)
    there = names(make_server("--set", "engine.max_models=200", state_dir=state))
    assert not gone & there
    assert len({f"m{i}" for i in range(60)} - there) - len(gone) <= 1


def test_kill_while_loading(make_server, state):
    server = make_server(state_dir=state)
    answer = server.register("chat", "llama", harness.SMOLLM, {"threads": 1}, wait=False)
    server.kill()
    again = make_server(state_dir=state)
    again.wait_model("chat")
    assert again.status("chat")["id"] == answer["model_id"]
    a = again.post("/v1/models/chat:predict", {"input": "Hi", "max_tokens": 2})
    assert a.status == 200 and a.json["output"]


def test_an_engine_reports_to_nobody(make_server, tmp_path):
    """ONNX Runtime's builds leave a file of their use behind as soon as they begin, unless they are told before."""
    server = make_server(env={"TMPDIR": str(tmp_path)})
    server.register("digits", "onnx", harness.DIGITS)
    assert server.status("digits")["status"] == "Ready"
    assert list(tmp_path.iterdir()) == []


def test_kill_while_serving(make_server, state):
    server = make_server(state_dir=state)
    server.register("echo", config={"delay_ms": 1})
    server.register("digits", "onnx", harness.DIGITS)
    before = {m["name"]: m["id"] for m in server.get("/v1/models").json["models"]}
    with Traffic(server, "echo") as traffic:
        harness.wait_until(lambda: traffic.count > 50, 60, "50 requests")
        server.kill()
    again = make_server(state_dir=state)
    for name in before:
        again.wait_model(name)
    after = {m["name"]: m["id"] for m in again.get("/v1/models").json["models"]}
    assert after == before
    # The path of the model's file was in the folder of the first server, which is still there.
    assert infer(again, "echo").status == 200


def test_a_clean_stop_keeps_everything_too(make_server, state, tmp_path):
    server = make_server(state_dir=state)
    server.register("kept", path=echo_file(tmp_path), config={"delay_ms": 3})
    server.register("asleep", path=echo_file(tmp_path))
    assert server.post("/v2/repository/models/asleep/unload", {}).status == 200
    before = server.get("/v1/models/kept").json
    assert server.stop() == 0
    again = make_server(state_dir=state)
    again.wait_model("kept")
    after = again.get("/v1/models/kept").json
    assert after["config"] == before["config"] and after["id"] == before["id"]
    assert again.get("/v2/models/asleep/ready").status != 200, "was unloaded, must stay so"


def test_a_model_whose_file_went_away_harms_nothing(make_server, state, tmp_path):
    path = echo_file(tmp_path, "gone.echo")
    server = make_server(state_dir=state)
    server.register("gone", path=path)
    server.register("kept", path=echo_file(tmp_path))
    assert server.stop() == 0
    path.unlink()
    again = make_server(state_dir=state)
    again.wait_model("kept")
    again.wait_model("gone", "Error")
    assert "gone.echo" in str(again.status("gone"))
    assert infer(again, "kept").status == 200


def test_two_servers_do_not_share_a_state_folder(make_server, state):
    make_server(state_dir=state)
    second = make_server(state_dir=state, start=False).start(ready=False)
    assert second.process.wait(60 * harness.SLOW) != 0
    assert str(state) in second.log(), second.log()


def test_a_damaged_state_is_said_and_not_overwritten(make_server, state, tmp_path):
    server = make_server(state_dir=state)
    server.register("kept", path=echo_file(tmp_path))
    assert server.stop() == 0
    files = [p for p in state.rglob("*") if p.is_file() and p.stat().st_size > 4096]
    assert files
    for p in files:
        p.write_bytes(b"\xa5" * p.stat().st_size)
    second = make_server(state_dir=state, start=False).start(ready=False)
    assert second.process.wait(60 * harness.SLOW) != 0
    assert str(state) in second.log()
    assert all(p.read_bytes().startswith(b"\xa5" * 64) for p in files)


# ---- model folder ----

def test_model_dir_takes_what_is_dropped(make_server, tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "first.echo").write_text("echo\n")
    server = make_server("--model-dir", folder)
    server.wait_model("first")
    with Traffic(server, "first") as traffic:
        # A file is complete when it appears under its name.
        shutil.copytree(harness.DIGITS, folder / ".digits.part")
        os.rename(folder / ".digits.part", folder / "digits")
        server.wait_model("digits")
        (folder / "bad.onnx").write_bytes(b"this is no model" * 100)
        server.wait_model("bad", "Error")
        (folder / "readme.txt").write_text("not a model at all")
        (folder / "second.echo").write_text("echo\n")
        server.wait_model("second")
        os.unlink(folder / "second.echo")
        harness.wait_until(lambda: server.get("/v1/models/second").status == 404, 60, "second gone")
        shutil.rmtree(folder / "digits")
        harness.wait_until(lambda: server.get("/v1/models/digits").status == 404, 60, "digits gone")
    assert traffic.bad == []
    assert "bad.onnx" in str(server.status("bad"))
    harness.wait_until(lambda: "bad.onnx" in server.log(), 60, "it is told")
    assert "readme" not in names(server)


def test_model_dir_that_is_none_is_said(make_server, tmp_path):
    server = make_server("--model-dir", tmp_path / "nope", start=False).start(ready=False)
    assert server.process.wait(60 * harness.SLOW) != 0
    assert str(tmp_path / "nope") in server.log()


def test_models_of_the_command_line(make_server, state, tmp_path):
    server = make_server("--model", f"one={echo_file(tmp_path)}", "--model", f"d={harness.DIGITS}",
                         state_dir=state)
    for name in ("one", "d"):
        server.wait_model(name)
    assert server.stop() == 0
    assert names(make_server(state_dir=state)) == set(), "kept only as long as the command line says"


def test_a_model_of_the_command_line_that_is_not_there(make_server):
    server = make_server("--model", "x=/does/not/exist.gguf", start=False).start(ready=False)
    assert server.process.wait(60 * harness.SLOW) != 0
    assert "/does/not/exist.gguf" in server.log()


# ---- versions ----

def test_versions_in_a_folder(make_server, tmp_path):
    root = tmp_path / "digits"
    for v in ("1", "3"):
        shutil.copytree(harness.DIGITS, root / v)
    (root / "notes").mkdir()
    server = make_server()
    server.register("latest", "onnx", root)
    server.register("every", "onnx", root, {"versions": "all"})
    pixels = [p / 255 for p in harness.heldout()["samples"][0]["pixels"]]
    body = {"inputs": [harness.v2_input("image", "FP32", [1, 1, 8, 8], pixels)]}

    def served(model, version=None):
        path = f"/v2/models/{model}" + (f"/versions/{version}" if version else "")
        a = server.post(path + "/infer", body)
        return a.json.get("model_version") if a.status == 200 else a.status

    harness.wait_until(lambda: (served("every", "1"), served("every", "3")) == ("1", "3"), 60, "both versions served")
    assert server.get("/v2/models/every").json["versions"] == ["1", "3"]
    assert served("latest") == "3" == served("every") == served("every", "3")
    assert served("latest", "1") == 503
    assert served("every", "2") == 404
    shutil.copytree(harness.DIGITS, root / "10")
    assert server.post("/v2/repository/models/latest/load", {}).status == 200
    harness.wait_until(lambda: served("latest") == "10", 60, "version 10 served: not before 3")


# ---- load and unload while others work ----

def test_loads_and_unloads_under_traffic(make_server):
    server = make_server("--set", "engine.max_batch_wait_ms=0")
    server.register("steady")
    server.register("moves", config={"delay_ms": 1})
    with Traffic(server, "steady") as steady, Traffic(server, "moves", (200, 503)) as moves:
        for _ in range(15):
            assert server.post("/v2/repository/models/moves/unload", {}).status == 200
            harness.wait_until(lambda: server.get("/v2/models/moves/ready").status != 200, 60, "out")
            assert server.post("/v2/repository/models/moves/load", {}).status == 200
            harness.wait_until(lambda: server.get("/v2/models/moves/ready").status == 200, 60, "in")
        count = moves.count
        harness.wait_until(lambda: moves.count > count + 5, 60, "moves serving again")
    assert steady.bad == [] and moves.bad == []
    assert steady.slowest < 30 * harness.SLOW, "a request was stuck"


def test_reloading_drops_no_request(make_server):
    server = make_server("--set", "engine.max_batch_wait_ms=0")
    server.register("m", config={"delay_ms": 2})
    with Traffic(server, "m") as traffic:
        for _ in range(15):
            assert server.post("/v2/repository/models/m/load", {}).status == 200
            count = traffic.count
            harness.wait_until(lambda: traffic.count > count + 3, 60, "going on")
    assert traffic.bad == []


def test_a_big_load_does_not_hold_up_others(make_server):
    server = make_server("--set", "engine.max_batch_wait_ms=0")
    server.register("small")
    with Traffic(server, "small") as traffic:
        server.register("big", "llama", harness.SMOLLM, {"threads": 1})
        # So long that not even a machine that halts has it loaded before the others are answered.
        server.register("slow", config={"load_ms": 15000}, wait=False)
        count = traffic.count
        harness.wait_until(lambda: traffic.count > count + 20, 60, "going on")
        assert server.status("slow")["loaded_at"] is None, "requests waited for another model's load"
    assert traffic.bad == []


def test_registering_and_deleting_leaves_nothing(make_server, tmp_path):
    server = make_server()
    path = echo_file(tmp_path)

    def round_trip(n):
        for i in range(n):
            server.register(f"m{i}", path=path)
            assert infer(server, f"m{i}").status == 200
            assert server.delete(f"/v1/models/m{i}").status == 200
        harness.wait_until(lambda: server.get("/v1/models").json["total"] == 0, 60, "all gone")

    round_trip(10)
    fds, rss = server.fd_count(), server.rss()
    threads = len(os.listdir(f"/proc/{server.pid}/task"))
    round_trip(60)
    harness.wait_until(lambda: len(os.listdir(f"/proc/{server.pid}/task")) <= threads + 2, 60,
                       "instance threads ended")
    harness.wait_until(lambda: server.fd_count() <= fds + 5, 60, "descriptors closed")
    assert server.grew_less_than(rss, 16)
    left = [k for k in server.metrics() if any(v.startswith("m5") for _, v in k[1])]
    assert len(left) < 200


def test_deleting_a_busy_model_answers_its_requests(make_server):
    server = make_server("--set", "engine.max_batch_wait_ms=0")
    server.register("busy", config={"delay_ms": 2000})

    def at_work():
        return len(answers) == 5 or server.status("busy").get("status") == "Running"

    answers = []
    threads = [threading.Thread(target=lambda: answers.append(infer(server, "busy")))
               for _ in range(5)]
    for t in threads:
        t.start()
    harness.wait_until(at_work, 60, "at work")
    assert server.delete("/v1/models/busy").status == 200
    for t in threads:
        t.join(60)
    assert len(answers) == 5 and {a.status for a in answers} <= {200, 404, 503}
    assert any(a.status == 200 for a in answers), "running work was cut"
    assert infer(server, "busy").status == 404


def test_measured_memory_of_an_instance(models_server):
    used = models_server.status("smollm2")["resource_usage"]["memory_usage_bytes"]
    assert 40 << 20 < used < 2 << 30


def test_ready_is_not_said_before_what_is_to_be_served_is_registered(make_server, tmp_path):
    """A probe that comes early must not send requests to models that are not known yet."""
    wanted = [f"m{i}" for i in range(400)]
    model = echo_file(tmp_path)
    server = make_server("--set", "engine.max_models=400",
                         *(a for n in wanted for a in ("--model", f"{n}={model}")), start=False)
    server.start(ready=False)

    def is_ready():
        try:
            return server.get("/v2/health/ready").status == 200
        except OSError:
            return False
    harness.wait_until(is_ready, 60, "ready")
    assert names(server) == set(wanted)
