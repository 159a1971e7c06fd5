# Berth's short commands; Meson and Ninja do the work.  `make help` lists them.
CACHE := $(or $(BERTH_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/berth)
BUILD := build
MESON_ARGS := -Ddeps_dir=$(CACHE)/deps -Dllama_dir=$(CACHE)/engines/llama \
              -Donnxruntime_dir=$(CACHE)/engines/onnxruntime
PREFIX ?= /usr/local

.DEFAULT_GOAL := all
.PHONY: all build release quickstart check fuzz tidy format bench install clean help

all: ## the program: build/berth, and its backends beside it
	@tools/setup build engines
	@tools/build $(BUILD) $(MESON_ARGS)

build: all ## the same as ./model-serve-shim and in bin/: one stripped file, to be copied anywhere
	@mkdir -p bin
	@strip -o bin/model-serve-shim $(BUILD)/berth
	@ln -sfn ../$(BUILD)/backends bin/backends
	@ln -sfn bin/model-serve-shim model-serve-shim
	@./model-serve-shim --version

release: ## dist/: one stripped program for each architecture, amd64 and arm64, with checksums
	@tools/setup build release
	@tools/release

quickstart: all ## build, fetch a chat model and a classifier, serve them and ask both something
	@tools/setup models
	@tools/quickstart

check: ## install what tests need and run every test; closes with "N passed, N failed"
	@tools/setup all
	@tools/check

fuzz: ## run every fuzzer for 60 seconds (SECONDS_EACH=n to change)
	@tools/setup build engines test
	@tools/fuzz time $(or $(SECONDS_EACH),60)

tidy: ## clang-tidy over our own sources
	@tools/setup build engines test
	@tools/tidy

format: ## clang-format in place
	@tools/setup test
	@git ls-files '*.c' '*.h' '*.cpp' | xargs clang-format -i

bench: all ## measure beside bare engines and other servers (1.5 GB of them); a table for each workload
	@tools/setup models bench
	@bench/peers
	@bench/run

install: all ## to PREFIX (/usr/local), DESTDIR respected
	@DESTDIR=$(DESTDIR) tools/install $(BUILD) $(PREFIX)

clean: ## remove what was built; the cache outside the tree stays
	rm -rf build build-* bin dist model-serve-shim

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14
