"""`berth operator` with many ModelServices: what they cost is in proportion, and nothing once they are there."""
import pytest

import harness
import msvc_load as load
from modelservices import SERVICES, SPACE, wait_still

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
    yield prepared
    for definition in load.DEFINITIONS:
        prepared.api("DELETE", f"{DEFINITIONS}/{definition['metadata']['name']}")
    harness.wait_until(lambda: answer_all(404), 60, "they are gone")


def test_many_services_cost_their_objects_and_rest(served, operator):
    # Without replicas: this is about what the operator does, and pods are others' work.
    before = served.audit_lines()
    served.create(f"/api/v1/namespaces/{SPACE}/configmaps", {"metadata": {"name": "base"}, "data": load.BASE})
    for i in range(MANY):
        served.create(SERVICES, load.service(i, replicas=0, picker=0))
    harness.wait_until(lambda: load.all_exist(served, SPACE, MANY), 240, "all objects are there")
    harness.wait_until(lambda: all(load.is_ready(s) for s in served.objects(SERVICES)), 240, "all are ready")
    wait_still(served)
    asked = served.calls(before)
    events = sum(n for (_, what), n in asked.items() if what == "events")
    told = asked["patch", "modelservices/status"]
    calls = sum(n for (verb, what), n in asked.items() if verb != "watch" and what != "events") - told
    # Each object once, but for one that is not heard of in ten seconds; and a list of each kind.
    assert MANY * load.A_SERVICE <= calls <= MANY * load.A_SERVICE * 1.5, asked
    # The status while it is made and when it is, and between when controllers of Deployments take their time.
    assert told <= MANY * (3 + 2 * load.CHILDREN["/apis/apps/v1/namespaces/{}/deployments"]), asked
    assert events <= MANY * 4, asked
    assert not [what for (verb, what), n in asked.items() if verb == "get" and n >= MANY], asked
    # At rest, when controllers of Deployments have said their last.
    wait_still(served, 8)
    # They go with their services, by the garbage collector alone.
    before = served.audit_lines()
    assert served.api("DELETE", SERVICES)[0] == 200
    harness.wait_until(lambda: not any(load.counts(served, SPACE).values()), 240, "all objects are gone")
    asked = served.calls(before)
    # One may be missed, or told of, before it is heard that its service is gone.
    assert not [what for verb, what in asked if verb in ("delete", "update")], asked
    assert sum(n for (verb, what), n in asked.items() if verb in ("patch", "create") and what != "events") <= \
        MANY / 4, asked


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
    finally:
        served.start_others()
    written = served.calls(before)["patch", "modelservices/status"]
    # What is not heard of in ten seconds is applied again, and told of then.
    assert MANY <= written <= MANY * 1.75, written
