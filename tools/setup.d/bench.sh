# shellcheck shell=bash
# What bench/run measures with: the program itself.  bench/peers installs the servers to compare with.

apt_bench() { :; }
setup_bench() { :; }
