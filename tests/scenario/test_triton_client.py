"""What programs written for Triton's HTTP client see."""
import json

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

import harness


def connect(server, **kw):
    return triton.InferenceServerClient(f"127.0.0.1:{server.port}", **kw)


@pytest.fixture
def client(models_server):
    c = connect(models_server, network_timeout=60, connection_timeout=60)
    yield c
    c.close()


@pytest.fixture(scope="module")
def echo_server():
    with harness.Server() as server:
        server.register("echo")
        yield server


@pytest.fixture
def echo_client(echo_server):
    c = connect(echo_server)
    yield c
    c.close()


def digits_input(samples, binary):
    x = np.array([s["pixels"] for s in samples], np.float32).reshape(-1, 1, 8, 8) / np.float32(255)
    t = triton.InferInput("image", list(x.shape), "FP32")
    t.set_data_from_numpy(x, binary_data=binary)
    return t


# ---- health and metadata ----

def test_server_and_models_are_live_and_ready(client):
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("digits") and not client.is_model_ready("nope")
    assert client.is_model_ready("digits", "1") and not client.is_model_ready("digits", "77")


def test_server_metadata(client):
    m = client.get_server_metadata()
    assert m["name"] and m["version"]
    assert {"binary_tensor_data", "model_repository"} <= set(m["extensions"])


