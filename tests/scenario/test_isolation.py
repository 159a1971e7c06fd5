"""Models in processes of their own: what goes wrong there costs only their own requests."""
import concurrent.futures
import contextlib
import json
import os
import pathlib
import re
import resource
import signal
import stat
import subprocess
import threading
import time

import pytest

import harness
from harness import wait_until

SMOLLM_PROMPT = "The capital of France is"


def workers_of(server):
    """{pid: model} of the worker processes whose server has this state folder."""
    return {pid: model for pid, (model, folder) in all_workers().items()
            if folder == os.path.realpath(os.path.join(server.state_dir, "workers"))}


def all_workers():
    found = {}
    for p in pathlib.Path("/proc").iterdir():
        if not p.name.isdigit():
            continue
        try:
            argv = (p / "cmdline").read_bytes().split(b"\0")
            if argv[:2] == [b"berth", b"worker"]:
                found[int(p.name)] = (argv[3].decode(), os.path.realpath(p / "fd" / "4"))
        except OSError:
            continue
    return found


def processes(what):
    """(pid, what /proc says of it) of every process of this machine."""
    for p in pathlib.Path("/proc").glob(f"[0-9]*/{what}"):
        with contextlib.suppress(OSError):  # it went after it was listed
            yield int(p.parent.name), p.read_text(errors="replace")


def is_alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def do(server, model, word, **kw):
    return server.post(f"/v2/models/{model}/infer",
                       {"inputs": [{"name": "do", "datatype": "BYTES", "shape": [1],
                                    "data": [word]}]}, **kw)


def did(server, model, word, **kw):
    a = do(server, model, word, **kw)
    assert a.status == 200, a
    return a.json["outputs"][0]["data"][0]


def chat(server, model, text, **more):
    return server.post("/v1/chat/completions",
                       {"model": model, "messages": [{"role": "user", "content": text}], **more})


def fault(server, name="f", config=None, **kw):
    server.register(name, "fault", config={"isolation": "process", "run_timeout_secs": 60,
                                           **(config or {})}, **kw)


@pytest.fixture
def server(make_server):
    s = make_server()
    s.register("echo")  # in the server's own process: what must not notice
    yield s
    ours = set(workers_of(s))
    s.stop()
    wait_until(lambda: not any(map(is_alive, ours)), 60, "the workers to end with their server")
    folder = pathlib.Path(s.state_dir, "workers")
    if folder.exists():
        assert not list(folder.glob("*.sock"))


def echo_answers(server):
    return server.post("/v2/models/echo/infer",
                       {"inputs": [{"name": "x", "datatype": "INT32", "shape": [1, 2],
                                    "data": [1, 2]}]}).status == 200


# ---- faults ----

@pytest.mark.parametrize("word, says", [
    ("kill", r"signal 9"),
    ("abort", r"signal 6 \(Aborted"),
    ("segv", r"signal 11 \(Segmentation fault"),
    ("exit", r"ended by itself with status 0"),
    ("loop", r"did not end its work within 15 s \(run_timeout_secs\)"),
    ("bomb", r"memory_limit_mb of 200|signal 6"),
    ("eat:400", r"memory_limit_mb of 200|signal 6"),
    ("child", r"signal 6"),
])
def test_a_fault_costs_its_own_request(server, word, says):
    if harness.SANITIZED and "memory_limit_mb" in says:
        pytest.skip("a sanitizer's own memory is far more than the limit")
    if word == "segv" and harness.SANITIZED:
        says = "signal|status"
    limit = {} if harness.SANITIZED else {"memory_limit_mb": 200}
    # What is no loop ends well within it, even where a worker stands still for a while.
    fault(server, config={"run_timeout_secs": 60 if word != "loop" else 15, **limit})
    before = int(did(server, "f", "pid"))
    assert before != server.pid
    stop, missed = threading.Event(), []

    def others():
        while not stop.is_set():
            if not echo_answers(server):
                missed.append(1)

    t = threading.Thread(target=others)
    t.start()
    a = do(server, "f", word)
    again = did(server, "f", "pid")
    stop.set()
    t.join()
    assert a.status >= 500, a
    assert re.search(says, a.text), a
    assert "try again" in a.text, a
    assert int(again) != before
    # It serves a moment before its return is counted and told.
    wait_until(lambda: server.metric("berth_worker_restarts_total", model="f") == 1, 60, "its return is counted")
    wait_until(lambda: "its worker was started again" in (server.status("f")["life"][-1]["reason"] or ""), 60,
               "its return is told")
    told = server.status("f")["instances"][0]
    assert (told["isolation"], told["worker_pid"], told["worker_restarts"]) == (
        "process", int(again), 1)
    last = server.status("f")["life"][-1]
    assert last["state"] == "READY", last
    assert re.search(says, last["reason"]), last
    shown = subprocess.run([str(harness.BERTH), "show", "f"], capture_output=True, text=True,
                           timeout=60 * harness.SLOW,
                           env={**os.environ, "BERTH_SERVER": server.url}).stdout
    assert f"isolation: process, pid {again}, started again 1 time" in shown, shown
    assert server.status("echo")["instances"][0]["isolation"] == "none"
    assert not missed
    assert not is_alive(before)
    assert server.alive


