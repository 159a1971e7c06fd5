# shellcheck shell=bash
# What bench/run measures with: h2load.  bench/peers builds the servers to compare with.

apt_bench() { echo nghttp2-client; }
setup_bench() { :; }
