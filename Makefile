# All commands of the project. Each installs what it needs into .venv, once.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TOOLS := .tools/bin
SOURCES := Cargo.toml Cargo.lock pyproject.toml $(shell find src -name '*.rs')

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /|/' | awk -F'|' '{printf "make %-16s %s\n", $$1, $$2}'

.PHONY: demo
demo: $(VENV)/test $(VENV)/built ## train resnet34 on real images with cbs=RustMixUp, and draw a mixed batch (minutes)
	$(BIN)/python examples/train.py

.PHONY: test
test: $(VENV)/test $(VENV)/built check types test-panic ## everything: Rust and Python tests, lints, stubs, the README's snippets
	cargo test --quiet
	$(BIN)/python -m pytest --ignore tests/pages --numprocesses auto --dist worksteal

.PHONY: test-panic
test-panic: $(VENV)/test-core $(VENV)/built ## a panic becomes a RuntimeError, with a library built to panic
	cargo build --quiet --features panics
	MIXUP_RS_PANICS=target/debug/libmixup_rs.so $(BIN)/python -m pytest tests/core/test_panic.py

.PHONY: test-core
test-core: $(VENV)/test-core $(VENV)/built ## the tests that need NumPy alone
	cargo test --quiet
	$(BIN)/python -m pytest tests/core

.PHONY: check
check: $(VENV)/test-core $(VENV)/built ## formatting, lints, and the stubs against the built module
	cargo fmt --check
	cargo clippy --quiet --all-targets -- -D warnings
	cargo clippy --quiet --all-targets --features panics -- -D warnings
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python -m mypy.stubtest mixup_rs._core
	$(BIN)/python tools/stubs.py --check

# Not part of `make check`: it needs the types of torch and fastai, not only those of the core.
.PHONY: types
types: $(VENV)/test $(VENV)/built ## the types of the package and of the tests of the core
	$(BIN)/basedpyright --pythonpath $(BIN)/python

.PHONY: fuzz
fuzz: $(VENV)/test $(VENV)/built ## 100,000 random cases and as many calls of each function; writes docs/reliability.md
	$(BIN)/python tools/fuzz.py docs/reliability/fuzz.json $(FUZZ)
	$(BIN)/python tools/reliability.py docs

.PHONY: dist
dist: $(VENV)/test-core ## build sdist and wheel, and test the wheel with the oldest and the newest NumPy
	rm -rf dist
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/maturin build --release --locked --quiet --sdist --out dist
	$(BIN)/python tools/check_dist.py dist

.PHONY: audit
audit: $(VENV)/audit $(TOOLS)/cargo-deny ## licences, sources and versions of what it is built from; the workflows
	$(TOOLS)/cargo-deny check licenses bans sources
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/bug.yml .github/ISSUE_TEMPLATE/idea.yml
	$(BIN)/zizmor --offline --quiet .github

.PHONY: audit-advisories
audit-advisories: $(VENV)/audit $(TOOLS)/cargo-deny ## known vulnerabilities, from the databases on GitHub and PyPI
	$(TOOLS)/cargo-deny check advisories
	$(BIN)/pip-audit --strict .

# Tests with large batches, or with all 2^24 blends of bytes, take too long under Miri.
LONG := batches_that_are_split bytes_are_within
SKIP_LONG := $(foreach test,$(LONG),--skip $(test))

VALGRIND := valgrind --quiet --error-exitcode=1 --leak-check=full --errors-for-leak-kinds=definite \
  --show-leak-kinds=definite --suppressions=tests/valgrind.supp

.PHONY: valgrind
valgrind: ## the Rust tests under valgrind's memcheck
	cargo test --lib --config 'target."cfg(all())".runner = "$(VALGRIND)"' -- --test-threads=1 --skip batches_that_are_split

