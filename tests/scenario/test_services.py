"""Services over ModelServeShim's API, in a scripted environment: what the API promises, to the letter."""
import contextlib
import json
import pathlib
import re
import signal
import sqlite3
import subprocess
import threading
import time

import pytest

import harness
import services
from services import API, STEPS, deploy, get, shimmy, step, wait_gone, wait_phase

pytestmark = pytest.mark.sanitize

# The deploy command of the README that this carries on: its body has a backslash before each line end.
README_LINE = r"""curl -X POST http://localhost:8080/api/v1/modserv/deploy \
  -H "Content-Type: application/json" \
  -d '{ \
    "modelName": "llama-3-8b", \
    "modelFile": "/tmp", \
    "resourceRequirements": { \
      "acceleratorType": "NVIDIA GPU", \
      "acceleratorCount": 1, \
      "cpu": "4", \
      "memory": "16Gi" \
    }, \
    "replicaCount": 1 \
  }'
"""


@pytest.fixture
def server(make_server):
    return make_server("--shimlet", "shimmy")


def test_the_published_deploy_line_works_as_it_is_printed(server):
    line = README_LINE.replace("localhost:8080", f"127.0.0.1:{server.port}")
    out = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60 * harness.SLOW,
                         check=True).stdout
    answer = json.loads(out)
    assert answer["code"] == 0 and answer["message"] == "deploy submit success"
    data = answer["data"]
    assert re.fullmatch(r"llama-3-8b-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", data["serviceId"])
    assert [data["currentStep"], data["totalSteps"]] == [STEPS[0], STEPS]
    assert "backslash" in data["warning"]
    seen = wait_phase(server, data["serviceId"])
    assert seen["resources"]["requested"]["memory"] == "16Gi"


def test_a_deployed_service_is_described(server):
    data = deploy(server, shimmy("Qwen3-0.6B", endpoint="http://10.0.0.7:30123"), replicaCount=2)
    sid = data["serviceId"]
    assert sid.startswith("qwen3-0-6b-")
    seen = wait_phase(server, sid)
    assert seen["status"] == "running"
    assert seen["endpoint"] == "http://10.0.0.7:30123/v1/chat/completions"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", seen["updateTime"])
    assert seen["spec"]["modelName"] == "Qwen3-0.6B" and seen["spec"]["replicaCount"] == 2
    assert len(seen["replicas"]) == 2
    assert seen["totalSteps"] == STEPS
    assert {"serviceId", "phase", "pipeline", "shimlet", "revision", "createdAt", "updatedAt"} <= set(seen)
    listed = server.get(API).json["data"]
    assert [s["serviceId"] for s in listed] == [sid]
    # A unique beginning of the id, or the model's name, will do.
    assert get(server, sid[:16])["serviceId"] == sid
    assert get(server, "Qwen3-0.6B")["serviceId"] == sid


def test_what_was_shown_masked_can_be_sent_back(server):
    sid = deploy(server, shimmy(), args=["--api-key", "K", "-H", "X-API-Key: H", "--port", "1"],
                 parameters={"password": "P"})["serviceId"]
    seen = wait_phase(server, sid)
    shown = seen["spec"]
    assert shown["args"] == ["--api-key", "***", "-H", "X-API-Key: ***", "--port", "1"], shown
    answer = server.request("PUT", f"{API}/{sid}", {**shown, "args": shown["args"][:4] + ["--port", "2"]})
    assert answer.status == 200, answer
    assert get(server, sid)["spec"]["args"][5] == "2"
    change = [e for e in services.events(server, sid, "service.updated") if "changes" in e.get("parameters", {})][-1]
    paths = [c["path"] for c in change["parameters"]["changes"]]
    assert paths == ["args"], change  # and parameters.password is as it was
    for body, field in (({**shown, "args": ["--password", "***"]}, "args[1]"),
                        ({**shown, "parameters": {"token": "***"}}, "parameters.token")):
        for answer in (server.request("PUT", f"{API}/{sid}", body), server.post(f"{API}/{sid}/plan", body)):
            assert answer.status == 400 and answer.json["message"].startswith(f"{field}: "), answer


def test_nothing_is_deleted_by_a_beginning(server):
    sid = deploy(server, shimmy("llama-3-8b"))["serviceId"]
    answer = server.delete(f"{API}/llama")
    assert answer.status == 400 and sid in answer.json["message"], answer
    short = deploy(server, shimmy("llama"))["serviceId"]
    assert server.delete(f"{API}/llama").json["code"] == 0
    wait_gone(server, short)
    assert get(server, sid)["phase"] != "terminated"


