"""Bad requests get the right answer, and nobody else notices.

While every case of this file runs, a good client keeps asking; the last tests look at what it saw
and at the server.
"""
import json
import socket
import struct
import threading
import time

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import pytest

import harness
from hostile_cases import CASES, CLOSED

pytestmark = pytest.mark.sanitize
GROWTH_MIB = 256  # what the largest refused bodies may leave in the allocator


class GoodClient(threading.Thread):
    """Asks the echo model on a connection of its own, again and again, and counts what goes wrong."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.ended = server, threading.Event()
        self.asked, self.failures, self.slowest = 0, [], 0

    def run(self):
        body = json.dumps({"inputs": [harness.v2_input("x", "INT32", [3], [1, 2, 3])]})
        conn = self.server.connection()
        while not self.ended.wait(0.005):
            begin = time.monotonic()
            try:
                conn.request("POST", "/v2/models/echo/infer", body)
                r = conn.getresponse()
                data = r.read()
                if r.status != 200 or json.loads(data)["outputs"][0]["data"] != [1, 2, 3]:
                    self.failures.append((r.status, data[:200]))
            except Exception as e:
                self.failures.append(repr(e))
                conn.close()
                conn = self.server.connection()
            self.asked += 1
            self.slowest = max(self.slowest, time.monotonic() - begin)
        conn.close()


@pytest.fixture(scope="module")
def hostile():
    """(server, good client, resident bytes before)"""
    with harness.Server("--set", "server.head_timeout_secs=3") as server:
        server.register("echo", config={})
        server.register("digits", "onnx", harness.DIGITS)
        good = GoodClient(server)
        good.start()
        harness.wait_until(lambda: good.asked > 20, 60, "the good client at work")
        yield server, good, server.rss()
        good.ended.set()
        good.join(60)


def exchange(server, data, end, seconds=60):
    """Send data, say with end that no more will come, read one answer.  (To end our side while we
    wait for an answer would mean that we do not want it any more.)"""
    with server.socket(seconds) as s:
        sender = threading.Thread(target=push, args=(s, data, end), daemon=True)
        sender.start()
        answer, closed = harness.read_answer(s)
        sender.join(seconds)
        return harness.Raw(answer, closed)


def push(s, data, end):
    try:
        s.sendall(data)
        if end:
            s.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # the server has answered and closed before it read everything: its right


@pytest.mark.parametrize("name,data,expect", CASES, ids=[c[0] for c in CASES])
def test_case(hostile, name, data, expect):
    server, good, _ = hostile
    got = exchange(server, data, end=CLOSED in expect)
    status = got.statuses[0] if got.statuses else CLOSED
    assert status in expect, got
    assert b"\r\nX-Evil" not in got.data and b"\r\nx-evil" not in got.data.lower(), got
    assert status == CLOSED or len(got.statuses) == 1 or status < 400, got
    assert not good.failures


def test_there_are_enough_cases():
    assert len(CASES) >= 150 and len({c[0] for c in CASES}) == len(CASES)


def test_error_bodies_are_in_the_dialect_s_shape(hostile):
    server, _, _ = hostile
    for path, shape in (("/v1/models/echo:predict", {"error", "message"}),
                        ("/v1/chat/completions", {"error"}), ("/v2/models/echo/infer", {"error"})):
        a = server.post(path, "{", headers={"Content-Type": "application/json"})
        assert a.status == 400 and shape <= set(a.json), (path, a)
        assert a.headers["content-type"].startswith("application/json")


# ---- one connection, several requests ----

def test_a_smuggled_request_is_not_answered(hostile):
    server, _, _ = hostile
    inner = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"
    outer = (b"POST /v1/models/echo:predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n"
             b"Connection: close\r\n\r\n" % len(inner))
    with server.socket() as s:
        s.sendall(outer + inner)
        data = b""
        while more := s.recv(65536):
            data += more
    assert harness.Raw(data, True).statuses == [400]


@pytest.mark.parametrize("head", [
    b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
    b"Content-Length: 4\r\nContent-Length: 50\r\n",
    b"Transfer-Encoding: identity, chunked, identity\r\n"])
def test_after_an_ambiguous_request_the_connection_is_closed(hostile, head):
    server, _, _ = hostile
    smuggled = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    with server.socket() as s:
        s.sendall(b"POST /v1/models/echo:predict HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n"
                  b"0\r\n\r\n" + smuggled)
        data = b""
        try:
            while more := s.recv(65536):
                data += more
        except ConnectionResetError:
            pass
    assert harness.Raw(data, True).statuses in ([400], [501])


def test_pipelined_requests_are_answered_in_order(hostile):
    server, _, _ = hostile
    n = 500
    with server.socket() as s:
        for i in range(n):
            body = json.dumps({"id": f"r{i}", "inputs": [
                harness.v2_input("x", "INT32", [1], [i])]}).encode()
            s.sendall(b"POST /v2/models/echo/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n"
                      b"%s\r\n" % (len(body), b"Connection: close\r\n" if i == n - 1 else b"") + body)
        data = b""
        while more := s.recv(65536):
            data += more
    at = [data.index(b'"r%d"' % i) for i in range(n)]
    assert harness.Raw(data, True).statuses == [200] * n and at == sorted(at)


def test_requests_byte_by_byte(make_server):
    # However long it takes: how long a head may take is another matter.
    server = make_server("--set", "server.head_timeout_secs=600")
    with server.socket() as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for b in b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n":
            s.sendall(bytes([b]))
        data, _ = harness.read_answer(s)
    assert harness.Raw(data, True).statuses == [200]


def test_four_hundred_connections_that_say_nothing(hostile):
    server, good, _ = hostile
    asked = good.asked
    socks = [server.socket() for _ in range(400)]
    try:
        harness.wait_until(lambda: good.asked > asked + 20, 60, "the good client going on")
        assert server.get("/health").status == 200
    finally:
        for s in socks:
            s.close()
    harness.wait_until(lambda: server.metric("berth_connections") < 50, 60, "connections closed")


# ---- HTTP/2 ----

class H2:
    """A connection in HTTP/2 with prior knowledge, and raw frames besides."""

    def __init__(self, server):
        self.sock = server.socket()
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(
            validate_outbound_headers=False, normalize_outbound_headers=False))
        self.h2.initiate_connection()
        self.flush()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.sock.close()

    def flush(self):
        try:
            self.sock.sendall(self.h2.data_to_send())
            return True
        except OSError:
            return False

    def frame(self, kind, flags, stream, payload=b""):
        return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload

    def raw(self, data):
        try:
            self.sock.sendall(data)
            return True
        except OSError:
            return False

    def headers(self, path="/health", method="GET", more=()):
        return [(":method", method), (":scheme", "http"), (":authority", "x"), (":path", path), *more]

    def get(self, stream, **kw):
        self.h2.send_headers(stream, self.headers(**kw), end_stream=True)
        return self.flush()

    def events(self, seconds=60):
        """Everything that comes until the peer closes or nothing more does."""
        found, end = [], time.monotonic() + seconds * harness.SLOW
        self.sock.settimeout(0.2)
        while time.monotonic() < end:
            try:
                data = self.sock.recv(65536)
            except socket.timeout:
                yield None
                continue
            except OSError:
                return
            if not data:
                return
            try:
                found = self.h2.receive_data(data)
            except h2.exceptions.ProtocolError:
                return
            self.flush()
            yield from found

    def until(self, want, seconds=60):
        """The first event of that kind; None when the peer closed."""
        for e in self.events(seconds):
            if e is not None and isinstance(e, want):
                return e
        return None

    def dropped(self, seconds=60):
        """Did the peer say GOAWAY or close?  Else it is still there after that time."""
        begin = time.monotonic()
        for e in self.events(seconds):
            if isinstance(e, h2.events.ConnectionTerminated):
                return True
        return time.monotonic() - begin < seconds * harness.SLOW


def status_of(event):
    return int(dict((bytes(k) if isinstance(k, bytes) else k.encode(), v)
                    for k, v in event.headers)[b":status"])


def test_h2_serves(hostile):
    server, _, _ = hostile
    with H2(server) as c:
        c.get(1)
        assert status_of(c.until(h2.events.ResponseReceived)) == 200


@pytest.mark.parametrize("why,path,method,more,expect", [
    ("unknown path", "/nope", "GET", (), {404}),
    ("wrong method", "/health", "DELETE", (), {405}),
    ("NUL coded", "/v1/models/%00", "GET", (), {400, 404}),
    ("too much is announced", "/v1/models", "POST", (("content-length", "99999999999"),), {413, 400}),
])
def test_h2_answers_what_is_wrong(hostile, why, path, method, more, expect):
    server, _, _ = hostile
    with H2(server) as c:
        c.h2.send_headers(1, c.headers(path, method, more), end_stream=method != "POST")
        c.flush()
        e = c.until((h2.events.ResponseReceived, h2.events.StreamReset))
        assert e is not None
        assert isinstance(e, h2.events.StreamReset) or status_of(e) in expect, why


@pytest.mark.parametrize("why,headers", [
    ("upper-case name", [("X-Upper", "1")]), ("connection header", [("connection", "close")]),
    ("transfer-encoding", [("transfer-encoding", "chunked")]),
    ("pseudo-header behind", [("x", "1"), (":path", "/two")]),
    ("unknown pseudo-header", [(":nope", "1")]), ("te is not trailers", [("te", "gzip")]),
    ("line end in a value", [("x", "a\r\nX-Evil: 1")]), ("NUL in a value", [("x", "a\0b")]),
    ("wrong content-length", [("content-length", "5")])])
def test_h2_malformed_headers_are_refused(hostile, why, headers):
    server, good, _ = hostile
    with H2(server) as c:
        c.get(1, more=headers)
        e = c.until((h2.events.ResponseReceived, h2.events.StreamReset,
                     h2.events.ConnectionTerminated))
        assert not isinstance(e, h2.events.ResponseReceived) or status_of(e) == 400, why
    assert not good.failures


def test_h2_header_list_too_large(hostile):
    server, _, _ = hostile
    with H2(server) as c:
        c.get(1, more=[(f"x-{i}", "a" * 4000) for i in range(200)])
        e = c.until((h2.events.ResponseReceived, h2.events.StreamReset,
                     h2.events.ConnectionTerminated))
        assert not isinstance(e, h2.events.ResponseReceived) or status_of(e) in (400, 431)


def test_h2_rapid_reset(hostile):
    server, good, _ = hostile
    with H2(server) as c:
        for i in range(20000):
            stream = 2 * i + 1
            try:
                c.h2.send_headers(stream, c.headers("/v2/models/echo/infer", "POST"))
                c.h2.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
            except h2.exceptions.ProtocolError:
                break
            if i % 100 == 0 and not c.flush():
                break
        c.flush()
        assert c.dropped(), "20,000 streams opened and reset, and the server took them all"
    assert not good.failures


def test_h2_ping_flood(hostile):
    """Either the pings are answered or the connection is dropped; memory does not grow."""
    server, good, _ = hostile
    before = server.rss()
    with H2(server) as c:
        ping = c.frame(6, 0, 0, b"12345678")
        c.sock.settimeout(5)
        for _ in range(500):  # 250,000 pings whose answers nobody reads
            if not c.raw(ping * 500):
                break
    assert server.get("/health").status == 200
    assert server.grew_less_than(before, 64) and not good.failures


def test_h2_settings_flood(hostile):
    server, good, _ = hostile
    before = server.rss()
    with H2(server) as c:
        settings = c.frame(4, 0, 0, struct.pack(">HI", 3, 100) * 10)
        c.sock.settimeout(5)
        for _ in range(500):
            if not c.raw(settings * 200):
                break
    assert server.get("/health").status == 200
    assert server.grew_less_than(before, 64) and not good.failures


def test_h2_continuation_flood(hostile):
    """A head that never ends is cut at the head's limit."""
    server, good, _ = hostile
    with H2(server) as c:
        c.until(h2.events.SettingsAcknowledged, 5)
        c.sock.settimeout(10)
        head = c.h2.encoder.encode(c.headers())
        c.raw(c.frame(1, 0, 1, head))
        literal = b"\x00\x01x\x7f\x81\x07" + b"a" * 264
        sent = 0
        while sent < 64 << 20 and c.raw(c.frame(9, 0, 1, literal * 50)):
            sent += 270 * 50
        assert sent < 64 << 20, "64 MiB of one head were taken"
    assert not good.failures


