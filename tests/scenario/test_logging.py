"""Where the log goes: the console, a file that is put aside when it is full, one anew at SIGHUP."""
import contextlib
import gzip
import json
import re
import signal

import pytest

import harness

pytestmark = pytest.mark.sanitize


def ask(server, n):
    """n requests over one connection whose lines in the access log are some 700 bytes each."""
    conn = server.connection()
    for i in range(n):
        conn.request("GET", f"/none/{i}/" + "x" * 500)
        assert conn.getresponse().read()
    conn.close()


def lines_now(at):
    """What is in the file; it is not there for a moment while it is put aside."""
    with contextlib.suppress(FileNotFoundError):
        return at.read_text()
    return ""


def aside(folder):
    return sorted(p.name for p in folder.iterdir() if p.name != "log")


def test_a_full_file_is_put_aside_and_compressed(make_server, tmp_path):
    folder = tmp_path / "logs"  # it is made
    server = make_server("--log-file", str(folder / "log"), "--log-format", "json", "--access-log",
                         "--set", "logging.rotation_size_mb=1", "--set", "logging.compress=true",
                         "--set", "logging.retention_count=2", "--set", "logging.console_output=false",
                         "--set", "logging.show_line=true")
    ask(server, 5000)
    harness.wait_until(lambda: "/none/4999/" in lines_now(folder / "log"), 60, "the last line")
    harness.wait_until(lambda: len(aside(folder)) == 2 and all(x.endswith("Z.gz") for x in aside(folder)), 60,
                       "two compressed files")
    texts = [gzip.open(folder / x, "rt").read() for x in aside(folder)]
    assert all(900_000 < len(x) <= 1 << 20 for x in texts), [len(x) for x in texts]
    assert (folder / "log").stat().st_size <= 1 << 20
    lines = [json.loads(x) for x in "".join(texts + [(folder / "log").read_text()]).splitlines()]
    numbers = [int(x["path"].split("/")[2]) for x in lines if x["msg"] == "request" and x["path"].startswith("/none/")]
    assert numbers == list(range(numbers[0], 5000))  # none is lost between files
    assert all(re.fullmatch(r"[a-z]+/[a-z0-9_]+\.c:\d+", x["caller"]) for x in lines)
    assert server.log() == ""  # nothing on the console


def test_the_file_is_opened_anew_at_sighup(make_server, tmp_path):
    at = tmp_path / "log"
    config = tmp_path / "c.yaml"
    config.write_text(f"logging: {{file_path: {at}}}\nmonitoring: {{access_log: true}}\n")
    server = make_server("--config", str(config))
    server.get("/first")
    harness.wait_until(lambda: "path=/first" in at.read_text(), 60, "its line, which follows the answer")
    at.rename(tmp_path / "moved")
    server.process.send_signal(signal.SIGHUP)
    harness.wait_until(at.exists, 60, "a new file")
    # The file is there a moment before lines go to it; none is lost in between.
    asked = 0

    def has_a_line():
        nonlocal asked
        server.get("/second")
        asked += 1
        return "path=/second" in at.read_text()

    harness.wait_until(has_a_line, 60, "a line in it")
    moved = tmp_path / "moved"
    harness.wait_until(lambda: (at.read_text() + moved.read_text()).count("path=/second") == asked, 60,
                       "a line for each request")
    assert "path=/first status=404 client=127.0.0.1 duration_ms=" in (tmp_path / "moved").read_text()
    # A file that cannot be written: the old one stays.
    config.write_text(f"logging: {{file_path: {tmp_path}}}\n")
    server.process.send_signal(signal.SIGHUP)
    harness.wait_until(lambda: "the old configuration stays" in at.read_text(), 60, "it is said where it is read")
    server.get("/third")
    harness.wait_until(lambda: "path=/third" in at.read_text(), 60, "a line in it")


def test_a_file_that_cannot_be_written_ends_the_start(make_server, tmp_path):
    server = harness.Server("--log-file", str(tmp_path))
    try:
        server.start(ready=False)
        assert server.process.wait(60 * harness.SLOW) == 1
        assert "logging.file_path" in server.log() and str(tmp_path) in server.log()
    finally:
        server.remove()
