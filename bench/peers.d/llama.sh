#!/usr/bin/env bash
# Builds llama-server and llama-bench for bench/run to compare with.  They are linked with the very
# libraries that the llama backend uses, so only the programs themselves are compiled: from the
# sources that tools/setup has fetched, into the cache.  Takes 5 to 10 minutes on one core.
# usage: bench/peers llama
set -euo pipefail
cache=${BERTH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/berth}
out=$cache/peers/llama engine=$cache/engines/llama
if [ -x "$out/llama-server" ] && [ -x "$out/llama-bench" ]; then
    echo "$out is there already"
    exit 0
fi
bundle=$(ls "$cache"/fetched/node-llama-cpp_*/*.tgz)
mkdir -p "$out/obj"
if [ ! -d "$out/src/tools/server" ]; then
    tar xzf "$bundle" -C "$out" --strip-components=2 package/llama/gitRelease.bundle
    git clone -q "$out/gitRelease.bundle" "$out/src" 2>/dev/null
fi
src=$out/src
# What the build system would make of the web page when there is none.
sed -e 's/@N_ASSETS@/0/' -e '/cmakedefine/d' "$src/tools/ui/ui.h.in" >"$out/obj/ui.h"
cat >"$out/obj/ui.cpp" <<'END'
#include "ui.h"

const llama_ui_asset *llama_ui_find_asset(const std::string &) { return nullptr; }
bool llama_ui_use_gzip() { return false; }
const std::array<llama_ui_asset, 0> &llama_ui_get_assets()
{
    static const std::array<llama_ui_asset, 0> none{};
    return none;
}
END
flags=(-std=c++17 -O2 -w -DNDEBUG -D_GNU_SOURCE -I"$out/obj" -I"$src" -I"$src/include" -I"$src/ggml/include"
    -I"$src/common" -I"$src/vendor" -I"$src/tools/mtmd" -I"$src/tools/server" -I"$src/vendor/hash" -DGGML_BACKEND_DL
    -DLLAMA_SHARED -DGGML_SHARED -DGGML_BACKEND_SHARED)
libs=(-L"$engine/lib" -lllama-common -lllama -lggml -lggml-base -pthread -ldl "-Wl,-rpath,$engine/lib")

object() { # SOURCE: the path of its object
    echo "$out/obj/$(echo "${1#"$src/"}" | tr / _ | sed 's/^_//').o"
}
compile() { # SOURCE...: objects that are not newer than their source
    for f in "$@"; do
        o=$(object "$f")
        [ "$o" -nt "$f" ] && continue
        echo "compiling ${f#"$src/"}"
        case $f in
        *.c) gcc -O2 -w -I"$src/vendor/hash" -c "$f" -o "$o" ;;
        *) g++ "${flags[@]}" -c "$f" -o "$o" ;;
        esac
    done
}
objects() {
    for f in "$@"; do object "$f"; done
}

# The engine looks for its processor kernels beside the program.
ln -sf "$engine"/lib/libggml-cpu-*.so "$out/"
bench=("$src"/tools/llama-bench/*.cpp)
compile "${bench[@]}"
mapfile -t o < <(objects "${bench[@]}")
g++ "${o[@]}" "${libs[@]}" -o "$out/llama-bench"
server=("$src"/tools/server/*.cpp "$src"/tools/mtmd/{clip,mtmd,mtmd-audio,mtmd-image,mtmd-helper,mtmd-helper-gen}.cpp
    "$src"/tools/mtmd/models/*.cpp "$out/obj/ui.cpp" "$src"/vendor/{cpp-httplib/httplib,hash/hash}.cpp
    "$src"/vendor/hash/sha256/sha256.c)
compile "${server[@]}"
mapfile -t o < <(objects "${server[@]}")
g++ "${o[@]}" "${libs[@]}" -o "$out/llama-server"
echo "$out: llama-server and llama-bench"
