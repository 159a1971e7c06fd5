"""What `berth operator` tells about itself: /healthz and /readyz for probes, /metrics for Prometheus."""
import contextlib
import http.client
import json
import os
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import time

import harness
from modelservices import SERVICES, SPACE, service, wait_ready, wait_replicas

DECODE = {"replicas": 1, "containers": [{"name": "llm", "image": "engine"}]}
BOTH = {"--health-probe-bind-address": "127.0.0.1:0", "--metrics-bind-address": "127.0.0.1:0"}


def port_of(operator, what):
    """The port that it says it took."""
    found = harness.wait_until(lambda: re.search(rf"{what} at \S+:(\d+),", operator.said()), 90,
                               f"{what} is served:\n{operator.said()}")
    return int(found[1])


def patiently(call):
    """What it returns.  Connections on which nothing comes for five seconds are closed: by whoever was halted for so
    long, and by nobody else, it is tried again."""
    while True:
        begin = time.monotonic()
        try:
            return call()
        except OSError as e:
            if isinstance(e, TimeoutError) or time.monotonic() - begin < 5:
                raise


def ask(port, path, method="GET", body=None):
    def once():
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=60 * harness.SLOW)
        with contextlib.closing(c):
            c.request(method, path, body)
            answer = c.getresponse()
            return answer.status, answer.read().decode()

    return patiently(once)


def answers_at(port, path):
    """Does it, by now?  A connection may be refused, or be closed as one too many."""
    with contextlib.suppress(OSError):
        return ask(port, path)[0] == 200


def metrics(port):
    """{"name{labels}": value} of a scrape, which must be in Prometheus' form."""
    status, text = ask(port, "/metrics")
    assert status == 200
    found = {}
    for line in text.splitlines():
        if line.startswith("#"):
            assert re.match(r"# (HELP|TYPE) \w+ .+", line), line
            continue
        m = re.fullmatch(r"(\w+)(\{[^}]*\})? (\S+)", line)
        assert m, line
        found[m[1] + (m[2] or "")] = float(m[3])
    return found


def test_probes_and_numbers(prepared, make_operator):
    o = make_operator(BOTH)
    health, numbers = port_of(o, "/healthz and /readyz"), port_of(o, "/metrics")
    assert ask(health, "/healthz") == (200, "ok\n")
    harness.wait_until(lambda: ask(health, "/readyz") == (200, "ok\n"), 90, "it is ready")
    # Each where it belongs, and nothing else.
    assert ask(health, "/metrics")[0] == ask(numbers, "/healthz")[0] == ask(health, "/")[0] == 404
    assert ask(health, "/healthz", "POST", "x")[0] in (405, 413)
    before = metrics(numbers)
    assert before["berth_modelservice_leader"] == before["berth_modelservice_synced"] == 1
    assert before["berth_modelservice_services"] == 0
    assert before['berth_modelservice_writes_total{kind="apply"}'] == 0
    prepared.create(SERVICES, service("svc", decode=DECODE))
    wait_ready(prepared, "svc")

    def told():
        """What counts the last of it, which is counted a little after it is seen."""
        m = metrics(numbers)
        return m['berth_modelservice_events_total{result="sent"}'] >= 2 and \
            m['berth_modelservice_writes_total{kind="status"}'] >= 1 and \
            m['berth_modelservice_reconciles_total{result="done"}'] >= 2 and m

    after = harness.wait_until(told, 90, "its events are sent, its status is written")
    assert after["berth_modelservice_services"] == 1
    assert after['berth_modelservice_writes_total{kind="apply"}'] >= 2  # a Deployment, a ServiceAccount
    assert after['berth_modelservice_reconciles_total{result="failed"}'] == 0
    assert after["berth_modelservice_api_calls_total"] > before["berth_modelservice_api_calls_total"]
    # What the API server was asked for and answered, by verb, resource and code.
    def answers(verb, resource, code):
        key = f'{{verb="{verb}",resource="{resource}",code="{code}"}}'
        return after.get("berth_modelservice_api_answers_total" + key, 0)

    assert answers("list", "modelservices.llm-d.ai", 200) >= 1
    assert answers("apply", "deployments.apps", 201) + answers("apply", "deployments.apps", 200) >= 1
    assert answers("apply", "modelservices.llm-d.ai", 200) + answers("patch", "modelservices.llm-d.ai", 200) >= 1
    harness.wait_until(lambda: (m := metrics(numbers))[
        'berth_modelservice_api_answer_duration_seconds_count{verb="apply"}'] == sum(
            n for name, n in m.items() if name.startswith('berth_modelservice_api_answers_total{verb="apply"')),
        90, "each has its time")
    assert not any("duration" in name and 'verb="watch"' in name for name in after)
    assert after["berth_cpu_seconds_total"] > 0 and after["berth_memory_resident_bytes"] > 1e6
    # Whoever takes all its connections gets no answers; one that works goes on.
    held = [socket.create_connection(("127.0.0.1", numbers)) for _ in range(40)]
    prepared.merge(f"{SERVICES}/svc", {"spec": {"decode": {"replicas": 2}}})
    wait_replicas(prepared, "svc-decode", 2)
    wait_ready(prepared, "svc")
    assert ask(health, "/healthz") == (200, "ok\n")  # probes have their own
    for s in held:
        s.close()
    harness.wait_until(lambda: answers_at(numbers, "/metrics"), 90, "it answers again")


