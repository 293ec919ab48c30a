# make demo   the whole system on this machine, on generated data
# make test   format, lints, docs, layers and every test
# make soak   ten thousand random histories of a project against what is true (ONGGI_SEED, ONGGI_HISTORIES)
# make bench  the measured numbers, ours and our peers'
# make tools  what the above need beyond Rust, installed or named

SHELL := /bin/bash
# One target folder outside the checkout: clones share it, and a clean checkout compiles only what is new.
export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/onggi/target
export CARGO_TERM_PROGRESS_WHEN ?= auto
CARGO ?= cargo

.PHONY: demo test lint unit soak bench tools

demo: tools
	@echo "compiling onggi (the first time takes a while, later seconds) ..."
	$(CARGO) build --locked --workspace --bin onggi
	"$(CARGO_TARGET_DIR)/debug/onggi" demo $(ARGS)

test: tools lint unit

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets --features cli/failpoints -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --document-private-items

# Where every server could be installed, a test that can't find its own fails instead of skipping.
unit:
	.ci/peers
	if .ci/services; then export ONGGI_REQUIRE_SERVICES=1; fi; \
	$(CARGO) test --locked --workspace --features cli/failpoints

soak:
	ONGGI_HISTORIES=$${ONGGI_HISTORIES:-10000} $(CARGO) test --locked --workspace --features cli/failpoints --bin onggi simulator::

bench: tools
	.ci/peers bench
	.ci/services || true
	$(CARGO) bench --locked --package benches --profile dist

tools:
	@.ci/tools
