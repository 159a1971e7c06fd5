"""Services as models of a real Ollama server: the environment's operations, and the whole control plane."""
import json
import pathlib

import openai
import pytest

import harness
from harness import wait_until
from ollama_server import Ollama, Registry
from services import API, berth, get, wait_gone, wait_phase
from shimlet_drive import Drive

PATIENCE = 120  # an engine may wait long for a processor
# One thread: more of them spin at barriers, and this machine's cores are shared.
ONE = {"parameters": {"num_thread": 1}}
NOT_AGAIN = {"invalid": -1, "unsupported": -15}


@pytest.fixture(scope="module")
def engine():
    with Ollama() as o:
        yield o


@pytest.fixture
def ollama(engine):
    """The server, up and empty, before and after."""
    if engine.process is None:
        engine.up()
    assert engine.tags() == []
    yield engine
    if engine.process is None:
        engine.up()
    left = engine.tags()
    for name in left:
        engine.good("DELETE", "/api/delete", {"model": name})
    assert left == [], engine.log()


@pytest.fixture
def drive(ollama, tmp_path):
    with Drive("ollama", {"host": ollama.host}, state_dir=tmp_path) as d:
        yield d
        d.remove(UNIT["name"])
        assert list((tmp_path / "units").iterdir()) == []


UNIT = {"name": "smol-stable-0123", "service_id": "smol", "hash": "aaaa", "revision": 1,
        "model_name": "smol", "model_path": str(harness.SMOLLM), "settings": ONE,
        "spec": {"contextLength": 512}}


def unit(**more):
    return {**UNIT, **more}


def name_of(revision, number, hash="aaaa", unit=UNIT["name"], owner="test"):
    return f"berth-{owner}/{unit}:r{revision}-g{number}-{hash}"


def settle(drive, wanted):
    """Rounds until the unit is as wanted.  A server that takes ten seconds for an answer is as one that is away."""
    def there():
        if drive.ask("apply", unit=wanted)["r"] < 0:
            return None
        seen = drive.status(wanted["name"])
        return seen if (len(seen["replicas"]) == wanted.get("replicas", 1) and
                        all(r["state"] == "ready" and r["hash"] == wanted["hash"]
                            for r in seen["replicas"])) else None
    return wait_until(there, PATIENCE, f"{wanted} is there")


def wait_status(drive, words):
    """What is seen, once the server has answered, and that is the matter."""
    return wait_until(lambda: words in ((s := drive.status(UNIT["name"]))["message"] or "") and s, PATIENCE, words)


# ---- the operations ----

@pytest.mark.sanitize
def test_a_file_becomes_a_model(ollama, drive):
    """Made once, with the service's context length, loaded, and answering; a second round makes nothing; a
    new revision comes before the old one goes; to none and back."""
    assert drive.wait_does("check", unit=UNIT)
    (replica,) = settle(drive, UNIT)["replicas"]
    assert (replica["state"], replica["endpoint"], replica["revision"]) == ("ready", ollama.url, 1)
    assert ollama.tags() == ollama.loaded() == [name_of(1, 1)]
    assert "num_ctx 512" in " ".join(ollama.good("POST", "/api/show", {"model": name_of(1, 1)})
                                     ["parameters"].split())
    status, answer = ollama.chat(name_of(1, 1))
    assert status == 200 and answer["usage"]["completion_tokens"] == 4, answer
    made = ollama.asked("POST /api/create")
    drive.wait_does("apply", unit=UNIT)
    assert ollama.asked("POST /api/create") == made

    drive.wait_does("apply", unit=unit(hash="bbbb", revision=2))
    assert ollama.tags() == [name_of(1, 1), name_of(2, 2, "bbbb")]
    drive.wait_does("apply", unit=unit(hash="bbbb", revision=2))
    assert ollama.tags() == [name_of(2, 2, "bbbb")]
    wait_until(lambda: ollama.loaded() == ollama.tags(), PATIENCE, "the old one is out of memory")
    assert drive.said("drain") == [name_of(1, 1)]
    assert drive.do("list")["items"] == [{"service_id": "smol", "track": "stable",
                                          "name": UNIT["name"], "hash": "bbbb"}]

    settle(drive, unit(hash="bbbb", revision=2, replicas=0))
    assert ollama.tags() == [] and drive.status(UNIT["name"])["exists"]
    settle(drive, unit(hash="bbbb", revision=2))
    assert ollama.tags() == [name_of(2, 3, "bbbb")], "no name is given twice"
    drive.remove(UNIT["name"])
    drive.remove(UNIT["name"])
    assert ollama.tags() == [] and not drive.status(UNIT["name"])["exists"]


