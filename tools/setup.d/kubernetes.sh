# shellcheck shell=bash disable=SC2154 # $here comes from tools/setup
# Real Kubernetes servers for the tests: API server, controller manager, scheduler, etcd, and kwok in
# place of kubelets.  There are no packages of them, so they are built from their Go modules, all in
# one build, as most of the code is the same.  kubernetes/go.mod and go.sum pin and hash every module.

apt_kubernetes() {
    echo openssl
    command -v kubectl >/dev/null || echo kubernetes-client
    [ -n "$(go_program)" ] || echo golang-1.19-go
}

setup_kubernetes() {
    local d="$here/setup.d/kubernetes"
    step kubernetes "$(cat "$d/go.mod" "$d/go.sum") $GO_TOOLCHAIN_PIN 1" \
        kubernetes/{etcd,kube-apiserver,kube-controller-manager,kube-scheduler,kwok}
    step test-helm "$HELM_PIN $HELM_SUM $GO_TOOLCHAIN_PIN 1" tools/helm
}

# Nothing of Go's is left behind, and no toolchain comes by itself.
kube_go() {
    env GOTOOLCHAIN=local GOFLAGS="-modcacherw -trimpath -buildvcs=false -mod=mod" GOWORK=off \
        GOPATH="$TMP/gopath" GOCACHE="$TMP/gocache" CGO_ENABLED=0 timeout 3600 "$KUBE_GO" "$@"
}

# KUBE_GO: the machine's Go when it is new enough, else Go as a module of its own proxy: Debian 12's
# is too old for Kubernetes, and can fetch that.
kube_go_open() {
    KUBE_GO="$(go_program)"
    local minor json root
    minor="$("$KUBE_GO" version | sed -nE 's/^go version go1\.([0-9]+).*/\1/p')"
    [ "${minor:-0}" -lt "$GO_MINOR_LEAST" ] || return 0
    # In a folder of its own: an old Go does not read the servers' go.mod.
    mkdir -p "$TMP/toolchain"
    printf 'module toolchain\n' >"$TMP/toolchain/go.mod"
    json="$(cd "$TMP/toolchain" && kube_go mod download -json "golang.org/toolchain@$GO_TOOLCHAIN_PIN" \
        2>"$TMP/log")" || { tail -n 5 "$TMP/log" >&2; die "go: a newer Go cannot be had"; }
    grep -qF "\"$GO_TOOLCHAIN_SUM\"" <<<"$json" ||
        die "go: $GO_TOOLCHAIN_PIN is not what it was when it was chosen"
    root="$(sed -n 's/.*"Dir": "\(.*\)".*/\1/p' <<<"$json")"
    # A module may hold no go.mod but its own and no program; Go itself mends both when it unpacks one.
    chmod -R +x "$root/bin" "$root/pkg/tool"
    local f
    for f in src src/cmd; do
        [ ! -f "$root/$f/_go.mod" ] || cp "$root/$f/_go.mod" "$root/$f/go.mod"
    done
    KUBE_GO="$root/bin/go"
}

step_kubernetes() {
    local started=$SECONDS d="$TMP/kubernetes" version minor v=k8s.io/component-base/version kwok
    say "building Kubernetes' servers from source: some 600 MB fetched, some 17 minutes of one core"
    kube_go_open
    mkdir -p "$d" "$TMP/out"
    cp "$here/setup.d/kubernetes/go.mod" "$here/setup.d/kubernetes/go.sum" "$d/"
    cd "$d" || die "cannot enter $d"
    version="$(sed -n 's/.*k8s.io\/kubernetes \(v[0-9.]*\)$/\1/p' go.mod)"
    minor="$(cut -d. -f2 <<<"$version")"
    # kwok is written for an earlier client library, of which one name is gone: its value stays.
    kwok="$(kube_go mod download -json sigs.k8s.io/kwok 2>"$TMP/log" | sed -n 's/.*"Dir": "\(.*\)",*/\1/p')"
    [ -n "$kwok" ] || { tail -n 5 "$TMP/log" >&2; die "go: kwok cannot be had"; }
    cp -r "$kwok" kwok
    sed -i 's/metav1\.InitialEventsListBlueprintAnnotationKey/"kubernetes.io\/initial-events-list-blueprint"/' \
        kwok/pkg/utils/informer/informer.go
    kube_go mod edit -replace=sigs.k8s.io/kwok=./kwok
    kube_go build -o "$TMP/out/" \
        -ldflags "-s -w -X $v.gitVersion=$version -X $v.gitMajor=1 -X $v.gitMinor=$minor" \
        k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kube-controller-manager \
        k8s.io/kubernetes/cmd/kube-scheduler \
        go.etcd.io/etcd/server/v3 sigs.k8s.io/kwok/cmd/kwok >"$TMP/log" 2>&1 ||
        { grep -v '^go: downloading' "$TMP/log" | tail -n 5 >&2; die "go: Kubernetes' servers cannot be built"; }
    cmp -s go.sum "$here/setup.d/kubernetes/go.sum" || die "go: go.sum lacks what was built"
    cd "$here" || die "cannot enter $here"
    mv "$TMP/out/server" "$TMP/out/etcd" # Go names a program after its folder
    rm -rf "$TMP/gocache" "$TMP/gopath" "$d"
    say "built Kubernetes' servers: $(size_of "$TMP/out") ($((SECONDS - started)) s)"
    put kubernetes
}

# In a module of its own: the servers' versions of what both need are not helm's.
step_test_helm() {
    local started=$SECONDS
    say "building helm $HELM_PIN from source: some 3 minutes of one core"
    kube_go_open
    mkdir -p "$TMP/helm"
    printf 'module helm.test\n' >"$TMP/helm/go.mod"
    (cd "$TMP/helm" && kube_go get "$HELM_MODULE/cmd/helm@$HELM_PIN" &&
        kube_go build -o "$TMP/out" -ldflags "-s -w" "$HELM_MODULE/cmd/helm") >"$TMP/log" 2>&1 ||
        { grep -v '^go: downloading' "$TMP/log" | tail -n 5 >&2; die "go: helm cannot be built"; }
    "$KUBE_GO" version -m "$TMP/out" | grep -qF "$HELM_SUM" ||
        die "go: helm $HELM_PIN is not what it was when it was chosen"
    rm -rf "$TMP/gocache" "$TMP/gopath" "$TMP/helm"
    say "built helm: $(size_of "$TMP/out") ($((SECONDS - started)) s)"
    put tools/helm
}
