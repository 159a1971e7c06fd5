# shellcheck shell=bash disable=SC2154 # $here comes from tools/setup
# What the tests need beyond the program's own build.

apt_test() {
    printf '%s\n' libcmocka-dev clang clang-format clang-tidy libclang-rt-14-dev llvm \
        python3 python3-venv ca-certificates curl
}

setup_test() {
    step test-python "$(cat "$here/requirements-test.txt") 1" venv/bin/pytest
}

step_test_python() {
    venv_install "$here/requirements-test.txt"
}