def test_h2_empty_frames_flood(hostile):
    server, good, _ = hostile
    with H2(server) as c:
        c.h2.send_headers(1, c.headers("/v2/models/echo/infer", "POST"))
        c.flush()
        c.sock.settimeout(5)
        empty = c.frame(0, 0, 1)
        for _ in range(200):
            if not c.raw(empty * 1000):
                break
    assert server.get("/health").status == 200 and not good.failures


@pytest.mark.parametrize("why,kind,flags,stream,payload", [
    ("data on stream 0", 0, 0, 0, b"x"), ("headers on stream 0", 1, 4, 0, b"\x82"),
    ("headers on an even stream", 1, 5, 2, b"\x82\x86\x84\x41\x01x"),
    ("junk for a head", 1, 5, 1, b"\xff" * 100), ("continuation out of the blue", 9, 4, 1, b"\x82"),
    ("settings of five bytes", 4, 0, 0, b"12345"), ("settings on a stream", 4, 0, 1, b""),
    ("window beyond 2^31", 4, 0, 0, struct.pack(">HI", 4, 2**32 - 1)),
    ("frame size 1", 4, 0, 0, struct.pack(">HI", 5, 1)),
    ("ping of five bytes", 6, 0, 0, b"12345"), ("window update of zero", 8, 0, 0, b"\0\0\0\0"),
    ("window overflow", 8, 0, 0, b"\x7f\xff\xff\xff"), ("push promise", 5, 4, 1, b"\0\0\0\2\x82"),
    ("reset of an idle stream", 3, 0, 99, b"\0\0\0\0"),
    ("data padded beyond its end", 0, 8, 1, b"\xff1"), ("a frame of 16 MiB", 0, 0, 1, None),
])
def test_h2_broken_frames_end_the_connection(hostile, why, kind, flags, stream, payload):
    server, good, _ = hostile
    with H2(server) as c:
        if payload is None:
            c.raw(b"\xff\xff\xff" + struct.pack(">BBI", kind, flags, stream) + b"\0" * 100000)
        else:
            c.raw(c.frame(kind, flags, stream, payload))
        assert c.dropped(), why
    assert server.get("/health").status == 200 and not good.failures


# ---- at the end ----

def test_nobody_else_noticed(hostile):
    server, good, before = hostile
    asked = good.asked
    harness.wait_until(lambda: good.asked > asked + 50, 60, "the good client at work")
    assert good.failures == []
    assert good.asked > 100 and good.slowest < 30 * harness.SLOW
    assert server.alive
    assert server.grew_less_than(before, GROWTH_MIB), (before, server.rss())
    harness.wait_until(lambda: server.metric("berth_connections") <= 3, 60, "no connection left over")
    harness.wait_until(lambda: server.fd_count() < 100, 60, "no descriptor left over")
    names = {m["name"] for m in server.get("/v1/models").json["models"]}
    assert {"echo", "digits"} <= names and len(names) <= 4, names
