"""berth pull: files from elsewhere, with resume and checksum."""
import functools
import hashlib
import http.server
import os
import pty
import re
import signal
import subprocess
import threading

import pytest

import harness
from test_cli import berth, ok


class Files(http.server.SimpleHTTPRequestHandler):
    """Files with ranges, so that a download can go on where it stopped."""

    def do_GET(self):
        self.server.seen.append(self.headers.get("Range"))
        self.server.tokens.append(self.headers.get("Authorization"))
        path = self.translate_path(self.path)
        if not os.path.isfile(path):
            self.send_error(404)
            return
        data = open(path, "rb").read()
        m = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        begin = int(m.group(1)) if m else 0
        cut = self.server.cut if not m else None
        self.send_response(206 if m else 200)
        self.send_header("Content-Length", str(len(data) - begin))
        self.send_header("ETag", '"one"')
        self.send_header("Accept-Ranges", "bytes")
        if m:
            self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if self.server.pause_s:  # a slow one: a hundred pieces
            step = len(data) // 100
            for at in range(begin, len(data), step):
                try:
                    self.wfile.write(data[at:at + step])
                except OSError:
                    return
                if self.server.stop.wait(self.server.pause_s):
                    return
            return
        self.wfile.write(data[begin:cut])
        if cut:
            self.close_connection = True

    def log_message(self, *args):
        pass


@pytest.fixture
def files(tmp_path):
    root = tmp_path / "files"
    root.mkdir()
    s = http.server.ThreadingHTTPServer(("127.0.0.1", 0),
                                        functools.partial(Files, directory=str(root)))
    s.seen, s.tokens, s.cut, s.root = [], [], None, root
    s.pause_s, s.stop = 0, threading.Event()
    t = threading.Thread(target=s.serve_forever, daemon=True)
    t.start()
    yield s
    s.stop.set()
    s.shutdown()
    s.server_close()


def pull_started(tmp_path, *args, stderr=subprocess.PIPE):
    env = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    env.update(BERTH_STATE_DIR=str(tmp_path / "state"), HOME=str(tmp_path))
    return subprocess.Popen([str(harness.BERTH), "pull", *args], env=env, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=stderr, cwd=tmp_path)


def pull(files, tmp_path, *args):
    return berth("pull", *args, env={"BERTH_STATE_DIR": str(tmp_path / "state"),
                                     "HOME": str(tmp_path)}, cwd=tmp_path)


def stored(tmp_path, data):
    return [p for p in tmp_path.rglob("*") if p.is_file() and "files" not in p.parts
            and p.stat().st_size == len(data) and p.read_bytes() == data]


def test_pull_by_http_with_checksum(files, tmp_path):
    data = os.urandom(3 << 20)
    (files.root / "model.onnx").write_bytes(data)
    url = f"http://127.0.0.1:{files.server_port}/model.onnx"
    digest = hashlib.sha256(data).hexdigest()
    r = pull(files, tmp_path, url, "--sha256", digest)
    assert r.returncode == 0, r
    assert stored(tmp_path, data)
    again = pull(files, tmp_path, url, "--sha256", digest)
    assert again.returncode == 0


def test_pull_refuses_a_wrong_checksum(files, tmp_path):
    data = os.urandom(100000)
    (files.root / "model.onnx").write_bytes(data)
    r = pull(files, tmp_path, f"http://127.0.0.1:{files.server_port}/model.onnx", "--sha256", "0" * 64)
    assert r.returncode == 1 and "0000" in r.stderr and hashlib.sha256(data).hexdigest() in r.stderr
    assert not stored(tmp_path, data), "a file with a wrong checksum is kept under its name"


def test_pull_goes_on_where_it_stopped(files, tmp_path):
    data = os.urandom(2 << 20)
    (files.root / "model.gguf").write_bytes(data)
    files.cut = 700000
    url = f"http://127.0.0.1:{files.server_port}/model.gguf"
    r = pull(files, tmp_path, url)
    if r.returncode != 0:
        files.cut = None
        r = pull(files, tmp_path, url)
    assert r.returncode == 0, r
    assert stored(tmp_path, data)
    assert any(x and x.startswith("bytes=") for x in files.seen), files.seen


