"""Services on the command line, as a person and as a script use it."""
import functools
import json
import os
import pathlib
import pwd
import re
import signal
import subprocess

import pytest

import harness
import test_cli
from services import STEPS

berth, ok = (functools.partial(f, timeout=240) for f in (test_cli.berth, test_cli.ok))  # they wait for services
COMMANDS = ["deploy", "services", "describe", "logs", "update", "scale", "rollback", "promote", "weight", "retry",
            "delete", "events", "plugins", "node"]
SCRIPTED = ["--shimlet", "shimmy", "modelFile=/tmp"]


@pytest.fixture(scope="module")
def server():
    with harness.Server() as s:
        yield s
        for one in s.get("/api/v1/modserv").json["data"]:
            s.delete(f"/api/v1/modserv/{one['serviceId']}")


def deploy(server, name, *words, **kw):
    return ok("deploy", *SCRIPTED, f"modelName={name}", *words, server=server, **kw)


def described(server, name):
    return json.loads(ok("describe", name, "--json", server=server))


@pytest.mark.parametrize("command", COMMANDS)
def test_each_is_listed_in_help_manual_and_completion(command):
    assert re.search(rf"^  {command} ", ok("--help"), re.M)
    lines = ok(command, "--help").splitlines()
    assert 2 <= len(lines) <= 24 and max(map(len, lines)) <= 80 and lines[0].startswith(f"usage: berth {command}")
    assert f"\\fB{command}\\fR" in ok("man") and f"berth\\-{command}" in ok("man", command)
    for shell in ("bash", "zsh", "fish"):
        assert re.search(rf"\b{command}\b", ok("completion", shell))


