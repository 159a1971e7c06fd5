"""`berth operator` beside programs that write the same objects: in the midst of its own writes, and all the time."""
import contextlib
import datetime
import itertools
import threading
import time

import pytest

import harness
from admission import amid_writes, touch
from modelservices import (ACCOUNTS, BASE, DEPLOYMENTS, EVENTS, MAPS, SERVICES, SPACE, condition, replicas, service,
                           wait_ready, wait_replicas, wait_still, with_base)
from test_operator_http import BOTH, metrics, port_of

LLM = {"replicas": 2, "containers": [{"name": "llm", "image": "a"}]}
ACCOUNT = f"{ACCOUNTS}/svc-sa"


def patches(cluster, since, resource):
    """[(when it was asked for, in seconds; the answer's code)] of each of that resource."""
    return sorted((datetime.datetime.fromisoformat(e["requestReceivedTimestamp"].replace("Z", "+00:00")).timestamp(),
                   e["responseStatus"]["code"]) for e in cluster.audited(since)
                  if (e["verb"], e.get("objectRef", {}).get("resource")) == ("patch", resource))


def assert_ever_more_seldom(times):
    """As what others undo is applied: at once, and then 1, 2, 4 s and so on, up to a minute, after the one before."""
    apart = [later - earlier for earlier, later in zip(times, times[1:])]
    assert all(got >= min(2**i, 60) for i, got in enumerate(apart)), apart


def looks_most(took, asked):
    """Whatever comes within a fifth of a second is one look, and so is each status that is written."""
    return 5 * took + asked["patch", "modelservices/status"] + 10


def secrets(cluster):
    return [s["name"] for s in cluster.get(ACCOUNT).get("imagePullSecrets", [])]


def image(cluster):
    return cluster.get(f"{DEPLOYMENTS}/svc-decode")["spec"]["template"]["spec"]["containers"][0]["image"]


# ---- in the midst of a write ----

@pytest.mark.parametrize("theirs", [[], ["theirs"]], ids=["the-first", "one-more"])
def test_pull_secrets_that_come_while_ours_are_applied_stay(prepared, make_operator, theirs):
    first = make_operator({"--pd-pull-secrets": "a"})
    prepared.create(SERVICES, service("svc", decode=LLM))
    wait_ready(prepared, "svc")
    wait_still(prepared)
    first.stop()
    if theirs:
        prepared.merge(ACCOUNT, {"imagePullSecrets": [{"name": n} for n in ["a", *theirs]]})
    came = []

    def one_comes(request):
        if not came:
            came.append("late")
            prepared.merge(ACCOUNT, {"imagePullSecrets": [{"name": n} for n in ["a", *theirs, "late"]]})

    before = prepared.audit_lines()
    with amid_writes(prepared, "", "serviceaccounts", lambda: touch(prepared, ACCOUNT), one_comes):
        make_operator({"--pd-pull-secrets": "b"})
        harness.wait_until(lambda: secrets(prepared) == ["b", *theirs, "late"], 90, "ours are changed, and no others")
        assert came
        wait_ready(prepared, "svc")
        wait_still(prepared)
    assert secrets(prepared) == ["b", *theirs, "late"]
    # The first was for what there was before, as is each until the watch has told; then one is enough.
    tries = patches(prepared, before, "serviceaccounts")
    codes = [code for _, code in tries]
    assert codes[0] == 409 and codes.count(200) == 1, codes
    assert len(codes) <= looks_most(tries[-1][0] - tries[0][0], prepared.calls(before)), tries


