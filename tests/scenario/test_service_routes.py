"""Requests for deployed services, passed on to their replicas: real programs as replicas, and the api
in front of them with routes that the test publishes (build/test_front)."""
import collections
import gzip
import http.client
import json
import os
import socket
import subprocess
import threading

import openai
import pytest

import harness

FRONT = harness.BERTH.parent / "test_front"


class Front(harness.Server):
    """The server in front.  tell() changes its routes."""

    def __init__(self):
        super().__init__(argv=[str(FRONT), str(harness.BERTH.parent / "backends")], port=1)

    def start(self):
        log = open(self.log_path, "ab")
        self.process = subprocess.Popen(self.argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=log, env=self.env, cwd=self.own_dir, text=True)
        log.close()
        self.port = int(self.process.stdout.readline())
        return self

    def stop(self, seconds=60):
        if self.process.poll() is None:
            self.process.stdin.close()
            self.process.wait(seconds * harness.SLOW)
        return self.process.returncode

    def tell(self, **line):
        self.process.stdin.write(json.dumps(line) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        assert answer["error"] is None, answer
        return answer

    def publish(self, replicas, name="svc", names=None, **more):
        """replicas: {id: server or (server, track)}; all of them ready.  names: {id: what it calls
        the model}."""
        listed = []
        for rid, at in replicas.items():
            server, track = at if isinstance(at, tuple) else (at, "stable")
            listed.append({"id": rid, "endpoint": server if isinstance(server, str) else server.url,
                           "track": track, "ready": True, "served": (names or {}).get(rid)})
        self.tell(publish={"id": f"{name}-1", "name": name, "replicas": listed, **more})

    def routes(self, name="svc"):
        told = self.tell(describe=f"{name}-1")["routes"]
        return {r["id"]: r for r in told["replicas"]}


@pytest.fixture
def front():
    with Front() as f:
        yield f


def chat(server, text="hello there", model="svc", **more):
    return server.post("/v1/chat/completions", {
        "model": model, "messages": [{"role": "user", "content": text}], **more})


def infer(server, model="svc", data=(1, 2)):
    return server.post(f"/v2/models/{model}/infer",
                       {"inputs": [harness.v2_input("x", "INT32", [len(data)], list(data))]})


class Load:
    """Clients that ask without a pause, each on its own kept connection."""

    def __init__(self, server, clients, body, path="/v1/chat/completions"):
        self.server, self.body, self.path = server, json.dumps(body), path
        self.seen, self.failed = collections.Counter(), []
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.run) for _ in range(clients)]

    def run(self):
        conn = self.server.connection()
        while not self.over.is_set():
            try:
                conn.request("POST", self.path, self.body, {"Content-Type": "application/json"})
                r = conn.getresponse()
                text = r.read()
            except (OSError, http.client.HTTPException) as e:
                self.failed.append(repr(e))
                conn = self.server.connection()
                continue
            if r.status == 200:
                self.seen[r.getheader("x-berth-replica")] += 1
            else:
                self.failed.append((r.status, text[:300]))
        conn.close()

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *exc):
        self.over.set()
        for t in self.threads:
            t.join()

    def wait(self, n):
        """n more answers."""
        want = sum(self.seen.values()) + n
        harness.wait_until(lambda: sum(self.seen.values()) >= want or self.failed, 120,
                           f"{n} more answers, after {self.seen}")


def test_every_dialect_reaches_the_service_by_its_name(front, make_server):
    """The replica knows the model as "inner": only the name is another one on the way."""
    up = make_server()
    up.register("inner")
    front.publish({"r-1": up}, served="inner")
    for name in ("svc", "svc-1"):
        a = chat(front, model=name)
        assert a.status == 200 and a.headers["x-berth-replica"] == "r-1", a
        assert a.json["choices"][0]["message"]["content"] == "hello there"
        assert a.json["model"] == "inner" and len(a.headers["x-request-id"]) == 36
        a = infer(front, name)
        assert a.status == 200 and a.json["outputs"][0]["data"] == [1, 2], a
        a = front.post(f"/v1/models/{name}:predict", {"input": {"Text": "a b"}})
        assert a.status == 200 and "a b" in a.text, a
        a = front.get(f"/v2/models/{name}")
        assert a.status == 200 and a.json["name"] == "inner", a
        assert front.get(f"/v2/models/{name}/ready").status == 200
    a = front.post("/v1/completions", {"model": "svc", "prompt": "one two"})
    assert a.json["choices"][0]["text"] == "one two", a
    # An error is the replica's own, and has its shape and status.
    a = chat(front, max_tokens=-1)
    assert a.status == 400 and a.headers["x-berth-replica"] == "r-1"
    assert [m["id"] for m in front.get("/v1/models").json["data"]] == ["svc"]
    a = chat(front, model="nobody")
    assert a.status == 404 and a.json["error"]["code"] == "model_not_found", a
    assert infer(front, "nobody").status == 404
    # What only concerns models that are registered here is not for others to decide.
    assert front.delete("/v1/models/svc").status == 404
    assert up.status("inner")["status"] in ("Ready", "Running")


