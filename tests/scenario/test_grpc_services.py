"""gRPC beside inference.GRPCInferenceService: health, reflection and UniModel's own services, seen
by grpcurl, by grpcio's stubs, and by messages that are built from what reflection tells."""
import json
import pathlib
import subprocess
import threading

import grpc
import pytest
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

import harness

GRPCURL = harness.CACHE / "tools" / "grpcurl"
SERVICES = ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection", "inference.GRPCInferenceService",
            "unimodel.v1.InferenceService", "unimodel.v1.ModelService"]
UNKNOWN, SERVING, NOT_SERVING, SERVICE_UNKNOWN = range(4)


def grpcurl(server, *args, data=None, tls=()):
    """What grpcurl prints; its messages as a list of JSON objects when data is given."""
    argv = [str(GRPCURL), *(tls or ["-plaintext"]), "-max-time", str(int(120 * harness.SLOW))]
    if data is not None:
        argv += ["-d", json.dumps(data)]
    p = subprocess.run([*argv, f"localhost:{server.port}", *args], capture_output=True, text=True,
                       timeout=150 * harness.SLOW)
    assert p.returncode == 0, p.stderr + p.stdout
    if data is None:
        return p.stdout
    decoder, text, messages = json.JSONDecoder(), p.stdout.strip(), []
    while text:
        message, end = decoder.raw_decode(text)
        messages.append(message)
        text = text[end:].strip()
    return messages


class Unimodel:
    """UniModel's services by messages made from the server's own descriptors."""

    def __init__(self, channel):
        self.channel = channel
        self.pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))

    def __call__(self, service, method, **request):
        m = self.pool.FindServiceByName(f"unimodel.v1.{service}").FindMethodByName(method)
        ask, tell = (message_factory.GetMessageClass(d) for d in (m.input_type, m.output_type))
        make = self.channel.unary_stream if m.server_streaming else self.channel.unary_unary
        call = make(f"/unimodel.v1.{service}/{method}", request_serializer=ask.SerializeToString,
                    response_deserializer=tell.FromString)
        message = json_format.ParseDict(request, ask(), descriptor_pool=self.pool)
        answer = call(message, timeout=120 * harness.SLOW)
        as_dict = lambda a: json_format.MessageToDict(a, preserving_proto_field_name=True,
                                                      descriptor_pool=self.pool)
        return map(as_dict, answer) if m.server_streaming else as_dict(answer)

    def models(self, method, **request):
        return self("ModelService", method, **request)

    def predict(self, method="Predict", **request):
        return self("InferenceService", method, **request)


@pytest.fixture
def channel(echo):
    with grpc.insecure_channel(f"127.0.0.1:{echo.port}") as c:
        yield c


@pytest.fixture
def unimodel(models_server):
    with grpc.insecure_channel(f"127.0.0.1:{models_server.port}") as c:
        yield Unimodel(c)


def code_of(call):
    with pytest.raises(grpc.RpcError) as e:
        call()
    return e.value.code()


# ---- reflection ----

def test_grpcurl_lists_and_describes(echo):
    assert grpcurl(echo, "list").split() == SERVICES
    for service in SERVICES:
        assert f"service {service.rpartition('.')[2]} {{" in grpcurl(echo, "describe", service)
    said = grpcurl(echo, "describe", "unimodel.v1.InferenceService.PredictStream")
    assert "returns ( stream .unimodel.v1.PredictResponse )" in said
    said = grpcurl(echo, "describe", "inference.ModelInferRequest")
    assert "repeated bytes raw_input_contents = 7;" in said
    assert "message Value" in grpcurl(echo, "describe", "google.protobuf.Value")
    said = grpcurl(echo, "describe", "unimodel.v1.ModelInfo.status")
    assert "string status = 4" in said


@pytest.mark.sanitize
def test_both_versions_of_reflection_answer_many_questions(channel):
    from grpc_reflection.v1alpha import reflection_pb2 as pb
    for version in ("v1", "v1alpha"):
        call = channel.stream_stream(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
                                     request_serializer=pb.ServerReflectionRequest.SerializeToString,
                                     response_deserializer=pb.ServerReflectionResponse.FromString)
        ask = pb.ServerReflectionRequest
        questions = [ask(list_services=""), ask(host="me", file_by_filename="unimodel.proto"),
                     ask(file_by_filename="google/protobuf/struct.proto"), ask(file_by_filename="none.proto"),
                     ask(file_containing_symbol="inference.GRPCInferenceService.ModelInfer"),
                     ask(file_containing_symbol="inference.NoSuch"), ask(),
                     ask(all_extension_numbers_of_type="unimodel.v1.Usage")] * 20
        answers = list(call(iter(questions), timeout=120 * harness.SLOW))
        assert [a.original_request for a in answers] == questions
        kinds = [a.WhichOneof("message_response") for a in answers[:8]]
        file, error = "file_descriptor_response", "error_response"
        assert kinds == ["list_services_response", file, file, error, file, error, error,
                         "all_extension_numbers_response"]
        assert sorted(s.name for s in answers[0].list_services_response.service) == SERVICES
        assert answers[1].valid_host == "me"
        assert answers[3].error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