def test_pull_that_is_interrupted_goes_on(files, tmp_path):
    data = os.urandom(1 << 20)
    (files.root / "model.gguf").write_bytes(data)
    url = f"http://127.0.0.1:{files.server_port}/model.gguf"
    files.pause_s = 0.05
    p = pull_started(tmp_path, url)
    try:
        harness.wait_until(lambda: any(x.stat().st_size > 50000 for x in tmp_path.rglob("*.part")),
                           60, "a part")
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=60 * harness.SLOW)
    finally:
        p.kill()
        p.wait()
    assert p.returncode == 130 and out == b"", (p.returncode, out, err)
    *progress, last = err.splitlines()  # a line of progress is there every five seconds
    assert b"same command" in last and all(b"KiB/s" in x for x in progress), err
    files.pause_s = 0
    r = pull(files, tmp_path, url)
    assert r.returncode == 0 and stored(tmp_path, data), r
    assert re.fullmatch(r"bytes=[1-9]\d*-", files.seen[-1]), files.seen


def test_pull_shows_lines_in_a_log_and_a_bar_on_a_terminal(files, tmp_path):
    (files.root / "model.gguf").write_bytes(os.urandom(1 << 20))
    url = f"http://127.0.0.1:{files.server_port}/model.gguf"
    files.pause_s = 0.06
    parent, child = pty.openpty()
    log, terminal = (pull_started(tmp_path, url, "--dir", tmp_path / name, stderr=to)
                     for name, to in (("log", subprocess.PIPE), ("terminal", child)))
    os.close(child)
    try:
        err = log.communicate(timeout=60 * harness.SLOW)[1].decode()
        terminal.communicate(timeout=60 * harness.SLOW)
        drawn = os.read(parent, 65536).decode()
    finally:
        for p in (log, terminal):
            p.kill()
            p.wait()
        os.close(parent)
    assert (log.returncode, terminal.returncode) == (0, 0), (err, drawn)
    figures = r"[\d.]+ KiB of 1\.0 MiB \(\d+ %\), [\d.]+ KiB/s"
    assert re.search(rf"^berth pull: {figures}", err) and "\r" not in err, err
    assert len(err.splitlines()) < 10, err
    assert re.search(rf"\r\[#+\.+\] {figures}, \d+ s left", drawn), drawn
    assert all(len(x) <= 80 for x in re.split(r"[\r\n]+", drawn)), drawn


def test_pull_says_that_it_is_there_already(files, tmp_path):
    data = os.urandom(100000)
    (files.root / "model.onnx").write_bytes(data)
    args = (f"http://127.0.0.1:{files.server_port}/model.onnx", "--sha256",
            hashlib.sha256(data).hexdigest())
    first, second = pull(files, tmp_path, *args), pull(files, tmp_path, *args)
    assert "already" not in first.stderr and "already" in second.stderr, (first, second)
    assert first.stdout == second.stdout and len(files.seen) == 1, files.seen


def test_pull_sends_the_token_that_is_given(files, tmp_path):
    path = files.root / "org/repo/resolve/main"
    path.mkdir(parents=True)
    (path / "m.gguf").write_bytes(b"GGUF")
    hub = {"HF_ENDPOINT": f"http://127.0.0.1:{files.server_port}", "HF_TOKEN": "of-the-variable",
           "BERTH_STATE_DIR": str(tmp_path / "state"), "HOME": str(tmp_path)}
    for extra, token in (((), "of-the-variable"), (("--token", "of-the-option"), "of-the-option")):
        ok("pull", "hf://org/repo/m.gguf", *extra, env=hub, cwd=tmp_path)
        assert files.tokens[-1] == f"Bearer {token}", files.tokens


def test_pull_of_what_is_not_there(files, tmp_path):
    r = pull(files, tmp_path, f"http://127.0.0.1:{files.server_port}/nope.onnx")
    assert r.returncode == 1 and "404" in r.stderr and "nope.onnx" in r.stderr
    r = pull(files, tmp_path, f"http://127.0.0.1:{harness.free_port()}/x.onnx")
    assert r.returncode == 1 and r.stderr
    for name in ("llama3", "smollm2:135m"):  # as other programs name them
        r = pull(files, tmp_path, name)
        assert r.returncode == 1 and name in r.stderr and "hf://ORG/REPO/FILE" in r.stderr, r
