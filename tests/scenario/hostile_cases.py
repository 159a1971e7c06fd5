"""Bad requests and what they must be answered with.

A case is (name, bytes to send, statuses that are right).  CLOSED among the statuses: the server may
close without an answer; then our side of the connection is shut behind the bytes, so that the
server sees a truncated request as truncated.
"""
import base64
import gzip
import json
import struct
import zlib

CLOSED = 0
BAD = {400}
CASES = []


def case(name, data, expect):
    CASES.append((name, data, set(expect)))


def http(method, path, body=b"", headers=(), host=True, length=True):
    head = [f"{method} {path} HTTP/1.1".encode("latin-1")]
    if host:
        head.append(b"Host: berth.test")
    head.append(b"Connection: close")
    if length and (body or method in ("POST", "PUT")):
        head.append(b"Content-Length: %d" % len(body))
    head += [h.encode("latin-1") if isinstance(h, str) else h for h in headers]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def post(path, body, *headers):
    if not isinstance(body, bytes):
        body = (body if isinstance(body, str) else json.dumps(body)).encode()
    return http("POST", path, body, ("Content-Type: application/json",) + headers)


GET = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
POST = b"POST /v1/models/echo:predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
BODY = b'{"input": "x"}'


# ---- the request line and the head ----
case("binary noise", bytes(range(256)) * 4, BAD | {CLOSED})
case("nothing at all", b"", {CLOSED, 408, 400})
case("empty lines only", b"\r\n" * 10000, BAD | {CLOSED, 408, 431})
case("one word", b"GET\r\n\r\n", BAD)
case("no version", b"GET /health\r\n\r\n", {400, 505, CLOSED})
case("version 9.9", b"GET /health HTTP/9.9\r\nHost: x\r\n\r\n", {400, 505})
case("version 1.2", b"GET /health HTTP/1.2\r\nHost: x\r\nConnection: close\r\n\r\n", {200, 400, 505})
case("version word", b"GET /health HTTQ/1.1\r\nHost: x\r\n\r\n", BAD)
case("no host", b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n", BAD)
case("two hosts", GET + b"Host: y\r\n\r\n", BAD)
case("host with a space", b"GET /health HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n", {400, 200})
case("unknown method", b"FROB /health HTTP/1.1\r\nHost: x\r\n\r\n", {400, 405, 501})
case("lower-case method", b"get /health HTTP/1.1\r\nHost: x\r\n\r\n", {400, 405, 501})
case("very long method", b"G" * 100000 + b" / HTTP/1.1\r\nHost: x\r\n\r\n", {400, 414, 431, 501, CLOSED})
case("connect", b"CONNECT evil:443 HTTP/1.1\r\nHost: evil:443\r\n\r\n", {400, 404, 405, 501, CLOSED})
case("trace", http("TRACE", "/health"), {405, 400, 501})
case("options star", http("OPTIONS", "*"), {200, 204, 400, 404, 405})
case("absolute target", http("GET", "http://evil.test/health"), {200, 400, 404})
case("target without slash", http("GET", "health"), {400, 404})
case("target with a space", http("GET", "/hea lth"), BAD)
case("target with a tab", http("GET", "/hea\tlth"), BAD)
case("target with NUL", http("GET", "/hea\0lth"), BAD)
case("target with a high byte", http("GET", "/hea\xfflth"), {400, 404})
case("target of 1 MiB", http("GET", "/" + "a" * (1 << 20)), {414, 431, 400})
case("query of 1 MiB", http("GET", "/health?" + "a" * (1 << 20)), {414, 431, 400})
case("header without colon", GET + b"Nonsense\r\n\r\n", BAD)
case("header without name", GET + b": value\r\n\r\n", BAD)
case("space before the colon", GET + b"Accept : x\r\n\r\n", BAD)
case("folded header", GET + b"Accept: a\r\n b\r\n\r\n", BAD)
case("leading space of the first header", b"GET /health HTTP/1.1\r\n Host: x\r\n\r\n", BAD)
case("NUL in a value", GET + b"Accept: a\0b\r\n\r\n", BAD)
case("NUL in a name", GET + b"Ac\0cept: a\r\n\r\n", BAD)
case("lone CR in a value", GET + b"Accept: a\rX-Evil: 1\r\n\r\n", BAD)
case("lone LF in a value", GET + b"Accept: a\nX-Evil: 1\r\n\r\n", {200, 400})
case("bad byte in a name", GET + b"Acc(ept: a\r\n\r\n", BAD)
case("header of 1 MiB", GET + b"X-Big: " + b"a" * (1 << 20) + b"\r\n\r\n", {431, 400})
case("header name of 1 MiB", GET + b"X" * (1 << 20) + b": a\r\n\r\n", {431, 400})
case("10,000 headers", GET + b"".join(b"X-%d: a\r\n" % i for i in range(10000)) + b"\r\n", {431, 400})
case("head cut off", b"GET /health HTTP/1.1\r\nHos", BAD | {CLOSED, 408})
case("request line cut off", b"GET /hea", BAD | {CLOSED, 408})
case("http/1.0 without host", b"GET /health HTTP/1.0\r\n\r\n", {200, 400})
case("http/0.9", b"GET /\r\n", BAD | {CLOSED, 408})
case("a TLS hello on a plain port", bytes.fromhex("160301020001000001fc0303") + b"\0" * 508,
     BAD | {CLOSED})
case("an SSH greeting", b"SSH-2.0-OpenSSH_9.2\r\n", BAD | {CLOSED, 408})
case("a redis command", b"*1\r\n$4\r\nPING\r\n", BAD | {CLOSED, 408})
case("preface of h2 gone wrong", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n" + b"\0" * 100, BAD | {CLOSED})
case("upgrade to h2c with junk", GET + b"Upgrade: h2c\r\nHTTP2-Settings: !!!\r\n\r\n",
     {200, 400})
case("upgrade to a websocket", GET + b"Upgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n",
     {200, 400, 426})
case("proxy protocol in front", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + GET + b"\r\n", BAD)

# ---- lengths and smuggling ----
for why, header in (
        ("negative length", b"Content-Length: -1"), ("signed length", b"Content-Length: +14"),
        ("hex length", b"Content-Length: 0xe"), ("length with a fraction", b"Content-Length: 14.0"),
        ("length with an exponent", b"Content-Length: 1e1"),
        ("empty length", b"Content-Length: "), ("a word for a length", b"Content-Length: ten"),
        ("length beyond 64 bits", b"Content-Length: 18446744073709551630"),
        ("length of 40 digits", b"Content-Length: " + b"9" * 40),
        ("length with a space inside", b"Content-Length: 1 4"),
        ("two lengths", b"Content-Length: 14\r\nContent-Length: 15"),
        ("two lengths in one", b"Content-Length: 14, 15"),
        ("length and chunked", b"Content-Length: 14\r\nTransfer-Encoding: chunked"),
        ("chunked and length", b"Transfer-Encoding: chunked\r\nContent-Length: 14"),
        ("unknown transfer coding", b"Transfer-Encoding: xchunked"),
        ("chunked is not last", b"Transfer-Encoding: chunked, identity"),
        ("gzip as transfer coding", b"Transfer-Encoding: gzip"),
        ("vertical tab in the coding", b"Transfer-Encoding: \x0bchunked"),
        ("chunked twice", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"
                          b"Content-Length: 3"),
        ("space before the colon of a length", b"Content-Length : 14"),
        ("folded transfer coding", b"Transfer-Encoding:\r\n chunked")):
    case(why, POST + header + b"\r\n\r\n" + BODY, {400, 411, 501})
case("length beyond the limit", POST + b"Content-Length: 99999999999\r\n\r\n", {413})
case("length of 2^63-1", POST + b"Content-Length: 9223372036854775807\r\n\r\n", {413, 400})
case("the body is cut off", POST + b"Content-Length: 1000\r\n\r\n" + BODY, BAD | {CLOSED, 408})
case("no length and no body", POST + b"\r\n", {400, 411})
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
for why, body in (
        ("chunk size is no number", b"zz\r\nabc\r\n0\r\n\r\n"),
        ("chunk size is negative", b"-5\r\nabc\r\n0\r\n\r\n"),
        ("chunk size beyond 64 bits", b"fffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
        ("chunk size with 0x", b"0x5\r\nabcde\r\n0\r\n\r\n"),
        ("chunk size is empty", b"\r\nabc\r\n0\r\n\r\n"),
        ("no line end behind a chunk", b"3\r\nabcXX0\r\n\r\n"),
        ("chunk longer than said", b"3\r\nabcdef\r\n0\r\n\r\n")):
    case(why, CHUNKED + body, BAD)
case("chunk cut off", CHUNKED + b"100\r\nabc", BAD | {CLOSED, 408})
case("no last chunk", CHUNKED + b"3\r\nabc\r\n", BAD | {CLOSED, 408})
case("chunk of 2^63", CHUNKED + b"7fffffffffffffff\r\nabc", {400, 413, CLOSED})
case("chunk extension of 1 MiB", CHUNKED + b"3;" + b"a" * (1 << 20) + b"\r\nabc\r\n0\r\n\r\n",
     {400, 413, 431})
case("trailers of 1 MiB", CHUNKED + b"e\r\n" + BODY + b"\r\n0\r\nX: " + b"a" * (1 << 20) + b"\r\n\r\n",
     {200, 400, 431})
case("a trailer that says chunked", CHUNKED + b"e\r\n" + BODY +
     b"\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n", {200, 400})
case("continue is expected for too much", POST + b"Content-Length: 99999999999\r\n"
     b"Expect: 100-continue\r\n\r\n", {413, 417})
case("something odd is expected", POST + b"Content-Length: 14\r\nExpect: 200-maybe\r\n\r\n" + BODY,
     {200, 400, 417})

# ---- paths ----
for why, path in (
        ("dots up", "/../../etc/passwd"), ("dots up, coded", "/%2e%2e/%2e%2e/etc/passwd"),
        ("slash coded", "/v1/models/..%2F..%2Fetc%2Fpasswd"), ("NUL coded", "/v1/models/echo%00"),
        ("NUL in the middle", "/v1/models/ec%00ho/status"), ("bad code", "/v1/models/%zz"),
        ("code cut off", "/v1/models/%4"), ("lone percent", "/v1/models/%"),
        ("overlong UTF-8", "/v1/models/%c0%af"), ("lone high byte", "/v1/models/%ff"),
        ("surrogate in UTF-8", "/v1/models/%ed%a0%80"), ("coded twice", "/v1/models/%252e%252e"),
        ("backslashes", "/v1/models/..\\..\\etc"), ("an empty name", "/v1/models//status"),
        ("name of 4,000 bytes", "/v1/models/" + "a" * 4000), ("colon without verb", "/v1/models/echo:"),
        ("unknown verb", "/v1/models/echo:explode"), ("deep", "/v1" + "/a" * 500),
        ("unknown version", "/v2/models/echo/versions/999999999999999999999/ready"),
        ("version is a word", "/v2/models/echo/versions/latest;rm/ready"),
        ("empty version", "/v2/models/echo/versions//ready")):
    case(f"path: {why}", http("GET", path), {400, 404, 405})
case("path: line end coded into a name", http("GET", "/v1/models/a%0d%0aX-Evil:%201"), {400, 404})
case("path: double slash", http("GET", "//v1//models"), {400, 404, 200, 301})
case("path: fragment", http("GET", "/health#frag"), {200, 400, 404})
case("a header that would be put into the answer", http("GET", "/health", headers=(
     "X-Request-Id: a\x01b\x7f" + "c" * 5000,)), {200, 400})
case("a traceparent of nonsense", http("GET", "/health", headers=("traceparent: 00-zz-zz-zz",)), {200})
case("unknown path", http("GET", "/nope"), {404})
case("wrong method", http("DELETE", "/health"), {405})
case("patch a model", http("PATCH", "/v1/models/echo", b"{}"), BAD)

# ---- JSON, whatever the dialect ----
CHAT, PREDICT, INFER = "/v1/chat/completions", "/v1/models/echo:predict", "/v2/models/echo/infer"
DEEP = 200000
for why, body in (
        ("empty body", b""), ("one brace", b"{"), ("not JSON", b"hello"), ("a bare string", b'"x"'),
        ("a number", b"5"), ("an array", b"[1,2]"), ("null", b"null"),
        ("trailing comma", b'{"input":"x",}'), ("trailing words", b'{"input":"x"} {"input":"y"}'),
        ("a comment", b'{/* hi */"input":"x"}'), ("single quotes", b"{'input':'x'}"),
        ("deep arrays", b'{"input":' + b"[" * DEEP + b"]" * DEEP + b"}"),
        ("deep objects", b'{"a":' * DEEP + b"1" + b"}" * DEEP),
        ("unclosed deep arrays", b"[" * DEEP),
        ("bad UTF-8", b'{"input":"\xff\xfe"}'), ("overlong UTF-8", b'{"input":"\xc0\xaf"}'),
        ("a surrogate in UTF-8", b'{"input":"\xed\xa0\x80"}'),
        ("a lone surrogate escaped", b'{"input":"\\ud800"}'), ("half an escape", b'{"input":"\\u12"}'),
        ("unknown escape", b'{"input":"\\q"}'), ("control byte in a string", b'{"input":"a\x01b"}'),
        ("NaN", b'{"input":NaN}'), ("a leading zero", b'{"input":"x","max_tokens":01}'),
        ("UTF-16", '{"input":"x"}'.encode("utf-16")), ("NUL behind", b'{"input":"x"}\0\0'),
        ("a string cut off", b'{"input":"abc'), ("a key without value", b'{"input"}')):
    for dialect, path in (("predict", PREDICT), ("openai", CHAT), ("v2", INFER)):
        case(f"{dialect}: {why}", post(path, body), BAD)
case("duplicate keys", post(PREDICT, b'{"input":"a","input":"b"}'), {200, 400})
case("v2: duplicate keys", post(INFER, b'{"inputs":[],"inputs":[{"name":"x","datatype":"INT32",'
                                       b'"shape":[1],"data":[1]}]}'), {200, 400})
case("100,000 keys", post(PREDICT, {"input": "x", **{f"k{i}": i for i in range(100000)}}), {200, 400, 413})
case("a byte order mark", post(PREDICT, b'\xef\xbb\xbf{"input":"x"}'), {200, 400})
case("a huge number", post(PREDICT, b'{"input":"x","max_tokens":1' + b"0" * 400 + b"}"), BAD)
case("form instead of JSON", http("POST", PREDICT, b"input=x", (
     "Content-Type: application/x-www-form-urlencoded",)), {400, 415})
case("XML", http("POST", PREDICT, b"<input>x</input>", ("Content-Type: application/xml",)), {400, 415})
case("multipart", http("POST", PREDICT, b"--b\r\n\r\nx\r\n--b--", (
     "Content-Type: multipart/form-data; boundary=b",)), {400, 415})
case("gzip that is none", post(INFER, b"hello", "Content-Encoding: gzip"), {400, 415})
case("gzip cut off", post(INFER, gzip.compress(b'{"inputs":[]}' * 100)[:30], "Content-Encoding: gzip"),
     {400, 415})
case("gzip bomb", post(INFER, gzip.compress(b"[" * (300 << 20), 9), "Content-Encoding: gzip"),
     {400, 413, 415})
case("unknown content coding", post(INFER, b"x", "Content-Encoding: zopfli"), {400, 415})
case("gzip nine times", post(INFER, b"x", "Content-Encoding: " + ", ".join(["gzip"] * 9)), {400, 415})

# ---- OpenAI ----
MSG = [{"role": "user", "content": "hi"}]
for why, body in (
        ("no messages", {"model": "echo"}), ("no model", {"messages": MSG}),
        ("messages is an object", {"model": "echo", "messages": {}}),
        ("content is a number", {"model": "echo", "messages": [{"role": "user", "content": 5}]}),
        ("content is deep", {"model": "echo", "messages": [{"role": "user", "content": [[[["x"]]]]}]}),
        ("a part without type", {"model": "echo", "messages": [{"role": "user", "content": [{}]}]}),
        ("role is null", {"model": "echo", "messages": [{"role": None, "content": "x"}]}),
        ("temperature is 1e308", {"model": "echo", "messages": MSG, "temperature": 1e308}),
        ("max_tokens is 2^64", {"model": "echo", "messages": MSG, "max_tokens": 2**64}),
        ("n is 2^31", {"model": "echo", "messages": MSG, "n": 2**31}),
        ("stop is deep", {"model": "echo", "messages": MSG, "stop": [["x"]]}),
        ("stop is empty text", {"model": "echo", "messages": MSG, "stop": [""]}),
        ("logit_bias out of range", {"model": "echo", "messages": MSG, "logit_bias": {"1": 1e9}}),
        ("logit_bias is a list", {"model": "echo", "messages": MSG, "logit_bias": [1]}),
        ("top_logprobs without logprobs", {"model": "echo", "messages": MSG, "top_logprobs": -1}),
        ("stream_options is text", {"model": "echo", "messages": MSG, "stream": True,
                                    "stream_options": "x"})):
    case(f"openai: {why}", post(CHAT, body),
         {200, 400} if why == "stop is empty text" else BAD)
case("openai: a model of 1 MiB", post(CHAT, {"model": "m" * (1 << 20), "messages": MSG}), {400, 404})
case("openai: a model with line ends", post(CHAT, {"model": "a\r\nX-Evil: 1", "messages": MSG}), {400, 404})
case("openai: 100,000 messages", post(CHAT, {"model": "echo", "messages": MSG * 100000}), {200, 400, 413})
case("openai: prompt of token ids out of range", post("/v1/completions", {
     "model": "echo", "prompt": [-1, 2**40]}), BAD)
case("openai: 100,000 prompts", post("/v1/completions", {
     "model": "echo", "prompt": ["x"] * 100000}), {400, 413})
case("openai: embeddings of nothing", post("/v1/embeddings", {"model": "echo", "input": []}), BAD)
case("openai: embeddings of a number", post("/v1/embeddings", {"model": "echo", "input": 5}), BAD)
case("openai: embeddings, unknown format", post("/v1/embeddings", {
     "model": "echo", "input": "x", "encoding_format": "morse"}), BAD)

# ---- tensors ----


def tensor(shape, data, dtype="FP32", name="x", **more):
    return {"inputs": [{"name": name, "datatype": dtype, "shape": shape, "data": data, **more}]}


for why, body in (
        ("a negative dimension", tensor([-1], [1])), ("dimension is a fraction", tensor([1.5], [1])),
        ("dimension is text", tensor(["1"], [1])), ("dimension is 2^63", tensor([2**63], [1])),
        ("product beyond 64 bits", tensor([2**32, 2**32], [1])),
        ("product wraps to one", tensor([2**32, 2**32, 0, 1], [1])),
        ("product of many", tensor([65536] * 8, [1])), ("rank 1,000", tensor([1] * 1000, [1])),
        ("bytes beyond 64 bits", tensor([2**61], [1], "FP64")),
        ("shape is null", tensor(None, [1])), ("shape is a number", tensor(4, [1])),
        ("shape is an object", tensor({}, [1])), ("too few elements", tensor([3], [1])),
        ("too many elements", tensor([1], [1, 2, 3])), ("ragged rows", tensor([2, 2], [[1, 2], [3]])),
        ("nested too deep", tensor([1], [[[[[[1]]]]]])), ("data is null", tensor([1], None)),
        ("data is text", tensor([1], "1")), ("an element is null", tensor([1], [None])),
        ("an element is text", tensor([1], ["1"])), ("FP32 out of range", tensor([1], [1e300])),
        ("INT8 out of range", tensor([1], [128], "INT8")), ("bool is 2", tensor([1], [2], "BOOL")),
        ("datatype is a number", tensor([1], [1], 5)), ("datatype is unknown", tensor([1], [1], "FP31")),
        ("no name", {"inputs": [{"datatype": "FP32", "shape": [1], "data": [1]}]}),
        ("no datatype", {"inputs": [{"name": "x", "shape": [1], "data": [1]}]}),
        ("no shape", {"inputs": [{"name": "x", "datatype": "FP32", "data": [1]}]}),
        ("no data", {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1]}]}),
        ("name is a number", tensor([1], [1], name=5)), ("inputs is an object", {"inputs": {}}),
        ("an input is a number", {"inputs": [5]}), ("an input is null", {"inputs": [None]}),
        ("outputs is text", {**tensor([1], [1]), "outputs": "x"}),
        ("an output without name", {**tensor([1], [1]), "outputs": [{}]}),
        ("binary size without binary body", {"inputs": [{
            "name": "x", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 4}}]}),
        ("parameters is a list", tensor([1], [1], parameters=[1])),
        ("id is an object", {**tensor([1], [1]), "id": {}})):
    case(f"v2: {why}", post(INFER, body), BAD)
