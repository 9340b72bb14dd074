# `make help` lists the targets. You need make and Python 3.11 to 3.13; everything else is installed into .venv.
VENV := .venv
BIN := $(VENV)/bin
# Airflow's pins conflict with TensorFlow's, so it has its own environment.
AIRFLOW := .airflow
AIRFLOW_VERSION := 3.3.2
AIRFLOW_PINS = https://raw.githubusercontent.com/apache/airflow/constraints-$(AIRFLOW_VERSION)/constraints-$(shell \
	$(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])').txt
SCORED := $(or $(INPUT),sample_data/digits)
# For a glob: the folder before the first pattern.
FOLDER := $(shell printf '%s' "$(SCORED)" | sed 's,/*[^/]*[*?[].*,,')
SCORED_TO := $(or $(OUTPUT),out/$(or $(shell basename "$(FOLDER)"),images))
MODEL_OUTPUT ?= out/model
CANDIDATES := python3 python3.13 python3.12 python3.11 python
FITS := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))

.DEFAULT_GOAL := help
.PHONY: help predict train test test-all test-airflow test-cron bench bench-framing bench-report bench-reliability torture fuzz fuzz-models mutate check format goldens sample_data clean

help: ## print this
	@awk -F ':.*## ' '/^[a-z_-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  INPUT= and OUTPUT= set what predict reads and where it writes; ARGS= passes options on"

predict: $(VENV)/ready ## score INPUT (default: sample_data/digits) into OUTPUT (default: out/<name of INPUT>)
	@$(BIN)/python jobs/predict.py "$(SCORED)" --output "$(SCORED_TO)" $(ARGS)

train: $(VENV)/ready ## train on DATA (four idx files or mnist.npz; default: Keras's copy) into MODEL_OUTPUT (out/model)
	@$(BIN)/mnist-batch train $(if $(DATA),--data "$(DATA)") --output "$(MODEL_OUTPUT)" $(ARGS)

test: $(VENV)/ready-dev ## run the quick tests, in parallel (tests on real MNIST need MNIST_BATCH_DATA=<folder>)
	@$(BIN)/python -m pytest -n auto -m "not slow" $(ARGS)

test-all: $(VENV)/ready-dev ## run all tests, in parallel
	@$(BIN)/python -m pytest -n auto $(ARGS)

test-airflow: $(VENV)/ready-dev $(AIRFLOW)/ready-$(AIRFLOW_VERSION) ## run the DAG under a real Airflow, in .airflow (a minute to install)
	@MNIST_BATCH_AIRFLOW=$(CURDIR)/$(AIRFLOW)/bin/airflow $(BIN)/python -m pytest tests/schedulers/test_airflow.py $(ARGS)

test-cron: $(VENV)/ready-dev ## run the job under a real cron for three minutes (needs root and Debian's cron)
	@MNIST_BATCH_CRON=1 $(BIN)/python -m pytest tests/schedulers/test_cron.py $(ARGS)

torture: $(VENV)/ready-dev ## kill a run at every one of its writes, and RUNS (200) times at random; takes an hour
	@MNIST_BATCH_TORTURE=1 RUNS=$(or $(RUNS),200) $(BIN)/python -m pytest -v tests/reliability $(ARGS)

bench: $(VENV)/ready-dev ## measure speed and memory (needs MNIST_BATCH_DATA, 40 GB of disk, and an idle machine)
	@$(BIN)/python benchmarks/speed.py $(ARGS); status=$$?; $(BIN)/python benchmarks/chart.py; exit $$status

bench-framing: $(VENV)/ready-dev ## measure speed and accuracy of framing (needs MNIST_BATCH_DATA and an idle machine)
	@OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/framing.py $(ARGS)

bench-report: $(VENV)/ready-dev ## measure what the report costs in time and bytes (needs an idle machine)
	@$(BIN)/python benchmarks/report.py $(ARGS)

bench-reliability: $(VENV)/ready ## measure the time from SIGTERM to the end (needs MNIST_BATCH_DATA)
	@$(BIN)/python benchmarks/reliability.py $(ARGS)

fuzz: $(VENV)/ready-dev ## read RUNS (20000) mutated inputs of every form; FIRST= is the first seed, ONLY= takes forms by name
	@$(BIN)/python tests/reliability/fuzz.py --runs $(or $(RUNS),20000) --first $(or $(FIRST),0) --only '$(ONLY)'

fuzz-models: $(VENV)/ready-dev ## load RUNS (5000) mutated models of every form; takes an hour
	@$(BIN)/python tests/reliability/fuzz.py --models --runs $(or $(RUNS),5000) --first $(or $(FIRST),0) --only '$(ONLY)'

mutate: $(VENV)/ready-mutate ## put small faults into the code, EACH (52) in each folder, and count those that the tests notice; hours
	@$(BIN)/python tools/mutate.py --seed $(or $(SEED),1) --each $(or $(EACH),52) $(ARGS)

check: $(VENV)/ready-dev ## format, lint, types, layers: what CI runs first
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest tests/test_layers.py

goldens: $(VENV)/ready-dev ## write the report's schema and the expected --help again, and the output of a new version
	@PYTHONPATH=. $(BIN)/python tools/write_schema.py
	@MNIST_BATCH_GOLDENS=1 $(BIN)/python -m pytest tests/cli/test_help.py tests/test_recorded_output.py

format: $(VENV)/ready-dev ## format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

sample_data: $(VENV)/ready ## draw sample_data/ and the self-test's digits again
	@$(BIN)/python sample_data/draw.py

clean: ## remove .venv, .airflow and out
	rm -rf $(VENV) $(AIRFLOW) out

# PYTHON=/path/to/python chooses the interpreter; the default is the first suitable one.
$(VENV)/bin/python:
	@python=""; for candidate in $(or $(PYTHON),$(CANDIDATES)); do \
		if "$$candidate" -c '$(FITS)' 2>/dev/null; then python="$$candidate"; break; fi; done; \
	if [ -z "$$python" ]; then \
		echo "mnist-batch needs Python 3.11, 3.12 or 3.13, found $$($(or $(PYTHON),python3) --version 2>&1):" \
			"install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 1; fi; \
	"$$python" -m venv $(VENV)

$(VENV)/ready: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "setting up $(VENV): TensorFlow is large, this takes a minute or two" >&2
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt --editable .
	@touch $@

$(VENV)/ready-dev: $(VENV)/ready
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(VENV)/ready-mutate: $(VENV)/ready-dev
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt --editable '.[mutate]'
	@touch $@

# With the pins that Airflow publishes, if they can be downloaded.
$(AIRFLOW)/ready-$(AIRFLOW_VERSION): $(VENV)/bin/python
	@$(BIN)/python -m venv $(AIRFLOW)
	@curl --silent --fail --max-time 20 --output $(AIRFLOW)/pins.txt $(AIRFLOW_PINS) || : > $(AIRFLOW)/pins.txt
	@$(AIRFLOW)/bin/python -m pip install -qq --disable-pip-version-check --constraint $(AIRFLOW)/pins.txt \
		apache-airflow==$(AIRFLOW_VERSION) apache-airflow-providers-standard
	@touch $@
