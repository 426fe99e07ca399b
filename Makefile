# Nexus: what people type. `make help` lists it.

SHELL := /bin/bash
.DEFAULT_GOAL := help

CARGO ?= cargo
# The shell that has just installed Rust does not know yet where it is.
export PATH := $(PATH):$(HOME)/.cargo/bin
# Built in release: the pipeline is meant to be fast.
RELEASE := $(or $(CARGO_TARGET_DIR),target)/release
DEBUG := $(or $(CARGO_TARGET_DIR),target)/debug
NEXUS := $(RELEASE)/nexus
SETUP := scripts/setup.sh
# What tests and lints are built with, and nothing else: places at which a test kills a process.
FAILPOINTS := --features nexus/failpoints
# The GraphQL playground, which the gateway carries: made from WEB, with node and npm, where they are.
WEB := gateway/web
PLAYGROUND := $(WEB)/dist/index.html

# What --version shows beside the version. Only programs that are kept are told: tests would be linked anew for each commit.
build-nexus build-nexus-streamer build-nexus-collector build-nexus-gateway: export NEXUS_COMMIT ?= $(shell git describe --always --dirty --exclude='*' 2>/dev/null)

# What checks of deployments need of Python.
CHECKS := target/checks/venv

# A variable of the environment or of the command line (make run-nexus-pipeline LOOP_MODE=false) reaches the programs.

##@ Run

.PHONY: run-nexus-pipeline
run-nexus-pipeline: build-nexus ## Run everything: etcd, PostgreSQL, collector, gateway, streamer; Ctrl-C stops all
	@exec $(NEXUS) up

.PHONY: run-nexus-streamer
run-nexus-streamer: build-nexus-streamer ## Run the streamer alone
	@exec $(RELEASE)/nexus-streamer

.PHONY: run-nexus-collector
run-nexus-collector: build-nexus-collector ## Run the collector alone
	@exec $(RELEASE)/nexus-collector

.PHONY: run-nexus-gateway
run-nexus-gateway: build-nexus-gateway ## Run the gateway alone
	@exec $(RELEASE)/nexus-gateway

.PHONY: run-prometheus
run-prometheus: export PROMETHEUS_ADDRESS ?= 127.0.0.1:9090
run-prometheus: ## Run Prometheus on what runs here, with the alerts: http://localhost:9090/classic/alerts (Debian's), /alerts (Prometheus's own); Ctrl-C stops it
	@command -v prometheus >/dev/null || $(SETUP) --quiet --prometheus
	@exec prometheus --config.file=deployments/prometheus/prometheus.yml --storage.tsdb.path="$${NEXUS_DIR:-.nexus}/prometheus" \
	  --web.listen-address="$$PROMETHEUS_ADDRESS"

##@ Build

.PHONY: build-nexus
build-nexus: setup-tools web-if-possible ## Build everything
	$(CARGO) build --release --locked

.PHONY: build-nexus-streamer build-nexus-collector build-nexus-gateway
build-nexus-streamer: setup-tools ## Build the streamer
	$(CARGO) build --release --locked -p nexus-streamer
build-nexus-collector: setup-tools ## Build the collector
	$(CARGO) build --release --locked -p nexus-collector
build-nexus-gateway: setup-tools web-if-possible ## Build the gateway
	$(CARGO) build --release --locked -p nexus-gateway

