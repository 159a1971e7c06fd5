"""`berth operator` and why replicas do not come: one pod of many that says so."""
import harness
from modelservices import SERVICES, SPACE, condition, service, wait_ready, wait_still

MANY = 230  # more than one page of a list has, and more than were once looked through
PODS = f"/api/v1/namespaces/{SPACE}/pods"


def available(cluster):
    return cluster.get(f"{SERVICES}/svc").get("status", {}).get("decodeAvailable", 0)


def test_one_of_many_that_ends_again_and_again(prepared, operator):
    prepared.create(SERVICES, service("svc", decode={"replicas": MANY, "containers": [{"name": "llm", "image": "a"}]}))
    harness.wait_until(lambda: available(prepared) == MANY, 300, "all are available")
    wait_ready(prepared, "svc")
    before = prepared.audit_lines()
    # As a kubelet says it of the last in the list, each time that it starts it anew and it ends.
    last = max(p["metadata"]["name"] for p in prepared.objects(PODS))
    why = {"message": "back-off 40s restarting failed container", "reason": "CrashLoopBackOff"}
    ended = {"exitCode": 137, "reason": "OOMKilled", "startedAt": None, "finishedAt": None}
    status, got = prepared.api("PATCH", f"{PODS}/{last}/status", {"status": {
        "conditions": [{"type": t, "status": "False"} for t in ("Ready", "ContainersReady")],
        "containerStatuses": [{"name": "llm", "image": "a", "imageID": "", "ready": False, "restartCount": 5,
                               "state": {"waiting": why}, "lastState": {"terminated": ended}}]}},
        content_type="application/strategic-merge-patch+json")
    assert status == 200, got
    harness.wait_until(lambda: available(prepared) == MANY - 1, 90, "one is not available")
    harness.wait_until(lambda: last in condition(prepared, "svc")["message"], 150, "it is told why")
    told = condition(prepared, "svc")["message"]
    assert told.endswith(f"pod {last}, container llm: CrashLoopBackOff: back-off 40s restarting failed container; it "
                         "ended with OOMKilled, exit code 137"), told
    wait_still(prepared)
    # A few pages, at 30 s and 60 s and so on.
    assert prepared.calls(before)["list", "pods"] <= 20, prepared.calls(before)
    prepared.merge(f"{SERVICES}/svc", {"spec": {"decode": {"replicas": 0}}})
    wait_ready(prepared, "svc")
