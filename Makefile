# make demo and make test bring their own environment; everything lands in .venv and artifacts.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# cpu or gpu: by what the machine has, or as given (make setup EXTRA=gpu).
EXTRA ?= $(shell if command -v nvidia-smi >/dev/null 2>&1 || test -e /dev/nvidia0; then echo gpu; else echo cpu; fi)
# What is installed beside the engine: an extra (the containers: kuberay), or nothing with WITH=.
WITH ?= dev
UV := $(shell command -v uv 2>/dev/null || echo $(BIN)/uv)
# uv does not read pip's settings: a local wheel folder configured for pip is handed over.
FIND_LINKS := $(or $(UV_FIND_LINKS),$(PIP_FIND_LINKS),$(shell $(PYTHON) -m pip config get install.find-links 2>/dev/null || \
	$(PYTHON) -m pip config get global.find-links 2>/dev/null))
TEST_WORKERS ?= 2
# Where it is set, every process compiles its sources anew: twice the start of a worker, of a server, of a command.
unexport PYTHONDONTWRITEBYTECODE
STAMP := $(VENV)/.installed-$(EXTRA)

.PHONY: setup servers demo smoke test test-slow chaos benchmark check constraints generated-docs docs findings clean browser screenshots

setup: $(STAMP)

$(STAMP): pyproject.toml constraints-$(EXTRA).txt overrides-$(EXTRA).txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	test -x "$(UV)" || $(BIN)/python -m pip install --quiet uv
	env $(if $(FIND_LINKS),UV_FIND_LINKS="$(FIND_LINKS)") "$(UV)" pip install --quiet --python $(BIN)/python \
		--editable '.[$(EXTRA)$(WITH:%=,%)]' --constraints constraints-$(EXTRA).txt --overrides overrides-$(EXTRA).txt
	touch $(STAMP)

# Prefect and MLflow alone, able to use Postgres, and our guard before them: the image of the servers.
servers:
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	test -x "$(UV)" || $(BIN)/python -m pip install --quiet uv
	"$(UV)" pip install --quiet --python $(BIN)/python prefect mlflow psutil 'psycopg[binary]' --constraints constraints-cpu.txt
	"$(UV)" pip install --quiet --python $(BIN)/python --no-deps --editable .

demo: setup
	$(BIN)/laconic doctor
	$(BIN)/laconic run configs/demo.toml

smoke: setup
	$(BIN)/laconic run configs/smoke.toml

# Files side by side, since engines and servers spend much of their time waiting, in the order of tests/conftest.py.
# One worker: make test TEST_WORKERS=0
test: setup
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder --durations=15

test-slow: setup
	$(BIN)/python -m pytest -m slow

# Faults at random moments (docs/howto/fault-campaign.md): make chaos ROUNDS=100 SEED=7. Two rounds at a time; one with LANES=0.
ROUNDS ?= 20
SEED ?= 0
FIRST ?= 0
LANES ?= 2
chaos: setup
	ROUNDS=$(ROUNDS) SEED=$(SEED) FIRST=$(FIRST) $(BIN)/python -m pytest tests/chaos/test_campaign.py -m slow -v -n $(LANES) --dist loadgroup

# Targets beside figures; ends non-zero when one falls short by more than a tenth. ROWS=10000000: the size of real runs.
ROWS ?= 300000
benchmark: setup
	env $(if $(FIND_LINKS),UV_FIND_LINKS="$(FIND_LINKS)") "$(UV)" pip install --quiet --python $(BIN)/python \
		--editable '.[$(EXTRA),dev,benchmark]' --constraints constraints-$(EXTRA).txt --overrides overrides-$(EXTRA).txt
	$(BIN)/python -m benchmarks.beside_trl --load 2
	$(BIN)/python benchmarks/start_up.py
	$(BIN)/python -m benchmarks.sweep_saving
	$(BIN)/python benchmarks/sql_at_size.py --rows $(ROWS)
	$(BIN)/python benchmarks/store_in_the_loop.py

# What the browser test drives; without it, that test is skipped with a reason.
browser:
	-@if command -v chromium chromium-browser google-chrome >/dev/null; then echo "a browser is there"; \
	elif command -v apt-get >/dev/null && test "$$(id -u)" = 0; then \
		apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null; \
	else echo "no browser: install chromium with this system's package manager"; fi

# The pictures of the pages in docs/images, taken by the browser test.
screenshots: setup browser
	LACONIC_SCREENSHOTS=docs/images $(BIN)/python -m pytest tests/e2e/test_served.py

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m flows.generated_docs --check
	$(BIN)/hadolint docker/Dockerfile
	$(BIN)/shellcheck docker/slurm.sbatch
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

# The versions of constraints-EXTRA.txt, resolved anew. No addresses; the torch build, triton and setuptools depend on the machine.
constraints: setup
	env $(if $(FIND_LINKS),UV_FIND_LINKS="$(FIND_LINKS)") "$(UV)" pip compile --quiet pyproject.toml --python $(BIN)/python \
		--extra $(EXTRA) --extra dev --extra servers --extra benchmark --extra kuberay --overrides overrides-$(EXTRA).txt --no-annotate --no-header \
		--output-file constraints-$(EXTRA).txt.all
	grep -vE '^(--|triton|setuptools|nvidia-|cuda-)' constraints-$(EXTRA).txt.all | sed 's/+cpu$$//' > constraints-$(EXTRA).txt.new
	mv constraints-$(EXTRA).txt.new constraints-$(EXTRA).txt
	rm constraints-$(EXTRA).txt.all

# What documents show of the code: tables and views, settings, commands, rules, findings.
generated-docs: setup
	$(BIN)/python -m flows.generated_docs

# The documentation as a site, in site/.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Every finding of the paper in miniature, then the pages of docs/findings: hours on two cores; interrupt and repeat at will.
findings: setup
	$(BIN)/laconic experiment all --pages docs/findings
	$(BIN)/python -m flows.generated_docs

clean:
	rm -rf $(VENV) artifacts .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
