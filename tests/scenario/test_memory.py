"""More models than memory: requests wait while their model is loaded."""
import concurrent.futures
import itertools
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import threading
import time

import pytest

import harness


def infer(server, model, timeout=60, headers=None, version=None):
    body = {"inputs": [{"name": "x", "datatype": "INT32", "shape": [1, 1], "data": [7]}]}
    where = f"/versions/{version}" if version else ""
    return server.post(f"/v2/models/{model}{where}/infer", body, timeout=timeout, headers=headers)


# ---- waiting for a load ----

ASK = {
    "/v2/models/slow/infer": {"inputs": [{"name": "x", "datatype": "INT32", "shape": [1, 1],
                                          "data": [7]}]},
    "/v2/models/slow/versions/1/infer": {"inputs": [{"name": "x", "datatype": "INT32",
                                                     "shape": [1, 1], "data": [7]}]},
    "/v1/models/slow:predict": {"input": "a b"},
    "/v1/models/slow/predict/batch": {"inputs": ["a b", "c d"]},
    "/v1/chat/completions": {"model": "slow", "messages": [{"role": "user", "content": "a b"}]},
    "/v1/completions": {"model": "slow:1", "prompt": "a b"},
    "/v2/models/slow/generate": {"text_input": "a b"},
}


def test_every_dialect_waits_for_a_load_and_then_answers(make_server):
    server = make_server()
    begin = time.monotonic()
    server.register("slow", config={"load_ms": 15000}, wait=False)  # a machine that halts asks before its end, too
    with concurrent.futures.ThreadPoolExecutor(len(ASK)) as pool:
        answers = dict(zip(ASK, pool.map(lambda p: server.post(p, ASK[p]), ASK)))
    assert {p: a.status for p, a in answers.items()} == {p: 200 for p in ASK}
    assert time.monotonic() - begin >= 15
    assert all(float(a.headers["x-load-wait-ms"]) > 0 for a in answers.values())
    assert "x-load-wait-ms" not in infer(server, "slow").headers
    assert "a b" in answers["/v1/chat/completions"].text
    assert len(answers["/v1/models/slow/predict/batch"].json["outputs"]) == 2


@pytest.mark.parametrize("args, headers, status, says", [
    ((), {"Grpc-Timeout": "300m"}, 504, "was not loaded within"),
    (("--load-wait", "1"), None, 503, "was not loaded within"),
    (("--load-wait", "0"), None, 503, "is LOADING"),
])
def test_the_wait_for_a_load_has_an_end(make_server, args, headers, status, says):
    server = make_server(*args)
    # In a process of its own, which is ended with the server: nobody waits for the end of this load.
    server.register("slow", config={"load_ms": 120000, "isolation": "process"}, wait=False)
    for path in ("/v2/models/slow/infer", "/v1/chat/completions"):
        a = server.post(path, ASK[path], headers=headers)
        assert a.status == status and says in a.text, a
        assert status != 503 or int(a.headers["retry-after"]) >= 1


def test_a_client_that_leaves_while_it_waits_costs_nothing(make_server):
    server = make_server()
    server.register("slow", config={"load_ms": 15000}, wait=False)
    before = server.fd_count()
    socks = [server.socket() for _ in range(20)]
    for s in socks:
        s.sendall(b"POST /v1/models/slow:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 15\r\n\r\n"
                  b"{\"input\":\"a b\"}")
    for s in socks[:10]:
        s.close()
    for s in socks[10:]:
        s.shutdown(socket.SHUT_WR)
    server.wait_model("slow")
    for s in socks[10:]:
        s.close()
    harness.wait_until(lambda: server.fd_count() <= before, 60, "the descriptors of those who left")
    assert infer(server, "slow").status == 200
    assert server.metric("berth_inferences_total", model="slow", result="ok") == 1


def test_a_full_waiting_room_is_429(make_server):
    server = make_server("--queue-len", "4")
    server.register("slow", config={"load_ms": 15000}, wait=False)
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: infer(server, "slow"), range(12)))
    statuses = sorted(a.status for a in answers)
    assert statuses == [200] * 4 + [429] * 8, statuses
    assert all("engine.queue_len" in a.text for a in answers if a.status == 429)


