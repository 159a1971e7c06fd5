"""More models than memory: requests wait while their model is loaded."""
import concurrent.futures
import socket
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
    server.register("slow", config={"load_ms": 1000}, wait=False)
    begin = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(len(ASK)) as pool:
        answers = dict(zip(ASK, pool.map(lambda p: server.post(p, ASK[p]), ASK)))
    assert {p: a.status for p, a in answers.items()} == {p: 200 for p in ASK}
    assert time.monotonic() - begin > 0.9
    assert "a b" in answers["/v1/chat/completions"].text
    assert len(answers["/v1/models/slow/predict/batch"].json["outputs"]) == 2


@pytest.mark.parametrize("args, headers, status, says", [
    ((), {"Grpc-Timeout": "300m"}, 504, "was not loaded within"),
    (("--load-wait", "1"), None, 503, "was not loaded within"),
    (("--load-wait", "0"), None, 503, "is LOADING"),
])
def test_the_wait_for_a_load_has_an_end(make_server, args, headers, status, says):
    server = make_server(*args)
    server.register("slow", config={"load_ms": 4000}, wait=False)
    for path in ("/v2/models/slow/infer", "/v1/chat/completions"):
        a = server.post(path, ASK[path], headers=headers)
        assert a.status == status and says in a.text, a
        assert status != 503 or int(a.headers["retry-after"]) >= 1


def test_a_client_that_leaves_while_it_waits_costs_nothing(make_server):
    server = make_server()
    server.register("slow", config={"load_ms": 2000}, wait=False)
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
    harness.wait_until(lambda: server.fd_count() <= before, 10, "the descriptors of those who left")
    assert infer(server, "slow").status == 200
    assert server.metric("berth_inferences_total", model="slow", result="ok") == 1


def test_a_full_waiting_room_is_429(make_server):
    server = make_server("--queue-len", "4")
    server.register("slow", config={"load_ms": 1500}, wait=False)
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: infer(server, "slow"), range(12)))
    statuses = sorted(a.status for a in answers)
    assert statuses == [200] * 4 + [429] * 8, statuses
    assert all("engine.queue_len" in a.text for a in answers if a.status == 429)


def test_stopping_ends_the_waits(make_server):
    server = make_server("--drain-timeout", "1")
    server.register("slow", config={"load_ms": 3000}, wait=False)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        def ask(_):
            try:
                return infer(server, "slow").status
            except OSError:
                return 0
        asked = [pool.submit(ask, i) for i in range(4)]
        harness.wait_until(lambda: server.metric("berth_connections") >= 4, 10, "four requests")
        assert server.stop() == 0
        assert {a.result() for a in asked} <= {0, 200, 503}
