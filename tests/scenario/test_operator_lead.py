"""Several operators of one cluster, of which one is at work: real API server, real processes."""
import datetime
import json
import re
import signal
import time

import pytest

import harness
import modelservices
from modelservices import SERVICES, SPACE, condition, prepared, service, wait_ready, wait_replicas  # noqa: F401

# One that is halted for a third of it may lead no more: as it should, but not as most tests here expect.
SECONDS = int(30 * harness.SLOW)
# Where the one that leads must not lose it: it renews it every third, and may be late by another.
CALM = 2 * SECONDS
LONG = 600  # nobody waits for its end
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
LEASE = f"{LEASES}/berth-modelservice-{SPACE}"
DECODE = {"replicas": 1, "containers": [{"name": "llm", "image": "engine"}]}
WORKS = "looks after the ModelServices"


def lease(cluster):
    status, got = cluster.api("GET", LEASE)
    return got["spec"] if status == 200 else {}


def holder(cluster):
    return lease(cluster).get("holderIdentity", "")


def at(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def identity(operator):
    found = re.search(r"may lead, as (\S+)", operator.said())
    return found[1] if found else None


def leads(operator):
    """Does it hold the lease, and work?"""
    me = identity(operator)
    return me is not None and me == holder(operator.cluster) and \
        operator.said().count(WORKS) > operator.said().count("leads no more")


def wait_leads(operator, seconds=120):
    harness.wait_until(lambda: leads(operator), seconds, f"it leads:\n{operator.said()}")


@pytest.fixture
def elect(prepared, tmp_path):  # noqa: F811
    """elect(): one more operator.  The second has another user, whom the audit log leaves out."""
    made = []
    prepared.api("DELETE", LEASE)  # what others left
    account = {"apiGroup": "", "kind": "ServiceAccount", "name": "default", "namespace": "default"}
    prepared.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", {
        "metadata": {"name": "second"}, "subjects": [account],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}})
    token = prepared.create("/api/v1/namespaces/default/serviceaccounts/default/token", {
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}})["status"]["token"]
    (tmp_path / "second").write_text(json.dumps(prepared.config_of("second", token=token)))
    modelservices.wait_rights(prepared, modelservices.ACCOUNT)

    def start(seconds=SECONDS):
        flags = {"--leader-elect": "", "--leader-elect-lease-duration": f"{seconds}s"}
        if made:
            flags["--kubeconfig"] = tmp_path / "second"
        made.append(modelservices.Operator(prepared, tmp_path / f"operator{len(made)}.log", flags).start())
        return made[-1]

    try:
        yield start
        for o in made:
            assert o.process.returncode is not None or o.stop() == 0, o.said()
    finally:
        for o in made:
            if o.process.poll() is None:
                o.process.send_signal(signal.SIGCONT)
                o.kill()
        modelservices.clear(prepared)
        prepared.api("DELETE", LEASE)
        prepared.kubectl("delete", "clusterrolebinding", "second")
        modelservices.wait_rights(prepared, modelservices.ACCOUNT, are=False)  # others have that account, too


@pytest.fixture
def two(elect, request):
    """The one that leads, and the one that stands by.  Its parameter is how long the lease lasts."""
    seconds = getattr(request, "param", SECONDS)
    first = elect(seconds)
    wait_leads(first)
    second = elect(seconds)
    harness.wait_until(lambda: f"stands by: {identity(first)} leads" in second.said(), 90, "it stands by")
    return first, second


@pytest.mark.parametrize("two", [LONG], indirect=True, ids=["long"])
def test_one_of_two_is_at_work(prepared, two):  # noqa: F811
    first, second = two
    before, begin = prepared.audit_lines(), time.monotonic()
    prepared.create(SERVICES, service("svc", decode=DECODE))
    wait_ready(prepared, "svc")
    assert leads(first) and WORKS not in second.said()
    harness.wait_until(lambda: prepared.calls(before)["patch", "deployments"] >= 1, 60, "the call is in the log")
    asked = prepared.calls(before)
    # Once, but for an object that its watch does not tell of in ten seconds.
    assert asked["patch", "deployments"] <= 3 + (time.monotonic() - begin) / 10, asked
    # One renews it; the other has nobody to follow.
    assert asked["create", "leases"] == 0, asked
    found = lease(prepared)
    assert found["leaseDurationSeconds"] == LONG and found["leaseTransitions"] == 0


def test_one_that_is_killed_is_followed_when_its_lease_has_lapsed(prepared, two):  # noqa: F811
    first, second = two
    prepared.create(SERVICES, service("svc", decode=DECODE))
    wait_ready(prepared, "svc")
    first.kill()
    before = lease(prepared)
    prepared.merge(f"{SERVICES}/svc", {"spec": {"decode": {"replicas": 3}}})
    wait_leads(second)
    after = lease(prepared)
    waited = (at(after["acquireTime"]) - at(before["renewTime"])).total_seconds()
    assert waited >= SECONDS, (before, after)
    print(f"a lease of {SECONDS} s was taken {waited:.1f} s after it was renewed last")
    assert after["leaseTransitions"] == 1
    wait_replicas(prepared, "svc-decode", 3)
    wait_ready(prepared, "svc")


def end(operator):
    """It gives the lease back.  It tries for three seconds: if the API server was silent for so long, and for no
    other reason, it is given back here, so that it goes on."""
    assert operator.stop() == 0, operator.said()
    failed = re.search("could not be given back: .*", operator.said())
    if failed:
        assert "no complete answer within" in failed[0], failed[0]
        if holder(operator.cluster) == identity(operator):
            operator.cluster.merge(LEASE, {"spec": {"holderIdentity": "", "leaseDurationSeconds": 1}})