# ---- health ----

@pytest.mark.sanitize
def test_check_and_list(echo, channel):
    health = health_pb2_grpc.HealthStub(channel)

    def check(service):
        return health.Check(health_pb2.HealthCheckRequest(service=service), timeout=120 * harness.SLOW).status

    for service in ["", "echo", *SERVICES]:
        assert check(service) == SERVING, service
    assert code_of(lambda: check("nope")) == grpc.StatusCode.NOT_FOUND
    echo.register("other")
    assert echo.post("/v2/repository/models/other/unload", {}).status == 200
    echo.wait_model("other", "Unloaded")
    harness.wait_until(lambda: check("other") == NOT_SERVING, 60, "it does not serve")
    states = health.List(health_pb2.HealthListRequest(), timeout=120 * harness.SLOW).statuses
    assert {name: s.status for name, s in states.items()} == {
        "": SERVING, "echo": SERVING, "other": NOT_SERVING, **{s: SERVING for s in SERVICES}}
    assert grpcurl(echo, "grpc.health.v1.Health/Check", data={}) == [{"status": "SERVING"}]


def next_until(stream, wanted):
    """The states up to the wanted one, which the deadline of the stream bounds."""
    seen = []
    while not seen or seen[-1] != wanted:
        seen.append(next(stream).status)
    return seen


@pytest.mark.sanitize
def test_watch_sees_a_model_come_and_go(echo, channel):
    health = health_pb2_grpc.HealthStub(channel)
    watch = health.Watch(health_pb2.HealthCheckRequest(service="late"), timeout=120 * harness.SLOW)
    assert next(watch).status == SERVICE_UNKNOWN
    echo.register("late")
    assert set(next_until(watch, SERVING)) <= {NOT_SERVING, SERVING}
    assert echo.post("/v2/repository/models/late/unload", {}).status == 200
    assert next_until(watch, NOT_SERVING) == [NOT_SERVING]
    assert echo.post("/v2/repository/models/late/load", {}).status == 200
    assert next_until(watch, SERVING) == [SERVING]
    assert echo.delete("/v1/models/late").status == 200
    assert next_until(watch, SERVICE_UNKNOWN)[-1] == SERVICE_UNKNOWN
    watch.cancel()
    harness.wait_until(lambda: code_of(lambda: next(watch)) == grpc.StatusCode.CANCELLED, 60, "the end")


@pytest.mark.sanitize
def test_many_watchers_of_what_changes_often(echo):
    """Each is told the last state, however fast the ones before passed."""
    channels = [grpc.insecure_channel(f"127.0.0.1:{echo.port}", options=[("x", i)]) for i in range(4)]
    ask, seconds = health_pb2.HealthCheckRequest(service="m"), 120 * harness.SLOW
    watches = [health_pb2_grpc.HealthStub(c).Watch(ask, timeout=seconds) for c in channels for _ in range(5)]
    for w in watches:
        assert next(w).status == SERVICE_UNKNOWN
    for _ in range(10):
        echo.register("m", wait=False)
        assert echo.delete("/v1/models/m").status == 200
    echo.register("m")
    ends = []
    threads = [threading.Thread(target=lambda w=w: ends.append(next_until(w, SERVING)[-1])) for w in watches]
    for t in threads:
        t.start()
    for t in threads:
        t.join(120 * harness.SLOW)
    assert ends == [SERVING] * len(watches)
    for c in channels:
        c.close()


def test_watch_tells_that_the_server_stops_and_does_not_hold_it(make_server):
    server = make_server("--drain-timeout", "300")
    stopped = []
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as c:
        watch = health_pb2_grpc.HealthStub(c).Watch(health_pb2.HealthCheckRequest(), timeout=250)
        assert next(watch).status == SERVING
        stopper = threading.Thread(target=lambda: stopped.append(server.stop(seconds=60)))  # less than it would wait
        stopper.start()
        assert next(watch).status == NOT_SERVING
        assert code_of(lambda: next(watch)) == grpc.StatusCode.UNAVAILABLE
        stopper.join(250)
        assert stopped == [0]


# ---- UniModel ----

