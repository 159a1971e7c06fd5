"""gRPC spoken by hand: frames that no library sends, limits, keys, TLS."""
import gzip
import os
import socket
import struct
import subprocess
import zlib

import grpc
import h2.config
import h2.connection
import h2.events
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2 as pb

import harness
from test_grpc import SERVICE, channel, raw_request, unary

OK, INVALID, EXHAUSTED, UNIMPLEMENTED, INTERNAL = "0", "3", "8", "12", "13"

pytestmark = pytest.mark.sanitize


@pytest.fixture(scope="module")
def server():
    with harness.Server("--set", "server.max_body_bytes=8388608") as s:
        s.register("echo")
        yield s
        assert s.alive, s.log()


class Talk:
    """One HTTP/2 connection."""

    def __init__(self, server):
        self.sock = socket.create_connection(("127.0.0.1", server.port), timeout=60 * harness.SLOW)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.heads, self.bodies, self.ended, self.gone = {}, {}, {}, False
        self.flush()

    def flush(self):
        self.sock.sendall(self.h2.data_to_send())

    def start(self, path=SERVICE + "ModelInfer", method="POST", end=False, **headers):
        stream = self.h2.get_next_available_stream_id()
        given = {"content-type": "application/grpc", "te": "trailers"}
        given.update({k.replace("_", "-"): v for k, v in headers.items()})
        self.h2.send_headers(stream, [(":method", method), (":path", path), (":scheme", "http"),
                                      (":authority", "x")] + list(given.items()), end_stream=end)
        self.heads[stream], self.bodies[stream], self.ended[stream] = {}, b"", False
        self.flush()
        return stream

    def send(self, stream, data, end=True, step=16384):
        for at in range(0, len(data) or 1, step):
            piece = data[at:at + step]
            while self.h2.local_flow_control_window(stream) < len(piece) and not self.ended[stream]:
                self.receive()
            if self.ended[stream]:
                return
            self.h2.send_data(stream, piece, end_stream=end and at + step >= len(data))
            self.flush()

    def receive(self):
        data = self.sock.recv(65536)
        if not data:
            self.gone = True
            return
        for e in self.h2.receive_data(data):
            if isinstance(e, (h2.events.ResponseReceived, h2.events.TrailersReceived)):
                self.heads[e.stream_id].update(dict(e.headers))
            elif isinstance(e, h2.events.DataReceived):
                self.bodies[e.stream_id] += e.data
                self.h2.acknowledge_received_data(e.flow_controlled_length, e.stream_id)
            elif isinstance(e, (h2.events.StreamEnded, h2.events.StreamReset)):
                self.ended[e.stream_id] = True
            elif isinstance(e, h2.events.ConnectionTerminated):
                self.gone = True
        try:
            self.flush()
        except OSError:
            self.gone = True

    def answer(self, stream):
        while not self.ended[stream] and not self.gone:
            self.receive()
        return self.heads[stream], self.bodies[stream]


def frame(message, flag=0):
    return bytes([flag]) + struct.pack(">I", len(message)) + message


GOOD = raw_request().SerializeToString()


@pytest.fixture
def talk(server):
    t = Talk(server)
    yield t
    t.sock.close()


def call(talk, body, **kw):
    step = kw.pop("step", 16384)
    stream = talk.start(**kw)
    talk.send(stream, body, step=step)
    return talk.answer(stream)


@pytest.mark.parametrize("why, body, status", [
    ("the flag means nothing", frame(GOOD, 2), INTERNAL),
    ("compressed by what?", frame(gzip.compress(GOOD), 1), INTERNAL),
    ("the head is cut short", b"\0\0\0", INTERNAL),
    ("the message is cut short", frame(GOOD)[:-1], INTERNAL),
    ("no message", b"", INTERNAL),
    ("two messages", frame(GOOD) * 2, INTERNAL),
    ("something follows", frame(GOOD) + b"\0", INTERNAL),
    ("4 GiB are announced", b"\0\xff\xff\xff\xff" + b"x" * 100, EXHAUSTED),
    ("more than may be", frame(b"\0" * (9 << 20)), EXHAUSTED),
    ("no protobuf", frame(b"\xff" * 100), INVALID),
    ("an empty message", frame(b""), None),
])
def test_frames_that_are_none(talk, why, body, status):
    head, _ = call(talk, body)
    assert head[":status"] == "200"
    assert head["grpc-status"] == status if status else head["grpc-status"] != OK
    head, body = call(talk, frame(GOOD))
    assert head["grpc-status"] == OK and pb.ModelInferResponse.FromString(body[5:]).model_name == "echo"


