"""Every limit, met on purpose: the right answer comes, and what it protects goes on."""
import contextlib
import json
import re
import select
import socket
import struct
import threading
import time

import pytest

import harness

pytestmark = pytest.mark.sanitize


def infer_bytes(model="echo", data=(1,), extra=b""):
    body = json.dumps({"inputs": [harness.v2_input("x", "INT32", [len(data)], list(data))]}).encode()
    return (b"POST /v2/models/%s/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s\r\n"
            % (model.encode(), len(body), extra)) + body


def infer(server, model="echo", timeout=60, headers=None, parameters=None):
    body = {"inputs": [harness.v2_input("x", "INT32", [1], [1])]}
    if parameters:
        body["parameters"] = parameters
    return server.post(f"/v2/models/{model}/infer", body, timeout=timeout, headers=headers)


def word_stream(n):
    return {"model": "words", "stream": True, "messages": [{"role": "user", "content": "word " * n}]}


def running(server, model="words"):
    return server.metric("berth_sequences_running", model=model)


@contextlib.contextmanager
def stream(server, n=100000, model="words"):
    """A connection on which a stream has begun."""
    body = json.dumps({**word_stream(n), "model": model}).encode()
    with server.socket() as s:
        s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
                  % len(body) + body)
        data = b""
        while b"word" not in data:
            more = s.recv(4096)
            assert more, data
            data += more
        yield s


# ---- queue ----

def test_a_full_queue_is_429_with_retry_after(make_server):
    server = make_server("--set", "engine.queue_len=4", "--set", "engine.default_batch_size=1",
                         "--set", "engine.max_batch_wait_ms=0")
    server.register("slow", config={"delay_ms": 1000, "batch": 1})
    socks = [server.socket() for _ in range(20)]
    try:
        with server.holding("slow"):
            begin = time.monotonic()
            for s in socks:
                s.sendall(infer_bytes("slow"))
            seconds = time.monotonic() - begin  # a machine that halts meanwhile ends a run in each of them
            answers = [harness.read_answer(s)[0] for s in socks]
    finally:
        for s in socks:
            s.close()
    statuses = [harness.Raw(a, False).statuses[0] for a in answers]
    # Four are in the queue behind the one that runs, and one more for each that ends meanwhile.
    assert set(statuses) == {200, 429} and 4 <= statuses.count(200) <= 8 + seconds, (statuses, seconds)
    for a, status in zip(answers, statuses):
        if status == 429:
            head = a.lower()
            seconds = int(head.split(b"retry-after: ")[1].split(b"\r\n")[0])
            assert 1 <= seconds <= 60
    assert server.metric("berth_requests_refused_total") == statuses.count(429)
    assert infer(server, "slow").status == 200


@pytest.mark.parametrize("path,body", [
    ("/v1/models/slow:predict", {"input": [1]}),
    # All the sequences that there are at once last for six seconds: one more waits.
    ("/v1/chat/completions", {"model": "slow", "messages": [{"role": "user", "content": "a " * 60}]})])
def test_a_full_queue_in_the_other_dialects(make_server, path, body):
    server = make_server("--set", "engine.queue_len=1", "--set", "engine.default_batch_size=1",
                         "--set", "engine.max_batch_wait_ms=0")
    server.register("slow", config={"delay_ms": 600, "token_ms": 100, "batch": 1})
    answers = []

    def ask():
        answers.append(server.post(path, body))

    def refused():
        return [a for a in answers if a.status == 429]

    def too_many():
        threads = [threading.Thread(target=ask) for _ in range(100)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        return refused()

    # On a machine that halts they do not come at once: then again.
    harness.wait_until(too_many, 60, "a full queue")
    assert {a.status for a in answers} == {200, 429}
    assert all("retry-after" in a.headers and a.json["error"] for a in refused())


# ---- deadlines ----

@pytest.mark.parametrize("headers,parameters", [
    ({"Grpc-Timeout": "300m"}, None), (None, {"timeout": 300000})])
def test_a_deadline_is_504_and_the_work_stops(make_server, headers, parameters):
    # Neither the run nor the server's own deadline ends within what a slow machine may take.
    server = make_server("--set", "engine.batch_config.timeout_ms=600000")
    server.register("slow", config={"delay_ms": 600000})
    begin = time.monotonic()
    a = infer(server, "slow", headers=headers, parameters=parameters)
    assert a.status == 504 and 0.2 < time.monotonic() - begin < 50 * harness.SLOW, a
    # The instance is free again although its run would have gone on for ten minutes.
    harness.wait_until(lambda: server.metric("berth_requests_canceled_total", model="slow") == 1, 60,
                       "the request counted as cancelled")
    server.stop()


def test_the_server_s_own_deadline(make_server):
    server = make_server("--set", "engine.batch_config.timeout_ms=300")
    server.register("slow", config={"delay_ms": 600000})
    a = server.post("/v1/models/slow:predict", {"input": [1]})
    assert a.status == 504 and a.json["message"], a
    begin = time.monotonic()
    assert infer(server, "slow").status == 504
    assert time.monotonic() - begin < 40 * harness.SLOW, "the second waited for the first's run"


def test_a_generation_past_its_deadline_stops(make_server, tmp_path):
    before = make_server(state_dir=tmp_path / "state")  # to register it may take longer than that
    before.register("words", config={"token_ms": 20})
    assert before.stop() == 0
    server = make_server("--set", "server.request_timeout_secs=1", state_dir=tmp_path / "state")
    server.wait_model("words")
    a = server.post("/v1/chat/completions", {**word_stream(100000), "stream": False})
    assert a.status == 504, a
    harness.wait_until(lambda: running(server) == 0, 60, "no sequence running")


# ---- bodies ----

def test_a_body_too_large_is_refused_before_it_is_sent(echo):
    for path in ("/v1/models", "/v2/models/echo/infer", "/v1/chat/completions"):
        with echo.socket() as s:
            s.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"
                      % path.encode())
            data, _ = harness.read_answer(s)  # we have sent none of the body
            got = harness.Raw(data, False)
            assert got.statuses == [413] and b"error" in data, got
            assert harness.closes(s, 30), "the connection stays, with a body in the way"


