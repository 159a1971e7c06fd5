"""Tensors in system shared memory, as Triton's clients use them over HTTP and gRPC."""
import concurrent.futures
import os
import uuid

import numpy as np
import pytest
import tritonclient.grpc as tgrpc
import tritonclient.http as thttp
import tritonclient.utils.shared_memory as shm
from tritonclient.utils import InferenceServerException

import harness

pytestmark = pytest.mark.sanitize


@pytest.fixture(scope="module")
def server():
    with harness.Server() as s:
        s.register("echo")
        yield s
        assert s.alive, s.log()


@pytest.fixture(params=["http", "grpc"])
def api(request, server):
    """The module of a client, and the client."""
    module = thttp if request.param == "http" else tgrpc
    client = module.InferenceServerClient(f"127.0.0.1:{server.port}")
    yield module, client
    client.unregister_system_shared_memory()
    client.close()


@pytest.fixture
def region():
    """region(bytes): a new shared memory, destroyed after the test: (handle, key)."""
    made = []

    def make(size):
        key = f"/berth-{uuid.uuid4()}"
        made.append(shm.create_shared_memory_region(key[1:], key, size))
        return made[-1], key

    yield make
    for handle in made:
        shm.destroy_shared_memory_region(handle)


def test_tensors_go_through_shared_memory(api, region):
    module, client = api
    x = np.arange(150000, dtype=np.float32)
    n = x.nbytes
    handle, key = region(64 + 2 * n)
    shm.set_shared_memory_region(handle, [x], offset=64)
    client.register_system_shared_memory("r", key, 64 + 2 * n)
    t = module.InferInput("x", list(x.shape), "FP32")
    t.set_shared_memory("r", n, offset=64)
    out = module.InferRequestedOutput("x")
    out.set_shared_memory("r", n, offset=64 + n)
    r = client.infer("echo", [t], outputs=[out], request_id="s")
    got = shm.get_contents_as_numpy(handle, np.float32, [150000], offset=64 + n)
    assert (got == x).all()
    o = r.get_output("x")
    if module is thttp:
        assert set(o) == {"name", "datatype", "shape"}  # parameters make Triton's C++ client fail
    else:
        assert o.parameters["shared_memory_region"].string_param == "r"
        assert o.parameters["shared_memory_byte_size"].int64_param == n
        assert list(r.get_response().raw_output_contents) == [b""]


def test_shared_and_sent_tensors_mix(api, region):
    module, client = api
    a, b = np.arange(4, dtype=np.int32), np.array([b"x", b"", "é".encode()], np.object_)
    handle, key = region(4096)
    packed = harness.bytes_tensor([b"x", b"", "é".encode()])
    shm.set_shared_memory_region(handle, [np.frombuffer(packed, np.uint8)])
    client.register_system_shared_memory("r", key, 4096)
    sent = module.InferInput("a", [4], "INT32")
    sent.set_data_from_numpy(a)
    there = module.InferInput("b", [3], "BYTES")
    there.set_shared_memory("r", len(packed))
    r = client.infer("echo", [there, sent])
    assert (r.as_numpy("a") == a).all() and r.as_numpy("b").tolist() == b.tolist()
    back = module.InferRequestedOutput("b")
    back.set_shared_memory("r", 1024, offset=2048)
    r = client.infer("echo", [there, sent], outputs=[back, module.InferRequestedOutput("a")])
    assert (r.as_numpy("a") == a).all()
    raw = shm.get_contents_as_numpy(handle, np.uint8, [len(packed)], offset=2048)
    assert raw.tobytes() == packed


def test_regions_are_listed(api, region):
    module, client = api
    _, key = region(100)
    client.register_system_shared_memory("b r", key, 60, offset=20)
    client.register_system_shared_memory("a", key, 100)
    status = client.get_system_shared_memory_status()
    if module is thttp:
        rows = [(s["name"], s["key"], s["offset"], s["byte_size"]) for s in status]
        one = [(s["name"], s["byte_size"]) for s in client.get_system_shared_memory_status("b r")]
    else:
        rows = sorted((s.name, s.key, s.offset, s.byte_size) for s in status.regions.values())
        one = [(s.name, s.byte_size) for s in client.get_system_shared_memory_status("b r").regions.values()]
    assert rows == [("a", key, 0, 100), ("b r", key, 20, 60)] and one == [("b r", 60)]
    client.unregister_system_shared_memory("a")
    with pytest.raises(InferenceServerException, match="Unable to find"):
        client.unregister_system_shared_memory("a")
    client.unregister_system_shared_memory()
    status = client.get_system_shared_memory_status()
    assert len(status if module is thttp else status.regions) == 0


def test_what_is_no_region_is_refused(api, region):
    module, client = api
    _, key = region(100)
    client.register_system_shared_memory("r", key, 100)
    for name, other, size, offset, why in [
            ("r", key, 100, 0, "already in manager"), ("x", "/no-such-thing", 1, 0, "unable to open"),
            ("x", key, 101, 0, "has 100 bytes"), ("x", key, 100, 1, "has 100 bytes"),
            ("x", key, 2**62, 2**62, "has 100 bytes"),
            ("x", "../../etc/passwd", 1, 0, "must be the name"), ("x", "/a/b", 1, 0, "must be the name"),
            ("x", "..", 1, 0, "must be the name"), ("x", "", 1, 0, "must be the name")]:
        with pytest.raises(InferenceServerException, match=why):
            client.register_system_shared_memory(name, other, size, offset=offset)