def test_what_is_others_is_left_alone(ollama, drive):
    """Models of a person, and of another control plane that has a unit of the same name."""
    drive.wait_does("apply", unit=UNIT)
    theirs = [name_of(1, 1, owner="other"), "mine:latest"]
    for name in theirs:
        ollama.good("POST", "/api/create", {"model": name, "from": name_of(1, 1), "stream": False})
    assert len(drive.status(UNIT["name"])["replicas"]) == 1
    drive.remove(UNIT["name"])
    assert ollama.tags() == sorted(theirs)
    for name in theirs:
        ollama.good("DELETE", "/api/delete", {"model": name})


@pytest.mark.sanitize
def test_what_was_made_is_adopted(ollama, tmp_path):
    """A new process finds what an earlier one made; one that lost its records finds it by the names."""
    def open_(state):
        return Drive("ollama", {"host": ollama.host}, state_dir=state)

    (tmp_path / "lost").mkdir()
    with open_(tmp_path) as d:
        d.wait_does("apply", unit=UNIT)
    made = ollama.asked("POST /api/create")
    with open_(tmp_path) as d:
        seen = d.status(UNIT["name"])
        assert [r["state"] for r in seen["replicas"]] == ["ready"] and not seen["drifted"]
        d.wait_does("apply", unit=UNIT)
    with open_(tmp_path / "lost") as d:
        assert d.status(UNIT["name"])["hash"] == "aaaa"
        settle(d, UNIT)
        assert ollama.asked("POST /api/create") == made
        settle(d, unit(hash="bbbb", revision=2))
        assert ollama.tags() == [name_of(2, 2, "bbbb")]
        d.remove(UNIT["name"])


def test_drift_and_an_absence_are_seen_to(ollama, drive):
    """A model that somebody deleted is made again; while the server is away the reason says what to
    do, and when it is back the model is loaded again."""
    drive.wait_does("apply", unit=UNIT)
    ollama.good("DELETE", "/api/delete", {"model": name_of(1, 1)})
    seen = wait_status(drive, "was deleted")
    assert seen["drifted"] and seen["replicas"] == []
    settle(drive, UNIT)
    assert ollama.tags() == [name_of(1, 2)]

    ollama.kill()
    seen = drive.status(UNIT["name"])
    (replica,) = seen["replicas"]
    assert replica["state"] == "failed" and "start it there (ollama serve)" in replica["reason"], seen
    assert drive.ask("apply", unit=UNIT)["r"] == drive.ask("remove", name=UNIT["name"])["r"] == -17
    ollama.up()
    assert ollama.loaded() == []
    seen = wait_status(drive, "was away")
    assert seen["drifted"] and seen["replicas"][0]["state"] == "ready"
    drive.wait_does("apply", unit=UNIT)
    assert ollama.loaded() == [name_of(1, 2)] and not drive.status(UNIT["name"])["drifted"]


def test_a_model_that_cannot_be_loaded(ollama, drive, tmp_path):
    """The replica has failed, with the engine's own words; the next revision takes its place."""
    broken = tmp_path / "broken.gguf"  # a head that is right, without the tensors that it names
    broken.write_bytes(harness.SMOLLM.read_bytes()[:4_000_000])
    drive.ask("apply", unit=unit(model_path=str(broken)))
    seen = drive.status(UNIT["name"])
    assert all(r["state"] == "failed" and r["reason"] for r in seen["replicas"]), seen
    settle(drive, unit(hash="bbbb", revision=2))