@pytest.mark.parametrize("word", ["close", "closeall"])
def test_a_worker_that_closes_its_descriptors_does_not_get_lost(make_server, word):
    """It may serve on, since answers need no descriptor; but it ends with its model or server."""
    server = make_server()
    fault(server)
    fault(server, "g")
    pids = {m: {int(did(server, m, "pid"))} for m in ("f", "g")}

    def answers(model):
        a = do(server, model, "pid")
        if a.status == 200:
            pids[model].add(int(a.json["outputs"][0]["data"][0]))
        return a.status == 200

    for model in ("f", "g"):
        do(server, model, word)
        # Where the server hears of it that worker is ended, whatever it does just then, and there is another.
        wait_until(lambda: do(server, model, "ok").status == 200, 60, "an answer all the same")
        wait_until(lambda: answers(model), 60, "its process")
    assert server.post("/v2/repository/models/f/unload").status == 200
    wait_until(lambda: not any(map(is_alive, pids["f"])), 60, f"the worker of f to end: {pids}")
    wait_until(lambda: answers("g"), 60, "g to answer as before")
    server.kill()
    wait_until(lambda: not any(map(is_alive, pids["g"])), 60, "the worker of g to end")
    server.start()
    server.wait_model("g")
    wait_until(lambda: len(list(pathlib.Path(server.state_dir, "workers").glob("*.sock"))) == len(workers_of(server)),
               60, "a socket for each worker")


def test_a_worker_that_writes_over_shared_memory_harms_itself(server):
    fault(server, config={"run_timeout_secs": 2})
    for _ in range(3):
        do(server, "f", "scribble")
        for _ in range(3):
            do(server, "f", "ok")
        assert echo_answers(server)
        for pid in workers_of(server):
            with contextlib.suppress(ProcessLookupError):  # the server has ended it for what it wrote
                os.kill(pid, signal.SIGKILL)
    assert server.post("/v2/repository/models/f/load").status == 200  # it was given up
    wait_until(lambda: do(server, "f", "ok").status == 200, 60, "an answer again")


def test_noise_reaches_the_log_and_nothing_else(server):
    fault(server)
    pid = did(server, "f", "pid")
    begin = time.monotonic()
    assert did(server, "f", "noise") == "noise"
    assert did(server, "f", "pid") == pid
    assert did(server, "f", "ok") == "ok"
    wait_until(lambda: "model f: noise 0" in server.log(), 60, "noise in the log")
    log = server.log()
    seconds = time.monotonic() - begin
    assert log.count("model f: noise") <= 100 * (seconds + 2), "lines are bounded: 100 in a second"
    assert "\033[31m" not in log, "no control characters"
    assert len(log) < 200_000


def test_a_sequence_that_crashes_costs_those_in_hand(server):
    fault(server)
    assert chat(server, "f", "one two three").json["choices"][0]["message"]["content"] == "one two three"
    a = chat(server, "f", "one segv three")
    assert a.status >= 500 and "signal" in a.text, a
    assert chat(server, "f", "four").json["choices"][0]["message"]["content"] == "four"
    a = chat(server, "f", "one fail three")
    assert a.status >= 500 and "as it was told" in a.text, a


def test_a_stream_is_told_why_it_ended(server):
    fault(server)
    a = chat(server, "f", "one two slow:50 abort", stream=True)
    assert "one" in a.text and "signal 6" in a.text, a
    a = chat(server, "f", "one two three", stream=True)
    events = harness.events_of(a.text)
    assert "".join(e["choices"][0]["delta"].get("content", "") for e in events
                   if e != "[DONE]" and e["choices"]) == "one two three"


def test_a_poison_request_takes_its_batch_down_once(server):
    """Those that ran with it are run again, one by one; it fails alone."""
    fault(server, config={"batching": {"max_batch_size": 8, "max_wait_ms": 200}})
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for _ in range(2):
            words = ["ok"] * 7
            words.insert(3, "abort")
            answers = list(pool.map(lambda w: do(server, "f", w), words))
            assert [a.status == 200 for a in answers] == [w == "ok" for w in words], answers


