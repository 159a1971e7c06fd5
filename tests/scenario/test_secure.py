"""The pipeline `secure`: known callers deploy, the engine speaks TLS alone and asks for a key, only those who
are named are passed on to it, and all of it can be read afterwards."""
import hashlib
import http.client
import json
import os
import pathlib
import ssl
import stat
import subprocess
import sys
import urllib.parse

import openai
import pytest

import harness
import services
from services import API, deploy, events, get, step, wait_gone, wait_phase

pytestmark = pytest.mark.sanitize

KEYS = {"ann": ("ann-s3cret", "admin"), "bob": ("bob-s3cret", "user"), "eve": ("eve-s3cret", "user"),
        "kim": ("kim-s3cret", "operator")}
STEPS = ["identity-check", "model-validation", "tls-setup", "access-control", "config-rendering",
         "resource-deployment", "health-check", "endpoint-check"]


@pytest.fixture
def keyed(make_server, tmp_path):
    """A server with keys that have names; its own requests are ann's."""
    path = tmp_path / "keys"
    path.write_text("".join(f"{key} {role} {name}\n" for name, (key, role) in KEYS.items()))
    return make_server("--shimlet", "process", "--api-key-file", path, key=KEYS["ann"][0])


def as_(name):
    return {"Authorization": f"Bearer {KEYS[name][0]}"} if name else {"Authorization": ""}


def berth_echo(server, **more):
    """Berth with its echo backend as the engine, which starts at once."""
    model = pathlib.Path(server.own_dir, "vault.echo")
    model.write_text("echo\n")
    return {"modelName": "vault", "modelFile": str(model), "pipeline": "secure", "shimlet": "process", **more}


def ask(server, who, model="vault", content="hello there"):
    return server.post("/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": content}],
                                                "max_tokens": 8}, headers=as_(who), timeout=120)


def files(server, sid):
    return pathlib.Path(server.state_dir, "files", sid)


def made(server, sid, suffix):
    (found,) = files(server, sid).glob(f"*{suffix}")
    return found


def direct(server, sid, path="/v1/models", key=None, ca=True, https=True, host="127.0.0.1"):
    """The status of a question to the first replica itself."""
    at = urllib.parse.urlparse(get(server, sid)["endpoint"])
    assert at.scheme == "https"
    if https:
        context = ssl.create_default_context(cafile=made(server, sid, ".ca.pem") if ca else None)
        conn = http.client.HTTPSConnection(host, at.port, timeout=60 * harness.SLOW, context=context)
    else:
        conn = http.client.HTTPConnection(host, at.port, timeout=60 * harness.SLOW)
    try:
        conn.request("GET", path, headers={"Authorization": f"Bearer {key}"} if key else {})
        return conn.getresponse().status
    finally:
        conn.close()


def audit(server, sid, kind):
    return [(e["data"] if "data" in e else e) for e in events(server, sid, kind)]


def key_of(server, sid):
    return made(server, sid, ".key").read_text().split()[0]


# ---- the whole way ----

