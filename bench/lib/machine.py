"""Processes on pinned cores, and what the machine says of them."""
import atexit
import http.client
import json
import os
import pathlib
import platform
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BERTH_BUILD", ROOT / "build")).resolve()
BERTH = pathlib.Path(os.environ.get("BERTH_BIN", BUILD / "berth")).resolve()
CACHE = pathlib.Path(os.environ.get("BERTH_CACHE", pathlib.Path.home() / ".cache" / "berth")).resolve()
CORES = os.cpu_count()
SERVER_CORE, CLIENT_CORE = 0, CORES - 1
TICKS = os.sysconf("SC_CLK_TCK")


def pinned(core, argv):
    """core None: anywhere."""
    return [*map(str, argv)] if core is None else ["taskset", "-c", str(core), *map(str, argv)]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def tree(root):
    """The processes that descend from one, itself first."""
    children = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                stat = pathlib.Path(f"/proc/{name}/stat").read_text()
            except OSError:
                continue
            children.setdefault(int(stat.rsplit(")", 1)[1].split()[1]), []).append(int(name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def cpu_s(pids):
    total = 0
    for pid in pids:
        try:
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += (int(fields[11]) + int(fields[12])) / TICKS
    return total


def pss_mib(pids):
    """Proportional resident memory: pages that processes share count once."""
    total = 0
    for pid in pids:
        try:
            text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        m = re.search(r"^Pss: +(\d+)", text, re.M)
        total += int(m.group(1)) / 1024 if m else 0
    return total


def listens_elsewhere(pids):
    """Addresses that processes listen on and that are not loopback's, as the kernel writes them."""
    inodes = set()
    for pid in pids:
        try:
            for fd in os.listdir(f"/proc/{pid}/fd"):
                m = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(f"/proc/{pid}/fd/{fd}"))
                if m:
                    inodes.add(m.group(1))
        except OSError:
            continue
    found = []
    for table, loopback in (("tcp", r"......7F"), ("tcp6", r"0{24}01000000|0{16}FFFF0000......7F")):
        for line in pathlib.Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            host = fields[1].split(":")[0]
            if fields[3] == "0A" and fields[9] in inodes and not re.fullmatch(loopback, host):
                found.append(fields[1])
    return found


class Process:
    """A server on ports of loopback: started on its core, asked until it answers, ended."""

    def __init__(self, argv, port, path="/health", body=None, env=None, core=SERVER_CORE, seconds=90):
        self.port, self.log = port, tempfile.TemporaryFile()
        begin = time.monotonic()
        self.process = subprocess.Popen(pinned(core, argv), stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=self.log, env=env, start_new_session=True)
        atexit.register(self.end)
        while True:
            if self.process.poll() is not None or time.monotonic() - begin > seconds:
                self.log.seek(0)
                text = self.log.read().decode(errors="replace")[-3000:]
                self.end()
                raise RuntimeError(f"{argv[0]} does not answer:\n{text}")
            try:
                if self.ask("POST" if body else "GET", path, body, seconds=5)[0] == 200:
                    break
            except OSError:
                time.sleep(0.0005 if time.monotonic() - begin < 1 else 0.05)
        self.ready_s = time.monotonic() - begin
        if elsewhere := listens_elsewhere(self.pids()):
            self.end()
            raise RuntimeError(f"{argv[0]} listens on more than loopback: {elsewhere}")

    def ask(self, method, path, body=None, seconds=120):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body)
        try:
            c.request(method, path, body, {"Content-Type": "application/json"})
            r = c.getresponse()
            return r.status, r.read()
        except http.client.HTTPException as e:
            raise OSError(str(e)) from e
        finally:
            c.close()

    @property
    def pid(self):
        return self.process.pid

    def pids(self):
        return tree(self.pid)

    def end(self):
        if self.process.poll() is None:
            family = self.pids()
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                pass
            for pid in family:  # those that did not go with it
                try:
                    if self.process.pid == pid or os.getsid(pid) == self.process.pid:
                        os.kill(pid, 9)
                except OSError:
                    pass
            self.process.wait()


def bench(*args, tolerate=False):
    """`berth bench`'s result: what its JSON says; None when it failed and that is tolerated."""
    with tempfile.NamedTemporaryFile(suffix=".json") as f:
        r = subprocess.run([str(BERTH), "bench", *map(str, args), "--cpu", str(CLIENT_CORE), "--json", f.name],
                           capture_output=True, text=True)
        if r.returncode != 0:
            if tolerate:
                return None
            raise RuntimeError(f"berth bench {' '.join(map(str, args))}:\n{r.stdout}{r.stderr}")
        return json.load(f)


def describe():
    text = pathlib.Path("/proc/cpuinfo").read_text()
    name = re.search(r"model name\s+: (.*)", text)
    return (f"{name.group(1) if name else platform.machine()}, {CORES} cores, Linux {platform.release()}, "
            f"load before {os.getloadavg()[0]:.1f}")


def commit():
    def git(*args):
        return subprocess.run(["git", "-C", ROOT, *args], capture_output=True, text=True).stdout.strip()
    return git("rev-parse", "--short", "HEAD") + (" with changes" if git("status", "--porcelain") else "")


def median(values):
    return statistics.median(values) if values else None


def note(text):
    print(text, file=sys.stderr, flush=True)