def test_requests_wait_for_the_worker_within_their_deadlines(server):
    fault(server, config={"load_ms": 4000})
    start = time.monotonic()
    a = do(server, "f", "abort")
    assert a.status >= 500
    b = server.post("/v2/models/f/infer",
                    {"inputs": [{"name": "do", "datatype": "BYTES", "shape": [1], "data": ["ok"]}],
                     "parameters": {"timeout": 200_000}})  # microseconds
    # A machine that halts may have its worker back before it is asked again, but not sooner than that.
    assert b.status == 504 or (b.status == 200 and time.monotonic() - start >= 4), b
    assert did(server, "f", "ok") == "ok"
    assert echo_answers(server)


def test_a_crash_loop_is_ended(server, tmp_path):
    """Five crashes in a minute: FAILED with the reason, until load is asked for."""
    fault(server)
    begin = time.monotonic()

    def crash():
        a = do(server, "f", "abort")
        assert a.status >= 500, a

    def failed():
        if time.monotonic() - begin > 60:  # a machine that halts: they were not five in a minute
            crash()
        return "Error" in json.dumps(server.status("f")["status"])

    for _ in range(5):
        crash()
    wait_until(failed, 60, "the model to fail")
    assert "given up until it is loaded again" in json.dumps(server.status("f")), server.status("f")
    assert "signal 6" in json.dumps(server.status("f"))
    a = do(server, "f", "ok")
    assert a.status >= 500, a
    wait_until(lambda: not workers_of(server), 60, "no worker")
    assert server.post("/v2/repository/models/f/load").status == 200
    # Until what has failed is put away its failure is what is told.
    wait_until(lambda: do(server, "f", "ok").status == 200, 60, "an answer again")


def test_a_crash_while_idle_is_noticed(server, tmp_path):
    """Killed from outside with no request in hand: it is back by itself; and given up, likewise."""
    crash = tmp_path / "crash"
    fault(server, config={"crash_file": str(crash)})
    pid = int(did(server, "f", "pid"))
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: pid not in workers_of(server) and workers_of(server), 60, "a new worker")
    assert int(did(server, "f", "pid")) != pid
    crash.touch()
    for p in workers_of(server):
        os.kill(p, signal.SIGKILL)
    wait_until(lambda: "Error" in json.dumps(server.status("f")["status"]), 60, "the model to fail")
    wait_until(lambda: not workers_of(server), 60, "no worker")


@pytest.mark.parametrize("config, says", [
    ({"at_load": "abort"}, "signal 6"),
    ({"at_load": "fail"}, "as it was told"),
    ({"at_load": "exit"}, "status 0"),
    ({"at_load": "eat:600", "memory_limit_mb": 100}, "memory_limit_mb|signal 6"),
])
def test_a_load_that_goes_wrong_is_told(server, config, says):
    if harness.SANITIZED and "memory_limit_mb" in says:
        pytest.skip("a sanitizer's own memory is far more than the limit")
    fault(server, config=config, wait=False)
    wait_until(lambda: "Error" in json.dumps(server.status("f")["status"]), 60, "the model to fail")
    assert re.search(says, json.dumps(server.status("f"))), server.status("f")
    wait_until(lambda: not workers_of(server), 60, "no worker")
    assert echo_answers(server)


def test_a_load_that_does_not_end_is_ended(make_server, tmp_path):
    conf = tmp_path / "berth.yaml"
    conf.write_text("plugins:\n  plugin_timeout_secs: 1\n")
    server = make_server("--config", conf)
    fault(server, config={"at_load": "loop"}, wait=False)
    wait_until(lambda: "Error" in json.dumps(server.status("f")["status"]), 60, "the model to fail")
    assert "plugin_timeout_secs" in json.dumps(server.status("f")), server.status("f")
    wait_until(lambda: not workers_of(server), 60, "no worker")


@pytest.mark.parametrize("ask", [do, chat])
def test_a_wedged_model_can_be_unloaded(server, ask):
    fault(server, config={"run_timeout_secs": 3600})
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        stuck = pool.submit(ask, server, "f", "loop")
        time.sleep(0.2)  # a run that has not begun is cut just so
        assert server.post("/v2/repository/models/f/unload").status == 200
        wait_until(lambda: not workers_of(server), 120, "its worker to end")
        assert stuck.result().status >= 400
    assert echo_answers(server)