def test_a_real_model_behind_tls_and_a_key(keyed):
    spec = {"modelName": "assistant", "modelFile": str(harness.SMOLLM), "resourceRequirements": {"cpu": "1"},
            "pipeline": "secure", "securityConfig": {"allow": ["bob", "ann"]}}
    data = deploy(keyed, spec)
    assert data["totalSteps"] == STEPS
    sid = data["serviceId"]
    seen = wait_phase(keyed, sid, seconds=120)
    assert seen["endpoint"].startswith("https://127.0.0.1:")

    # Through the server by its name: those who are named, and nobody else.
    url, prompt = keyed.url + "/v1", [{"role": "user", "content": "Say one word."}]
    client = openai.OpenAI(base_url=url, api_key=KEYS["bob"][0], max_retries=0, timeout=120 * harness.SLOW)
    assert client.chat.completions.create(model="assistant", messages=prompt, max_tokens=4).choices[0].message.content
    eve = openai.OpenAI(base_url=url, api_key=KEYS["eve"][0], max_retries=0, timeout=60 * harness.SLOW)
    with pytest.raises(openai.PermissionDeniedError, match="eve"):
        eve.chat.completions.create(model="assistant", messages=prompt, max_tokens=4)
    nobody = openai.OpenAI(base_url=url, api_key="wrong", max_retries=0, timeout=60 * harness.SLOW)
    with pytest.raises(openai.AuthenticationError):
        nobody.chat.completions.create(model="assistant", messages=prompt, max_tokens=4)

    # At its own endpoint: TLS with the service's authority, and the service's key.
    key = key_of(keyed, sid)
    assert direct(keyed, sid, key=key) == 200
    assert direct(keyed, sid) == 401
    assert direct(keyed, sid, key="wrong") == 401
    assert direct(keyed, sid, key=KEYS["ann"][0]) == 401, "a key of the server is none of the engine"
    with pytest.raises(ssl.SSLCertVerificationError):
        direct(keyed, sid, key=key, ca=False)
    try:
        assert direct(keyed, sid, key=key, https=False) >= 400
    except (OSError, http.client.HTTPException):
        pass  # no HTTP at all

    # All of it is on record.
    (created,) = audit(keyed, sid, "service.created")
    assert created["operator"] == "ann"
    records = [(a["action"], a["decision"], a["operator"]) for a in audit(keyed, sid, "service.audit")]
    assert records == [("deploy", "granted", "ann"), ("tls", "granted", "ann"), ("allow", "granted", "ann"),
                       ("endpoint", "granted", "ann")]
    harness.wait_until(lambda: len(audit(keyed, sid, "service.access")) >= 2, 60, "the access is told")
    told = {(a["operator"], a["decision"]) for a in audit(keyed, sid, "service.access")}
    assert told == {("bob", "granted"), ("eve", "refused")}
    assert keyed.delete(f"{API}/{sid}").status == 200
    wait_gone(keyed, sid, 60)
    assert audit(keyed, sid, "service.deleted")[0]["operator"] == "ann"
    assert not files(keyed, sid).exists()


# ---- identity ----

def test_without_keys_nobody_can_deploy_it(make_server):
    server = make_server("--shimlet", "process")
    sid = deploy(server, berth_echo(server), headers={"X-Operator": "ann"})["serviceId"]
    wait_phase(server, sid, "failed")
    failed = step(server, sid, "identity-check")
    assert failed["error"].startswith("401: ") and "--api-key" in failed["error"] and failed["attempts"] == 1
    assert step(server, sid, "tls-setup")["state"] == "skipped"
    (record,) = audit(server, sid, "service.audit")
    assert (record["action"], record["decision"], record["operator"]) == ("deploy", "refused", "ann")
    assert "audit: service" in server.log()


def test_a_server_with_keys_takes_no_deployment_without_one(keyed):
    for who, status in ((None, 401), ("bob", 403)):
        answer = keyed.post(f"{API}/deploy", berth_echo(keyed), headers=as_(who))
        assert answer.status == status, answer
    sid = deploy(keyed, berth_echo(keyed), headers=as_("kim"))["serviceId"]
    wait_phase(keyed, sid)
    assert audit(keyed, sid, "service.created")[0]["operator"] == "kim"


def test_any_known_key_when_nobody_is_named_and_nobody_with_an_empty_list(keyed):
    sid = deploy(keyed, berth_echo(keyed))["serviceId"]
    wait_phase(keyed, sid)
    for who, status in (("ann", 200), ("bob", 200), ("kim", 403), (None, 401)):
        answer = ask(keyed, who)  # kim's role is no asker's
        assert answer.status == status, (who, answer)
    endpoint = get(keyed, sid)["endpoint"]

    # A change of the list is in force at once, and rolls nothing.
    def allow(names):
        answer = keyed.request("PATCH", f"{API}/{sid}", {"securityConfig": {"allow": names}})
        assert answer.status == 200, answer
        revision = answer.json["data"]["revision"]
        harness.wait_until(lambda: step_of(keyed, sid, revision, "endpoint-check") == "succeeded", 60, "it is done")
        assert get(keyed, sid)["endpoint"] == endpoint

    fingerprint = audit(keyed, sid, "service.created")  # ann's own records name her
    assert fingerprint[0]["operator"] == "ann"
    bob = "key-" + hashlib.sha256(KEYS["bob"][0].encode()).hexdigest()[:8]
    for names, statuses in ((["ann"], {"ann": 200, "bob": 403}), ([bob], {"ann": 403, "bob": 200}),
                            ([], {"ann": 403, "bob": 403, None: 401}), (["*"], {"ann": 200, "eve": 200, None: 401})):
        allow(names)
        for who, status in statuses.items():
            answer = ask(keyed, who)
            assert answer.status == status, (names, who, answer)
    # Whichever way the model is named: by the service's id, in a path.
    allow(["ann"])
    assert ask(keyed, "bob", model=sid).status == 403
    # Whom it is not for does not see it, either.
    listed = {who: [m["id"] for m in keyed.get("/v1/models", headers=as_(who)).json["data"]] for who in ("ann", "bob")}
    assert listed == {"ann": ["vault"], "bob": []}
    security = get(keyed, sid)["security"]
    assert security["allow"] == ["ann"]
    assert security["caPath"] == str(made(keyed, sid, ".ca.pem"))
    assert security["keyPath"] == str(made(keyed, sid, "berth.key"))
    for who, status in (("ann", 200), ("bob", 403)):
        assert keyed.get("/v2/models/vault", headers=as_(who)).status == status
    harness.wait_until(lambda: ("ann", "granted") in {(a["operator"], a["decision"]) for a in
                                                      audit(keyed, sid, "service.access")}, 60, "her access is told")