def test_each_replica_is_asked_by_its_own_name(front, make_server):
    """One knows the model as "one", the other as the service does: also what is tried again at the
    other has that one's name, in bodies and in paths."""
    first, second = make_server(), make_server()
    first.register("one")
    second.register("svc")
    front.publish({"r-1": first, "r-2": second}, names={"r-1": "one"})
    own = {"r-1": "one", "r-2": "svc"}
    seen = collections.Counter()
    for _ in range(10):
        a, b = chat(front, model="svc-1"), infer(front)
        assert a.status == b.status == 200, (a, b)
        assert a.json["model"] == own[a.headers["x-berth-replica"]]
        assert b.json["model_name"] == own[b.headers["x-berth-replica"]]
        seen.update(x.headers["x-berth-replica"] for x in (a, b))
    assert set(seen) == set(own)
    first.kill()
    for _ in range(4):
        a, b = chat(front), infer(front)
        assert (a.status, a.json["model"]) == (200, "svc"), a
        assert (b.status, b.json["model_name"]) == (200, "svc"), b


def test_every_way_of_sending(front, make_server):
    """HTTP/2, HEAD, compressed bodies, and binary tensors larger than any buffer."""
    up = make_server()
    up.register("svc")
    front.publish({"r-1": up})
    body = {"model": "svc-1", "stream": True, "messages": [{"role": "user", "content": "a b"}]}
    curl = ["curl", "-sS", "-i", "--http2-prior-knowledge", "--max-time", str(60 * harness.SLOW)]
    got = subprocess.run([*curl, "--json", json.dumps(body), f"{front.url}/v1/chat/completions"],
                         capture_output=True, text=True, check=True).stdout
    assert got.startswith("HTTP/2 200") and "x-berth-replica: r-1" in got, got
    assert got.rstrip().endswith("data: [DONE]")
    got = subprocess.run([*curl, "--head", f"{front.url}/v2/models/svc/ready"],
                         capture_output=True, text=True, check=True).stdout
    assert got.startswith("HTTP/2 200") and "x-berth-replica: r-1" in got, got
    a = front.post("/v1/chat/completions", gzip.compress(json.dumps({**body, "stream": False})
                                                         .encode()),
                   headers={"Content-Type": "application/json", "Content-Encoding": "gzip"})
    assert a.status == 200 and a.json["choices"][0]["message"]["content"] == "a b", a
    data = os.urandom(8_000_000)
    head = json.dumps({"inputs": [{"name": "x", "datatype": "INT32", "shape": [2_000_000],
                                   "parameters": {"binary_data_size": len(data)}}],
                       "outputs": [{"name": "x", "parameters": {"binary_data": True}}]}).encode()
    a = front.post("/v2/models/svc/infer", head + data,
                   headers={"Inference-Header-Content-Length": str(len(head))})
    assert a.status == 200 and a.body.endswith(data)
    assert int(a.headers["inference-header-content-length"]) + len(data) == len(a.body)


def test_what_has_side_effects_is_sent_once(front, make_server):
    ups = {"r-0": make_server(), "r-1": make_server()}
    for up in ups.values():
        up.register("svc", config={"delay_ms": 60000})
    front.publish(ups, side_effects=True)
    answers = []
    asking = threading.Thread(target=lambda: answers.append(infer(front)))
    asking.start()
    # What was not sent yet when the replica goes may still go to another one.
    busy = harness.wait_until(lambda: [up for up in ups.values() if up.status("svc")["running"]], 60, "one runs it")
    busy[0].kill()
    asking.join()
    assert answers[0].status == 502, answers
    assert sum(r["requests"] for r in front.routes().values()) == 1
    assert front.metric("berth_forward_retries_total", service="svc-1") is None


def test_a_model_that_is_registered_here_comes_first(front, make_server):
    up = make_server()
    up.register("svc")
    front.publish({"r-1": up})
    assert "x-berth-replica" in chat(front).headers
    front.register("svc")
    assert "x-berth-replica" not in chat(front).headers
    assert "x-berth-replica" not in infer(front).headers
    assert chat(front, model="svc-1").headers["x-berth-replica"] == "r-1"
    assert [m["id"] for m in front.get("/v1/models").json["data"]] == ["svc"]
    assert "registered here" in front.tell(describe="svc-1")["routes"]["warning"]