def test_a_chunked_body_too_large_is_cut(make_server):
    server = make_server("--set", "server.max_body_bytes=1000000")
    server.register("echo")
    before = server.rss()
    with server.socket() as s:
        s.sendall(b"POST /v2/models/echo/infer HTTP/1.1\r\nHost: x\r\n"
                  b"Transfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        with contextlib.suppress(OSError):
            for _ in range(1000):
                s.sendall(chunk)
        with contextlib.suppress(OSError):
            data, _ = harness.read_answer(s)
            assert harness.Raw(data, True).statuses in ([413], []), data
    assert server.grew_less_than(before, 32)
    assert infer(server).status == 200


def test_a_body_of_the_limit_is_taken(make_server):
    server = make_server("--set", "server.max_body_bytes=1000000")
    server.register("echo")
    body = json.dumps({"inputs": [harness.v2_input("x", "INT32", [1], [1])]}).encode()
    for size, status in ((1000000, 200), (1000001, 413)):
        a = server.post("/v2/models/echo/infer", body + b" " * (size - len(body)))
        assert a.status == status, (size, a)


def test_many_large_bodies_at_once_do_not_add_up_for_ever(echo):
    before = echo.rss()
    body = json.dumps({"inputs": [harness.v2_input("x", "INT32", [200000], [7] * 200000)]})
    for _ in range(30):
        assert echo.post("/v2/models/echo/infer", body).status == 200
    assert echo.grew_less_than(before, 64)


# ---- time on the wire ----

@pytest.fixture
def hasty(make_server, tmp_path):
    """hasty(*what): a server that waits a second for these, and for all else longer than a machine halts."""
    model = tmp_path / "m.echo"
    model.write_text("echo\n")

    def make(*what):
        return make_server("--model", f"echo={model}", "--model", f"words={model}",
                           *[x for k in what for x in ("--set", f"server.{k}_timeout_secs=1")])
    return make


def test_a_slow_head_is_cut_off(hasty):
    with hasty("head").socket() as s:
        begin = time.monotonic()
        s.sendall(b"GET /health HTTP/1.1\r\nX: ")
        ended = threading.Event()

        def drip():
            while not ended.wait(0.05):
                with contextlib.suppress(OSError):
                    s.send(b"a")

        t = threading.Thread(target=drip, daemon=True)
        t.start()
        data, closed = harness.read_answer(s)
        ended.set()
        t.join()
        assert harness.Raw(data, closed).statuses in ([408], [])
        assert closed or harness.closes(s, 30)
        assert time.monotonic() - begin < 40 * harness.SLOW


def test_a_connection_that_says_nothing_is_closed(hasty):
    with hasty("head").socket() as s:
        assert harness.closes(s, 30)


def test_an_idle_connection_is_closed(hasty):
    server = hasty("idle")

    def served():
        begin = time.monotonic()
        with server.socket() as s, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            s.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            data, closed = harness.read_answer(s)
            if harness.Raw(data, closed).statuses == [200] and not closed:
                assert harness.closes(s, 30)
                return True
        assert time.monotonic() - begin > 0.9, "closed, and it was not idle"

    harness.wait_until(served, 60, "an answer to one that was not idle before it asked")


def test_a_body_that_stops_is_cut_off(hasty):
    with hasty("body").socket() as s:
        s.sendall(b"POST /v2/models/echo/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        data, closed = harness.read_answer(s)
        assert harness.Raw(data, closed).statuses in ([408], [])
        assert closed or harness.closes(s, 30)


def test_a_half_open_h2_connection_is_closed(hasty):
    with hasty("head", "idle").socket() as s:
        s.sendall(b"PRI * HTTP/2.0\r\n\r\n")
        assert harness.closes(s, 30)


def test_a_slow_reader_is_dropped_and_its_work_stops(hasty):
    # What the system has taken is sent, as far as the server knows: then the connection is idle.
    server = hasty("write", "idle")
    before = server.rss()

    def told(name, **labels):
        with contextlib.suppress(OSError):  # so is ours where a machine halts before it asks
            return server.metric(name, **labels)

    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.connect(("127.0.0.1", server.port))
        body = json.dumps(word_stream(200000)).encode()
        s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
                  % len(body) + body)
        # Never read: the server's buffer fills up, then its patience ends.
        harness.wait_until(lambda: told("berth_requests_canceled_total", model="words") == 1, 60, "the sequence cut")
        harness.wait_until(lambda: told("berth_sequences_running", model="words") == 0, 60, "no sequence running")
        harness.wait_until(lambda: told("berth_connections") == 1, 60, "connection dropped")
    assert server.grew_less_than(before, 64)
    (tokens,) = harness.wait_until(lambda: [x for x in [told("berth_tokens_generated_total", model="words")]
                                            if x is not None], 60, "the tokens counted")
    assert tokens < 200000


def test_a_slow_reader_of_a_large_answer_is_dropped(hasty):
    server = hasty("write")
    count = 600000  # times 20 bytes: more than the system takes of it
    body = json.dumps({"inputs": [harness.v2_input("x", "INT64", [count], [10**18] * count)]}).encode()
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.connect(("127.0.0.1", server.port))
        s.sendall(b"POST /v2/models/echo/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
                  % len(body) + body)
        harness.wait_until(lambda: server.metric("berth_inferences_total", model="echo"), 60, "run")
        harness.wait_until(lambda: server.metric("berth_connections") == 1, 60, "connection dropped")


def test_a_reader_that_is_slow_but_reads_is_kept(make_server):
    """Slower than the timeout in all, but never silent for as long as it."""
    server = make_server("--set", "server.write_timeout_secs=4")
    server.register("words")

    def kept():
        with stream(server, 3000) as s:
            data, last, longest = b"", time.monotonic(), 0
            end = last + 5
            while b"[DONE]" not in data:
                try:
                    more = s.recv(2048 if time.monotonic() < end else 65536)
                except ConnectionResetError:
                    more = b""
                longest = max(longest, time.monotonic() - last)
                if not more:
                    assert longest > 1, "dropped"  # else it was a machine that halts that did not read
                    return False
                last = time.monotonic()
                data += more
                if time.monotonic() < end:
                    threading.Event().wait(0.02)
            return True

    harness.wait_until(kept, 60, "a stream read to its end without a halt")


# ---- clients that go ----

@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_goes_stops_its_stream(make_server, how):
    server = make_server()
    server.register("words", config={"token_ms": 10})
    with stream(server) as s:
        assert running(server) == 1
        if how == "reset":
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    harness.wait_until(lambda: running(server) == 0, 60, "the sequence stopped")
    harness.wait_until(lambda: server.metric("berth_requests_canceled_total", model="words") == 1, 60,
                       "it counted as cancelled")


def test_a_client_that_goes_stops_its_run(make_server):
    server = make_server("--set", "engine.max_batch_wait_ms=0")
    server.register("slow", config={"delay_ms": 60000})
    with server.socket() as s:
        s.sendall(infer_bytes("slow"))
        harness.wait_until(lambda: server.status("slow")["running"] == 1, 60, "it runs")
    harness.wait_until(lambda: server.metric("berth_requests_canceled_total", model="slow") == 1, 60,
                       "the run stopped")


def test_a_waiting_request_whose_client_goes_is_never_run(make_server):
    # What is held ends neither by itself nor by its deadline, however slow the machine is.
    server = make_server("--set", "engine.max_batch_wait_ms=0", "--set", "engine.batch_config.timeout_ms=3600000",
                         "--set", "server.request_timeout_secs=3600")
    server.register("slow", config={"delay_ms": 600000, "batch": 1})
    with server.holding("slow"):
        with contextlib.ExitStack() as stack:
            for _ in range(10):
                stack.enter_context(server.socket()).sendall(infer_bytes("slow"))
            harness.wait_until(lambda: server.metric("berth_queue_length", model="slow") == 10, 60, "ten in the queue")
        harness.wait_until(lambda: server.metric("berth_queue_length", model="slow") == 0, 60,
                           "the queue empty while the one before them still runs")
    harness.wait_until(lambda: server.metric("berth_requests_canceled_total", model="slow") == 11, 60, "all cancelled")
    assert server.metric("berth_batch_size_count", model="slow") <= 1


# ---- connections ----

def test_connections_beyond_the_limit_are_refused_in_words(make_server):
    server = make_server("--set", "server.max_connections=10")
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(server.socket())

        def alone():
            first.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            return re.search(rb"^berth_connections 1$", harness.read_answer(first)[0], re.M)

        harness.wait_until(alone, 60, "the connections of those who looked whether it is up are gone")
        socks = [first] + [stack.enter_context(server.socket()) for _ in range(9)]
        for s in socks:
            s.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert harness.Raw(*harness.read_answer(s)).statuses == [200]
        more = stack.enter_context(server.socket())
        more.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        data, _ = harness.read_answer(more)
        assert harness.Raw(data, True).statuses == [503] and b"max_connections" in data
        assert harness.closes(more, 30)
        for s in socks:  # those that were there are served on
            s.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert harness.Raw(*harness.read_answer(s)).statuses == [200]
    harness.wait_until(server.answers, 60, "room again")


# ---- the end ----

def taken(server, socks, model="slow"):
    """How many of these requests the model has had: answered (by a machine that halts), waiting or at work."""
    answered = len(select.select(socks, [], [], 0)[0])
    told = server.status(model)
    return answered + told["queue_length"] + told["running"]


def test_sigterm_while_idle(make_server):
    server = make_server()
    begin = time.monotonic()
    assert server.stop() == 0 and time.monotonic() - begin < 29 * harness.SLOW, "it drained, and there was nothing"


def test_sigterm_lets_running_work_end(make_server):
    server = make_server()
    server.register("slow", config={"delay_ms": 2000, "max_batch_size": 32})
    socks = [server.socket() for _ in range(20)]
    for s in socks:
        s.sendall(infer_bytes("slow"))
    harness.wait_until(lambda: taken(server, socks) == 20, 60, "all taken")
    server.process.terminate()
    for s in socks:
        data, closed = harness.read_answer(s)
        assert harness.Raw(data, closed).statuses == [200]
        assert closed or harness.closes(s, 30)
        s.close()
    assert server.process.wait(60 * harness.SLOW) == 0


def test_sigterm_takes_no_new_work(make_server):
    server = make_server()
    server.register("slow", config={"delay_ms": 3000})
    with server.socket() as busy, server.socket() as idle:
        idle.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        harness.read_answer(idle)
        busy.sendall(infer_bytes("slow"))
        harness.wait_until(lambda: taken(server, [busy]) == 1, 60, "it runs")
        server.process.terminate()
        assert harness.closes(idle, 30), "an idle connection is closed at once"

        def refused():
            try:
                server.socket(1).close()
                return server.get("/health").status == 503
            except OSError:
                return True

        harness.wait_until(refused, 60, "new connections refused")
        assert harness.Raw(*harness.read_answer(busy)).statuses == [200]
    assert server.process.wait(60 * harness.SLOW) == 0


def test_sigterm_answers_fifty_requests_under_way(make_server):
    server = make_server()
    server.register("slow", config={"delay_ms": 3000, "max_batch_size": 64})
    with contextlib.ExitStack() as stack:
        busy = [stack.enter_context(server.socket(60)) for _ in range(50)]
        for s in busy:
            s.sendall(infer_bytes("slow"))
        harness.wait_until(lambda: taken(server, busy) == 50, 60, "all taken")
        server.process.terminate()
        assert [harness.Raw(*harness.read_answer(s)).statuses for s in busy] == [[200]] * 50
    assert server.process.wait(60 * harness.SLOW) == 0


def test_sigterm_cuts_streams_at_the_limit(make_server):
    server = make_server("--drain-timeout", "1")
    server.register("words", config={"token_ms": 20})
    with stream(server):
        begin = time.monotonic()
        server.process.terminate()
        assert server.process.wait(60 * harness.SLOW) == 0
        took = time.monotonic() - begin
    assert 0.5 < took < 40 * harness.SLOW


def test_a_second_sigterm_ends_it_now(make_server):
    server = make_server("--drain-timeout", "300")
    server.register("words", config={"token_ms": 20})
    with stream(server):
        server.process.terminate()
        harness.wait_until(lambda: "SIGTERM" in server.log(), 60, "the drain begun")
        server.process.terminate()
        assert server.process.wait(60 * harness.SLOW) is not None


def test_sigint_is_a_stop_too(make_server):
    import signal
    server = make_server()
    server.register("echo")
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(60 * harness.SLOW) == 0