def step_of(server, sid, revision, name):
    seen = get(server, sid)
    return step(server, sid, name)["state"] if seen["revision"] == revision and seen["phase"] == "running" else None


# ---- certificates and keys of one's own ----

ENGINE = r'''
import http.server, os, ssl, sys
words = dict(zip(sys.argv[1:], sys.argv[2:]))
words.update(a.split("=", 1) for a in sys.argv[1:] if "=" in a)
cert = words.get("--ssl-cert-file") or words.get("--ssl-certfile") or os.environ["TLS_CERT_FILE"]
key = words.get("--ssl-key-file") or words.get("--ssl-keyfile") or os.environ["TLS_KEY_FILE"]
path = words.get("--api-key-file") or os.environ.get("API_KEY_FILE")
bearer = os.environ.get("VLLM_API_KEY") or open(path).read().strip()
if os.environ.get("SAY"):
    open(os.environ["SAY"], "w").write("\n".join(sys.argv[1:] + ["bearer " + bearer]))

class Engine(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        known = self.headers.get("Authorization") == "Bearer " + bearer
        ok = known or self.path == "/health" or os.environ.get("CARELESS")
        body = b'{"object":"list","data":[]}'
        self.send_response(200 if ok else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()
    def log_message(self, *args):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Engine)
if not os.environ.get("PLAIN"):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
'''


@pytest.fixture
def engine(tmp_path):
    """An engine of somebody else, in Python."""
    path = tmp_path / "engine.py"
    path.write_text(ENGINE)
    return {"modelName": "vault", "modelFile": str(tmp_path), "pipeline": "secure", "shimlet": "process",
            "command": [sys.executable, str(path)], "healthPath": "/health", "steps": {"health-check": {"timeoutMs": 60000}}}


def test_any_engine_is_told_by_its_environment(keyed, engine):
    sid = deploy(keyed, engine)["serviceId"]
    wait_phase(keyed, sid, seconds=60)
    assert ask(keyed, "bob").status == 200
    assert direct(keyed, sid) == 401
    assert direct(keyed, sid, key=key_of(keyed, sid)) == 200
    for path in files(keyed, sid).iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE(files(keyed, sid).stat().st_mode) == 0o700
    # The authority is this service's alone, for this one certificate, and its key is nowhere.
    text = subprocess.run(["openssl", "x509", "-noout", "-text", "-in", made(keyed, sid, ".cert.pem")], check=True,
                          capture_output=True, text=True).stdout
    assert "IP Address:127.0.0.1" in text and "DNS:localhost" in text and "CA:FALSE" in text
    assert len(list(files(keyed, sid).glob("*key*"))) == 2  # the engine's, and the one to be sent
    subprocess.run(["openssl", "verify", "-x509_strict", "-CAfile", made(keyed, sid, ".ca.pem"),
                    made(keyed, sid, ".cert.pem")], check=True, capture_output=True)
    # Nothing secret is shown.
    key = key_of(keyed, sid)
    shown = json.dumps(get(keyed, sid)) + json.dumps(events(keyed, sid)) + keyed.log()
    assert key not in shown and "PRIVATE KEY" not in shown