case("v2: NaN in the data", post(INFER, b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1],'
                                        b'"data":[NaN]}]}'), BAD)
case("v2: 100,000 inputs", post(INFER, {"inputs": tensor([1], [1])["inputs"] * 100000}), {400, 413})
case("v2: name of 1 MiB", post(INFER, tensor([1], [1], name="x" * (1 << 20))), {200, 400})


def binary(head, blob, *headers, length=None):
    head = head if isinstance(head, bytes) else json.dumps(head).encode()
    n = len(head) if length is None else length
    return http("POST", INFER, head + blob, (f"Inference-Header-Content-Length: {n}",) + headers)


def sized(shape, size, dtype="FP32"):
    return {"inputs": [{"name": "x", "datatype": dtype, "shape": shape,
                        "parameters": {"binary_data_size": size}}]}


for why, data in (
        ("header longer than the body", binary(sized([1], 4), b"abcd", length=100000)),
        ("header length negative", binary(sized([1], 4), b"abcd", length=-5)),
        ("header length is a word", binary(sized([1], 4), b"abcd", length="ten")),
        ("header length beyond 64 bits", binary(sized([1], 4), b"abcd", length=2**64 + 5)),
        ("header length inside the header", binary(sized([1], 4), b"abcd", length=20)),
        ("less bytes than said", binary(sized([2], 8), b"abcd")),
        ("more bytes than said", binary(sized([1], 4), b"abcdefgh")),
        ("size does not fit the shape", binary(sized([3], 8), b"abcdefgh")),
        ("size is negative", binary(sized([1], -4), b"abcd")),
        ("size is a fraction", binary(sized([1], 4.5), b"abcd")),
        ("size is text", binary(sized([1], "4"), b"abcd")),
        ("size is 2^64", binary(sized([1], 2**64), b"abcd")),
        ("size is 2^63-1", binary(sized([1], 2**63 - 1), b"abcd")),
        ("sizes wrap", binary({"inputs": [
            {"name": "a", "datatype": "UINT8", "shape": [2**63 - 1],
             "parameters": {"binary_data_size": 2**63 - 1}},
            {"name": "b", "datatype": "UINT8", "shape": [2**63 - 1],
             "parameters": {"binary_data_size": 2**63 - 1}}]}, b"abcd")),
        ("size and data", binary({"inputs": [{
            "name": "x", "datatype": "FP32", "shape": [1], "data": [1],
            "parameters": {"binary_data_size": 4}}]}, b"abcd")),
        ("bytes: element runs past", binary(sized([1], 8, "BYTES"), struct.pack("<I", 100) + b"abcd")),
        ("bytes: length of 2^32-1", binary(sized([1], 8, "BYTES"), b"\xff\xff\xff\xffabcd")),
        ("bytes: half a length", binary(sized([1], 2, "BYTES"), b"\1\0")),
        ("bytes: one element too many", binary(sized([1], 10, "BYTES"), b"\1\0\0\0a\1\0\0\0b")),
        ("bytes: one element too few", binary(sized([3], 5, "BYTES"), b"\1\0\0\0a")),
        ("no JSON before", binary(b"\xff\xff", b"abcd"))):
    case(f"binary: {why}", data, BAD)

