#!/usr/bin/env python3
"""Checks that #include lines keep to the map of docs/architecture.md.

usage: layers.py [ROOT]      (default: the repository that this script is in)

A folder of src/ includes itself and lower layers, a sibling only where SIBLINGS says so.  A
library's headers appear in one folder.  shimlets/ and pipelines/ that are compiled in see what is
below src/deploy, and src/cmd sees them.  include/berth/ needs the C standard's headers alone, and a
backend needs include/berth/, its engine and libc.  Prints FILE:LINE: what is wrong, and exits 1.
"""
import pathlib
import re
import sys

LAYERS = [
    {"base"},
    {"os", "wire"},
    {"net", "obs", "conf", "merge"},
    {"plugin", "infer", "fetch", "store", "recon", "template"},
    {"api", "deploy", "mesh", "kube"},
    {"operator"},
    {"cmd"},
]
LEVEL = {folder: level for level, folders in enumerate(LAYERS) for folder in folders}
SIBLINGS = {("infer", "plugin"), ("infer", "store"), ("api", "deploy")}
# What is compiled in beside src/: the layer of src/ that a folder may see, and its siblings there.
COMPILED_IN = {"shimlets": {"kube"}, "pipelines": set()}
COMPILED_IN_LEVEL = LEVEL["deploy"]  # sees what is below; src/cmd puts it together
TOP = "main.c"  # beside the folders: wiring, like cmd

# Headers of a library, as a pattern on what stands between the brackets -> the folder of src/ that
# may have it.  libuv has two: os owns the loops, net makes handles on them (see os/loop.h).
LIBRARIES = [
    (r"uv\.h", {"os", "net"}),
    (r"dlfcn\.h", {"plugin"}),
    (r"llhttp\.h", {"wire"}),
    (r"nghttp2/.*", {"net"}),
    (r"yyjson\.h", {"wire"}),
    (r"yaml\.h", {"wire"}),
    (r"(jpeglib|jerror|turbojpeg|png)\.h", {"wire"}),
    (r"zlib\.h", {"wire"}),
    (r"openssl/.*", {"net"}),
    (r"curl/.*", {"net"}),
    (r"sqlite3\.h", {"store"}),
    (r"protobuf-c/.*", {"api"}),
    (r"proto/.*", {"api"}),  # generated from proto/ at build time
]

# Headers of an engine -> the folder of backends/ that may have it.
ENGINES = [
    # The second group is llama.cpp's common/, whose own headers name each other without the folder.
    (r"(llama(-cpp)?|ggml.*|gguf)\.h|common/.*|nlohmann/.*", {"llama"}),
    (r"(chat.*|common|json|json-schema.*|log|sampling|peg-parser)\.h", {"llama"}),
    (r"onnxruntime_.*\.h", {"onnx"}),
]

C_STANDARD = {
    f"{name}.h"
    for name in "assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal "
    "stdalign stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string tgmath threads time "
    "uchar wchar wctype".split()
}
LIBC = C_STANDARD | {
    f"{name}.h"
    for name in "dirent endian err execinfo fcntl fnmatch ftw getopt glob grp libgen malloc netdb poll pthread "
    "pwd regex sched semaphore spawn strings sysexits syslog termios unistd utime".split()
}
SYSTEM = re.compile(r"(sys|linux|net|netinet|arpa)/[\w/.-]+\.h")
CPP_STANDARD = re.compile(r"[a-z_]+")  # <string>, <vector>: no suffix
EVERYWHERE = {"uthash.h", "utlist.h", "utarray.h"}  # containers, nothing but macros
TESTS = {"cmocka.h"}  # in test_*.c alone

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
SOURCES = {".c", ".h", ".cpp", ".hpp", ".cc"}


def includes(path):
    """(line number, is it in brackets, name) of each include line that is not in a comment."""
    text = path.read_text(encoding="utf-8", errors="replace")
    text = COMMENT.sub(lambda m: "\n" * m.group().count("\n"), text)
    for number, line in enumerate(text.split("\n"), 1):
        found = INCLUDE.match(line)
        if found:
            yield number, found.group(1) == "<", found.group(2)


def is_system(name):
    return name in LIBC or SYSTEM.fullmatch(name) is not None


def owners(table, name):
    for pattern, folders in table:
        if re.fullmatch(pattern, name):
            return folders
    return None


def only(name, top, folders):
    return f"{name} belongs in {top}/{' or '.join(sorted(folders))} alone"


def is_test(path):
    return path.name.startswith("test_")