def test_stopping_ends_the_waits(make_server):
    server = make_server("--drain-timeout", "1")
    server.register("slow", config={"load_ms": 5000}, wait=False)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        def ask(_):
            try:
                return infer(server, "slow").status
            except OSError:
                return 0
        asked = [pool.submit(ask, i) for i in range(4)]
        harness.wait_until(lambda: server.metric("berth_load_waiting") == 4 or all(a.done() for a in asked), 60,
                           "four requests")
        assert server.stop() == 0
        assert {a.result() for a in asked} <= {0, 200, 503}


# ---- more models than memory ----

MB = 1 << 20


def cli(server, *args):
    return subprocess.run([str(harness.BERTH), *args, "--server", server.url], capture_output=True,
                          text=True, timeout=60 * harness.SLOW, stdin=subprocess.DEVNULL)


def memory(server):
    return server.get("/v1/memory").json["memory"]


def held(server):
    return [m["name"] for m in server.get("/v1/memory").json["models"]]


def sized(server, name, mb, wait=True, **config):
    server.register(name, config={"memory_mb": mb, **config}, wait=False)
    if wait:
        harness.wait_until(lambda: settled(server, name), 60, f"{name} to be loaded or not")


def settled(server, name):
    return server.status(name)["instances"] and server.status(name)["instances"][0]["state"] in (
        "READY", "UNLOADED")


def state(server, name):
    return server.status(name)["instances"][0]["state"]


@pytest.mark.parametrize("ask", ["/v2/models/{}/infer", "/v1/models/{}:predict"])
def test_a_b_c_in_turn_with_room_for_two(make_server, ask):
    server = make_server("--max-memory", "0.25")
    for name in "abc":
        sized(server, name, 100)
    assert held(server) == ["a", "b"] and state(server, "c") == "UNLOADED"
    body = ASK["/v2/models/slow/infer"] if "infer" in ask else {"input": "a b"}
    for _ in range(10):
        for name in "abc":
            a = server.post(ask.format(name), body)
            assert a.status == 200, a
            assert memory(server)["held_bytes"] <= 0.25 * 1024 * MB
    assert held(server) in (["a", "c"], ["b", "c"])
    log = server.log()
    assert "evicted: its memory was needed for another model" in log
    assert server.metric("berth_evictions_total", reason="room") >= 10
    assert server.metric("berth_demand_loads_total") >= 10
    assert server.metric("berth_load_waiting") == 0
    # Ready is what would answer, loaded or not.
    for name in "abc":
        assert server.get(f"/v2/models/{name}/ready").status == 200
    assert server.get("/ready").status == 200


def three(make_server):
    """A server with one dear model and two that are not, by the time that their loads took."""
    server = make_server("--max-memory", "0.088")
    sized(server, "dear", 25, load_ms=4200)
    for name in ("old", "young"):
        sized(server, name, 25, load_ms=520)  # up to 1,024 ms is the same to the ledger
        took_ms = server.status(name)["memory"]["measured"]["load_ms"]
        assert took_ms >= 520
        if took_ms > 1000:  # a machine that halts has made it a dear one
            server.stop()
            return None
    return server


def test_the_one_used_longest_ago_goes_and_the_dear_one_stays(make_server):
    server = harness.wait_until(lambda: three(make_server), 60, "loads that took no longer than they have to")
    for name in ("dear", "old", "young"):
        assert infer(server, name).status == 200
    plan = server.get("/v1/plan?path=" + server.own_dir + "/old.echo&config="
                      "%7B%22memory_mb%22:25%7D").json
    assert plan["verdict"] == "evicts" and [v["model"] for v in plan["evicts"]] == ["old"], (
        plan, server.get("/v1/memory").json)
    sized(server, "new", 25, load_ms=520)
    assert state(server, "new") == "UNLOADED"  # nobody goes for a registration
    assert infer(server, "new").status == 200
    assert held(server) == ["dear", "new", "young"]
    assert infer(server, "old").status == 200
    assert "dear" in held(server) and "old" in held(server)