# ---- images, for the classifier ----
DIGITS = "/v1/models/digits:predict"


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_of(width, height, depth=8, colour=0, data=b"", interlace=0):
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(data, 9)) + chunk(b"IEND", b"")


GOOD = png_of(8, 8, data=(b"\0" + b"\x80" * 8) * 8)
JPEG_BOMB = (b"\xff\xd8\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01"
             b"\xff\xd9")
for why, image in (
        ("png of 100,000 by 100,000", png_of(100000, 100000)),
        ("png of 2^31-1 by 2^31-1", png_of(2**31 - 1, 2**31 - 1)),
        ("png of 2^32-1 by 1", png_of(2**32 - 1, 1)), ("png of 0 by 0", png_of(0, 0)),
        ("png of 30,000 by 30,000, packed well", png_of(30000, 30000, data=b"\0" * 30001 * 1000)),
        ("png, 16 bits and alpha, large", png_of(60000, 60000, 16, 6)),
        ("png, interlaced and large", png_of(50000, 50000, interlace=1)),
        ("png without data", png_of(8, 8)), ("png cut off", GOOD[:40]), ("png's head only", GOOD[:33]),
        ("png, wrong checksum", GOOD[:30] + b"\0\0\0" + GOOD[33:]),
        ("png, unknown colour type", png_of(8, 8, 8, 9)), ("png, depth 77", png_of(8, 8, 77)),
        ("png, chunk of 2^32-1", GOOD[:33] + b"\xff\xff\xff\xffIDAT"),
        ("jpeg of 65,535 by 65,535", JPEG_BOMB), ("jpeg cut off", b"\xff\xd8\xff\xe0\x00\x10JFIF"),
        ("jpeg mark only", b"\xff\xd8"), ("gif", b"GIF89a\xff\xff\xff\xff\0\0\0;"),
        ("bmp", b"BM" + b"\xff" * 60), ("svg", b"<svg onload=alert(1)>"),
        ("webp", b"RIFF\xff\xff\xff\xffWEBPVP8 "), ("noise", bytes(range(256)))):
    case(f"image: {why}", post(DIGITS, {"input": base64.b64encode(image).decode()}), BAD)
