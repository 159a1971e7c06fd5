"""What programs written for gRPC see: Triton's client, and grpcio without one."""
import time

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2 as pb
from tritonclient.utils import InferenceServerException

import harness

SERVICE = "/inference.GRPCInferenceService/"


def connect(server, **kw):
    return triton.InferenceServerClient(f"127.0.0.1:{server.port}", **kw)


def channel(server, port=None, **options):
    return grpc.insecure_channel(f"127.0.0.1:{port or server.port}", options=list(options.items()))


def unary(ch, method, request, response=pb.ModelInferResponse, **kw):
    """One call without a generated stub: (response, call)."""
    call = ch.unary_unary(method if "/" in method else SERVICE + method,
                          request_serializer=lambda m: m if isinstance(m, bytes) else m.SerializeToString(),
                          response_deserializer=response.FromString)
    return call.with_call(request, timeout=kw.pop("timeout", 60 * harness.SLOW), **kw)


@pytest.fixture(scope="module")
def server():
    with harness.Server() as s:
        s.register("echo")
        s.register("slow", config={"delay_ms": 15000})  # slower than others on a machine that halts, too
        yield s


@pytest.fixture
def client(server):
    c = connect(server)
    yield c
    c.close()


@pytest.fixture
def ch(server):
    with channel(server) as c:
        yield c


def raw_request(model="echo", **kw):
    """Two UINT8 elements, raw."""
    r = pb.ModelInferRequest(model_name=model, **kw)
    r.inputs.add(name="x", datatype="UINT8", shape=[2])
    r.raw_input_contents.append(b"\1\2")
    return r


# ---- the server and its models ----

def test_server_and_models_tell_of_themselves(models_server):
    with connect(models_server) as client:
        assert client.is_server_live() and client.is_server_ready()
        assert client.is_model_ready("digits") and client.is_model_ready("digits", "1")
        assert not client.is_model_ready("nope") and not client.is_model_ready("digits", "77")
        m = client.get_server_metadata()
        assert m.name == "berth" and m.version and "binary_tensor_data" in m.extensions
        m = client.get_model_metadata("digits")
        assert m.name == "digits" and list(m.versions) == ["1"] and m.platform == "onnx_onnxv1"
        assert [(t.name, t.datatype, list(t.shape)) for t in m.inputs] == [("image", "FP32", [-1, 1, 8, 8])]
        assert [(t.name, t.datatype, list(t.shape)) for t in m.outputs] == [("scores", "FP32", [-1, 10])]
        with pytest.raises(InferenceServerException) as e:
            client.get_model_metadata("nope")
        assert "NOT_FOUND" in e.value.status()


def test_config_and_statistics_equal_rest(models_server):
    with connect(models_server) as client:
        config = client.get_model_config("digits", as_json=True)["config"]
        rest = models_server.get("/v2/models/digits/config").json
        assert config["max_batch_size"] == rest["max_batch_size"] > 0
        assert config["backend"] == rest["backend"] == "onnx"
        for side in ["input", "output"]:
            assert [(t["name"], t.get("data_type"), [int(d) for d in t["dims"]]) for t in config[side]] == \
                   [(t["name"], t["data_type"], t["dims"]) for t in rest[side]]
        assert int(config["dynamic_batching"].get("max_queue_delay_microseconds", 0)) == \
            rest["dynamic_batching"]["max_queue_delay_microseconds"]
        stats = client.get_inference_statistics("digits").model_stats
        rest = models_server.get("/v2/models/digits/stats").json["model_stats"]
        assert len(stats) == len(rest) == 1
        assert stats[0].inference_count == rest[0]["inference_count"]
        assert stats[0].inference_stats.queue.ns == rest[0]["inference_stats"]["queue"]["ns"]
        assert [b.batch_size for b in stats[0].batch_stats] == [b["batch_size"] for b in rest[0]["batch_stats"]]
        assert {s.name for s in client.get_inference_statistics().model_stats} >= {"digits"}


