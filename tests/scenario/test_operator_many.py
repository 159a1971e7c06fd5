"""`berth operator` with many ModelServices: what they cost is in proportion, and nothing once they are there."""
import collections
import datetime

import pytest

import harness
import msvc_load as load
from modelservices import ACCOUNTS, SERVICES, SPACE, wait_still, wait_told_of

MANY = 60
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.fixture(scope="module")
def served(prepared):
    """The kinds that a base configuration with a route asks for."""
    paths = [path.format(SPACE) for path in load.CHILDREN if load.GATEWAY in path or load.INFERENCE in path]

    def answer_all(status):
        return all(prepared.api("GET", path, text=True)[0] == status for path in paths)

    for definition in load.DEFINITIONS:
        prepared.create(DEFINITIONS, definition)
    harness.wait_until(lambda: answer_all(200), 60, "all kinds are served")
    for definition in load.DEFINITIONS:  # told of later than they are served; the operator goes by what is told
        spec = definition["spec"]
        wait_told_of(prepared, f"{spec['group']}/{spec['versions'][0]['name']}", spec["names"]["plural"])
    # Which is no child: it is not to come while they are counted.
    harness.wait_until(lambda: prepared.exists(f"{ACCOUNTS}/default"), 120, "the namespace's own account")
    yield prepared
    for definition in load.DEFINITIONS:
        prepared.api("DELETE", f"{DEFINITIONS}/{definition['metadata']['name']}")
    harness.wait_until(lambda: answer_all(404), 60, "they are gone")


def applied_again(events):
    """How many objects of each kind were applied once more, ten seconds or longer after the last time: they had not
    been heard of, as on a machine that halts."""
    last, found = {}, collections.Counter()
    for e in events:
        ref = e.get("objectRef", {})
        if e["verb"] != "patch" or "subresource" in ref or ref["resource"] == "events":
            continue
        begin, end = (datetime.datetime.fromisoformat(e[key].replace("Z", "+00:00"))
                      for key in ("requestReceivedTimestamp", "stageTimestamp"))
        key = ref["resource"], ref.get("name")
        if key in last and (begin - last[key]).total_seconds() > 9.9:
            found[ref["resource"]] += 1
        last[key] = end
    return found


def test_many_services_cost_their_objects_and_rest(served, operator):
    # Without replicas: this is about what the operator does, and pods are others' work.
    before = served.audit_lines()
    served.create(f"/api/v1/namespaces/{SPACE}/configmaps", {"metadata": {"name": "base"}, "data": load.BASE})
    for i in range(MANY):
        served.create(SERVICES, load.service(i, replicas=0, picker=0))
    harness.wait_until(lambda: load.all_exist(served, SPACE, MANY), 240, "all objects are there")
    harness.wait_until(lambda: all(load.is_ready(s) for s in served.objects(SERVICES)), 240, "all are ready")
    wait_still(served)
    asked, again = served.calls(before), applied_again(served.audited(before))
    events = sum(n for (_, what), n in asked.items() if what == "events")
    told = asked["patch", "modelservices/status"]
    calls = sum(n for (verb, what), n in asked.items() if verb != "watch" and what != "events") - told
    # Each object once, but for one that is not heard of in ten seconds, which may be asked for, too; and a list of
    # each kind.
    assert MANY * load.A_SERVICE <= calls <= MANY * load.A_SERVICE * 1.5 + 2 * again.total(), (asked, again)
    # The status while it is made and when it is, and between when controllers of Deployments take their time.
    assert told <= MANY * (3 + 2 * load.CHILDREN["/apis/apps/v1/namespaces/{}/deployments"]), asked
    assert events <= MANY * 4, asked
    assert not [what for (verb, what), n in asked.items() if verb == "get" and n >= MANY + again[what]], (asked, again)
    # At rest, when controllers of Deployments have said their last: longer than what is not heard of is left alone.
    wait_still(served, 12)
    # They go with their services, by the garbage collector alone.
    before = served.audit_lines()
    assert served.api("DELETE", SERVICES)[0] == 200
    harness.wait_until(lambda: not any(load.counts(served, SPACE).values()), 240, "all objects are gone")
    asked = served.calls(before)
    # Some may be missed, or told of, before it is heard that their service is gone: two watches, of which one may be
    # late.  Whoever makes them anew does so with all.
    assert not [what for verb, what in asked if verb in ("delete", "update")], asked
    assert sum(n for (verb, what), n in asked.items() if verb in ("patch", "create") and what != "events") <= \
        MANY * load.A_SERVICE / 4, asked


def test_the_first_status_waits_for_what_was_made(served, operator):
    """A service whose objects were made has one status, with what became of them, not one before that."""
    served.stop_others()  # who would make the objects say something else
    try:
        served.create(f"/api/v1/namespaces/{SPACE}/configmaps", {"metadata": {"name": "base"}, "data": load.BASE})
        before = served.audit_lines()
        for i in range(MANY):
            served.create(SERVICES, load.service(i))
        harness.wait_until(lambda: load.all_exist(served, SPACE, MANY), 240, "all objects are there")
        harness.wait_until(lambda: all("status" in s for s in served.objects(SERVICES)), 240, "all have a status")
        wait_still(served)
        # Before the others are back.
        written = served.calls(before)["patch", "modelservices/status"]
        again = applied_again(served.audited(before))
    finally:
        served.start_others()
    # What is not heard of in ten seconds is applied again, and told of then.
    assert MANY <= written <= MANY * 1.75 + again.total(), (written, again)