def wrong_quote_in_src(path, folder, name):
    first = name.split("/")[0]
    if "/" not in name:
        return None if folder == "" or (path.parent / name).exists() else f'"{name}" is not in this folder'
    if first in COMPILED_IN and folder in ("", "cmd"):
        return None
    if first not in LEVEL:
        return f'"{name}": src/{first} is in no layer'
    if folder in ("", first) or LEVEL[first] < LEVEL[folder] or (folder, first) in SIBLINGS:
        return None
    return f'"{name}": {folder} (layer {LEVEL[folder]}) may not see {first} (layer {LEVEL[first]})'


def wrong_in_src(path, folder, bracket, name):
    """What is wrong with an include in src/<folder>/, or None.  folder is "" for src/main.c."""
    if name.startswith("berth/"):
        return None
    if not bracket:
        return wrong_quote_in_src(path, folder, name)
    if name in TESTS:
        return None if is_test(path) else f"<{name}> belongs in test_*.c"
    library, engine = owners(LIBRARIES, name), owners(ENGINES, name)
    if library:
        return None if folder in library else only(name, "src", library)
    if engine:
        return only(name, "backends", engine)
    if is_system(name) or name in EVERYWHERE:
        return None
    return f"<{name}> is not known to tools/layers.py"


def wrong_in_abi(name):
    if name.startswith("berth/") or name in C_STANDARD:
        return None
    return f"{name}: the plugin ABI includes the C standard's headers alone"


def wrong_in_backend(root, path, backend, bracket, name):
    if name.startswith("berth/"):
        return None
    near = [path.parent / name, path.parents[1] / name]
    if is_test(path):
        near.append(root / "tests" / "abi" / name)  # a host for tests of backends
    if not bracket and any(p.exists() for p in near) and name.split("/")[0] not in LEVEL:
        return None
    engine = owners(ENGINES, name)
    if not bracket and engine is None:
        return f'"{name}": a backend sees include/berth, its engine and its own folder'
    if engine:
        return None if backend in engine else only(name, "backends", engine)
    if name in TESTS and (is_test(path) or "tests" in path.parts):
        return None
    if is_system(name) or name == "dlfcn.h" or name in EVERYWHERE:
        return None
    if CPP_STANDARD.fullmatch(name) and path.suffix in {".cpp", ".hpp", ".cc"}:
        return None
    return f"<{name}>: a backend sees include/berth, its engine and libc"


def wrong_in_compiled_in(top, path, bracket, name):
    """What is wrong with an include in shimlets/NAME/ or pipelines/NAME/, or None."""
    if name.startswith("berth/"):
        return None
    if not bracket:
        first = name.split("/")[0]
        if "/" not in name:
            return None if (path.parent / name).exists() else f'"{name}" is not in this folder'
        if first == top:
            return None
        if first in LEVEL and (LEVEL[first] < COMPILED_IN_LEVEL or first in COMPILED_IN[top]):
            return None
        return f'"{name}": {top} may not see {first}'
    if name in TESTS:
        return None if is_test(path) else f"<{name}> belongs in test_*.c"
    library = owners(LIBRARIES, name)
    if name == "dlfcn.h" and is_test(path):
        return None  # it opens one as the host does
    if library:
        return only(name, "src", library)
    if is_system(name) or name in EVERYWHERE:
        return None
    return f"<{name}> is not known to tools/layers.py"


def check(root):
    """Every violation under root, as "FILE:LINE: what"."""
    found = []
    for top in ("src", "include/berth", "backends", *COMPILED_IN):
        for path in sorted((root / top).rglob("*")):
            if path.suffix not in SOURCES or not path.is_file():
                continue
            inside = path.relative_to(root / top)
            folder = inside.parts[0] if len(inside.parts) > 1 else ""
            if top == "src" and (folder not in LEVEL and (folder or path.name != TOP)):
                found.append(f"{path.relative_to(root)}:1: is in no layer")
                continue
            for number, bracket, name in includes(path):
                if top == "src":
                    wrong = wrong_in_src(path, folder, bracket, name)
                elif top in COMPILED_IN:
                    wrong = wrong_in_compiled_in(top, path, bracket, name)
                elif top == "backends":
                    wrong = wrong_in_backend(root, path, folder, bracket, name)
                else:
                    wrong = wrong_in_abi(name)
                if wrong:
                    found.append(f"{path.relative_to(root)}:{number}: {wrong}")
    return found


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parents[1])
    if not (root / "src").is_dir():
        sys.exit(f"layers: {root} has no src/")
    found = check(root)
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
