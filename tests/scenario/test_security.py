"""Who may do what, and who can listen in."""
import http.client
import json
import pathlib
import socket
import ssl
import subprocess
import warnings

import httpx
import pytest

import harness

pytestmark = pytest.mark.sanitize

INFER = {"inputs": [harness.v2_input("x", "INT32", [1], [1])]}
ROLES = {"reader": "viewer", "asker": "user", "keeper": "operator", "boss": "admin"}
SCOPES = {"reader": {"read"}, "asker": {"read", "infer"}, "keeper": {"read", "manage"},
          "boss": {"read", "infer", "manage"}}
PUBLIC = {"/health", "/ready", "/swagger", "/swagger/doc.json"}


@pytest.fixture(scope="module")
def keyed():
    """A server with a key of each role."""
    keys = ",".join(f"{key} {role}" for key, role in ROLES.items())
    server = harness.Server("--set", "security.auth_enabled=true", "--set",
                            f"security.api_keys={keys}", key="boss")
    with server:
        server.register("echo")
        yield server


def ask(server, method, path, body=None, key=None, header="Authorization"):
    saved, server.key = server.key, None
    try:
        headers = {}
        if key is not None:
            headers = {header: key if header != "Authorization" else f"Bearer {key}"}
        return server.request(method, path, body, headers=headers)
    finally:
        server.key = saved


# ---- keys and scopes ----

@pytest.mark.parametrize("method,path,body,scope", [
    ("GET", "/v1/models", None, "read"), ("GET", "/v1/models/echo/status", None, "read"),
    ("GET", "/v2/models/echo", None, "read"), ("GET", "/metrics", None, "read"),
    ("POST", "/v2/models/echo/infer", INFER, "infer"),
    ("POST", "/v1/models/echo:predict", {"input": [1]}, "infer"),
    ("POST", "/v1/chat/completions",
     {"model": "echo", "messages": [{"role": "user", "content": "x"}]}, "infer"),
    ("POST", "/v1/models", {}, "manage"), ("DELETE", "/v1/models/never", None, "manage"),
    ("POST", "/v2/repository/models/never/load", {}, "manage"),
    ("POST", "/v2/repository/models/never/unload", {}, "manage"),
])
def test_every_key_may_what_its_scope_says(keyed, method, path, body, scope):
    for key, scopes in SCOPES.items():
        a = ask(keyed, method, path, body, key)
        if scope in scopes:
            assert a.status not in (401, 403), (key, a)
        else:
            assert a.status == 403 and a.text, (key, a)
    for key in (None, "", "nobody", "BOSS", "bos", "bosss", "boss admin"):
        a = ask(keyed, method, path, body, key)
        assert a.status == 401, (key, a)
        assert a.headers["www-authenticate"].startswith("Bearer")


def test_the_other_header_works_too(keyed):
    assert ask(keyed, "GET", "/v1/models", None, "boss", "X-API-Key").status == 200
    assert ask(keyed, "GET", "/v1/models", None, "nope", "X-API-Key").status == 401


def test_odd_credentials_are_401(keyed):
    for value in ("Basic Ym9zczpib3Nz", "Bearer", "Bearer ", "bearer", "Bearer boss boss", "boss",
                  "Bearer " + "a" * 4000, "Bearer \x80"):
        a = keyed.request("GET", "/v1/models", headers={"Authorization": value})
        assert a.status == 401, (value, a)


def test_every_described_route_but_health_needs_a_key(keyed):
    """From the program's own description, so that a new route is tried as well."""
    paths = keyed.get("/openapi.json").json["paths"]
    tried = 0
    for path, methods in paths.items():
        concrete = path
        while "{" in concrete:
            a, b = concrete.index("{"), concrete.index("}")
            concrete = concrete[:a] + "echo" + concrete[b + 1:]
        for method in methods:
            if method not in ("get", "post", "put", "delete", "patch"):
                continue
            a = ask(keyed, method.upper(), concrete, {} if method != "get" else None)
            public = concrete in PUBLIC or "/health/" in concrete or concrete == "/openapi.json"
            assert (a.status != 401) if public else (a.status == 401), (method, concrete, a)
            tried += 1
    assert tried >= 20


