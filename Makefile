# Holdfast: `make demo` shows it, `make test` tests it. `make help` names the rest.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# rustup puts its tools here, and not every shell looks.
export PATH := $(PATH):$(HOME)/.cargo/bin

VENV := .venv
BIN := $(VENV)/bin
TESTS ?= tests
# Two a core: a test mostly waits, for ledgers to close and for workers to start.
WORKERS ?= 4

LEDGER := localnet/ledger
LEDGER_BINARY := $(LEDGER)/target/release/holdfast-ledger
LEDGER_SOURCES := $(wildcard $(LEDGER)/Cargo.toml $(LEDGER)/Cargo.lock) $(shell find $(LEDGER)/src -name '*.rs' 2>/dev/null)

# The first Python that is new enough; PYTHON=... chooses another.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14; do \
	if $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then echo $$p; break; fi; done)

# uv reads neither pip's environment nor its configuration: pass on what pip was told of mirrors and certificates.
ifneq ($(PIP_INDEX_URL),)
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif
ifneq ($(PIP_CERT),)
export SSL_CERT_FILE ?= $(PIP_CERT)
endif
# Trust what the machine trusts, as pip does; the first is what older versions of uv call it.
export UV_NATIVE_TLS ?= 1
export UV_SYSTEM_CERTS ?= 1
# A slow mirror is no reason to fail.
export UV_HTTP_TIMEOUT ?= 180
# uv of the machine where there is one that runs, else one of our own.
UV = $(shell if uv --version >/dev/null 2>&1; then echo uv; else echo var/uv/bin/uv; fi)


.PHONY: help
help: ## Show this.
	@echo "Holdfast. In a fresh clone, begin with: make demo"
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

# What is needed and is not ours to install. Each is named with how to get it.

.PHONY: prerequisites
prerequisites:
	@if [ -z "$(PYTHON)" ]; then \
		echo "make: Python 3.11 or newer is missing. Get it: apt-get install python3 python3-venv, or https://www.python.org/downloads/" >&2; \
		exit 1; fi
	@command -v cc >/dev/null 2>&1 || command -v gcc >/dev/null 2>&1 || command -v clang >/dev/null 2>&1 || { \
		echo "make: a C compiler is missing. Get it: apt-get install build-essential (macOS: xcode-select --install)" >&2; \
		exit 1; }
	@for tool in cargo rustc; do $$tool --version >/dev/null 2>&1 || { \
		echo "make: $$tool is missing. Get it: https://rustup.rs (curl --proto '=https' -sSf https://sh.rustup.rs | sh)" >&2; \
		exit 1; }; done

# The environment: every package pinned by hash, then the project itself, built from that same set.

.PHONY: env
env: $(VENV)/.made ## Make the Python environment.

$(VENV)/.made: requirements.lock pyproject.toml | prerequisites
	@mkdir -p var
	@if [ "$(UV)" = var/uv/bin/uv ] && [ ! -x var/uv/bin/uv ]; then \
		echo "==> uv"; \
		$(PYTHON) -m venv var/uv || { \
			echo "make: Python's venv module is missing. Get it: apt-get install python3-venv" >&2; exit 1; }; \
		var/uv/bin/pip install --quiet --disable-pip-version-check 'uv>=0.7'; fi
	@echo "==> Python packages"
	@[ -x $(BIN)/python ] || $(UV) venv --quiet --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(VENV)
	@VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet --require-hashes -r requirements.lock
	@VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet --no-deps --no-build-isolation --offline -e .
	@touch $@

# The local KMS in an environment of its own, since it needs an older botocore than ours.

KMS := var/kms-env

.PHONY: kms
kms: $(KMS)/.made ## Install the local KMS, for `holdfast up --signer kms`.

$(KMS)/.made: localnet/kms/requirements.lock | $(VENV)/.made
	@echo "==> The local KMS"
	@[ -x $(KMS)/bin/python ] || $(UV) venv --quiet --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(KMS)
	@VIRTUAL_ENV=$(KMS) $(UV) pip install --quiet --require-hashes -r localnet/kms/requirements.lock
	@touch $@

# SoftHSM, for `holdfast up --signer pkcs11` and the tests: a package of the system, so only root gets it by itself.

.PHONY: softhsm
softhsm:
	@command -v softhsm2-util >/dev/null 2>&1 || { \
		if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
			echo "==> SoftHSM"; \
			{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends softhsm2; } \
				>/dev/null || echo "    (apt-get did not install softhsm2)"; \
		else \
			echo "    (no SoftHSM here, so nothing signs by PKCS#11. Get it: apt-get install softhsm2, brew install softhsm)"; \
		fi; }

.PHONY: ledger
ledger: $(LEDGER_BINARY) ## Build the local ledger.

