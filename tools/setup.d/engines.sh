# shellcheck shell=bash
# The engines as shared libraries with their headers.  Nothing of llama.cpp is compiled: its
# prebuilt libraries come with one build per CPU kind, chosen while running.

apt_engines() {
    printf '%s\n' ca-certificates git python3 python3-venv tar unzip
}

setup_engines() {
    [ "$(uname -m)" = x86_64 ] || die "engines: the pinned libraries are for x86_64, this is $(uname -m)"
    step engine-llama "$LLAMA_PIN $LLAMA_SHA256 $LLAMA_LIB_SHA256 2" \
        engines/llama/lib/libllama.so engines/llama/lib/libllama-common.so \
        engines/llama/include/llama.h engines/llama/include/common/chat.h
    step engine-onnxruntime "$ONNXRUNTIME_PIN $ONNXRUNTIME_SHA256 $ONNXRUNTIME_DEV_SHA256 1" \
        engines/onnxruntime/lib/libonnxruntime.so engines/onnxruntime/include/onnxruntime_c_api.h
}

step_engine_llama() {
    local out="$TMP/out" src="$TMP/llama" tag
    mkdir -p "$out/lib" "$out/include" "$src"
    npm_tarball "$LLAMA_LIB_PIN" "$LLAMA_LIB_SHA256"
    tar xzf "$FILE" -C "$out/lib" --strip-components=3 package/bins/linux-x64
    npm_tarball "$LLAMA_PIN" "$LLAMA_SHA256"
    tar xzf "$FILE" -C "$src" --strip-components=2 \
        package/llama/gitRelease.bundle package/llama/llama.cpp.info.json

    # Headers and libraries must be of one release: the C structs have no version of their own.
    tag="$(sed -n 's/.*"tag": "\([^"]*\)".*/\1/p' "$src/llama.cpp.info.json")"
    grep -q "\"release\":\"$tag\"" "$out/lib/_nlcBuildMetadata.json" ||
        die "llama.cpp: headers of $tag, libraries of another release"
    git clone -q --no-checkout "$src/gitRelease.bundle" "$src/git" 2>/dev/null ||
        die "llama.cpp: the git bundle cannot be read"
    git -C "$src/git" archive HEAD include ggml/include common vendor/nlohmann LICENSE | tar x -C "$src"
    cp "$src"/include/*.h "$src"/ggml/include/*.h "$out/include/"
    # Under common/, as upstream has it: their names (log.h, json.h) are too general for one path.
    (cd "$src" && find common -name '*.h' -print0 | tar c --null -T -) | tar x -C "$out/include"
    cp -r "$src/vendor/nlohmann" "$out/include/"
    cp "$src/LICENSE" "$out/"
    rm -f "$out/lib/llama-addon.node"
    ln -s "libllama.$tag.so" "$out/lib/libllama.so"
    ln -s "libggml.$tag.so" "$out/lib/libggml.so"
    echo "$tag" >"$out/VERSION"
    put engines/llama
}

step_engine_onnxruntime() {
    local out="$TMP/out" version=${ONNXRUNTIME_PIN#*==}
    mkdir -p "$out/lib" "$TMP/ort-dev"
    pypi "$ONNXRUNTIME_PIN" "$ONNXRUNTIME_SHA256" --only-binary :all:
    unzip -qjo "$FILE" 'onnxruntime/capi/libonnxruntime.so*' onnxruntime/LICENSE -d "$out/lib"
    mv "$out/lib/LICENSE" "$out/"
    ln -s "libonnxruntime.so.$version" "$out/lib/libonnxruntime.so.1"
    ln -s libonnxruntime.so.1 "$out/lib/libonnxruntime.so"

    suite_deb "$ONNXRUNTIME_DEV_SUITE" "$ONNXRUNTIME_DEV_PIN" "$ONNXRUNTIME_DEV_SHA256"
    dpkg-deb -x "$FILE" "$TMP/ort-dev"
    cp -r "$TMP/ort-dev/usr/include/onnxruntime" "$out/include"
    echo "$version" >"$out/VERSION"
    put engines/onnxruntime
}

# suite_deb SUITE PIN SHA256: one package file of another suite, kept in the cache, not installed.
suite_deb() {
    local suite=$1 pin=$2 sha=$3 started=$SECONDS dir
    dir="$CACHE/fetched/${pin//[=@\/]/_}"
    FILE="$(kept "$dir")"
    if [ -z "$FILE" ]; then
        mkdir -p "$TMP/deb"
        (cd "$TMP/deb" && apt_suite "$suite" download "$pin") || die "apt: $pin of $suite cannot be had"
        rm -rf "$dir"
        mv "$TMP/deb" "$dir"
        FILE="$(kept "$dir")"
        say "fetched $pin: $(size_of "$FILE") ($((SECONDS - started)) s)"
    fi
    check_sha256 "$FILE" "$sha"
}
