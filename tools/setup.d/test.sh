# shellcheck shell=bash disable=SC2154 # $here comes from tools/setup
# What the tests need beyond the program's own build.

apt_test() {
    printf '%s\n' libcmocka-dev clang clang-format clang-tidy libclang-rt-14-dev llvm \
        python3 python3-venv ca-certificates curl
    [ -n "$(go_program)" ] || echo golang-1.19-go
}

setup_test() {
    step test-python "$(cat "$here/requirements-test.txt") 1" venv/bin/pytest
    step test-grpcurl "$GRPCURL_PIN $GRPCURL_SUM 1" tools/grpcurl
}

step_test_python() {
    venv_install "$here/requirements-test.txt"
}

# Any Go from 1.19 on; Debian's package of one version has no link in /usr/bin.
go_program() { command -v go || ls /usr/lib/go-1.19/bin/go 2>/dev/null || true; }

step_test_grpcurl() {
    local go
    go="$(go_program)"
    say "building grpcurl $GRPCURL_PIN, a minute"
    # What is downloaded must be deletable, and no other toolchain is fetched.
    env GOTOOLCHAIN=local GOFLAGS="-modcacherw -trimpath" GOPATH="$TMP/gopath" GOCACHE="$TMP/gocache" \
        GOBIN="$TMP/gobin" CGO_ENABLED=0 timeout "$TIMEOUT_S" \
        "$go" install -ldflags="-s -w" "$GRPCURL_MODULE/cmd/grpcurl@$GRPCURL_PIN" >"$TMP/log" 2>&1 ||
        { tail -n 5 "$TMP/log" >&2; die "go: grpcurl cannot be built"; }
    "$go" version -m "$TMP/gobin/grpcurl" | grep -qF "$GRPCURL_SUM" ||
        die "go: grpcurl $GRPCURL_PIN is not what it was when it was chosen"
    mv "$TMP/gobin/grpcurl" "$TMP/out"
    put tools/grpcurl
}