$(LEDGER_BINARY): $(LEDGER_SOURCES) | prerequisites
	@echo "==> The local ledger (some minutes the first time)"
	@cd $(LEDGER) && cargo build --quiet --release --locked --bin holdfast-ledger
	@touch $@

# What one came for.

.PHONY: demo
demo: ## Start everything and play the guide's two payments; ONCE=1 leaves after the table.
	@$(MAKE) -j2 env ledger kms softhsm # packages come over the network while the ledger is built
	@$(BIN)/holdfast demo $(if $(filter-out 0,$(ONCE)),--once)

.PHONY: up
up: ## Start everything, and stay up until Ctrl-C; SIGNER=kms, pkcs11 or external signs payouts otherwise.
	@$(MAKE) -j2 env ledger $(if $(filter kms,$(SIGNER)),kms) $(if $(filter pkcs11,$(SIGNER)),softhsm)
	@$(BIN)/holdfast up $(if $(SIGNER),--signer $(SIGNER))

.PHONY: test
test: test-contracts test-ledger test-python ## Run the whole suite on real parts.

.PHONY: test-contracts
test-contracts: prerequisites
	@echo "==> Contracts"
	@cd contracts && cargo test --quiet --locked

.PHONY: test-ledger
test-ledger: ledger
	@echo "==> Ledger"
	@cd $(LEDGER) && cargo test --quiet --release --locked

.PHONY: test-python
test-python: env ledger kms softhsm
	@echo "==> Python"
	@command -v node >/dev/null 2>&1 || echo "    (no Node here: the JavaScript SDK's tests skip)"
	@$(BIN)/pytest -n $(WORKERS) --dist worksteal $(TESTS)

.PHONY: check
check: env check-python check-rust check-files ## Lint, types, layers, generated docs, wasm and lock.

.PHONY: check-python
check-python: env
	@echo "==> ruff, mypy, import-linter"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-timing 2>/dev/null || $(BIN)/lint-imports

.PHONY: check-rust
check-rust: prerequisites
	@echo "==> rustfmt, clippy"
	@for workspace in contracts $(LEDGER); do \
		(cd $$workspace && cargo fmt --all -- --check && \
		cargo clippy --quiet --locked --all-targets -- -D warnings); done

.PHONY: check-files
check-files: env
	@echo "==> generated pages, wasm, lock, compose file"
	@$(BIN)/python -m cli.docs check
	@cd contracts/wasm && sha256sum --check --quiet SHA256SUMS
	@mkdir -p var && cp requirements.lock var/requirements.lock
	@$(UV) pip compile $(LOCK_OPTIONS) -o var/requirements.lock pyproject.toml
	@cmp requirements.lock var/requirements.lock || { echo "requirements.lock is out of date: run make lock" >&2; exit 1; }
	@cp localnet/kms/requirements.lock var/kms-requirements.lock
	@$(UV) pip compile $(KMS_LOCK_OPTIONS) -o var/kms-requirements.lock localnet/kms/requirements.in
	@cmp localnet/kms/requirements.lock var/kms-requirements.lock || { \
		echo "localnet/kms/requirements.lock is out of date: run make lock" >&2; exit 1; }
	@if docker compose version >/dev/null 2>&1; then docker compose -f temporal-compose.yml config --quiet; \
		else echo "    (no docker compose here: temporal-compose.yml is not checked)"; fi

.PHONY: bench
bench: env ledger kms softhsm ## Measure, and write bench/results/.
	@$(BIN)/python -m bench

# What is generated and committed.

.PHONY: contracts
contracts: prerequisites ## Rebuild the contracts' wasm and say whether it is the committed one.
	@contracts/build.sh

.PHONY: docs
docs: env ## Write the pages that are generated from the code.
	@$(BIN)/python -m cli.docs generate

# Universal: the lock serves every platform. It names no package host.
LOCK_OPTIONS := --quiet --extra dev --generate-hashes --universal --no-emit-index-url --no-header --no-annotate
KMS_LOCK_OPTIONS := $(filter-out --extra dev,$(LOCK_OPTIONS)) --python-version 3.11

.PHONY: lock
lock: ## Pin the dependencies of pyproject.toml anew, keeping what still fits.
	@$(UV) pip compile $(LOCK_OPTIONS) -o requirements.lock pyproject.toml
	@$(UV) pip compile $(KMS_LOCK_OPTIONS) -o localnet/kms/requirements.lock localnet/kms/requirements.in

.PHONY: format
format: env ## Format and mend what can be mended.
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .
	@for workspace in contracts $(LEDGER); do (cd $$workspace && cargo fmt --all); done

.PHONY: clean
clean: ## Remove everything that make made, state included.
	rm -rf $(VENV) var dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	rm -rf $(LEDGER)/target contracts/target
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
