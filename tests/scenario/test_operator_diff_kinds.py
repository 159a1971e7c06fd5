"""`generate --diff` in a cluster that lacks a kind: what brings it is said, as the operator says it."""
import subprocess

import harness
from gateway_kinds import wait_untold
from modelservices import ROOT


def test_a_kind_that_is_not_served_is_told_with_what_brings_it(cluster):
    cluster.kubectl("delete", "crd", "leaderworkersets.leaderworkerset.x-k8s.io", "--timeout=150s", "--ignore-not-found")
    wait_untold(cluster, "leaderworkerset.x-k8s.io/v1", "leaderworkersets")
    sample = ROOT / "deploy" / "modelservice" / "samples" / "multinode"
    done = subprocess.run([harness.BERTH, "modelservice", "generate", "--diff", "-m", sample / "msvc.yaml",
                           "-b", sample / "base.yaml", "--kubeconfig", cluster.kubeconfig, "--namespace", "default"],
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "+++ ServiceAccount/default/deepseek-sa (then)" in done.stdout, done
    assert ("LeaderWorkerSet deepseek-decode: the cluster does not serve leaderworkersets of "
            "leaderworkerset.x-k8s.io/v1: install LeaderWorkerSet (lws.sigs.k8s.io)\n") in done.stderr, done


def test_of_two_generations_both_are_named_when_there_is_neither(cluster, tmp_path):
    for group, version in (("inference.networking.k8s.io", "v1"), ("inference.networking.x-k8s.io", "v1alpha2")):
        cluster.kubectl("delete", "crd", f"inferencepools.{group}", "--timeout=150s", "--ignore-not-found")
        wait_untold(cluster, f"{group}/{version}", "inferencepools")
    (tmp_path / "m.yaml").write_text(
        "apiVersion: llm-d.ai/v1alpha1\nkind: ModelService\nmetadata: {name: opt}\nspec:\n  routing: {modelName: m}\n"
        "  modelArtifacts: {uri: 'hf://a/b'}\n  decode: {containers: [{name: c, image: i}]}\n")
    (tmp_path / "b.yaml").write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: base}\ndata:\n"
        "  inferencePool: 'spec: {targetPortNumber: 8000, extensionRef: {name: e}}'\n")
    done = subprocess.run([harness.BERTH, "modelservice", "generate", "--diff", "-m", tmp_path / "m.yaml",
                           "-b", tmp_path / "b.yaml", "--kubeconfig", cluster.kubeconfig, "--namespace", "default"],
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done
    assert ("InferencePool opt-inference-pool: the cluster serves neither inferencepools of inference.networking.k8s.io/v1 "
            "nor inferencepools of inference.networking.x-k8s.io/v1alpha2: install the Gateway API Inference Extension, "
            "of either generation\n") in done.stderr, done
