# shellcheck shell=bash
# What the program itself is built from: Debian's packages, and three C libraries that Debian 12
# does not have in the form needed.

apt_build() {
    printf '%s\n' gcc g++ libc6-dev make meson ninja-build pkg-config \
        ca-certificates curl git tar unzip xz-utils python3 python3-venv dpkg-dev \
        libuv1-dev libnghttp2-dev libssl-dev libsqlite3-dev libyaml-dev zlib1g-dev \
        libjpeg62-turbo-dev libpng-dev uthash-dev libprotobuf-c-dev protobuf-c-compiler
}

setup_build() {
    step deps-yyjson "$YYJSON_PIN $YYJSON_SHA256 1" deps/yyjson/yyjson.c deps/yyjson/yyjson.h
    step deps-llhttp "$LLHTTP_PIN $LLHTTP_SHA256 1" \
        deps/llhttp/llhttp.c deps/llhttp/api.c deps/llhttp/http.c deps/llhttp/llhttp.h
    step deps-curl "${CURL_OPTIONS[*]} 1" deps/curl/lib/libcurl.a deps/curl/include/curl/curl.h
}

step_deps_yyjson() {
    pypi "$YYJSON_PIN" "$YYJSON_SHA256" --no-binary yyjson
    mkdir "$TMP/yyjson" "$TMP/out"
    tar xzf "$FILE" -C "$TMP/yyjson" --strip-components=1
    cp "$TMP"/yyjson/yyjson/yyjson.[ch] "$TMP/out/"
    put deps/yyjson
}

step_deps_llhttp() {
    pypi "$LLHTTP_PIN" "$LLHTTP_SHA256" --no-binary httptools
    mkdir "$TMP/llhttp" "$TMP/out"
    tar xzf "$FILE" -C "$TMP/llhttp" --strip-components=1
    cp "$TMP"/llhttp/vendor/llhttp/src/*.c "$TMP"/llhttp/vendor/llhttp/include/llhttp.h \
        "$TMP"/llhttp/vendor/llhttp/LICENSE "$TMP/out/"
    put deps/llhttp
}

# Debian's static libcurl needs Kerberos and LDAP, which have no static form.  The same source
# with HTTP alone needs only what the program links anyway.
CURL_OPTIONS=(
    --disable-shared --enable-static --disable-dependency-tracking --disable-manual
    --with-openssl --with-nghttp2 --with-zlib
    --with-ca-bundle=/etc/ssl/certs/ca-certificates.crt --with-ca-path=/etc/ssl/certs
    --enable-unix-sockets
    --disable-dict --disable-file --disable-ftp --disable-gopher --disable-imap --disable-ldap
    --disable-ldaps --disable-mqtt --disable-pop3 --disable-rtsp --disable-smb --disable-smtp
    --disable-telnet --disable-tftp --disable-ntlm --disable-tls-srp
    --without-brotli --without-gssapi --without-libidn2 --without-libpsl --without-librtmp
    --without-libssh2 --without-zstd
)

step_deps_curl() {
    local src="$TMP/curl" log="$TMP/curl.log" started=$SECONDS tree
    mkdir "$src" "$TMP/out"
    (cd "$src" && apt_suite source source curl) || die "apt: the source of curl cannot be had"
    tree="$(find "$src" -mindepth 1 -maxdepth 1 -type d -name 'curl-*' -print -quit)"
    [ -n "$tree" ] || die "curl: its source was not unpacked"
    say "fetched curl $(sed -n '1s/.*(\(.*\)).*/\1/p' "$tree/debian/changelog"):" \
        "$(cat "$src"/*.tar.* | wc -c | numfmt --to=iec) ($((SECONDS - started)) s); building it, a minute or two"
    if ! (cd "$tree" && ./configure --prefix="$TMP/out" "${CURL_OPTIONS[@]}" &&
        make -s -j"$(nproc)" -C lib install && make -s -C include install) >"$log" 2>&1; then
        tail -n 15 "$log" >&2
        die "curl: its build failed"
    fi
    rm -rf "$TMP"/out/lib/pkgconfig "$TMP"/out/lib/*.la "$TMP/out/bin" "$TMP/out/share"
    cp "$tree/COPYING" "$TMP/out/LICENSE"
    sed -n '1s/.*(\(.*\)).*/\1/p' "$tree/debian/changelog" >"$TMP/out/VERSION"
    put deps/curl
}