@pytest.mark.parametrize("body, field", [
    (b"", ""), (b"{", ""), (b"null", ""), (b"[]", ""), (b"{}", "modelName"),
    (b'{"modelName":"a","replicaCount":-1}', "replicaCount"),
    (b'{"modelName":"a","resourceRequirements":{"acceleratorType":"Abacus"}}',
     "resourceRequirements.acceleratorType"),
    (b'{"modelName":"a","modelFile":"/"}', "modelFile"), (b'{"modelName":"a","modelFile":"."}', "modelFile"),
    (b'{"modelName":"a","shimlet":"nowhere"}', ""), (b'{"modelName":"a","pipeline":"none"}', ""),
])
def test_what_is_wrong_is_told_with_its_field(server, body, field):
    answer = server.post(f"{API}/deploy", body)
    assert answer.status == 400, answer
    assert answer.json["code"] == 400 and answer.json["message"]
    assert (answer.json["data"]["field"] or "") == field
    assert server.get(API).json["data"] == []


def test_unknown_services_paths_and_methods(server):
    answer = server.get(f"{API}/nobody-1")
    assert answer.status == 404 and answer.json["code"] == 404
    assert server.request("PUT", f"{API}/nobody-1", {"modelName": "a"}).status == 404
    assert server.delete(f"{API}/nobody-1").json["code"] == 0  # it is gone, as asked
    assert server.request("PUT", f"{API}/deploy", {}).status in (404, 405)


def test_phases_come_in_order_and_are_events(server):
    sid = deploy(server, shimmy(apply_ms=100, start_ms=300), headers={"X-Operator": "alice"})["serviceId"]
    wait_phase(server, sid)
    moves = services.events(server, sid, "service.status")
    phases = [m["to"] for m in moves]
    order = ["initializing", "pipeline-executing", "environment-deploying", "health-checking", "running"]
    assert [p for p in phases if p in order] == order, moves
    for before, after in zip(moves, moves[1:]):
        assert after["from"] == before["to"]
    every = services.events(server, sid)
    assert [e["seq"] for e in every] == sorted({e["seq"] for e in every})
    created = [e for e in every if e["type"] == "service.created"]
    assert created[0]["operator"] == "alice"


def test_pipeline_and_its_log(server):
    spec = shimmy()
    spec["env"] = [{"key": "API_TOKEN", "value": "hunter2"}, {"key": "BATCH_SIZE", "value": "16"}]
    sid = deploy(server, spec, headers={"X-Operator": "alice"})["serviceId"]
    wait_phase(server, sid)
    p = get(server, sid, "/pipeline")
    assert [s["name"] for s in p["steps"]] == STEPS
    for s in p["steps"]:
        assert s["state"] == "succeeded" and s["attempts"] >= 0 and s["durationMs"] >= 0
    log = get(server, sid, "/pipeline/logs")
    assert all({"operator", "durationMs", "parameters"} <= set(r) for r in log), log
    steps = [r for r in log if r["type"] == "service.step"]
    assert steps and all({"operator", "durationMs", "parameters"} <= set(r) for r in steps), steps[:3]
    assert all(r["operator"] == "alice" for r in steps)
    text = server.get(f"{API}/{sid}/pipeline/logs?format=text").text
    assert "model-validation" in text and "hunter2" not in text
    assert "hunter2" not in json.dumps(log)


def test_an_error_is_tried_again(server):
    sid = deploy(server, shimmy(fail_op="apply", fail_count=2, fail_code="ENETWORK"),
                 steps={"resource-deployment": {"maxRetries": 3, "backoffMs": 20}})["serviceId"]
    wait_phase(server, sid)
    assert step(server, sid, "resource-deployment")["attempts"] == 3


