"""A Kubernetes cluster on loopback without machines: etcd, API server, controller manager and
scheduler, and kwok, which plays the kubelets.  All are the real programs (tools/setup kubernetes).

Every answer that the API server gives is in its audit log: calls() counts who asked what.
"""
import collections
import contextlib
import http.client
import http.server
import json
import os
import pathlib
import random
import secrets
import select
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time

import harness

PROGRAMS = harness.CACHE / "kubernetes"
ADMIN, BERTH = "admin", "berth"

# What berth needs to be allowed in its namespace, and of machines, and nothing else: docs/kubernetes.md
# has the same.
ROLE = [
    {"apiGroups": ["apps"], "resources": ["deployments", "statefulsets"],
     "verbs": ["get", "list", "watch", "create", "patch", "delete"]},
    {"apiGroups": [""], "resources": ["services"],
     "verbs": ["get", "list", "watch", "create", "patch", "delete"]},
    {"apiGroups": ["autoscaling"], "resources": ["horizontalpodautoscalers"],
     "verbs": ["get", "list", "create", "patch", "delete"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
    {"apiGroups": [""], "resources": ["pods/eviction"], "verbs": ["create"]},
]
CLUSTER_ROLE = [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "patch"]}]


def lasting_ports(n):
    """n free ports of 127.0.0.1, of which no outgoing connection is given one (those begin at 32768), nor a server of
    other tests (harness.free_ports()): whoever listens there may go and finds it free again."""
    found = []
    with contextlib.ExitStack() as stack:
        while len(found) < n:
            s = stack.enter_context(socket.socket())
            port = random.randrange(10000, 16384)
            with contextlib.suppress(OSError):  # it is somebody's
                s.bind(("127.0.0.1", port))
                found.append(port)
    return found


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128  # of 5 at once more would wait for seconds
    daemon_threads = True


def openssl(*args, cwd):
    subprocess.run(["openssl", *args], cwd=cwd, check=True, capture_output=True)


class Kubelet(http.server.BaseHTTPRequestHandler):
    """What of a kubelet the API server asks for a pod's log."""
    protocol_version = "HTTP/1.1"
    ended = set()  # pods whose containers have ended: whoever follows their logs is told

    def do_GET(self):
        path, _, query = self.path.partition("?")
        pod = path.split("/")[3]  # /containerLogs/NAMESPACE/POD/CONTAINER
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        lines = [] if "sinceTime=" in query else [f"{pod} begins"]  # which was before
        if lines and "follow=true" in query:
            lines.append(f"{pod} goes on")
        for line in lines:
            text = line.encode() + b"\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(text), text))
            self.wfile.flush()
        if "follow=true" in query:
            while True:
                if select.select([self.connection], [], [], 0.05)[0]:
                    return  # the API server goes: of the end it hears where it asks anew
                if pod in self.ended:
                    break
            self.ended.discard(pod)
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_):
        pass


