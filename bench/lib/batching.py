"""What batching gains: the same model with and without, 32 clients."""
import json

import servers
import works
from machine import bench

TITLE = "batching: 8 layers of 1024 x 1024 (ONNX, 32 MB of weights), one engine thread, 32 at once"
CLIENTS = 32


def workload(args, fleet):
    works.make_model("wide")
    server, rows = servers.Berth(), {}
    try:
        for how in ("off", "auto"):
            server.register(f"wide-{how}", "onnx", servers.MODELS / "wide" / "model.onnx",
                            {"batching": how, "max_batch_size": CLIENTS, "intra_op_threads": 1})
        infer = server.dir / "wide.json"
        infer.write_text(json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1024],
                                                 "data": [i % 7 / 8 for i in range(1024)]}]}))
        for how in ("off", "auto"):
            r = bench(f"wide-{how}", "--server", server.url(), "--server-pid", server.process.pid, "--protocol", "binary",
                      "--input", f"@{infer}", "--concurrency", CLIENTS, "--duration", args.seconds, "--warmup", 1)
            args.raw.append({"server": "Berth", "how": f"batching {how}", **r})
            rows[f"Berth, batching {how}"] = {
                "requests/s": r["requests_per_s"], "p50 ms": r["latency_ms"]["p50"], "p99 ms": r["latency_ms"]["p99"],
                "CPU us": r["server_cpu_us"], "failed": r["failed"]}
        rows["gain"] = {"requests/s": rows["Berth, batching auto"]["requests/s"] /
                        max(rows["Berth, batching off"]["requests/s"], 1e-9)}
    finally:
        server.end()
    return rows
