"""Many kinds of clients at once, good and bad.  Each is a thread that knows which answers are right."""
import http.client
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

from machine import BERTH, CLIENT_CORE, ROOT, tree

sys.path.insert(0, str(ROOT / "tests" / "scenario"))
from hostile_cases import CASES, CLOSED  # noqa: E402  (the bad requests of the scenarios)

PIXELS = 150528
SHOWN = 5  # wrong answers of each kind that are told


class Kind(threading.Thread):
    """key, name; turn(): one piece of traffic, which calls right() or wrong(), and may say how long it took."""
    pause_s = 0.02

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.over = server, threading.Event()
        self.count, self.wrongs, self.slowest_s = 0, [], 0

    def right(self):
        self.count += 1

    def wrong(self, what):
        self.count += 1
        self.wrongs.append(str(what)[:300])

    def run(self):
        while not self.over.wait(self.pause_s):
            begin = time.monotonic()
            try:
                took_s = self.turn()
            except (OSError, http.client.HTTPException, ValueError, KeyError, IndexError) as e:
                took_s = None
                self.wrong(repr(e))
            self.slowest_s = max(self.slowest_s, took_s or time.monotonic() - begin)

    def expect(self, method, path, body, statuses):
        status, text = self.server.process.ask(method, path, body, seconds=60)
        if status in statuses:
            self.right()
        else:
            self.wrong(f"{method} {path}: {status} {text!r}")
        return status, text

    def open(self):
        return socket.create_connection(("127.0.0.1", self.server.process.port), timeout=30)


def infer(values):
    return {"inputs": [{"name": "x", "datatype": "INT32", "shape": [1, len(values)], "data": values}]}


def post(path, body):
    text = json.dumps(body).encode()
    return (f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(text)}\r\n\r\n").encode() + text


class Steady(Kind):
    """`berth bench` at a fixed rate: every answer must be right."""
    seconds = 4

    def __init__(self, server, key, name, *args):
        super().__init__(server)
        self.key, self.name, self.args = key, name, args

    def turn(self):
        r = subprocess.run([BERTH, "bench", *map(str, self.args), "--server", self.server.url(), "--duration",
                            str(self.seconds), "--warmup", "0", "--cpu", str(CLIENT_CORE), "--json", "-"],
                           capture_output=True, text=True)
        if r.returncode != 0:
            self.wrong(r.stdout + r.stderr)
            return None
        result = json.loads(r.stdout)
        self.count += result["requests"]
        if result["failed"]:
            self.wrongs.append(f"{result['failed']} failed: {result['errors']}")
        return result["latency_ms"]["max"] / 1000


class Stream(Kind):
    """OpenAI's chat, streamed to its end."""
    key = "chats"
    name = "chat streams"

    def turn(self):
        status, text = self.server.process.ask("POST", "/v1/chat/completions", {
            "model": "smollm2", "stream": True, "max_tokens": 16,
            "messages": [{"role": "user", "content": "Count to five."}]}, seconds=120)
        if status == 200 and text.rstrip().endswith(b"data: [DONE]"):
            self.right()
        else:
            self.wrong((status, text[-300:]))


class Leaver(Kind):
    """A client that leaves after the first token."""
    key = "leavers"
    name = "streams left early"

    def turn(self):
        with self.open() as s:
            s.sendall(post("/v1/completions", {"model": "slow", "prompt": "a b c d " * 50, "max_tokens": 200,
                                               "stream": True}))
            data = b""
            while b"data:" not in data:
                more = s.recv(4096)
                if not more:
                    self.wrong(data)
                    return
                data += more
        self.right()


class SlowReader(Kind):
    """Asks for megabytes and takes them slowly, or not all."""
    key = "slow"
    name = "slow readers"
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [PIXELS], "data": [0.123456] * PIXELS}]}

    def turn(self):
        s = socket.socket()
        with s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.settimeout(30)
            s.connect(("127.0.0.1", self.server.process.port))
            s.sendall(post("/v2/models/echo/infer", self.body))
            head = s.recv(1024)
            for _ in range(20):
                if self.over.wait(0.05) or not s.recv(4096):
                    break
        if head.startswith(b"HTTP/1.1 200"):
            self.right()
        else:
            self.wrong(head)