@pytest.mark.parametrize("what", ["scaled", "touched"])
def test_replicas_that_change_while_they_are_handed_over_stay(prepared, operator, what):
    prepared.create(SERVICES, service("svc", decode=LLM))
    wait_ready(prepared, "svc")
    wait_still(prepared)
    path, came = f"{DEPLOYMENTS}/svc-decode", []

    def another_is_faster(request):
        if request["options"].get("fieldManager") == "berth-modelservice-scale" and not came:
            came.append(what)
            if what == "scaled":
                prepared.merge(f"{path}/scale", {"spec": {"replicas": 5}})
            else:
                prepared.merge(path, {"metadata": {"annotations": {"mine": "1"}}})

    before = prepared.audit_lines()
    with amid_writes(prepared, "apps", "deployments", lambda: touch(prepared, path), another_is_faster):
        prepared.merge(f"{SERVICES}/svc", {"spec": {"decoupleScaling": True, "decode": {
            "containers": [{"name": "llm", "image": "b"}]}}})
        harness.wait_until(lambda: image(prepared) == "b", 90, "the image is changed")
        assert came
        wait_ready(prepared, "svc")
        wait_still(prepared)
    assert replicas(prepared, "svc-decode") == (5 if what == "scaled" else 2)
    # Its controller writes meanwhile, too: each look tries once.
    tries = patches(prepared, before, "deployments")
    most = looks_most(tries[-1][0] - tries[0][0], prepared.calls(before))
    assert 1 <= [code for _, code in tries].count(409) <= most, tries
    # From here on they are others' business.
    prepared.merge(f"{path}/scale", {"spec": {"replicas": 4}})
    prepared.merge(f"{SERVICES}/svc", {"spec": {"decode": {"replicas": 1, "containers": [
        {"name": "llm", "image": "c"}]}}})
    harness.wait_until(lambda: image(prepared) == "c", 90, "the image is changed again")
    assert replicas(prepared, "svc-decode") == 4


# ---- all the time ----

@contextlib.contextmanager
def all_the_time(change, a_second):
    """change(i), that often a second as far as the machine can, until the block is over.  Yields how often it was."""
    done, ends, failed = [0], threading.Event(), []

    def work():
        begin = time.monotonic()
        try:
            while not ends.wait(max(0, begin + done[0] / a_second - time.monotonic())):
                change(done[0])
                done[0] += 1
        except Exception as e:  # noqa: BLE001: told by the block's end
            failed.append(e)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield done
    finally:
        ends.set()
        thread.join()
    assert not failed, failed


def looks(numbers):
    m = metrics(numbers)
    return sum(m[f'berth_modelservice_reconciles_total{{result="{r}"}}'] for r in ("done", "failed"))


def measure(cluster, numbers, change, a_second, seconds):
    """What the operator does meanwhile and until it is still: (seconds, changes, looks, patches by resource)."""
    before, looked, begin = cluster.audit_lines(), looks(numbers), time.monotonic()
    with all_the_time(change, a_second) as done:
        harness.wait_until(lambda: done[0] >= 10 and time.monotonic() - begin >= seconds, 120, "it is changed often")
    wait_still(cluster)
    took, looked, asked = time.monotonic() - begin, looks(numbers) - looked, cluster.calls(before)
    print(f"{took:.1f} s, {done[0]} changes, {looked:.0f} looks, {dict(asked)}")
    return took, done[0], looked, asked


def test_a_base_that_changes_fifty_times_a_second_costs_a_few_looks(prepared, make_operator):
    numbers = port_of(make_operator(BOTH), "/metrics")
    prepared.create(SERVICES, service("svc", decode={}, **with_base(prepared)))
    wait_ready(prepared, "svc")
    wait_still(prepared)
    last = []

    def change(i):
        last[:] = [f"image{i}"]
        prepared.merge(f"{MAPS}/base", {"data": {
            "decodeDeployment": BASE["decodeDeployment"].replace("engine", last[0])}})

    took, _, looked, asked = measure(prepared, numbers, change, 50, 3)
    assert looked <= looks_most(took, asked), (took, looked, asked)
    # Five at once, then one a second.
    assert asked["patch", "deployments"] <= 5 + took + 2, (took, asked)
    harness.wait_until(lambda: image(prepared) == last[0], 90, "the last change has come about")
    wait_ready(prepared, "svc")


def test_one_object_that_others_write_to_all_the_time(prepared, make_operator):
    numbers = port_of(make_operator(BOTH), "/metrics")
    prepared.create(SERVICES, service("svc", decode=LLM))
    wait_ready(prepared, "svc")
    wait_still(prepared)
    path = f"{DEPLOYMENTS}/svc-decode"
    # In what is theirs: it is looked at, and nothing is written.
    took, _, looked, asked = measure(prepared, numbers, lambda i: prepared.merge(
        path, {"metadata": {"labels": {"tick": str(i)}}}), 20, 3)
    assert looked <= looks_most(took, asked), (took, looked, asked)
    assert not asked["patch", "deployments"], asked
    # In what is wished for: five at once, then one a second, and the last of it holds.
    took, changes, _, asked = measure(prepared, numbers, lambda i: prepared.merge(
        f"{SERVICES}/svc", {"spec": {"decode": {"replicas": 1 + i % 7}}}), 20, 5)
    assert asked["patch", "deployments"] <= 5 + took + 2, (took, asked)
    wait_replicas(prepared, "svc-decode", 1 + (changes - 1) % 7)
    wait_ready(prepared, "svc")


