"""Write the models of test_onnx.c into the folder given: make_models.py FOLDER."""

import os
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper

OPSET = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]

DTYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "BF16": TensorProto.BFLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}


def tensor(name, shape, dtype=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def constant(name, values, dtype=np.float32):
    return onnx.numpy_helper.from_array(np.asarray(values, dtype=dtype), name)


def save(folder, name, nodes, inputs, outputs, initializers=(), opset=None, ir=8, **kw):
    graph = helper.make_graph(list(nodes), name, inputs, outputs, list(initializers))
    model = helper.make_model(graph, opset_imports=opset or OPSET)
    model.ir_version = ir
    onnx.save(model, os.path.join(folder, name + ".onnx"), **kw)


def node(op, inputs, outputs, **attrs):
    return helper.make_node(op, inputs, outputs, **attrs)


def identities(folder):
    for name, dtype in DTYPES.items():
        save(folder, "identity_" + name, [node("Identity", ["x"], ["y"])],
             [tensor("x", ["N", 3], dtype)], [tensor("y", ["N", 3], dtype)])


def shapes(folder):
    double = [node("Add", ["x", "x"], ["y"])]
    save(folder, "free", double, [tensor("x", ["N", 2])], [tensor("y", ["N", 2])])
    save(folder, "unnamed", double, [tensor("x", [None, 2])], [tensor("y", [None, 2])])
    save(folder, "fixed1", double, [tensor("x", [1, 2])], [tensor("y", [1, 2])])
    save(folder, "fixed3", double, [tensor("x", [3, 2])], [tensor("y", [3, 2])])
    save(folder, "dynamic", double, [tensor("x", ["N", "H", "W"])], [tensor("y", ["N", "H", "W"])])
    # Two inputs whose first dimensions are different things.
    save(folder, "two_names", [node("Identity", ["a"], ["y"]), node("Identity", ["b"], ["z"])],
         [tensor("a", ["N", 1]), tensor("b", ["M", 1])],
         [tensor("y", ["N", 1]), tensor("z", ["M", 1])])
    save(folder, "two_inputs", [node("Add", ["a", "b"], ["sum"]), node("Mul", ["a", "b"], ["product"])],
         [tensor("a", ["N", 2]), tensor("b", ["N", 2])],
         [tensor("sum", ["N", 2]), tensor("product", ["N", 2])])
    save(folder, "scalar", [node("ReduceSum", ["x"], ["y"], keepdims=0)],
         [tensor("x", ["N", 2])], [tensor("y", [])])
    # As many rows as there are values over 0: dimension 0 varies but is no batch.
    save(folder, "nonzero",
         [node("Greater", ["x", "zero"], ["over"]), node("NonZero", ["over"], ["at"]),
          node("Transpose", ["at"], ["y"])],
         [tensor("x", [None, 2])], [tensor("y", [None, 2], TensorProto.INT64)],
         [constant("zero", 0)])
    # Says that the output has the input's rows, which is not so but for one row.
    save(folder, "liar", [node("ReduceSum", ["x", "axes"], ["y"], keepdims=1)],
         [tensor("x", ["N", 2])], [tensor("y", ["N", 2])], [constant("axes", [0], np.int64)])


def others(folder):
    save(folder, "strings", [node("StringNormalizer", ["x"], ["y"], case_change_action="UPPER",
                           locale="C")],
         [tensor("x", [None], TensorProto.STRING)], [tensor("y", [None], TensorProto.STRING)])
    # Before version 4 of the format an initialiser had to be listed as an input, too.
    save(folder, "old_ir", [node("Add", ["x", "w"], ["y"])],
         [tensor("x", ["N", 2]), tensor("w", [2])], [tensor("y", ["N", 2])],
         [constant("w", [10, 20])], opset=[helper.make_opsetid("", 8)], ir=3)
    # What scikit-learn's exporter makes unless it is told not to: a sequence of maps.
    save(folder, "zipmap",
         [node("Identity", ["x"], ["probabilities"]),
          node("ZipMap", ["x"], ["maps"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])],
         [tensor("x", ["N", 2])],
         [tensor("probabilities", ["N", 2]),
          helper.make_value_info("maps", helper.make_sequence_type_proto(helper.make_map_type_proto(
              TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))))])
    save(folder, "only_maps",
         [node("ZipMap", ["x"], ["maps"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])],
         [tensor("x", ["N", 2])],
         [helper.make_value_info("maps", helper.make_sequence_type_proto(helper.make_map_type_proto(
             TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))))])
    save(folder, "sequence_input", [node("SequenceLength", ["x"], ["y"])],
         [helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, None)],
         [tensor("y", [], TensorProto.INT64)])
    # `count` products of 64 x 64 matrices: takes as long as is asked for.
    body = helper.make_graph(
        [node("Identity", ["go_on"], ["still"]), node("MatMul", ["acc", "half"], ["next"])], "body",
        [tensor("i", [], TensorProto.INT64), tensor("go_on", [], TensorProto.BOOL),
         tensor("acc", [64, 64])],
        [tensor("still", [], TensorProto.BOOL), tensor("next", [64, 64])])
    save(folder, "slow", [node("Loop", ["count", "true", "start"], ["y"], body=body)],
         [tensor("count", [], TensorProto.INT64)], [tensor("y", [64, 64])],
         [constant("true", True, np.bool_), constant("start", np.eye(64)),
          constant("half", np.eye(64) * 0.5)])


def broken(folder):
    double = [node("Add", ["x", "x"], ["y"])]
    ports = [tensor("x", ["N", 2])], [tensor("y", ["N", 2])]
    save(folder, "new_opset", double, *ports, opset=[helper.make_opsetid("", 999)])
    save(folder, "new_ir", double, *ports, ir=999)
    save(folder, "no_operator", [helper.make_node("Nonesuch", ["x"], ["y"], domain="else")], *ports,
         opset=OPSET + [helper.make_opsetid("else", 1)])
    save(folder, "external", [node("Add", ["x", "w"], ["y"])], *ports,
         [constant("w", np.zeros((1, 2)))], save_as_external_data=True, size_threshold=0,
         location="external.data")
    os.remove(os.path.join(folder, "external.data"))
    with open(os.path.join(folder, "garbage.onnx"), "wb") as f:
        f.write(b"This is no model. " * 8)
    with open(os.path.join(folder, "empty.onnx"), "wb"):
        pass
    os.makedirs(os.path.join(folder, "folder"), exist_ok=True)
    save(os.path.join(folder, "folder"), "model", double, *ports)
    save(os.path.join(folder, "folder"), "other", double, *ports)
    os.makedirs(os.path.join(folder, "nothing"), exist_ok=True)


def main():
    os.makedirs(sys.argv[1], exist_ok=True)
    for make in (identities, shapes, others, broken):
        make(sys.argv[1])


if __name__ == "__main__":
    main()
