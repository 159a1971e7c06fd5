"""What happens in the midst of a write: a webhook that the real API server asks between its reading of an
object and its writing of the changed one.  What the webhook's owner writes meanwhile makes the first one a
conflict, if it was for one version of the object."""
import contextlib
import http.server
import json
import threading

import harness
import kube_servers

HOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"


class Asked(http.server.BaseHTTPRequestHandler):
    hook, seen = None, None
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = review["request"]
        self.seen.set()
        # What is written here asks this again, as the administrator.
        if request["userInfo"]["username"] == kube_servers.BERTH and not request.get("dryRun"):
            self.hook(request)
        answer = json.dumps({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": {
            "uid": request["uid"], "allowed": True}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def amid_writes(cluster, group, resource, probe, hook):
    """hook(request) runs whenever berth is about to make or change an object of that kind.  probe(): a try of that
    by the administrator, by which it is seen that the hook is asked."""
    seen = threading.Event()
    handler = type("Hook", (Asked,), {"hook": staticmethod(hook), "seen": seen})
    with cluster.serving(handler) as port:
        try:
            cluster.create(HOOKS, {
                "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
                "metadata": {"name": "amid-writes"}, "webhooks": [{
                    "name": "amid.writes.example", "admissionReviewVersions": ["v1"], "sideEffects": "NoneOnDryRun",
                    "timeoutSeconds": 30, "failurePolicy": "Ignore",
                    "rules": [{"apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
                               "resources": [resource]}],
                    "clientConfig": {"url": f"https://127.0.0.1:{port}/",
                                     "caBundle": harness.b64((cluster.dir / "ca.crt").read_bytes())}}]})
            # A webhook is not asked at once.
            harness.wait_until(lambda: probe() and seen.is_set(), 60, "the webhook is asked")
            yield
        finally:
            cluster.api("DELETE", f"{HOOKS}/amid-writes")


def touch(cluster, path):
    """A probe: a change that is not made."""
    return cluster.merge(f"{path}?dryRun=All", {"metadata": {"annotations": {"tried": "1"}}})
