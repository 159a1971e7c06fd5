"""A real Docker daemon for tests: its own folders, socket and namespaces, and nothing left behind.

The daemon and all that it starts live in a process and a mount namespace of their own: when the
first process of that goes, the kernel ends every other and takes every mount down.  Containers use
this machine's network, as the tests talk to them.
"""
import contextlib
import http.client
import io
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import time
import urllib.parse

import harness

BIN = harness.CACHE / "tools" / "docker" / "bin"
LIB = harness.CACHE / "tools" / "docker" / "lib"
IMAGE = "berth-test:1"

# The first process of the namespaces.  $1 is an empty folder.  A bare chroot lacks control groups, and
# its root is no mount, which a container's own root has to be put over: then the root is mounted upon
# a folder, and that folder is the root.
HOLD = r"""
set -e
root=/
if ! mount --make-rprivate / 2>/dev/null; then
    root=$1
    mount --rbind / "$root"
    mount --make-rprivate "$root"
fi
exec chroot "$root" bash -c "$2"
"""
LIVE = r"""
set -e
mount -t proc proc /proc
mountpoint -q /sys || mount -t sysfs sysfs /sys
if ! mountpoint -q /sys/fs/cgroup; then
    if cut -d: -f2 /proc/self/cgroup | grep -q .; then
        # Those that this kernel has in use and no other: a new one would stay when we are gone, and
        # stand in the way of every other container engine.
        mount -t tmpfs cgroup /sys/fs/cgroup
        cut -d: -f2 /proc/self/cgroup | grep . | while read -r kind; do
            mkdir -p "/sys/fs/cgroup/${kind#name=}"
            case $kind in name=*) kind="none,$kind" ;; esac
            mount -t cgroup -o "$kind" cgroup "/sys/fs/cgroup/${kind#*name=}"
        done
    else
        mount -t cgroup2 cgroup2 /sys/fs/cgroup
    fi
fi
# The first process of a namespace takes care of whatever lost its parent.
trap 'exit 0' TERM
echo ready
while :; do sleep 3600 & wait $!; done
"""