def test_digits_equal_python(models_server):
    samples = harness.heldout()["samples"][:16]
    x = np.array([s["pixels"] for s in samples], np.float32).reshape(-1, 1, 8, 8) / np.float32(255)
    t = triton.InferInput("image", list(x.shape), "FP32")
    t.set_data_from_numpy(x)
    with connect(models_server) as client:
        got = client.infer("digits", [t]).as_numpy("scores")
        want = np.array([s["python_scores"] for s in samples])
        assert got.shape == (16, 10) and np.abs(got - want).max() < 1e-5
        best = client.infer("digits", [t], outputs=[triton.InferRequestedOutput("scores", class_count=2)])
        first = best.as_numpy("scores")[0][0].decode().split(":")
        assert int(first[1]) == want[0].argmax()
        t = triton.InferInput("image", [1, 64], "FP32")
        t.set_data_from_numpy(np.zeros((1, 64), np.float32))
        with pytest.raises(InferenceServerException) as e:
            client.infer("digits", [t])
        assert "INVALID_ARGUMENT" in e.value.status() and "image" in e.value.message()
        t = triton.InferInput("picture", [1, 1, 8, 8], "FP32")
        t.set_data_from_numpy(np.zeros((1, 1, 8, 8), np.float32))
        with pytest.raises(InferenceServerException) as e:
            client.infer("digits", [t])
        assert "'image' is missing" in e.value.message() or "unexpected inference input" in e.value.message()


def test_the_repository_loads_and_unloads(make_server):
    server = make_server()
    server.register("echo")
    with connect(server) as client:
        index = client.get_model_repository_index().models
        assert [(m.name, m.version, m.state) for m in index] == [("echo", "1", "READY")]
        client.unload_model("echo")
        harness.wait_until(lambda: not client.is_model_ready("echo"), 60, "the model is unloaded")
        harness.wait_until(lambda: client.get_model_repository_index().models[0].state == "UNAVAILABLE", 60,
                           "the index says so")
        client.load_model("echo")
        harness.wait_until(lambda: client.is_model_ready("echo"), 60, "the model is loaded")
        for change in [client.load_model, client.unload_model]:
            with pytest.raises(InferenceServerException) as e:
                change("nope")
            assert "NOT_FOUND" in e.value.status()
        with pytest.raises(InferenceServerException) as e:
            client.load_model("echo", config='{"backend": "x"}')
        assert "UNIMPLEMENTED" in e.value.status()


# ---- tensors ----

TYPES = {
    "BOOL": (np.bool_, [True, False]), "UINT8": (np.uint8, [0, 255]), "UINT16": (np.uint16, [0, 65535]),
    "UINT32": (np.uint32, [0, 2**32 - 1]), "UINT64": (np.uint64, [0, 2**64 - 1]),
    "INT8": (np.int8, [-128, 127]), "INT16": (np.int16, [-2**15, 2**15 - 1]),
    "INT32": (np.int32, [-2**31, 2**31 - 1]), "INT64": (np.int64, [-2**63, 2**63 - 1]),
    "FP16": (np.float16, [0.1, -65504]), "FP32": (np.float32, [0.1, np.inf]),
    "FP64": (np.float64, [0.1, -1e300]), "BYTES": (np.object_, [b"", b"\xff\0caf\xc3\xa9"]),
}
TYPED = {"BOOL": "bool_contents", "UINT8": "uint_contents", "UINT16": "uint_contents",
         "UINT32": "uint_contents", "UINT64": "uint64_contents", "INT8": "int_contents",
         "INT16": "int_contents", "INT32": "int_contents", "INT64": "int64_contents",
         "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents"}


@pytest.mark.parametrize("name", TYPES)
def test_every_type_comes_back_raw(client, name):
    dtype, values = TYPES[name]
    x = np.array([values, values[::-1]], dtype)
    t = triton.InferInput("x", list(x.shape), name)
    t.set_data_from_numpy(x)
    r = client.infer("echo", [t], request_id="r-1")
    got = r.as_numpy("x")
    assert got.dtype == x.dtype and got.tolist() == x.tolist()
    answer = r.get_response()
    assert answer.id == "r-1" and answer.model_name == "echo" and answer.model_version == "1"
    assert len(answer.raw_output_contents) == 1 and not answer.outputs[0].HasField("contents")


@pytest.mark.parametrize("name", TYPED)
def test_every_type_comes_back_typed(ch, name):
    values = [v for v in TYPES[name][1]]
    r = pb.ModelInferRequest(model_name="echo")
    t = r.inputs.add(name="x", datatype=name, shape=[2])
    getattr(t.contents, TYPED[name]).extend(values)
    answer, _ = unary(ch, "ModelInfer", r)
    assert not answer.raw_output_contents
    want = [np.float32(v) for v in values] if name == "FP32" else values
    assert list(getattr(answer.outputs[0].contents, TYPED[name])) == want