@pytest.mark.sanitize
def test_models_by_grpc(make_server):
    server = make_server()
    path = pathlib.Path(server.own_dir, "m.echo")
    path.write_text("echo\n")
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as c:
        api = Unimodel(c)
        said = api.models("RegisterModel", name="m", backend="echo", model_path=str(path), config={"delay_ms": 1})
        assert said["status"] == "success" and said["message"] == "Model 'm' registered successfully"
        server.wait_model("m")
        info, rest = api.models("GetModel", model="m"), server.get("/v1/models/m").json
        assert info["id"] == said["model_id"] == rest["id"] and info["status"] == "Ready"
        assert info["config"]["custom_params"] == {"delay_ms": 1}
        assert info["config"]["batch_config"]["max_batch_size"] == rest["config"]["batch_config"]["max_batch_size"]
        status = api.models("GetModelStatus", model=info["id"])
        assert status["is_warm"] and status["instances"][0]["state"] == "READY"
        assert [s["state"] for s in status["life"]] == ["LOADING", "READY"]
        listed = api.models("ListModels")
        assert listed["total"] == "1" and [m["name"] for m in listed["models"]] == ["m"]
        other = dict(name="m", backend="echo", model_path=str(server.own_dir))
        code = grpc.StatusCode
        assert code_of(lambda: api.models("RegisterModel", **other)) == code.ALREADY_EXISTS
        assert code_of(lambda: api.models("RegisterModel", name="n", model_path="/nowhere")) == code.NOT_FOUND
        assert code_of(lambda: api.models("RegisterModel", name="a b", model_path=str(path))) == code.INVALID_ARGUMENT
        said = api.models("UnregisterModel", model="m")
        assert said == {"status": "success", "message": "Model 'm' unregistered successfully"}
        assert code_of(lambda: api.models("GetModel", model="m")) == code.NOT_FOUND
        assert code_of(lambda: api.predict(model="m", input=[1])) == code.NOT_FOUND


@pytest.mark.sanitize
def test_a_prediction_waits_until_the_model_is_loaded(echo):
    with grpc.insecure_channel(f"127.0.0.1:{echo.port}") as c:
        api = Unimodel(c)
        echo.register("late", config={"load_ms": 700}, wait=False)
        assert api.predict(model="late", input=[1, 2])["output"] == [1, 2]
        echo.register("later", config={"load_ms": 700}, wait=False)
        said = list(api.predict("PredictStream", model="later", input=[3]))
        assert [p["output"] for p in said] == [[3]]


def test_broken_models_say_why(make_server, tmp_path):
    server = make_server()
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"no model")
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as c:
        api = Unimodel(c)
        api.models("RegisterModel", name="bad", backend="onnx", model_path=str(bad))
        server.wait_model("bad", "Error")
        assert api.models("GetModel", model="bad")["status"] == "Error"
        status = api.models("GetModelStatus", model="bad")
        assert status["status"] == "Error" and status["error"] == server.status("bad")["error"]


def digit(i):
    """(picture, as numbers, what it shows) of a digit that training never saw."""
    sample = harness.heldout()["samples"][i]
    rows = [[p / 16 for p in sample["pixels"][8 * y:8 * y + 8]] for y in range(8)]
    return harness.png(sample["pixels"], 8, 8), [rows], str(sample["python_label"])


def test_predict_equals_rest(models_server, unimodel):
    _, numbers, label = digit(0)
    over_rest = models_server.post("/v1/models/digits:predict", {"input": numbers}).json
    over_grpc = unimodel.predict(model="digits", input=numbers)
    assert over_grpc["output"] == over_rest["output"]
    assert over_grpc["output"].index(max(over_grpc["output"])) == int(label)
    assert over_grpc["metadata"]["backend"] == "onnx" and over_grpc["model_id"] == over_rest["model_id"]
    asked = {"input": "What is two plus two?", "parameters": {"max_tokens": 12, "temperature": 0}}
    over_rest = models_server.post("/v1/models/smollm2:predict", asked).json
    over_grpc = unimodel.predict(model="smollm2", **asked)
    assert over_grpc["output"] == over_rest["output"] and over_grpc["output"]
    assert over_grpc["metrics"]["tokens_generated"] == str(over_rest["metrics"]["tokens_generated"])


def test_an_image_goes_as_bytes(models_server, unimodel):
    for i in range(5):
        picture, _, label = digit(i)
        as_text = harness.b64(picture)
        over_rest = models_server.post("/v1/models/digits:predict", {"input": as_text})
        over_grpc = unimodel.predict(model="digits", binary=as_text)  # protobuf's JSON has bytes so
        assert over_grpc["output"] == over_rest.json["output"] and over_grpc["output"]["label"] == label
    with pytest.raises(grpc.RpcError) as e:
        unimodel.predict(model="digits", binary=harness.b64(b"no image"))
    assert e.value.code() == grpc.StatusCode.INVALID_ARGUMENT and "binary" in e.value.details()


