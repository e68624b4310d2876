# `make serve` and `make test` are all that a fresh clone needs; the first run fills .venv, later runs start at once.

PYTHON ?= python3.11
# What pip is told to install as torch, for example TORCH='torch==2.11.0'.
TORCH ?= -r requirements/torch.txt

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check
TORCH_STAMP := .venv/.torch-$(shell printf %s '$(TORCH)' | cksum | cut -d' ' -f1)
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--excludes excludes.txt --custom-compile-command 'make lock'

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help serve test check format bench load capacity alerts-run fuzz chaos soak simulate gpu-bench image-test lock sbom docs clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

serve: .venv/.runtime $(TORCH_STAMP) .venv/.native ## start the service on port 8000
	@exec $(BIN)/python -m app

test: .venv/.dev .venv/.scale $(TORCH_STAMP) ## run the tests; ARGS='-k name' chooses
	@exec $(BIN)/python -m pytest $(ARGS)

check: .venv/.dev .venv/.scale $(TORCH_STAMP) ## lint, format, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(wildcard app workshop deploy simulation)
	$(BIN)/lint-imports

format: .venv/.dev ## rewrite the code in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/.dev $(TORCH_STAMP) ## measure latency and throughput of a local server
	@exec $(BIN)/python -m loadtests.bench $(ARGS)

load: .venv/.dev $(TORCH_STAMP) .venv/.native ## a front end's load on a local server, closed and open loop
	@exec $(BIN)/python -m loadtests.load $(ARGS)

capacity: .venv/.dev $(TORCH_STAMP) .venv/.native ## the highest rate that still meets the objectives
	@exec $(BIN)/python -m loadtests.capacity $(ARGS)

alerts-run: .venv/.dev $(TORCH_STAMP) .venv/.native ## no alert may fire under a healthy load
	@exec $(BIN)/python -m loadtests.healthy_run $(ARGS)

fuzz: .venv/.dev $(TORCH_STAMP) .venv/.native ## 10,000 bad inputs to a real service, with good traffic beside them
	@exec $(BIN)/python -m loadtests.reliability.fuzz $(ARGS)

chaos: .venv/.dev $(TORCH_STAMP) .venv/.native ## everything around a service fails under good traffic
	@exec $(BIN)/python -m loadtests.reliability.chaos $(ARGS)

soak: .venv/.dev $(TORCH_STAMP) .venv/.native ## half an hour of mixed load: does all come back
	@exec $(BIN)/python -m loadtests.reliability.soak $(ARGS)

simulate: .venv/.dev $(TORCH_STAMP) ## the engine on a virtual clock, under random traffic and faults
	@exec $(BIN)/python -m simulation $(ARGS)

gpu-bench: .venv/.dev $(TORCH_STAMP) ## the same with a larger model on a GPU
	@exec $(BIN)/python -m loadtests.gpu_bench $(ARGS)

image-test: .venv/.dev ## build the image and run it, hardened, without a Docker engine
	@exec $(BIN)/python -m deploy.image.image_test $(ARGS)

lock: .venv/.dev ## resolve requirements/*.in anew; UPGRADE=--upgrade takes newer versions
	cd requirements && ../$(LOCK) $(UPGRADE) runtime.in -o runtime.txt
	cd requirements && ../$(LOCK) $(UPGRADE) scale.in -o scale.txt
	cd requirements && ../$(LOCK) $(UPGRADE) dev.in -o dev.txt
	cd requirements && ../$(LOCK) $(UPGRADE) guidellm.in -o guidellm.txt

sbom: .venv/.dev ## write the bill of materials from the locks
	$(BIN)/python -m deploy.sbom

docs: .venv/.dev ## write all that is generated: settings, metrics, rules, dashboards
	$(BIN)/python -m docs.settings_table
	$(BIN)/python -m docs.metric_reference
	$(BIN)/python -m deploy.prometheus.generate
	$(BIN)/python -m deploy.grafana.generate
	$(BIN)/python -m deploy.kubernetes.generate

clean: ## remove .venv and the caches
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Each stamp is touched last, so an interrupted installation is simply done again. The locks name every
# dependency, hence --no-deps; torch comes after them and finds what it needs.

.venv/.created:
	@echo 'Preparing .venv: about two minutes, once.'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@touch $@

.venv/.runtime: requirements/runtime.txt | .venv/.created
	$(PIP) --no-deps --require-hashes -r $<
	@touch $@

.venv/.dev: requirements/dev.txt | .venv/.runtime
	$(PIP) --no-deps --require-hashes -r $<
	@touch $@

.venv/.scale: requirements/scale.txt | .venv/.runtime
	$(PIP) --no-deps --require-hashes -r $<
	@touch $@

# For the cross-check alone; the last line lets it find the service's torch behind its own packages.
.venv/.guidellm: requirements/guidellm.txt | $(TORCH_STAMP)
	$(PYTHON) -m venv --clear .venv/guidellm
	.venv/guidellm/bin/python -m pip install --disable-pip-version-check --no-deps --require-hashes -r $<
	@echo ../../../../lib/python3.11/site-packages > .venv/guidellm/lib/python3.11/site-packages/service.pth
	@touch $@

$(TORCH_STAMP): requirements/torch.txt | .venv/.runtime
	@rm -f .venv/.torch-*
	$(PIP) $(TORCH)
	@touch $@

# Without a compiler this leaves a warning, and the service goes through PyTorch.
.venv/.native: $(wildcard app/engine/native/library.py app/engine/native/src/*) | $(TORCH_STAMP)
	@echo 'Compiling the native kernels: about ten seconds, once.'
	@if $(BIN)/python -m app.engine.native.library; then touch $@; fi
