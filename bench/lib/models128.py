"""Many registered models: what asking them by turns costs, when all fit and when few do."""
import json
import re

import servers
from machine import BERTH, Process, bench, free_port

COUNT, FIT, EACH_MIB = 128, 16, 8
TITLE = f"{COUNT} models of {EACH_MIB} MB (echo), 8 at once; by Zipf's law, or in turns"


class Many(servers.Berth):
    def __init__(self, *args):
        servers.Server.__init__(self)
        port = free_port()
        self.process = Process([BERTH, "serve", "--host", "127.0.0.1", "--port", port, "--state-dir", self.dir / "state",
                                "--max-models", COUNT, *args], port)
        for i in range(COUNT):
            self.register(f"m{i}", "echo", config={"memory_mb": EACH_MIB}, wait=not args and i == COUNT - 1)


def ask(args, server, names):
    infer = server.dir / "request.json"
    infer.write_text(json.dumps({"inputs": [{"name": "x", "datatype": "INT32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}))
    r = bench(names, "--server", server.url(), "--server-pid", server.process.pid, "--input", f"@{infer}",
              "--concurrency", 8, "--duration", args.seconds, "--warmup", 1)
    args.raw.append({"server": "Berth", "how": names, **r})
    return {"requests/s": r["requests_per_s"], "p50 ms": r["latency_ms"]["p50"], "p99 ms": r["latency_ms"]["p99"],
            "CPU us": r["server_cpu_us"], "failed": r["failed"], "loaded at the end": loaded(server)}


def loaded(server):
    status, text = server.process.ask("POST", "/v2/repository/index", {"ready": True})
    return len(re.findall(rb'"READY"', text)) if status == 200 else float("nan")


def workload(args, fleet):
    rows = {}
    budget = f"{(FIT + 0.5) * EACH_MIB * 2**20 / 2**30:.4f}"
    ways = [("all fit", ()), (f"{FIT} fit", ("--max-memory", budget))]
    for name, options in ways:
        server = Many(*options)
        try:
            if not options:
                rows["one model of them"] = ask(args, server, "m0")
            rows[f"{name}, Zipf"] = ask(args, server, f"m{{0..{COUNT - 1}:zipf}}")
            rows[f"{name}, in turns"] = ask(args, server, f"m{{0..{COUNT - 1}}}")
        finally:
            server.end()
    return rows