@pytest.mark.parametrize("how, words", [({"CARELESS": "1"}, "without a key"), ({"PLAIN": "1"}, None)])
def test_an_engine_that_lets_others_in_is_taken_down(keyed, engine, how, words):
    limits = {} if words else {"startTimeoutMs": int(3000 * harness.SLOW), "steps": {"health-check": {"maxRetries": 0}}}
    sid = deploy(keyed, engine, env=how, **limits)["serviceId"]
    seen = wait_phase(keyed, sid, "failed", 60)
    if words is None:  # it never becomes ready: its health is asked by TLS alone
        # After a while it is tried again, with the same result.
        harness.wait_until(lambda: step(keyed, sid, "health-check")["state"] == "failed", 60, "its health has failed")
        return
    failed = step(keyed, sid, "endpoint-check")
    assert words in failed["error"] and failed["attempts"] == 1
    assert ("endpoint", "refused") in [(a["action"], a["decision"]) for a in audit(keyed, sid, "service.audit")]
    harness.wait_until(lambda: not get(keyed, sid)["replicas"], 60, f"its replicas are gone: {seen}")
    assert ask(keyed, "ann").status in (404, 503)


def test_a_certificate_and_a_key_of_ones_own(keyed, engine, certificate, tmp_path):
    cert, key = certificate
    bearer = tmp_path / "bearer"
    bearer.write_text("my-own-key\n")
    sid = deploy(keyed, engine, securityConfig={"certFile": str(cert), "keyFile": str(key),
                                                "apiKeyFile": str(bearer)})["serviceId"]
    wait_phase(keyed, sid, seconds=60)
    assert ask(keyed, "bob").status == 200
    at = urllib.parse.urlparse(get(keyed, sid)["endpoint"])
    conn = http.client.HTTPSConnection("localhost", at.port, timeout=60 * harness.SLOW,
                                       context=ssl.create_default_context(cafile=cert))
    conn.request("GET", "/v1/models", headers={"Authorization": "Bearer my-own-key"})
    assert conn.getresponse().status == 200
    conn.close()
    assert not list(files(keyed, sid).iterdir())


@pytest.mark.parametrize("given, words", [
    ({"certFile": "/nowhere.pem"}, "/nowhere.pem: No such file"), ({"keyFile": "KEY"}, "certFile: is missing"),
    ({"certFile": "CERT", "keyFile": "CERT"}, "is no private key in PEM"),
    ({"certFile": "KEY", "keyFile": "KEY"}, "is no certificate in PEM"),
    ({"certFile": "CERT", "keyFile": "OTHER"}, "is not the key of"),
    ({"apiKeyFile": "EMPTY"}, "has no key"), ({"hosts": ["a b"]}, "is no host's name"),
    ({"allow": ["ann bob"]}, "is no name of a key"),
])
def test_what_does_not_belong_together(keyed, engine, certificate, tmp_path, given, words):
    subprocess.run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out",
                    tmp_path / "other"], check=True, capture_output=True)
    (tmp_path / "empty").write_text("\n")
    at = {"CERT": certificate[0], "KEY": certificate[1], "OTHER": tmp_path / "other", "EMPTY": tmp_path / "empty"}
    config = {k: str(at.get(v, v)) if isinstance(v, str) else v for k, v in given.items()}
    sid = deploy(keyed, engine, securityConfig=config)["serviceId"]
    seen = wait_phase(keyed, sid, "failed")
    assert words in seen["message"], seen
    assert "PRIVATE KEY" not in json.dumps(get(keyed, sid))
    assert not get(keyed, sid)["replicas"]


@pytest.mark.parametrize("given, field", [({"allow": "ann"}, "securityConfig.allow"),
                                          ({"people": []}, "securityConfig.people"),
                                          ({"hosts": [1]}, "securityConfig.hosts[0]")])
def test_a_member_that_is_wrong_is_named(keyed, given, field):
    answer = keyed.post(f"{API}/deploy", {"modelName": "m", "securityConfig": given})
    assert answer.status == 400 and answer.json["data"]["field"] == field, answer


# ---- engines ----