class Cluster:
    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="berth-kube-"))
        self.processes = {}
        (self.etcd_port, self.peer_port, self.port, self.kcm_port, self.sched_port,
         self.kwok_port) = lasting_ports(6)
        self.tokens = {ADMIN: secrets.token_hex(16), BERTH: secrets.token_hex(16)}
        self.audit = self.dir / "audit.log"
        self.kubeconfig = self.dir / "kubeconfig"  # of the administrator
        self.config = self.dir / "berth.kubeconfig"  # of berth, with its few rights

    # ---- begin and end ----

    def start(self):
        self.make_keys()
        self.make_files()
        etcd = f"http://127.0.0.1:{self.etcd_port}"
        self.spawn("etcd", "--data-dir", self.dir / "etcd", "--listen-client-urls", etcd,
                   "--advertise-client-urls", etcd, "--unsafe-no-fsync", "--log-level", "warn",
                   "--listen-peer-urls", f"http://127.0.0.1:{self.peer_port}",
                   "--initial-advertise-peer-urls", f"http://127.0.0.1:{self.peer_port}",
                   "--initial-cluster", f"default=http://127.0.0.1:{self.peer_port}")
        # The API server gives up one that does not answer.
        harness.wait_until(self.has_etcd, 120, "etcd")
        self.start_api()
        # One that is ready may be making it yet.
        harness.wait_until(lambda: self.exists("/api/v1/namespaces/default"), 120, "the default namespace")
        self.allow_berth()
        self.start_others()
        harness.wait_until(lambda: self.exists("/api/v1/namespaces/default/serviceaccounts/default"),
                           120, "the default service account")
        return self

    def start_others(self):
        """What works for the API server, and asks it."""
        self.spawn("kube-controller-manager", "--kubeconfig", self.kubeconfig, "--bind-address",
                   "127.0.0.1", "--secure-port", str(self.kcm_port), "--kube-api-qps=2000",
                   "--kube-api-burst=2000",  # of its own accord it asks twenty times a second
                   "--cert-dir",
                   self.dir / "certs-kcm", "--leader-elect=false",
                   # kwok does not make pods ready again that are taken for lost while it is away.
                   "--node-monitor-grace-period=1h",
                   "--service-account-private-key-file", self.dir / "sa.key", "--root-ca-file",
                   self.dir / "ca.crt", "--use-service-account-credentials=true")
        self.spawn("kube-scheduler", "--kubeconfig", self.kubeconfig, "--bind-address", "127.0.0.1",
                   "--secure-port", str(self.sched_port), "--cert-dir", self.dir / "certs-sched",
                   "--leader-elect=false")
        self.spawn("kwok", "--kubeconfig", self.kubeconfig, "--manage-all-nodes=false",
                   "--manage-nodes-with-label-selector=type=kwok", "--node-lease-duration-seconds=40",
                   "--server-address", f"127.0.0.1:{self.kwok_port}")

    def stop_others(self):
        for name in ("kube-controller-manager", "kube-scheduler", "kwok"):
            self.end(name, signal.SIGKILL)

    def finish(self):
        for name in list(self.processes):
            self.end(name, signal.SIGKILL)  # nothing of it is kept, and a polite end takes a minute
        shutil.rmtree(self.dir, ignore_errors=True)

    def spawn(self, name, *args):
        with open(self.dir / f"{name}.log", "ab") as log:
            self.processes[name] = subprocess.Popen(
                [PROGRAMS / name, *map(str, args)], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                start_new_session=True, cwd=self.dir)

    def end(self, name, how=signal.SIGTERM):
        process = self.processes.pop(name, None)
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(20 * harness.SLOW)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def start_api(self):
        d = self.dir
        self.spawn("kube-apiserver", "--etcd-servers", f"http://127.0.0.1:{self.etcd_port}",
                   "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--secure-port",
                   self.port, "--cert-dir", d / "certs", "--tls-cert-file", d / "tls.crt",
                   "--tls-private-key-file", d / "tls.key", "--client-ca-file", d / "ca.crt",
                   "--token-auth-file", d / "tokens.csv", "--authorization-mode=RBAC,Node",
                   "--service-cluster-ip-range=10.96.0.0/16",
                   "--service-account-issuer=https://kubernetes.default.svc",
                   "--service-account-key-file", d / "sa.pub", "--service-account-signing-key-file",
                   d / "sa.key", "--endpoint-reconciler-type=none", "--audit-policy-file",
                   d / "audit.yaml", "--audit-log-path", self.audit, "--audit-log-mode=blocking",
                   "--audit-log-maxsize=100000")  # MiB; its lines are counted, so it begins no other file
        try:
            harness.wait_until(self.is_ready, 180, "the API server")
        except AssertionError as e:
            raise AssertionError(f"{e}: {self.log('kube-apiserver')}") from e

    def stop_api(self):
        self.end("kube-apiserver", signal.SIGKILL)

    def is_ready(self):
        assert self.processes["kube-apiserver"].poll() is None, self.log("kube-apiserver")
        with contextlib.suppress(OSError, http.client.HTTPException):
            if self.api("GET", "/readyz", text=True)[0] == 200:
                return True
        time.sleep(0.1)  # each try is a TLS handshake
        return False

    def has_etcd(self):
        assert self.processes["etcd"].poll() is None, self.log("etcd")
        c = http.client.HTTPConnection("127.0.0.1", self.etcd_port, timeout=10)
        with contextlib.closing(c), contextlib.suppress(OSError, http.client.HTTPException):
            c.request("GET", "/health")
            return c.getresponse().status == 200
        time.sleep(0.1)
        return False

    def log(self, name):
        path = self.dir / f"{name}.log"
        return path.read_text(errors="replace")[-2000:] if path.exists() else ""

    # ---- what the servers read ----

    def make_keys(self):
        d = self.dir
        ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        openssl("genrsa", "-out", "sa.key", "2048", cwd=d)
        openssl("rsa", "-in", "sa.key", "-pubout", "-out", "sa.pub", cwd=d)
        openssl("req", "-x509", *ec, "-days", "2", "-subj", "/CN=test-authority", "-keyout", "ca.key",
                "-out", "ca.crt", cwd=d)
        (d / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:kubernetes.default.svc\n")
        for name, subject, more in [("tls", "/CN=kube-apiserver", ["-extfile", "names"]),
                                    ("client", f"/CN={BERTH}", [])]:
            openssl("req", *ec, "-subj", subject, "-keyout", f"{name}.key", "-out", f"{name}.csr",
                    cwd=d)
            openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key",
                    "-CAcreateserial", "-days", "2", *more, "-out", f"{name}.crt", cwd=d)

    def make_files(self):
        d = self.dir
        (d / "tokens.csv").write_text(f'{self.tokens[ADMIN]},{ADMIN},1,"system:masters"\n'
                                      f"{self.tokens[BERTH]},{BERTH},2\n")
        (d / "audit.yaml").write_text(json.dumps({
            "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
            "rules": [{"level": "Metadata", "users": [BERTH]}, {"level": "None"}]}))
        self.kubeconfig.write_text(json.dumps(self.config_of(ADMIN)))
        self.config.write_text(json.dumps(self.config_of(BERTH)))

    def config_of(self, user, **credentials):
        """A kubeconfig as an object, with the user's token unless other credentials are given."""
        return {
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {
                "server": f"https://127.0.0.1:{self.port}",
                "certificate-authority": str(self.dir / "ca.crt")}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
            "users": [{"name": user, "user": credentials or {"token": self.tokens[user]}}],
        }

    def allow_berth(self):
        group = "rbac.authorization.k8s.io"
        for kind, where, rules in (("Role", "/namespaces/default", ROLE),
                                   ("ClusterRole", "", CLUSTER_ROLE)):
            path = f"/apis/{group}/v1{where}/{kind.lower()}"
            self.create(f"{path}s", {"apiVersion": f"{group}/v1", "kind": kind,
                                     "metadata": {"name": "berth"}, "rules": rules})
            self.create(f"{path}bindings", {
                "apiVersion": f"{group}/v1", "kind": f"{kind}Binding", "metadata": {"name": "berth"},
                "roleRef": {"apiGroup": group, "kind": kind, "name": "berth"},
                "subjects": [{"kind": "User", "name": BERTH, "apiGroup": group}]})

    # ---- asking ----

    def api(self, method, path, body=None, text=False, content_type="application/json", accept="application/json"):
        """(status, answer) as the administrator.  As clients do, it asks again where that is too early: so answers a
        server that lists what it serves since a moment ago."""
        def answer():
            got = self.ask(method, path, body, text, content_type, accept)
            if got[0] == 429:
                time.sleep(0.1)
            return got[0] != 429 and got

        return harness.wait_until(answer, 60, f"an answer to {method} {path}")

    def ask(self, method, path, body, text, content_type, accept):
        """One call."""
        context = ssl.create_default_context(cafile=self.dir / "ca.crt")
        c = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60 * harness.SLOW,
                                        context=context)
        with contextlib.closing(c):
            c.request(method, path, json.dumps(body) if body is not None else None,
                      {"Authorization": f"Bearer {self.tokens[ADMIN]}", "Content-Type": content_type,
                       "Accept": accept})
            answer = c.getresponse()
            got = answer.read().decode()
        if not text and answer.headers.get_content_type() == "text/plain":
            return answer.status, {"message": got}  # of a group that is not served, say
        return answer.status, got if text else json.loads(got)

    def get(self, path):
        status, body = self.api("GET", path)
        assert status == 200, body
        return body

    def exists(self, path):
        return self.api("GET", path)[0] == 200

    def create(self, path, body):
        status, got = self.api("POST", path, body)
        assert status == 201, got
        return got

    def merge(self, path, patch):
        status, got = self.api("PATCH", path, patch, content_type="application/merge-patch+json")
        assert status == 200, got
        return got

    def objects(self, path):
        return self.get(path)["items"]

    def kubectl(self, *args):
        """kubectl's output, as the administrator."""
        return subprocess.run(["kubectl", "--kubeconfig", self.kubeconfig, *args], check=True, text=True,
                              capture_output=True, timeout=540 * harness.SLOW).stdout

    def add_node(self, name, gpus=0, cpu="32", memory="256Gi", product=None, address="10.0.0.7",
                 taints=()):
        """A machine that kwok plays."""
        have = {"cpu": cpu, "memory": memory, "pods": "500"}
        if gpus:
            have["nvidia.com/gpu"] = str(gpus)
        labels = {"type": "kwok", "kubernetes.io/hostname": name}
        if product:
            labels["nvidia.com/gpu.product"] = product
        self.create("/api/v1/nodes", {
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels},
            "spec": {"taints": list(taints)},
            "status": {"allocatable": have, "capacity": have,
                       "addresses": [{"type": "InternalIP", "address": address}]}})

    def kubelet(self):
        """The port of what gives pods' logs, for a machine's daemonEndpoints."""
        return self.serving(Kubelet)

    @contextlib.contextmanager
    def serving(self, handler):
        """The port of a server that the API server may ask, by TLS."""
        server = Server(("127.0.0.1", 0), handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.dir / "tls.crt", self.dir / "tls.key")
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def audited(self, since=0):
        """What berth asked, from the audit log's line `since` on; a line that is being written is left out."""
        whole = self.audit.read_bytes().rpartition(b"\n")[0] if self.audit.exists() else b""
        return [json.loads(line) for line in whole.splitlines()[since:]]

    def calls(self, since=0):
        """How often berth asked what: {(verb, resource): n}, from the audit log's line `since` on."""
        counts = collections.Counter()
        for event in self.audited(since):
            ref = event.get("objectRef", {})
            # What lasts is told of when it begins and when it ends: it counts when it begins.
            lasts = event["verb"] == "watch" or ref.get("subresource") == "log"
            if lasts and event["stage"] != "ResponseStarted":
                continue
            name = ref.get("resource", event["requestURI"].split("?")[0])
            counts[event["verb"], name + ("/" + ref["subresource"] if "subresource" in ref else "")] += 1
        return counts

    def audit_lines(self):
        return self.audit.read_bytes().count(b"\n") if self.audit.exists() else 0

    def memory(self, name):
        """Resident MiB of one server."""
        with open(f"/proc/{self.processes[name].pid}/statm") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def missing():
    return [p for p in ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok")
            if not (PROGRAMS / p).exists()]


if __name__ == "__main__":  # a cluster to try things on: ends with Enter
    begin = time.monotonic()
    cluster = Cluster()
    try:
        cluster.start()
        cluster.add_node("node-a", gpus=8)
        print(f"ready in {time.monotonic() - begin:.1f} s: export KUBECONFIG={cluster.config}")
        print(f"  as the administrator: {cluster.kubeconfig}")
        input()
    finally:
        cluster.finish()