def test_one_that_ends_gives_the_lease_back(prepared, elect):  # noqa: F811
    first = elect(LONG)
    wait_leads(first)
    second = elect(LONG)
    harness.wait_until(lambda: "stands by" in second.said(), 90, "it stands by")
    end(first)
    assert holder(prepared) in ("", identity(second))
    wait_leads(second)  # long before it would lapse
    end(second)
    assert lease(prepared)["holderIdentity"] == "", "it is given back, and not taken away"
    assert lease(prepared)["leaseDurationSeconds"] == 1


def test_one_that_was_halted_does_nothing_as_a_leader_afterwards(prepared, two):  # noqa: F811
    first, second = two
    prepared.create(SERVICES, service("svc", decode=DECODE))
    wait_ready(prepared, "svc")
    for i in range(20):  # so that it is halted at work
        prepared.create(SERVICES, service(f"more{i}", model=f"org/more{i}", decode=DECODE))
    first.process.send_signal(signal.SIGSTOP)
    wait_leads(second)
    # What it will hear of first: something that a leader would mend.
    prepared.merge(f"{SERVICES}/svc", {"spec": {"decode": {"replicas": 4}}})
    wait_replicas(prepared, "svc-decode", 4)
    for i in range(20):
        wait_ready(prepared, f"more{i}")
    prepared.kubectl("delete", "deployment", "svc-decode", "more0-decode", "-n", SPACE)
    before = prepared.audit_lines()
    first.process.send_signal(signal.SIGCONT)
    harness.wait_until(lambda: "leads no more: the lease could not be renewed in time" in first.said(), 90,
                       "it steps down")
    harness.wait_until(lambda: prepared.calls(before)["get", "leases"] > 3, 90, "it stands by")
    wait_replicas(prepared, "svc-decode", 4)
    # But for calls that it was about to send: one at most of each of four that look at services, of the one that
    # tells events and of the one that has the lease.  What it hears of now is not among them.
    written = [e for e in prepared.audited(before) if e["verb"] not in ("get", "list", "watch")]
    assert len(written) <= 6 and not [e for e in written if e["objectRef"].get("name", "").startswith("svc")], written
    wait_leads(second)
    assert not leads(first)
    # It may lead again, in the same process.
    second.kill()
    wait_leads(first)
    prepared.merge(f"{SERVICES}/svc", {"spec": {"decode": {"replicas": 2}}})
    wait_replicas(prepared, "svc-decode", 2)


@pytest.mark.parametrize("two", [CALM], indirect=True, ids=["calm"])
def test_a_lease_that_is_deleted_stays_with_the_one_that_had_it(prepared, two):  # noqa: F811
    first, second = two
    for _ in range(2):
        assert prepared.api("DELETE", LEASE)[0] == 200
        harness.wait_until(lambda: holder(prepared) == identity(first), 90, "it is made anew")
    # Nobody's, as it stands there: its holder has it again before another may.
    prepared.merge(LEASE, {"spec": {"holderIdentity": ""}})
    harness.wait_until(lambda: holder(prepared) == identity(first), 90, "it is taken again")
    assert first.said().count(WORKS) == 1 and WORKS not in second.said()


@pytest.mark.parametrize("two", [CALM], indirect=True, ids=["calm"])
def test_a_lease_that_somebody_else_took_is_not_fought_for(prepared, two):  # noqa: F811
    first, second = two
    prepared.merge(LEASE, {"spec": {"holderIdentity": "somebody" * 60, "leaseDurationSeconds": CALM}})
    harness.wait_until(lambda: "leads no more: somebody" in first.said(), 90, "it steps down")
    harness.wait_until(lambda: "stands by: somebody" in second.said(), 90, "the other one is not next")
    # Who never renews it has it for its time alone.
    harness.wait_until(lambda: leads(first) or leads(second), 120, "one of them leads")
    prepared.create(SERVICES, service("svc", decode=DECODE))
    wait_ready(prepared, "svc")
    assert not (leads(first) and leads(second))


def test_an_api_server_that_is_away_for_longer_than_the_lease(prepared, two):  # noqa: F811
    first, second = two
    prepared.create(SERVICES, service("svc", decode=DECODE))
    wait_ready(prepared, "svc")
    prepared.stop_api()
    harness.wait_until(lambda: "leads no more: the lease could not be renewed in time" in first.said(), 90,
                       "it steps down")
    prepared.start_api()
    harness.wait_until(lambda: leads(first) or leads(second), 120, "one of them leads")
    prepared.merge(f"{SERVICES}/svc", {"spec": {"decode": {"replicas": 3}}})
    wait_replicas(prepared, "svc-decode", 3)
    wait_ready(prepared, "svc")
    assert not (leads(first) and leads(second))
    for o in two:
        modelservices.assert_said_once(o, 14)


def test_it_says_why_it_cannot_lead(prepared, tmp_path):  # noqa: F811
    (tmp_path / "nobody").write_text(json.dumps(prepared.config_of("nobody", token="wrong")))
    o = modelservices.Operator(prepared, tmp_path / "log",
                               {"--leader-elect": "", "--kubeconfig": tmp_path / "nobody"}).start()
    try:
        harness.wait_until(lambda: "the lease default/" in o.said() and "401" in o.said(), 90, "it is told")
        assert WORKS not in o.said()
    finally:
        assert o.stop() == 0
