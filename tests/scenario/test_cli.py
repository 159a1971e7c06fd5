"""The command line, as a person and as a script use it."""
import json
import os
import pty
import re
import select
import signal
import subprocess
import time

import pytest
import yaml

import harness

COMMANDS = ["serve", "run", "pull", "list", "show", "ps", "plan", "stop", "load", "rm", "predict", "explain", "bench", "doctor",
            "config", "version", "completion"]


def berth(*args, env=None, input=None, timeout=180, server=None, cwd=None, name=None):
    environment = {k: v for k, v in os.environ.items()
                   if not k.startswith(("UNIMODEL_", "BERTH_")) or k == "BERTH_PLUGIN_DIR"}
    if server is not None:
        environment["BERTH_HOST"] = f"127.0.0.1:{server.port}"
    environment.update(env or {})
    return subprocess.run([str(name or harness.BERTH), *map(str, args)], capture_output=True,
                          text=True, timeout=timeout * harness.SLOW, env=environment, input=input,
                          stdin=None if input is not None else subprocess.DEVNULL, cwd=cwd)


def ok(*args, **kw):
    r = berth(*args, **kw)
    assert r.returncode == 0, (args, r.stdout, r.stderr)
    return r.stdout


@pytest.fixture(scope="module")
def server():
    with harness.Server() as s:
        s.register("echo")
        s.register("digits", "onnx", harness.DIGITS)
        yield s


# ---- version and help ----

@pytest.mark.parametrize("args", [("--version",), ("version",), ("-V",)])
def test_version(args):
    assert re.match(r"^berth v?\d+\.\d+\.\d+", ok(*args).splitlines()[0])


def test_help_names_every_command():
    out = ok("--help")
    for command in COMMANDS:
        assert re.search(rf"^\s+{command}\b", out, re.M), command
    assert out == ok("help") and berth().returncode != 0


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_fits_a_screen(command):
    r = berth(command, "--help")
    assert r.returncode == 0 and r.stderr == ""
    lines = r.stdout.splitlines()
    assert 2 <= len(lines) <= 24 and max(map(len, lines)) <= 80, r.stdout
    assert lines[0].lower().startswith("usage: berth " + command)


def test_unknown_things_are_named_and_exit_2():
    for args, word in ((["fly"], "fly"), (["serve", "--wings"], "--wings"),
                       (["list", "--port"], "--port"), (["serve", "--port", "x"], "x"),
                       (["serve", "--port", "70000"], "70000"), (["rm"], "rm"),
                       (["serve", "--set", "no.such.key=1"], "no.such.key"),
                       (["serve", "--set", "server.port"], "server.port")):
        r = berth(*args)
        assert r.returncode == 2 and r.stdout == "", (args, r)
        assert word in r.stderr and "--help" in r.stderr, (args, r.stderr)


def test_a_typo_gets_a_hint():
    assert "serve" in berth("serv").stderr
    assert "`berth stop`" in berth("unload", "x").stderr


# ---- with a server ----

def test_list_and_ps_and_show(server):
    for command in ("list", "ps"):
        out = ok(command, server=server)
        assert "echo" in out and "digits" in out and re.search(r"ready", out, re.I), out
    out = ok("show", "digits", server=server)
    for word in ("digits", "onnx", "image", "FP32", "scores", "[-1,1,8,8]"):
        assert word in out.replace(", ", ","), out
    data = json.loads(ok("list", "--json", server=server))
    listed = data if isinstance(data, list) else data.get("models")
    assert {m["name"] for m in listed} >= {"echo", "digits"}
    assert json.loads(ok("show", "digits", "--json", server=server))["name"] == "digits"


def test_show_tells_how_many_sequences_run_at_once(models_server):
    n = models_server.status("smollm2")["batching"]["max_sequences"]
    out = ok("show", "smollm2", server=models_server)
    assert n > 1 and f"up to {n} sequences at once" in out and "batch dimension" not in out, out
    out = ok("show", "digits", server=models_server)
    assert "sequences" not in out and re.search(r"^batching +auto", out, re.M), out