def test_an_embedding_model(ollama, drive):
    """It cannot generate, and is loaded another way."""
    settle(drive, unit(model_path=str(harness.MINILM), spec={}))
    assert ollama.loaded() == [name_of(1, 1)]
    got = ollama.good("POST", "/v1/embeddings", {"model": name_of(1, 1), "input": "a b"})
    assert len(got["data"][0]["embedding"]) == 384


@pytest.mark.sanitize
def test_a_pull_tells_how_far_it_is_and_goes_on_where_it_stopped(ollama, drive):
    """Cut off by its time, it goes on with what was fetched; the name that was pulled goes, but a
    person's own stays."""
    with Registry(harness.SMOLLM) as registry:
        pulled = unit(model_path=None, settings={**ONE, "model": registry.name, "insecure": True})
        registry.slow.set()
        answer = drive.ask("apply", unit=pulled, timeout_ms=25_000)  # half of what it takes
        assert answer["r"] == -9, answer  # cancelled
        assert any("pulling" in note and "MiB" in note for note in drive.said("note")), drive.events
        assert drive.status(UNIT["name"])["replicas"] == []
        registry.slow.clear()
        seen = settle(drive, pulled)
        assert max(registry.begins) > 1_000_000, registry.begins
        assert ollama.tags() == [seen["replicas"][0]["id"]]
        assert ollama.chat(seen["replicas"][0]["id"])[0] == 200

        # Cut off, and not wanted any more: nothing is left of it.
        drive.remove(UNIT["name"])
        assert ollama.tags() == []
        ollama.good("POST", "/api/pull", {"model": registry.name, "insecure": True, "stream": False})
        (own,) = ollama.tags()
        settle(drive, pulled)
        drive.remove(UNIT["name"])
        assert ollama.tags() == [own]
        ollama.good("DELETE", "/api/delete", {"model": own})
        missing = {**ONE, "model": registry.name + "0", "insecure": True}
        answer = drive.ask("apply", unit=unit(model_path=None, settings=missing))
        assert answer["r"] == NOT_AGAIN["invalid"] and "there is no model" in answer["error"], answer


def test_it_moves_to_another_server(ollama, drive):
    with Ollama() as other:
        settle(drive, UNIT)
        settle(drive, unit(hash="bbbb", revision=2, settings={**ONE, "host": other.url}))
        assert ollama.tags() == [] and other.tags() == [name_of(2, 2, "bbbb")]
        drive.remove(UNIT["name"])
        assert other.tags() == []


@pytest.mark.parametrize("more, words", [
    ({"replicas": 2}, "OLLAMA_NUM_PARALLEL"),
    ({"command": ["vllm"]}, "leave command, args and engine"),
    ({"model_path": "/nowhere/x.gguf"}, "for a model of Ollama's library"),
    ({"model_path": "/tmp"}, "no GGUF file"),
    ({"model_path": __file__}, "no GGUF file"),
    ({"settings": {"hots": "x"}}, "shimletConfig.hots is not known"),
    ({"settings": {"parameters": 1}}, "shimletConfig.parameters is"),
    ({"settings": {"host": "a b"}}, "is not like http://"),
    ({"hash": "a" * 40}, "no name can be made"),
])
def test_what_cannot_be_is_said_at_once(drive, more, words):
    for op in ("check", "apply")["hash" in more:]:
        answer = drive.ask(op, unit=unit(**more))
        assert answer["r"] == NOT_AGAIN["invalid"] and words in answer["error"], answer