def test_a_core_file_is_kept_on_request(server):
    pattern = pathlib.Path("/proc/sys/kernel/core_pattern").read_text().strip()
    fault(server, config={"keep_core": True})
    assert do(server, "f", "segv").status >= 500
    if pattern[0] in "/|":  # this machine's go elsewhere: then that is said
        wait_until(lambda: "core_pattern" in server.log(), 60, "a word on where core files go")
        assert pattern in server.log()
        return
    cores = wait_until(lambda: list(pathlib.Path(server.state_dir, "workers", "cores").glob("core*")),
                       60, "a core file")
    wait_until(lambda: cores[0].stat().st_size > 10_000, 60, "its bytes")
    assert cores[0].stat().st_size < 200 << 20


def test_a_core_file_that_cannot_be_kept_is_said(server):
    resource.prlimit(server.pid, resource.RLIMIT_CORE, (0, 0))
    fault(server, config={"keep_core": True})
    wait_until(lambda: "keep_core" in server.log(), 60, "a word on the limit")
    assert "ulimit -Hc" in server.log()
    assert do(server, "f", "segv").status >= 500
    assert not list(pathlib.Path(server.state_dir, "workers", "cores").glob("*"))


def test_stopping_does_not_wait_for_a_load(server):
    fault(server, "l", config={"load_ms": 600000}, wait=False)
    wait_until(lambda: "l" in workers_of(server).values(), 60, "the worker to load")
    assert server.stop(seconds=60) == 0, server.log()
    server.start()
    server.wait_model("l", "Loading")  # it is still wanted


@pytest.mark.parametrize("how", ["unload", "unregister"])
def test_a_load_that_nobody_wants_any_more_ends_at_once(server, how):
    fault(server, "l", config={"load_ms": 600000}, wait=False)
    wait_until(lambda: "l" in workers_of(server).values(), 60, "the worker to load")
    if how == "unload":
        assert server.post("/v2/repository/models/l/unload", {}).status == 200
    else:
        assert server.delete("/v1/models/l").status == 200
        server.register("l", "echo")  # its name is free, and another's load under it is wanted
    wait_until(lambda: "l" not in workers_of(server).values(), 60, "the worker to end")


@pytest.mark.parametrize("name", ["-v", "--help", "--"])
def test_a_name_like_an_option_is_a_name(server, name):
    fault(server, name)
    assert did(server, name, "hello") == "hello"
    assert name in workers_of(server).values()


def test_nothing_is_left_behind(server):
    folder = pathlib.Path(server.state_dir, "workers")
    fault(server)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    do(server, "f", "child")
    did(server, "f", "ok")
    fds = server.fd_count()
    for _ in range(3):
        server.post("/v2/repository/models/f/unload")
        wait_until(lambda: not workers_of(server), 60, "its worker to end")
        server.post("/v2/repository/models/f/load")
        server.wait_model("f")
        did(server, "f", "ok")
    wait_until(lambda: server.fd_count() <= fds, 60, "no more descriptors than before")
    assert len(list(folder.glob("*.sock"))) == 1
    assert server.alive
    wait_until(lambda: not any(f" Z {server.pid} " in stat for _, stat in processes("stat")), 60, "no zombie")
    ours = os.path.realpath(server.own_dir)  # a child has the folder of its worker, which has the server's
    wait_until(lambda: not any(line == "sleep\x00987\x00" and os.path.realpath(f"/proc/{pid}/cwd") == ours
                               for pid, line in processes("cmdline")), 60, "no child of the worker")


# ---- the same answers ----

def test_onnx_answers_the_same(server):
    pixels = [float(i % 17) for i in range(64)]
    server.register("here", "onnx", harness.DIGITS)
    server.register("there", "onnx", harness.DIGITS, {"isolation": "process"})
    meta = [server.get(f"/v2/models/{m}").json for m in ("here", "there")]
    assert meta[0]["inputs"] == meta[1]["inputs"] and meta[0]["outputs"] == meta[1]["outputs"]
    assert meta[0]["platform"] == meta[1]["platform"]
    name, shape = meta[0]["inputs"][0]["name"], meta[0]["inputs"][0]["shape"]
    n = 1
    for d in shape[1:]:
        n *= d
    body = {"inputs": [{"name": name, "datatype": "FP32", "shape": [2, *shape[1:]],
                        "data": (pixels * n)[:2 * n]}]}
    here, there = (server.post(f"/v2/models/{m}/infer", body) for m in ("here", "there"))
    assert here.status == there.status == 200, (here, there)
    assert here.json["outputs"] == there.json["outputs"]
    bad = {"inputs": [{"name": name, "datatype": "INT8", "shape": [1], "data": [1]}]}
    assert server.post("/v2/models/there/infer", bad).status == 400


def smollm(server, name, config):
    server.register(name, "llama", harness.SMOLLM, {"threads": 1, "context_length": 1024, **config},
                    wait=False)
    server.wait_model(name, seconds=120)


