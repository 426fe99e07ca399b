# Nexus: what people type. `make help` lists it.

SHELL := /bin/bash
.DEFAULT_GOAL := help

CARGO ?= cargo
# Built in release: the pipeline is meant to be fast.
NEXUS := target/release/nexus
SETUP := scripts/setup.sh

# A variable of the environment or of the command line (make run-nexus-pipeline LOOP_MODE=false) reaches the programs.

##@ Run

.PHONY: run-nexus-pipeline
run-nexus-pipeline: build-nexus ## Run everything: etcd, PostgreSQL, collector, gateway, streamer; Ctrl-C stops all
	@exec $(NEXUS) up

.PHONY: run-nexus-streamer
run-nexus-streamer: build-nexus-streamer ## Run the streamer alone
	@exec target/release/nexus-streamer

.PHONY: run-nexus-collector
run-nexus-collector: build-nexus-collector ## Run the collector alone
	@exec target/release/nexus-collector

.PHONY: run-nexus-gateway
run-nexus-gateway: build-nexus-gateway ## Run the gateway alone
	@exec target/release/nexus-gateway

##@ Build

.PHONY: build-nexus
build-nexus: setup-tools ## Build everything
	$(CARGO) build --release --locked

.PHONY: build-nexus-streamer build-nexus-collector build-nexus-gateway
build-nexus-streamer: setup-tools ## Build the streamer
	$(CARGO) build --release --locked -p nexus-streamer
build-nexus-collector: setup-tools ## Build the collector
	$(CARGO) build --release --locked -p nexus-collector
build-nexus-gateway: setup-tools ## Build the gateway
	$(CARGO) build --release --locked -p nexus-gateway

##@ Check

.PHONY: test
test: setup-tools ## Run all tests, on servers of their own
	$(CARGO) test --workspace --locked

.PHONY: test-integration
test-integration: setup-tools ## Run only the tests that start servers and programs
	$(CARGO) test --workspace --locked --test '*'

.PHONY: lint
lint: setup-tools ## Check formatting, lints and documentation, warnings denied
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items --locked

.PHONY: bench
bench: build-nexus ## Measure the live feed and the API on servers of their own; throughput is to come
	$(NEXUS) bench --mode live
	$(NEXUS) bench --mode api --seconds 60

.PHONY: docs
docs: setup-tools ## Render docs/CONFIGURATION.md from the programs' command lines
	NEXUS_WRITE_DOCS=1 $(CARGO) test --locked -p nexus --test configuration

##@ Set up

.PHONY: setup-dev
setup-dev: ## Install or find what building, running and testing need
	@$(SETUP)
	@command -v rustfmt >/dev/null && command -v cargo-clippy >/dev/null || rustup component add rustfmt clippy

.PHONY: setup-etcd
setup-etcd: build-nexus ## Start a local etcd that stays; stop it with make stop-servers
	@$(NEXUS) etcd start

.PHONY: setup-postgres
setup-postgres: build-nexus ## Start a local PostgreSQL that stays; stop it with make stop-servers
	@$(NEXUS) postgres start

.PHONY: stop-servers
stop-servers: ## Stop what setup-etcd and setup-postgres started
	@[ ! -x $(NEXUS) ] || { $(NEXUS) etcd stop && $(NEXUS) postgres stop; }

.PHONY: clean
clean: stop-servers ## Remove what was built, and the local stack with its data
	@scripts/clean.sh
	$(CARGO) clean

.PHONY: setup-tools
setup-tools:
	@$(SETUP) --quiet

.PHONY: help
help: ## Say what there is
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  make %-24s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
