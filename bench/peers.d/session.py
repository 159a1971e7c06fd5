"""What every peer serves: echo, and ONNX models on ONNX Runtime with one thread."""
import collections
import os

import numpy as np

Model = collections.namedtuple("Model", "input output dtype shape")
MODELS = {
    "echo": Model("x", "x", np.int32, (1, 4)),
    "digits": Model("image", "scores", np.float32, (1, 1, 8, 8)),
    "image": Model("image", "logits", np.float32, (1, 3, 224, 224)),
}
BATCH = 32
HTTP_PORT = int(os.environ.get("BENCH_PORT", 0))
GRPC_PORT = int(os.environ.get("BENCH_GRPC_PORT", 0))


def echo(x):
    return x


def onnx(name):
    """A function from the input's array to the output's."""
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    path = os.path.join(os.environ["BENCH_MODELS"], name, "model.onnx")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    model = MODELS[name]
    return lambda x: session.run([model.output], {model.input: x})[0]


def functions():
    return {name: echo if name == "echo" else onnx(name) for name in MODELS}
