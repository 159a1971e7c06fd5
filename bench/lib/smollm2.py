"""A language model: Berth, llama-server and llama.cpp's bare loop, all with the same libraries and file."""
import concurrent.futures
import json
import os
import pathlib
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import servers
from machine import CACHE, ROOT, SERVER_CORE, Process, free_port, pinned

SMOLLM = CACHE / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
LLAMA = CACHE / "engines" / "llama"
LLAMA_SERVER = CACHE / "peers" / "llama" / "llama-server"
PROMPT = ("You are a careful writer. Tell the story of a small ship that leaves its berth at dawn, "
          "meets a storm, and comes home. Write plainly.")
TOKENS = 64
CLIENTS = (1, 4, 8, 16, 32)
TITLE = f"SmolLM2-135M Q4_1, one engine thread, {TOKENS} tokens each, nothing cached"


def generate(port, clients, model):
    """Tokens a second and median time to the first token of clients that ask at once."""
    body = json.dumps({"model": model, "prompt": PROMPT, "max_tokens": TOKENS, "temperature": 0,
                       "stream": True, "ignore_eos": True}).encode()
    gate = threading.Barrier(clients)

    def one(_):
        with socket.create_connection(("127.0.0.1", port)) as s:
            gate.wait()
            begin = time.monotonic()
            s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                      b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            first, data = None, b""
            while more := s.recv(65536):
                data += more
                if first is None and b"data: {" in data:
                    first = time.monotonic() - begin
            if not data.startswith(b"HTTP/1.1 200"):
                sys.exit(f"generation: {data[:500]!r}")
            return begin, first, time.monotonic()

    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        times = list(pool.map(one, range(clients)))
    wall = max(t[2] for t in times) - min(t[0] for t in times)
    return {"tokens/s": clients * TOKENS / wall,
            "first token ms": statistics.median(t[1] for t in times) * 1000}


def llama_loop():
    """bench/llama_loop, built against the engine that the backend uses."""
    program = pathlib.Path(tempfile.gettempdir()) / f"berth-llama-loop-{os.getuid()}"
    subprocess.run([os.environ.get("CC", "cc"), "-O2", "-D_GNU_SOURCE", "-isystem", LLAMA / "include",
                    ROOT / "bench" / "llama_loop.c", "-o", program, "-L", LLAMA / "lib", "-lllama",
                    "-lggml", "-lggml-base", f"-Wl,-rpath,{LLAMA / 'lib'}"], check=True)
    return program


def bare(loop, clients, prompt_tokens=32):
    out = subprocess.run(pinned(SERVER_CORE, [loop, SMOLLM, LLAMA / "lib", 1, clients, prompt_tokens, TOKENS]),
                         capture_output=True, text=True, check=True).stdout
    prompt, gen = map(float, re.search(r"prompt (\d+).*generation\s+(\d+)", out).groups())
    wall = clients * prompt_tokens / prompt + clients * TOKENS / gen
    return {"tokens/s": clients * TOKENS / wall}


def workload(args, fleet):
    """Both servers run all the time and are asked in turns, for each number of clients."""
    rows, loop = {}, llama_loop()
    config = {"threads": 1, "parallel": max(CLIENTS), "context_length": 512, "cache_prompt": False}
    server = servers.Berth()
    server.register("smollm2", "llama", SMOLLM, config)
    ports = {"Berth": server.process.port}
    if LLAMA_SERVER.exists():
        port = ports["llama-server"] = free_port()
        peer = Process([LLAMA_SERVER, "-m", SMOLLM, "--host", "127.0.0.1", "--port", port,
                        "-t", "1", "-tb", "1", "-np", max(CLIENTS), "-c", 512 * max(CLIENTS),
                        "--no-cache-prompt", "--no-webui"], port)
    for port in ports.values():
        generate(port, 1, "smollm2")
    for n in CLIENTS:
        for name, port in ports.items():
            rows[f"{name}, {n} clients"] = generate(port, n, "smollm2")
        rows[f"the engine alone, {n} sequences"] = bare(loop, n)
    server.end()
    if "llama-server" in ports:
        peer.end()
    return rows
