# `make help` prints what there is. Nothing but make and Python 3.11 to 3.13 is needed; the rest goes into .venv.
VENV := .venv
BIN := $(VENV)/bin
# Its pins clash with TensorFlow's: an environment of its own.
AIRFLOW := .airflow
AIRFLOW_VERSION := 3.3.2
AIRFLOW_PINS = https://raw.githubusercontent.com/apache/airflow/constraints-$(AIRFLOW_VERSION)/constraints-$(shell \
	$(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])').txt
SCORED := $(or $(INPUT),sample_data/digits)
# Of a glob, the name of the folder before it.
FOLDER := $(shell printf '%s' "$(SCORED)" | sed 's,/*[^/]*[*?[].*,,')
SCORED_TO := $(or $(OUTPUT),out/$(or $(shell basename "$(FOLDER)"),images))
MODEL_OUTPUT ?= out/model
CANDIDATES := python3 python3.13 python3.12 python3.11 python
FITS := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))

.DEFAULT_GOAL := help
.PHONY: help predict train test test-airflow test-cron bench bench-framing bench-report bench-reliability torture fuzz check format goldens sample_data clean

help: ## print this
	@awk -F ':.*## ' '/^[a-z_-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  INPUT=, OUTPUT= say what predict reads and where it writes; ARGS= passes on options"

predict: $(VENV)/ready ## score INPUT (default: sample_data/digits) into OUTPUT (default: out/<name of INPUT>)
	@$(BIN)/python jobs/predict.py "$(SCORED)" --output "$(SCORED_TO)" $(ARGS)

train: $(VENV)/ready ## train on DATA (four idx files or mnist.npz; default: Keras's copy) into MODEL_OUTPUT (out/model)
	@$(BIN)/mnist-batch train $(if $(DATA),--data "$(DATA)") --output "$(MODEL_OUTPUT)" $(ARGS)

test: $(VENV)/ready-dev ## run the tests; those on real MNIST want MNIST_BATCH_DATA=<folder>
	@$(BIN)/python -m pytest $(ARGS)

test-airflow: $(VENV)/ready-dev $(AIRFLOW)/ready-$(AIRFLOW_VERSION) ## run the DAG under a real Airflow, in .airflow (a minute to install)
	@MNIST_BATCH_AIRFLOW=$(CURDIR)/$(AIRFLOW)/bin/airflow $(BIN)/python -m pytest tests/schedulers/test_airflow.py $(ARGS)

test-cron: $(VENV)/ready-dev ## run the job under a real cron for three minutes (wants root and Debian's cron)
	@MNIST_BATCH_CRON=1 $(BIN)/python -m pytest tests/schedulers/test_cron.py $(ARGS)

torture: $(VENV)/ready-dev ## kill a run at every one of its writes, and more that takes an hour
	@MNIST_BATCH_TORTURE=1 RUNS=$(or $(RUNS),200) $(BIN)/python -m pytest -v tests/reliability $(ARGS)

bench: $(VENV)/ready-dev ## measure speed and memory (wants MNIST_BATCH_DATA, 20 GB of disk, and nothing else running)
	@$(BIN)/python benchmarks/speed.py $(ARGS); status=$$?; $(BIN)/python benchmarks/chart.py; exit $$status

bench-framing: $(VENV)/ready-dev ## measure speed and accuracy of framing (wants MNIST_BATCH_DATA, and nothing else running)
	@OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/framing.py $(ARGS)

bench-report: $(VENV)/ready-dev ## measure what the report costs in time and bytes (wants nothing else running)
	@$(BIN)/python benchmarks/report.py $(ARGS)

bench-reliability: $(VENV)/ready ## measure time from SIGTERM to the end (wants MNIST_BATCH_DATA)
	@$(BIN)/python benchmarks/reliability.py $(ARGS)

fuzz: $(VENV)/ready-dev ## read RUNS (20000) mutated inputs of every form; FIRST= is the first seed
	@$(BIN)/python tests/reliability/fuzz.py --runs $(or $(RUNS),20000) --first $(or $(FIRST),0)

check: $(VENV)/ready-dev ## format, lint, types, layers: what CI runs first
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest tests/test_layers.py

goldens: $(VENV)/ready-dev ## write the expected --help anew
	@MNIST_BATCH_GOLDENS=1 $(BIN)/python -m pytest tests/test_help.py

format: $(VENV)/ready-dev ## put the code into the project's format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

sample_data: $(VENV)/ready ## draw sample_data/ and the self-test's digits anew
	@$(BIN)/python sample_data/draw.py

clean: ## remove .venv, .airflow and out
	rm -rf $(VENV) $(AIRFLOW) out

# PYTHON=/path/to/python chooses the interpreter; otherwise the first that fits.
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

# With the pins that Airflow publishes, where they can be reached.
$(AIRFLOW)/ready-$(AIRFLOW_VERSION): $(VENV)/bin/python
	@$(BIN)/python -m venv $(AIRFLOW)
	@curl --silent --fail --max-time 20 --output $(AIRFLOW)/pins.txt $(AIRFLOW_PINS) || : > $(AIRFLOW)/pins.txt
	@$(AIRFLOW)/bin/python -m pip install -qq --disable-pip-version-check --constraint $(AIRFLOW)/pins.txt \
		apache-airflow==$(AIRFLOW_VERSION) apache-airflow-providers-standard
	@touch $@
