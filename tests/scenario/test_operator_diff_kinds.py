"""`generate --diff` in a cluster that lacks a kind: what brings it is said, as the operator says it."""
import subprocess

import harness
from modelservices import ROOT


def test_a_kind_that_is_not_served_is_told_with_what_brings_it(cluster):
    cluster.kubectl("delete", "crd", "leaderworkersets.leaderworkerset.x-k8s.io", "--timeout=150s", "--ignore-not-found")
    sample = ROOT / "deploy" / "modelservice" / "samples" / "multinode"
    done = subprocess.run([harness.BERTH, "modelservice", "generate", "--diff", "-m", sample / "msvc.yaml",
                           "-b", sample / "base.yaml", "--kubeconfig", cluster.kubeconfig, "--namespace", "default"],
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "+++ ServiceAccount/default/deepseek-sa (then)" in done.stdout, done
    assert ("LeaderWorkerSet deepseek-decode: the cluster does not serve leaderworkersets of "
            "leaderworkerset.x-k8s.io/v1: install LeaderWorkerSet (lws.sigs.k8s.io)\n") in done.stderr, done
