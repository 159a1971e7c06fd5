"""Large bodies are inflated, decoded and parsed beside the loop: others on it do not wait."""
import contextlib
import gzip
import http.client
import io
import json
import random
import select
import signal
import socket
import time

import pytest

import harness

pytestmark = pytest.mark.sanitize
ONE_LOOP = ("--worker-threads", 1)


def send(server, path, body, encoding=None):
    """A request that has left altogether: its connection, to be read from."""
    c = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120 * harness.SLOW)
    headers = {"Content-Type": "application/json"}
    if encoding:
        headers["Content-Encoding"] = encoding
    c.request("POST", path, body, headers)
    return c


def is_answered(c):
    return bool(select.select([c.sock], [], [], 0)[0])


def work(server):
    """Seconds of CPU that the server has had: a machine that is busy or stands still adds none."""
    return time.clock_gettime(~server.pid << 3 | 2)  # CPUCLOCK_SCHED of a process


def longest_wait(server, c):
    """While c waits for its answer: the longest that another connection of the same loop waits for
    one, as a share of the whole; measured by what the server does meanwhile."""
    other = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60 * harness.SLOW)
    begin, longest = work(server), 0
    while not is_answered(c):
        asked = work(server)
        other.request("GET", "/health")
        assert other.getresponse().read()
        longest = max(longest, work(server) - asked)
    other.close()
    return longest / (work(server) - begin) if longest > 0 else 1  # 1: nothing was asked meanwhile


def share_of(server, check, *request):
    """longest_wait() of that request, whose answer check() looks at: the least of five.  A client that
    halts waits longer than it has to, or asks nothing meanwhile; a loop that is held up is so each time."""
    least = 1
    for _ in range(5):
        c = send(server, *request)
        least = min(least, longest_wait(server, c))
        a = c.getresponse()
        check(a.status, a.read())
        c.close()
        if least < 0.5:
            break
    return least


def numbers(count):
    """The text of a v2 request of that many numbers."""
    body = json.dumps({"inputs": [harness.v2_input("x", "FP32", [count], [])],
                       "outputs": [{"name": "x", "parameters": {"binary_data": True}}]})
    return body.replace('"data": []', '"data": [' + ",".join(["1.25"] * count) + "]").encode()


@pytest.mark.parametrize("encoding", [None, "gzip"])
def test_a_large_body_holds_up_nobody(make_server, encoding):
    server = make_server(*ONE_LOOP)
    server.register("echo")
    count = 4_000_000
    body = numbers(count)

    def check(status, data):
        assert status == 200 and data.endswith(b"\0\0\xa0\x3f" * 100)

    share = share_of(server, check, "/v2/models/echo/infer", gzip.compress(body, 1) if encoding else body, encoding)
    assert share < 0.5, "the loop did nothing else while it read the body"


def test_a_large_picture_holds_up_nobody(make_server):
    from PIL import Image

    server = make_server(*ONE_LOOP)
    server.register("digits", "onnx", harness.DIGITS)
    picture = io.BytesIO()
    noise = random.Random(1).randbytes(64)
    Image.frombytes("L", (8, 8), noise).resize((6000, 6000)).save(picture, "JPEG", quality=60)

    def check(status, data):
        assert status == 200 and b"label" in data, data

    share = share_of(server, check, "/v1/models/digits/predict",
                     json.dumps({"input": harness.b64(picture.getvalue())}))
    assert share < 0.5, "the loop did nothing else while it decoded the picture"


def test_damaged_and_wrong_bodies_get_their_answers_from_there(make_server):
    server = make_server(*ONE_LOOP)
    server.register("echo")
    packed = gzip.compress(random.Random(2).randbytes(100_000))
    for body, encoding, said in [
            (packed[:-2000], "gzip", "damaged"),
            (packed, "gzip", "JSON"),
            (b"{" + b" " * 300_000, None, "JSON"),
            (json.dumps({"inputs": [harness.v2_input("x", "FP32", [2], [1] * 200_000)]}).encode(),
             None, "inputs[0]")]:
        c = send(server, "/v2/models/echo/infer", body, encoding)
        a = c.getresponse()
        text = a.read().decode()
        assert a.status == 400 and said in text, (a.status, text)
        c.request("GET", "/health")  # the connection goes on
        assert c.getresponse().status == 200
    c = send(server, "/v2/models/nobody/infer", numbers(100_000))
    assert c.getresponse().status == 404


def test_clients_that_leave_meanwhile_cost_nothing(make_server):
    server = make_server(*ONE_LOOP)
    server.register("echo")
    body = gzip.compress(numbers(500_000), 1)
    before = server.fd_count()
    for _ in range(20):
        c = send(server, "/v2/models/echo/infer", body, "gzip")
        c.sock.shutdown(socket.SHUT_RDWR)
        c.close()
    harness.wait_until(lambda: server.fd_count() <= before + 1, 60, "their connections are closed")
    c = send(server, "/v2/models/echo/infer", body, "gzip")
    assert c.getresponse().status == 200


def test_stopping_answers_what_is_being_read(make_server):
    server = make_server(*ONE_LOOP)
    server.register("echo")
    body = gzip.compress(numbers(1_000_000), 1)
    cs = [send(server, "/v2/models/echo/infer", body, "gzip") for _ in range(4)]
    harness.wait_until(lambda: server.metric("berth_connections") >= 4, 60, "all have come")
    server.process.send_signal(signal.SIGTERM)
    for c in cs:
        with contextlib.suppress(http.client.RemoteDisconnected, ConnectionResetError):
            r = c.getresponse()  # or its body had not come altogether
            assert r.status in (200, 503)
            assert r.read()
    assert server.process.wait(60 * harness.SLOW) == 0