def test_a_stream_comes_as_it_is_made(front, make_server):
    up = make_server()
    up.register("svc", config={"token_ms": 100})
    front.publish({"r-1": up})
    client = openai.OpenAI(base_url=front.url + "/v1", api_key="none", timeout=60 * harness.SLOW)

    def words(text):
        asked = {"model": "svc", "messages": [{"role": "user", "content": text}]}
        with client.chat.completions.create(stream=True, **asked) as stream:
            for event in stream:
                if event.choices and event.choices[0].delta.content:
                    yield event.choices[0].delta.content

    assert "".join(words("a b c d e f g h")) == "a b c d e f g h"
    # And not all at its end: one that takes a minute has begun here while it is being made there.
    harness.wait_until(lambda: not up.metric("berth_sequences_running", model="svc"), 60, "the first is over")
    story = words("word " * 600)
    assert next(story).strip() == "word"
    assert up.metric("berth_sequences_running", model="svc") == 1
    story.close()


def test_a_killed_replica_costs_no_request(front, make_server):
    ups = {f"r-{i}": make_server() for i in range(3)}
    for up in ups.values():
        up.register("svc", config={"token_ms": 1})
    front.publish(ups)
    body = {"model": "svc", "messages": [{"role": "user", "content": "a b c d"}]}
    with Load(front, 12, body) as load:
        load.wait(200)
        ups["r-1"].kill()
        load.wait(300)
    assert load.failed == []
    assert set(load.seen) == set(ups)
    assert front.metric("berth_forward_retries_total", service="svc-1") >= 1
    assert front.metric("berth_forward_breaker", replica="r-1") >= 1
    assert front.routes()["r-1"]["inFlight"] == 0
    # What it said last: nothing at all.
    assert front.metric("berth_forwarded_total", replica="r-1", status="none") >= 1
    # It comes back at the same address, and gets requests again.
    again = harness.Server(port=ups["r-1"].port)
    with again:
        again.register("svc")
        before = front.routes()["r-1"]["requests"]
        with Load(front, 4, body) as load:
            harness.wait_until(lambda: front.routes()["r-1"]["breaker"] == "closed" and
                               front.routes()["r-1"]["requests"] > before + 20, 120, "r-1 is back")
        assert load.failed == []


def test_a_stream_that_breaks_is_seen_to(front, make_server):
    """Its beginning was passed on: nobody else can go on with it, and it must not look whole."""
    up = make_server()
    up.register("svc", config={"token_ms": 50})
    front.publish({"r-1": up})
    conn = front.connection()
    conn.request("POST", "/v1/chat/completions", json.dumps(
        {"model": "svc", "stream": True,
         "messages": [{"role": "user", "content": "word " * 600}]}),
        {"Content-Type": "application/json", "X-Request-Id": "broken"})
    answer = conn.getresponse()
    assert answer.status == 200 and answer.read(50)
    up.kill()
    with pytest.raises(http.client.IncompleteRead):
        answer.read()
    conn.close()
    told = harness.wait_until(lambda: (lambda a: a.status == 200 and a.json)(
        front.get("/v1/requests/broken/explain")), 60, "its account")
    assert told["forwarded"] == {"replica": "r-1", "track": "stable", "tries": 1}
    assert told["error"]["code"] == "NETWORK_ERROR", told


def test_when_all_are_gone(front, make_server):
    port = harness.free_port()
    front.publish({"r-1": f"http://127.0.0.1:{port}"})
    a = chat(front)
    assert a.status == 502 and "replica r-1" in a.json["error"]["message"], a
    seen = [a.status]

    def given_up():
        a = chat(front)
        seen.append(a.status)
        return a if a.status != 502 else None

    # After five, or one more for each time that it is tried again: the first is a second later.
    a = harness.wait_until(given_up, 60, f"it is not asked any more: {seen}")
    assert a.status == 503 and "failed lately" in a.json["error"]["message"], a
    assert int(a.headers["retry-after"]) >= 1
    assert 5 <= front.routes()["r-1"]["requests"] == seen.count(502) < 10, seen
    front.publish({})
    a = infer(front)
    assert a.status == 503 and "none of its 0 replicas" in a.json["error"], a