def test_a_stream_is_one_message_for_each_delta(models_server, unimodel):
    asked = {"model": "smollm2", "input": "Count from one to ten.",
             "parameters": {"max_tokens": 16, "temperature": 0, "seed": 7}}
    whole = unimodel.predict(**asked)["output"]
    pieces = list(unimodel.predict("PredictStream", **asked))
    assert len(pieces) > 8 and "".join(p["output"] for p in pieces) == whole
    assert all(set(p) == {"output"} for p in pieces[:-1])
    last = pieces[-1]
    assert last["output"] == "" and last["finish_reason"] in ("stop", "length")
    assert last["usage"]["total_tokens"] == last["usage"]["prompt_tokens"] + last["usage"]["completion_tokens"]
    seen = grpcurl(models_server, "unimodel.v1.InferenceService/PredictStream", data=asked)
    assert "".join(p["output"] for p in seen) == whole and len(seen) == len(pieces)
    one = list(unimodel.predict("PredictStream", model="minilm", input="a text"))  # no language model
    assert len(one) == 1 and len(one[0]["output"]) == 384


def test_a_stream_that_is_left_frees_its_sequence(models_server, unimodel):
    def canceled():
        return models_server.metric("berth_requests_canceled_total", model="smollm2") or 0

    harness.wait_until(lambda: models_server.status("smollm2")["running"] == 0, 60, "nothing of others runs")
    before = canceled()
    stream = unimodel.channel.unary_stream("/unimodel.v1.InferenceService/PredictStream")
    asked = unimodel.pool.FindMessageTypeByName("unimodel.v1.PredictRequest")
    message = json_format.ParseDict({"model": "smollm2", "input": "Tell a long story.",
                                     "parameters": {"max_tokens": 3000, "custom": {"ignore_eos": True}}},
                                    message_factory.GetMessageClass(asked)(), descriptor_pool=unimodel.pool)
    call = stream(message.SerializeToString(), timeout=180)
    next(call)
    call.cancel()
    harness.wait_until(lambda: models_server.status("smollm2")["running"] == 0, 60, "the sequence's end")
    harness.wait_until(lambda: canceled() == before + 1, 60, "it was cut")


def test_batches_and_their_errors(unimodel):
    rows = [digit(i)[1] for i in range(3)]
    said = unimodel.predict("BatchPredict", model="digits", inputs=[rows[0], "no image", rows[2]])
    assert [o is None for o in said["outputs"]] == [False, True, False]
    assert [e["index"] for e in said["errors"]] == [1] and said["errors"][0]["error"] == "VALIDATION_ERROR"
    code = grpc.StatusCode.INVALID_ARGUMENT
    assert code_of(lambda: unimodel.predict("BatchPredict", model="digits", inputs=[])) == code
    assert code_of(lambda: unimodel.predict(model="digits", input="no image")) == code
    assert code_of(lambda: unimodel.predict(model="digits")) == code
    assert code_of(lambda: unimodel.predict(model="smollm2", input="x", parameters={"temperature": -3})) == code
    assert code_of(lambda: unimodel.predict(model="smollm2", input="x",
                                            parameters={"custom": {"stream": True}})) == code


# ---- TLS ----

@pytest.mark.sanitize
def test_over_tls(make_server, certificate, tmp_path):
    cert, key = map(pathlib.Path, certificate)
    server = make_server("--set", "server.enable_tls=true", "--set", f"server.tls_cert_path={cert}",
                         "--set", f"server.tls_key_path={key}", "--model", f"e={echo_file(tmp_path)}", start=False)
    server.start(ready=False)
    trust = grpc.ssl_channel_credentials(cert.read_bytes())
    with grpc.secure_channel(f"localhost:{server.port}", trust) as c:
        grpc.channel_ready_future(c).result(timeout=60 * harness.SLOW)
        health = health_pb2_grpc.HealthStub(c)
        watch = health.Watch(health_pb2.HealthCheckRequest(service="e"), timeout=120 * harness.SLOW)
        next_until(watch, SERVING)
        assert Unimodel(c).predict(model="e", input=[1, 2, 3])["output"] == [1, 2, 3]
        watch.cancel()
    assert grpcurl(server, "list", tls=["-cacert", str(cert)]).split() == SERVICES


def echo_file(folder):
    path = pathlib.Path(folder, "e.echo")
    path.write_text("echo\n")
    return path
