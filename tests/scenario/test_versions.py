"""Versions by policy, by label and by share; changed while the model serves, and kept."""
import concurrent.futures
import os
import subprocess

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton

import harness
import tiny_encoder

pytestmark = pytest.mark.sanitize


@pytest.fixture(scope="module")
def versions(tmp_path_factory):
    """Three versions of an encoder, each with weights of its own."""
    folder = tmp_path_factory.mktemp("encoder")
    for n in (1, 2, 3):
        (folder / str(n)).mkdir()
        tiny_encoder.write(folder / str(n) / "model.onnx", seed=n)
    return folder


IDS = {"inputs": [harness.v2_input(n, "INT64", [1, 3], [1, 2, 3])
                  for n in ("input_ids", "attention_mask")]}
IDS["inputs"][1]["data"] = [1, 1, 1]


def infer(server, version=None):
    path = f"/v2/models/m/versions/{version}/infer" if version else "/v2/models/m/infer"
    return server.post(path, IDS, timeout=60)


def configure(server, patch):
    return server.request("PATCH", "/v1/models/m", {"config": patch})


def served(server, n):
    """How many of n requests that name no version each version answered."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: infer(server), range(n)))
    assert all(a.status == 200 for a in answers)
    names = [a.json["model_version"] for a in answers]
    return {v: names.count(v) for v in sorted(set(names))}


def states(server):
    return {v["version"]: v for v in server.get("/v1/models/m/status").json["instances"]}


def loaded(server):
    return {v for v, s in states(server).items() if s["state"] == "READY"}


@pytest.mark.parametrize("policy,want", [
    ("latest", {"3"}), ({"latest": 2}, {"2", "3"}), ("all", {"1", "2", "3"}),
    ([1, 3], {"1", "3"}), ({"specific": [2]}, {"2"}),
    ({"labels": {"old": 1}}, {"1", "3"}), ({"split": {"2": 1}}, {"2", "3"}),
])
def test_the_policy_says_what_is_loaded(make_server, versions, policy, want):
    server = make_server()
    server.register("m", "onnx", versions, {"versions": policy})
    harness.wait_until(lambda: loaded(server) == want, 60, f"{want} loaded")


def test_a_label_is_a_version_wherever_one_is_named(make_server, versions):
    server = make_server()
    server.register("m", "onnx", versions, {"versions": {
        "all": True, "labels": {"stable": 1, "canary": 2}}})
    harness.wait_until(lambda: loaded(server) == {"1", "2", "3"}, 60, "all")
    data = {}
    for name, number in (("stable", "1"), ("canary", "2"), ("3", "3")):
        a = infer(server, name)
        assert a.status == 200 and a.json["model_version"] == number
        data[number] = a.json["outputs"][1]["data"]
        assert data[number] == infer(server, number).json["outputs"][1]["data"]
        assert server.get(f"/v2/models/m/versions/{name}/ready").status == 200
        assert server.get(f"/v2/models/m/versions/{name}").status == 200
        stats = server.get(f"/v2/models/m/versions/{name}/stats").json["model_stats"]
        assert [x["version"] for x in stats] == [number]
    assert data["1"] != data["2"] != data["3"]
    client = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
    inputs = []
    for name, values in (("input_ids", [[1, 2, 3]]), ("attention_mask", [[1, 1, 1]])):
        i = triton.InferInput(name, [1, 3], "INT64")
        i.set_data_from_numpy(np.array(values, dtype=np.int64))
        inputs.append(i)
    assert client.infer("m", inputs, model_version="canary").get_response()["model_version"] == "2"
    client.close()
    with triton_grpc.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        for version in ("canary", "2"):
            assert client.is_model_ready("m", version), version
            assert client.get_model_metadata("m", version).name == "m"
            assert [x.version for x in client.get_inference_statistics("m", version).model_stats] == ["2"]
        assert not client.is_model_ready("m", "nightly")
    a = infer(server, "nightly")
    assert a.status == 404 and "nightly" in a.json["error"]
    shown = subprocess.run([harness.BERTH, "show", "m"], text=True, capture_output=True, check=True,
                           env={**os.environ, "BERTH_HOST": f"127.0.0.1:{server.port}"}, timeout=60)
    assert "1: READY" in shown.stdout and "'stable'" in shown.stdout, shown.stdout


def test_openai_takes_labels_behind_the_name(make_server, tmp_path):
    for n in (1, 2):
        (tmp_path / "m" / str(n)).mkdir(parents=True)
        (tmp_path / "m" / str(n) / "model.echo").write_text("echo\n")
    server = make_server()
    server.register("m", "echo", tmp_path / "m", {"versions": {
        "all": True, "labels": {"stable": 1, "canary": 2}}})
    harness.wait_until(lambda: loaded(server) == {"1", "2"}, 60, "both")
    for label in ("stable", "canary", "2"):
        a = server.post("/v1/completions", {"model": f"m:{label}", "prompt": "x"})
        assert a.status == 200, a
    assert server.post("/v1/completions", {"model": "m:beta", "prompt": "x"}).status == 404
    m = server.metrics()
    assert m["berth_version_inferences_total",
             (("model", "m"), ("result", "ok"), ("version", "2"))] == 2


def test_requests_are_shared_out_by_weight(make_server, versions):
    server = make_server()
    server.register("m", "onnx", versions, {"versions": {"split": {"1": 90, "2": 10}}})
    harness.wait_until(lambda: {"1", "2"} <= loaded(server), 60, "both")
    got = served(server, 300)
    assert set(got) == {"1", "2"} and 20 <= got["2"] <= 40, got
    shares = {v: s["share"] for v, s in states(server).items()}
    assert shares["1"] == pytest.approx(0.9) and shares["2"] == pytest.approx(0.1)
    assert infer(server, "3").json["model_version"] == "3", "by its number it can be had"


def test_a_gray_release_step_by_step(make_server, versions, tmp_path):
    """1 alone, then some of 2, then 2 alone, without a failed request; kept over a restart."""
    state = tmp_path / "state"
    server = make_server(state_dir=state)
    server.register("m", "onnx", versions, {"versions": {
        "specific": [1, 2], "labels": {"stable": 1, "canary": 2}, "split": {"stable": 1}}})
    harness.wait_until(lambda: loaded(server) == {"1", "2"}, 60, "both")
    loads = states(server)["1"]["loaded_at"]
    assert set(served(server, 50)) == {"1"}
    assert configure(server, {"versions": {"split": {"stable": 50, "canary": 50}}}).status == 200
    got = served(server, 100)
    assert 40 <= got["1"] <= 60, got
    a = configure(server, {"versions": {"split": {"stable": 0}}})
    assert a.status == 200 and "loads again" not in a.json["message"]
    assert set(served(server, 50)) == {"2"}
    assert states(server)["1"]["loaded_at"] == loads, "nothing was loaded again"
    server.stop()
    server.start()
    server.wait_model("m")
    harness.wait_until(lambda: loaded(server) == {"1", "2"}, 60, "both")
    assert set(served(server, 20)) == {"2"}


def test_changes_of_a_config_take_effect(make_server, versions):
    server = make_server()
    server.register("m", "onnx", versions, {"versions": "latest", "max_batch_size": 4})
    a = configure(server, {"batching": {"priority_levels": 2, "default_priority_level": 1}})
    assert a.status == 200 and "loads again" not in a.json["message"]
    d = server.get("/v2/models/m/config").json
    assert d["max_batch_size"] == 4 and d["dynamic_batching"]["priority_levels"] == 2
    a = configure(server, {"versions": "all", "intra_op_threads": 1})
    assert a.status == 200 and "loads again" in a.json["message"]
    harness.wait_until(lambda: loaded(server) == {"1", "2", "3"}, 60, "all loaded")
    assert infer(server, "1").status == 200


def test_a_model_that_serves_on_demand_goes_on_serving(make_server, versions):
    server = make_server()
    server.register("m", "onnx", versions, {"load": "demand"}, wait=False)
    assert infer(server).json["model_version"] == "3"
    a = configure(server, {"versions": {"specific": [2]}})
    assert "loads again" in a.json["message"]
    harness.wait_until(lambda: loaded(server) == {"2"}, 60, "the other version serves")
    assert infer(server).json["model_version"] == "2"


def test_a_change_that_does_not_load_is_told_and_the_old_one_serves(make_server, versions):
    server = make_server()
    server.register("m", "fault", config={"isolation": "none"})
    a = configure(server, {"at_load": "fail"})
    assert a.status == 200 and a.json["reload"] is True
    assert "serves until" in a.json["message"] and "life" in a.json["message"], a.text

    def last():
        return server.get("/v1/models/m/status").json["life"][-1]
    harness.wait_until(lambda: last()["state"] == "FAILED", 60, "the load to fail")
    assert "as it was told" in last()["reason"]
    assert server.get("/v2/models/m/ready").status == 200
    a = configure(server, {"queue_len": 7})
    assert a.json["reload"] is False and "life" not in a.json["message"]


@pytest.mark.parametrize("patch,words", [
    ({"versions": {"split": {"9x": 1}}}, ["9x", "label"]),
    ({"versions": {"split": {"1": 0}}}, ["all weights are 0"]),
    ({"versions": {"labels": {"7": 1}}}, ["'7' is no label"]),
    ({"versions": {"latest": 1, "all": True}}, ["only one of"]),
    ({"versions": {"newest": 1}}, ["unknown key 'newest'"]),
    ({"max_batch_size": 0}, ["max_batch_size"]),
    ({"max_bacth_size": 1}, ["did you mean 'max_batch_size'"]),
])
def test_a_wrong_change_is_refused_and_nothing_changes(make_server, versions, patch, words):
    server = make_server()
    server.register("m", "onnx", versions, {"max_batch_size": 4})
    before = server.get("/v1/models/m").json["config"]
    a = configure(server, patch)
    assert a.status == 400, a
    for w in words:
        assert w in a.text, a.text
    assert server.get("/v1/models/m").json["config"] == before
    assert infer(server).status == 200


def test_only_config_can_be_changed(make_server, versions):
    server = make_server()
    server.register("m", "onnx", versions)
    assert server.request("PATCH", "/v1/models/m", {"backend": "echo"}).status == 400
    assert server.request("PATCH", "/v1/models/x", {"config": {}}).status == 404
