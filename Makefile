# make demo and make test are the two to know; `make help` lists the rest. They need Rust, Python 3 with pip, and make.

TARGET ?= $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)
PYTHON ?= python3
CARGO ?= cargo
NEXTEST := $(shell $(CARGO) nextest --version >/dev/null 2>&1 && echo yes)

# ONNX Runtime's Linux builds report usage unless told not to before they start.
export ORT_DISABLE_TELEMETRY = 1

.PHONY: help setup build demo models test test-all test-peers test-cuda lint lint-rust lint-deploy bench bench-attacks bench-certify bench-gradients bench-forms bench-load bench-serving bench-training bench-variants results-pruning results-feature-maps fuzz clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup: ## Fetch and verify ONNX Runtime (GPU=1: the build with CUDA)
	@$(PYTHON) deploy/onnxruntime/fetch.py $(TARGET)/onnxruntime $(if $(GPU),--gpu)

build: ## Build the server and the client in release
	$(CARGO) build --release --locked -p assay-server -p assay

demo: setup build ## Serve, predict, attack and audit real models, and write a report
	@$(PYTHON) deploy/demo/demo.py --bin $(TARGET)/release --out $(TARGET)/demo

models: setup ## Make the demo's models anew from Fashion-MNIST, as deploy/recipes say (NAMES="fashion-dense …": some of them)
	$(CARGO) build --release --locked -p assay
	@$(PYTHON) deploy/recipes/make.py --assay $(abspath $(TARGET))/release/assay $(NAMES)

test: setup ## Run all tests but the slow ones
	$(CARGO) test --workspace --locked --doc
ifeq ($(NEXTEST),yes)
	$(CARGO) nextest run --workspace --locked --no-fail-fast
else
	@echo "notice: cargo-nextest is not installed; using cargo test"
	$(CARGO) test --workspace --locked --lib --bins --tests --no-fail-fast
endif

test-all: test ## Run the slow tests too, in release
ifeq ($(NEXTEST),yes)
	$(CARGO) nextest run --workspace --locked --release --run-ignored only
else
	$(CARGO) test --workspace --locked --release --lib --bins --tests -- --ignored
endif

test-cuda: ## Run the tests that need an NVIDIA GPU, with CUDA 13 and cuDNN 9 on the library path
	@$(MAKE) --no-print-directory setup GPU=1
	ASSAY_CUDA=1 $(CARGO) test --locked -p assay-runtime -p assay-attack --test cuda -- --include-ignored --test-threads 1

test-peers: setup build $(TARGET)/peers/.ready $(TARGET)/serving-peers/.ready ## Compare with PyTorch and other Python programs (PEERS=all: with every model of the zoo)
	$(TARGET)/peers/bin/python client/tests/peers/grpc_client.py --bin $(TARGET)/release
	$(TARGET)/serving-peers/bin/python client/tests/peers/inference_client.py --bin $(TARGET)/release
	$(TARGET)/peers/bin/python client/tests/peers/attack_tools.py --bin $(TARGET)/release
	$(CARGO) build --release --locked -p assay-benches --bin step --bin attacker --bin learner
	$(TARGET)/peers/bin/python client/tests/peers/steps.py --bin $(TARGET)/release
	$(TARGET)/peers/bin/python client/tests/peers/pruning.py --bin $(TARGET)/release
	$(TARGET)/peers/bin/python client/tests/peers/attacks/compare.py --bin $(TARGET)/release
	$(TARGET)/peers/bin/python client/tests/peers/gradients/opsets.py --bin $(TARGET)/release
	$(TARGET)/peers/bin/python client/tests/peers/gradients/quantized.py --bin $(TARGET)/release
	$(TARGET)/peers/bin/python client/tests/peers/gradients/weights.py --bin $(TARGET)/release
	$(TARGET)/peers/bin/python client/tests/peers/gradients/compare.py --bin $(TARGET)/release $(COVERAGE)

# Hours of work: a run that was cut off goes on where it was.
ifeq ($(PEERS),all)
COVERAGE := --all --results $(TARGET)/peers/coverage.jsonl --doc docs/coverage.md --command "make test-peers PEERS=all"
endif

$(TARGET)/peers/.ready: client/tests/peers/requirements.txt
	$(PYTHON) -m venv $(TARGET)/peers
	$(TARGET)/peers/bin/pip install --quiet --disable-pip-version-check -r client/tests/peers/requirements.txt
	@touch $@

lint: lint-rust lint-deploy ## Check format, lints, documentation and manifests

lint-rust:
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --all --check
	$(CARGO) clippy --workspace --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --locked --no-deps --document-private-items --quiet

lint-deploy:
	@$(PYTHON) deploy/check.py $(TARGET)/manifests

bench: setup ## Run the benchmarks
	$(CARGO) bench --locked -p assay-benches

# ARGS="--write" puts the table into docs/performance.md; "--help" lists the rest.
bench-gradients: setup $(TARGET)/peers/.bench-ready ## Compare a gradient step with PyTorch's, in processes that work in turn
	$(CARGO) build --release --locked -p assay-benches --bin contender --bin derive
	$(TARGET)/peers/bin/python benches/peers/gradients.py --contender $(abspath $(TARGET))/release/contender --folder $(abspath $(TARGET))/gradients $(ARGS)