def test_servers_that_are_none(drive):
    """Nothing there, another program, and an Ollama that is too old."""
    import http.server
    import threading

    class Old(http.server.BaseHTTPRequestHandler):
        text = b'{"version":"0.5.4"}'

        def log_message(self, *_):
            pass

        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.text)

    gone = {"host": f"127.0.0.1:{harness.free_port()}"}
    answer = drive.ask("check", unit=unit(settings=gone))
    assert answer["r"] == -17 and "no Ollama server answers" in answer["error"], answer
    with http.server.HTTPServer(("127.0.0.1", 0), Old) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        there = {"host": f"http://127.0.0.1:{server.server_port}/"}
        try:
            for text, words in ((Old.text, "0.5.5 or newer is needed"), (b"hello", "is it an Ollama"),
                                (b"{}", "is it an Ollama")):
                Old.text = text
                asked = {"unit": unit(settings=there)}
                answer = wait_until(  # it has ten seconds for it
                    lambda: (a := drive.ask("check", **asked))["r"] not in (-6, -17) and a, PATIENCE, words)
                assert answer["r"] == NOT_AGAIN["unsupported"] and words in answer["error"], answer
        finally:
            server.shutdown()
            thread.join()


# ---- the control plane ----

@pytest.fixture
def server(ollama, make_server, tmp_path):
    config = tmp_path / "berth.yaml"
    config.write_text(json.dumps({"plugins": {"plugin_configs": {"ollama": {"host": ollama.host}}}}))
    yield make_server("--config", config, "--shimlet", "ollama")


def chat(server, model, port=None):
    return server.post("/v1/chat/completions", {
        "model": model, "messages": [{"role": "user", "content": "What is the sea?"}],
        "max_tokens": 4, "temperature": 0}, port=port, timeout=PATIENCE)


def wait_revision(server, name, *revisions):
    """These revisions are ready, the stable track's first, and nothing else is there."""
    def there():
        seen = get(server, name)
        return seen if (seen["phase"] == "running" and
                        [r["revision"] for r in seen["replicas"]] == list(revisions) and
                        all(r["state"] == "ready" for r in seen["replicas"])) else None
    try:
        return wait_until(there, PATIENCE, f"revisions {revisions} of {name}")
    except AssertionError as e:
        raise AssertionError(f"{e}: {get(server, name)}\n{server.log()[-3000:]}") from None


def records(server):
    return [p.name for p in pathlib.Path(server.state_dir, "shimlets", "ollama").rglob("*.json")]