@pytest.mark.parametrize("name, flags", [
    ("llama-server", ["--ssl-cert-file", "--ssl-key-file", "--api-key-file"]),
    ("vllm", ["--ssl-certfile", "--ssl-keyfile"]),
])
def test_engines_are_told_in_their_own_words(make_server, engine, tmp_path, name, flags):
    """With a program in the engine's place that takes the same words."""
    bin_dir, said, keys = tmp_path / "bin", tmp_path / "said", tmp_path / "keys"
    bin_dir.mkdir()
    program = bin_dir / ("llama-server" if name == "llama-server" else "python3")
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {engine["command"][1]} "$@"\n')
    program.chmod(0o755)
    keys.write_text("ann-s3cret admin ann\n")
    server = make_server("--shimlet", "process", "--api-key-file", keys, key="ann-s3cret",
                         env={"PATH": f"{bin_dir}:{os.environ['PATH']}"})
    model = tmp_path / "m.gguf"
    model.write_text("GGUF")
    spec = {**engine, "engine": name, "modelFile": str(model), "env": {"SAY": str(said)}}
    del spec["command"]
    sid = deploy(server, spec)["serviceId"]
    wait_phase(server, sid, seconds=60)
    words = said.read_text().splitlines()
    assert set(flags) <= set(words), words
    key = key_of(server, sid)
    assert words[-1] == f"bearer {key}" and key not in words[:-1]
    assert direct(server, sid, key=key) == 200 and direct(server, sid) == 401
    server.delete(f"{API}/{sid}")
    wait_gone(server, sid, 60)


def test_an_engine_that_would_show_the_key_is_refused(keyed, tmp_path):
    sid = deploy(keyed, {"modelName": "m", "modelFile": str(tmp_path), "engine": "sglang", "pipeline": "secure"})["serviceId"]
    assert "command line" in wait_phase(keyed, sid, "failed")["message"]


def test_an_environment_without_tls_is_refused(keyed):
    server = keyed
    sid = deploy(server, berth_echo(server, shimlet="shimmy"))["serviceId"]
    assert "plain HTTP alone" in wait_phase(server, sid, "failed")["message"]
    assert services.calls(server, sid).get("apply", 0) == 0


# ---- changes, restarts ----

def test_it_stays_closed_when_the_server_is_killed_or_loses_its_keys(keyed):
    sid = deploy(keyed, berth_echo(keyed, securityConfig={"allow": ["bob"]}))["serviceId"]
    seen = wait_phase(keyed, sid)
    endpoint, replica = seen["endpoint"], seen["replicas"][0]["endpoint"]
    keyed.kill()
    keyed.start()
    harness.wait_until(lambda: ask(keyed, "bob").status == 200, 60, "bob is answered")
    assert get(keyed, sid)["endpoint"] == endpoint, "the same replica was taken over"
    assert ask(keyed, "eve").status == 403 and ask(keyed, None).status == 401

    # Without keys the server knows nobody: the service is for nobody, and nobody can change it.
    keyed.kill()
    saved = keyed.argv[:], keyed.key
    at = keyed.argv.index("--api-key-file")
    del keyed.argv[at:at + 2]
    keyed.key = None
    keyed.start()
    harness.wait_until(lambda: ask(keyed, None).status != 404, 60, "it is looked at again")
    assert ask(keyed, "bob").status == 401 and ask(keyed, None).status == 401
    answer = keyed.request("PATCH", f"{API}/{sid}", {"securityConfig": {"allow": ["*"]}})
    assert answer.status == 200
    wait_phase(keyed, sid, "failed")
    assert step(keyed, sid, "identity-check")["error"].startswith("401")
    assert ask(keyed, None).status == 401
    harness.wait_until(lambda: [(r["state"], r["endpoint"]) for r in get(keyed, sid)["replicas"]] ==
                       [("ready", replica)], 60, f"what ran goes on: {get(keyed, sid)}")

    # With the keys again, whoever may deploy puts it right.
    keyed.kill()
    keyed.argv, keyed.key = saved
    keyed.start()
    harness.wait_until(lambda: ask(keyed, "eve").status != 404, 60, "it is looked at again")
    assert ask(keyed, "eve").status == 403
    assert keyed.post(f"{API}/{sid}/rollback", {}).status == 200
    wait_phase(keyed, sid)
    assert ask(keyed, "bob").status == 200 and ask(keyed, "eve").status == 403
    assert get(keyed, sid)["replicas"][0]["endpoint"] == replica


