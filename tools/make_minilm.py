#!/usr/bin/env python3
"""Writes all-MiniLM-L6-v2, an embedding model, as GGUF, with what it should answer.

usage: make_minilm.py MODEL_DIR OUT.gguf OUT.reference.json

MODEL_DIR holds model.safetensors, config.json and vocab.txt.  The weights stay in 32-bit floats.
The reference is computed here, from the same weights, in 64-bit floats and without any engine, so
that a test can tell whether an engine's vectors are right and not just repeated.  Each sentence has
two vectors: "embedding" takes GELU in its tanh form, as llama.cpp does, and an engine comes within
1e-4 of it (half-precision tables and keys are what is left); "embedding_erf" takes GELU as the
model was trained with, some 3e-4 away.
"""
import json
import math
import pathlib
import struct
import sys
import unicodedata

import gguf
import numpy as np

SENTENCES = [
    "A small program in C serves any model.",
    "Eine Bibliothek voller Bücher steht am Fluß.",
    "The cat sat on the mat, didn't it?",
    "Unbelievably, tokenization splits uncharacteristically long words!",
    "What is the capital of France?",
]


def read_safetensors(path):
    """{name: array}; the weights of this model are all 32-bit floats."""
    with open(path, "rb") as f:
        (size,) = struct.unpack("<Q", f.read(8))
        header = json.loads(f.read(size))
        data = f.read()
    header.pop("__metadata__", None)
    tensors = {}
    for name, t in header.items():
        if t["dtype"] == "F32":
            begin, end = t["data_offsets"]
            tensors[name] = np.frombuffer(data[begin:end], "<f4").reshape(t["shape"])
    return tensors


class WordPiece:
    """BERT's uncased tokenizer: words and punctuation apart, accents off, longest piece first."""

    def __init__(self, vocabulary):
        self.ids = {token: i for i, token in enumerate(vocabulary)}

    @staticmethod
    def words(text):
        text = unicodedata.normalize("NFD", text.lower())
        word = ""
        for c in text:
            category = unicodedata.category(c)
            if category == "Mn":
                continue
            alone = category.startswith("P") or (c.isascii() and not c.isalnum() and c.isprintable() and c != " ")
            if alone or c.isspace():
                if word:
                    yield word
                word = ""
                if alone:
                    yield c
            else:
                word += c
        if word:
            yield word

    def pieces(self, word):
        found, start = [], 0
        while start < len(word):
            for end in range(len(word), start, -1):
                token = self.ids.get(("##" if start else "") + word[start:end])
                if token is not None:
                    break
            else:
                return [self.ids["[UNK]"]]
            found.append(token)
            start = end
        return found

    def __call__(self, text):
        inner = [t for word in self.words(text) for t in self.pieces(word)]
        return [self.ids["[CLS]"], *inner, self.ids["[SEP]"]]


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * x * (1 + 0.044715 * x * x)))


def gelu_erf(x):
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


class Bert:
    """The model's arithmetic, straight from its definition."""

    def __init__(self, tensors, config):
        self.t = {k: v.astype(np.float64) for k, v in tensors.items()}
        self.heads = config["num_attention_heads"]
        self.layers = config["num_hidden_layers"]
        self.eps = config["layer_norm_eps"]

    def dense(self, x, name):
        return x @ self.t[f"{name}.weight"].T + self.t[f"{name}.bias"]

    def norm(self, x, name):
        mean = x.mean(axis=-1, keepdims=True)
        variance = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
        return (x - mean) / np.sqrt(variance + self.eps) * self.t[f"{name}.weight"] + self.t[f"{name}.bias"]

    def attention(self, x, name):
        n, width = x.shape
        size = width // self.heads
        q, k, v = (
            self.dense(x, f"{name}.self.{part}").reshape(n, self.heads, size).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        weight = q @ k.transpose(0, 2, 1) / math.sqrt(size)
        weight = np.exp(weight - weight.max(axis=-1, keepdims=True))
        weight /= weight.sum(axis=-1, keepdims=True)
        mixed = (weight @ v).transpose(1, 0, 2).reshape(n, width)
        return self.dense(mixed, f"{name}.output.dense")

    def embed(self, tokens, gelu):
        """The mean over all tokens of the last layer, scaled to length 1."""
        t = self.t
        x = t["embeddings.word_embeddings.weight"][tokens]
        x = x + t["embeddings.position_embeddings.weight"][: len(tokens)]
        x = x + t["embeddings.token_type_embeddings.weight"][0]
        x = self.norm(x, "embeddings.LayerNorm")
        for i in range(self.layers):
            layer = f"encoder.layer.{i}"
            x = self.norm(x + self.attention(x, f"{layer}.attention"), f"{layer}.attention.output.LayerNorm")
            inner = gelu(self.dense(x, f"{layer}.intermediate.dense"))
            x = self.norm(x + self.dense(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
        mean = x.mean(axis=0)
        return mean / np.linalg.norm(mean)


def add_vocabulary(writer, vocabulary):
    """Tokens as llama.cpp keeps WordPiece: a word's first piece carries a mark of its own and the
    others none, the reverse of the vocabulary's "##"."""
    special = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
    tokens, types = [], []
    for token in vocabulary:
        if token in special:
            tokens.append(token)
            types.append(gguf.TokenType.UNKNOWN if token == "[UNK]" else gguf.TokenType.CONTROL)
        else:
            tokens.append(token[2:] if token.startswith("##") else "\u2581" + token)
            types.append(gguf.TokenType.NORMAL)
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    at = vocabulary.index
    writer.add_bos_token_id(at("[CLS]"))
    writer.add_sep_token_id(at("[SEP]"))
    writer.add_pad_token_id(at("[PAD]"))
    writer.add_unk_token_id(at("[UNK]"))
    writer.add_mask_token_id(at("[MASK]"))


def write_gguf(path, tensors, config, vocabulary):
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_name("all-MiniLM-L6-v2")
    writer.add_license("apache-2.0")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_token_type_count(config["type_vocab_size"])
    add_vocabulary(writer, vocabulary)

    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.BERT, config["num_hidden_layers"])
    for name, tensor in tensors.items():
        if name.startswith("pooler."):
            continue  # the head of another task
        new = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if new is None:
            raise ValueError(f"no place in GGUF for the tensor {name}")
        writer.add_tensor(new, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    source, out, reference = pathlib.Path(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
    config = json.loads((source / "config.json").read_text())
    vocabulary = (source / "vocab.txt").read_text(encoding="utf-8").split("\n")
    vocabulary = vocabulary[: config["vocab_size"]]
    tensors = read_safetensors(source / "model.safetensors")
    write_gguf(out, tensors, config, vocabulary)

    tokenize, model = WordPiece(vocabulary), Bert(tensors, config)
    samples = []
    for text in SENTENCES:
        tokens = tokenize(text)
        sample = {"text": text, "tokens": tokens}
        for name, gelu in (("embedding", gelu_tanh), ("embedding_erf", gelu_erf)):
            sample[name] = [round(float(v), 9) for v in model.embed(tokens, gelu)]
        samples.append(sample)
    report = {"model": "all-MiniLM-L6-v2", "dimension": config["hidden_size"], "normalized": True, "samples": samples}
    reference.write_text(json.dumps(report, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