def test_one_that_stands_by_is_ready_and_says_so(prepared, make_operator):
    # Long enough for nobody to lose it on a machine that is busy; the first gives it back.
    lead = {"--leader-elect": "", "--leader-elect-lease-duration": "60s", **BOTH}
    first = make_operator(lead)
    numbers = port_of(first, "/metrics")
    harness.wait_until(lambda: metrics(numbers)["berth_modelservice_leader"] == 1, 90, "it leads")
    second = make_operator(lead)
    health, numbers = port_of(second, "/healthz and /readyz"), port_of(second, "/metrics")
    harness.wait_until(lambda: "stands by" in second.said(), 90, "it stands by")
    assert ask(health, "/readyz") == (200, "ok: another one leads\n")
    assert metrics(numbers)["berth_modelservice_leader"] == 0
    assert first.stop() == 0
    harness.wait_until(lambda: metrics(numbers)["berth_modelservice_leader"] == 1, 150, "it leads")
    harness.wait_until(lambda: ask(health, "/readyz") == (200, "ok\n"), 90, "it is ready")


def test_not_ready_while_nothing_is_known(prepared, make_operator, tmp_path):
    config = prepared.config_of("nobody", token="wrong")
    (tmp_path / "nobody").write_text(json.dumps(config))
    o = make_operator({**BOTH, "--kubeconfig": tmp_path / "nobody"})
    health = port_of(o, "/healthz and /readyz")
    harness.wait_until(lambda: "401" in o.said(), 90, "it is refused")
    assert ask(health, "/healthz")[0] == 200
    assert ask(health, "/readyz") == (503, "not all that is watched is known yet\n")
    assert metrics(port_of(o, "/metrics"))["berth_modelservice_synced"] == 0


def test_one_address_for_both_and_addresses_that_cannot_be(prepared, make_operator):
    port = harness.free_port()
    at = f":{port}"
    o = make_operator({"--health-probe-bind-address": at, "--metrics-bind-address": at})
    assert port_of(o, "/healthz, /readyz and /metrics") == port
    assert ask(port, "/healthz")[0] == ask(port, "/metrics")[0] == 200
    flags = ["--epp-cluster-role", "view", "--kubeconfig", prepared.config]
    got = subprocess.run([harness.BERTH, "operator", *flags, "--health-probe-bind-address", ":8081",
                          "--metrics-bind-address", ":8081", "--metrics-cert-path", "/nowhere"],
                         text=True, capture_output=True, timeout=60 * harness.SLOW)
    assert got.returncode == 2 and "probes ask by plain HTTP" in got.stderr, got
    for address, why, code in [("8081", "no address", 2), ("host:", "no address", 2), (":70000", "no address", 2),
                               (":12x", "no address", 2), (f"127.0.0.1:{port}", "another program", 1)]:
        got = subprocess.run([harness.BERTH, "operator", *flags, "--health-probe-bind-address", address],
                             capture_output=True, text=True, timeout=60 * harness.SLOW)
        assert got.returncode == code and why in got.stderr and "--health-probe-bind-address" in got.stderr, got


def refused(*flags):
    """What it says and ends with, told such flags."""
    got = subprocess.run([harness.BERTH, "operator", "--epp-cluster-role", "view", *flags], capture_output=True,
                         text=True, timeout=60 * harness.SLOW)
    return got.returncode, got.stderr


def test_flags_as_manifests_of_other_operators_have_them(prepared, make_operator):
    """`--leader-elect=false` is llm-d's own manifest's: nobody is asked, and the level is that of its name."""
    before = prepared.audit_lines()
    o = make_operator({**BOTH, "--leader-elect=false": "", "--log-level=debug": "", "-l": "info"})
    health = port_of(o, "/healthz and /readyz")
    harness.wait_until(lambda: ask(health, "/readyz") == (200, "ok\n"), 90, "it is at work")
    harness.wait_until(lambda: ("list", "modelservices") in prepared.calls(before), 90, "what it asked is known")
    asked = prepared.calls(before)
    assert not [r for _, r in asked if r == "leases"], asked
    assert o.stop() == 0 and "ends on" in o.said()
    port = harness.free_port()
    quiet = make_operator({"--health-probe-bind-address": f"127.0.0.1:{port}", "--log-level": "warn"})
    harness.wait_until(lambda: answers_at(port, "/readyz"), 90, "it is at work")
    # An API server that stands still is a warning.
    assert quiet.stop() == 0 and not [line for line in quiet.said().splitlines() if " warn " not in line], quiet.said()
    for flags, says in [(["--leader-elect=maybe"], "--leader-elect takes no value but true or false"),
                        (["--log-level=panic"], "it is debug, info, warn or error"),
                        (["--webhook-cert-path=/x"], "there are no webhooks"),
                        (["--enable-http2=false"], "leave it out; HTTP/1.1 and HTTP/2"),
                        (["--defaults-yaml-path=/x"], "base configuration"),
                        (["--zap-log-level=2"], "say --log-level")]:
        code, text = refused(*flags)
        assert code == 2 and says in text, text


