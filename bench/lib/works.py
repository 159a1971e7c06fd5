"""The pieces of work that every server is asked for, and the models that answer."""
import dataclasses
import json
import pathlib
import shutil
import struct
import subprocess
import sys

from machine import CACHE
from servers import MODELS

PIXELS = 3 * 224 * 224


@dataclasses.dataclass
class Work:
    name: str
    title: str
    model: str
    concurrency: int
    streams: str           # of gRPC: connections x streams
    infer: pathlib.Path    # a request of the Open Inference Protocol
    nested: pathlib.Path   # {"input": [[...]]}
    bytes: pathlib.Path    # the tensor's bytes


def write_model(path, graph):
    from onnx import checker, helper, save
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    save(model, path)


def image_graph():
    """3x224x224 numbers, their mean by channel, ten sums of it: 600 KB in, 40 bytes out."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper
    rng = np.random.default_rng(0)
    return helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["image"], ["mean"]), helper.make_node("Flatten", ["mean"], ["flat"]),
         helper.make_node("Gemm", ["flat", "W", "b"], ["logits"])], "image",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, 224, 224])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])],
        [numpy_helper.from_array(rng.standard_normal((3, 10), dtype=np.float32), "W"),
         numpy_helper.from_array(rng.standard_normal(10, dtype=np.float32), "b")])


def wide_graph():
    """Eight layers whose weights do not fit a cache: one row costs the reading of them all."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper
    rng, n, layers = np.random.default_rng(0), 1024, 8
    nodes, weights, last = [], [], "x"
    for i in range(layers):
        weights.append(numpy_helper.from_array(rng.standard_normal((n, n), dtype=np.float32) / 32, f"W{i}"))
        nodes += [helper.make_node("MatMul", [last, f"W{i}"], [f"h{i}"]),
                  helper.make_node("Relu", [f"h{i}"], ["y" if i == layers - 1 else f"r{i}"])]
        last = f"r{i}"
    return helper.make_graph(nodes, "wide", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", n])],
                             [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", n])], weights)


GRAPHS = {"image": image_graph, "wide": wide_graph}


def make_model(name):
    path = MODELS / name / "model.onnx"
    if not path.exists():
        # onnx is in the environment that tools/setup made.
        subprocess.run([CACHE / "venv" / "bin" / "python", __file__, name], check=True)


def make_models():
    make_model("image")
    (MODELS / "digits").mkdir(parents=True, exist_ok=True)
    shutil.copyfile(CACHE / "models" / "digits" / "model.onnx", MODELS / "digits" / "model.onnx")


def shaped(flat, shape):
    for n in reversed(shape[1:]):
        flat = [flat[i:i + n] for i in range(0, len(flat), n)]
    return flat


def bodies(folder, model, name, dtype, shape, data):
    infer, nested, raw = (folder / f"{model}.{x}" for x in ("infer", "nested", "bytes"))
    infer.write_text(json.dumps({"inputs": [{"name": name, "datatype": dtype, "shape": shape, "data": data}]}))
    nested.write_text(json.dumps({"input": shaped(data, shape)}))
    raw.write_bytes(struct.pack(f"<{len(data)}{'i' if dtype == 'INT32' else 'f'}", *data))
    return infer, nested, raw


def make(folder):
    make_models()
    sample = json.loads((CACHE / "models" / "digits" / "heldout.json").read_text())["samples"][0]
    pixels = [round(p / 255, 6) for p in sample["pixels"]]
    echo = bodies(folder, "echo", "x", "INT32", [1, 4], [1, 2, 3, 4])
    digits = bodies(folder, "digits", "image", "FP32", [1, 1, 8, 8], pixels)
    image = bodies(folder, "image", "image", "FP32", [1, 3, 224, 224],
                   [i * 7919 % 1009 / 1024 for i in range(PIXELS)])
    return [Work("echo", "echo: 4 numbers there and back, 32 at once", "echo", 32, "4x8", *echo),
            Work("digits1", "digits (ONNX), one row, one at a time", "digits", 1, "1x1", *digits),
            Work("digits32", "digits (ONNX), one row, 32 at once", "digits", 32, "4x8", *digits),
            Work("image", "600 KB tensor to a small ONNX model, 8 at once", "image", 8, "8x1", *image)]


if __name__ == "__main__":
    write_model(MODELS / sys.argv[1] / "model.onnx", GRAPHS[sys.argv[1]]())
