"""`berth operator` before an API server that answers some questions late, or never: the rest goes on."""
import contextlib
import http.client
import http.server
import json
import ssl
import threading
import time

import pytest

import harness
import kube_servers
from modelservices import DEPLOYMENTS, SERVICES, condition, service, wait_ready, with_base

LLM = {"replicas": 1, "containers": [{"name": "llm", "image": "a"}]}
CALL_S = 30  # so long a call is waited for
HOP_BY_HOP = {"host", "connection", "content-length", "transfer-encoding"}


class Held(http.server.BaseHTTPRequestHandler):
    """Hands on to the real API server; what is asked for by a path with that part waits until it is let."""
    protocol_version = "HTTP/1.1"
    cluster, part, let, asked = None, None, None, None

    def hand_on(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))) or None
        if self.part in self.path:
            self.asked.append(time.monotonic())
            self.let.wait()
        c = http.client.HTTPSConnection("127.0.0.1", self.cluster.port, context=ssl.create_default_context(
            cafile=self.cluster.dir / "ca.crt"))
        with contextlib.closing(c), contextlib.suppress(OSError, http.client.HTTPException):  # either of the two goes
            c.request(self.command, self.path, body,
                      {k: v for k, v in self.headers.items() if k.lower() not in HOP_BY_HOP})
            answer = c.getresponse()
            self.send_response(answer.status)
            for k, v in answer.getheaders():
                if k.lower() not in HOP_BY_HOP:
                    self.send_header(k, v)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            while some := answer.read1(65536):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(some), some))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")
            return
        self.close_connection = True

    do_GET = do_POST = do_PATCH = do_DELETE = hand_on

    def log_message(self, *_):
        pass


@pytest.fixture
def hold(prepared, tmp_path):
    """hold(part): (a kubeconfig by which what has that part in its path is not answered, an event that ends that,
    when it was asked for)."""
    with contextlib.ExitStack() as ends:
        def begin(part):
            let, asked = threading.Event(), []
            handler = type("Handler", (Held,), {"cluster": prepared, "part": part, "let": let, "asked": asked})
            port = ends.enter_context(prepared.serving(handler))
            ends.callback(let.set)
            config = prepared.config_of(kube_servers.BERTH)
            config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"
            path = tmp_path / "held.kubeconfig"
            path.write_text(json.dumps(config))
            return path, let, asked

        yield begin


def test_services_do_not_wait_for_long_for_the_role_of_pickers(prepared, hold, make_operator):
    config, let, asked = hold("/clusterroles/picks-nothing")
    o = make_operator({"--epp-cluster-role": "picks-nothing", "--kubeconfig": config})
    prepared.create(SERVICES, service("svc", decode=LLM, **with_base(prepared)))
    harness.wait_until(lambda: asked, 90, "it asks whether there is the role")
    harness.wait_until(lambda: prepared.exists(f"{DEPLOYMENTS}/svc-decode"), 60, "it goes on without an answer")
    wait_ready(prepared, "svc")
    assert "whether there is a ClusterRole picks-nothing is not known yet" in o.said(), o.said()
    # It is asked for still; and what is found out is told of those who are ready.
    before = len(asked)
    harness.wait_until(lambda: len(asked) > before, 90, "it asks again")
    let.set()
    harness.wait_until(lambda: condition(prepared, "svc", "ConfigValid")["reason"] == "Warnings", 90, "it is told")
    assert "there is no ClusterRole picks-nothing" in condition(prepared, "svc", "ConfigValid")["message"]


def test_others_do_not_wait_while_it_is_asked_whether_a_kind_is_served(prepared, hold, make_operator):
    config, _, asked = hold("/apis/inference.networking.k8s.io/v1")
    make_operator({"--kubeconfig": config})
    base = with_base(prepared, inferencePool="spec: {targetPortNumber: 8000}\n")
    for i in range(6):  # more than there are threads
        prepared.create(SERVICES, service(f"pools{i}", f"org/pools{i}", **base))

    def is_made_meanwhile(name, question):
        """Before the question of that number is given up?"""
        harness.wait_until(lambda: len(asked) > question, 90, "it is asked")
        prepared.create(SERVICES, service(name, f"org/{name}", decode=LLM))
        harness.wait_until(lambda: prepared.exists(f"{DEPLOYMENTS}/{name}-decode"), 60, "it is made")
        return time.monotonic() - asked[question] < CALL_S

    # Whoever waited would be late each time; a machine that is slow for half a minute is so once.
    assert any(is_made_meanwhile(f"svc{i}", len(asked) if i > 0 else 0) for i in range(3)), \
        "not before the question was given up"
    assert not prepared.exists(f"{DEPLOYMENTS}/pools0-decode")
    wait_ready(prepared, "svc0")