def test_a_canary_has_its_share(front, make_server):
    ups = [make_server() for _ in range(2)]
    for up in ups:
        up.register("svc")
    front.publish({"s-1": ups[0], "c-1": (ups[1], "canary")}, stable=90, canary=10)
    seen = collections.Counter(chat(front).headers["x-berth-replica"] for _ in range(100))
    assert seen == {"s-1": 90, "c-1": 10}
    harness.wait_until(lambda: front.metric("berth_forwarded_total", track="canary", status="200") == 10, 60,
                       "the canary's are counted")
    front.publish({"s-1": ups[0], "c-1": (ups[1], "canary")}, stable=50, canary=50)
    seen = collections.Counter(infer(front).headers["x-berth-replica"] for _ in range(40))
    assert seen == {"s-1": 20, "c-1": 20}
    front.publish({"c-1": ups[1]})  # promoted
    assert chat(front).headers["x-berth-replica"] == "c-1"
    harness.wait_until(lambda: front.metric("berth_forwarded_total", replica="s-1") is None, 60, "s-1 is forgotten")


def test_draining_lets_what_runs_end(front, make_server):
    ups = {"r-0": make_server(), "r-1": make_server()}
    for up in ups.values():
        up.register("svc", config={"token_ms": 20})
    front.publish(ups)
    body = {"model": "svc", "messages": [{"role": "user", "content": "w " * 20}]}
    with Load(front, 6, body) as load:
        load.wait(12)
        assert front.tell(drain="svc-1", replica="r-0", ms=30000)["left"] == 0
        drained = front.routes()["r-0"]
        assert drained["draining"] and drained["inFlight"] == 0
        ups["r-0"].kill()
        load.wait(12)
        assert front.routes()["r-0"]["requests"] == drained["requests"]
    assert load.failed == []


def test_a_client_that_leaves_stops_the_replica(front, make_server):
    up = make_server()
    up.register("svc", config={"token_ms": 100})
    front.publish({"r-1": up})
    for stream in (False, True):
        before = up.metric("berth_requests_canceled_total", model="svc") or 0
        conn = front.connection()
        conn.request("POST", "/v1/chat/completions", json.dumps(
            {"model": "svc", "stream": stream,
             "messages": [{"role": "user", "content": "word " * 600}]}),
            {"Content-Type": "application/json"})
        harness.wait_until(lambda: up.metric("berth_sequences_running", model="svc"), 60, "it runs")
        conn.close()
        harness.wait_until(lambda: (up.metric("berth_requests_canceled_total", model="svc") or 0)
                           > before, 60, "the replica has stopped")
        harness.wait_until(lambda: front.routes()["r-1"]["inFlight"] == 0, 60, "none in flight")
    assert front.routes()["r-1"]["breaker"] == "closed"


def test_a_replica_that_does_not_answer_is_given_up(front, make_server):
    up = make_server()
    up.register("svc", config={"delay_ms": 60000})
    front.publish({"r-1": up}, first_ms=300)
    a = infer(front)
    assert a.status == 504 and "no answer in time" in a.json["error"], a


def test_a_stream_that_does_not_begin_is_given_up(front):
    """A hung engine takes connections and says nothing; an answer in one piece may take its time."""
    with socket.create_server(("127.0.0.1", 0)) as hung:
        front.publish({"r-1": f"http://127.0.0.1:{hung.getsockname()[1]}"}, silent_ms=400)
        body = {"model": "svc", "messages": [{"role": "user", "content": "hi"}]}
        a = front.post("/v1/chat/completions", {**body, "stream": True})
        assert a.status == 504 and "no answer in time" in a.json["error"]["message"], a
        conn = front.connection()
        conn.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        harness.wait_until(lambda: front.routes()["r-1"]["inFlight"] == 1, 60, "it is on its way")
        before = front.routes()["r-1"]["requests"]
        a = front.post("/v1/chat/completions", {**body, "stream": True})  # longer than the other one has waited
        assert a.status == 504, a
        assert front.routes()["r-1"]["inFlight"] == 1 and front.routes()["r-1"]["requests"] == before + 1
        conn.close()


def test_servers_that_pass_on_to_each_other_stop(front):
    front.publish({"r-1": front})
    a = chat(front)
    assert a.status == 400 and "pass requests on to each other" in a.json["error"]["message"], a
    assert front.routes()["r-1"]["requests"] <= 4


def test_a_real_model_answers_the_same(front, models_server):
    """SmolLM2 by OpenAI's client, side by side: direct, and through the service's name."""
    front.publish({"r-1": models_server}, name="assistant", served="smollm2")
    asked = {"messages": [{"role": "user", "content": "Name three colours."}], "max_tokens": 12,
             "temperature": 0}
    texts = []
    for server, model in ((models_server, "smollm2"), (front, "assistant")):
        client = openai.OpenAI(base_url=server.url + "/v1", api_key="none")
        texts.append(client.chat.completions.create(model=model, **asked).choices[0].message.content)
        texts.append("".join(e.choices[0].delta.content or "" for e in
                             client.chat.completions.create(model=model, stream=True, **asked)
                             if e.choices))
    assert texts[0] and len(set(texts)) == 1, texts