def test_model_metadata(client):
    m = client.get_model_metadata("digits")
    assert m["name"] == "digits" and m["versions"] == ["1"] and m["platform"] == "onnx_onnxv1"
    assert m["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 1, 8, 8]}]
    assert m["outputs"] == [{"name": "scores", "datatype": "FP32", "shape": [-1, 10]}]


# ---- inference ----

@pytest.mark.parametrize("binary_in", [False, True])
@pytest.mark.parametrize("binary_out", [False, True])
def test_digits_equal_python(client, binary_in, binary_out):
    samples = harness.heldout()["samples"][:16]
    wanted = [triton.InferRequestedOutput("scores", binary_data=binary_out)]
    r = client.infer("digits", [digits_input(samples, binary_in)], outputs=wanted, request_id="r-1")
    got = r.as_numpy("scores")
    want = np.array([s["python_scores"] for s in samples])
    assert got.shape == (16, 10) and np.abs(got - want).max() < 1e-5
    answer = r.get_response()
    assert answer["id"] == "r-1" and answer["model_name"] == "digits"
    assert ("data" in answer["outputs"][0]) == (not binary_out)


def test_version_in_the_path(client):
    t = digits_input(harness.heldout()["samples"][:1], True)
    r = client.infer("digits", [t], model_version="1")
    assert r.get_response()["model_version"] == "1"
    with pytest.raises(InferenceServerException) as e:
        client.infer("digits", [t], model_version="9")
    assert "9" in e.value.message() and e.value.status() == "404"


VALUES = {
    "BOOL": np.array([True, False, True]),
    "INT8": np.array([-128, 0, 127], np.int8),
    "INT16": np.array([-32768, 0, 32767], np.int16),
    "INT32": np.array([-2**31, 0, 2**31 - 1], np.int32),
    "INT64": np.array([-2**63, 2**53 + 1, 2**63 - 1], np.int64),
    "UINT8": np.array([0, 1, 255], np.uint8),
    "UINT16": np.array([0, 1, 65535], np.uint16),
    "UINT32": np.array([0, 1, 2**32 - 1], np.uint32),
    "UINT64": np.array([0, 2**53 + 1, 2**64 - 1], np.uint64),
    "FP16": np.array([1, -2, 65504, 5.96e-8, 0.1], np.float16),
    "FP32": np.array([0.1, -1e-45, 3.4e38], np.float32),
    "FP64": np.array([0.1, -5e-324, 1.7e308], np.float64),
    "BYTES": np.array([b"", b"a", "é".encode(), b"\x00\xff", b"x" * 1000], np.object_),
}


@pytest.mark.parametrize("dtype", VALUES)
def test_every_dtype_through_echo_in_binary(echo_client, dtype):
    x = VALUES[dtype]
    t = triton.InferInput("x", list(x.shape), dtype)
    t.set_data_from_numpy(x, binary_data=True)
    got = echo_client.infer("echo", [t]).as_numpy("x")
    assert got.dtype == x.dtype and got.tolist() == x.tolist()


@pytest.mark.parametrize("dtype", [d for d in VALUES if d != "FP16"])
def test_every_dtype_through_echo_in_json(echo_client, dtype):
    x = VALUES[dtype] if dtype != "BYTES" else np.array([b"", b"a", "é🙂".encode()], np.object_)
    t = triton.InferInput("x", list(x.shape), dtype)
    t.set_data_from_numpy(x, binary_data=False)
    out = [triton.InferRequestedOutput("x", binary_data=False)]
    got = echo_client.infer("echo", [t], outputs=out).as_numpy("x").tolist()
    assert [v.encode() if isinstance(v, str) else v for v in got] == x.tolist()


@pytest.mark.parametrize("dtype,bits", [("FP16", [0x3C00, 0xC000, 0x7BFF, 0x0001, 0x2E66]),
                                        ("BF16", [0x3F80, 0xC000, 0x477F, 0x3380, 0x3DCD])])
def test_half_floats_as_json_numbers(echo_server, dtype, bits):
    data = [1, -2, 65504 if dtype == "FP16" else 65280, 5.96e-8, 0.1]
    a = echo_server.post("/v2/models/echo/infer", {
        "inputs": [harness.v2_input("x", dtype, [5], data)],
        "outputs": [{"name": "x", "parameters": {"binary_data": True}}]})
    assert a.status == 200, a
    n = int(a.headers["inference-header-content-length"])
    assert np.frombuffer(a.body[n:], "<u2").tolist() == bits
    back = echo_server.post("/v2/models/echo/infer",
                            {"inputs": [harness.v2_input("x", dtype, [5], data)]})
    assert np.allclose(back.json["outputs"][0]["data"], data, rtol=1e-2)


def test_fp32_in_json_is_the_shortest_text(echo_server):
    a = echo_server.post("/v2/models/echo/infer",
                         {"inputs": [harness.v2_input("x", "FP32", [3], [0.1, 1, 16777216])]})
    data = a.text[a.text.index('"data"'):].replace(" ", "")
    assert data.startswith('"data":[0.1,1') and "16777216" in data and "0.10000000" not in data


def test_nested_and_flat_data_are_the_same(echo_server):
    answers = [echo_server.post("/v2/models/echo/infer", {
        "inputs": [harness.v2_input("x", "INT32", [2, 3], d)]}).json["outputs"]
        for d in ([1, 2, 3, 4, 5, 6], [[1, 2, 3], [4, 5, 6]])]
    assert answers[0] == answers[1] and answers[0][0]["shape"] == [2, 3]


def test_empty_and_scalar_tensors(echo_server):
    for shape, data in (([0], []), ([2, 0, 3], []), ([], [7])):
        a = echo_server.post("/v2/models/echo/infer",
                             {"inputs": [harness.v2_input("x", "INT64", shape, data)]})
        assert a.status == 200, a
        assert a.json["outputs"][0]["data"] == data
        assert a.json["outputs"][0].get("shape", []) == shape


def test_nan_and_infinity_pass_in_binary_and_are_refused_in_json(echo_client):
    x = np.array([np.nan, np.inf, -np.inf, 1], np.float32)
    t = triton.InferInput("x", [4], "FP32")
    t.set_data_from_numpy(x, binary_data=True)
    got = echo_client.infer("echo", [t]).as_numpy("x")
    assert np.array_equal(got, x, equal_nan=True)
    with pytest.raises(InferenceServerException) as e:
        echo_client.infer("echo", [t], outputs=[triton.InferRequestedOutput("x", False)])
    assert "NaN" in e.value.message() and "binary" in e.value.message()


def test_outputs_are_those_asked_for_in_that_order(echo_client):
    inputs = []
    for name in ("a", "b", "c"):
        t = triton.InferInput(name, [1], "INT32")
        t.set_data_from_numpy(np.array([len(inputs)], np.int32))
        inputs.append(t)
    r = echo_client.infer("echo", inputs, outputs=[triton.InferRequestedOutput("c"),
                                                   triton.InferRequestedOutput("a")])
    assert [o["name"] for o in r.get_response()["outputs"]] == ["c", "a"]
    assert r.as_numpy("c").tolist() == [2] and r.as_numpy("a").tolist() == [0]


def test_the_specification_s_worked_example(echo_server):
    head = json.dumps({"inputs": [
        {"name": "input0", "datatype": "UINT32", "shape": [2, 2],
         "parameters": {"binary_data_size": 16}},
        {"name": "input1", "datatype": "BOOL", "shape": [3],
         "parameters": {"binary_data_size": 3}}]}).encode()
    blob = bytes.fromhex("01000000020000000300000004000000" "010001")
    a = echo_server.post("/v2/models/echo/infer", head + blob, headers={
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(len(head))})
    assert a.status == 200, a
    out = a.json["outputs"]
    assert out[0]["data"] == [1, 2, 3, 4] and out[1]["data"] == [True, False, True]


def test_binary_output_for_all(echo_server):
    a = echo_server.post("/v2/models/echo/infer", {
        "parameters": {"binary_data_output": True},
        "inputs": [harness.v2_input("x", "BYTES", [3], ["a", "", "é"])]})
    n = int(a.headers["inference-header-content-length"])
    assert a.headers["content-type"] == "application/octet-stream"
    assert a.body[n:] == bytes.fromhex("01000000 61 00000000 02000000 C3A9")
    assert json.loads(a.body[:n])["outputs"][0]["parameters"]["binary_data_size"] == 15


def test_gzip_both_ways(echo_client):
    x = np.zeros([1000], np.int32)
    t = triton.InferInput("x", [1000], "INT32")
    t.set_data_from_numpy(x)
    r = echo_client.infer("echo", [t], request_compression_algorithm="gzip",
                          response_compression_algorithm="gzip")
    assert r.as_numpy("x").tolist() == x.tolist()


# ---- errors say what to do ----

def infer_error(server, model, inputs, **more):
    a = server.post(f"/v2/models/{model}/infer", {"inputs": inputs, **more})
    assert a.status == 400, a
    return a.json["error"]


def zeros(shape, dtype="FP32", name="image", count=None):
    n = int(np.prod(shape)) if count is None else count
    return [harness.v2_input(name, dtype, list(shape), [0] * n)]


@pytest.mark.parametrize("why,inputs,words", [
    ("a wrong shape names both", zeros([1, 28]), ["image", "[-1,1,8,8]", "[1,28]"]),
    ("a wrong type names both", zeros([1, 1, 8, 8], "FP64"), ["image", "FP64", "FP32"]),
    ("an unknown input is named", zeros([1, 1, 8, 8], name="picture"), ["picture"]),
    ("no input at all", [], ["inputs"]),
    ("a wrong count names both", zeros([1, 1, 8, 8], count=63), ["image", "63", "64"]),
    ("too many too", zeros([1, 1, 8, 8], count=65), ["image", "65", "64"]),
    ("a negative dimension", zeros([-1, 1, 8, 8], count=64), ["image"]),
    ("given twice", zeros([1, 1, 8, 8]) * 2, ["image"]),
    ("an unknown type", zeros([1, 1, 8, 8], "FP33"), ["FP33"]),
])
def test_texts_of_input_errors(models_server, why, inputs, words):
    text = infer_error(models_server, "digits", inputs).replace(", ", ",")
    for w in words:
        assert w in text, (why, text)


def test_an_unknown_output_is_named(models_server):
    text = infer_error(models_server, "digits", zeros([1, 1, 8, 8]), outputs=[{"name": "grades"}])
    assert "grades" in text


def test_client_raises_with_our_text(client):
    t = triton.InferInput("image", [1, 28], "FP32")
    t.set_data_from_numpy(np.zeros([1, 28], np.float32))
    with pytest.raises(InferenceServerException) as e:
        client.infer("digits", [t])
    assert e.value.status() == "400" and "28" in e.value.message()
    with pytest.raises(InferenceServerException) as e:
        client.infer("nope", [t])
    assert e.value.status() == "404" and "nope" in e.value.message()


@pytest.mark.parametrize("dtype,data", [
    ("INT8", [300]), ("INT8", [-129]), ("UINT8", [-1]), ("UINT8", [256]), ("INT32", [2**31]),
    ("UINT32", [-1]), ("INT64", [2**63]), ("UINT64", [2**64]), ("INT32", [1.5]), ("INT32", ["1"]),
    ("FP32", ["x"]), ("FP32", [None]), ("BOOL", [2]), ("BOOL", ["true"]), ("BYTES", [{}]),
    ("FP32", [[[1]]]), ("INT32", [[1], 2]), ("FP32", 5), ("FP32", "AAAA"), ("FP32", {"0": 1}),
])
def test_elements_out_of_range_or_kind_are_refused(echo_server, dtype, data):
    a = echo_server.post("/v2/models/echo/infer", {
        "inputs": [harness.v2_input("the_tensor", dtype, [1], data)]})
    assert a.status == 400 and "the_tensor" in a.json["error"], a


# ---- repository ----

def test_repository_index_load_and_unload(echo_client, echo_server):
    echo_server.register("moves")

    def state():
        return {m["name"]: m["state"] for m in echo_client.get_model_repository_index()}

    assert state()["moves"] == "READY"
    echo_client.unload_model("moves")
    harness.wait_until(lambda: state()["moves"] == "UNAVAILABLE", 60, "moves unloaded")
    assert not echo_client.is_model_ready("moves")
    t = triton.InferInput("x", [1], "INT32")
    t.set_data_from_numpy(np.array([1], np.int32))
    with pytest.raises(InferenceServerException) as e:
        echo_client.infer("moves", [t])
    assert e.value.status() == "503"
    echo_client.load_model("moves")
    harness.wait_until(lambda: state()["moves"] == "READY", 60, "moves loaded")
    assert echo_client.infer("moves", [t]).as_numpy("x").tolist() == [1]
    with pytest.raises(InferenceServerException):
        echo_client.load_model("nope")
    with pytest.raises(InferenceServerException):
        echo_client.unload_model("nope")


def test_index_of_ready_models_only(echo_server):
    echo_server.register("sleeper")
    echo_server.post("/v2/repository/models/sleeper/unload", {})
    harness.wait_until(lambda: echo_server.get("/v2/models/sleeper/ready").status != 200, 60,
                       "sleeper unloaded")
    names = {m["name"] for m in
             echo_server.post("/v2/repository/index", {"ready": True}).json}
    assert "echo" in names and "sleeper" not in names
    assert echo_server.delete("/v1/models/sleeper").status == 200
