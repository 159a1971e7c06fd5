#!/usr/bin/env python3
"""layers.py finds what it is there to find, and nothing else."""
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import layers

ALLOWED = [
    ("src/base/a.c", '#include "base/err.h"\n#include <stdio.h>'),
    ("src/os/a.c", '#include "base/err.h"\n#include <uv.h>'),
    ("src/wire/a.c", "#include <llhttp.h>\n#include <yyjson.h>"),
    ("src/net/a.c", '#include "wire/h1.h"\n#include <openssl/ssl.h>\n#include <nghttp2/nghttp2.h>\n#include <curl/curl.h>'),
    ("src/infer/a.c", '#include "plugin/plugins.h"\n#include <berth/backend.h>'),
    ("src/api/a.c", '#include "infer/model.h"\n#include "store/store.h"'),
    ("src/cmd/a.c", '#include "operator/x.h"\n#include "base/err.h"'),
    ("src/main.c", '#include "cmd/serve.h"'),
    ("src/base/test_a.c", "#include <cmocka.h>"),
    ("src/base/b.c", '/* #include "api/x.h" */\n// #include <uv.h>\nconst char *s = "#include <uv.h>";'),
    ("include/berth/a.h", "#include <stdint.h>\n#include <berth/err.h>"),
    ("backends/llama/a.c", "#include <berth/backend.h>\n#include <llama.h>\n#include <pthread.h>"),
    ("backends/llama/b.cpp", '#include <string>\n#include "common/chat.h"\n#include "log.h"'),
    ("backends/onnx/a.c", "#include <onnxruntime_c_api.h>"),
    ("shimlets/docker/a.c", '#include <berth/shimlet.h>\n#include "net/client.h"\n#include "shimlets/rollout.h"'),
    ("shimlets/kubernetes/a.c", '#include "kube/client.h"'),
    ("src/cmd/b.c", '#include "shimlets/shimlets.h"\n#include "pipelines/pipelines.h"'),
]

FORBIDDEN = [
    ("base sees nothing above it", "src/base/a.c", '#include "os/loop.h"'),
    ("siblings do not see each other", "src/os/a.c", '#include "wire/json.h"'),
    ("nor the other way round", "src/wire/a.c", '#include "os/loop.h"'),
    ("the core knows no dialect", "src/infer/a.c", '#include "api/errors.h"'),
    ("the core fetches nothing", "src/infer/a.c", '#include "fetch/fetch.h"'),
    ("plugin does not see infer back", "src/plugin/a.c", '#include "infer/model.h"'),
    ("libuv is in os and net alone", "src/api/a.c", "#include <uv.h>"),
    ("libraries are opened by plugin alone", "src/os/a.c", "#include <dlfcn.h>"),
    ("JSON's library is in wire alone", "src/api/a.c", "#include <yyjson.h>"),
    ("a space after the hash", "src/api/a.c", "#  include <sqlite3.h>"),
    ("OpenSSL is in net alone", "src/api/a.c", "#include <openssl/sha.h>"),
    ("libcurl is in net alone", "src/fetch/a.c", "#include <curl/curl.h>"),
    ("an engine stays in its backend", "src/infer/a.c", "#include <llama.h>"),
    ("a test library stays in tests", "src/base/a.c", "#include <cmocka.h>"),
    ("a library nobody has listed", "src/base/a.c", "#include <glib.h>"),
    ("a folder nobody has listed", "src/extra/a.c", "#include <stdio.h>"),
    ("a neighbour's header by its bare name", "src/os/a.c", '#include "json.h"'),
    ("the ABI is plain C", "include/berth/a.h", "#include <pthread.h>"),
    ("the ABI sees no source folder", "include/berth/a.h", '#include "base/err.h"'),
    ("a backend sees no source folder", "backends/echo/a.c", '#include "base/buf.h"'),
    ("a backend sees its own engine alone", "backends/echo/a.c", "#include <onnxruntime_c_api.h>"),
    ("HTTP/2's library is in net alone", "src/wire/a.c", "#include <nghttp2/nghttp2.h>"),
    ("llama.cpp's general names too", "backends/onnx/a.c", '#include "log.h"'),
    ("a backend sees no other library", "backends/onnx/a.c", "#include <uv.h>"),
    ("a shimlet does not see the engine that calls it", "shimlets/docker/a.c", '#include "deploy/engine.h"'),
    ("nor the operators", "shimlets/docker/a.c", '#include "operator/x.h"'),
    ("nor a library of src's", "shimlets/docker/a.c", "#include <curl/curl.h>"),
    ("a pipeline does not reach Kubernetes by itself", "pipelines/quant/a.c", '#include "kube/client.h"'),
    ("what is compiled in is put together in cmd alone", "src/deploy/a.c", '#include "shimlets/shimlets.h"'),
]


def check(name, text):
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        path = root / name
        path.parent.mkdir(parents=True)
        path.write_text("/* first\n line */\n" + text + "\n")
        (root / "src").mkdir(exist_ok=True)
        return layers.check(root)


class Layers(unittest.TestCase):
    def test_what_is_allowed_passes(self):
        for name, text in ALLOWED:
            with self.subTest(name=name, text=text):
                self.assertEqual(check(name, text), [])

    def test_what_is_forbidden_is_found_with_its_line(self):
        for why, name, text in FORBIDDEN:
            with self.subTest(why):
                found = check(name, text)
                self.assertEqual(len(found), 1, found)
                line = 1 if "extra" in name else 3
                self.assertTrue(found[0].startswith(f"{name}:{line}: "), found)

    def test_every_folder_is_in_one_layer(self):
        self.assertEqual(sum(map(len, layers.LAYERS)), len(layers.LEVEL))


if __name__ == "__main__":
    unittest.main()