class CannotRun(Exception):
    """Why no daemon can run here, with its last words."""


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("docker", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Dockerd:
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="berth-dockerd-")
        self.socket = os.path.join(self.dir, "docker.sock")
        self.host = f"unix://{self.socket}"
        self.log_path = os.path.join(self.dir, "log")
        self.cgroup = f"berth-test-{os.getpid()}"
        self.holder = self.process = self.first = None
        self.driver = None
        self.networks = []

    # ---- life ----
    def start(self):
        try:
            self._hold()
            failures = []
            for driver in ("overlay2", "vfs"):  # the second copies, and works everywhere
                self.driver = driver
                try:
                    self.up()
                    return self
                except CannotRun as why:
                    failures.append(f"{driver}: {why}")
            raise CannotRun("\n".join(failures))
        except BaseException:
            self.stop()
            raise

    def _hold(self):
        """The namespaces, held by one process."""
        if os.geteuid() != 0:
            raise CannotRun("a Docker daemon needs root: run the tests as root")
        if not (BIN / "dockerd").exists():
            raise CannotRun(f"{BIN}/dockerd is missing: tools/setup test")
        os.mkdir(os.path.join(self.dir, "root"))
        self.holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "unchanged", "--pid", "--fork", "--kill-child",
             "bash", "-c", HOLD, "hold", os.path.join(self.dir, "root"), LIVE],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if self.holder.stdout.readline() != b"ready\n":
            raise CannotRun("no namespaces: " + self.holder.stderr.read().decode()[-2000:])
        children = pathlib.Path(f"/proc/{self.holder.pid}/task/{self.holder.pid}/children")
        self.first = int(children.read_text().split()[0])

    def enter(self):
        """What runs a command where the daemon and its containers are."""
        return ["nsenter", "-t", str(self.first), "-m", "-p", "-r", "-w", "--"]

    def up(self, seconds=360):
        """Start the daemon; its containers of before come back as their policy says."""
        env = {"PATH": f"{BIN}:/usr/sbin:/usr/bin:/sbin:/bin", "LD_LIBRARY_PATH": str(LIB),
               "HOME": self.dir, "TMPDIR": self.dir}
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [*self.enter(), "dockerd", "-H", self.host, "--data-root", f"{self.dir}/data",
                 "--exec-root", f"{self.dir}/run", "--pidfile", f"{self.dir}/pid",
                 "--storage-driver", self.driver, "--cgroup-parent", f"/{self.cgroup}",
                 "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false",
                 "--bridge=none", "--userland-proxy=true",
                 "--userland-proxy-path", str(BIN / "docker-proxy")],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, start_new_session=True)
        end = time.monotonic() + seconds * harness.SLOW
        while True:
            with contextlib.suppress(OSError):
                if self.ask("GET", "/_ping", timeout=5)[0] == 200:
                    return
            if self.process.poll() is not None:
                self.process = None
                raise CannotRun(self.last_words())
            if time.monotonic() > end:
                self.down(signal.SIGKILL)
                raise CannotRun(f"no answer after {seconds} s: {self.last_words()}")
            time.sleep(0.05)

    def down(self, how=signal.SIGTERM):
        """End the daemon as init (SIGTERM) or a fault (SIGKILL) would."""
        if self.process is None:
            return
        # nsenter waits for the daemon, which has a number of its own outside the namespace.
        for pid in self._daemon():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, how)
        try:
            self.process.wait(180 * harness.SLOW)  # it ends its containers first, which have 15 s
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def _daemon(self):
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        try:
            return [int(p) for p in children.read_text().split()]
        except OSError:
            return []

    def stop(self):
        if self.process is not None:
            with contextlib.suppress(Exception):
                for c in self.containers():
                    self.ask("DELETE", f"/containers/{c['Id']}?force=1&v=1")
                for name in self.networks:
                    self.ask("DELETE", f"/networks/{name}")
            self.down()
        if self.first is not None:  # control groups stay when nobody takes them away
            subprocess.run([*self.enter(), "sh", "-c",
                            'rmdir /sys/fs/cgroup/"$1" /sys/fs/cgroup/*/"$1" 2>/dev/null', "sh",
                            self.cgroup])
        if self.holder is not None:
            self.holder.kill()  # and with it the whole namespace
            self.holder.wait()
            self.holder.stdout.close()
            self.holder.stderr.close()
        end = time.monotonic() + 60 * harness.SLOW
        while os.path.exists(self.dir):  # the kernel takes the mounts down in its own time
            shutil.rmtree(self.dir, ignore_errors=True)
            if time.monotonic() > end:
                shutil.rmtree(self.dir)
            time.sleep(0.02)

    def last_words(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()[-1500:]

    # ---- its API ----
    def ask(self, method, path, body=None, timeout=300, content_type="application/json"):
        """(status, JSON or text)"""
        c = UnixConnection(self.socket, timeout)
        try:
            if isinstance(body, dict):
                body = json.dumps(body)
            c.request(method, path, body, {"Content-Type": content_type} if body else {})
            r = c.getresponse()
            text = r.read()
            try:
                return r.status, json.loads(text)
            except ValueError:
                return r.status, text.decode(errors="replace")
        finally:
            c.close()

    def good(self, *args, **kw):
        status, value = self.ask(*args, **kw)
        assert status < 300 or status == 304, (args, status, value)
        return value

    def containers(self, **filters):
        q = urllib.parse.quote(json.dumps(filters))
        return self.good("GET", f"/containers/json?all=1&filters={q}")

    def load(self, tar, name):
        """An image from the files of a tar."""
        repo, tag = name.split(":")
        with open(tar, "rb") as f:
            said = self.good("POST", f"/images/create?fromSrc=-&repo={repo}&tag={tag}", f, 300,
                             "application/x-tar")
        assert "error" not in said, said

    def build(self, folder, name):
        """docker build of a folder with a Dockerfile."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            tar.add(folder, ".")
        said = self.good("POST", f"/build?t={name}&forcerm=1&networkmode=none",
                         packed.getvalue(), 300, "application/x-tar")
        assert "Successfully tagged" in str(said), said

    def network(self, name):
        self.good("POST", "/networks/create",
                  {"Name": name, "Driver": "bridge", "CheckDuplicate": True})
        self.networks.append(name)
        return name


# ---- an image of Berth ----

def libraries(program):
    """(name that is looked for, file) of every library that a program or library loads."""
    out = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=True).stdout
    for line in out.splitlines():
        words = line.split()
        if "=>" in words and len(words) > 2 and words[2].startswith("/"):
            yield words[0], words[2]
        elif words and words[0].startswith("/"):
            yield words[0], words[0]


def berth_image(path, backends=("llama",), also=()):
    """A tar with Berth, backends, their engines, other programs and the libraries of all: a whole
    root file system."""
    # Its memory is limited there, which a sanitizer's shadow does not bear.
    berth = harness.ROOT / "build" / "berth" if harness.SANITIZED else harness.BERTH
    build = berth.parent
    here = "/usr/lib/berth/backends"
    with tarfile.open(path, "w") as tar:
        done = set()

        def add(source, name):
            if name not in done:
                done.add(name)
                tar.add(os.path.realpath(source), name.lstrip("/"), recursive=False)

        def folder(name):
            entry = tarfile.TarInfo(name.lstrip("/"))
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name == "/tmp" else 0o755
            tar.addfile(entry)

        for name in ("/proc", "/sys", "/dev", "/etc", "/tmp", "/usr", "/usr/bin", "/usr/lib"):
            folder(name)
        add(berth, "/usr/bin/berth")
        programs = [berth]
        for backend in backends:
            so = build / "backends" / backend / f"berth-{backend}.so"
            add(so, f"{here}/{backend}/{so.name}")
            programs.append(so)
            for engine in sorted((build / "backends" / backend).iterdir()):
                if engine.is_symlink():
                    for lib in sorted(engine.resolve().glob("*.so*")):
                        add(lib, f"{here}/{backend}/{engine.name}/{lib.name}")
        for program in also:
            add(shutil.which(program), f"/usr/bin/{program}")
            programs.append(shutil.which(program))
        for program in programs:
            for name, file in libraries(program):
                if not file.startswith(str(harness.CACHE)):
                    add(file, name if name.startswith("/") else f"/usr/lib/x86_64-linux-gnu/{name}")
        for top in ("lib", "lib64"):
            if f"/{top}" not in done and not any(n.startswith(f"/{top}/") for n in done):
                link = tarfile.TarInfo(top)
                link.type, link.linkname = tarfile.SYMTYPE, f"usr/{top}"
                tar.addfile(link)
    return path
