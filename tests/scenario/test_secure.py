"""The pipeline `secure`: known callers deploy, the engine speaks TLS alone and asks for a key, only those who
are named are passed on to it, and all of it can be read afterwards."""
import http.client
import json
import os
import pathlib
import signal
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
ECHO = {"modelName": "vault", "engine": "command", "pipeline": "secure", "shimlet": "process"}


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
        conn = http.client.HTTPSConnection(host, at.port, timeout=30, context=context)
    else:
        conn = http.client.HTTPConnection(host, at.port, timeout=30)
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
    harness.wait_until(lambda: len(audit(keyed, sid, "service.access")) >= 2, 10, "the access is told")
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
