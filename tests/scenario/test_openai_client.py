"""What programs written for OpenAI's API see, through OpenAI's own Python client."""
import base64
import json
import math
import time

import httpx
import numpy as np
import openai
import pytest

import harness

CHAT = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]


def client_of(server, **kw):
    kw.setdefault("api_key", "unused")
    return openai.OpenAI(base_url=server.url + "/v1", max_retries=0,
                         timeout=kw.pop("timeout", 90 * harness.SLOW), **kw)


@pytest.fixture
def client(models_server):
    with client_of(models_server) as c:
        yield c


@pytest.fixture
def slow_words(make_server):
    """A server whose model "words" says back the text, a word every 20 ms."""
    server = make_server()
    server.register("words", config={"token_ms": 20})
    return server


def test_a_base_url_without_v1_is_told(models_server):
    with openai.OpenAI(base_url=models_server.url, api_key="unused", max_retries=0) as c:
        with pytest.raises(openai.NotFoundError, match="/v1/chat/completions"):
            c.chat.completions.create(model="smollm2", messages=CHAT)
    r = models_server.post("/v1/chat/completion", {})
    assert r.status == 404 and "/openapi.json" in r.text


# ---- chat ----

def test_chat_answers_and_counts(client):
    r = client.chat.completions.create(model="smollm2", messages=CHAT, temperature=0, max_tokens=16)
    assert "Paris" in r.choices[0].message.content
    assert r.object == "chat.completion" and r.model == "smollm2"
    assert r.choices[0].index == 0 and r.choices[0].message.role == "assistant"
    assert r.choices[0].finish_reason in ("stop", "length")
    assert r.usage.prompt_tokens > 5 and 0 < r.usage.completion_tokens <= 16
    assert r.usage.total_tokens == r.usage.prompt_tokens + r.usage.completion_tokens
    assert abs(r.created - time.time()) < 300


def test_chat_takes_parts_and_max_completion_tokens(client):
    parts = [{"role": "user", "content": [{"type": "text", "text": CHAT[0]["content"]}]}]
    one = client.chat.completions.create(model="smollm2", messages=CHAT, temperature=0,
                                         max_tokens=6)
    other = client.chat.completions.create(model="smollm2", messages=parts, temperature=0,
                                           max_completion_tokens=6)
    assert other.choices[0].message.content == one.choices[0].message.content
    assert other.usage.completion_tokens == one.usage.completion_tokens


def test_chat_stream_is_the_same_text_in_pieces(client):
    ask = dict(model="smollm2", messages=CHAT, temperature=0, max_tokens=24)
    whole = client.chat.completions.create(**ask)
    chunks = list(client.chat.completions.create(stream=True, **ask))
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert len(chunks) > 2 and len({c.id for c in chunks}) == 1
    assert all(c.object == "chat.completion.chunk" for c in chunks)
    assert chunks[0].choices[0].delta.role == "assistant"
    ends = [c.choices[0].finish_reason for c in chunks if c.choices]
    assert ends[-1] == whole.choices[0].finish_reason and not any(ends[:-1])
    assert all(c.usage is None for c in chunks)


def test_stream_ends_with_usage_when_asked(client):
    ask = dict(model="smollm2", messages=CHAT, temperature=0, max_tokens=8)
    whole = client.chat.completions.create(**ask)
    chunks = list(client.chat.completions.create(stream=True,
                                                 stream_options={"include_usage": True}, **ask))
    assert chunks[-1].choices == []
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_stream_is_closed_by_done(models_server):
    a = models_server.post("/v1/chat/completions", {
        "model": "smollm2", "messages": CHAT, "max_tokens": 4, "stream": True})
    assert a.status == 200 and a.headers["content-type"].startswith("text/event-stream")
    events = harness.events_of(a.text)
    assert events[-1] == "[DONE]" and len(events) > 2