.PHONY: build-web
build-web: $(PLAYGROUND) ## Build the gateway's GraphQL playground; without node and npm there is none
$(PLAYGROUND): $(wildcard $(WEB)/*.* $(WEB)/src/*) | setup-tools
	@if ! command -v node >/dev/null || ! command -v npm >/dev/null; then \
	  echo "node or npm is missing: the gateway is built without its GraphQL playground" >&2; \
	else cd $(WEB) && npm ci --no-progress --loglevel=error && npm run --silent build -- --logLevel warn; fi

# Whatever carries the playground works without it too: away from a registry, say.
.PHONY: web-if-possible
web-if-possible:
	@$(MAKE) --no-print-directory build-web || echo "the gateway is built without its GraphQL playground, see above" >&2

##@ Check

.PHONY: test
test: setup-tests ## Run all tests, on servers of their own
	$(CARGO) test --workspace --locked $(FAILPOINTS)

.PHONY: test-integration
test-integration: setup-tests ## Run only the tests that start servers and programs
	$(CARGO) test --workspace --locked $(FAILPOINTS) --test '*'

.PHONY: test-faults
test-faults: setup-tools ## Try every fault by itself, then ROUNDS (20) of random ones from SEED (1), JOBS (2) at once; prints figures
	$(CARGO) test --workspace --locked $(FAILPOINTS) --test faults -- --show-output
	ROUNDS=$${ROUNDS:-20} $(CARGO) test --workspace --locked $(FAILPOINTS) --test rounds -- --nocapture

.PHONY: drill
drill: setup-tests ## Back a real pipeline up, destroy it, restore it, audit it; prints what was lost and how long it took
	$(CARGO) test --locked -p nexus $(FAILPOINTS) --test drill -- --nocapture --test-threads=1

.PHONY: test-fuzz
test-fuzz: setup-tools ## Try FUZZ_CASES (100000) inputs made from the corpora on everything that reads untrusted bytes; what fails is kept
	FUZZ_CASES=$${FUZZ_CASES:-100000} $(CARGO) test --locked $(FAILPOINTS) -p nexus -p nexus-common -p nexus-streamer -p nexus-gateway --test hostile --test rest --test live -- --nocapture any_

.PHONY: test-mutants
test-mutants: setup-tools ## Take each line out that guards an invariant, and see its test fail
	checks/mutants/run.py

.PHONY: test-upgrade
test-upgrade: ## Upgrade a loaded stack from the version before (built from git; or NEXUS_PREVIOUS=path), and back; no row may be lost
	@$(MAKE) --no-print-directory build-nexus
	checks/upgrade/run.py --this $(NEXUS) $${NEXUS_PREVIOUS:+--previous $$NEXUS_PREVIOUS}

.PHONY: test-clients
test-clients: ## Check the gateway (ours, or NEXUS_GATEWAY=http://…) with clients that others wrote: schemathesis, graphql-ws, Chromium
	@$(SETUP) --quiet --clients
	@[ -n "$${NEXUS_GATEWAY:-}" ] || $(MAKE) --no-print-directory build-nexus
	@NEXUS=$(NEXUS) checks/clients/run.sh

.PHONY: lint
lint: setup-tools ## Check formatting, lints and documentation, warnings denied
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked $(FAILPOINTS) -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items --locked $(FAILPOINTS)

.PHONY: check-alerts
check-alerts: setup-tools ## Check Prometheus's configuration and rules, and see every alert ring in its test and stay quiet on healthy data
	promtool check config deployments/prometheus/prometheus.yml
	promtool test rules deployments/prometheus/tests/*.yml

.PHONY: check-chart
check-chart: setup-tests ## Check the Helm chart and deployments/k8s without a cluster: schemas, and the programs started with what they tell them
	$(CARGO) build --workspace --locked $(FAILPOINTS)
	BINARIES=$(DEBUG) checks/chart/run.sh

.PHONY: check-images
check-images: setup-checks $(CHECKS)/ready ## Lint Dockerfiles, compose.yaml and workflows, follow the images' steps without an engine, and run what they come to
	$(CHECKS)/bin/python checks/images/run.py

.PHONY: check-install
check-install: setup-checks ## Install, upgrade and uninstall on a copy of this machine, and measure the units' hardening
	checks/install/run.sh

.PHONY: check-balancer
check-balancer: setup-checks ## See that no request fails while gateways behind Caddy and nginx die, drain and lose their database
	$(CARGO) build --workspace --locked $(FAILPOINTS) --bin nexus
	checks/balancer/run.py $(DEBUG)/nexus

.PHONY: bench bench-quick
bench: build-nexus $(if $(PARTS),$(if $(findstring parts,$(PARTS)),bench-parts),bench-parts) ## Measure the whole set on servers of its own and write docs/BENCHMARKS.md; PARTS=row,api measures only these
	$(NEXUS) bench --mode all $${PARTS:+--only $$PARTS}
bench-quick: build-nexus bench-parts ## Measure a small set within some minutes; the document goes to target/bench-quick
	@mkdir -p target/bench-quick
	$(NEXUS) bench --mode all --quick --times 1 --report target/bench-quick/BENCHMARKS.md

.PHONY: bench-parts
bench-parts: setup-tools ## Measure the pure parts of the hot path by themselves: rows, messages, merging, COPY
	$(CARGO) bench --locked -p nexus-common -p nexus-streamer -p nexus-collector --bench messages --bench rows --bench storing

.PHONY: soak
soak: build-nexus ## Let rows flow for an hour (SECONDS_LONG) at RATE (1000) a second, and tell what grows: a table, and a plot in soak.svg
	$(NEXUS) bench --mode soak --seconds $${SECONDS_LONG:-3600} --rate $${RATE:-1000} --report soak.svg

.PHONY: chart-files
chart-files: ## Copy rules, dashboards and the sample into the Helm chart, and make the table of values in its README
	checks/chart/files.py

.PHONY: docs
docs: setup-tools ## Render docs/CONFIGURATION.md from the programs' command lines, docs/METRICS.md from what a running stack tells
	NEXUS_WRITE_DOCS=1 $(CARGO) test --locked -p nexus $(FAILPOINTS) --test configuration --test metrics -- the_table_of

##@ Set up

.PHONY: setup-dev
setup-dev: ## Install or find what building, running and testing need
	@$(SETUP) --tests
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
	@rm -rf $(WEB)/dist $(WEB)/node_modules checks/clients/node_modules
	@scripts/clean.sh
	$(CARGO) clean

.PHONY: setup-tools
setup-tools:
	@$(SETUP) --quiet

.PHONY: setup-tests
setup-tests:
	@$(SETUP) --quiet --tests

.PHONY: setup-checks
setup-checks:
	@$(SETUP) --quiet --checks
$(CHECKS)/ready: checks/images/requirements.txt
	@python3 -m venv $(CHECKS) && $(CHECKS)/bin/pip install --quiet --disable-pip-version-check -r $< && touch $@

.PHONY: help
help: ## Say what there is
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  make %-24s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