@pytest.mark.parametrize("broken", [{"modelFile": "/nowhere.gguf"}, {"securityConfig": {"certFile": "/nowhere.pem"}}, {}])
def test_who_is_taken_off_the_list_is_out_with_the_very_next_request(keyed, broken):
    """Whatever becomes of the steps of the update that says so, and whoever kills the server."""
    sid = deploy(keyed, berth_echo(keyed, securityConfig={"allow": ["ann", "bob"]}))["serviceId"]
    wait_phase(keyed, sid)
    assert ask(keyed, "bob").status == 200
    security = {**broken.get("securityConfig", {}), "allow": ["ann"]}
    answer = keyed.request("PATCH", f"{API}/{sid}", {**broken, "securityConfig": security})
    assert answer.status == 200, answer
    assert ask(keyed, "bob").status == 403
    assert ask(keyed, "ann").status == 200
    assert get(keyed, sid)["security"]["allow"] == ["ann"]
    wait_phase(keyed, sid, "failed" if broken else "running")
    assert ask(keyed, "bob").status == 403
    keyed.kill()
    keyed.start()
    harness.wait_until(lambda: ask(keyed, "ann").status == 200, 60, "ann is answered")
    assert ask(keyed, "bob").status == 403
    # One that is added comes when the steps have got there, and with an update that is whole.
    if broken:
        mended = berth_echo(keyed, securityConfig={"allow": ["bob"]})
        assert keyed.request("PUT", f"{API}/{sid}", mended).status == 200
        assert ask(keyed, "ann").status == 403
        harness.wait_until(lambda: ask(keyed, "bob").status == 200, 60, f"bob is back: {get(keyed, sid)}")


def test_from_open_to_closed_and_back_with_no_request_lost(keyed):
    open_ = {**berth_echo(keyed), "pipeline": "opensourcellm"}
    sid = deploy(keyed, open_)["serviceId"]
    assert wait_phase(keyed, sid)["endpoint"].startswith("http://")
    for spec, scheme, eve in (({**open_, "pipeline": "secure", "securityConfig": {"allow": ["ann"]}}, "https", 403),
                              (open_, "http", 200)):
        answer = keyed.request("PUT", f"{API}/{sid}", spec)
        assert answer.status == 200, answer
        seen = []

        def rolled():
            seen.append(ask(keyed, "ann").status)
            now = get(keyed, sid)
            return now["phase"] == "running" and now["endpoint"].startswith(scheme + ":")

        harness.wait_until(rolled, 120, f"{scheme}: {get(keyed, sid)}")
        assert set(seen) == {200}
        harness.wait_until(lambda: ask(keyed, "eve").status == eve, 60, f"eve gets {eve}")


def test_a_canary_is_closed_like_its_service(keyed):
    spec = berth_echo(keyed, securityConfig={"allow": ["ann"]})
    sid = deploy(keyed, spec)["serviceId"]
    wait_phase(keyed, sid)
    # Whatever the canary's own list says: the service's is in force until it is promoted.
    answer = keyed.request("PUT", f"{API}/{sid}", {**spec, "env": {"A": "1"}, "securityConfig": {"allow": ["*"]},
                                                   "strategy": {"type": "canary", "canary": {"weight": 50}}})
    assert answer.status == 200, answer
    harness.wait_until(lambda: (get(keyed, sid)["canary"] or {}).get("state") == "running", 120, "the canary runs")
    assert {r["endpoint"].split(":")[0] for r in get(keyed, sid)["replicas"]} == {"https"}
    replicas = set()

    def both_answered():
        answer = ask(keyed, "ann")
        assert answer.status == 200, answer
        replicas.add(answer.headers["x-berth-replica"])
        return len(replicas) == 2

    harness.wait_until(both_answered, 60, "answers of both tracks")
    assert ask(keyed, "eve").status == 403
    assert keyed.post(f"{API}/{sid}/promote", {}).status == 200
    harness.wait_until(lambda: ask(keyed, "eve").status == 200, 60, "the canary's list is the service's now")


@pytest.mark.parametrize("line", ["k boss", "k admin two words", "k admin key-1", "k admin a/b"])
def test_a_key_that_cannot_be_read_stops_the_start(make_server, line):
    server = make_server("--set", f"security.api_keys={line}", start=False)
    server.start(ready=False)
    assert server.process.wait(60 * harness.SLOW) != 0
    assert "security.api_keys[0]" in server.log() and "k admin" not in server.log()