def test_a_byte_at_a_time(talk):
    head, body = call(talk, frame(GOOD), step=1)
    assert head["grpc-status"] == OK and pb.ModelInferResponse.FromString(body[5:]).raw_output_contents == [b"\1\2"]


def test_compressed_messages(talk):
    head, _ = call(talk, frame(gzip.compress(GOOD), 1), grpc_encoding="gzip")
    assert head["grpc-status"] == OK
    head, _ = call(talk, frame(zlib.compress(GOOD), 1), grpc_encoding="deflate")
    assert head["grpc-status"] == OK
    head, _ = call(talk, frame(GOOD), grpc_encoding="gzip")  # not every message has to be
    assert head["grpc-status"] == OK
    head, _ = call(talk, frame(b"no gzip", 1), grpc_encoding="gzip")
    assert head["grpc-status"] == INTERNAL
    head, _ = call(talk, frame(GOOD, 1), grpc_encoding="snappy")
    assert head["grpc-status"] == UNIMPLEMENTED and "gzip" in head["grpc-accept-encoding"]


def test_a_bomb_does_not_go_off(talk, server):
    bomb = gzip.compress(b"\0" * (200 << 20), 9)
    before = server.rss()
    head, _ = call(talk, frame(bomb, 1), grpc_encoding="gzip")
    assert head["grpc-status"] == EXHAUSTED
    assert server.grew_less_than(before, 32)


def test_other_content_types(talk):
    head, _ = call(talk, frame(GOOD), content_type="application/grpc+proto")
    assert head["grpc-status"] == OK
    head, _ = call(talk, frame(GOOD), content_type="application/grpc+json")
    assert head["grpc-status"] == UNIMPLEMENTED
    for kw in [{"content_type": "application/grpc-web"}, {"content_type": "text/plain"}]:
        head, _ = call(talk, frame(GOOD), **kw)
        assert head[":status"] == "404" and "grpc-status" not in head
    stream = talk.start(method="GET", end=True)
    assert talk.answer(stream)[0][":status"] == "404"


def test_an_endless_stream_of_nonsense_is_answered(talk, server):
    before = server.rss()
    stream = talk.start(path=SERVICE + "ModelStreamInfer")
    talk.send(stream, frame(b"\xff\xff\xff") * 20000)
    head, body = talk.answer(stream)
    assert head["grpc-status"] == OK
    n = at = 0
    while at < len(body):
        size = struct.unpack(">I", body[at + 1:at + 5])[0]
        assert pb.ModelStreamInferResponse.FromString(body[at + 5:at + 5 + size]).error_message
        at += 5 + size
        n += 1
    assert n == 20000
    assert server.grew_less_than(before, 64)


@pytest.mark.parametrize("timeout", ["", "5", "m", "1.5S", "1s", "-1m", "123456789m", "1 m"])
def test_a_timeout_that_is_none_is_refused(server, talk, timeout):
    head, body = call(talk, frame(GOOD), grpc_timeout=timeout)
    assert head["grpc-status"] == INVALID and "grpc-timeout" in head["grpc-message"] and not body
    rest = server.post("/v2/models/echo/infer", {"inputs": [harness.v2_input("x", "INT32", [1], [1])]},
                       headers={"Grpc-Timeout": timeout})
    assert rest.status == 400 and "grpc-timeout" in rest.text, rest.text
    head, body = call(talk, frame(GOOD), grpc_timeout="99999999H")
    assert head["grpc-status"] == OK and body


def test_over_http_1_it_is_refused(server):
    for path in (SERVICE + "ModelInfer", "/v2/models/echo/infer"):
        answer = server.post(path, frame(GOOD), headers={"Content-Type": "application/grpc"})
        assert answer.status == 505 and "HTTP/2" in answer.text, answer.text
        assert "grpc-status" not in answer.headers


def test_streams_that_are_reset_leave_nothing(server):
    before = server.rss()
    for _ in range(10):
        talk = Talk(server)
        for i in range(200):
            stream = talk.start(path=SERVICE + ("ModelStreamInfer" if i % 2 else "ModelInfer"))
            talk.send(stream, frame(b"\0" * 1000)[:500], end=False)
            talk.h2.reset_stream(stream)
            try:
                talk.flush()
            except OSError:
                break  # told to calm down
        talk.sock.close()
    assert server.grew_less_than(before, 32)
    with channel(server) as ch:
        assert unary(ch, "ModelInfer", raw_request())[0].model_name == "echo"


