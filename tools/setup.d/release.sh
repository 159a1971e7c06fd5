# shellcheck shell=bash disable=SC2154 # $here comes from tools/setup
# What a release for another architecture is built with: Debian's cross compiler, Debian's own static
# libraries for that architecture, unpacked into a folder, and curl built with them.

apt_release() {
    printf '%s\n' gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static file
}

RELEASE_PACKAGES="libuv1-dev libnghttp2-dev libssl-dev libsqlite3-dev libyaml-dev zlib1g-dev
    libjpeg62-turbo-dev libpng-dev libprotobuf-c-dev"

setup_release() {
    step cross-arm64 "$RELEASE_PACKAGES 1" cross/arm64/usr/lib/aarch64-linux-gnu/libuv_a.a
    step cross-arm64-curl "${CURL_OPTIONS[*]} 1" cross/arm64-deps/curl/lib/libcurl.a
}

step_cross_arm64() {
    local root="$TMP/apt-arm64" deb of=(-o APT::Architecture=arm64 -o APT::Architectures=arm64)
    mkdir -p "$root/lists/partial" "$root/cache/archives/partial" "$TMP/debs" "$TMP/out"
    apt_sources "$(. /etc/os-release && echo "$VERSION_CODENAME")" deb >"$root/suite.sources"
    apt_run "$root" update -qq "${of[@]}" || die "apt: the lists for arm64 cannot be had"
    # shellcheck disable=SC2086 # several words are meant
    (cd "$TMP/debs" && apt_run "$root" download "${of[@]}" $RELEASE_PACKAGES) ||
        die "apt: a library for arm64 cannot be had"
    for deb in "$TMP"/debs/*.deb; do
        dpkg-deb -x "$deb" "$TMP/out"
    done
    find "$TMP/out" -name '*.so' -delete # what they lead to is not here
    rm -rf "$TMP/debs" "$TMP/out/usr/share"
    put cross/arm64
}

step_cross_arm64_curl() {
    local sys="$CACHE/cross/arm64/usr" lib log="$TMP/curl.log" tree
    lib="$sys/lib/aarch64-linux-gnu"
    mkdir -p "$TMP/curl" "$TMP/out"
    (cd "$TMP/curl" && apt_suite source source curl) || die "apt: the source of curl cannot be had"
    tree="$(find "$TMP/curl" -mindepth 1 -maxdepth 1 -type d -name 'curl-*' -print -quit)"
    [ -n "$tree" ] || die "curl: its source was not unpacked"
    say "building curl for arm64, a minute"
    if ! (cd "$tree" && ./configure --host=aarch64-linux-gnu --prefix="$TMP/out" "${CURL_OPTIONS[@]}" \
        CPPFLAGS="-isystem $sys/include -isystem $sys/include/aarch64-linux-gnu" LDFLAGS="-L$lib" \
        PKG_CONFIG_LIBDIR="$lib/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$CACHE/cross/arm64" LIBS="-ldl -lpthread" &&
        make -s -j"$(nproc)" -C lib install && make -s -C include install) >"$log" 2>&1; then
        tail -n 15 "$log" >&2
        die "curl: its build for arm64 failed"
    fi
    rm -rf "$TMP"/out/lib/pkgconfig "$TMP"/out/lib/*.la "$TMP/out/bin" "$TMP/out/share"
    cp "$tree/COPYING" "$TMP/out/LICENSE"
    put cross/arm64-deps/curl
}
