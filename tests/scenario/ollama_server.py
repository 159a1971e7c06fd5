"""A real Ollama server on loopback (tools/setup ollama) with a folder of its own, and a registry for it
to pull from."""
import contextlib
import hashlib
import http.client
import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time

import harness

PROGRAM = harness.CACHE / "tools" / "ollama"


class Ollama:
    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="berth-ollama-"))
        self.port = harness.free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.host}"
        self.log_path = self.dir / "log"
        self.process = None

    def __enter__(self):
        assert PROGRAM.exists(), f"missing: {PROGRAM}; run tools/setup ollama"
        try:
            return self.up()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_):
        self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)  # its engines were told to end, and may not have yet

    def up(self):
        env = {"PATH": os.environ["PATH"], "HOME": str(self.dir), "OLLAMA_HOST": self.host,
               "OLLAMA_MODELS": str(self.dir / "models"), "OLLAMA_NUM_PARALLEL": "1"}
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([PROGRAM, "serve"], env=env, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, start_new_session=True)
        harness.wait_until(self.answers, 120, "Ollama answers")
        return self

    def kill(self):
        """It and the engines that it started, as a fault of the machine would."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def answers(self):
        assert self.process.poll() is None, self.log()
        with contextlib.suppress(OSError):
            return self.ask("GET", "/api/version")[0] == 200

    def log(self):
        return self.log_path.read_text(errors="replace")[-3000:]

    def ask(self, method, path, body=None):
        """(status, JSON or text)"""
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120 * harness.SLOW)
        try:
            c.request(method, path, json.dumps(body) if body is not None else None,
                      {"Content-Type": "application/json"})
            r = c.getresponse()
            text = r.read().decode()
            try:
                return r.status, json.loads(text)
            except ValueError:
                return r.status, text
        finally:
            c.close()

    def good(self, method, path, body=None):
        status, value = self.ask(method, path, body)
        assert status == 200, (method, path, status, value)
        return value

    def tags(self):
        return sorted(m["name"] for m in self.good("GET", "/api/tags")["models"])

    def loaded(self):
        return [m["name"] for m in self.good("GET", "/api/ps")["models"]]

    def blobs(self):
        return sorted(p.name for p in (self.dir / "models" / "blobs").glob("*"))

    def asked(self, what):
        """How often it was asked for something: "POST /api/create"."""
        method, path = what.split()
        return len(re.findall(rf'\| {method} +"{re.escape(path)}', self.log_path.read_text()))

    def chat(self, model):
        return self.ask("POST", "/v1/chat/completions", {
            "model": model, "messages": [{"role": "user", "content": "What is the sea?"}],
            "max_tokens": 4, "temperature": 0})


class Registry:
    """What `ollama pull` asks of a registry, with one model of one GGUF file in it."""

    def __init__(self, gguf):
        self.data = pathlib.Path(gguf).read_bytes()
        self.model = "sha256:" + hashlib.sha256(self.data).hexdigest()
        config = json.dumps({"model_format": "gguf", "model_family": "llama", "model_families": ["llama"],
                             "model_type": "135M", "file_type": "Q4_1", "architecture": "amd64", "os": "linux",
                             "rootfs": {"type": "layers", "diff_ids": [self.model]}}).encode()
        digest = "sha256:" + hashlib.sha256(config).hexdigest()
        self.blobs = {self.model: self.data, digest: config}
        self.manifest = json.dumps({
            "schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": digest,
                       "size": len(config)},
            "layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": self.model,
                        "size": len(self.data)}]}).encode()
        self.slow = threading.Event()  # one or two MB a second
        self.begins = []  # of the ranges that were asked for
        registry = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_HEAD(self):
                self.do_GET()

            def do_GET(self):
                with contextlib.suppress(OSError):  # who asked went away
                    registry.answer(self)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.name = f"http://127.0.0.1:{self.server.server_port}/library/smol:1"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.slow.clear()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def answer(self, to):
        last = to.path.rsplit("/", 1)[1]
        body = self.manifest if to.path == "/v2/library/smol/manifests/1" else self.blobs.get(last)
        if body is None:
            to.send_response(404)
            to.send_header("Content-Length", "0")
            to.end_headers()
            return
        if to.command == "GET" and body is not self.manifest and not to.path.startswith("/store/"):
            to.send_response(307)  # to another host, as registries do
            to.send_header("Location", f"http://localhost:{self.server.server_port}/store/{last}")
            to.send_header("Content-Length", "0")
            to.end_headers()
            return
        ranged = re.fullmatch(r"bytes=(\d+)-(\d+)", to.headers.get("Range", ""))
        begin, end = (int(ranged[1]), int(ranged[2]) + 1) if ranged else (0, len(body))
        if ranged and last == self.model:
            self.begins.append(begin)
        to.send_response(206 if ranged else 200)
        to.send_header("Content-Length", str(end - begin))
        to.end_headers()
        at = begin
        while to.command == "GET" and at < end:
            n = min(1 << 18, end - at)
            to.wfile.write(body[at:at + n])
            at += n
            if self.slow.is_set():
                time.sleep(0.15)
