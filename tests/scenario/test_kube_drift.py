"""What others change of the Kubernetes shimlet's objects is seen and put right, on real servers."""
import harness
from shimlet_drive import PLAIN, KubeDrive, asked, deployment, drive, service, settings, unit  # noqa: F401 (fixtures)


def test_what_others_change_is_put_right(cluster, drive):
    u = unit("drift")
    drive.apply(u)
    drive.wait_seen("drift", 2)  # a Service that is not known yet were drift, too
    since, begin = drive.count(), cluster.audit_lines()
    cluster.kubectl("scale", "deployment/drift", "--replicas=5")
    harness.wait_until(lambda: "drift-id" in drive.said("changed", since), 60, "to be told")
    seen = harness.wait_until(lambda: (s := drive.status("drift"))["drifted"] and s, 60, "drift")
    assert seen["message"] == "somebody set replicas to 5; 2 are wanted"
    drive.apply(u)
    # Not at once: what is there is known from a watch, which tells of the apply a little later.
    harness.wait_until(lambda: not drive.status("drift")["drifted"], 60, "no drift")
    drive.wait_ready("drift", 2)
    cluster.kubectl("set", "image", "deployment/drift", "llama-3-8b=evil:1")
    harness.wait_until(lambda: drive.status("drift")["drifted"], 60, "drift of the image")
    drive.apply(u)
    container = deployment(cluster, "drift")["spec"]["template"]["spec"]["containers"][0]
    assert container["image"].startswith("vllm/")
    cluster.kubectl("delete", "service", "drift")
    harness.wait_until(lambda: (s := drive.status("drift"))["drifted"] and "Service" in s["message"], 60, "no Service")
    harness.wait_until(lambda: drive.apply(u) and cluster.exists(
        "/api/v1/namespaces/default/services/drift"), 60, "the Service again")
    cluster.merge("/api/v1/namespaces/default/services/drift", {"spec": {"selector": {"app": "x"}}})
    harness.wait_until(lambda: drive.apply(u) and service(cluster, "drift")["spec"]["selector"]["app"]
                       == "drift-id", 60, "the Service's selector")
    cluster.kubectl("delete", "deployment", "drift")
    harness.wait_until(lambda: not drive.status("drift")["exists"], 60, "it is gone")
    drive.apply(u)
    drive.wait_ready("drift", 2)
    # Somebody else's fields stay theirs.
    cluster.kubectl("annotate", "deployment/drift", "team/note=mine")
    drive.apply({**u, "replicas": 1})
    assert deployment(cluster, "drift")["metadata"]["annotations"]["team/note"] == "mine"
    assert not [c for c in cluster.calls(begin) if c[0] == "list"], "watches told it all"
    drive.remove("drift")


def test_what_others_change_while_berth_is_away_is_put_right(cluster, settings):
    asleep, touched = unit("asleep", replicas=1), unit("touched", replicas=1)
    with KubeDrive("kubernetes", settings) as d:
        for u in (asleep, touched):
            d.apply(u)
            d.wait_ready(u["name"], 1)
    cluster.kubectl("set", "image", "deployment/touched", "llama-3-8b=evil:1")
    cluster.kubectl("annotate", "deployment/asleep", "team/note=mine")  # nothing that we apply
    since = cluster.audit_lines()
    with KubeDrive("kubernetes", settings) as d:
        d.apply(asleep)
        harness.wait_until(lambda: not d.status("asleep")["drifted"], 60, "no drift")
        seen = d.status("touched")
        assert seen["drifted"] and "nobody watched" in seen["message"], seen
        d.apply(touched)
        container = deployment(cluster, "touched")["spec"]["template"]["spec"]["containers"][0]
        assert container["image"] == PLAIN["image"]
        harness.wait_until(lambda: not d.status("touched")["drifted"], 60, "no drift")
        d.wait_ready("touched", 1)
        d.apply(touched)
        harness.wait_until(lambda: asked(cluster, since)["patch", "deployments"], 60, "it is in the log")
        calls = asked(cluster, since)
        assert calls["patch", "deployments"] == 1 and calls["patch", "services"] == 0, calls
        for u in (asleep, touched):
            d.remove(u["name"])