def test_error_shapes_of_401(keyed):
    for path, keys in (("/v1/models/echo:predict", {"error", "message"}),
                       ("/v1/chat/completions", {"error"}), ("/v2/models/echo/infer", {"error"})):
        a = ask(keyed, "POST", path, {})
        assert a.status == 401 and keys <= set(a.json), (path, a)
    assert ask(keyed, "POST", "/v1/models/echo:predict", {}).json["error"] == "AUTH_ERROR"
    a = ask(keyed, "POST", "/v1/chat/completions", {}).json["error"]
    assert set(a) >= {"message", "type", "code"}


def test_a_body_is_not_read_from_who_has_no_key(keyed):
    with keyed.socket() as s:
        s.sendall(b"POST /v2/models/echo/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n")
        data, _ = harness.read_answer(s)
    assert harness.Raw(data, False).statuses == [401]


def test_keys_are_not_in_the_log_nor_in_the_state(make_server, tmp_path):
    state = tmp_path / "state"
    key = "s3cr3t-key-that-must-not-show"
    server = make_server("--set", "security.auth_enabled=true", "--set",
                         f"security.api_keys={key}", "--set", "logging.level=debug", key=key,
                         state_dir=state)
    assert server.get("/v1/models").status == 200
    assert ask(server, "GET", "/v1/models", None, key + "x").status == 401
    assert server.stop() == 0
    assert key not in server.log()
    for p in state.rglob("*"):
        assert not p.is_file() or key.encode() not in p.read_bytes(), p


def test_without_keys_loopback_may_manage(echo):
    path = f"{echo.own_dir}/echo.echo"
    a = ask(echo, "POST", "/v1/models", {"name": "n", "backend": "echo", "model_path": path})
    assert a.status == 200


def test_it_listens_on_loopback_unless_told_otherwise(make_server):
    port = harness.free_port()
    server = make_server(port=port, argv=[str(harness.BERTH), "serve", "--port", str(port),
                                          "--state-dir", "none"])
    table = subprocess.run(["cat", f"/proc/{server.pid}/net/tcp", f"/proc/{server.pid}/net/tcp6"],
                           capture_output=True, text=True).stdout
    listening = [line.split()[1] for line in table.splitlines()
                 if len(line.split()) > 3 and line.split()[3] == "0A"
                 and line.split()[1].endswith(f":{port:04X}")]
    assert listening == [f"0100007F:{port:04X}"], listening


def test_cors(make_server):
    server = make_server("--set", "security.cors_allowed_origins=https://app.test")
    for origin, allowed in (("https://app.test", True), ("https://evil.test", False)):
        a = server.request("OPTIONS", "/v1/models", headers={
            "Origin": origin, "Access-Control-Request-Method": "POST"})
        assert (a.headers.get("access-control-allow-origin") == origin) == allowed, a


# ---- TLS ----

@pytest.fixture(scope="module")
def tls(certificate):
    cert, key = certificate
    server = harness.Server("--set", "server.enable_tls=true", "--set", f"server.tls_cert_path={cert}",
                            "--set", f"server.tls_key_path={key}")
    server.start(ready=False)
    context = ssl.create_default_context(cafile=cert)

    def up():
        assert server.alive, server.log()
        try:
            return https(server, context, "GET", "/health")[0] == 200
        except OSError:
            return False

    harness.wait_until(up, 60, "an answer over TLS")
    yield server, context
    server.stop()
    server.remove()


def https(server, context, method, path, body=None):
    c = http.client.HTTPSConnection("127.0.0.1", server.port, context=context, timeout=60 * harness.SLOW)
    try:
        c.request(method, path, body and json.dumps(body))
        r = c.getresponse()
        return r.status, r.read()
    finally:
        c.close()


def register_echo(server, context):
    path = f"{server.own_dir}/e.echo"
    pathlib.Path(path).write_text("echo\n")
    status, data = https(server, context, "POST", "/v1/models", {
        "name": "echo", "backend": "echo", "model_path": path})
    assert status in (200, 409), data
    harness.wait_until(lambda: https(server, context, "GET", "/v2/models/echo/ready")[0] == 200, 60,
                       "echo ready")


def test_tls_serves(tls):
    server, context = tls
    register_echo(server, context)
    big = {"inputs": [harness.v2_input("x", "INT32", [50000], list(range(50000)))]}
    status, data = https(server, context, "POST", "/v2/models/echo/infer", big)
    assert status == 200 and json.loads(data)["outputs"][0]["data"] == list(range(50000))


