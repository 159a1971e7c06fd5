"""A very small transformer encoder as ONNX: embedding, one layer of attention, mean over the mask."""
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WORDS, WIDTH = 100, 16


def write(path, seed=1):
    """input_ids and attention_mask INT64 [N, S]; tokens FP32 [N, S, WIDTH], pooled [N, WIDTH]."""
    rng = np.random.default_rng(seed)
    weights = {
        "table": rng.normal(0, 1, (WORDS, WIDTH)),
        "wq": rng.normal(0, 0.3, (WIDTH, WIDTH)),
        "wk": rng.normal(0, 0.3, (WIDTH, WIDTH)),
        "wv": rng.normal(0, 0.3, (WIDTH, WIDTH)),
        "one": np.array(1.0),
        "low": np.array(-1e9),
    }
    node = helper.make_node
    graph = helper.make_graph(
        [
            node("Gather", ["table", "input_ids"], ["x"]),
            node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
            node("Sub", ["one", "mask"], ["off"]),
            node("Mul", ["off", "low"], ["bias2"]),
            node("Unsqueeze", ["bias2", "axis1"], ["bias"]),  # [N, 1, S]: the same for each query
            node("MatMul", ["x", "wq"], ["q"]),
            node("MatMul", ["x", "wk"], ["k"]),
            node("MatMul", ["x", "wv"], ["v"]),
            node("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
            node("MatMul", ["q", "kt"], ["scores"]),
            node("Add", ["scores", "bias"], ["masked"]),
            node("Softmax", ["masked"], ["attention"], axis=2),
            node("MatMul", ["attention", "v"], ["mixed"]),
            node("Add", ["x", "mixed"], ["tokens"]),
            node("Unsqueeze", ["mask", "axis2"], ["mask3"]),
            node("Mul", ["tokens", "mask3"], ["kept"]),
            node("ReduceSum", ["kept", "axis1"], ["sum"], keepdims=0),
            node("ReduceSum", ["mask", "axis1"], ["count"], keepdims=1),
            node("Div", ["sum", "count"], ["pooled"]),
        ],
        "tiny-encoder",
        [helper.make_tensor_value_info(n, TensorProto.INT64, ["N", "S"])
         for n in ("input_ids", "attention_mask")],
        [helper.make_tensor_value_info("tokens", TensorProto.FLOAT, ["N", "S", WIDTH]),
         helper.make_tensor_value_info("pooled", TensorProto.FLOAT, ["N", WIDTH])],
        [numpy_helper.from_array(np.asarray(w, dtype=np.float32), n) for n, w in weights.items()]
        + [numpy_helper.from_array(np.array([i], dtype=np.int64), f"axis{i}") for i in (1, 2)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path
