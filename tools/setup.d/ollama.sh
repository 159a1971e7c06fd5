# shellcheck shell=bash disable=SC2154 # $here comes from tools/setup
# A real Ollama server for the tests, which have it make models of a file and pull them from a registry
# of their own.  There is no package of it, so it is built from its Go module, of a version whose engine
# for processors needs cgo alone.  ollama/go.mod and go.sum pin and hash every module.

apt_ollama() {
    echo g++
    [ -n "$(go_program)" ] || echo golang-1.19-go
}

# Its engine is compiled for what this machine's processor can do: without, it is four times slower.
ollama_flags() {
    local flag flags="-O2"
    for flag in avx avx2 fma f16c; do
        ! grep -qw "$flag" /proc/cpuinfo || flags+=" -m$flag"
    done
    echo "$flags"
}

setup_ollama() {
    local d="$here/setup.d/ollama"
    step ollama "$(cat "$d/go.mod" "$d/go.sum") $GO_TOOLCHAIN_PIN $(ollama_flags) 1" tools/ollama
}

step_ollama() {
    local started=$SECONDS d="$TMP/ollama" version flags
    version="$(sed -n 's/.*\/ollama v\([0-9.]*\)$/\1/p' "$here/setup.d/ollama/go.mod")"
    flags="$(ollama_flags)"
    say "building Ollama $version from source: some 80 MB fetched, some 5 minutes of one core"
    kube_go_open
    mkdir -p "$d"
    cp "$here/setup.d/ollama/go.mod" "$here/setup.d/ollama/go.sum" "$d/"
    cd "$d" || die "cannot enter $d"
    env GOTOOLCHAIN=local GOFLAGS="-modcacherw -trimpath -buildvcs=false -mod=mod" GOWORK=off \
        GOPATH="$TMP/gopath" GOCACHE="$TMP/gocache" CGO_ENABLED=1 CGO_CFLAGS="$flags" \
        CGO_CXXFLAGS="$flags" timeout 3600 "$KUBE_GO" build -o "$TMP/out" \
        -ldflags "-s -w -X github.com/ollama/ollama/version.Version=$version" \
        github.com/ollama/ollama >"$TMP/log" 2>&1 ||
        { grep -v '^go: downloading' "$TMP/log" | tail -n 5 >&2; die "go: Ollama cannot be built"; }
    cmp -s go.sum "$here/setup.d/ollama/go.sum" || die "go: go.sum lacks what was built"
    cd "$here" || die "cannot enter $here"
    rm -rf "$TMP/gocache" "$TMP/gopath" "$d"
    say "built Ollama: $(size_of "$TMP/out") ($((SECONDS - started)) s)"
    put tools/ollama
}