def test_bounds_are_kept(api, region):
    module, client = api
    _, key = region(100)
    client.register_system_shared_memory("r", key, 80, offset=10)

    def infer(size, offset, shape, name="r", out=None):
        t = module.InferInput("x", shape, "UINT8")
        t.set_shared_memory(name, size, offset=offset)
        outputs = None
        if out is not None:
            o = module.InferRequestedOutput("x")
            o.set_shared_memory("r", *out)
            outputs = [o]
        return client.infer("echo", [t], outputs=outputs)

    assert infer(80, 0, [80]).as_numpy("x").shape == (80,)
    infer(8, 72, [8], out=(8, 72))
    for args, why in [((81, 0, [81]), "has 80 bytes"), ((1, 80, [1]), "has 80 bytes"),
                      ((8, 0, [9]), "its shape has 9"), ((1, 0, [1], "nope"), "Unable to find"),
                      ((8, 0, [8], "r", (7, 0)), "at least 8 bytes"),
                      ((8, 0, [8], "r", (8, 73)), "has 80 bytes")]:
        with pytest.raises(InferenceServerException, match=why):
            infer(*args)


def test_a_region_that_is_cut_short_is_an_error(api, region, server):
    module, client = api
    _, key = region(1 << 20)
    client.register_system_shared_memory("r", key, 1 << 20)
    t = module.InferInput("x", [1 << 20], "UINT8")
    t.set_shared_memory("r", 1 << 20)
    o = module.InferRequestedOutput("x")
    o.set_shared_memory("r", 1 << 20)
    client.infer("echo", [t], outputs=[o])
    os.truncate(f"/dev/shm{key}", 4096)
    with pytest.raises(InferenceServerException, match="has 4096 bytes"):
        client.infer("echo", [t], outputs=[o])
    small = module.InferInput("x", [1 << 20], "UINT8")
    small.set_data_from_numpy(np.zeros(1 << 20, np.uint8))
    with pytest.raises(InferenceServerException, match="has 4096 bytes"):
        client.infer("echo", [small], outputs=[o])
    assert os.stat(f"/dev/shm{key}").st_size == 4096 and server.alive


def test_results_go_to_the_region_that_was_named(api, region, server):
    module, client = api
    server.register("later", config={"delay_ms": 3000})
    (mine, key), (others, other_key) = region(64), region(64)
    given = np.arange(8, dtype=np.int32)
    shm.set_shared_memory_region(others, [np.zeros(16, np.int32)])
    client.register_system_shared_memory("r", key, 64)
    x, y = module.InferInput("x", [8], "INT32"), module.InferRequestedOutput("x")
    x.set_data_from_numpy(given)
    y.set_shared_memory("r", 32)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asking = module.InferenceServerClient(f"127.0.0.1:{server.port}")
        answer = pool.submit(asking.infer, "later", [x], outputs=[y])
        harness.wait_until(lambda: server.status("later")["running"] > 0, 60, "the run")
        client.unregister_system_shared_memory("r")
        client.register_system_shared_memory("r", other_key, 64)
        answer.result()
        asking.close()
    server.delete("/v1/models/later")
    assert (shm.get_contents_as_numpy(mine, np.int32, [8]) == given).all()
    assert not shm.get_contents_as_numpy(others, np.int32, [16]).any()


def test_descriptors_are_given_back(api, region, server):
    _, client = api
    _, key = region(100)
    before = server.fd_count()
    for i in range(50):
        client.register_system_shared_memory(f"r{i}", key, 100)
    assert server.fd_count() >= before + 50
    client.unregister_system_shared_memory()
    harness.wait_until(lambda: server.fd_count() <= before + 1, 60, "descriptors given back")


def test_registering_needs_the_manage_scope(make_server, region):
    _, key = region(100)
    server = make_server("--set", "security.auth_enabled=true", "--set",
                         "security.api_keys=boss admin,user user", key="boss")
    for module in [thttp, tgrpc]:
        client = module.InferenceServerClient(f"127.0.0.1:{server.port}")
        user, boss = {"authorization": "Bearer user"}, {"authorization": "Bearer boss"}
        with pytest.raises(InferenceServerException, match="UNAUTHENTICATED|401"):
            client.get_system_shared_memory_status()
        client.get_system_shared_memory_status(headers=user)
        for change in [lambda: client.register_system_shared_memory("r", key, 100, headers=user),
                       lambda: client.unregister_system_shared_memory(headers=user)]:
            with pytest.raises(InferenceServerException, match="PERMISSION_DENIED|403"):
                change()
        client.register_system_shared_memory("r", key, 100, headers=boss)
        client.unregister_system_shared_memory("r", headers=boss)
        client.close()
