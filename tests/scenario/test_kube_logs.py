"""Logs of the Kubernetes shimlet's replicas, on real servers and a kubelet that says what is written here."""
import harness
from shimlet_drive import PATIENCE, drive, pods_of, settings, unit, wait_unplayed_gone  # noqa: F401 (fixtures)

LIMITS_MS = (15_000, 60_000, 200_000)  # of following, which lasts as long: a busy machine needs more


def test_logs_are_the_services_own_and_followed_all_at_once(cluster, drive, logging_node):
    drive.apply(unit("talk", settings={"node_selector": "logging=yes", "tolerations": "all"}))
    other = unit("other", replicas=1)
    drive.apply(other)
    drive.wait_ready("other", 1)
    pods = harness.wait_until(lambda: (p := pods_of(cluster, "talk")) and len(p) == 2 and all(
        x["spec"].get("nodeName") for x in p) and p, PATIENCE, "pods on the logging machine")
    names = sorted(p["metadata"]["name"] for p in pods)
    wait_known(drive, "talk", 2)

    def said(**how):
        answer = drive.ask("logs", name="talk", **how)
        return answer["r"], sorted((x["replica"], x["text"].removeprefix(x["replica"]).strip())
                                   for x in answer["items"])

    def hears(want, **how):
        """True once all of it was said; what else is said is none of it."""
        r, lines = said(**how)
        assert set(lines) <= set(want) and len(lines) == len(set(lines)), lines
        return (r, lines) == (0, want)

    # A log that the API server does not get in time from the machine is left out.
    harness.wait_until(lambda: hears([(n, "begins") for n in names]), 60, "what both say")
    harness.wait_until(lambda: hears([(names[1], "begins")], replica=names[1]), 60, "what the second says")
    want = sorted((n, t) for n in names for t in ("begins", "goes on"))
    for limit in LIMITS_MS:  # it ends when its time is over
        r, lines = said(follow=True, timeout_ms=limit)
        assert r < 0 and set(lines) <= set(want) and len(lines) == len(set(lines)), lines
        if lines == want:
            break
    assert lines == want
    # The pods of others are not this service's to read.
    stranger = pods_of(cluster, "other")[0]["metadata"]["name"]
    answer = drive.ask("logs", name="talk", replica=stranger)
    assert answer["r"] < 0 and "has no replica" in answer["error"], answer
    drive.remove("other")
    remove_unplayed(cluster, drive, "talk")


def test_sixteen_logs_are_followed_at_once(cluster, drive, logging_node):
    """What more there are is named, and comes when there is room."""
    drive.apply(unit("crowd", replicas=18, settings={"node_selector": "logging=yes", "tolerations": "all"}))
    names = harness.wait_until(lambda: (p := pods_of(cluster, "crowd")) and len(p) == 18 and all(
        x["spec"].get("nodeName") for x in p) and {x["metadata"]["name"] for x in p}, PATIENCE, "18 pods")
    wait_known(drive, "crowd", 18)
    for limit in LIMITS_MS:
        logging_node.ended.update(names)  # each log ends when it has been read
        items = drive.ask("logs", name="crowd", follow=True, timeout_ms=limit)["items"]
        begun = sorted(x["replica"] for x in items if x["text"].endswith(" begins"))
        if len(begun) >= len(names):
            break
    assert begun == sorted(names), items
    told = [x["replica"] for x in items if "16 replicas are followed already" in x["text"]]
    assert len(told) == len(set(told)) == 2, items
    remove_unplayed(cluster, drive, "crowd")


def wait_known(drive, name, n):
    """What is told of its pods has come as far as which machines they are on."""
    harness.wait_until(lambda: len([r for r in drive.status(name)["replicas"] if r["node"]]) == n, 60,
                       f"{n} replicas of {name} are known")


def remove_unplayed(cluster, drive, name):
    """Of a machine where no kubelet ends the pods."""
    drive.do("remove", name=name)
    harness.wait_until(lambda: {r["state"] for r in drive.status(name)["replicas"]} == {"stopping"},
                       PATIENCE, "all are stopping")
    wait_unplayed_gone(cluster, drive, name)
