"""The program under ModelServeShim's name: its flags, its configuration, alone in an empty folder."""
import contextlib
import json
import pathlib
import re
import select
import shutil
import signal
import socket
import subprocess
import time

import pytest

import harness


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An empty folder but for the program, stripped, as a release has it."""
    at = tmp_path_factory.mktemp("shim")
    subprocess.run(["strip", "-o", at / "model-serve-shim", harness.BERTH], check=True)
    return at


@pytest.fixture
def shim(folder, tmp_path):
    """shim(*args): what it says, with nothing in its environment but where it may keep its state."""
    def run(*args, timeout=60):
        return subprocess.run([folder / "model-serve-shim", *map(str, args)], capture_output=True, text=True,
                              cwd=folder, env={"BERTH_STATE_DIR": str(tmp_path / "state")},
                              timeout=timeout * harness.SLOW, stdin=subprocess.DEVNULL)
    return run


@contextlib.contextmanager
def started(folder, *args, env=None, argv=None, port=8080):
    """It runs; its log is beside it.  Its own port may be taken by another on this machine."""
    log = folder / "log"
    with open(log, "wb") as out:
        p = subprocess.Popen(argv or [folder / "model-serve-shim", *map(str, args)], cwd=folder, env=env or {},
                             stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    server = harness.Server(argv=[], port=port)
    server.process = p
    try:
        def there():
            assert p.poll() is None, log.read_text()
            try:
                return server.get("/api/v1/plugins").status == 200
            except OSError:
                return False

        harness.wait_until(there, 60, f"an answer at {port}: {log.read_text()}")
        yield server
        p.send_signal(signal.SIGTERM)
        assert p.wait(60 * harness.SLOW) == 0, log.read_text()
    finally:
        server.remove()


def plugins(server):
    return server.get("/api/v1/plugins").json["data"]


def test_version_and_help_to_the_letter(shim):
    r = shim("--version")
    assert r.returncode == 0 and r.stderr == ""
    assert re.fullmatch(r"ModelServeShim v\d+\.\d+\.\d+ \(commit: [0-9a-f]{6,}\)\n", r.stdout), r
    r = shim("--help")
    assert r.returncode == 0 and r.stdout.splitlines()[0] == "Usage of model-serve-shim:"
    assert len(re.findall(r"--(port|config|shimlet|pipeline|plugin-dir|log-level)", r.stdout)) == 6
    r = shim("--wings")
    assert r.returncode == 2 and "--wings" in r.stderr and "Usage of model-serve-shim:" in r.stderr
    r = shim("--port")
    assert r.returncode == 2 and "--port" in r.stderr


def test_libc_alone_and_small(folder):
    program = folder / "model-serve-shim"
    assert program.stat().st_size <= 15 << 20
    needed = re.findall(r"\(NEEDED\).*\[(.+)\]", subprocess.run(
        ["readelf", "-d", program], capture_output=True, text=True, check=True).stdout)
    assert {n.split(".")[0] for n in needed} <= {"libc", "libm", "libdl", "libpthread", "librt", "ld-linux-x86-64"}


@pytest.mark.parametrize("flag, name, others", [
    ("--shimlet", "nope", ("process", "docker", "k8s", "shimmy")), ("--pipeline", "nope", ("opensourcellm",))])
def test_what_is_not_there_is_named(shim, flag, name, others):
    r = shim(f"{flag}={name}", f"--port={harness.free_port()}")
    assert r.returncode not in (0, 2), r
    assert f"{name} is not known" in r.stderr and all(o in r.stderr for o in others), r.stderr


@pytest.mark.parametrize("how", ["=", " "])
def test_starts_alone_with_documented_flags(folder, tmp_path, how):
    port = harness.free_port()
    args = [w for flag, value in (("port", port), ("shimlet", "k8s"), ("pipeline", "opensourcellm"),
                                  ("log-level", "debug"), ("plugin-dir", tmp_path))
            for w in ([f"--{flag}={value}"] if how == "=" else [f"--{flag}", value])]
    with started(folder, *args, env={"BERTH_STATE_DIR": str(tmp_path / "state")}, port=port) as server:
        data = plugins(server)
        assert (data["defaultShimlet"], data["defaultPipeline"]) == ("k8s", "opensourcellm")
        assert {"k8s", "kubernetes", "docker", "process", "edge"} <= {s["name"] for s in data["shimlets"]}
        assert server.get("/api/v1/modserv").json["data"] == []
    assert sorted(p.name for p in folder.iterdir()) == ["log", "model-serve-shim"]  # nothing was dropped there


def test_port_8080_unless_told(folder, tmp_path):
    """In a network of its own: the port may well be in use here."""
    line = (f"ip link set lo up; cd {folder}; env -i {folder}/model-serve-shim --version;"
            f"env -i BERTH_STATE_DIR={tmp_path}/state {folder}/model-serve-shim >{tmp_path}/log 2>&1 & p=$!;"
            "for i in $(seq 600); do curl -sf -o /dev/null 127.0.0.1:8080/health && break; sleep 0.1; done;"
            "curl -so /dev/null -w '%{http_code}\n' 127.0.0.1:8080/api/v1/plugins; kill $p; wait $p; echo ended $?")
    out = subprocess.run(["unshare", "-rn", "bash", "-c", line], capture_output=True, text=True,
                         timeout=150 * harness.SLOW)
    assert out.stdout.splitlines()[1:] == ["200", "ended 0"], (out, (tmp_path / "log").read_text())


def test_it_deploys_with_itself_as_the_engine(folder, tmp_path):
    """Copied away and called by this name, it is also the program that its services run."""
    port = harness.free_port()
    (tmp_path / "m.echo").write_text("echo\n")
    backends = harness.BERTH.parent / "backends"  # those of the copy are not beside it
    (tmp_path / "c.yaml").write_text(f"service: {{port: {port}}}\nplugins: {{pluginDir: {backends}}}\n")
    env = {"BERTH_STATE_DIR": str(tmp_path / "state")}
    with started(folder, "--config", tmp_path / "c.yaml", env=env, port=port) as server:
        a = server.post("/api/v1/modserv/deploy", {"modelName": "m", "modelFile": str(tmp_path / "m.echo")})
        sid = a.json["data"]["serviceId"]
        harness.wait_until(lambda: server.get(f"/api/v1/modserv/{sid}").json["data"]["phase"] == "running", 60,
                           "it runs")
        a = server.post("/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": "hi you"}]})
        assert a.json["choices"][0]["message"]["content"] == "hi you", a
        server.delete(f"/api/v1/modserv/{sid}")
        harness.wait_until(lambda: server.get(f"/api/v1/modserv/{sid}").json["data"]["phase"] == "terminated", 60,
                           "it is deleted")


# ---- configuration ----

SEED = """
service:
  port: {port}
  readTimeout: 30s
  writeTimeout: 1m
