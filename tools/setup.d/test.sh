# shellcheck shell=bash disable=SC2154 # $here comes from tools/setup
# What the tests need beyond the program's own build.

apt_test() {
    printf '%s\n' libcmocka-dev clang clang-format clang-tidy libclang-rt-14-dev llvm \
        python3 python3-venv ca-certificates curl iproute2
    [ -n "$(go_program)" ] || echo golang-1.19-go
}

setup_test() {
    step test-python "$(cat "$here/requirements-test.txt") 1" venv/bin/pytest
    step test-grpcurl "$GRPCURL_PIN $GRPCURL_SUM 1" tools/grpcurl
    step test-docker "$DOCKER_PACKAGES 1" tools/docker/bin/dockerd tools/docker/bin/runc
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

# A Docker daemon that tests start themselves: unpacked, not installed, as an installed one would be
# started with the machine and be in the way of another that is there.  Its version is Debian's of
# the day, as apt's signatures vouch for it.
step_test_docker() {
    local out="$TMP/out" suite deb program
    suite="$(. /etc/os-release && echo "$VERSION_CODENAME")"
    say "fetching a Docker daemon for tests, 65 MB"
    mkdir -p "$TMP/debs" "$TMP/docker" "$out/bin" "$out/lib"
    # shellcheck disable=SC2086 # several words are meant
    (cd "$TMP/debs" && apt_suite "$suite" download $DOCKER_PACKAGES) ||
        die "apt: one of $DOCKER_PACKAGES cannot be had"
    for deb in "$TMP"/debs/*.deb; do
        dpkg-deb -x "$deb" "$TMP/docker"
    done
    for program in dockerd docker-proxy containerd containerd-shim-runc-v2 runc; do
        find "$TMP/docker" -type f -name "$program" -perm -u+x -exec cp {} "$out/bin/" \;
    done
    find "$TMP/docker" -name 'libdevmapper.so.*' -exec cp -a {} "$out/lib/" \;
    LD_LIBRARY_PATH="$out/lib" "$out/bin/dockerd" --version >"$out/VERSION" ||
        die "docker: the daemon does not start: a library is missing"
    rm -rf "$TMP/debs" "$TMP/docker"
    put tools/docker
}
