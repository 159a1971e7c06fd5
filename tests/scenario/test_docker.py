"""The docker environment against a real daemon that the tests start (dockerd.py)."""
import os
import signal
import subprocess

import pytest

import dockerd
import harness
from harness import wait_until

PROGRAM = harness.BERTH.parent / "test_docker_daemon"


@pytest.fixture(autouse=True)
def nothing_left(docker):
    yield
    wait_until(lambda: docker.containers() == [], 60, "no container is left")


def operations(docker, only=None, network="host"):
    """shimlets/docker/test_daemon.c, which calls each operation as the control plane does."""
    env = dict(os.environ, BERTH_TEST_DOCKER=docker.host, BERTH_TEST_IMAGE=dockerd.IMAGE,
               BERTH_TEST_NETWORK=network, BERTH_TEST_MODEL=str(harness.SMOLLM),
               BERTH_TEST_ENTER=" ".join(docker.enter()))
    r = subprocess.run([PROGRAM, *([only] if only else [])], env=env, capture_output=True,
                       text=True, timeout=800 * harness.SLOW)
    text = r.stdout + r.stderr
    assert r.returncode == 0 and "PASSED" in text, text[-6000:]


SCENES = [
    "rolls_on_the_hosts_network",
    "limits_labels_and_mounts_are_what_was_asked",
    "what_crashes_comes_back_and_what_is_stopped_is_drift",
    "a_crash_loop_is_told_with_the_last_lines",
    "an_adopted_unit_is_not_made_twice",
    "logs_are_told_and_followed",
    "what_does_not_fit_or_is_not_there_is_told_before",
    "a_pull_that_cannot_be_says_what_to_do",
    "a_stranger_with_our_name_is_left_alone",
    "a_fixed_port_of_the_host_is_rolled_over",
    "a_limit_that_was_not_asked_for_is_no_drift",
    "one_that_never_gets_ready_is_restarted",
    "logs_are_followed_through_rollouts",
    "a_language_model_answers_from_its_containers",
]


@pytest.mark.sanitize
@pytest.mark.parametrize("scene", SCENES)
def test_operations(docker, scene):
    operations(docker, scene)


def test_operations_with_published_ports(docker):
    """A network of its own for containers; replicas are reached by ports of this machine."""
    operations(docker, "rolls_on_a_network_with_published_ports", docker.network("berth-test"))


@pytest.mark.sanitize
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_daemon_that_was_restarted(docker, how, tmp_path):
    """Containers come back, and the environment hears events again."""
    at = tmp_path / "at"
    env = dict(os.environ, BERTH_TEST_DOCKER=docker.host, BERTH_TEST_IMAGE=dockerd.IMAGE,
               BERTH_TEST_AT=str(at))
    with subprocess.Popen([PROGRAM, "a_daemon_comes_back"], env=env, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True) as p:
        try:
            wait_until(lambda: at.exists() or p.poll() is not None, 120, "two replicas are ready")
            docker.down(how)
            at.unlink()
            wait_until(lambda: at.exists() or p.poll() is not None, 120, "its absence was noticed")
            docker.up()
            text = p.communicate(timeout=600 * harness.SLOW)[0]
        finally:
            p.kill()
            if docker.process is None:
                docker.up()
        assert p.returncode == 0 and "PASSED" in text, text[-6000:]


def test_the_image_of_berth(docker, tmp_path):
    """deploy/Dockerfile's last stage over an image without a registry: what it makes runs as nobody
    in particular, tells its health and serves."""
    stage = (harness.ROOT / "deploy" / "Dockerfile").read_text().split("\nFROM ")[-1]
    base, stage = stage.split("\n", 1)
    assert base == "debian:12-slim" and "COPY --from=build /out/ /" in stage
    docker.load(dockerd.berth_image(tmp_path / "base.tar", backends=(), also=("bash",)), "base:1")
    context = tmp_path / "context"
    subprocess.run([harness.ROOT / "tools" / "install", harness.BERTH.parent, "/usr"], check=True,
                   cwd=harness.ROOT, env=dict(os.environ, DESTDIR=str(context / "out")),
                   capture_output=True)
    (context / "Dockerfile").write_text(
        "FROM base:1\n" + stage.replace("COPY --from=build /out/ /", "COPY out/usr/bin/ /usr/bin/"))
    docker.build(context, "berth:1")
    config = docker.good("GET", "/images/berth:1/json")["Config"]
    assert config["User"] == "10001:10001" and config["Healthcheck"]["Test"][0] == "CMD"
    port = harness.free_port()
    made = docker.good("POST", "/containers/create?name=berth", {
        "Image": "berth:1", "Cmd": ["serve", "--host=127.0.0.1", f"--port={port}"],
        "Env": [f"BERTH_HEALTH_PORT={port}"],
        "Healthcheck": {"Interval": 500_000_000}, "HostConfig": {"NetworkMode": "host"}})
    try:
        docker.good("POST", f"/containers/{made['Id']}/start")
        state = lambda: docker.good("GET", f"/containers/{made['Id']}/json")["State"]
        wait_until(lambda: state()["Health"]["Status"] == "healthy", 120, "a healthy container")
        pid = state()["Pid"]
        status = subprocess.run([*docker.enter(), "cat", f"/proc/{pid}/status"], check=True,
                                capture_output=True, text=True).stdout
        assert "Uid:\t10001" in status and "Gid:\t10001" in status
    finally:
        docker.good("DELETE", f"/containers/{made['Id']}?force=1&v=1")


def test_a_service_through_the_control_plane(docker):
    """docker_deploy.c: deployed, killed, scaled, a canary, rolled back, deleted."""
    kill = ('for p in /proc/[0-9]*; do [ "$(readlink $p/exe)" = /usr/bin/berth ] && '
            'kill -9 "${p#/proc/}"; done; true')  # of the daemon's process namespace alone
    env = dict(os.environ, BERTH_TEST_DOCKER=docker.host, BERTH_TEST_IMAGE=dockerd.IMAGE,
               BERTH_TEST_MODEL=str(harness.SMOLLM),
               BERTH_TEST_KILL=f"{' '.join(docker.enter())} sh -c '{kill}'")
    r = subprocess.run([PROGRAM.with_name("test_docker_deploy")], env=env, capture_output=True,
                       text=True, timeout=800 * harness.SLOW)
    assert r.returncode == 0 and "PASSED" in r.stdout + r.stderr, (r.stdout + r.stderr)[-6000:]
