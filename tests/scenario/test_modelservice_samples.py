"""deploy/modelservice/samples: what a newcomer begins with works, and a real API server takes all of it."""
import json
import os
import shutil
import subprocess

import pytest
import yaml

import harness
from modelservices import SPACE, prepared  # noqa: F401
from test_cli_pull import files  # noqa: F401

SAMPLES = harness.ROOT / "deploy" / "modelservice" / "samples"
BASES = {"pvc": "simple", "oci": "cpu", "autoscaling": "cpu"}  # of others: their own
NAMES = sorted(p.name for p in SAMPLES.iterdir() if p.is_dir())
# What a cluster has without anything installed; the rest is said in the README.
PLAIN = {"ConfigMap", "Deployment", "HorizontalPodAutoscaler", "RoleBinding", "Service", "ServiceAccount"}
MORE = {"prefill-decode": {"HTTPRoute", "InferenceObjective", "InferencePool"}, "multinode": {"LeaderWorkerSet"}}


def printed(name, *flags):
    args = [harness.BERTH, "modelservice", "generate", "--strict", "-m", SAMPLES / name / "msvc.yaml",
            "-b", SAMPLES / BASES.get(name, name) / "base.yaml", "-o", "yaml", *flags]
    if name == "prefill-decode":
        args += ["--epp-cluster-role", "modelservice-epp"]
    done = subprocess.run(args, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def generate(name, *flags):
    return list(yaml.safe_load_all(printed(name, *flags)))


def test_the_readme_tells_of_each():
    text = (SAMPLES / "README.md").read_text()
    assert [name for name in NAMES if f"[{name}]({name})" not in text] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_is_without_warnings_and_is_accepted(prepared, tmp_path, name):  # noqa: F811
    made = generate(name)
    assert {o["kind"] for o in made} - PLAIN == MORE.get(name, set())
    assert not any("<no value>" in str(o) or "{{" in str(o) for o in made)
    for file in sorted((SAMPLES / name).glob("*.yaml")):
        prepared.kubectl("apply", "--server-side", "--dry-run=server", "-n", SPACE, "-f", file)
    text = printed(name, "-o", "json")  # the same, laid out as kubectl and jq lay it out
    assert json.loads(text)["items"] == made and text == json.dumps(json.loads(text), indent=2, ensure_ascii=False) + "\n"
    stream = tmp_path / "made.yaml"
    stream.write_text(yaml.safe_dump_all([o for o in made if o["kind"] in PLAIN]))
    prepared.kubectl("apply", "--server-side", "--dry-run=server", "-n", SPACE, "-f", stream)


def test_the_first_one_serves(files, tmp_path):  # noqa: F811
    """Its containers' own command lines, with a folder for their volume and a hub for Hugging Face."""
    pod = next(o for o in generate("cpu") if o["kind"] == "Deployment")["spec"]["template"]["spec"]
    volume = tmp_path / "model-cache"
    volume.mkdir()
    source = pod["initContainers"][0]["args"][1].removeprefix("hf://")
    owner, repo, file = source.split("/")
    at = files.root / owner / repo / "resolve" / "main"
    at.mkdir(parents=True)
    shutil.copy(harness.SMOLLM, at / file)
    env = {**os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{files.server_port}", "HOME": str(tmp_path)}

    def args_of(container):
        return [a.replace("/model-cache", str(volume)) for a in container["args"]]

    subprocess.run([harness.BERTH, *args_of(pod["initContainers"][0])], check=True, env=env, cwd=tmp_path, timeout=360)
    port = harness.free_port()
    probed = pod["containers"][0]
    argv = [str(harness.BERTH)] + [a.replace("--host=0.0.0.0", "--host=127.0.0.1").replace("--port=8000", f"--port={port}")
                                   for a in args_of(probed)]
    server = harness.Server(argv=argv, port=port, env={"BERTH_STATE_DIR": "none"})
    try:
        server.start(seconds=120)
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            harness.wait_until(lambda: server.get(probed[probe]["httpGet"]["path"]).status == 200, 60, probe)  # noqa: B023
        answer = server.post("/v1/chat/completions", {"model": "qwen", "max_tokens": 4,
                                                      "messages": [{"role": "user", "content": "Hi"}]}, timeout=180)
        assert answer.status == 200, answer
        server.finish()
    finally:
        server.remove()