def test_announced_lengths_take_no_memory(server):
    """A hundred messages of 8 MiB are announced, none is sent."""
    before = server.rss()
    talk = Talk(server)
    for _ in range(100):
        talk.send(talk.start(), b"\0" + struct.pack(">I", 8 << 20), end=False)
    assert server.grew_less_than(before, 64)
    talk.sock.close()


def test_texts_are_percent_encoded(server):
    with channel(server) as ch, pytest.raises(grpc.RpcError) as e:
        unary(ch, "ModelInfer", raw_request("modèle 50%\n"))
    assert "modèle 50%\n" in e.value.details()


# ---- keys ----

@pytest.fixture(scope="module")
def keyed():
    with harness.Server("--set", "security.auth_enabled=true", "--set",
                        "security.api_keys=boss admin,asker user,reader viewer", key="boss") as s:
        s.register("echo")
        yield s


@pytest.mark.parametrize("method, request_, key, status", [
    ("ServerLive", pb.ServerLiveRequest(), None, None),
    ("ModelMetadata", pb.ModelMetadataRequest(name="echo"), None, grpc.StatusCode.UNAUTHENTICATED),
    ("ModelReady", pb.ModelReadyRequest(name="echo"), "reader", None),
    ("ModelInfer", raw_request(), None, grpc.StatusCode.UNAUTHENTICATED),
    ("ModelInfer", raw_request(), "wrong", grpc.StatusCode.UNAUTHENTICATED),
    ("ModelInfer", raw_request(), "reader", grpc.StatusCode.PERMISSION_DENIED),
    ("ModelInfer", raw_request(), "asker", None),
    ("RepositoryModelUnload", pb.RepositoryModelUnloadRequest(model_name="x"), "asker",
     grpc.StatusCode.PERMISSION_DENIED),
    ("RepositoryModelUnload", pb.RepositoryModelUnloadRequest(model_name="x"), "boss", grpc.StatusCode.NOT_FOUND),
])
def test_keys_open_what_they_may(keyed, method, request_, key, status):
    headers = [None] if key is None else [("authorization", f"Bearer {key}"), ("x-api-key", key)]
    with channel(keyed) as ch:
        for header in headers:
            try:
                unary(ch, method, request_, metadata=[header] if header else None)
                assert status is None
            except grpc.RpcError as e:
                assert e.code() == status, e


# ---- other ways to get there ----

def test_over_tls(tmp_path):
    key, cert = str(tmp_path / "key.pem"), str(tmp_path / "cert.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=localhost", "-addext",
                    "subjectAltName=DNS:localhost,IP:127.0.0.1"], check=True, capture_output=True)
    model = tmp_path / "echo.echo"
    model.write_text("echo\n")
    server = harness.Server("--tls", "--tls-cert", cert, "--tls-key", key, "--model", f"echo={model}")
    server.start(ready=False)
    try:
        credentials = grpc.ssl_channel_credentials(open(cert, "rb").read())
        with grpc.secure_channel(f"localhost:{server.port}", credentials) as ch:
            big = pb.ModelInferRequest(model_name="echo")
            big.inputs.add(name="x", datatype="UINT8", shape=[1 << 20])
            big.raw_input_contents.append(os.urandom(1 << 20))
            grpc.channel_ready_future(ch).result(timeout=60 * harness.SLOW)
            ready = pb.ModelReadyRequest(name="echo")
            harness.wait_until(lambda: unary(ch, "ModelReady", ready, pb.ModelReadyResponse)[0].ready, 60, "ready")
            assert unary(ch, "ModelInfer", big)[0].raw_output_contents == big.raw_input_contents
        client = triton.InferenceServerClient(f"localhost:{server.port}", ssl=True, root_certificates=cert)
        assert client.is_server_live()
        client.close()
    finally:
        server.stop()
        server.remove()


def test_on_the_port_of_its_own():
    port = harness.free_port()
    with harness.Server("--grpc-port", port) as s:
        s.register("echo")
        for at in [s.port, port]:
            with channel(s, at) as ch:
                assert unary(ch, "ModelInfer", raw_request())[0].model_name == "echo"


def test_calls_are_counted(server):
    before = server.metric("berth_requests_total", dialect="grpc", status="NOT_FOUND") or 0
    with channel(server) as ch, pytest.raises(grpc.RpcError):
        unary(ch, "ModelInfer", raw_request("nope"))
    harness.wait_until(lambda: server.metric("berth_requests_total", dialect="grpc", status="NOT_FOUND") == before + 1,
                       60, "the call is counted")