def test_pinned_and_used_models_stay_and_the_refusal_has_the_sums(make_server):
    server = make_server("--max-memory", "0.25", "--load-wait", "20",
                         "--set", "engine.batch_config.timeout_ms=600000", "--set", "server.request_timeout_secs=600")
    sized(server, "pinned", 100, pin=True)
    sized(server, "used", 100, delay_ms=600000)
    sized(server, "other", 100)
    sized(server, "large", 200)
    with server.holding("used"), concurrent.futures.ThreadPoolExecutor(1) as pool:
        waits = pool.submit(infer, server, "other")  # this one could, when the run has ended; but that is too long
        harness.wait_until(lambda: server.metric("berth_load_waiting") == 1, 60, "it waits")
        a = infer(server, "large")  # it can never fit beside what is pinned: told at once
        assert not waits.done()
        assert a.status == 503 and int(a.headers["retry-after"]) >= 1, a
        # What is measured has some pages more than what was asked for.
        for part in (r"needs 200\.0 MiB", r"pinned 100\.\d MiB", r"in use 100\.\d MiB",
                     r"of 256\.0 MiB", r"engine\.memory\.max_memory_gb"):
            assert re.search(part, a.text), a
        a = waits.result()
        assert a.status == 503 and re.search(r"in use 100\.\d MiB", a.text), a
        assert held(server) == ["pinned", "used"] and server.status("used")["running"] == 1
    assert infer(server, "other").status == 200
    assert held(server) == ["other", "pinned"]
    assert server.metric("berth_requests_refused_total", limit="memory") >= 1
    # Chat clients read the same in their own shape.
    a = server.post("/v1/chat/completions",
                    {"model": "large", "messages": [{"role": "user", "content": "x"}]})
    assert a.status == 503 and "needs 200.0 MiB" in a.json["error"]["message"], a


def test_the_commands_tell_why_a_model_is_not_loaded(make_server):
    server = make_server("--max-memory", "0.25")
    sized(server, "pinned", 100, pin=True)
    sized(server, "large", 200)

    def berth(*args):
        return subprocess.run([str(harness.BERTH), *args], capture_output=True, text=True,
                              timeout=60 * harness.SLOW,
                              env={**os.environ, "BERTH_SERVER": server.url})

    r = berth("run", "large", "hello")  # ends at once: nothing else makes room
    assert r.returncode == 1 and "large is not loaded" in r.stderr, r
    assert "needs 200.0 MiB" in r.stderr and "more than is free" in r.stderr, r
    for command in (["list"], ["show", "large"]):
        r = berth(*command)
        assert r.returncode == 0 and "needs 200.0 MiB" in r.stdout, r
    assert "large: model 'large' needs" in berth("list").stdout
    assert "needs 200.0 MiB" in server.status("large")["reason"]
    assert server.status("pinned")["reason"] is None


def test_what_took_more_than_expected_makes_room_or_is_unloaded_again(make_server):
    server = make_server("--max-memory", "0.25")
    # memory_mb is what one instance takes, and what the whole model is expected to take.
    sized(server, "small", 60, instances=1)
    sized(server, "huge", 100, instances=4)
    why = server.status("huge")["instances"][0]
    assert why["state"] == "UNLOADED" and "'huge' took 400." in str(why), why
    assert "more than engine.memory.max_memory_gb leaves" in str(why), why
    assert "took more than expected" in server.log()
    # Its state is told before its account is closed.
    harness.wait_until(lambda: memory(server)["held_bytes"] <= 0.25 * 1024 * MB, 60, "its memory to be given back")
    assert held(server) == ["small"]
    a = infer(server, "huge")  # what it takes is known: it is not loaded in vain again
    assert a.status == 503 and "needs 400." in a.text and "(measured)" in a.text, a
    sized(server, "two", 105, instances=2, load="demand")  # 210: fits, when the other goes
    assert infer(server, "two").status == 200
    assert held(server) == ["two"], memory(server)
    why = str(server.status("small")["instances"][0])
    assert "its memory was needed for another model (two)" in why, why
    assert server.log().count("took more than expected") == 1


def test_what_nobody_uses_is_unloaded_and_comes_back(make_server):
    server = make_server("--keep-alive", "1")
    sized(server, "a", 10)
    sized(server, "stays", 10, keep_alive=-1)
    sized(server, "demand", 10, load="demand")
    sized(server, "manual", 10, load="manual")
    assert state(server, "demand") == state(server, "manual") == "UNLOADED"
    assert infer(server, "demand").status == 200
    a = infer(server, "manual")
    assert a.status == 503 and "when somebody says so" in a.text, a
    assert server.post("/v2/repository/models/manual/load").status == 200
    harness.wait_until(lambda: "READY" in [x["state"] for x in server.status("manual")["life"]], 60, "manual loaded")
    harness.wait_until(lambda: held(server) == ["stays"], 60, "the others to be unloaded")
    assert server.metric("berth_evictions_total", reason="keep_alive") >= 3
    assert infer(server, "a").status == 200