class HalfSent(Kind):
    """Sends half a request and goes."""
    key = "half"
    name = "requests half sent"

    def turn(self):
        data = post("/v2/models/echo/infer", infer(list(range(1000))))
        with self.open() as s:
            s.sendall(data[:self.count * 97 % len(data)])
            self.over.wait(0.05)
        self.right()


class Bad(Kind):
    """Every bad request of the scenarios, in turns."""
    key = "bad"
    name = "bad input"

    def __init__(self, server):
        super().__init__(server)
        self.cases = itertools.cycle(CASES)

    def turn(self):
        name, data, expect = next(self.cases)
        with self.open() as s:
            sender = threading.Thread(target=self.push, args=(s, data, CLOSED in expect), daemon=True)
            sender.start()
            answer = b""
            try:
                while b"\r\n" not in answer and (more := s.recv(65536)):
                    answer += more
            except OSError:
                pass
            s.close()
            sender.join(30)
        status = int(answer[9:12]) if answer.startswith(b"HTTP/1.") and answer[9:12].isdigit() else CLOSED
        if status in expect:
            self.right()
        else:
            self.wrong(f"{name}: {answer[:100]!r}, not {sorted(expect)}")

    @staticmethod
    def push(s, data, ends):
        try:
            s.sendall(data)
            if ends:
                s.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the server may have answered already


class Flip(Kind):
    """A model that is unloaded and loaded while it is asked."""
    key = "flips"
    name = "loads and unloads"
    pause_s = 0.1

    def turn(self):
        self.expect("POST", "/v2/repository/models/flip/unload", {}, {200})
        self.expect("POST", "/v2/models/flip/infer", infer([1]), {200, 404, 503})
        self.expect("POST", "/v2/repository/models/flip/load", {}, {200})
        self.expect("POST", "/v2/models/flip/infer", infer([1]), {200})


class FlipAsker(Kind):
    key = "askers"
    name = "requests to it"

    def turn(self):
        self.expect("POST", "/v2/models/flip/infer", infer([1, 2, 3]), {200, 404, 503})


class Comer(Kind):
    """Models that are registered, asked and unregistered."""
    key = "comers"
    name = "registrations"
    pause_s = 0.1

    def turn(self):
        name = f"comer{self.count}"
        path = self.server.dir / "comer.echo"
        path.touch()
        self.expect("POST", "/v1/models", {"name": name, "backend": "echo", "model_path": str(path)}, {200})
        self.expect("POST", f"/v2/models/{name}/infer", infer([7]), {200, 503})  # it may be loading still
        self.expect("DELETE", f"/v1/models/{name}", None, {200})


class Evictions(Kind):
    """More models than fit, in turns: each request loads one and another goes."""
    key = "evictions"
    name = "evictions"
    pause_s = 0.2

    def __init__(self, server, count):
        super().__init__(server)
        self.models = itertools.cycle(range(count))

    def turn(self):
        self.expect("POST", f"/v2/models/m{next(self.models)}/infer", infer([1]), {200})


class Boxed(Kind):
    """A model in a process of its own, which is killed now and then."""
    key = "child"
    name = "a model in a child"
    kill_s = 16  # oftener it would be taken for a crash loop, and given up
    down_s = 10

    def __init__(self, server):
        super().__init__(server)
        self.killed_s, self.kills = time.monotonic() - self.kill_s / 2, 0

    def child(self):
        for pid in tree(self.server.process.pid)[1:]:
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    if b"worker" in f.read():
                        return pid
            except OSError:
                continue
        return None

    def turn(self):
        if time.monotonic() - self.killed_s > self.kill_s:
            pid = self.child()
            if pid:
                os.kill(pid, signal.SIGKILL)
                self.kills += 1
            self.killed_s = time.monotonic()
        # After a kill its own requests may fail until the child is back.
        recent = self.kills and time.monotonic() - self.killed_s < self.down_s
        self.expect("POST", "/v2/models/boxed/infer", infer([1, 2]), {200, 500, 503} if recent else {200})