plugins:
  defaultShimlet: k8s
  defaultPipeline: opensourcellm
  pluginDir: {dir}/plugins
  preload: []
logging:
  level: debug
  format: json
  output: stdout
"""

UPSTREAM = """
k8s:
  kube-config: ""
  context: none
  qps: 5.0
  burst: 10
  timeout: 30
server:
  port: ":{port}"
log:
  level: debug
  path: ""
  max-size: 100
  max-age: 7
  compress: true
  show-line: true
  enable-console: true
current-shimlet: k8s
shimlets:
  k8s:
    config-path: shimlets/k8s.yaml
model-manage:
  model-root: {dir}/models
tracer:
  interval: 10
"""


@pytest.mark.parametrize("text", [SEED, UPSTREAM], ids=["seed", "upstream"])
def test_both_dialects_are_taken(folder, tmp_path, text, shim):
    port = harness.free_port()
    (tmp_path / "plugins").mkdir()
    (tmp_path / "models" / "llama").mkdir(parents=True)
    (tmp_path / "shimlets").mkdir()
    (tmp_path / "shimlets" / "k8s.yaml").write_text("kube-config: ''\nqps: 7\nburst: 9\n")
    at = tmp_path / "conf.yaml"
    at.write_text(text.format(port=port, dir=tmp_path))
    r = shim("--config", at, "--check-config")
    assert r.returncode == 0 and "fine" in r.stdout, r
    assert r.stderr == "", r.stderr  # everything in both forms has an effect
    said = re.sub(r" +#.*", "", r.stdout)  # where each value came from
    for word in (f" port: {port}\n", *((" receive_timeout_secs: 30\n", " write_timeout_secs: 60\n",
                                        ' output: "stdout"\n') if text is SEED else
                                       (f' model_root: "{tmp_path}/models"\n', " max_age_days: 7\n", " compress: true\n",
                                        " show_line: true\n", " rotation_size_mb: 100\n"))):
        assert word in said, (word, r.stdout)
    with started(folder, "--config", at, env={"BERTH_STATE_DIR": str(tmp_path / "state")}, port=port) as server:
        assert plugins(server)["defaultShimlet"] == "k8s"
        if text is UPSTREAM:
            assert server.get("/api/v1/modserv/list").json["data"] == [
                {"modelName": "llama", "modelPath": f"{tmp_path}/models/llama"}]
        else:
            harness.wait_until(lambda: '"level":' in (folder / "log").read_text(), 60, "a line as JSON")
    # A flag comes before the file, a variable as well.
    other = harness.free_port()
    with started(folder, "-c", at, f"--port={other}", "--shimlet", "shimmy",
                 env={"BERTH_STATE_DIR": str(tmp_path / "state")}, port=other) as server:
        assert plugins(server)["defaultShimlet"] == "shimmy"


def test_check_config_tells_what_is_wrong(shim, tmp_path):
    at = tmp_path / "c.yaml"
    at.write_text("service: {port: 8081, colour: red}\nspeed: 3\n")
    r = shim("--config", at, "--check-config")
    assert r.returncode == 0, r
    lines = r.stderr.splitlines()
    assert len(lines) == 2 and all(str(at) in line for line in lines), lines
    for word in ("service.colour is not known", "speed is not known"):
        assert word in r.stderr, r.stderr
    for text, word in (("service: {port: '80:80x'}\n", "service.port"), ("service: {port: 99999}\n", "port"),
                       ("service: [\n", str(at)), ("service: {readTimeout: soon}\n", "service.readTimeout"),
                       ("plugins: {preload: [{type: bird, path: x.so}]}\n", "plugins.preload[0]"),
                       ("logging: {level: loud}\n", "level")):
        at.write_text(text)
        r = shim("--config", at, "--check-config")
        assert r.returncode == 1 and word in r.stderr, (text, r)
    r = shim("--config", tmp_path / "none.yaml")
    assert r.returncode == 1 and "none.yaml" in r.stderr


def test_every_request_is_a_line_of_the_log(folder, tmp_path):
    """On standard output, where every line is JSON."""
    port = harness.free_port()
    at = tmp_path / "c.yaml"
    at.write_text(f"service: {{port: {port}}}\nlogging: {{level: debug, format: json, output: stdout}}\n")
    with open(tmp_path / "out", "wb") as out, open(tmp_path / "err", "wb") as err:
        p = subprocess.Popen([folder / "model-serve-shim", "-c", at], cwd=folder, stdout=out, stderr=err,
                             env={"BERTH_STATE_DIR": str(tmp_path / "state")}, stdin=subprocess.DEVNULL)
    server = harness.Server(argv=[], port=port)
    server.process = p

    def up():
        with contextlib.suppress(OSError):
            return server.get("/api/v1/plugins").status == 200

    try:
        harness.wait_until(up, 60, "it is up")
        for path in ("/api/v1/modserv", "/api/v1/modserv/none", "/nowhere"):
            server.get(path)
        server.post("/api/v1/modserv/deploy", b"{")
        p.send_signal(signal.SIGTERM)
        assert p.wait(60 * harness.SLOW) == 0
    finally:
        server.remove()
    assert (tmp_path / "err").read_text() == ""
    lines = [json.loads(x) for x in (tmp_path / "out").read_text().splitlines()]
    assert all({"time", "level", "msg"} <= set(x) for x in lines)
    asked = [x for x in lines if x["msg"] == "request" and x["path"] != "/api/v1/plugins"]
    # Each came by a connection of its own, and whose line is first is chance.
    assert sorted((x["method"], x["path"], x["status"], x["client"], x["level"]) for x in asked) == [
        ("GET", "/api/v1/modserv", 200, "127.0.0.1", "info"), ("GET", "/api/v1/modserv/none", 404, "127.0.0.1", "warn"),
        ("GET", "/nowhere", 404, "127.0.0.1", "warn"), ("POST", "/api/v1/modserv/deploy", 400, "127.0.0.1", "warn")]
    assert all(x["duration_ms"] >= 0 for x in asked)


def test_a_slow_client_has_the_read_timeout_for_a_request(folder, tmp_path):
    port = harness.free_port()
    at = tmp_path / "c.yaml"
    at.write_text(f"service: {{port: {port}, readTimeout: 3s}}\n")
    with started(folder, "-c", at, env={"BERTH_STATE_DIR": str(tmp_path / "state")}, port=port) as server:
        for begin in (b"GET /health HT", b"POST /api/v1/modserv/deploy HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n\r\n"):
            with server.socket() as s:
                at = time.monotonic()
                s.sendall(begin)
                while not select.select([s], [], [], 0.5)[0]:  # a byte each half second
                    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # closed just now
                        s.sendall(b"x")
                    assert time.monotonic() - at < 60 * harness.SLOW
                assert time.monotonic() - at > 2  # not for the first pause
                data, _ = harness.read_answer(s)
                assert harness.Raw(data, True).statuses in ([408], [])


def test_make_build_leaves_it(tmp_path):
    """In a copy of the tree's Makefile with a program that is built already."""
    shutil.copy(harness.ROOT / "Makefile", tmp_path)
    (tmp_path / "tools").mkdir()
    for tool in ("setup", "build"):
        (tmp_path / "tools" / tool).write_text("#!/bin/sh\n")
        (tmp_path / "tools" / tool).chmod(0o755)
    (tmp_path / "build").mkdir()
    shutil.copy(harness.BERTH, tmp_path / "build" / "berth")
    r = subprocess.run(["make", "build"], cwd=tmp_path, capture_output=True, text=True,
                       env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)})
    assert r.returncode == 0 and r.stdout.splitlines()[-1].startswith("ModelServeShim v"), r
    for name in ("model-serve-shim", "bin/model-serve-shim"):
        assert (tmp_path / name).stat().st_size <= 15 << 20
        out = subprocess.run([tmp_path / name, "--version"], capture_output=True, text=True, check=True).stdout
        assert out.startswith("ModelServeShim v")


def test_a_taken_port_is_named(shim):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        port = s.getsockname()[1]
        r = shim("--port", port)
        assert r.returncode == 1 and f"port {port} is taken" in r.stderr, r
        assert pathlib.Path("/proc").is_dir()
