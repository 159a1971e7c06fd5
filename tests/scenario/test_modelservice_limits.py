"""`berth modelservice generate` refuses what the API server refuses of a ModelService: the same lists as those that
test_modelservice_crd.py gives to a real one.  And limits that the definition has where Kubernetes has none."""
import json
import subprocess

import pytest

import harness
import test_modelservice_crd as crd
from test_modelservice_crd import kube  # noqa: F401 (a fixture)


def rows(test):
    return test.pytestmark[0].args[1]


def generate(folder, body, *args):
    (folder / "msvc.yaml").write_text(json.dumps(body, indent=1))
    (folder / "base.yaml").write_text(json.dumps({"data": {"decodeHPA": "spec: {maxReplicas: 9}"}}))
    return subprocess.run([harness.BERTH, "modelservice", "generate", "-m", "msvc.yaml", "-b", "base.yaml", *args],
                          cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("more", rows(crd.test_it_takes), ids=str)
def test_what_it_takes_is_printed(tmp_path, more):
    done = generate(tmp_path, crd.service(**more))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("more, field, why", rows(crd.test_it_refuses), ids=str)
def test_what_it_refuses_is_told_with_its_place(tmp_path, more, field, why):
    done = generate(tmp_path, crd.service(**more), "-o", "yaml")
    assert done.returncode == 1 and done.stdout == "", done
    told = [line for line in done.stderr.splitlines() if line.startswith("msvc.yaml:") and "warning" not in line]
    # Of a member it may be told of the object, and of an object what of it is the cause.
    of, _, member = field.rpartition(".")
    assert any(f": {field}: " in line or f": {field}." in line or f": {of}: {member} is " in line
               for line in told), done.stderr
    # It is told, too, where nothing is to be applied.
    assert of in generate(tmp_path, crd.service(**more)).stderr


@pytest.mark.parametrize("drop", ["apiVersion", "kind", "metadata", "routing", "modelArtifacts"])
def test_what_must_be_there(tmp_path, drop):
    body = crd.service()
    del (body if drop in body else body["spec"])[drop]
    done = generate(tmp_path, body, "-o", "yaml")
    assert done.returncode == 1 and f"{drop}" in done.stderr, done


MOST = (1 << 31) - 1


@pytest.mark.parametrize("field", [
    "routing.ports[0].port", "decode.replicas", "endpointPicker.replicas", "prefill.parallelism.tensor",
    "decode.autoscaling.minReplicas", "decode.autoscaling.maxReplicas",
    "decode.autoscaling.targetCPUUtilizationPercentage"])
def test_whole_numbers_have_32_bits(kube, field):  # noqa: F811
    """A Deployment with 4294967297 replicas would have 1."""
    for value, want in ((MOST, 201), (MOST + 1, 422), ((1 << 32) + 1, 422)):
        more = value
        for step in reversed(field.split(".")):
            more = {step: more} if step != "ports[0]" else {"ports": [{"name": "p", **more}]}
        status, got = kube.api("POST", f"{crd.PATH}?dryRun=All&fieldValidation=Strict", crd.service(**more))
        assert status == want, got
        if want == 422:
            assert crd.said(got) == {f"spec.{field}": [
                f"Invalid value: {value}: spec.{field} in body should be less than or equal to {MOST}"]}, got


def test_a_problem_is_one_line_whatever_the_file_says(tmp_path):
    done = generate(tmp_path, crd.service(uri="x\r\nfake.yaml:1:1: boo"))
    assert done.returncode == 1 and "\\r\\nfake.yaml" in done.stderr, done.stderr
    assert all(line.startswith(("msvc.yaml:", "base.yaml:", "berth")) for line in done.stderr.splitlines()), done.stderr


@pytest.mark.parametrize("flag, name", [
    ("--pd-pull-secrets", "B_"), ("--epp-pull-secrets", "a..b"), ("--epp-cluster-role", "Foo Bar/x"),
    ("--epp-cluster-role", ".."), ("--epp-cluster-role", "50%")])
def test_a_flag_with_a_name_that_nothing_has_is_a_usage_error(tmp_path, flag, name):
    value = f"a,,{name}" if "secrets" in flag else name
    operator = ["operator", "--epp-cluster-role", "view", "--kubeconfig", "none"]
    for done in (generate(tmp_path, crd.service(), flag, value, "-o", "yaml"),
                 generate(tmp_path, crd.service(), flag, value, "--diff"),
                 subprocess.run([harness.BERTH, *operator, flag, value], capture_output=True, text=True)):
        assert done.returncode == 2 and done.stdout == "", done
        assert f"{flag} {name}: no " in done.stderr and "--help" in done.stderr, done.stderr


def test_a_file_without_its_option_is_told(tmp_path):
    """llm-d's program reads over it."""
    said = "'base.yaml' is not read: files are named by -m and -b"
    done = generate(tmp_path, crd.service(), "base.yaml")
    assert done.returncode == 0 and f"warning: {said}" in done.stderr, done
    for more in (["-o", "yaml"], ["-o", "json"], ["--strict"], ["--diff"]):
        done = generate(tmp_path, crd.service(), "base.yaml", *more)
        assert done.returncode == 2 and said in done.stderr and done.stdout == "", done
