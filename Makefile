# Loch Ness. `make help` lists the targets; everything here is also what CI runs (.ci/run).

SHELL := /bin/bash
CARGO ?= cargo
CARGO_DENY_VERSION := 0.20.2
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)

# Test targets are built along with the programs on purpose: their dependencies turn on features of shared crates, and
# building both at once means that those crates are compiled once and not twice.
BUILD := $(CARGO) build --workspace --bins --tests

.DEFAULT_GOAL := help
.PHONY: help setup programs build demo demo-check test sim sim-full soak bench bench-full bench-check bench-micro check fmt clippy doc deny rules

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' \
		| awk -F'\t' '{ printf "  make %-12s %s\n", $$1, $$2 }'

setup: ## Install what is missing, cargo-deny too (Debian and its like)
	@deploy/setup.sh $(CARGO_DENY_VERSION)

# What the other targets run beside cargo; installs only what is missing.
programs:
	@deploy/setup.sh

build: programs ## Build the programs and their tests
	@echo "building (the first time takes some minutes)"
	@$(BUILD)

demo: build ## Watch two operators, ten simulated hosts and 40 guests; Ctrl-C ends it and leaves nothing behind
	@LOCHNESS_BIN="$(TARGET_DIR)/debug" deploy/demo.sh

demo-check: build ## The same, with every claim asserted; ends by itself
	@LOCHNESS_BIN="$(TARGET_DIR)/debug" deploy/demo.sh --check

test: programs ## Run all tests (with nextest where it is installed)
	@if $(CARGO) nextest --version >/dev/null 2>&1; \
		then $(CARGO) nextest run --workspace; \
		else $(CARGO) test --workspace; fi

SEEDS ?= 1000

sim: ## Simulate SEEDS fresh histories (1000), each of one seed: faults, crashes, and what must hold
	@SIM_SEEDS=$(SEEDS) $(CARGO) test --profile sim --test sim -- --nocapture every_history

sim-full: MINUTES ?= 60
sim-full: ## Simulate for MINUTES (60): every crash and stale read swept, mutants hunted, fresh histories; with a report
	@SIM_MINUTES=$(MINUTES) CARGO="$(CARGO)" tests/sim/full.sh

soak: MINUTES ?= 30
soak: programs ## Real processes under faults for MINUTES (30): leaders stopped past their lease, agents killed, bad ways
	@SOAK_MINUTES=$(MINUTES) $(CARGO) test --test it -- --exact --nocapture \
		soak::pairs_of_operators_under_all_faults_for_as_long_as_asked

bench: programs ## Measure against the etcd underneath, in the same run (about ten minutes)
	@$(CARGO) build --release --workspace --bins
	@$(TARGET_DIR)/release/lochness-bench

bench-full: programs ## The same with the largest fleets (an hour)
	@$(CARGO) build --release --workspace --bins
	@$(TARGET_DIR)/release/lochness-bench --size full --json target/bench/full.json

bench-check: programs ## Is it as fast as it was? A short run against crates/bench/guard.json
	@$(CARGO) build --release --workspace --bins
	@$(TARGET_DIR)/release/lochness-bench --size tiny --only placement,life,latency,cache,idle \
		--json target/bench/check.json --check crates/bench/guard.json

bench-micro: ## Measure single steps: a decision, a document, a ruleset, a queue (two minutes)
	@$(CARGO) bench -p lochness-controllers --bench micro

check: setup fmt clippy doc deny rules ## Formatting, lints, documentation, dependencies, alert rules

fmt: ## Is everything formatted?
	$(CARGO) fmt --all --check

clippy: ## Lints, warnings denied
	$(CARGO) clippy --workspace --all-targets -- -D warnings

doc: ## Documentation, warnings denied
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps

deny: ## Licenses, sources and advisories of the dependencies
	@deploy/deny.sh

rules: ## Prometheus' own check of the scrape configuration, the alerts and their tests
	@deploy/rules.sh