@pytest.mark.parametrize("offered,chosen", [(["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1"),
                                            (["h2"], "h2"), ([], None)])
def test_alpn(tls, certificate, offered, chosen):
    server, _ = tls
    context = ssl.create_default_context(cafile=certificate[0])
    if offered:
        context.set_alpn_protocols(offered)
    with socket.create_connection(("127.0.0.1", server.port), 20) as raw:
        with context.wrap_socket(raw, server_hostname="localhost") as s:
            assert s.selected_alpn_protocol() == chosen
            assert s.version() in ("TLSv1.2", "TLSv1.3")


def test_h2_over_tls(tls, certificate):
    server, context = tls
    register_echo(server, context)
    with httpx.Client(http2=True, verify=ssl.create_default_context(cafile=certificate[0])) as c:
        for i in range(20):
            r = c.post(f"https://localhost:{server.port}/v2/models/echo/infer", json={
                "inputs": [harness.v2_input("x", "INT32", [1], [i])]})
            assert r.http_version == "HTTP/2" and r.json()["outputs"][0]["data"] == [i]


def test_plain_is_refused_in_words(tls):
    server, _ = tls
    with server.socket() as s:
        s.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        data, closed = harness.read_answer(s)
        assert harness.Raw(data, closed).statuses == [400] and b"https" in data.lower()
        assert closed or harness.closes(s, 30)


def test_plain_h2_is_refused_too(tls):
    """With prior knowledge and without TLS: the request is refused, whoever sends it."""
    server, _ = tls
    r = subprocess.run(["curl", "-sS", "--http2-prior-knowledge", "-o", "-", "-w", "%{http_code}",
                        f"http://127.0.0.1:{server.port}/health"], capture_output=True, text=True)
    assert r.stdout.endswith("400") and "https" in r.stdout, r


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_tls_is_refused(tls, version):
    server, _ = tls
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # old is what we want here
        context.minimum_version = context.maximum_version = version
    with socket.create_connection(("127.0.0.1", server.port), 20) as raw:
        with pytest.raises((ssl.SSLError, OSError)):
            context.wrap_socket(raw)


def test_broken_handshakes_harm_nothing(tls):
    server, context = tls
    for data in (b"\x16\x03\x01\xff\xff" + b"\0" * 70000, b"\x16\x03\x01\x00\x05hello", b"\x16",
                 b"\x16\x03\x01\x00\x00" * 100, b"\x15\x03\x01\x00\x02\x02\x28"):
        with server.socket() as s:
            try:
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
                while s.recv(4096):
                    pass
            except OSError:
                pass
    for _ in range(20):  # hangs up in the middle of a handshake
        raw = socket.create_connection(("127.0.0.1", server.port), 20)
        raw.sendall(bytes.fromhex("1603010200010001fc0303") + b"\1" * 100)
        raw.close()
    assert https(server, context, "GET", "/health")[0] == 200


@pytest.mark.parametrize("change,word", [
    ({"server.tls_key_path": None}, "tls_key_path"), ({"server.tls_cert_path": None}, "tls_cert_path"),
    ({"server.tls_key_path": "/does/not/exist.pem"}, "/does/not/exist.pem"),
    ({"server.tls_cert_path": "/etc/hostname"}, "/etc/hostname")])
def test_tls_half_configured_ends_the_start(certificate, make_server, change, word):
    cert, key = certificate
    settings = {"server.enable_tls": "true", "server.tls_cert_path": cert, "server.tls_key_path": key,
                **change}
    args = [x for k, v in settings.items() if v is not None for x in ("--set", f"{k}={v}")]
    server = make_server(*args, start=False).start(ready=False)
    assert server.process.wait(60 * harness.SLOW) not in (0, None)
    assert word in server.log(), server.log()


def test_a_key_that_is_not_the_certificate_s(certificate, make_server, tmp_path):
    cert, _ = certificate
    other = tmp_path / "other.pem"
    subprocess.run(["openssl", "ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", other],
                   check=True, capture_output=True)
    server = make_server("--set", "server.enable_tls=true", "--set", f"server.tls_cert_path={cert}",
                         "--set", f"server.tls_key_path={other}", start=False).start(ready=False)
    assert server.process.wait(60 * harness.SLOW) != 0 and str(other) in server.log()