def test_after_a_restart_the_last_used_are_back(make_server, tmp_path):
    server = make_server("--max-memory", "0.25", state_dir=tmp_path / "state")
    for name in "abcd":
        sized(server, name, 100)
    for name in "dbad":
        assert infer(server, name).status == 200
    predicted = server.status("b")["memory"]
    for what in ("predicted", "measured"):
        assert 100 * MB <= predicted[what]["bytes"] < 101 * MB, predicted
    assert server.stop() == 0
    server = make_server("--max-memory", "0.25", state_dir=tmp_path / "state")
    harness.wait_until(lambda: held(server) == ["a", "d"], 60, "those used last")
    harness.wait_until(lambda: all(settled(server, n) for n in "bc"), 60, "the others to be known")
    assert server.get("/v1/plan?model=b").json["predicted_by"] == "an earlier load"
    assert infer(server, "b").status == 200


def test_a_file_is_known_again_under_any_name_after_a_restart(make_server, tmp_path):
    path = tmp_path / "a.echo"
    path.write_text("echo\n")
    server = make_server("--model", f"a={path}", state_dir=tmp_path / "state")
    server.wait_model("a")
    took = server.status("a")["memory"]["measured"]["bytes"]
    assert server.stop() == 0
    server = make_server("--model", f"other={path}", "--max-memory", "0.25",
                         state_dir=tmp_path / "state")
    server.wait_model("other")
    assert server.status("other")["memory"]["predicted"]["bytes"] == took
    plan = server.get(f"/v1/plan?path={path}").json
    assert plan["predicted_by"] == "an earlier load", plan
    plan = server.get(f"/v1/plan?path={path}&config=%7B%22memory_mb%22:3%7D").json
    assert plan["predicted_by"] != "an earlier load", plan  # other settings, another model


def test_plan_ps_and_show_say_what_was_expected_and_what_came(make_server):
    server = make_server("--max-memory", "0.25")
    sized(server, "a", 200)
    sized(server, "b", 100)
    out = cli(server, "plan", "b").stdout
    assert "b: evicts with echo" in out and re.search(r"models hold 200\.\d MiB", out), out
    assert infer(server, "b").status == 200
    out = cli(server, "show", "b").stdout
    assert re.search(r"100\.\d MiB and", out) and "1 evicted for it" in out, out
    out = cli(server, "ps").stdout
    assert re.search(r"models hold 100\.\d MiB of 256\.0 MiB", out), out
    path = server.own_dir + "/a.echo"
    out = cli(server, "plan", path, "--backend", "echo", "--config", '{"memory_mb": 300}').stdout
    assert "does not fit" in out and "needs 300.0 MiB" in out, out
    assert cli(server, "plan", "nobody").returncode == 1
    for option in (["--config", '{"memory_mb": 300}'], ["--backend", "echo"]):
        refused = cli(server, "plan", "b", *option)  # it has its own
        assert refused.returncode == 1 and "registered" in refused.stderr, refused.stderr


# ---- a bound of the system's ----

class Group:
    """A control group with a limit on memory, of version 1 or 2; path is None where there is none
    to be made (no rights, no controller)."""

    def __init__(self, mb):
        self.path = None
        for root, limit in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
                            ("/sys/fs/cgroup", "memory.max")):
            path = pathlib.Path(root) / f"berth-test-{os.getpid()}"
            try:
                path.mkdir()
                (path / limit).write_text(str(mb * MB))
                self.path = path
                return
            except OSError:
                if path.is_dir():
                    path.rmdir()

    def wrap(self, argv):
        if self.path is None:
            return argv
        return ["sh", "-c", 'echo $$ > "$0"/cgroup.procs && exec "$@"', str(self.path), *argv]

    def kills(self):
        for name in ("memory.oom_control", "memory.events"):
            if self.path and (self.path / name).exists():
                words = (self.path / name).read_text().split()
                return int(words[words.index("oom_kill") + 1]) if "oom_kill" in words else 0
        return 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.path is not None:
            harness.wait_until(lambda: not (self.path / "cgroup.procs").read_text(), 60,
                               "the group to be empty")
            self.path.rmdir()