def test_errors_of_the_server_are_shown_and_exit_1(server):
    for args in (["show", "nope"], ["rm", "nope"], ["predict", "nope", "x"], ["stop", "nope"]):
        r = berth(*args, server=server)
        assert r.returncode == 1 and "nope" in r.stderr and r.stdout == "", (args, r)


def test_predict_a_picture_and_a_text(server):
    for path in sorted((harness.DIGITS / "heldout").glob("*.png"))[:3]:
        out = ok("predict", "digits", path, server=server)
        assert out.split()[0].strip('":') == path.stem[-1] or f'"{path.stem[-1]}"' in out, out
    assert "hello there" in ok("predict", "echo", "hello there", server=server)
    assert "from the pipe" in ok("predict", "echo", "-", input="from the pipe", server=server)
    data = json.loads(ok("predict", "digits", path, "--json", server=server))
    assert data["output"]["label"] == path.stem[-1]


def test_stop_unloads_and_rm_forgets(server):
    server.register("brief")
    ok("stop", "brief", server=server)
    harness.wait_until(lambda: server.get("/v2/models/brief/ready").status != 200, 60, "unloaded")
    assert "brief" in ok("list", server=server)
    ok("rm", "brief", server=server)
    assert "brief" not in ok("list", server=server)


def test_an_unloaded_model_says_how_to_load_it(server):
    server.register("brief")
    ok("stop", "brief", server=server)
    harness.wait_until(lambda: server.get("/v2/models/brief/ready").status != 200, 60, "unloaded")
    r = berth("predict", "brief", "x", server=server)
    assert r.returncode == 1 and "berth load" in r.stderr, r.stderr
    ok("load", "brief", server=server)
    server.wait_model("brief")
    ok("rm", "brief", server=server)


def test_usual_mistakes_get_a_next_step(server):
    for args, words in ((["explain", "nope"], ("'nope'", "`berth explain` lists")),
                        (["run", "./nope.gguf", "hi"], ("'./nope.gguf'", "nor a file")),
                        (["run", "digits", "hi"], ("chat", "tensor inference", "berth predict")),
                        (["predict", "digits", "sevn.png"], ("no file sevn.png",))):
        r = berth(*args, server=server)
        assert r.returncode == 1 and all(w in r.stderr for w in words), (args, r.stderr)
    assert "sent as text" not in berth("predict", "digits", "@sevn.png", server=server).stderr


def test_a_taken_port_is_named(server):
    r = berth("serve", "--port", server.port, "--state-dir", "none")
    assert r.returncode == 1 and f"server.port: port {server.port} is taken" in r.stderr, r.stderr
    r = berth("doctor", "--port", server.port)
    assert r.returncode == 0 and "is in use" in r.stdout and "--port" in r.stdout, r.stdout


def test_serve_says_what_is_missing(tmp_path):
    (tmp_path / "folder").mkdir()
    with harness.Server("--plugin-dir", "/nowhere", env={}) as s:
        harness.wait_until(lambda: "no models yet" in s.log(), 60, s.log)
        assert "/nowhere" in s.log() and "berth pull" in s.log()
        assert "whoever reaches" not in s.log()
    r = berth("serve", "--port", "0", "--state-dir", "none", "--model", f"x={tmp_path / 'folder'}")
    assert r.returncode == 1 and "--model-dir" in r.stderr, r.stderr


def test_without_a_server_it_says_how_to_start_one():
    r = berth("list", env={"BERTH_HOST": f"127.0.0.1:{harness.free_port()}"})
    assert r.returncode == 1 and "berth serve" in r.stderr


# ---- run ----

def test_run_starts_a_server_when_none_runs(tmp_path):
    env = {"BERTH_HOST": f"127.0.0.1:{harness.free_port()}", "BERTH_STATE_DIR": str(tmp_path / "s"),
           "HOME": str(tmp_path)}
    out = ok("run", harness.SMOLLM, "What is the capital of France? Answer in one word.", env=env,
             timeout=240)
    assert "Paris" in out
    harness.wait_until(lambda: berth("list", env=env).returncode != 0, 60, "run to leave no server behind")