def test_one_object_that_another_deletes_all_the_time(prepared, operator):
    """Each time as soon as it is there: it is made anew after 1, 2, 4 s and so on, and that is told."""
    prepared.create(SERVICES, service("svc", decode=LLM))
    wait_ready(prepared, "svc")
    wait_still(prepared)
    before = prepared.audit_lines()

    def made():
        return [at for at, code in patches(prepared, before, "deployments") if code == 201]

    with all_the_time(lambda i: prepared.api("DELETE", f"{DEPLOYMENTS}/svc-decode"), 20):
        harness.wait_until(lambda: len(made()) >= 4, 120, "it is made anew each time")
        # Who looks when nobody undoes it any more has nothing to tell of.
        harness.wait_until(lambda: [e for e in prepared.objects(EVENTS) if e["reason"] == "Contested" and
                                    "Deployment svc-decode" in e["note"]], 150, "that it is undone each time is told")
    assert_ever_more_seldom(made())
    wait_replicas(prepared, "svc-decode", 2, 150)
    harness.wait_until(lambda: condition(prepared, "svc")["status"] == "True", 150, "it is left in peace")


# ---- what is said of it ----

def test_a_failure_is_logged_once_and_not_at_each_look(prepared, make_operator):
    o = make_operator(BOTH)
    numbers = port_of(o, "/metrics")

    def failures():
        return metrics(numbers)['berth_modelservice_reconciles_total{result="failed"}']

    def bad(port):
        return {"eppService": f"spec: {{ports: [{{port: {port}}}]}}\n"}

    def lines():  # besides, its base may be unknown at first, which is told as well
        return [line for line in o.said().splitlines() if " warn " in line and f"ModelService {SPACE}/svc:" in line
                and "Service svc-epp-service" in line]

    prepared.create(SERVICES, service("svc", decode=LLM, **with_base(prepared, **bad(70000))))
    # It is tried again after 1, 2, 4 s, and at each change.
    harness.wait_until(lambda: failures() >= 4, 120, "it has failed again and again")
    (line,) = lines()
    assert "70000" in line, line
    # Another reason is another line; that it works is none, and then it is news again.
    prepared.merge(f"{MAPS}/base", {"data": bad(70001)})
    harness.wait_until(lambda: len(lines()) == 2, 90, "the other reason is told")
    # Left alone it waits for up to a minute by now: each of these changes is a look.
    before, turns = failures(), itertools.count()

    def another_two():
        prepared.merge(f"{SERVICES}/svc", {"metadata": {"annotations": {"turn": str(next(turns))}}})
        time.sleep(1)
        return failures() >= before + 2

    harness.wait_until(another_two, 90, "it fails again")
    assert len(lines()) == 2 and "70001" in lines()[1], lines()
    prepared.merge(f"{MAPS}/base", {"data": bad(9002)})
    wait_ready(prepared, "svc")
    prepared.merge(f"{MAPS}/base", {"data": bad(70001)})
    harness.wait_until(lambda: len(lines()) == 3, 90, "it is told again")


def test_two_operators_that_want_different_things_write_ever_more_seldom(prepared, make_operator):
    """Neither was told to elect a leader.  What one says of the service the other one contradicts."""
    both = [make_operator({"--epp-cluster-role": role}) for role in ("view", "edit")]
    prepared.create(SERVICES, service("svc", decode=LLM, **with_base(prepared)))
    harness.wait_until(lambda: any("is another operator at work" in o.said() for o in both), 120, "that is told")
    before, begin = prepared.audit_lines(), time.monotonic()
    time.sleep(20)
    took, asked = time.monotonic() - begin, prepared.calls(before)
    print(f"{took:.1f} s: {dict(asked)}")
    # Each waits for 4 s and longer by now; what they write of children is as seldom.
    assert asked["patch", "modelservices/status"] <= 2 * took, asked  # forty a second, if nobody held back
    assert sum(n for (verb, _), n in asked.items() if verb in ("create", "patch", "delete")) <= 6 * took, asked
    # Left alone, one has it as it wishes.
    both[1].stop()
    wait_ready(prepared, "svc")