# ARGS="--write" puts the tables into docs/performance.md; ARGS="--nets fashion-robust --no-scaling" is a part of them, "--help" lists the rest.
bench-attacks: setup $(TARGET)/peers/.bench-ready ## Compare PGD and AutoAttack with PyTorch's, in processes that work in turn
	$(CARGO) build --release --locked -p assay-benches --bin attacker --bin contender
	$(TARGET)/peers/bin/python benches/peers/attacks.py --attacker $(abspath $(TARGET))/release/attacker --contender $(abspath $(TARGET))/release/contender --folder $(abspath $(TARGET))/attacks $(ARGS)

bench-training: setup $(TARGET)/peers/.bench-ready ## Compare steps of training with PyTorch's, in processes that work in turn
	$(CARGO) build --release --locked -p assay-benches --bin learner --bin contender
	$(TARGET)/peers/bin/python benches/peers/training.py --learner $(abspath $(TARGET))/release/learner --contender $(abspath $(TARGET))/release/contender --folder $(abspath $(TARGET))/training $(ARGS)

FUZZED ?= onnx tensors plan recipe data property
FUZZ_SECONDS ?= 600

# cargo-fuzz wants the nightly toolchain for its sanitizer; RUSTC_BOOTSTRAP lets the stable one do it. What was found stays in fuzz/corpus.
fuzz: ## Feed what reads the bytes of strangers with mutated ones (needs cargo-fuzz; FUZZED="onnx plan": some, FUZZ_SECONDS=600: for each)
	@for target in $(FUZZED); do \
		mkdir -p fuzz/corpus/$$target && RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run --target-dir $(abspath $(TARGET))/fuzz $$target fuzz/corpus/$$target fuzz/seeds/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -max_len=65536 -rss_limit_mb=4096 -timeout=20 -print_final_stats=1 || exit 1; \
	done

# Hours of work, which goes on where it was cut off. DATA is the folder of CIFAR-10: its binary batches, or Parquet files.
results-pruning: setup ## Prune a net by every criterion, and measure what that does (DATA=FOLDER)
	$(CARGO) build --release --locked -p assay
	$(PYTHON) benches/results/pruning.py --assay $(abspath $(TARGET))/release/assay --data $(DATA) --folder $(TARGET)/results/pruning --latency $(ARGS)

results-feature-maps: setup ## Train a net with larger feature maps, and measure what that does (DATA=FOLDER)
	$(CARGO) build --release --locked -p assay
	$(PYTHON) benches/results/feature_maps.py --assay $(abspath $(TARGET))/release/assay --data $(DATA) --folder $(TARGET)/results/feature-maps --latency $(ARGS)

bench-variants: setup ## Compare predictions of the variants with those of their parents, through the service (ARGS=--write: into docs/performance.md)
	$(CARGO) bench --locked -p assay-benches --bench variants -- $(ARGS)

# ARGS="--write" puts the table into docs/performance.md; "--help" lists the rest. MLServer is fetched into an environment of its own.
bench-serving: setup build $(TARGET)/peers/.bench-ready $(TARGET)/serving-peers/.ready ## Compare predictions through the service with the bare session and with servers in Python
	$(TARGET)/peers/bin/python benches/peers/serving_nets.py $(abspath $(TARGET))/serving-models
	$(TARGET)/serving-peers/bin/python benches/peers/serving.py --assay $(abspath $(TARGET))/release --models $(abspath $(TARGET))/serving-models $(ARGS)

# ARGS="--write" puts the table into docs/performance.md; ARGS="--only overload,audit" leaves out the half hour of the soak.
bench-load: setup build ## Load a server with more than it can answer, with an audit beside, and for half an hour while models come and go
	$(PYTHON) benches/load.py --bin $(abspath $(TARGET))/release $(ARGS)

# ARGS="--write" puts the table into docs/performance.md. ASSAY_REFERENCE is a folder with networks and instances of the verification competitions.
bench-certify: setup $(TARGET)/certify-peers/.ready ## Compare certificates with auto_LiRPA's, in processes that work in turn
	$(CARGO) build --release --locked -p assay-benches --bin certifier
	$(TARGET)/certify-peers/bin/python benches/peers/certify.py --certifier $(abspath $(TARGET))/release/certifier --python $(abspath $(TARGET))/certify-peers/bin/python --folder $(abspath $(TARGET))/certificates $(ARGS)

# ARGS="--write" puts the tables into docs/performance.md; ARGS="--only TEXT" measures a part.
bench-forms: setup ## Compare the forms that a derivative can take, and the options of sessions
	$(CARGO) build --release --locked -p assay-benches --bin forms
	$(abspath $(TARGET))/release/forms $(ARGS)

# What speaks the Open Inference Protocol cannot live with torchattacks: they want different versions of the same packages.
$(TARGET)/serving-peers/.ready: benches/peers/serving-requirements.txt
	$(PYTHON) -m venv $(TARGET)/serving-peers
	$(TARGET)/serving-peers/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# auto_LiRPA says that it wants a PyTorch which there is not for the Python of today.
$(TARGET)/certify-peers/.ready: benches/peers/certify-requirements.txt
	$(PYTHON) -m venv $(TARGET)/certify-peers
	$(TARGET)/certify-peers/bin/pip install --quiet --disable-pip-version-check -r $<
	$(TARGET)/certify-peers/bin/pip install --quiet --disable-pip-version-check --no-deps auto_LiRPA==0.3
	@touch $@

$(TARGET)/peers/.bench-ready: benches/peers/requirements.txt
	$(PYTHON) -m venv $(TARGET)/peers
	$(TARGET)/peers/bin/pip install --quiet --disable-pip-version-check -r benches/peers/requirements.txt
	@touch $@

clean: ## Remove everything that was built or fetched
	$(CARGO) clean