for why, text in (
        ("no base64", "%%%%"), ("base64 cut off", base64.b64encode(GOOD).decode()[:-3]),
        ("base64 with junk inside", "iVBO*Rw0K" + base64.b64encode(GOOD).decode()),
        ("padding in the middle", "iVBORw==" + base64.b64encode(GOOD).decode()),
        ("only padding", "===="), ("data URL without data", "data:image/png;base64,"),
        ("data URL of nothing", "data:,"), ("data URL without base64", "data:image/png,abc"),
        ("data URL of text", "data:text/html;base64,PGI+"), ("data URL cut off", "data:image/p"),
        ("an address instead", "http://169.254.169.254/latest/meta-data"),
        ("a file instead", "file:///etc/passwd"), ("ten million As", "A" * 10000000)):
    case(f"image: {why}", post(DIGITS, {"input": text}), BAD)
case("image: a text for tensors", post(DIGITS, {"input": {"type": "Text", "data": "seven"}}), BAD)
case("image: the wrong number of numbers", post(DIGITS, {"input": [1, 2, 3]}), BAD)
case("image: an object", post(DIGITS, {"input": {"a": [1]}}), BAD)

# ---- registration ----
for why, body in (
        ("path of a device", {"name": "h1", "model_path": "/dev/zero"}),
        ("path of a device, forced", {"name": "h2", "backend": "onnx", "model_path": "/dev/zero"}),
        ("path with NUL", {"name": "h3", "model_path": "/etc/passwd\0.onnx"}),
        ("path of 1 MiB", {"name": "h4", "model_path": "/" + "a" * (1 << 20)}),
        ("a relative path up", {"name": "h5", "model_path": "../../../etc/passwd"}),
        ("backend is a path", {"name": "h6", "backend": "../../evil", "model_path": "/tmp"}),
        ("backend is absolute", {"name": "h7", "backend": "/tmp/evil.so", "model_path": "/tmp"}),
        ("config is deep", {"name": "h8", "backend": "echo", "model_path": "/tmp",
                            "config": {"a": {"b": {"c": [1]}}}}),
        ("name is an object", {"name": {}, "model_path": "/tmp"}),
        ("name has a line end", {"name": "a\nb", "model_path": "/tmp"}),
        ("name is dots", {"name": "..", "model_path": "/tmp", "backend": "echo"}),
        ("name is Unicode", {"name": "ｅcho", "model_path": "/tmp", "backend": "echo"})):
    case(f"register: {why}", post("/v1/models", body), {400, 404, 413})
case("register: no path", post("/v1/models", {"name": "h9"}), BAD)
case("delete what is not there", http("DELETE", "/v1/models/never"), {404})
case("load what is not there", post("/v2/repository/models/never/load", {}), {400, 404})
case("index with nonsense", post("/v2/repository/index", "[[["), BAD)
