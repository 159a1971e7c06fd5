#!/usr/bin/env python3
"""Trains a small classifier of handwritten digits and writes it as a folder model.

usage: make_digits.py DIGITS.csv.gz OUTDIR

The data are the 1,797 digits of 8 by 8 pixels that come with scikit-learn.  OUTDIR gets
model.onnx, berth.yaml (how the server treats it), heldout.json (every sample the training never
saw, with what ONNX Runtime says about it in Python) and heldout/ (some of them as PNG).
"""
import gzip
import json
import pathlib
import struct
import sys
import zlib

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

SEED = 7
HIDDEN = 64
CLASSES = 10
SIDE = 8
EPOCHS = 120
BATCH = 32
HELD_OUT = 0.25

MANIFEST = """\
# A digit, 0 to 9, in an 8 by 8 grey image.
backend: onnx
task: classification
labels: ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
image:
  width: 8
  height: 8
  channels: 1
  layout: NCHW
  mean: [0]    # a pixel p enters as (p / 255 - mean) / std
  std: [1]
output:
  name: scores
  activation: none    # the model ends in a softmax of its own
  top: 5
"""


def load(path):
    """Pixels as 0..255 (as a PNG holds them) and labels.  The data count from 0 to 16."""
    with gzip.open(path, "rt") as f:
        table = np.loadtxt(f, delimiter=",")
    pixels = np.round(table[:, :-1] * 255 / 16).astype(np.uint8)
    return pixels, table[:, -1].astype(np.int64)


def train(x, y, rng):
    """One hidden layer, softmax, Adam; in double precision, so that rounding to the stored
    single precision is all that differs between machines in practice."""
    params = [
        rng.normal(0, np.sqrt(2 / (SIDE * SIDE)), (SIDE * SIDE, HIDDEN)),
        np.zeros(HIDDEN),
        rng.normal(0, np.sqrt(1 / HIDDEN), (HIDDEN, CLASSES)),
        np.zeros(CLASSES),
    ]
    first = [np.zeros_like(p) for p in params]
    second = [np.zeros_like(p) for p in params]
    t = 0
    for _ in range(EPOCHS):
        order = rng.permutation(len(x))
        for start in range(0, len(x), BATCH):
            rows = order[start : start + BATCH]
            t += 1
            for i, g in enumerate(gradients(params, x[rows], y[rows])):
                g = g + 1e-4 * params[i]
                first[i] = 0.9 * first[i] + 0.1 * g
                second[i] = 0.999 * second[i] + 0.001 * g * g
                step = (first[i] / (1 - 0.9**t)) / (np.sqrt(second[i] / (1 - 0.999**t)) + 1e-8)
                params[i] = params[i] - 2e-3 * step
    return params


def gradients(params, x, y):
    w1, b1, w2, b2 = params
    h = np.maximum(x @ w1 + b1, 0)
    z = h @ w2 + b2
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(len(y)), y] -= 1
    p /= len(y)
    dh = (p @ w2.T) * (h > 0)
    return x.T @ dh, dh.sum(axis=0), h.T @ p, p.sum(axis=0)


def export(params, path):
    names = ["w1", "b1", "w2", "b2"]
    weights = [numpy_helper.from_array(p.astype(np.float32), n) for p, n in zip(params, names)]
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["image"], ["flat"], axis=1),
            helper.make_node("Gemm", ["flat", "w1", "b1"], ["hidden"]),
            helper.make_node("Relu", ["hidden"], ["active"]),
            helper.make_node("Gemm", ["active", "w2", "b2"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
        ],
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, SIDE, SIDE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", CLASSES])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9  # old enough for every runtime of the last years
    model.producer_name = "berth"
    onnx.checker.check_model(model)
    onnx.save(model, path)


def write_png(path, pixels):
    """An 8-bit grey PNG of one digit."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"".join(b"\0" + bytes(row) for row in pixels.reshape(SIDE, SIDE))
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    )


def main():
    source, out = sys.argv[1], pathlib.Path(sys.argv[2])
    pixels, labels = load(source)
    rng = np.random.default_rng(SEED)
    order = rng.permutation(len(labels))
    cut = int(len(labels) * HELD_OUT)
    held, rest = order[:cut], order[cut:]

    (out / "heldout").mkdir(parents=True, exist_ok=True)
    export(train(pixels[rest] / 255.0, labels[rest], rng), out / "model.onnx")
    (out / "berth.yaml").write_text(MANIFEST)

    session = onnxruntime.InferenceSession(out / "model.onnx", providers=["CPUExecutionProvider"])
    images = (pixels[held].astype(np.float32) / 255).reshape(-1, 1, SIDE, SIDE)
    scores = session.run(["scores"], {"image": images})[0]
    found = scores.argmax(axis=1)
    right = int((found == labels[held]).sum())
    samples = [
        {
            "pixels": pixels[i].tolist(),
            "label": int(labels[i]),
            "python_label": int(f),
            "python_scores": [float(v) for v in s],
        }
        for i, f, s in zip(held, found, scores)
    ]
    report = {"count": len(samples), "python_correct": right, "samples": samples}
    (out / "heldout.json").write_text(json.dumps(report) + "\n")

    # One picture of each digit, named by its place in heldout.json and its label.
    for digit in range(CLASSES):
        place = int(np.flatnonzero(labels[held] == digit)[0])
        write_png(out / "heldout" / f"{place:03d}-is-{digit}.png", pixels[held[place]])
    print(f"digits: {right} of {len(samples)} held-out samples right ({100 * right / len(samples):.1f} %)")


if __name__ == "__main__":
    main()
