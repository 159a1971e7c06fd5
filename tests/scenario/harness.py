"""Starts the real program and talks to it: what every scenario needs.

Nothing here sleeps for a fixed time and hopes: wait_until() asks for a condition until a deadline.
"""
import base64
import contextlib
import http.client
import io
import json
import os
import pathlib
import random
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BERTH = pathlib.Path(os.environ.get("BERTH_BIN", ROOT / "build" / "berth")).resolve()
CACHE = pathlib.Path(os.environ.get("BERTH_CACHE", pathlib.Path.home() / ".cache" / "berth"))
MODELS = CACHE / "models"
SMOLLM = MODELS / "SmolLM2-135M-Instruct.Q4_1.gguf"
MINILM = MODELS / "all-MiniLM-L6-v2.gguf"
DIGITS = MODELS / "digits"

# A machine that runs other things too may be ten times slower than a calm one: deadlines are
# there to end a test that would hang, not to measure.
SANITIZED = BERTH.parent.name in ("build-asan", "build-tsan")
SLOW = float(os.environ.get("BERTH_TEST_SLOWNESS", "5" if SANITIZED else "1"))
# Sanitizers keep freed memory for a while, so bounds on memory are wider under them.
ROOM = 20 if SANITIZED else 1
SANITIZER_ENV = {
    # Its dlopen() does not see where a backend says its engine is.
    "LD_LIBRARY_PATH": str(CACHE / "engines" / "onnxruntime" / "lib"),
    "TSAN_OPTIONS": f"suppressions={pathlib.Path(__file__).with_name('tsan.supp')}"} if SANITIZED else {}


def assert_sane(log):
    """No sanitizer has anything to say."""
    for report in ("runtime error:", "AddressSanitizer", "LeakSanitizer", "ThreadSanitizer"):
        assert report not in log, log[max(0, log.index(report) - 500):][:6000]


def wait_until(condition, seconds, what):
    """The first true value of condition(), or an AssertionError that says what did not come.

    What comes costs no more for it: the limit is three times what the test says."""
    limit = 3 * seconds * SLOW
    end = time.monotonic() + limit
    while True:
        late = time.monotonic() > end  # by a machine that halts, too: then there is one look more
        value = condition()
        if value:
            return value
        if late:
            raise AssertionError(f"after {limit:g} s still not: {what}")
        time.sleep(0.01)