def test_run_with_a_prompt_uses_the_running_server(models_server):
    out = ok("run", "smollm2", "What is the capital of France? Answer in one word.",
             server=models_server)
    assert "Paris" in out


def test_run_that_is_interrupted_is_no_success(server):
    server.register("slow", config={"token_ms": 100})
    environment = {**os.environ, "BERTH_HOST": f"127.0.0.1:{server.port}"}
    p = subprocess.Popen([str(harness.BERTH), "run", "slow", "word " * 500], env=environment,
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert p.stdout.read(4) == b"word"
        p.send_signal(signal.SIGINT)
        assert p.wait(60 * harness.SLOW) == 130
    finally:
        p.kill()
        p.communicate()
        server.delete("/v1/models/slow")


def test_run_on_a_terminal_is_a_conversation(models_server):
    parent, child = pty.openpty()
    env = {**os.environ, "BERTH_HOST": f"127.0.0.1:{models_server.port}", "TERM": "dumb"}
    p = subprocess.Popen([str(harness.BERTH), "run", "smollm2"], stdin=child, stdout=child,
                         stderr=child, env=env, close_fds=True)
    os.close(child)
    seen = b""

    def read_until(pattern, seconds=300):  # it may say a lot, on a slow machine
        nonlocal seen
        end = time.monotonic() + seconds * harness.SLOW
        while not re.search(pattern, seen):
            assert time.monotonic() < end, seen
            if select.select([parent], [], [], 1)[0]:
                try:
                    seen += os.read(parent, 4096)
                except OSError:
                    return
    def prompt_tokens():
        return models_server.metric("berth_prompt_tokens_total", model="smollm2") or 0

    try:
        read_until(rb"> $")
        counts = [prompt_tokens()]
        for line in (b"My name is Ada. Say hello.", b"What is my name?"):
            seen = b""
            os.write(parent, line + b"\n")
            read_until(re.escape(line) + rb"\s+\S[\s\S]*> $")
            counts.append(prompt_tokens())
        # The second question carries the first one and its answer along.
        assert counts[2] - counts[1] > counts[1] - counts[0] + 10, counts
        os.write(parent, b"/bye\n")
        assert p.wait(60 * harness.SLOW) == 0
    finally:
        if p.poll() is None:
            p.kill()
            p.wait()
        os.close(parent)


# ---- config, doctor, completion ----

def test_config_says_where_each_value_came_from(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("engine:\n  max_models: 5\n  default_batch_size: 4\n")
    out = ok("config", "--config", path, "--set", "engine.max_batch_wait_ms=7",
             env={"UNIMODEL_PORT": "8123"})
    settings = yaml.safe_load(out)
    assert settings["engine"]["max_models"] == 5 and settings["engine"]["max_batch_wait_ms"] == 7
    assert settings["server"]["port"] == 8123 and settings["server"]["max_connections"] == 1000

    def line(key):
        return next(x for x in out.splitlines() if x.strip().startswith(key + ":"))

    assert "c.yaml" in line("max_models") and "--set" in line("max_batch_wait_ms")
    assert "UNIMODEL_PORT" in line("port")


def test_config_hides_secrets(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("security:\n  jwt_secret: hunter2hunter2\n  api_keys: [topsecretkey]\n")
    out = ok("config", "--config", path)
    assert "hunter2" not in out and "topsecretkey" not in out


def test_a_printed_config_is_a_config(tmp_path):
    path = tmp_path / "again.yaml"
    path.write_text(ok("config", "--max-models", "7"))
    assert yaml.safe_load(ok("config", "--config", path))["engine"]["max_models"] == 7


def test_doctor_says_what_there_is():
    r = berth("doctor")
    assert r.returncode in (0, 1) and len(r.stdout.splitlines()) >= 5
    for word in ("llama", "onnx", "echo", "memory", "core"):
        assert word in r.stdout.lower(), r.stdout


def test_doctor_sees_a_bad_config(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("engine:\n  max_modles: 5\n")
    r = berth("doctor", "--config", path)
    assert r.returncode == 1 and "max_modles" in r.stdout + r.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell, tmp_path):
    out = ok("completion", shell)
    assert "berth" in out and all(c in out for c in COMMANDS)
    if shell == "bash":
        script = out + '\nCOMP_WORDS=(berth se); COMP_CWORD=1; ' \
            '$(complete -p berth | sed -E "s/.*-F ([^ ]+).*/\\1/") berth se berth; ' \
            'printf "%s\\n" "${COMPREPLY[@]}"\n'
        r = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
        assert r.returncode == 0 and "serve" in r.stdout.split(), (r.stdout, r.stderr)


@pytest.mark.parametrize("line, want", [
    ("modelservice ge", ["generate"]), ("modelservice generate -m ms", ["msvc.yaml"]),
    ("modelservice generate -m msvc.yaml ge", []), ("modelservice generate -o y", ["yaml"]),
    ("modelservice generate --inference-api v1a", ["v1alpha2"]), ("operator --log-level d", ["debug"]),
    ("operator --namesp", ["--namespace"]), ("serve --set server.po", ["server.port="]), ("man mo", ["modelservice"]),
    ("help oper", ["operator"]), ("completion f", ["fish"])])
def test_what_bash_completes(line, want, tmp_path):
    (tmp_path / "msvc.yaml").touch()
    words = f"berth {line}".split()
    # Where there is nothing to offer, bash goes on to files (complete -o default).
    script = ok("completion", "bash") + (f"\nCOMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; _berth\n"
                                         '[ -n "$COMPREPLY" ] || mapfile -t COMPREPLY < <(compgen -f -- '
                                         '"${COMP_WORDS[COMP_CWORD]}")\nprintf "%s\\n" "${COMPREPLY[@]}"\n')
    r = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert r.returncode == 0 and r.stdout.split() == want, r


def test_each_command_has_a_page_once_installed(tmp_path):
    """tools/install takes their names from the help."""
    expression, = re.findall(r"--help \| sed -n '(.*)'\)", (harness.ROOT / "tools/install").read_text())
    named = subprocess.run(["sed", "-n", expression], input=ok("--help"), capture_output=True, text=True).stdout.split()
    listed = re.findall(r"^  ([a-z]+) ", ok("--help"), re.M)
    assert named == listed and {"modelservice", "serve", "probe"} <= set(named)


# ---- other names ----

@pytest.mark.parametrize("name,args", [("unimodel-server", ("--help",)), ("unimodel-cli", ("--help",)),
                                       ("unimodel-bench", ("--help",)),
                                       ("unimodel-server", ("--version",))])
def test_other_names_are_known(tmp_path, name, args):
    link = tmp_path / name
    link.symlink_to(harness.BERTH)
    out = ok(*args, name=link)
    assert name in out or args == ("--version",), out


def test_unimodel_cli_lists_models(tmp_path, server):
    link = tmp_path / "unimodel-cli"
    link.symlink_to(harness.BERTH)
    out = ok("models", "list", name=link, server=server)
    assert "echo" in out and "digits" in out


# ---- serve ----

def test_serve_on_a_port_that_is_taken(server):
    r = berth("serve", "--host", "127.0.0.1", "--port", server.port, "--state-dir", "none")
    assert r.returncode == 1 and str(server.port) in r.stderr and r.stderr.count("\n") < 6


def test_serve_says_where_it_listens(make_server):
    s = make_server()
    assert str(s.port) in s.log()


def test_start_is_quick_and_small(make_server):
    s = make_server()
    assert s.rss() < 24 << 20
    assert len(os.listdir(f"/proc/{s.pid}/task")) < 20
