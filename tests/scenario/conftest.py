"""Fixtures: one server with the real models for the whole run, and small ones with echo models."""
import pathlib
import signal
import subprocess

import pytest

import dockerd
import harness
import kube_servers
from modelservices import make_operator, operator, prepared  # noqa: F401: fixtures


def pytest_configure(config):
    # A shell's background job ignores it, and so would every program that is interrupted here.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    missing = [p for p in (harness.BERTH, harness.SMOLLM, harness.MINILM, harness.DIGITS)
               if not pathlib.Path(p).exists()]
    if missing:
        raise pytest.UsageError(f"missing: {', '.join(map(str, missing))}; run make and tools/setup")


def pytest_collection_modifyitems(items):
    # Each wait on a cluster ends by itself.  On a machine that is busy their sum may be beyond what a
    # test has without one: its servers' start, a garbage collector that was without an API server.
    for item in items:
        if "cluster" in item.fixturenames and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(1200 * harness.SLOW))


@pytest.fixture(scope="session")
def models_server():
    """SmolLM2, MiniLM and digits, loaded once.  Tests must leave these models as they are."""
    server = harness.Server()
    with server:
        # One thread for each: engines that spin against each other lose nine tenths of their speed.
        server.register("smollm2", "llama", harness.SMOLLM, {"threads": 1}, wait=False)
        server.register("minilm", "llama", harness.MINILM, {"threads": 1}, wait=False)
        server.register("digits", "onnx", harness.DIGITS, wait=False)
        for name in ("smollm2", "minilm", "digits"):
            server.wait_model(name)
        yield server
        assert server.alive, server.log()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """(certificate, key) for 127.0.0.1 and localhost, made by the openssl program."""
    d = tmp_path_factory.mktemp("tls")
    cert, key = d / "cert.pem", d / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", cert, "-days",
                    "2", "-subj", "/CN=localhost", "-addext",
                    "subjectAltName=DNS:localhost,IP:127.0.0.1"], check=True, capture_output=True)
    return cert, key


@pytest.fixture(scope="module")
def docker(tmp_path_factory):
    """A Docker daemon with an image of Berth in it.  That none can run here is a failure."""
    try:
        d = dockerd.Dockerd().start()
    except dockerd.CannotRun as why:
        pytest.fail(f"no Docker daemon can run here; nothing of shimlets/docker is tested: {why}")
    try:
        tar = dockerd.berth_image(tmp_path_factory.mktemp("image") / "berth.tar",
                                  backends=("llama", "echo"))
        d.load(tar, dockerd.IMAGE)
        yield d
    finally:
        d.stop()


@pytest.fixture(scope="session")
def cluster():
    """A real API server, controller manager and scheduler with two simulated machines."""
    missing = kube_servers.missing()
    assert not missing, f"missing: {missing}; run tools/setup kubernetes"
    c = kube_servers.Cluster()
    try:
        c.start()
        c.add_node("node-a", gpus=8, product="NVIDIA-H20")
        c.add_node("node-b", gpus=8, product="NVIDIA-A100-SXM4-80GB")
        yield c
    finally:
        c.finish()


@pytest.fixture
def logging_node(cluster):
    """A machine of whose kubelet there is what logs need; its pods neither start nor end."""
    with cluster.kubelet() as port:
        have = {"cpu": "8", "memory": "8Gi", "pods": "50"}
        cluster.create("/api/v1/nodes", {
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": "logging", "labels": {"logging": "yes"}},
            "spec": {"taints": [{"key": "logging", "effect": "NoSchedule"}]},
            "status": {"allocatable": have, "capacity": have,
                       "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
                       "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}})
        yield kube_servers.Kubelet
    cluster.api("DELETE", "/api/v1/nodes/logging")


@pytest.fixture
def make_server():
    """make_server(*args, **kw): a started server that is stopped and removed after the test."""
    made = []

    def make(*args, start=True, **kw):
        server = harness.Server(*args, **kw)
        made.append(server)
        return server.start() if start else server

    yield make
    try:
        for server in made:
            server.finish()
    finally:
        for server in made:
            server.remove()


@pytest.fixture
def echo(make_server):
    """A server with one echo model, "echo", that answers at once."""
    server = make_server()
    server.register("echo")
    return server