HOG = """
import sys, time
step, most = 5 << 20, int(sys.argv[1]) << 20
while True:
    held = []
    while len(held) * step < most:
        held.append(bytearray(b"x") * step)
        time.sleep(0.1)
    time.sleep(1)
    del held
    time.sleep(1)
"""


def test_models_that_do_not_fit_and_a_hog_beside_them_never_run_out_of_memory(make_server, capsys):
    with Group(400) as group:
        own = group.path is not None
        with capsys.disabled():
            print("\n  bound by", f"the control group {group.path}" if own
                  else "engine.memory.max_memory_gb: no control group can be made here")
        server = make_server("--set", "engine.memory.reserve_mb=48", "--load-wait", "120",
                             "--set", "engine.batch_config.timeout_ms=120000",
                             *(() if own else ("--max-memory", "0.39")), start=False)
        server.argv = group.wrap(server.argv)
        server.start()
        if own:
            assert memory(server)["budget_bytes"] <= 352 * MB
        for i in range(10):
            sized(server, f"m{i}", 60)
        hog = subprocess.Popen(group.wrap([sys.executable, "-c", HOG, "120"]))
        try:
            answers, names = [], itertools.cycle(f"m{i}" for i in range(10))
            lock, end = threading.Lock(), time.monotonic() + 12

            def client():
                while time.monotonic() < end:
                    with lock:
                        name = next(names)
                    answers.append(infer(server, name, timeout=180).status)
            with concurrent.futures.ThreadPoolExecutor(3) as pool:
                for f in [pool.submit(client) for _ in range(3)]:
                    f.result()
            most = memory(server)
            assert hog.poll() is None and server.alive and group.kills() == 0
            if own:
                assert most["others_bytes"] > 0
        finally:
            hog.kill()
            hog.wait()
        assert set(answers) == {200}, (len(answers), sorted(set(answers)))
        with capsys.disabled():
            print(f"  {len(answers)} requests to 10 models of 60 MB, all answered;",
                  f"{server.metric('berth_evictions_total', reason='room'):.0f} evicted for room,",
                  f"{server.metric('berth_evictions_total', reason='pressure') or 0:.0f} since the "
                  "other program took the memory")
        assert server.stop() == 0


def test_memory_after_unload_is_told_as_it_is(make_server, capsys):
    server = make_server()
    sized(server, "warm", 1)
    assert infer(server, "warm").status == 200
    before = server.rss()
    server.register("llm", "llama", harness.SMOLLM, {"threads": 1, "context_length": 2048})
    a = server.post("/v1/completions", {"model": "llm", "prompt": "One, two,", "max_tokens": 8})
    assert a.status == 200, a
    loaded = server.rss()
    assert server.post("/v2/repository/models/llm/unload").status == 200
    harness.wait_until(lambda: state(server, "llm") == "UNLOADED", 60, "the model to be unloaded")
    harness.wait_until(lambda: memory(server)["held_bytes"] < 2 * MB, 60, "its account to be closed")
    most = before + 0.25 * (loaded - before) + 16 * MB * harness.ROOM
    harness.wait_until(lambda: server.rss() < most, 60, f"{loaded} bytes to be less than {most:.0f}")
    after = server.rss()
    with capsys.disabled():
        print(f"\n  resident, in process: {before / MB:.1f} MB before, {loaded / MB:.1f} MB with "
              f"the model, {after / MB:.1f} MB after it was unloaded")
    assert loaded > before + 90 * MB


# ---- a thousand models ----

MANY, ROOM = 1000, 16


def kept_mib(server):
    """Resident beyond what is in use: what the allocator keeps, and the threads' stacks."""
    status = pathlib.Path(f"/proc/{server.pid}/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+)", status).group(1)) / 1024 - server.metric("berth_heap_bytes", kind="used") / 2**20