def test_retries_end_and_a_failed_service_can_be_tried_again(server):
    # By itself it is tried again after 10, 20 and 40 seconds: it fails often enough to be seen to have failed.
    sid = deploy(server, shimmy(fail_op="apply", fail_count=7, fail_code="EIO"),
                 steps={"resource-deployment": {"maxRetries": 1, "backoffMs": 10}})["serviceId"]
    seen = wait_phase(server, sid, "failed")
    assert seen["message"] and seen["status"] == "failed"
    failed = next(e for e in services.events(server, sid, "service.step") if e["toState"] == "failed")
    assert (failed["step"], failed["attempt"]) == ("resource-deployment", 2) and failed["message"], failed
    failed = harness.wait_until(lambda: (s := step(server, sid, "resource-deployment"))["state"] == "failed" and s, 60,
                                "it failed")
    assert failed["attempts"] == 2 and failed["error"]

    def runs():
        phase = get(server, sid)["phase"]
        if phase == "failed":
            assert server.post(f"{API}/{sid}/retry", {}).json["code"] == 0
        return phase == "running"

    harness.wait_until(runs, 60, "a try by hand that succeeds")


def test_a_step_has_a_time_limit(server):
    begin = time.monotonic()
    sid = deploy(server, shimmy(hang_op="apply", hang_count=9),
                 steps={"resource-deployment": {"timeoutMs": 1000, "maxRetries": 0}})["serviceId"]
    wait_phase(server, sid, "failed")
    assert time.monotonic() - begin < 200  # a step that says nothing has 300 s
    # It is tried again by itself, and says nothing while it is.
    harness.wait_until(lambda: "timeout after 1s" in (step(server, sid, "resource-deployment")["error"] or ""), 60,
                       "the reason")


def test_what_was_done_is_taken_back(server):
    sid = deploy(server, shimmy(never_ready=True), startTimeoutMs=300,
                 steps={"health-check": {"timeoutMs": 1000, "maxRetries": 0, "onFailure": "rollback"}})["serviceId"]
    wait_phase(server, sid, "failed")
    # It is tried again by itself, and taken back again.
    harness.wait_until(lambda: step(server, sid, "resource-deployment")["state"] == "rolledback" and
                       get(server, sid)["replicas"] == [], 60, "nothing is left of it")


def test_a_canary_that_failed_says_why_from_then_on(server):
    sid = deploy(server, shimmy())["serviceId"]
    wait_phase(server, sid)
    for i in range(3):
        answer = server.request("PATCH", f"{API}/{sid}", {
            "strategy": {"type": "canary"}, "shimletConfig": {"never_ready": True}, "startTimeoutMs": 100,
            "env": [{"key": "A", "value": str(i)}], "steps": {
                "resource-deployment": {"timeoutMs": 200, "maxRetries": 0},
                "health-check": {"timeoutMs": 200, "maxRetries": 0}}})
        assert answer.status == 200, answer
        end = time.monotonic() + 180 * harness.SLOW
        while (seen := get(server, sid))["canary"]["state"] != "failed" or seen["canary"]["revision"] != i + 2:
            assert time.monotonic() < end, seen
        assert seen["message"].startswith("the canary failed: "), seen


def test_hooks_run_before_and_after_a_step(server, tmp_path):
    sid = deploy(server, shimmy(), steps={"config-rendering": {
        "preHook": f"echo before $BERTH_STEP >> {tmp_path}/said",
        "postHook": f"echo after $BERTH_STEP >> {tmp_path}/said"}})["serviceId"]
    wait_phase(server, sid)
    assert (tmp_path / "said").read_text().split("\n")[:2] == ["before config-rendering", "after config-rendering"]


def test_update_scale_and_rollback(server):
    sid = deploy(server, shimmy())["serviceId"]
    wait_phase(server, sid)
    answer = server.request("PUT", f"{API}/{sid}", {**shimmy(), "replicaCount": 2})
    assert answer.status == 200 and answer.json["message"] == "update submit success"
    assert answer.json["data"]["serviceId"] == sid

    def replicas(n, **more):
        def there():
            seen = get(server, sid)
            return (seen["phase"] == "running" and len(seen["replicas"]) == n
                    and all(r["state"] == "ready" for r in seen["replicas"])
                    and all(seen["spec"].get(k) == v for k, v in more.items()))
        harness.wait_until(there, 60, f"{n} replicas, {more}")

    replicas(2, replicaCount=2)
    env = [{"key": "A", "value": "1"}]
    assert server.request("PATCH", f"{API}/{sid}", {"env": env}).status == 200
    replicas(2, env=env)
    assert server.post(f"{API}/{sid}/scale", {"replicaCount": 3}).status == 200
    replicas(3, env=env)
    revisions = get(server, sid, "/revisions")
    numbers = [r["revision"] for r in revisions]
    assert numbers == sorted(numbers, reverse=True) and len(numbers) == 4
    assert server.post(f"{API}/{sid}/rollback?revision={numbers[-1]}").status == 200
    replicas(1, replicaCount=1)
    assert get(server, sid)["revision"] == numbers[0] + 1
    # An update that was written for an older revision is refused.
    stale = server.request("PUT", f"{API}/{sid}", shimmy(), headers={"If-Match": str(numbers[-1])})
    assert stale.status == 409, stale