def is_free(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_ports(n):
    """n ports of 127.0.0.1 that were free a moment ago.

    They are below those that the system gives to connections and to whoever asks for any port: none
    of them is taken in that way before the server that is to have it listens."""
    ports = []
    while len(ports) < n:
        port = random.randrange(16384, 30000)
        if port not in ports and is_free(port):
            ports.append(port)
    return ports


def free_port():
    return free_ports(1)[0]


class Answer:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = {k.lower(): v for k, v in headers}
        self.body = body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def text(self):
        return self.body.decode()

    def __repr__(self):
        return f"<{self.status} {self.body[:300]!r}>"


def events_of(text):
    """The data of each server-sent event: decoded JSON, or "[DONE]"."""
    found = []
    for block in text.replace("\r\n", "\n").split("\n\n"):
        lines = [x[5:].lstrip() for x in block.split("\n") if x.startswith("data:")]
        if lines:
            data = "\n".join(lines)
            found.append(data if data == "[DONE]" else json.loads(data))
    return found


class Server:
    """One `berth serve` of ours, on a free port of loopback, with a state folder of its own."""

    def __init__(self, *args, state_dir=None, env=None, argv=None, port=None, scheme="http",
                 key=None, cafile=None):
        self.port = port or free_port()
        self.scheme, self.key, self.cafile = scheme, key, cafile
        self.own_dir = tempfile.mkdtemp(prefix="berth-scenario-")
        self.state_dir = str(state_dir or os.path.join(self.own_dir, "state"))
        self.log_path = os.path.join(self.own_dir, "log")
        self.argv = argv or [str(BERTH), "serve", "--host", "127.0.0.1", "--port", str(self.port),
                             "--state-dir", self.state_dir, *map(str, args)]
        self.env = {k: v for k, v in os.environ.items()
                    if not k.startswith(("UNIMODEL_", "BERTH_")) or k in ("BERTH_PLUGIN_DIR",)}
        self.env.update(SANITIZER_ENV)
        self.env.update(env or {})
        self.process = None

    # ---- life ----
    def start(self, ready=True, seconds=60):
        log = open(self.log_path, "ab")
        self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log,
                                        stderr=log, env=self.env, cwd=self.own_dir)
        log.close()
        if ready:
            wait_until(self.answers, seconds, f"an answer of {self.argv}:\n{self.log()}")
        return self

    def answers(self):
        if self.process.poll() is not None:
            raise AssertionError(f"{self.argv} ended with {self.process.returncode}:\n{self.log()}")
        try:
            return self.get("/health").status == 200
        except OSError:
            return False

    def finish(self):
        """Stop it, if a test has not, and look at how it went."""
        if self.process is None:
            return
        running = self.alive
        status = self.stop()
        log = self.log()
        assert_sane(log)
        assert status == 0 or not running, f"it ended with {status}:\n{log[-4000:]}"

    def stop(self, seconds=60):  # twice what one that drains may take
        """SIGTERM; returns the exit status.  One that does not end is killed and gives None."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(3 * seconds * SLOW)  # as wait_until() does
            except subprocess.TimeoutExpired:
                self.kill()
                return None
        return self.process.returncode

    def kill(self):
        self.process.kill()
        self.process.wait()

    def replicas(self):
        """Processes of the services that it has deployed here, by the mark that they inherit."""
        mark = b"BERTH_REPLICA_OF=" + self.state_dir.encode()
        found = set()
        for at in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if mark in (at / "environ").read_bytes():
                    found.add(int(at.name))
            except OSError:
                pass  # it is gone
        return found

    def remove(self):
        if self.process is not None and self.process.poll() is None:
            self.kill()
        for pid in self.replicas():  # they outlive the server
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        shutil.rmtree(self.own_dir, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        try:
            self.finish()
        finally:
            if exc[0] is not None:
                print(f"---- log of {' '.join(self.argv)}\n{self.log()[-4000:]}")
            self.remove()

    @property
    def pid(self):
        return self.process.pid

    @property
    def alive(self):
        return self.process.poll() is None

    def log(self):
        with contextlib.suppress(FileNotFoundError):
            return pathlib.Path(self.log_path).read_text(errors="replace")
        return ""

    # ---- what the machine says of it ----
    def rss(self):
        """Resident bytes."""
        text = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", text).group(1)) * 1024

    def grew_less_than(self, before, mib):
        """Has its resident memory grown by less than mib MiB since it was `before` bytes?"""
        return self.rss() - before < (mib << 20) * ROOM

    def fd_count(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    # ---- HTTP ----
    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def connection(self, timeout=120, port=None):
        return http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=timeout * SLOW)

    def request(self, method, path, body=None, headers=None, timeout=120, port=None):
        headers = dict(headers or {})
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        if self.key:
            headers.setdefault("Authorization", f"Bearer {self.key}")
        conn = self.connection(timeout, port)
        try:
            conn.request(method, path, body, headers)
            r = conn.getresponse()
            return Answer(r.status, r.getheaders(), r.read())
        except http.client.HTTPException as e:
            raise OSError(f"{method} {path}: {e!r}") from e
        finally:
            conn.close()

    def get(self, path, **kw):
        return self.request("GET", path, **kw)

    def post(self, path, body=None, **kw):
        return self.request("POST", path, body, **kw)

    def delete(self, path, **kw):
        return self.request("DELETE", path, **kw)

    # ---- raw bytes ----
    def socket(self, timeout=60):
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout * SLOW)

    @contextlib.contextmanager
    def holding(self, model):
        """An instance of an echo model is at work until this ends, if its `delay_ms` is long enough:
        then the client of its request leaves."""
        body = json.dumps({"inputs": [v2_input("x", "INT32", [1], [1])]}).encode()
        request = (b"POST /v2/models/%s/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
                   % (model.encode(), len(body)) + body)
        with self.socket() as s:
            before = self.status(model)["running"]

            def runs():
                if is_readable(s):  # it has ended before we looked: a machine that halts
                    assert not read_answer(s)[1]
                    s.sendall(request)
                return self.status(model)["running"] > before

            s.sendall(request)
            wait_until(runs, 60, f"a run of {model}")
            yield
        wait_until(lambda: self.status(model)["running"] <= before, 60, f"the end of a run of {model}")

    # ---- models ----
    def register(self, name, backend="echo", path=None, config=None, wait=True, **more):
        """Register a model; for the echo backend a file is made, since a path must exist."""
        if path is None:
            path = os.path.join(self.own_dir, f"{name}.echo")
            pathlib.Path(path).write_text("echo\n")
        body = {"name": name, "backend": backend, "model_path": str(path), **more}
        if config is not None:
            body["config"] = config
        a = self.post("/v1/models", body)
        assert a.status == 200, f"register {name}: {a}"
        if wait:
            self.wait_model(name)
        return a.json

    def status(self, name):
        return self.get(f"/v1/models/{name}/status").json

    def wait_model(self, name, state="Ready", seconds=60):
        def there():
            a = self.get(f"/v1/models/{name}/status")
            if a.status != 200:
                return False
            now = a.json["status"]
            now = now if isinstance(now, str) else next(iter(now))
            if state == "Ready" and now.startswith("Error"):
                raise AssertionError(f"model {name}: {a.json}")
            return now.startswith(state)
        wait_until(there, seconds, f"model {name} {state}: {self.get(f'/v1/models/{name}/status')}")

    # ---- metrics ----
    def metrics(self, port=None):
        """{(name, ((label, value), ...)): number} of every sample."""
        found = {}
        for line in self.get("/metrics", port=port).text.splitlines():
            m = re.fullmatch(r'([A-Za-z_:][\w:]*)(\{.*\})? (\S+)', line)
            if m:
                labels = tuple(sorted(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', m.group(2) or "")))
                found[m.group(1), labels] = float(m.group(3))
        return found

    def metric(self, name, **labels):
        """Sum of the samples of that name that have at least these labels; None when none has."""
        want = set(labels.items())
        got = [v for (n, ls), v in self.metrics().items() if n == name and want <= set(ls)]
        return sum(got) if got else None


# ---- raw HTTP/1.1 ----

class Raw:
    """What came back on a socket: the answers found in it, and whether the peer closed."""

    def __init__(self, data, closed):
        self.data, self.closed = data, closed

    @property
    def statuses(self):
        return [int(x) for x in re.findall(rb"HTTP/1\.[01] (\d{3}) ", self.data)]

    def __repr__(self):
        return f"<{self.statuses} closed={self.closed} {self.data[:400]!r}>"


def read_answer(sock):
    """One whole HTTP/1.1 answer, as far as the peer sends it: (bytes, closed)."""
    data = b""
    while True:
        end = data.find(b"\r\n\r\n")
        if end >= 0:
            head = data[:end].lower()
            if re.match(rb"http/1\.[01] 1\d\d ", head):
                data = data[end + 4:]
                continue
            m = re.search(rb"\r\ncontent-length: *(\d+)", head)
            if m and len(data) >= end + 4 + int(m.group(1)):
                return data, False
            if b"transfer-encoding: chunked" in head and data.endswith(b"0\r\n\r\n"):
                return data, False
        try:
            more = sock.recv(65536)
        except ConnectionResetError:
            return data, True
        if not more:
            return data, True
        data += more


def is_readable(sock):
    """Has something come, or has the peer closed?"""
    return bool(select.select([sock], [], [], 0)[0])


def closes(sock, seconds):
    """Does the peer close within three times that, as wait_until() waits?  What it still sends is thrown away."""
    end = time.monotonic() + 3 * seconds * SLOW
    while (left := end - time.monotonic()) > 0:
        if not select.select([sock], [], [], left)[0]:
            return False
        try:
            if not sock.recv(65536):
                return True
        except ConnectionResetError:
            return True
    return False


# ---- images and tensors ----

def png(pixels, width, height):
    """A grey PNG."""
    from PIL import Image
    out = io.BytesIO()
    image = Image.new("L", (width, height))
    image.putdata(list(pixels))
    image.save(out, "PNG")
    return out.getvalue()


def b64(data):
    return base64.b64encode(data).decode()


def heldout():
    """Every digit that training never saw, with what ONNX Runtime said about it in Python."""
    return json.loads((DIGITS / "heldout.json").read_text())


def v2_input(name, dtype, shape, data, **parameters):
    t = {"name": name, "datatype": dtype, "shape": shape, "data": data}
    if parameters:
        t["parameters"] = parameters
    return t


def bytes_tensor(items):
    return b"".join(struct.pack("<I", len(x)) + x for x in items)