def test_a_language_model_is_deployed(server, ollama):
    """SmolLM2 answers at the service's endpoint by Ollama's name of it, and through Berth by its own;
    it is updated, rolled back, tried as a canary, comes back with its server, is taken over by a
    control plane that was killed, and leaves nothing."""
    ollama_models_before = ollama.blobs()
    out = berth(server, "deploy", harness.SMOLLM, "modelName=smollm2", "contextLength=512",
                f"shimletConfig={json.dumps(ONE)}")
    assert "is running" in out, out
    (replica,) = wait_revision(server, "smollm2", 1)["replicas"]
    assert ollama.tags() == [replica["modelName"]]
    endpoint = get(server, "smollm2")["endpoint"]
    assert endpoint == f"{ollama.url}/v1/chat/completions"
    own = openai.OpenAI(base_url=ollama.url + "/v1", api_key="none", timeout=PATIENCE)
    asked = {"messages": [{"role": "user", "content": "What is the sea?"}], "max_tokens": 4, "temperature": 0}
    direct = own.chat.completions.create(model=replica["modelName"], **asked)
    routed = openai.OpenAI(base_url=server.url + "/v1", api_key="none", timeout=PATIENCE)
    through = routed.chat.completions.create(model="smollm2", **asked)
    assert direct.choices[0].message.content == through.choices[0].message.content != ""
    words = [e.choices[0].delta.content for e in
             routed.chat.completions.create(model="smollm2", stream=True, **asked) if e.choices]
    assert "".join(w or "" for w in words) == through.choices[0].message.content
    assert "smollm2" in [m.id for m in routed.models.list()]

    # Another revision: the context's length is the model's own.
    berth(server, "update", "smollm2", "contextLength=256")
    (replica,) = wait_revision(server, "smollm2", 2)["replicas"]
    assert ollama.tags() == [replica["modelName"]]
    assert "256" in ollama.good("POST", "/api/show", {"model": replica["modelName"]})["parameters"]
    assert chat(server, "smollm2").status == 200
    berth(server, "rollback", "smollm2", 1)
    (replica,) = wait_revision(server, "smollm2", 3)["replicas"]
    assert "512" in ollama.good("POST", "/api/show", {"model": replica["modelName"]})["parameters"]

    # A canary beside it has a model of its own, and is asked by that name.
    berth(server, "update", "smollm2", "strategy.type=canary", "strategy.canary.weight=50",
          "contextLength=384")
    seen = wait_revision(server, "smollm2", 3, 4)
    assert len(ollama.tags()) == 2
    answered = set()
    for _ in range(4):
        a = chat(server, "smollm2")
        assert a.status == 200, a
        answered.add((a.headers["x-berth-replica"], a.json["model"]))
    assert answered == {(r["id"], r["modelName"]) for r in seen["replicas"]}
    berth(server, "rollback", "smollm2")
    wait_until(lambda: len(ollama.tags()) == 1, PATIENCE, "the canary's model is gone")
    wait_until(lambda: len(get(server, "smollm2")["replicas"]) == 1, PATIENCE, "the stable one alone")
    (replica,) = get(server, "smollm2")["replicas"]

    # Its server dies and comes back.
    ollama.kill()
    wait_until(lambda: get(server, "smollm2")["phase"] == "degraded", PATIENCE, "its absence is told")
    (away,) = get(server, "smollm2")["replicas"]
    assert away["state"] == "failed" and "start it there (ollama serve)" in away["reason"], away
    ollama.up()
    wait_phase(server, "smollm2", seconds=PATIENCE)
    wait_until(lambda: ollama.loaded() == [replica["modelName"]], PATIENCE, "it is loaded again")
    assert chat(server, "smollm2").status == 200

    # The control plane is killed: the model answers on, and the next one takes it over.
    made = ollama.asked("POST /api/create")
    server.kill()
    assert ollama.chat(replica["modelName"])[0] == 200
    server.start()
    wait_phase(server, "smollm2", seconds=PATIENCE)
    (same,) = wait_until(lambda: get(server, "smollm2")["replicas"], PATIENCE, "its replica is looked at")
    assert same["id"] == replica["id"] and ollama.asked("POST /api/create") == made
    wait_until(lambda: chat(server, "smollm2").status == 200, PATIENCE, "an answer")

    berth(server, "delete", "smollm2")
    wait_gone(server, "smollm2", PATIENCE)
    wait_until(lambda: ollama.loaded() == [], PATIENCE, "it is out of memory")
    assert ollama.tags() == records(server) == []
    assert ollama.blobs() == ollama_models_before
    assert chat(server, "smollm2").status == 404


def test_a_name_of_the_library_is_pulled(server, ollama):
    """The model's name alone says what is to be pulled; the pull is in the service's log."""
    with Registry(harness.SMOLLM) as registry:
        config = json.dumps({**ONE, "model": registry.name, "insecure": True})
        berth(server, "deploy", "modelName=smol", f"shimletConfig={config}")
        assert chat(server, "smol").status == 200
        assert "pulling" in berth(server, "logs", "--pipeline", "smol")
        berth(server, "delete", "smol")
        wait_gone(server, "smol", PATIENCE)
        assert ollama.tags() == []


def test_a_plan_and_a_refusal(server, ollama):
    """What would be made, and why something cannot be."""
    spec = {"modelName": "smol", "modelFile": str(harness.SMOLLM), "contextLength": 512, "shimletConfig": ONE}
    answer = server.post(f"{API}/plan", spec)
    assert answer.status == 200, answer
    (made,) = answer.json["data"]["objects"]
    assert made == {"server": ollama.url, "file": str(harness.SMOLLM), "num_ctx": 512, **ONE}
    answer = server.post(f"{API}/plan", {**spec, "replicaCount": 3})
    assert not answer.json["data"]["fits"] and "OLLAMA_NUM_PARALLEL" in answer.json["data"]["why"], answer
