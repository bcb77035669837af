# Thin: the work is done by the scripts in .ci.

PORT ?= 8080

.PHONY: help run sdk janus test load chaos bench sim fuzz model bugs setup

help:
	@echo "make run     a call on this machine: relay, page and lead bot on 127.0.0.1 (PORT=8080)"
	@echo "make sdk     the core for browsers: web/ is then a package for your bundler"
	@echo "make janus   a media server for calls of many, on this machine: open the page with &sfu=janus (JANUS_PORT=8188)"
	@echo "make test    every test, with the time each step took"
	@echo "make load    a hundred members joining and leaving for a minute (MEMBERS= CHURN= DURATION= CALLS=)"
	@echo "make chaos   relay and leads killed and stopped, networks that go away: the call goes on (five minutes)"
	@echo "make bench   what joining, leaving, sealing and a change of lead cost at 2 to 1,000 members"
	@echo "make sim     100,000 random calls with faults in virtual time, and 200 of 200 members (SEEDS= LARGE= SEED=)"
	@echo "make fuzz    libFuzzer on every decoder and a whole session, ten minutes each (FUZZ_SECONDS= TARGETS=)"
	@echo "make model   every call of up to five members within bounds, with symbols for keys: some minutes"
	@echo "make bugs    plants every bug there is in turn, and lets the simulator find it (BUG= BUG_SEEDS=)"
	@echo "make setup   only install what the others need"

run:
	@PORT=$(PORT) .ci/start

sdk:
	@.ci/setup run && .ci/wasm

janus:
	@.ci/janus

test:
	@.ci/test

load:
	@.ci/load

chaos:
	@.ci/chaos

bench:
	@.ci/bench

sim:
	@.ci/sim

fuzz:
	@.ci/fuzz

model:
	@CONCLAVE_MODEL_LARGE=1 cargo test --locked --workspace --test model -- --include-ignored --nocapture --test-threads=1

bugs:
	@.ci/sim-bugs

setup:
	@.ci/setup test
