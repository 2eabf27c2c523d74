# What this project does habitually. Each line calls cargo or a script, so nothing here is needed to understand it.

# Where rustup puts cargo, for shells that have not heard of it yet.
export PATH := $(HOME)/.cargo/bin:$(PATH)

.NOTPARALLEL:
.PHONY: help demo test lint deny bench kill-test servers

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 18

demo: ## build the relay and see it carry, lose nothing, recover (no account needed)
	@scripts/setup
	cargo run --locked --release -- demo

test: ## every test; the first run fetches and compiles
	@scripts/test

lint: ## format, lints, licences and sources of dependencies
	@scripts/lint

deny: ## licences and sources of dependencies alone
	@scripts/deny

servers: ## Kafka and RabbitMQ to try sinks with, as the tests use them; prints configuration for them
	@scripts/setup test
	@scripts/servers/up

bench: ## how fast it is here
	@scripts/setup
	cargo bench --locked

kill-test: ## kill the relay 1,000 times and each sink 20 times at random, and count every event (long)
	@scripts/setup
	KILLS=1000 SINK_KILLS=20 cargo test --locked --release --features failpoints --test it -- --nocapture kill