def test_a_plan_changes_nothing(server):
    sid = deploy(server, shimmy())["serviceId"]
    wait_phase(server, sid)
    plan = server.post(f"{API}/{sid}/plan", {**shimmy(), "env": [{"key": "A", "value": "1"}]}).json["data"]
    assert plan["action"] == "update" and plan["rolls"] is True
    assert [c["path"] for c in plan["changes"]] == ["env"] or "env.A" in [c["path"] for c in plan["changes"]]
    plan = server.post(f"{API}/{sid}/plan", shimmy()).json["data"]
    assert plan["action"] == "none"
    assert server.post(f"{API}/plan", shimmy("other")).json["data"]["action"] == "create"
    assert len(server.get(API).json["data"]) == 1 and get(server, sid)["revision"] == 1


def test_a_canary_is_promoted_or_ended(server):
    sid = deploy(server, shimmy())["serviceId"]
    wait_phase(server, sid)
    canary = {**shimmy(), "env": [{"key": "A", "value": "1"}],
              "strategy": {"type": "canary", "canary": {"weight": 20, "replicas": 1}}}
    assert server.request("PUT", f"{API}/{sid}", canary).status == 200

    def both():
        seen = get(server, sid)
        return seen["phase"] == "running" and seen["canary"] and len(seen["replicas"]) == 2

    harness.wait_until(both, 60, "the canary runs beside")
    assert get(server, sid)["canary"]["weight"] == 20
    assert server.post(f"{API}/{sid}/weight", {"weight": 50}).status == 200
    harness.wait_until(lambda: get(server, sid)["canary"]["weight"] == 50, 60, "another weight")
    assert server.post(f"{API}/{sid}/rollback", {}).status == 200

    def alone(env):
        seen = get(server, sid)
        return (seen["phase"] == "running" and not seen["canary"] and len(seen["replicas"]) == 1
                and seen["spec"].get("env") == env)

    harness.wait_until(lambda: alone(None), 60, "the canary is ended")
    assert server.request("PUT", f"{API}/{sid}", canary).status == 200
    harness.wait_until(both, 60, "the canary runs again")
    assert server.post(f"{API}/{sid}/promote", {}).status == 200
    harness.wait_until(lambda: alone(canary["env"]), 60, "the canary is the service")


def test_drift_is_mended(server):
    sid = deploy(server, shimmy(drift_after_ms=300), replicaCount=2)["serviceId"]
    wait_phase(server, sid)

    def mended():
        seen = get(server, sid)
        ids = {r["id"] for r in seen["replicas"]}
        return seen["phase"] == "running" and len(ids) == 2 and services.calls(server, sid).get("apply", 0) >= 2

    harness.wait_until(mended, 60, "the replica that was taken away is back")


def test_a_crash_degrades_and_recovers(server):
    # It is away for long enough that a busy machine sees it so; and again, should that have stood still meanwhile.
    sid = deploy(server, shimmy(crash_after_ms=1000, crash_count=3, restart_ms=5000))["serviceId"]
    wait_phase(server, sid)
    harness.wait_until(lambda: "degraded" in [e["to"] for e in services.events(server, sid, "service.status")],
                       60, "it is degraded")
    wait_phase(server, sid)


def test_delete_is_idempotent_and_leaves_nothing(server):
    sid = deploy(server, shimmy(), replicaCount=2)["serviceId"]
    wait_phase(server, sid)
    for _ in range(2):
        answer = server.delete(f"{API}/{sid}")
        assert answer.status == 200 and answer.json["code"] == 0
        assert answer.json["message"] == "delete submit success"
    wait_gone(server, sid)
    assert services.events(server, sid, "service.deleted")