def test_metrics_by_https_and_to_those_who_show_the_token(prepared, make_operator, certificate, tmp_path):
    token = tmp_path / "token"
    token.write_text("open-sesame\n")
    cert, key = (pathlib.Path(shutil.copy(path, tmp_path)) for path in certificate)
    o = make_operator({**BOTH, "--metrics-secure": "", "--metrics-cert-path": cert.parent, "--metrics-cert-name": cert.name,
                       "--metrics-cert-key": key.name, "--metrics-token-file": token})
    health, port = port_of(o, "/healthz and /readyz"), port_of(o, "/metrics")
    trust = ssl.create_default_context(cafile=cert)

    def scrape(*headers, path="/metrics"):
        def once():
            c = http.client.HTTPSConnection("127.0.0.1", port, timeout=60 * harness.SLOW, context=trust)
            with contextlib.closing(c):
                c.request("GET", path, headers=dict(headers))
                answer = c.getresponse()
                return answer.status, answer.read().decode()

        return patiently(once)

    def shown(token):
        return ("Authorization", token)

    assert scrape(shown("Bearer open-sesame"))[0] == 200
    # It answers before it is at work.
    harness.wait_until(lambda: "berth_modelservice_leader 1" in scrape(shown("Bearer open-sesame"))[1], 90, "it leads")
    for wrong in (), (shown("Bearer open-sesam"),), (shown("Bearer open-sesame2"),), (shown("Bearer "),), \
            (shown("Basic open-sesame"),), (shown("open-sesame"),):
        status, text = scrape(*wrong)
        assert status == 401 and "berth_modelservice" not in text, wrong
    assert ask(port, "/metrics")[0] == 400, "plain HTTP"
    assert ask(health, "/healthz") == (200, "ok\n"), "probes stay as they are"
    token.write_text("another\n")  # as a Secret's volume is written anew
    assert scrape(shown("Bearer open-sesame"))[0] == 401 and scrape(shown("Bearer another"))[0] == 200
    token.unlink()
    os.mkfifo(token)  # which nobody writes: it is not waited for
    assert scrape(shown("Bearer another"))[0] == 503
    assert ask(health, "/healthz")[0] == 200
    token.unlink()
    assert scrape(shown("Bearer another"))[0] == 503

    # A certificate that is renewed, first the one file and then the other, as nobody should.
    def served():
        ask(health, "/healthz")
        return patiently(lambda: ssl.get_server_certificate(("127.0.0.1", port))).split()

    before = served()
    assert before == cert.read_text().split()
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-days", "2", "-subj", "/CN=localhost", "-keyout", tmp_path / "new.key", "-out", tmp_path / "new.crt"],
                   check=True, capture_output=True)
    (tmp_path / "new.crt").replace(cert)
    harness.wait_until(lambda: served() == before and "stays the old one" in o.said(), 90, "it is told")
    (tmp_path / "new.key").replace(key)
    harness.wait_until(lambda: served() == cert.read_text().split(), 90, "the new one is served")
    assert o.said().count("stays the old one") == 1 and "has a new certificate" in o.said()
    assert "open-sesame" not in o.said() and "another\n" not in o.said()


def test_certificates_that_cannot_be_used(prepared, tmp_path):
    (tmp_path / "tls.crt").write_text("none")
    (tmp_path / "token").write_text("\n")
    to = ["--kubeconfig", prepared.config, "--metrics-bind-address", "127.0.0.1:0"]
    for flags, code, says in [
            (["--metrics-secure"], 2, "--metrics-cert-path DIR"),
            (["--metrics-cert-name=x"], 2, "--metrics-cert-path DIR"),
            (["--metrics-token-file", tmp_path / "token"], 2, "by plain HTTP anybody could read"),
            (["--metrics-cert-path", tmp_path], 1, "tls.crt: "),
            (["--metrics-cert-path", tmp_path, "--metrics-cert-name=x"], 1, "/x: No such file or directory"),
            (["--metrics-cert-path", tmp_path, "--metrics-token-file", tmp_path / "token"], 1, "--metrics-token-file")]:
        got, text = refused(*to, *flags)
        assert got == code and says in text, text


def test_services_are_counted_by_whether_they_are_ready(prepared, make_operator):
    numbers = port_of(make_operator(BOTH), "/metrics")

    def counts():
        return tuple(metrics(numbers)[f'berth_modelservice_services_by_ready{{ready="{word}"}}']
                     for word in ("true", "false", "unknown"))

    assert counts() == (0, 0, 0)
    prepared.create(SERVICES, service("svc", decode=DECODE))
    prepared.create(SERVICES, service("bad", "org/bad", baseConfigMapRef={"name": "none"}))
    harness.wait_until(lambda: counts() == (1, 1, 0), 150, "one is ready, one is not")
    prepared.kubectl("delete", "modelservice", "bad", "-n", SPACE)
    harness.wait_until(lambda: counts() == (1, 0, 0), 90, "and goes")