# `make valgrind` checks for leaks: its suppressions name the intended one. RUSTC_BOOTSTRAP lets a stable Rust take -Z.
.PHONY: asan
asan: ## the Rust tests under the address sanitizer
	ASAN_OPTIONS=detect_leaks=0 RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address cargo test --lib --target $$(rustc -vV | sed -n 's/^host: //p') \
	    --target-dir target/asan

# Modules whose tests call neither the system nor an instruction that Miri lacks.
MIRI := plan:: random:: grid:: layout::

.PHONY: miri
miri: ## the Rust tests of the pure core under Miri; needs a nightly Rust with miri
	MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test --lib -- $(MIRI) $(SKIP_LONG)

.PHONY: fuzz-rust
fuzz-rust: ## the Rust properties on many more cases: PROPTEST_CASES=100000
	PROPTEST_CASES=$(or $(PROPTEST_CASES),100000) cargo test --lib --test properties

# The limit, in KiB, stops mutants that allocate without end.
.PHONY: mutants
mutants: $(TOOLS)/cargo-mutants ## mutate the core: every mutant must make a test fail (an hour or more)
	ulimit -v 8000000; PATH="$(CURDIR)/$(TOOLS):$$PATH" cargo mutants || [ $$? = 2 -o $$? = 3 ]
	$(PYTHON) tools/mutants.py docs target/mutants.out/outcomes.json
	$(PYTHON) tools/reliability.py docs

.PHONY: bench
bench: $(VENV)/bench $(VENV)/built ## measure against the peers, and write the results to docs/bench under this processor's name
	$(BIN)/python -m mixup_rs bench --out docs/bench

.PHONY: bench-check
bench-check: $(VENV)/built ## hold the results of all processors in docs/bench against what is promised
	$(BIN)/python -m mixup_rs bench --check docs/bench

.PHONY: readme
readme: $(VENV)/test $(VENV)/built ## write the README's tables, its picture, docs/numbers.md, and docs/benchmarks.md with its plots
	$(BIN)/python tools/readme.py docs/bench
	$(BIN)/mixup-rs demo --out docs/mixes.webp

.PHONY: peers
peers: $(VENV)/bench $(VENV)/built ## ask each peer for the features of the README's table, and write docs/peers.json
	$(BIN)/python tools/peers.py
	$(BIN)/python tools/readme.py docs/bench

.PHONY: experiment
experiment: $(VENV)/test $(VENV)/built ## train resnet18 on digits with every rule, for docs/learn (20 minutes)
	$(BIN)/python tools/experiment.py docs/learn/experiment.json

.PHONY: docs
docs: wasm ## build the documentation site, strict, into site/: site/index.html opens without a server
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

.PHONY: hard-cases
hard-cases: $(VENV)/test $(VENV)/built ## write docs/fastai.md: what becomes of the hard cases, with fastai's callbacks and ours
	$(BIN)/python tools/hard_cases.py docs/fastai.md

.PHONY: wasm
wasm: $(VENV)/docs $(VENV)/built ## compile the core for the page docs/explorer; without a compiler for it, draw plans instead
	$(BIN)/python tools/explorer.py

.PHONY: pages
pages: wasm $(VENV)/pages ## test the page docs/explorer, in Node and in a headless Chromium; screenshots go to screenshots/
	$(BIN)/python -m pytest tests/pages

.PHONY: fmt
fmt: $(VENV)/test-core ## format all sources
	cargo fmt
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format --quiet .

.PHONY: clean
clean: ## remove what was built and installed
	rm -rf $(VENV) .tools target demo dist screenshots site docs/explorer/built python/mixup_rs/*.so

$(VENV)/created:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	touch $@

$(VENV)/test-core $(VENV)/test $(VENV)/docs $(VENV)/pages $(VENV)/bench $(VENV)/audit: $(VENV)/%: $(VENV)/created pyproject.toml
	$(BIN)/python -m pip install --quiet --group $*
	touch $@

$(TOOLS)/%:
	cargo install --quiet --locked --root .tools $*

$(VENV)/built: $(VENV)/test-core $(SOURCES)
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/maturin develop --release --quiet
	touch $@