def test_kill_9_and_restart_bring_every_service_on(make_server):
    server = make_server("--shimlet", "shimmy")
    running = deploy(server, shimmy("a"), replicaCount=2)["serviceId"]
    wait_phase(server, running)
    assert services.calls(server, running)["apply"] >= 1
    made = {r["id"] for r in get(server, running)["replicas"]}
    under_way = deploy(server, shimmy("b", start_ms=1500))["serviceId"]
    going = deploy(server, shimmy("c", stop_ms=800))["serviceId"]
    wait_phase(server, going)
    server.delete(f"{API}/{going}")
    server.kill()
    server.start()
    # It is running as it was recorded; which replicas there are is known with the first look.
    assert get(server, running)["phase"] == "running"
    harness.wait_until(lambda: {r["id"] for r in get(server, running)["replicas"]} == made, 60, "they are seen")
    # The environment counts from its start: it was looked at and adopted, not made again.
    harness.wait_until(lambda: services.calls(server, running).get("status"), 60, "it is looked at")
    assert services.calls(server, running)["apply"] == 0
    wait_phase(server, under_way)
    wait_gone(server, going)
    assert {s["serviceId"] for s in server.get(API).json["data"] if s["phase"] == "running"} == {running, under_way}


def test_a_workload_without_a_record_is_told_and_left_alone(make_server):
    """A store that was put back to an earlier state: what came after it is still there."""
    server = make_server("--shimlet", "shimmy")
    kept, lost, gone = (deploy(server, shimmy(name))["serviceId"] for name in ("kept", "lost", "gone"))
    for sid in (kept, lost, gone):
        wait_phase(server, sid)
    units = server.get(f"{API}/units").json["data"]
    assert {u["serviceId"]: (u["state"], u["track"], u["shimlet"]) for u in units} == {
        sid: ("known", "stable", "shimmy") for sid in (kept, lost, gone)}
    server.kill()
    files = [f for f in pathlib.Path(server.state_dir).iterdir() if f.is_file()]
    (store,) = [f for f in files if f.read_bytes()[:15] == b"SQLite format 3"]
    with contextlib.closing(sqlite3.connect(store, isolation_level=None)) as db:
        for sid in (lost, gone):
            db.execute("DELETE FROM records WHERE key = ? OR key LIKE ?", (f"service/{sid}", f"revision/{sid}/%"))
        (number,) = db.execute("SELECT max(key) FROM records WHERE key LIKE 'event/%'").fetchone()
        event = {"seq": int(number[6:], 16) + 1, "time": "2026-01-01T00:00:00.000000Z", "type": "service.deleted",
                 "serviceId": gone}
        db.execute("INSERT INTO records SELECT ?, ?, max(revision) FROM records",
                   (f"event/{event['seq']:016x}", json.dumps(event).encode()))
    server.start()
    harness.wait_until(lambda: services.events(server, lost, "service.orphan"), 60, "it is told")
    (told,) = services.events(server, lost, "service.orphan")
    assert (told["shimlet"], told["track"], told["level"]) == ("shimmy", "stable", "warn"), told
    assert services.events(server, kind="service.orphan") == [told]

    def states():
        return {u["serviceId"]: u["state"] for u in server.get(f"{API}/units").json["data"]}

    # What the events say was deleted goes; the other one is a person's to judge.
    harness.wait_until(lambda: gone not in states(), 60, "what was deleted is removed")
    assert states() == {kept: "known", lost: "orphan"}
    wait_phase(server, kept)


def test_sigterm_during_a_deploy_ends_well(make_server):
    server = make_server("--shimlet", "shimmy")
    sid = deploy(server, shimmy(apply_ms=3000))["serviceId"]
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(180 * harness.SLOW) == 0
    server.start()
    wait_phase(server, sid)


def test_events_stream_and_resume(server):
    seen = []
    conn = server.connection()
    conn.request("GET", "/api/v1/events", headers={"Accept": "text/event-stream"})
    stream = conn.getresponse()
    assert stream.status == 200

    def read():
        for line in stream:
            if line.startswith(b"id: "):
                seen.append(int(line[4:]))
            if line.startswith(b"data: ") and b'"to":"running"' in line:
                return

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    sid = deploy(server, shimmy())["serviceId"]
    thread.join(180 * harness.SLOW)
    assert not thread.is_alive() and seen == list(range(seen[0], seen[0] + len(seen)))
    conn.close()
    wait_phase(server, sid)
    conn = server.connection()
    conn.request("GET", "/api/v1/events", headers={"Accept": "text/event-stream", "Last-Event-ID": str(seen[2])})
    stream = conn.getresponse()
    while not (line := stream.readline()).startswith(b"id: "):
        pass
    assert int(line[4:]) == seen[3]
    conn.close()