def test_several_tensors_keep_their_order_and_sizes(client):
    sent = {f"t{i}": np.arange(n, dtype=np.float32) for i, n in enumerate([1, 3000, 7, 5000, 0])}
    inputs = []
    for name, x in sent.items():
        inputs.append(triton.InferInput(name, list(x.shape), "FP32"))
        inputs[-1].set_data_from_numpy(x)
    r = client.infer("echo", inputs)
    for name, x in sent.items():
        assert (r.as_numpy(name) == x).all()
    wanted = [triton.InferRequestedOutput("t3"), triton.InferRequestedOutput("t0")]
    r = client.infer("echo", inputs, outputs=wanted)
    assert [o.name for o in r.get_response().outputs] == ["t3", "t0"]
    assert (r.as_numpy("t3") == sent["t3"]).all()


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_both_ways(client, algorithm):
    x = np.zeros((100, 1000), np.float32)
    x[3, 4] = 5
    t = triton.InferInput("x", list(x.shape), "FP32")
    t.set_data_from_numpy(x)
    assert (client.infer("echo", [t], compression_algorithm=algorithm).as_numpy("x") == x).all()


# ---- streams ----

class Collected:
    """Responses of a tritonclient stream, in the order in which they came."""

    def __init__(self):
        self.all = []

    def __call__(self, result, error):
        self.all.append((result, error))

    def wait(self, n, seconds=120):
        harness.wait_until(lambda: len(self.all) >= n, seconds, f"{n} responses, not {len(self.all)}")
        return self.all


def tensor(values, dtype="INT32", name="x"):
    x = np.array(values, np.int32 if dtype == "INT32" else np.object_)
    t = triton.InferInput(name, list(x.shape), dtype)
    t.set_data_from_numpy(x)
    return t


def test_a_stream_answers_in_order_of_completion(client):
    got = Collected()
    client.start_stream(got)
    client.async_stream_infer("slow", [tensor([1])], request_id="slow")
    for i in range(5):
        client.async_stream_infer("echo", [tensor([i])], request_id=f"quick-{i}")
    client.async_stream_infer("nope", [tensor([1])], request_id="bad")
    got.wait(7)
    client.stop_stream()
    ids = [r.get_response().id for r, e in got.all if e is None]
    assert ids[-1] == "slow" and set(ids[:-1]) == {f"quick-{i}" for i in range(5)}
    for r, e in got.all:
        if e is None:
            assert r.get_response().parameters["triton_final_response"].bool_param
            if r.get_response().id != "slow":
                assert r.as_numpy("x").tolist() == [int(r.get_response().id[-1])]
    [error] = [e for r, e in got.all if e is not None]
    assert "nope" in str(error)


def test_a_stream_outlives_many_requests(client):
    got = Collected()
    client.start_stream(got)
    n = 3000
    for i in range(n):
        client.async_stream_infer("echo", [tensor([i])], request_id=str(i))
    got.wait(n)
    client.stop_stream()
    assert all(e is None for r, e in got.all)
    assert sorted(int(r.get_response().id) for r, e in got.all) == list(range(n))
    assert all(r.as_numpy("x").tolist() == [int(r.get_response().id)] for r, e in got.all)


def test_a_client_faster_than_the_model_is_held_back(server, ch):
    """More than a paused stream keeps, sent as fast as flow control allows: nothing is refused."""
    server.register("steady", config={"delay_ms": 5, "max_batch_size": 8})
    n, size = 6000, 4 << 10
    r = pb.ModelInferRequest(model_name="steady")
    r.inputs.add(name="x", datatype="UINT8", shape=[1, size])
    r.raw_input_contents.append(b"\7" * size)
    call = ch.stream_stream(SERVICE + "ModelStreamInfer", request_serializer=lambda m: m,
                            response_deserializer=pb.ModelStreamInferResponse.FromString)
    responses = call(iter([r.SerializeToString()] * n), timeout=600)
    assert sum(not x.error_message for x in responses) == n
    assert responses.code() == grpc.StatusCode.OK


def test_large_answers_wait_for_a_slow_reader(ch):
    """More than the server keeps unsent, read late: nothing is lost."""
    big = pb.ModelInferRequest(model_name="echo")
    big.inputs.add(name="x", datatype="UINT8", shape=[3 << 20])
    big.raw_input_contents.append(b"\7" * (3 << 20))
    call = ch.stream_stream(SERVICE + "ModelStreamInfer", request_serializer=pb.ModelInferRequest.SerializeToString,
                            response_deserializer=pb.ModelStreamInferResponse.FromString)
    responses = call(iter([big] * 20), timeout=360)
    time.sleep(1)
    n = 0
    for r in responses:
        assert r.infer_response.raw_output_contents[0] == big.raw_input_contents[0]
        n += 1
    assert n == 20 and responses.code() == grpc.StatusCode.OK


