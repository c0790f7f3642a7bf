# Two commands matter: `make demo` shows the main job, `make test` runs every test. Both install what they lack.
CARGO ?= cargo
# Whole-program tests wait more than they compute.
TEST_THREADS ?= 4

.PHONY: help demo test test-vectors test-xmpp venv lint bench bench-bundle bench-store bench-core bench-xmpp soak setup-demo setup-test

help:
	@echo "make demo    four nodes, a bridge and a real XMPP server in network namespaces (about a minute after the build)"
	@echo "             BREAK=bridge or BREAK=carrier kills that piece for good and shows where the messages stop;"
	@echo "             SERVER=ejabberd plays it on that server"
	@echo "make test    lint and every test"
	@echo "make test-vectors  tests/vectors checked by a program in Python"
	@echo "make test-xmpp     bridge and uplink on real servers, Prosody and ejabberd; each test is named after its server"
	@echo "make lint    rustfmt and clippy, warnings are errors"
	@echo "make bench   figures, one line each: bench: NAME VALUE (what against what)"
	@echo "make bench-bundle  those of the bundle format: against raw cryptography and another codec, seconds"
	@echo "make bench-store   those of the store: against a bare append and fdatasync on the same disk"
	@echo "make bench-core   what an event costs with 1,000, 10,000 and 100,000 bundles held; 1,000 nodes in one process"
	@echo "make bench-xmpp   relayed against direct messages, bursts and memory of the bridge, on real servers (minutes)"
	@echo "make soak    long runs: thousands of simulation seeds, many kill -9 rounds and power cuts"

demo: setup-demo
	$(CARGO) build --locked --bins --examples
	@BREAK="$(BREAK)" SERVER="$(SERVER)" ./target/debug/examples/subway

test: setup-test rig-ble lint test-vectors
	RUST_TEST_THREADS=$(TEST_THREADS) $(CARGO) test --locked --workspace --no-fail-fast

test-vectors:
	@sh tests/vectors/run.sh

# Made once; tests/vectors and tests/bridge use it.
venv: setup-test
	@sh tests/venv.sh

test-xmpp: setup-test venv
	RUST_TEST_THREADS=$(TEST_THREADS) $(CARGO) test --locked -p pigeon-xmpp --no-fail-fast
	RUST_TEST_THREADS=$(TEST_THREADS) $(CARGO) test --locked -p pigeon-harness --test servers --no-fail-fast
	RUST_TEST_THREADS=$(TEST_THREADS) $(CARGO) test --locked --no-fail-fast \
		--test bridge --test accounts --test people --test losses --test carriers

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

bench: bench-bundle bench-store bench-core bench-xmpp

bench-bundle:
	$(CARGO) bench --locked -p pigeon-bundle --bench cost

# Where the store's figures are taken: must be a real disk. A million bundles want some 4 GiB there.
BENCH_DIR ?= target/bench-store
BENCH_MILLION ?= 1000000
bench-store:
	$(CARGO) build --locked --release --manifest-path daemon/store/benches/peers/Cargo.toml --target-dir target/peers
	@mkdir -p $(BENCH_DIR)
	$(CARGO) bench --locked -p pigeon-store --bench store -- --dir $(abspath $(BENCH_DIR)) \
		--million $(BENCH_MILLION) --peers $(abspath target/peers/release/peers)

bench-core:
	$(CARGO) bench --locked -p pigeon-core --bench scale

# Entries of the ledger whose memory is asked, and where the box plot goes. TMPDIR must be on a real disk.
BENCH_ENTRIES ?= 1000000
BENCH_PICTURE ?= docs/relayed.svg
bench-xmpp: setup-test
	$(CARGO) build --locked --release -p carrier-pigeon -p pigeon-bench-xmpp --bin pigeon-bridge --bin pigeon-bench-xmpp
	target/release/pigeon-bench-xmpp --entries $(BENCH_ENTRIES) --picture $(abspath $(BENCH_PICTURE))

soak: setup-test
	PIGEON_SIM_FROM=0 PIGEON_SIM_SEEDS=10000 PIGEON_SIM_WORLD=town $(CARGO) test --locked --release -p pigeon-core --test sim -- --nocapture
	PIGEON_KILL_ROUNDS=200 PIGEON_POWER_CUTS=1000 \
		$(CARGO) test --locked --release -p pigeon-store --test it -- --nocapture crash powercut
	$(CARGO) test --locked --release -p pigeon-replay -- --include-ignored

setup-demo setup-test:
	@sh tests/setup.sh

# Seconds for each target, and how many run at once. Needs no nightly toolchain: see docs/contributing.md.
FUZZ_TIME ?= 600
FUZZ_JOBS ?= 2
.PHONY: fuzz
fuzz:
	@sh tests/fuzz/run.sh $(FUZZ_TIME) $(FUZZ_JOBS) $(FUZZ_TARGET)

# Bluetooth: nodes on a real BlueZ in a guest with virtual controllers (tests/rig/ble), root once.
.PHONY: demo-ble rig-ble soak-ble bench-ble
help: help-ble
.PHONY: help-ble
help-ble:
	@echo "make demo-ble      two nodes with nothing but Bluetooth between them, on a real BlueZ in a guest (seconds after the build)"
	@echo "make test-ble      of make test, the tests of Bluetooth on that BlueZ, root only"
	@echo "make bench-ble     Bluetooth in that guest: from meeting to the first stored bundle, goodput against bare writes"
	@echo "make soak-ble      1,000 contacts, then 30 minutes of arrivals and departures (PIGEON_BLE_CONTACTS, PIGEON_BLE_MINUTES)"

demo-ble: setup-demo rig-ble
	$(CARGO) build --locked --bins --examples
	@BREAK="$(BREAK)" tests/rig/ble/run.sh -t 180 -n 2 ./target/debug/examples/ble

soak-ble: rig-ble
	$(CARGO) build --locked --bins
	BLE_RIG_OFTEN=1 $(CARGO) test --locked --test ble -- --ignored --nocapture --exact soak_on_bluez

bench-ble: rig-ble
	$(CARGO) test --locked --release -p pigeon-ble --lib -- --ignored --nocapture --exact tests::rig::bench_on_bluez
	$(CARGO) test --locked --test ble -- --ignored --nocapture --exact bench_on_bluez

# Built once, some minutes. It takes root, as do the tests that run in it; they say so themselves.
rig-ble: setup-test
	@if [ "$$(id -u)" -eq 0 ]; then tests/rig/ble/build.sh; \
	else echo "SKIPPED building the Bluetooth guest: it needs root, and so do the tests that run in it"; fi

.PHONY: test-ble
test-ble: rig-ble
	$(CARGO) test --locked -p pigeon-ble
	$(CARGO) test --locked --test ble