def test_what_large_requests_left_is_given_back(make_server):
    server = make_server()
    deep = b'{"model":"x","messages":' + b'{"a":' * 200000 + b"1" + b"}" * 200001
    wide = json.dumps({"inputs": [{"name": "x", "datatype": "INT32", "shape": [1], "data": [1]}] * 50000}).encode()
    bodies = [("/v1/chat/completions", deep), ("/v2/models/x/infer", wide)] * 8
    for _ in range(60):  # it stays in pieces between what lives longer
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for answer in pool.map(lambda b: server.post(*b, headers={"Content-Type": "application/json"}), bodies):
                assert 400 <= answer.status < 500, answer
        if (most := kept_mib(server)) > 48:
            break
    assert most > 48, f"{most} MiB: nothing to see here"
    harness.wait_until(lambda: kept_mib(server) < 24, 60, f"{most} MiB to be given back")


@pytest.fixture(scope="module")
def thousand(tmp_path_factory):
    """A server with 1,000 registered models of 8 MB, half ONNX's size class, and room for 16."""
    server = harness.Server("--max-models", MANY + 10, "--max-memory", "0.1320", "--load-wait", "300",
                            "--set", "engine.batch_config.timeout_ms=300000",
                            state_dir=tmp_path_factory.mktemp("state"))
    with server:
        path = pathlib.Path(server.own_dir) / "one.echo"
        path.write_text("echo\n")
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda i: server.register(
                f"m{i}", path=path, config={"memory_mb": 8, "load_ms": 4}, wait=False), range(MANY)))
        yield server
        assert server.alive, server.log()


def drive(server, names, clients):
    """Ask for the names, from so many clients; returns the statuses and the seconds of each."""
    names, lock, out = iter(names), threading.Lock(), []

    def client():
        while True:
            with lock:
                name = next(names, None)
            if name is None:
                return
            begin = time.monotonic()
            status = infer(server, name, timeout=330).status
            out.append((status, time.monotonic() - begin))
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        for f in [pool.submit(client) for _ in range(clients)]:
            f.result()
    return out


def zipf(count, seed=1):
    import random
    rng = random.Random(seed)
    return [f"m{i}" for i in rng.choices(range(MANY), [1 / (k + 1) for k in range(MANY)], k=count)]


@pytest.mark.timeout(900 * harness.SLOW)  # thousands of loads
@pytest.mark.parametrize("what, clients, names", [
    ("Zipf", 16, lambda: zipf(2000)),
    ("round robin", 16, lambda: [f"m{i % MANY}" for i in range(1500)]),
    ("all at once", 64, lambda: [f"m{i}" for i in range(MANY)]),
])
def test_a_thousand_models_with_room_for_sixteen(thousand, capsys, what, clients, names):
    before = thousand.metrics()
    asked = names()
    out = drive(thousand, asked, clients)
    after = thousand.metrics()

    def grown(name, **labels):
        key = (name, tuple(sorted(labels.items())))
        return after.get(key, 0) - before.get(key, 0)
    assert len(out) == len(asked) and {s for s, _ in out} == {200}
    loads, evicted = grown("berth_demand_loads_total"), grown("berth_evictions_total", reason="room")
    times = sorted(t * 1000 for _, t in out)
    with capsys.disabled():
        print(f"\n  {what}: {len(out)} requests, {loads:.0f} loads, {evicted:.0f} evictions, p50 "
              f"{times[len(times) // 2]:.1f} ms, p99 {times[len(times) * 99 // 100]:.1f} ms")
    # No thrash: a load serves one request at least, and what is held never passes the budget.
    assert loads <= len(out)
    assert len(held(thousand)) <= ROOM
    assert memory(thousand)["held_bytes"] <= 0.1320 * 1024 * MB
    if what == "Zipf":  # the 16 most wanted have 45 % of it
        assert loads < 0.75 * len(out), loads


def test_a_thousand_registered_models_do_not_delay_the_start(thousand, capsys):
    for _ in range(5):  # what a halting machine adds is not in each of them
        assert thousand.stop() == 0
        begin = time.monotonic()
        thousand.start()
        ready = time.monotonic() - begin
        assert len(thousand.get("/v1/models").json["models"]) == MANY
        said = float(re.findall(r"is up after ([\d.]+) ms", thousand.log())[-1])
        if said < 10000 * harness.SLOW:
            break
    with capsys.disabled():
        print(f"\n  1,000 models: up after {said:.0f} ms, answers after {ready * 1000:.0f} ms")
    assert infer(thousand, "m777").status == 200
    harness.wait_until(lambda: len(held(thousand)) >= ROOM - 1, 60, "those used last to be back")
    assert said < 10000 * harness.SLOW
