"""`berth operator`: names that no namespace has are refused at once, before anybody is asked."""
import subprocess

import pytest

import harness


@pytest.mark.parametrize("flag", ["--namespace", "--base-namespaces"])
@pytest.mark.parametrize("name", ["Models", "a.b", "a/b", "-a", "a-", "a b", "*a", "a" * 64, "../x", "ä"])
def test_a_name_that_no_namespace_has(tmp_path, flag, name):
    given = name if flag == "--namespace" else f"models,{name}"
    # Nobody answers there: it is not asked.
    config = tmp_path / "config"
    config.write_text("apiVersion: v1\nkind: Config\ncurrent-context: c\n"
                      "contexts: [{name: c, context: {cluster: c, user: u}}]\n"
                      "clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\n"
                      "users: [{name: u, user: {token: x}}]\n")
    got = subprocess.run([harness.BERTH, "operator", "--epp-cluster-role", "view", "--kubeconfig", config,
                          f"{flag}={given}"], capture_output=True, text=True, timeout=60 * harness.SLOW)
    assert got.returncode == 2, got
    assert f"{flag} {name}: no namespace has such a name" in got.stderr and "small letters" in got.stderr, got


@pytest.mark.parametrize("flag, says", [
    (["--watch-namespace=models"], "no option --watch-namespace: say --namespace NAME"),
    (["-watch-namespace", "models"], "no option -watch-namespace: say --namespace NAME"),
    (["-v=4"], "no option -v: say --log-level debug"), (["--v", "4"], "no option --v: say --log-level debug"),
    (["--sync-period=10h"], "no option --sync-period: leave it out"),
    (["-zap-devel"], "no option -zap-devel: say --log-level debug"), (["--zap-what=1"], "no option --zap-what: say --log-level"),
    (["-metrics-bind-addres=:1"], "no option -metrics-bind-addres; did you mean --metrics-bind-address?"), (["-x=1"], "no option -x")])
def test_flags_of_other_operators(flag, says):
    got = subprocess.run([harness.BERTH, "operator", "--epp-cluster-role", "view", *flag],
                         capture_output=True, text=True, timeout=30 * harness.SLOW)
    assert got.returncode == 2 and says in got.stderr, got
    assert "did you mean" not in got.stderr or "did you mean" in says, got
    told = subprocess.run([harness.BERTH, "operator", "--help"], capture_output=True, text=True, timeout=30 * harness.SLOW)
    assert "--watch-namespace" in told.stdout and "--sync-period" in told.stdout, told