def test_help_is_in_groups():
    titles = [line for line in ok("--help").splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert [t.split(":")[0] for t in titles] == ["the server", "models", "services",
                                                 "ModelServices of llm-d, in Kubernetes", "this program"]


def test_a_file_is_deployed_with_words_over_it(server, tmp_path):
    at, go = tmp_path / "service.yaml", tmp_path / "go"
    at.write_text("name: from-file\nmodelFile: /tmp\nshimlet: shimmy\nreplicaCount: 1\nenv:\n  BATCH: 16\n"
                  "resourceRequirements:\n  memory: 1Gi\nsteps:\n  resource-deployment:\n"
                  f"    preHook: until test -e {go}; do sleep 0.1; done\n")
    p = subprocess.Popen([str(harness.BERTH), "deploy", "-f", str(at), "replicaCount=2", "env.MODE=quick",
                          "resourceRequirements.cpu=500m", "--server", server.url],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        told = [p.stderr.readline()]  # what ran before anybody looked would have no steps to show
        while "resource-deployment" not in told[-1]:
            assert p.poll() is None, told
            told.append(p.stderr.readline())
        go.touch()
        out, rest = p.communicate(timeout=240 * harness.SLOW)
    finally:
        p.kill()
        p.wait()
    told = "".join(told) + rest
    assert p.returncode == 0, (out, told)
    # What was done comes as it is done, on standard error; what a script wants on standard output.
    assert [line.split()[0] for line in told.splitlines() if " ok " in line] == STEPS, told
    sid, = re.findall(r"^(from-file-\S+) is running after", out, re.M)
    assert told.splitlines()[0] == sid
    spec = described(server, sid)["spec"]
    assert spec["replicaCount"] == 2 and spec["resourceRequirements"] == {"cpu": "500m", "memory": "1Gi"}
    assert {e["key"]: e["value"] for e in spec["env"]} == {"BATCH": "16", "MODE": "quick"}
    r = berth("deploy", "-f", "-", "--no-wait", "modelName=piped", server=server, input=at.read_text())
    assert r.returncode == 0 and re.fullmatch(r"piped-\S+\n", r.stdout) and r.stderr == "", r
    answer = json.loads(ok("deploy", "-f", at, "modelName=told", "--json", server=server))
    assert answer["serviceId"].startswith("told-") and answer["totalSteps"] == STEPS


def test_a_plan_changes_nothing(server):
    deploy(server, "planned")
    before = ok("services", "--json", server=server)
    out = ok("deploy", *SCRIPTED, "modelName=other", "--plan", server=server)
    assert "a service would be created" in out and "it fits" in out
    model = pathlib.Path(server.own_dir, "x.echo")  # of the environment that runs processes, with its command
    model.write_text("echo\n")
    out = ok("deploy", model, "modelName=other", "--plan", server=server)
    assert "it fits" in out and f'"--model=other={model}"' in out, out
    out = ok("update", "planned", "env.A=1", "--plan", server=server)
    assert "replicas replaced" in out and "env" in out
    assert "nothing would change" in ok("update", "planned", "replicaCount=1", "--plan", server=server)
    assert len(json.loads(before)) == len(json.loads(ok("services", "--json", server=server)))
    assert described(server, "planned")["revision"] == 1


def test_an_update_is_about_what_it_names(server):
    """What is not named stays, secrets too, which are only shown masked."""
    deploy(server, "kept", "env.API_TOKEN=hunter2", "env.A=1", "env.B=1")
    first = described(server, "kept")
    assert {e["key"]: e["value"] for e in first["spec"]["env"]} == {"API_TOKEN": "***", "A": "1", "B": "1"}
    plan = json.loads(ok("update", "kept", "env.A=2", "--plan", "--json", server=server))
    assert [(c["path"], c["from"], c["to"]) for c in plan["changes"]] == [("env.A", "1", "2")], plan
    assert "nothing would change" in ok("update", "kept", "env.A=1", "--plan", server=server)
    secret = ok("update", "kept", "env.API_TOKEN=other", "--plan", server=server)
    assert "env.API_TOKEN" in secret and "other" not in secret and "hunter2" not in secret
    ok("update", "kept", "env.A=2", "env.B=null", server=server)
    env = {e["key"]: e["value"] for e in described(server, "kept")["spec"]["env"]}
    assert env == {"API_TOKEN": "***", "A": "2"}
    ok("update", "kept", "env.A=1", "env.B=1", server=server)
    again = described(server, "kept")
    assert {r["hash"] for r in again["replicas"]} == {r["hash"] for r in first["replicas"]}  # the token is what it was


def test_a_change_is_waited_for(server):
    """Whatever the change: when the command returns, it has come about, and its own steps were shown."""
    deploy(server, "waited", 'shimletConfig={"start_ms":700}')
    for words in (["env.A=1"], ["strategy.type=canary", "strategy.canary.weight=20", "env.A=2"]):
        r = berth("update", "waited", *words, server=server)
        assert r.returncode == 0, r
        assert [line.split()[0] for line in r.stderr.splitlines() if " ok " in line] == STEPS, r.stderr
        seen = described(server, "waited")
        at = seen["canary"] or {"revision": seen["runningRevision"], "state": seen["phase"], "ready": seen["replicasReady"]}
        assert (at["revision"], at["state"], at["ready"]) == (seen["revision"], "running", 1), seen
        assert seen["phase"] == "running"
    assert re.search(r"the canary runs after \S+ s, revision 3 with 20 % of the requests", r.stdout), r.stdout
    r = berth("update", "waited", "strategy.type=canary", 'shimletConfig={"never_ready":true}',
              "startTimeoutMs=500", 'steps={"resource-deployment":{"timeoutMs":1500}}', server=server)
    assert r.returncode == 1 and "the canary failed" in r.stderr, r
    assert described(server, "waited")["phase"] == "running"


def test_the_life_of_a_service(server):
    assert "is running after" in deploy(server, "life")
    sid = described(server, "life")["serviceId"]
    ok("update", "life", "env.A=1", server=server)
    ok("scale", "life", "3", server=server)
    row, = [line.split() for line in ok("services", server=server).splitlines() if line.startswith(sid)]
    assert row[1:6] == ["life", "running", "3/3", "3", "shimmy"], row
    row, = [line.split() for line in ok("services", "--units", server=server).splitlines() if sid in line]
    assert (row[0], row[2:]) == ("shimmy", ["stable", "known", sid]), row
    out = ok("describe", "life", server=server)
    for word in ("phase        running", "revisions    3, ", *STEPS, '"key":"A"'):
        assert word in out, (word, out)
    ok("rollback", "life", server=server)
    assert described(server, "life")["spec"]["replicaCount"] == 1
    ok("update", "life", "strategy.type=canary", "strategy.canary.weight=20", "env.A=2", server=server)
    assert described(server, "life")["canary"]["weight"] == 20
    assert re.search(r"the canary runs after .* with 50 % of the requests", ok("weight", "life", "50", server=server))
    assert described(server, "life")["canary"]["weight"] == 50
    ok("promote", "life", server=server)
    harness.wait_until(lambda: not described(server, "life").get("canary"), 60, "the canary is the service")
    assert [e["value"] for e in described(server, "life")["spec"]["env"]] == ["2"]
    moves = [json.loads(line) for line in ok("events", "life", "--json", server=server).splitlines()]
    me = pwd.getpwuid(os.getuid()).pw_name  # who did it, though there is no key
    assert {m["operator"] for m in moves if m["type"] in ("service.created", "service.updated")} == {me}
    assert {m["serviceId"] for m in moves} == {sid}
    assert "service.status" in {m["type"] for m in moves}
    told = ok("events", "life", server=server).splitlines()  # the same, as people read it
    assert len(told) == len(moves)
    assert all(line.startswith(f"{m['time']}  {sid}  {m['type']}") for line, m in zip(told, moves)), told
    for words in (f"service.created deploy, revision 1, by {me}", f"service.updated weight 50, by {me}",
                  f'service.updated update, revision 2, by {me}; env.A: null -> "1"',
                  "service.status health-checking -> running, revision 1", "service.step health-check succeeded",
                  "service.step config-rendering running, revision 5 (canary)"):
        assert any(words in line for line in told), (words, told)
    assert ok("delete", "life", server=server) == f"{sid} is deleted\n"
    assert sid not in ok("services", server=server) and sid in ok("services", "--all", server=server)


def test_a_name_that_another_has_is_told(make_server):
    """Requests for it would go elsewhere, and nothing else would say so."""
    server = make_server()
    deploy(server, "taken")
    first = described(server, "taken")
    assert first["routes"]["warning"] is None, first
    routed, = first["routes"]["replicas"]
    assert (routed["id"], routed["ready"], routed["breaker"]) == (first["replicas"][0]["id"], True, "closed"), first
    assert "warning" not in ok("describe", "taken", server=server)
    second, = re.findall(r"^(taken-\S+) is running after", deploy(server, "taken"), re.M)
    assert "an older service has this name" in described(server, second)["routes"]["warning"]
    assert described(server, first["serviceId"])["routes"]["warning"] is None
    server.register("taken")
    for one in (first["serviceId"], second):
        line, = [x for x in ok("describe", one, server=server).splitlines() if x.startswith("warning ")]
        assert "a model of this name is registered here" in line and "by its id" in line, line


def test_logs_are_followed(make_server):
    """Of a real process: what it printed, and what it prints then."""
    s = make_server()
    path = pathlib.Path(s.own_dir, "x.echo")
    path.write_text("echo\n")
    ok("deploy", path, "modelName=talker", server=s)
    out = ok("logs", "talker", server=s)
    assert "listening on" in out
    assert len(ok("logs", "talker", "--tail", "1", server=s).splitlines()) == 1
    assert "model-validation" in ok("logs", "talker", "--pipeline", server=s)
    p = subprocess.Popen([str(harness.BERTH), "logs", "talker", "-f", "--server", s.url], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True)
    try:
        while "listening on" not in p.stdout.readline():
            assert p.poll() is None
        p.send_signal(signal.SIGINT)
        assert p.wait(60 * harness.SLOW) == 0  # that is how following ends
    finally:
        p.kill()
        p.communicate()
    ok("delete", "talker", server=s)


def test_interrupting_ends_the_watching_not_the_work(server, tmp_path):
    """The work waits for a file, so that it is not over before it is interrupted."""
    wait = json.dumps({"resource-deployment": {"preHook": f"until test -e {tmp_path}/go; do sleep 0.1; done"}})
    p = subprocess.Popen([str(harness.BERTH), "deploy", *SCRIPTED, "modelName=slow", f"steps={wait}",
                          "--server", server.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        sid = p.stderr.readline().strip()
        while "resource-deployment" not in p.stderr.readline():
            assert p.poll() is None
        p.send_signal(signal.SIGINT)
        _, rest = p.communicate(timeout=60 * harness.SLOW)
        assert p.returncode == 130 and "the work goes on" in rest and sid in rest, rest
    finally:
        p.kill()
        p.wait()
    assert described(server, sid)["phase"] == "environment-deploying"
    (tmp_path / "go").touch()
    harness.wait_until(lambda: described(server, sid)["phase"] == "running", 60, "it runs all the same")


def test_waiting_has_a_limit(server):
    r = berth("deploy", *SCRIPTED, "modelName=never", "shimletConfig.never_ready=true", "--timeout", "3", server=server)
    assert r.returncode == 1 and "does not run yet after 3 s" in r.stderr and "berth describe" in r.stderr, r
    harness.wait_until(lambda: described(server, "never")["message"], 60, "it says something")
    r = berth("update", "never", "env.A=1", "--timeout", "3", server=server)
    assert r.returncode == 1 and "what it says so far: " in r.stderr, r
    ok("delete", "never", server=server)


def test_a_deletion_that_takes_long_says_why(server):
    # For 20 s, as it is told after three, and who is told may stand still for ten.
    ok("deploy", *SCRIPTED, "modelName=tough", "shimletConfig.fail_op=remove", "shimletConfig.fail_count=7",
       "shimletConfig.fail_code=EIO", server=server)
    r = berth("delete", "tough", server=server)
    assert r.returncode == 0 and r.stdout.endswith(" is deleted\n"), r
    assert re.search(r"^  resource-removal retrying: ", r.stderr, re.M), r


def test_errors_say_what_to_do_next(server, tmp_path):
    (tmp_path / "bad.yaml").write_text("modelName: [\n")
    (tmp_path / "odd.yaml").write_text("modelName: a\nmodelFile: /tmp\ncolour: red\n")
    for name in ("broken-not", "twice", "twice"):
        deploy(server, name)
    for args, words in (
            (["deploy", "./none.gguf"], ("./none.gguf", "no such file")),
            (["deploy", "-f", tmp_path / "none.yaml"], ("none.yaml", "No such file")),
            (["deploy", "-f", tmp_path / "bad.yaml"], ("bad.yaml",)),
            (["deploy", "-f", tmp_path / "odd.yaml"], ("colour", "is not known", "modelName")),
            (["deploy", "m", "--shimlet", "nope"], ("nope", "process")),
            (["deploy", "m", "replicaCount=many"], ("replicaCount",)),
            (["describe", "nobody"], ("nobody", "berth services")),
            (["scale", "nobody", "2"], ("nobody",)), (["delete", "nobody"], ("nobody",)),
            (["rollback", "broken-not", "99"], ("no revision 99", "berth describe")),
            (["delete", "twice"], ("may be one of 2", "its id")),
            (["plugins", "unload", "nobody"], ("unload",))):
        r = berth(*args, server=server)
        assert r.returncode == 1 and r.stdout == "" and all(w in r.stderr for w in words), (args, r)
        assert "Traceback" not in r.stderr and r.stderr.startswith(f"berth {args[0]}: ")
    for args, word in ((["deploy"], "MODEL"), (["deploy", "m", "x"], "KEY=VALUE"), (["update", "m"], "KEY=VALUE"),
                       (["scale", "m", "-1"], "-1"), (["scale", "m", "x"], "whole number"),
                       (["weight", "m", "101"], "100"), (["node", "push", "x"], "drain"), (["plugins", "eat"], "eat"),
                       (["plugins", "load"], "file"), (["deploy", "m", "--timeout", "0"], "timeout")):
        r = berth(*args, server=server)
        assert r.returncode == 2 and word in r.stderr and "--help" in r.stderr, (args, r)
    # An error after which nothing is tried again before somebody says so.
    r = berth("deploy", *SCRIPTED, "modelName=broken", "shimletConfig.fail_op=apply", "shimletConfig.fail_count=1",
              "shimletConfig.fail_code=EINVAL", server=server)
    assert r.returncode == 1 and "has failed" in r.stderr and "berth retry" in r.stderr, r
    ok("retry", "broken", server=server)
    assert described(server, "broken")["phase"] == "running"
    env = {"BERTH_HOST": f"127.0.0.1:{harness.free_port()}"}
    for command in (["services"], ["deploy", "m"], ["events"]):
        r = berth(*command, env=env)
        assert r.returncode == 1 and "berth serve" in r.stderr, r


def test_plugins_are_listed(server):
    out = ok("plugins", server=server)
    for name in ("process", "edge", "docker", "kubernetes", "k8s", "ollama", "shimmy"):
        assert re.search(rf"^shimlet +{name} ", out, re.M), out
    assert re.search(r"^pipeline +opensourcellm ", out, re.M)
    assert "unless a service says otherwise: process, by opensourcellm" in out
    assert ok("plugins", "list", server=server) == out


def test_services_are_completed(server):
    deploy(server, "complete-me")
    script = ok("completion", "bash") + ("\nCOMP_WORDS=(berth describe complete); COMP_CWORD=2; _berth; "
                                         'printf "%s\\n" "${COMPREPLY[@]}"\n')
    env = {**os.environ, "BERTH_SERVER": server.url, "PATH": f"{harness.BERTH.parent}:{os.environ['PATH']}"}
    out = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=env, check=True).stdout
    assert out.strip() == described(server, "complete-me")["serviceId"]