def test_models_under_the_root_are_listed(make_server, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "f").write_text("x")
    server = make_server("--model-root", str(tmp_path))
    for path in ("list", "modellist", "modelsfiles"):
        assert server.get(f"{API}/{path}").json["data"] == [
            {"modelName": "a", "modelPath": f"{tmp_path}/a"}, {"modelName": "b", "modelPath": f"{tmp_path}/b"}]
    missing = make_server("--model-root", f"{tmp_path}/none")
    answer = missing.get(f"{API}/list")
    assert answer.status == 500 and "model_root" in answer.json["message"]


def test_plugins_metrics_and_description(server):
    data = server.get("/api/v1/plugins").json["data"]
    assert (data["defaultShimlet"], data["defaultPipeline"]) == ("shimmy", "opensourcellm")
    assert "shimmy" in [s["name"] for s in data["shimlets"]]
    assert "opensourcellm" in [p["name"] for p in data["pipelines"]]
    assert {"opensource-llm-deploy", "llm-deploy", "opensource-llm-delete", "llm-delete"} <= {
        g["name"] for g in data["goalsets"]}
    sid = deploy(server, shimmy())["serviceId"]
    wait_phase(server, sid)
    # A service runs a moment before what brought it about is counted.
    harness.wait_until(lambda: server.metric("modserv_deployments_total") and server.metric("modserv_reconciles_total"),
                       60, "it is counted")
    for path in ("/metrics", f"{API}/metrics"):
        text = server.get(path).text
        assert "modserv_deployments_total" in text and "modserv_pipeline_step_duration_seconds" in text
    (version,) = [x["version"] for x in data["shimlets"] if x["name"] == "shimmy"]
    assert server.metrics()["modserv_plugin_loaded", (("name", "shimmy"), ("type", "shimlet"), ("version", version))] == 1
    assert server.metric("modserv_reconcile_errors_total") == 0
    paths = server.get("/openapi.json").json["paths"]
    assert f"{API}/deploy" in paths and f"{API}/{{service}}/pipeline/logs" in paths
    page = server.get("/swagger")
    assert page.status == 200 and page.headers["content-type"].startswith("text/html")
    assert server.get("/swagger/doc.json").json["paths"] == paths


def test_what_is_asked_for_and_taken_is_a_metric(server):
    need = {"acceleratorType": "NVIDIA H20", "acceleratorCount": 2, "cpu": "4", "memory": "16Gi"}
    sid = deploy(server, shimmy(), replicaCount=2, resourceRequirements=need)["serviceId"]
    wait_phase(server, sid)

    def metric(name, resource):
        return server.metric(f"modserv_resource_{name}", service=sid, resource=resource)

    # A service whose record is being written is left out of what is told, or told as it was before.
    for resource, n in (("nvidia.com/gpu", 4), ("cpu_milli", 8000), ("memory_bytes", 32 << 30)):
        harness.wait_until(lambda: metric("requested", resource) == n, 60, f"{n} of {resource}")
    harness.wait_until(lambda: (metric("used", "memory_bytes") or -1) / (32 << 30) ==
                       metric("used_ratio", "memory_bytes"), 60, "the share that is used")
    assert metric("used_ratio", "nvidia.com/gpu") is None  # nobody tells
    server.delete(f"{API}/{sid}")
    wait_gone(server, sid)
    harness.wait_until(lambda: server.metric("modserv_resource_requested", service=sid) is None, 60, "it went along")


def test_metrics_are_named_as_they_should_be(server):
    """What promtool looks at: help and type of each, and names that fit their type."""
    sid = deploy(server, shimmy())["serviceId"]
    wait_phase(server, sid)
    text = server.get("/metrics").text
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
    assert types and set(types) == set(re.findall(r"^# HELP (\S+) \S", text, re.M))
    for name, kind in types.items():
        assert name.endswith("_total") == (kind == "counter"), (name, kind)
        assert not re.search(r"_(count|sum|bucket)$|[A-Z]|^[^a-z]", name), name


def test_ten_deploys_side_by_side(server):
    """Five at a time, by the order in which their steps began and ended: whatever time that took."""
    ids = [deploy(server, shimmy(f"m{i}", apply_ms=3000))["serviceId"] for i in range(10)]
    for sid in ids:
        wait_phase(server, sid)
    working, most = set(), 0
    for e in services.events(server, kind="service.step"):
        if e["step"] == "resource-deployment":
            (working.add if e["toState"] == "running" else working.discard)(e["serviceId"])
            most = max(most, len(working))
    assert 3 <= most <= 5 and not working, most
