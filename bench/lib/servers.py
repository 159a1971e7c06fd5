"""Berth and its peers: how each is started, and how each is asked the same work."""
import json
import pathlib
import shutil
import tempfile
import time

from machine import BERTH, CACHE, ROOT, Process, free_port

PEERS = CACHE / "peers"
HERE = ROOT / "bench" / "peers.d"
MODELS = CACHE / "bench-models"  # NAME/model.onnx: digits and image


class Missing(Exception):
    """The server is not installed; bench/peers does that."""


class Server:
    """name; process; ways(work): how it is asked for a piece of work, as [(how, arguments of berth bench)]."""

    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="berth-bench-"))

    def url(self, port=None):
        return f"http://127.0.0.1:{port or self.process.port}"

    def end(self):
        self.process.end()
        shutil.rmtree(self.dir, ignore_errors=True)

    def infer(self, work, protocols, grpc_port=None):
        """The Open Inference Protocol."""
        names = {"rest": "REST, JSON", "binary": "REST, binary", "grpc": "gRPC"}
        found = []
        for p in protocols:
            if p == "rest" and work.model == "image":
                continue  # 1.6 MB of JSON measures parsers of numbers
            if p == "binary" and work.model != "image":
                continue  # of small tensors JSON is what people send
            found.append((names[p], [work.model, "--server", self.url(grpc_port if p == "grpc" else None), "--protocol", p,
                                     "--input", f"@{work.infer}", "--concurrency",
                                     work.streams if p == "grpc" else work.concurrency]))
        return found

    def raw(self, work, how, path, body):
        return [(how, [work.model, "--server", self.url(), "--path", path, "--input", f"@{body}",
                       "--concurrency", work.concurrency])]


class Berth(Server):
    name = "Berth"

    def __init__(self):
        super().__init__()
        port = free_port()
        self.process = Process([BERTH, "serve", "--host", "127.0.0.1", "--port", port, "--state-dir", self.dir / "state"],
                               port)

    def serve_models(self):
        self.register("echo", "echo")
        for name in ("digits", "image"):
            self.register(name, "onnx", MODELS / name / "model.onnx")
        return self

    def register(self, name, backend, path=None, config=None, wait=True):
        if path is None:
            path = self.dir / f"{name}.{backend}"
            path.touch()
        status, text = self.process.ask("POST", "/v1/models", {
            "name": name, "backend": backend, "model_path": str(path), "config": config or {}})
        if status != 200:
            raise RuntimeError(f"register {name}: {status} {text!r}")
        end = time.monotonic() + 60
        while wait and self.process.ask("GET", f"/v2/models/{name}/ready")[0] != 200:
            if time.monotonic() > end:
                raise RuntimeError(f"{name}: {self.process.ask('GET', f'/v1/models/{name}/status')}")
            time.sleep(0.01)

    def ways(self, work):
        found = self.infer(work, ("rest", "binary", "grpc"))
        if work.name == "echo":
            how, argv = found[0]
            found.insert(1, (f"{how}, HTTP/2", [work.streams if x is work.concurrency else x for x in argv]))
        return found