def complete(server, model, **more):
    a = server.post("/v1/completions", {"model": model, "prompt": SMOLLM_PROMPT, "max_tokens": 12,
                                        "temperature": 0, **more})
    assert a.status == 200, a
    return a


def test_llama_answers_the_same(server):
    smollm(server, "here", {})
    smollm(server, "there", {"isolation": "process"})
    here, there = (complete(server, m, logprobs=2).json for m in ("here", "there"))
    assert here["choices"] == there["choices"]
    assert here["usage"] == there["usage"]
    texts = [chat(server, m, "Say hi", max_tokens=8, temperature=0, stream=True).text
             for m in ("here", "there")]
    got = [[e["choices"][0]["delta"].get("content") for e in harness.events_of(t)
            if e != "[DONE]" and e["choices"]] for t in texts]
    assert got[0] == got[1] and len(got[0]) > 4
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        many = list(pool.map(lambda _: complete(server, "there").json["choices"][0]["text"],
                             range(6)))
    assert len(set(many)) == 1


def test_a_client_that_leaves_frees_its_sequence(server):
    smollm(server, "there", {"isolation": "process", "context_length": 4096})
    sock = server.socket()
    # So many that a machine that halts does not come to the last one before its client has left.
    body = json.dumps({"model": "there", "prompt": SMOLLM_PROMPT, "max_tokens": 4000,
                       "ignore_eos": True, "stream": True}).encode()
    sock.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                 b"Content-Length: %d\r\n\r\n" % len(body) + body)
    assert sock.recv(4096)
    wait_until(lambda: server.metric("berth_sequences_running", model="there"), 60, "the sequence")
    sock.close()
    wait_until(lambda: not server.metric("berth_sequences_running", model="there"), 60, "its end")
    assert server.metric("berth_requests_canceled_total", model="there") == 1  # and not by its last token
    complete(server, "there")


# ---- memory ----

def own_bytes(pid):
    """What is in memory for this process alone.  Programs and libraries count as far as they are
    written to: whether somebody else has the rest of them in memory, too, is chance."""
    of, kib = "", 0
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if m := re.match(r"[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \d+ *(.*)", line):
            of = m[1]
        elif m := re.match(r"Private_(Clean|Dirty): +(\d+) kB", line):
            is_code = of == str(harness.BERTH) or re.search(r"\.so(\.|$)", of)
            kib += int(m[2]) if m[1] == "Dirty" or not is_code else 0
    return kib * 1024


@pytest.mark.parametrize("backend, path", [("llama", harness.SMOLLM), ("onnx", harness.DIGITS)])
def test_memory_comes_back(server, backend, path, capsys):
    """After unload: the server's and its workers' memory together is as before, within 1 % of the server's."""
    if harness.SANITIZED:
        pytest.skip("a sanitizer keeps freed memory")

    def together():
        return own_bytes(server.pid) + sum(map(own_bytes, workers_of(server)))

    def load():
        assert server.post("/v2/repository/models/m/load").status == 200
        server.wait_model("m", seconds=120)
        assert server.get("/v2/models/m/ready").status == 200

    def unload():
        assert server.post("/v2/repository/models/m/unload").status == 200
        wait_until(lambda: not workers_of(server), 60, "the worker to end")
        server.wait_model("m", "Unloaded")

    server.register("m", backend, path, {"isolation": "process", "threads": 1}, wait=False)
    server.wait_model("m", seconds=120)
    unload()
    # What the server's allocator keeps for the next time is not the model's: let it settle.
    seen = []
    for _ in range(40):
        load()
        unload()
        seen.append(together())
        if len(seen) > 4 and max(seen[-4:]) - min(seen[-4:]) < 0.004 * server.rss():
            break
    rounds = []
    for _ in range(8):
        before = together()
        load()
        loaded = together()
        (worker,) = workers_of(server)
        said = server.metric("berth_model_memory_bytes", model="m")
        unload()
        after = together()
        rounds.append((abs(after - before) / server.rss(), before, loaded, said or 0, after))
        assert not is_alive(worker)
        if rounds[-1][0] <= 0.01:
            break  # a model that is not given back is so in none of them
    with capsys.disabled():
        for change, *kib in rounds:
            print("\n%s: before %.0f KiB, loaded %.0f (reported %.0f), after %.0f: " %
                  (backend, *(x / 1024 for x in kib)) + f"{100 * change:.2f} %", end="")
    change, before, loaded, said, _ = min(rounds)
    assert change <= 0.01, rounds
    assert said > 0.3 * (loaded - before)
