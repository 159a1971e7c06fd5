"""Where a request's time went: GET /v1/requests and `berth explain`."""
import concurrent.futures
import itertools
import json
import os
import queue
import socket
import subprocess
import threading

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton

import harness

pytestmark = pytest.mark.sanitize


def infer(server, model, data, rid=None, dtype="INT32", key=None, **more):
    headers = {"X-Request-Id": rid} if rid else {}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    return server.post(f"/v2/models/{model}/infer", {"inputs": [
        harness.v2_input("x", dtype, [len(data)], data)], **more}, headers=headers)


def explain(server, rid, key=None):
    """The account; it is there once the answer's last byte is on its way."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    a = harness.wait_until(
        lambda: (lambda x: x if x.status == 200 else None)(
            server.get(f"/v1/requests/{rid}/explain", headers=headers)), 60, f"account of {rid}")
    return a.json


def berth(server, *args):
    env = {**os.environ, "BERTH_SERVER": server.url}
    r = subprocess.run([str(harness.BERTH), *args], capture_output=True, text=True,
                       timeout=60 * harness.SLOW, env=env)
    assert r.returncode == 0, (args, r.stdout, r.stderr)
    return r.stdout


def stages(account):
    return {s["stage"]: s["ms"] for s in account["stages"]}


def test_stages_add_up_to_the_whole(make_server):
    server = make_server()
    server.register("echo", config={"delay_ms": 20, "batching": "off"})
    a = infer(server, "echo", [1], rid="one")
    assert a.status == 200 and a.headers["x-request-id"] == "one"
    told = explain(server, "one")
    assert (told["id"], told["model"], told["version"], told["status"]) == ("one", "echo", "1", 200)
    assert told["dialect"] == "v2" and told["path"] == "/v2/models/{model}/infer"
    assert told["began"].endswith("Z") and told["error"] is None
    ms = stages(told)
    assert ms["engine"] >= 20 and set(ms) <= {"receive", "read", "queue", "batch", "engine",
                                              "answer"}
    assert abs(sum(ms.values()) - told["total_ms"]) < 0.02
    assert abs(sum(s["share"] for s in told["stages"]) - 1) < 0.02
    assert told["run"] == {"instance": 0, "placement": "threaded", "runs": 1, "batch_requests": 1, "batch_max": 1,
                           "queue_ahead": 0, "padding": 0}
    assert not told["cached"] and not any("company" in x for x in told["faster"])


def test_what_would_have_been_faster_is_said(make_server):
    """A wait for company, a wait for a busy engine, and a client that sends slowly."""
    server = make_server("--set", "engine.batch_config.max_wait_time_ms=300")
    server.register("alone", config={"batching": {"max_batch_size": 8, "max_wait_ms": 200}})
    server.register("busy", config={"delay_ms": 2000, "batching": "off"})
    infer(server, "alone", [1], rid="company")
    told = explain(server, "company")
    assert stages(told)["company"] >= 190
    assert any("for company in a batch of 1 of 8" in x for x in told["faster"]), told
    rids = (f"busy-{i}" for i in itertools.count())

    def waited():
        rid = next(rids)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            with server.holding("busy"):
                waits = pool.submit(infer, server, "busy", [1], rid=rid)
                harness.wait_until(lambda: waits.done() or server.status("busy")["queue_length"] == 1, 60, "it waits")
                # Not a wait for something: how long it waits is what is looked at.
                threading.Event().wait(0.5)
            assert waits.result().status == 200
        told = explain(server, rid)
        assert "company" not in stages(told)
        return stages(told).get("queue", 0) >= 500 and told

    # Where a machine halts the one before it may have ended by itself: then again.
    told = harness.wait_until(waited, 60, "a wait for the engine")
    assert any("for a free engine" in x for x in told["faster"]), told

    body = json.dumps({"inputs": [harness.v2_input("x", "INT32", [1], [1])]}).encode()
    with server.socket() as s:
        s.sendall(b"POST /v2/models/alone/infer HTTP/1.1\r\nHost: x\r\nX-Request-Id: slow-body\r\n"
                  b"Connection: close\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))
        assert s.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        # Not a wait for something: the time between two packets is what is looked at.
        threading.Event().wait(0.3)
        s.sendall(body)
        while s.recv(65536):
            pass
    told = explain(server, "slow-body")
    assert stages(told)["receive"] >= 290
    assert any("bytes of body took" in x for x in told["faster"]), told


def test_a_generation_has_its_tokens_and_pace(models_server):
    a = models_server.post("/v1/chat/completions", {
        "model": "smollm2", "max_tokens": 8, "temperature": 0,
        "messages": [{"role": "user", "content": "Count to ten."}]}, headers={"X-Request-Id": "gen"})
    assert a.status == 200
    told = explain(models_server, "gen")
    usage = a.json["usage"]
    assert told["tokens"]["input"] == usage["prompt_tokens"]
    assert told["tokens"]["output"] == usage["completion_tokens"]
    assert 0 < told["tokens"]["first_ms"] < told["total_ms"] and told["tokens"]["per_second"] > 0
    assert told["dialect"] == "openai" and stages(told)["engine"] > 0


def test_a_stream_whose_client_left_is_no_success(models_server):
    """Its 200 went out with the head; that it was broken off must be said all the same."""
    body = json.dumps({"model": "smollm2", "max_tokens": 2000, "ignore_eos": True, "temperature": 0, "stream": True,
                       "messages": [{"role": "user", "content": "Count to one thousand."}]})
    with models_server.socket() as s:
        s.sendall((f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-Request-Id: leaver\r\n"
                   f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}")
                  .encode())
        got = b""
        while b"data: " not in got:
            more = s.recv(4096)
            assert more, got
            got += more
    assert got.startswith(b"HTTP/1.1 200"), got
    told = explain(models_server, "leaver")
    assert told["status"] == 499 and told["error"]["code"] == "CANCELED", told
    assert "the client left" in told["error"]["message"] and "client left" in told["faster"][-1]
    listed = models_server.get("/v1/requests?failed=true").json["requests"]
    assert "leaver" in [x["id"] for x in listed]
    text = berth(models_server, "explain", "leaver")
    assert "status    499" in text and "canceled: the client left" in text, text
    assert "nothing stood in its way" not in text
    assert "leaver" in berth(models_server, "explain", "--failed")


def test_failed_ones_say_why_and_outlive_many_others(make_server):
    server = make_server("--set", "monitoring.explain_requests=64", "--set",
                         "server.worker_threads=1")
    server.register("echo", config={"fail_on": "13"})
    assert infer(server, "echo", [13], rid="bad").status >= 400
    assert infer(server, "nope", [1], rid="unknown").status == 404
    for i in range(200):
        infer(server, "echo", [i + 100], rid=f"n{i}")
    told = explain(server, "bad")
    assert told["status"] >= 400 and "fail_on" in told["error"]["message"]
    assert explain(server, "unknown")["error"]["code"] == "MODEL_ERROR"
    assert server.get("/v1/requests/n0/explain").status == 404
    explain(server, "n199")
    failed = server.get("/v1/requests?failed=true").json["requests"]
    assert [x["id"] for x in failed] == ["unknown", "bad"]
    newest = server.get("/v1/requests?limit=2").json["requests"]
    assert [x["id"] for x in newest] == ["n199", "n198"]
    slowest = [x["total_ms"] for x in server.get("/v1/requests?order=slowest").json["requests"]]
    assert len(slowest) == 20 and slowest == sorted(slowest, reverse=True)
    assert {x["model"] for x in server.get("/v1/requests?model=nope").json["requests"]} == {"nope"}
    for bad in ("order=best", "limit=0", "limit=1000", "failed=maybe"):
        assert server.get(f"/v1/requests?{bad}").status == 400


def test_the_command_tells_the_same(make_server):
    server = make_server()
    server.register("echo", config={"batching": {"max_batch_size": 4, "max_wait_ms": 2000}})
    infer(server, "echo", [1], rid="cmd")
    told = explain(server, "cmd")
    text = berth(server, "explain", "cmd")
    assert "cmd at " in text and "company" in text and "batch of 1 of 4" in text
    for s in told["stages"]:
        assert f"{s['ms']:.3f} ms" in text
    assert told["faster"][0] in text
    assert json.loads(berth(server, "explain", "--json", "cmd")) == told
    assert infer(server, "nope", [1], rid="no-model").status == 404
    explain(server, "no-model")
    listed = berth(server, "explain", "--failed").splitlines()
    assert len(listed) == 2 and listed[1].startswith("no-model ")
    (slowest,) = server.get("/v1/requests?order=slowest&limit=1").json["requests"]
    assert slowest["total_ms"] >= told["total_ms"]  # it waited for company, and is the slowest unless a machine halts
    assert berth(server, "explain", "--slowest", "--limit", "1").splitlines()[1].startswith(slowest["id"] + " ")
    assert "REQUEST is the X-Request-Id" in berth(server, "explain", "--help")


def test_a_key_sees_its_own_requests_and_a_manager_all(make_server, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("alice-key-123 user\nbob-key-12345 user\nroot-key-1234 admin\n")
    keys.chmod(0o600)
    server = make_server("--api-key-file", keys, key="root-key-1234")
    server.register("echo")
    assert infer(server, "echo", [1], rid="of-alice", key="alice-key-123").status == 200
    assert explain(server, "of-alice", key="alice-key-123")["status"] == 200
    assert explain(server, "of-alice", key="root-key-1234")["status"] == 200
    bob = {"Authorization": "Bearer bob-key-12345"}
    assert server.get("/v1/requests/of-alice/explain", headers=bob).status == 404
    assert server.get("/v1/requests", headers=bob).json == {"requests": []}
    assert server.request("GET", "/v1/requests", headers={"Authorization": "Bearer x"}).status == 401


def test_nothing_is_recorded_when_it_is_off(make_server):
    server = make_server("--set", "monitoring.explain_requests=0")
    server.register("echo")
    infer(server, "echo", [1], rid="x")
    a = server.get("/v1/requests/x/explain")
    assert a.status >= 400 and "monitoring.explain_requests" in a.text


@pytest.mark.parametrize("path", ["/v1/requests/{}/explain", "/v1/requests?model={}"])
def test_odd_ids_do_no_harm(models_server, path):
    for text in ("%00", "a" * 5000, "%ff%fe", "..%2f..", "x%20y"):
        assert models_server.get(path.format(text)).status in (200, 400, 404, 414)


def test_grpc_calls_are_accounted_for(make_server):
    server = make_server()
    server.register("echo", config={"delay_ms": 5, "fail_on": "13"})
    client = triton.InferenceServerClient(f"127.0.0.1:{server.port}")

    def ask(value, rid):
        t = triton.InferInput("x", [1], "INT32")
        t.set_data_from_numpy(np.array([value], np.int32))
        return client.infer("echo", [t], headers={"x-request-id": rid})

    ask(1, "g-1")
    told = explain(server, "g-1")
    assert told["path"] == "/inference.GRPCInferenceService/ModelInfer" and told["status"] == 200
    assert stages(told)["engine"] >= 5 and told["body_bytes"] > 0
    with pytest.raises(Exception, match="fail_on"):
        ask(13, "g-2")
    assert "fail_on" in explain(server, "g-2")["error"]["message"]
    client.close()


TIMES = {"total", "receive", "load", "read", "queue", "company", "cores", "engine"}
COUNTS = {"batch_requests", "padded_permille", "instance", "runs", "cached"}


def check_timings(told):
    assert set(told) == {f"berth_{t}_us" for t in TIMES} | {f"berth_{c}" for c in COUNTS}
    assert told["berth_engine_us"] >= 5000 and told["berth_batch_requests"] == 1
    parts = sum(told[f"berth_{t}_us"] for t in TIMES - {"total"})
    assert parts <= told["berth_total_us"] <= parts + 20_000_000


@pytest.mark.parametrize("name", [b"nope", b"caf\xc3\xa9", "\u20ac".encode() * 30, b"no\xffpe", b"no\0pe"])
def test_an_unknown_model_of_a_grpc_call_is_told_as_it_was_sent(make_server, name):
    """A name is a part of the message: nothing of what follows it there is told."""
    server = make_server()
    rest = b"\x1a\x06secret"  # the request's id
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as ch:
        call = ch.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError) as e:
            call(b"\x0a" + bytes([len(name)]) + name + rest, timeout=120 * harness.SLOW)
    known = b"\xff" not in name and b"\0" not in name
    assert e.value.code() == (grpc.StatusCode.NOT_FOUND if known else grpc.StatusCode.INVALID_ARGUMENT)
    told = harness.wait_until(lambda: server.get("/v1/requests?failed=true").json["requests"], 60, "its account")
    assert [x["model"] for x in told] == [name[:63].decode() if known else None]


def test_an_answer_says_where_time_went_when_asked(make_server):
    server = make_server()
    server.register("echo", config={"delay_ms": 5, "batching": "off"})
    plain = infer(server, "echo", [1])
    assert "parameters" not in plain.json and "server-timing" not in plain.headers
    check_timings(infer(server, "echo", [1], parameters={"berth_timing": True}).json["parameters"])
    assert infer(server, "echo", [1], parameters={"berth_timing": "often"}).status == 400

    client = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
    t = triton.InferInput("x", [1], "INT32")
    t.set_data_from_numpy(np.array([1], np.int32))
    answer = client.infer("echo", [t], parameters={"berth_timing": True}).get_response()
    check_timings({k: v.int64_param for k, v in answer.parameters.items()})
    assert not client.infer("echo", [t]).get_response().parameters
    client.close()

    a = server.post("/v1/models/echo/predict?berth_timing=true", {"input": {"x": [1]}})
    told = dict(x.split(";dur=") for x in a.headers["server-timing"].split(", "))
    assert set(told) == TIMES and float(told["engine"]) >= 5
    metrics = a.json["metrics"]
    assert metrics["engine_ms"] >= 5 and metrics["batch_size"] == 1 and metrics["instance"] == 0
    assert {"load_wait_ms", "company_wait_ms", "cores_wait_ms", "padding", "runs",
            "cached"} <= set(metrics)


def test_requests_of_a_stream_are_told_one_by_one(make_server):
    server = make_server()
    server.register("echo", config={"delay_ms": 5, "fail_on": "13"})
    client = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
    got = queue.Queue()
    client.start_stream(lambda result, error: got.put((result, error)),
                        headers={"x-request-id": "of-stream"})
    for i in (1, 2, 13):
        t = triton.InferInput("x", [1], "INT32")
        t.set_data_from_numpy(np.array([i], np.int32))
        client.async_stream_infer("echo", [t])
    answers = [got.get(timeout=120 * harness.SLOW) for _ in range(3)]
    assert sorted(error is None for _, error in answers) == [False, True, True]
    client.stop_stream()
    client.close()
    listed = harness.wait_until(
        lambda: (lambda x: x if len(x) == 3 else None)(
            server.get("/v1/requests?model=echo").json["requests"]), 60, "three accounts")
    assert {x["id"] for x in listed} == {"of-stream"}
    assert sorted(x["status"] >= 400 for x in listed) == [False, False, True]
    assert {x["path"] for x in listed} == {"/inference.GRPCInferenceService/ModelStreamInfer"}


def test_where_a_tiny_model_ran_is_said(make_server):
    server = make_server()
    server.register("echo")

    def ran_inline():
        for i in range(32):
            infer(server, "echo", [i], rid="tiny")
        return explain(server, "tiny")["run"]["placement"] == "inline"

    harness.wait_until(ran_inline, 90, "a run on the loop")


def test_a_wait_for_the_load_is_said(make_server):
    server = make_server()
    names = (f"late-{i}" for i in itertools.count())

    def waited():
        name = next(names)
        server.register(name, config={"load_ms": 3000}, wait=False)
        a = infer(server, name, [1], rid=name, parameters={"berth_timing": True})
        assert a.status == 200, a
        return a.json["parameters"]["berth_load_us"] >= 200_000 and name

    # Where a machine halts it may be loaded before it is asked: then the next one.
    told = explain(server, harness.wait_until(waited, 60, "a wait for a load"))
    assert stages(told)["load"] >= 200 and any("was loaded" in x for x in told["faster"]), told