class Nginx(Server):
    name = "nginx, a constant"

    def __init__(self):
        super().__init__()
        program = PEERS / "nginx" / "usr" / "sbin" / "nginx"
        if not program.exists():
            raise Missing(self.name)
        port, self.grpc_port = free_port(), free_port()
        answer = json.dumps({"model_name": "digits", "outputs": [{
            "name": "scores", "shape": [1, 10], "datatype": "FP32", "data": [round(1 / (i + 3), 7) for i in range(10)]}]})
        temp = "".join(f"{k}_temp_path {self.dir}/{k};" for k in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        (self.dir / "nginx.conf").write_text(f"""
worker_processes 1; daemon off; master_process off; pid {self.dir}/pid; error_log {self.dir}/log crit;
events {{ worker_connections 1024; }}
http {{
    access_log off; keepalive_requests 1000000000; client_max_body_size 64m; client_body_buffer_size 4m; {temp}
    server {{ listen 127.0.0.1:{port}; default_type application/json; location / {{ return 200 '{answer}'; }} }}
    server {{ listen 127.0.0.1:{self.grpc_port} http2; default_type application/grpc;
             add_header grpc-status 0; location / {{ return 200 '{"a" * 80}'; }} }}
}}""")
        self.process = Process([program, "-c", self.dir / "nginx.conf", "-p", self.dir, "-e", self.dir / "log"], port, "/")

    def ways(self, work):
        # It answers a long HTTP/2 body before it has read it: that is no floor.
        return self.infer(work, ("rest", "binary") if work.model == "image" else ("rest", "grpc"), self.grpc_port)


class Python(Server):
    """A peer of bench/peers.d/PEER_server.py in an environment of its own."""
    peer, args, ready, body = "", (), "/v2/models/image/ready", None

    def __init__(self):
        super().__init__()
        home = PEERS / self.peer
        if not (home / ".pins").exists():
            raise Missing(self.name)
        port, self.grpc_port = free_port(), free_port()
        env = {"PATH": f"{home}/bin:/usr/bin:/bin", "HOME": str(self.dir), "PYTHONPATH": str(HERE), "LANG": "C.UTF-8",
               "BENCH_PORT": str(port), "BENCH_GRPC_PORT": str(self.grpc_port), "BENCH_METRICS_PORT": str(free_port()),
               "BENCH_MODELS": str(MODELS), "PYTHONDONTWRITEBYTECODE": "1"}
        self.prepare(env)
        self.process = Process(self.argv(home, port), port, self.ready, self.body, {**env, **self.env()})

    def prepare(self, env):
        pass

    def env(self):
        return {}

    def argv(self, home, port):
        return [home / "bin" / "python", HERE / f"{self.peer}_server.py"]


class Mosec(Python):
    name, peer, ready = "Mosec", "mosec", "/json/echo"
    body = json.dumps({"input": [[1, 2, 3, 4]]}).encode()

    def argv(self, home, port):
        return [*super().argv(home, port), "--address", "127.0.0.1", "--port", port, "--log-level", "warning"]

    def ways(self, work):
        if work.model == "image":
            return self.raw(work, "HTTP, raw bytes", "/raw/image", work.bytes)
        found = self.raw(work, "HTTP, JSON", f"/json/{work.model}", work.nested)
        if work.model == "digits" and work.concurrency > 1:
            found += self.raw(work, "HTTP, JSON, batches of 32", "/json/digits-batched", work.nested)
            found += self.raw(work, "HTTP, raw bytes, batches of 32", "/raw/digits-batched", work.bytes)
        return found


class MLServer(Python):
    name, peer = "MLServer", "mlserver"

    def prepare(self, env):
        settings = {"host": "127.0.0.1", "http_port": int(env["BENCH_PORT"]), "grpc_port": int(env["BENCH_GRPC_PORT"]),
                    "metrics_port": int(env["BENCH_METRICS_PORT"]), "parallel_workers": 0, "debug": False,
                    "grpc_max_message_length": 64 << 20}
        (self.dir / "settings.json").write_text(json.dumps(settings))
        for name in ("echo", "digits", "image"):
            (self.dir / name).mkdir()
            (self.dir / name / "model-settings.json").write_text(
                json.dumps({"name": name, "implementation": "mlserver_model.Served"}))

    def argv(self, home, port):
        return [home / "bin" / "mlserver", "start", self.dir]

    def ways(self, work):
        return self.infer(work, ("rest", "grpc"), self.grpc_port)


class KServe(Python):
    name, peer = "KServe", "kserve"

    def ways(self, work):
        return self.infer(work, ("rest", "binary", "grpc"), self.grpc_port)


class PyTriton(Python):
    name, peer = "PyTriton", "pytriton"

    def ways(self, work):
        return self.infer(work, ("rest", "binary", "grpc"), self.grpc_port)


class BentoML(Python):
    name, peer, ready = "BentoML", "bentoml", "/readyz"

    def env(self):
        return {"BENTOML_DO_NOT_TRACK": "true"}

    def argv(self, home, port):
        return [home / "bin" / "bentoml", "serve", "bentoml_server:Served", "--working-dir", HERE,
                "--host", "127.0.0.1", "--port", port, "--quiet"]

    def ways(self, work):
        return [] if work.model == "image" else self.raw(work, "HTTP, JSON", f"/{work.model}", work.nested)


PEERS_BY_NAME = {c.__name__.lower(): c for c in (Nginx, Mosec, PyTriton, MLServer, KServe, BentoML)}