def test_an_empty_stream_ends_well(ch):
    call = ch.stream_stream(SERVICE + "ModelStreamInfer", request_serializer=pb.ModelInferRequest.SerializeToString,
                            response_deserializer=pb.ModelStreamInferResponse.FromString)
    responses = call(iter([]), timeout=120)
    assert list(responses) == [] and responses.code() == grpc.StatusCode.OK


def test_a_streams_deadline_cuts_what_runs(ch):
    call = ch.stream_stream(SERVICE + "ModelStreamInfer", request_serializer=pb.ModelInferRequest.SerializeToString,
                            response_deserializer=pb.ModelStreamInferResponse.FromString)
    responses = call(iter([raw_request("slow")] * 3), timeout=0.2)
    with pytest.raises(grpc.RpcError) as e:
        list(responses)
    assert e.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def text_inputs(prompt):
    return [tensor([prompt.encode()], "BYTES", "text_input")]


@pytest.mark.parametrize("empty_final", [False, True])
def test_text_streams_in_pieces(models_server, empty_final):
    asked = {"max_tokens": 12, "temperature": 0, "seed": 1}
    rest = models_server.post("/v2/models/smollm2/generate",
                              {"text_input": "Once upon a time", "parameters": asked}).json["text_output"]
    got = Collected()
    with connect(models_server) as client:
        client.start_stream(got)
        client.async_stream_infer("smollm2", text_inputs("Once upon a time"), request_id="t", parameters=asked,
                                  enable_empty_final_response=empty_final)
        harness.wait_until(lambda: got.all and (got.all[-1][1] or got.all[-1][0].get_response().parameters[
            "triton_final_response"].bool_param), 60, "the last response")
        client.stop_stream()
        assert not any(e for r, e in got.all)
        pieces = [r.get_response() for r, e in got.all]
        assert len(pieces) >= 4 and all(p.id == "t" for p in pieces)
        assert [p.parameters["triton_final_response"].bool_param for p in pieces] == [False] * (len(pieces) - 1) + [True]
        assert len(pieces[-1].outputs) == (0 if empty_final else 1)
        text = b"".join(r.as_numpy("text_output")[0] for r, e in got.all if r.get_response().outputs)
        assert text.decode() == rest
        whole = client.infer("smollm2", text_inputs("Once upon a time"), parameters=asked)
        assert whole.as_numpy("text_output")[0].decode() == rest
        sampling = tensor([b'{"max_tokens": 12, "temperature": 0}'], "BYTES", "sampling_parameters")
        whole = client.infer("smollm2", text_inputs("Once upon a time") + [sampling])
        assert whole.as_numpy("text_output")[0].decode() == rest
        assert client.get_model_config("smollm2").config.model_transaction_policy.decoupled
        with pytest.raises(InferenceServerException) as e:
            client.infer("smollm2", text_inputs("x"), parameters={"temperature": "hot"})
        assert "temperature" in e.value.message() and "INVALID_ARGUMENT" in e.value.status()


def test_a_client_that_leaves_ends_the_work(models_server):
    def canceled():
        return models_server.metric("berth_requests_canceled_total", model="smollm2") or 0

    harness.wait_until(lambda: models_server.status("smollm2")["running"] == 0, 60, "nothing of others runs")
    before = canceled()
    ch = channel(models_server)
    r = pb.ModelInferRequest(model_name="smollm2")
    r.inputs.add(name="text_input", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"Once")
    r.parameters["max_tokens"].int64_param = 2000
    r.parameters["ignore_eos"].bool_param = True
    call = ch.stream_stream(SERVICE + "ModelStreamInfer", request_serializer=pb.ModelInferRequest.SerializeToString,
                            response_deserializer=pb.ModelStreamInferResponse.FromString)
    responses = call(iter([r]), timeout=180)
    next(responses)
    assert models_server.get("/v1/models/smollm2/status").json["running"] >= 1
    responses.cancel()
    harness.wait_until(lambda: models_server.get("/v1/models/smollm2/status").json["running"] == 0, 60,
                       "nothing runs any more")
    harness.wait_until(lambda: canceled() == before + 1, 60, "it was cut")
    ch.close()


# ---- asyncio ----