def test_n_gives_that_many_choices(client):
    r = client.chat.completions.create(model="smollm2", messages=CHAT, n=3, max_tokens=12,
                                       temperature=1.5, seed=1)
    assert [c.index for c in r.choices] == [0, 1, 2]
    assert len({c.message.content for c in r.choices}) > 1
    assert 3 <= r.usage.completion_tokens <= 36


def test_n_streams_every_choice(client):
    chunks = client.chat.completions.create(model="smollm2", messages=CHAT, n=2, max_tokens=6,
                                            stream=True)
    ends = {}
    for c in chunks:
        for choice in c.choices:
            if choice.finish_reason:
                assert choice.index not in ends
                ends[choice.index] = choice.finish_reason
    assert sorted(ends) == [0, 1]


def test_stop_string_ends_the_text_and_is_not_in_it(client):
    ask = dict(model="smollm2", prompt="1, 2, 3, 4, 5,", temperature=0, max_tokens=40)
    whole = client.completions.create(**ask).choices[0].text
    stop = whole[len(whole) // 2:len(whole) // 2 + 3]  # most likely across a token's border
    cut = client.completions.create(stop=[stop], **ask).choices[0]
    assert cut.text == whole[:whole.index(stop)]
    assert cut.finish_reason == "stop"
    streamed = "".join(c.choices[0].text for c in client.completions.create(
        stop=stop, stream=True, **ask) if c.choices)
    assert streamed == cut.text


def test_a_stop_string_across_pieces_never_shows(slow_words):
    with client_of(slow_words) as c:
        text = "".join(x.choices[0].delta.content or "" for x in c.chat.completions.create(
            model="words", stream=True, stop="three four",
            messages=[{"role": "user", "content": "one two three four five"}]) if x.choices)
    assert text.strip() == "one two"


def test_seed_repeats_and_other_seeds_do_not(client):
    def ask(seed):
        return client.chat.completions.create(
            model="smollm2", messages=[{"role": "user", "content": "Tell me a story."}],
            temperature=1.2, top_p=0.95, max_tokens=24, seed=seed).choices[0].message.content
    assert ask(11) == ask(11)
    assert len({ask(s) for s in (11, 12, 13)}) > 1


def test_logprobs_of_chat(client):
    r = client.chat.completions.create(model="smollm2", messages=CHAT, temperature=0, max_tokens=6,
                                       logprobs=True, top_logprobs=3)
    tokens = r.choices[0].logprobs.content
    assert len(tokens) == r.usage.completion_tokens or len(tokens) == r.usage.completion_tokens - 1
    assert "".join(t.token for t in tokens).strip() == r.choices[0].message.content.strip()
    for t in tokens:
        assert t.logprob <= 1e-6 and len(t.top_logprobs) == 3
        assert t.top_logprobs[0].token == t.token  # greedy: the most likely one was taken
        assert math.isclose(t.top_logprobs[0].logprob, t.logprob, abs_tol=1e-4)
        ps = [x.logprob for x in t.top_logprobs]
        assert ps == sorted(ps, reverse=True) and sum(map(math.exp, ps)) <= 1.0001
        assert bytes(t.bytes).decode("utf-8", "replace") == t.token


def test_logprobs_of_completions(client):
    r = client.completions.create(model="smollm2", prompt="The sky is", temperature=0, max_tokens=4,
                                  logprobs=2)
    lp = r.choices[0].logprobs
    assert len(lp.tokens) == len(lp.token_logprobs) == len(lp.top_logprobs) == 4
    assert "".join(lp.tokens) == r.choices[0].text
    assert all(len(t) >= 2 for t in lp.top_logprobs)


# ---- completions ----

def test_completion_goes_on(client):
    r = client.completions.create(model="smollm2", prompt="The capital of France is",
                                  temperature=0, max_tokens=8)
    assert r.object == "text_completion" and "Paris" in r.choices[0].text
    assert r.choices[0].finish_reason == "length" and r.usage.completion_tokens == 8


def test_completion_of_several_prompts(client):
    prompts = ["The capital of France is", "The capital of Italy is"]
    both = client.completions.create(model="smollm2", prompt=prompts, temperature=0, max_tokens=6)
    alone = [client.completions.create(model="smollm2", prompt=p, temperature=0, max_tokens=6)
             for p in prompts]
    assert [c.text for c in both.choices] == [a.choices[0].text for a in alone]
    assert both.usage.prompt_tokens == sum(a.usage.prompt_tokens for a in alone)


def test_completion_with_echo_starts_with_the_prompt(client):
    r = client.completions.create(model="smollm2", prompt="Once upon a", echo=True, max_tokens=3,
                                  temperature=0)
    assert r.choices[0].text.startswith("Once upon a") and len(r.choices[0].text) > 11


def test_max_tokens_one(client):
    r = client.completions.create(model="smollm2", prompt="Hello", max_tokens=1)
    assert r.usage.completion_tokens == 1 and r.choices[0].finish_reason == "length"


# ---- embeddings ----

def embedding_reference():
    found = sorted(harness.MODELS.glob("*MiniLM*reference*.json"))
    assert found, f"no reference of the embeddings in {harness.MODELS}: run tools/setup"
    return json.loads(found[0].read_text())


def test_embeddings_equal_the_reference(client):
    samples = embedding_reference()["samples"]
    r = client.embeddings.create(model="minilm", input=[s["text"] for s in samples],
                                 encoding_format="float")
    assert [d.index for d in r.data] == list(range(len(samples)))
    for sample, d in zip(samples, r.data):
        want = np.array(sample["embedding"])
        assert np.abs(np.array(d.embedding) - want).max() < 1e-4, sample["text"]
    assert r.usage.prompt_tokens == r.usage.total_tokens > 0


def test_embeddings_as_base64_are_the_same(client):
    text = "A cat sits on the mat."
    plain = client.embeddings.create(model="minilm", input=text, encoding_format="float")
    packed = client.embeddings.with_raw_response.create(model="minilm", input=text,
                                                        encoding_format="base64")
    raw = json.loads(packed.text)["data"][0]["embedding"]
    got = np.frombuffer(base64.b64decode(raw), "<f4")
    assert np.allclose(got, plain.data[0].embedding, atol=1e-7)
    assert abs(float(np.linalg.norm(got)) - 1) < 1e-3


def test_embeddings_are_closer_for_closer_texts(client):
    r = client.embeddings.create(model="minilm", encoding_format="float", input=[
        "A man is eating food.", "A man eats something.", "The stock market fell by two percent."])
    a, b, c = (np.array(d.embedding) for d in r.data)
    assert a @ b > 0.6 > 0.3 > a @ c


def test_embeddings_of_a_chat_model_are_refused_in_words(client):
    with pytest.raises(openai.BadRequestError) as e:
        client.embeddings.create(model="digits", input="x")
    assert "digits" in e.value.message


# ---- models ----

def test_models_are_listed_and_found(client):
    ids = {m.id for m in client.models.list()}
    assert {"smollm2", "minilm", "digits"} <= ids
    m = client.models.retrieve("smollm2")
    # The id there is UniModel's; the name is beside it.
    assert m.name == "smollm2" and m.object == "model" and isinstance(m.created, int)
    assert isinstance(m.owned_by, str)
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nope")


# ---- errors ----

def test_unknown_model_is_404_with_its_name(client):
    with pytest.raises(openai.NotFoundError) as e:
        client.chat.completions.create(model="nope", messages=CHAT)
    assert e.value.code == "model_not_found" and "nope" in e.value.message
    assert e.value.type == "invalid_request_error"


@pytest.mark.parametrize("param,value", [
    ("temperature", -1), ("temperature", "hot"), ("top_p", 1.5), ("max_tokens", -5),
    ("max_tokens", 1.5), ("n", 0), ("n", 100000), ("stop", ["x"] * 1000), ("stop", 7),
    ("messages", "hello"), ("messages", [{"content": "no role"}]), ("messages", []),
    ("messages", [{"role": "alien", "content": "hi"}]), ("stream", "yes"), ("seed", "abc"),
    ("top_logprobs", 500), ("presence_penalty", 10), ("logit_bias", {"x": 1}),
    ("frequency_penalty", "much"), ("model", 5),
])
def test_a_bad_parameter_is_400_and_named(client, param, value):
    body = {"model": "smollm2", "messages": CHAT, "max_tokens": 2, "logprobs": True}
    body[param] = value
    with pytest.raises(openai.BadRequestError) as e:
        client.post("/chat/completions", body=body, cast_to=object)
    error = e.value.response.json()["error"]
    assert error["type"] == "invalid_request_error" and error["message"]
    assert param in (error["param"] or "") or param in error["message"]


def test_broken_json_is_400(models_server):
    a = models_server.post("/v1/chat/completions", '{"model": "smollm2", "messages": [',
                           headers={"Content-Type": "application/json"})
    assert a.status == 400 and set(a.json["error"]) >= {"message", "type", "param", "code"}


def test_a_prompt_longer_than_the_context_is_400(client):
    with pytest.raises(openai.BadRequestError) as e:
        client.completions.create(model="smollm2", prompt="word " * 50000, max_tokens=1)
    assert "context" in e.value.message


def test_errors_carry_the_request_id(models_server):
    a = models_server.post("/v1/chat/completions", {"model": "nope", "messages": CHAT})
    assert a.status == 404 and a.headers.get("x-request-id")


def test_keys_when_on(make_server):
    server = make_server("--set", "security.auth_enabled=true",
                         "--set", "security.api_keys=k1", key="k1")
    server.register("echo")
    ask = dict(model="echo", messages=[{"role": "user", "content": "hi there"}])
    with client_of(server, api_key="wrong") as c:
        with pytest.raises(openai.AuthenticationError) as e:
            c.chat.completions.create(**ask)
        assert e.value.response.json()["error"]["type"]
    with client_of(server, api_key="k1") as c:
        assert c.chat.completions.create(**ask).choices[0].message.content == "hi there"


# ---- clients that leave ----

def test_a_client_timeout_stops_the_work(make_server):
    server = make_server()
    server.register("slow", config={"token_ms": 100})
    with client_of(server, timeout=0.3) as c:
        with pytest.raises(openai.APITimeoutError):
            c.chat.completions.create(model="slow", messages=[
                {"role": "user", "content": "word " * 5000}])
    harness.wait_until(lambda: (server.metric("berth_requests_canceled_total", model="slow") or 0)
                       >= 1, 60, "the request counted as cancelled")


def test_a_dropped_stream_frees_its_sequence(slow_words):
    server = slow_words
    with client_of(server, http_client=httpx.Client()) as c:
        stream = c.chat.completions.create(
            model="words", stream=True,
            messages=[{"role": "user", "content": "word " * 5000}])
        seen = 0
        for _ in stream:
            seen += 1
            if seen == 2:
                break
        assert server.metric("berth_sequences_running", model="words") == 1
        stream.close()
    harness.wait_until(lambda: server.metric("berth_sequences_running", model="words") == 0, 60,
                       "no sequence running")
    assert server.metric("berth_tokens_generated_total", model="words") < 4000


def test_a_dropped_stream_of_the_real_model_frees_its_sequence(models_server, client):
    def canceled():
        return models_server.metric("berth_requests_canceled_total", model="smollm2") or 0

    before = canceled()
    stream = client.chat.completions.create(
        model="smollm2", stream=True, max_tokens=2000,
        messages=[{"role": "user", "content": "Write a very long story about the sea."}])
    for i, _ in enumerate(stream):
        if i == 2:
            break
    stream.close()
    harness.wait_until(lambda: models_server.metric("berth_sequences_running", model="smollm2")
                       == 0, 60, "no sequence running")
    harness.wait_until(lambda: canceled() == before + 1, 60, "it was cut")
