"""As whom the Kubernetes shimlet asks: ways to say so, and what is said of those that are refused."""
import json
import stat

import harness
from shimlet_drive import KubeDrive, unit


def test_ways_to_say_who_we_are(cluster, tmp_path):
    d = cluster.dir
    script = tmp_path / "login"
    script.write_text("#!/bin/sh\nprintf '{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":"
                      f"\"ExecCredential\",\"status\":{{\"token\":\"{cluster.tokens['berth']}\"}}}}'\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    token = tmp_path / "token"
    token.write_text(cluster.tokens["berth"] + "\n")
    ways = {
        "certificate": {"client-certificate": str(d / "client.crt"), "client-key": str(d / "client.key")},
        "exec": {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(script)}},
        "file": {"tokenFile": "token"},
    }
    for name, user in ways.items():
        path = tmp_path / f"{name}.config"
        path.write_text(json.dumps(cluster.config_of("berth", **user)))
        with KubeDrive("kubernetes", {}, env={"KUBECONFIG": str(path)}) as drive:
            drive.wait_does("list")
    path = tmp_path / "wrong.config"
    path.write_text(json.dumps(cluster.config_of("berth", token="wrong")))
    with KubeDrive("kubernetes", {"kubeconfig": str(path)}) as drive:
        # As above: what the server says is known once it has.
        answer = harness.wait_until(lambda: "401" in ((a := drive.ask("list", timeout_ms=5000))["error"] or "") and a,
                                    60, "it is refused")
        assert answer["r"] < 0 and "renew" in answer["error"], answer
    # A right that is missing is named by the server, and how to give it by us.
    with KubeDrive("kubernetes", {"kubeconfig": str(cluster.config), "namespace": "kube-none"}) as drive:
        # It waits in vain for what there is.
        answer = harness.wait_until(lambda: (a := drive.ask("apply", unit=unit("nowhere"), timeout_ms=5000)) and (
            "kube-none" in (a["error"] or "")) and a, 60, "the namespace is named")
        assert answer["r"] < 0, answer
