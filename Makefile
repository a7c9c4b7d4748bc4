# Everything that is run by hand here; scripts/setup.sh installs what is missing.
CARGO ?= cargo
FEATURES := --features audit

.PHONY: help setup build demo test test-debian fault bench bench-count fuzz deny deb

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install what building and testing need (as root; else say what is missing)
	@scripts/setup.sh

build: setup ## all programs, optimised, in target/release
	$(CARGO) build --release $(FEATURES) --bins

deb: setup ## the Debian packages, in target/debian
	@scripts/deb.sh

demo: build ## a real Apache, sealed logs, an audit, tampering found
	@bash scripts/demo.sh

test: setup ## format, lints, documentation, all tests
	$(CARGO) fmt --check
	$(CARGO) fmt --check --manifest-path fuzz/Cargo.toml
	$(CARGO) clippy --all-targets $(FEATURES) -- -D warnings
	$(CARGO) clippy --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps $(FEATURES)
	$(CARGO) test $(FEATURES)

test-debian: setup ## the packages on a booted Debian (systemd-nspawn, as root; ten minutes); SYSLOG="rsyslog" only with this daemon, SUITE=trixie on Debian 13
	@scripts/test-debian.sh $(SYSLOG)

fault: setup ## every system call of the filters fails once (an hour or more); FAULT=reopen/ only those, KEEP=DIR keeps the bad
	@FAULT="$(FAULT)" KEEP="$(KEEP)" scripts/fault.sh

bench: setup ## speed, side by side with other tools (half an hour); writes docs/performance; LOG=FILE your own lines, ONLY=NAME some rows
	$(CARGO) bench $(FEATURES) --bench programs -- $(LOG)

bench-count: setup ## instructions of the record path against benches/count.txt; COUNT=renew writes it anew
	$(CARGO) bench $(FEATURES) --bench count -- $(or $(COUNT),check)

fuzz: ## each fuzz target for a minute; SECONDS=N for so long, TARGETS="scan forged" only these
	@scripts/fuzz.sh $(or $(SECONDS),60) $(TARGETS)

deny: ## cargo-deny on licences, sources, doubles and, with a network, advisories (installs it: some minutes)
	@command -v cargo-deny >/dev/null || $(CARGO) install cargo-deny --version 0.19.0 --locked
	$(CARGO) deny check bans licenses sources
	$(CARGO) deny check advisories || echo "deny: the advisories could not be had, or name something: see above" >&2