def test_the_asyncio_client(server):
    import asyncio

    import tritonclient.grpc.aio as aio

    async def talk():
        client = aio.InferenceServerClient(f"127.0.0.1:{server.port}")
        assert await client.is_server_live()
        got = await asyncio.gather(*[client.infer("echo", [tensor([i])]) for i in range(50)])
        assert [r.as_numpy("x").tolist() for r in got] == [[i] for i in range(50)]

        async def requests():
            for i in range(20):
                yield {"model_name": "echo", "inputs": [tensor([i])], "request_id": str(i)}

        seen = set()
        async for result, error in client.stream_infer(requests()):
            assert error is None
            seen.add(result.get_response().id)
            if len(seen) == 20:
                break
        assert seen == {str(i) for i in range(20)}
        await client.close()

    asyncio.run(talk())


# ---- what is wrong is said ----

def wrong(change):
    r = raw_request()
    change(r)
    return r


def no_data(r):
    r.raw_input_contents.pop()


def both(r):
    r.inputs[0].contents.uint_contents.extend([1, 2])


def too_many(r):
    r.raw_input_contents.append(b"")


def typed(kind, values, datatype="UINT8"):
    def change(r):
        r.raw_input_contents.pop()
        r.inputs[0].datatype = datatype
        getattr(r.inputs[0].contents, kind).extend(values)
    return change


def setting(**kw):
    def change(r):
        for k, v in kw.items():
            if isinstance(v, list):
                del getattr(r.inputs[0], k)[:]
                getattr(r.inputs[0], k).extend(v)
            else:
                setattr(r.inputs[0], k, v)
    return change


BAD = {
    "inputs[0]: has 0 bytes": no_data,
    "inputs[0].contents: give either": both,
    "raw_input_contents: has 2 tensors, but the request has 1": too_many,
    "inputs[0]: has 2 bytes, but its shape has 3": setting(shape=[3]),
    "inputs[0].shape[0]: must not be negative": setting(shape=[-2]),
    "inputs[0].datatype: must be one of": setting(datatype="FLOAT"),
    "inputs[0].name: must be a string that is not empty": setting(name=""),
    "inputs[0].contents.uint_contents[1]: does not fit UINT8": typed("uint_contents", [1, 256]),
    "inputs[0].contents: datatype UINT8 is sent in uint_contents": typed("int_contents", [1, 2]),
    "inputs[0].contents: datatype FP16 is sent raw only": typed("fp32_contents", [1, 2], "FP16"),
    "inputs[0]: has 1 bytes": typed("uint_contents", [1]),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_requests_are_refused_with_the_field(ch, message):
    with pytest.raises(grpc.RpcError) as e:
        unary(ch, "ModelInfer", wrong(BAD[message]))
    assert e.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert message in e.value.details()
    details = dict(e.value.trailing_metadata())["grpc-status-details-bin"]
    assert b"google.rpc.ErrorInfo" in details and b"VALIDATION_ERROR" in details and b"berth" in details
    if message.startswith("inputs"):
        assert b"google.rpc.BadRequest" in details


def test_damaged_messages_are_refused(ch):
    for body in [b"\xff", b"\x0a\x05abc", raw_request().SerializeToString()[:-1]]:
        with pytest.raises(grpc.RpcError) as e:
            unary(ch, "ModelInfer", body)
        assert e.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert unary(ch, "ModelInfer", raw_request())[0].raw_output_contents[0] == b"\1\2"


def test_unknown_things(ch):
    with pytest.raises(grpc.RpcError) as e:
        unary(ch, "ModelInfer", raw_request("nope"))
    assert e.value.code() == grpc.StatusCode.NOT_FOUND and "nope" in e.value.details()
    with pytest.raises(grpc.RpcError) as e:
        unary(ch, "ModelInfer", raw_request(model_version="9"))
    assert e.value.code() == grpc.StatusCode.NOT_FOUND
    for method in ["Nope", "/no.Such/Service", "/inference.GRPCInferenceService/"]:
        with pytest.raises(grpc.RpcError) as e:
            unary(ch, method, raw_request())
        assert e.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_request_id_is_kept(ch):
    _, call = unary(ch, "ModelInfer", raw_request(), metadata=[("x-request-id", "my-own-1")])
    assert dict(call.initial_metadata())["x-request-id"] == "my-own-1"
    with pytest.raises(grpc.RpcError) as e:
        unary(ch, "ModelInfer", raw_request("nope"), metadata=[("x-request-id", "my-own-2")])
    assert b"my-own-2" in dict(e.value.trailing_metadata())["grpc-status-details-bin"]


# ---- time ----

def test_a_deadline_ends_a_call(ch):
    begun = time.monotonic()
    with pytest.raises(grpc.RpcError) as e:
        unary(ch, "ModelInfer", raw_request("slow"), timeout=0.1)
    assert e.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - begun < 60
