# make help lists what there is.
PYTHON ?= python3
ITER ?= 1
PROFILE ?= tiny
UV_VERSION := 0.13.8
PY := .venv/bin/python
# What is installed decides; on a fresh checkout EXTRA=gpu asks for CUDA.
EXTRA ?= $(if $(wildcard .venv/.installed-gpu),gpu,cpu)
OTHER_cpu := gpu
OTHER_gpu := cpu
FLAGS = --iter $(ITER) --profile $(PROFILE) $(if $(NAME),--name $(NAME)) $(if $(SEED),--seed $(SEED)) $(if $(SET),--set $(SET))

LOOK = $(if $(NAME),--name $(NAME)) $(if $(RUNS),--runs-dir "$(RUNS)")

# Where this is set, every process of a run compiles all that it imports once more: twice as long until the engines are up.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup round submit check report status watch stacks best benchmarks evaluate push docs test lint bench chaos audit table base real dashboard clean lock

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: .venv/.installed-$(EXTRA)  ## install everything into .venv (EXTRA=gpu for CUDA)

.venv/.installed-%: locks/%.txt locks/overrides-%.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f"Python 3.11 to 3.13 is needed, $(PYTHON) is {v[0]}.{v[1]}: make PYTHON=python3.12 ...")'
	@test ! -e .venv/.installed-$(OTHER_$*) || \
	  { echo "error: EXTRA=$*: .venv is installed for $(OTHER_$*) and cannot hold both; valid: make clean, then the same again" >&2; exit 1; }
	@test -x $(PY) || $(PYTHON) -m venv .venv
	@$(PY) -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@sh locks/install.sh $*
	@touch $@

round: setup  ## run what is missing up to round ITER (PROFILE NAME SEED SET="setting=value ...")
	@$(PY) -m jobs.round $(FLAGS)

submit: setup  ## the same on a Ray cluster: RAY_ADDRESS=http://head:8265
	@$(PY) -m jobs.submit $(FLAGS)

check: setup  ## whether a run would work: machine, memory, disk (PROFILE NAME SET; TRY=1 draws from the model, SPEED=tokens/s)
	@$(PY) -m jobs.check --profile $(PROFILE) $(if $(NAME),--name $(NAME)) $(if $(SET),--set $(SET)) \
	  $(if $(TRY),--try) $(if $(SPEED),--tokens-per-second $(SPEED))

report: setup  ## one HTML page about a run (NAME, else the latest; RUNS=folder)
	@$(PY) -m jobs.report $(LOOK)

status: setup  ## how far each run is (NAME for one)
	@$(PY) -m jobs.status $(LOOK)

stacks: setup  ## where every process of a run stands, for one that hangs (NAME)
	@$(PY) -m jobs.stacks $(LOOK)

watch: setup  ## a run as it goes, until Ctrl-C
	@$(PY) -m jobs.watch $(LOOK)

best: setup  ## the best rounds of all runs (METRIC=heldout_sampled STORE=sqlite:////file)
	@$(PY) -m jobs.best $(if $(METRIC),--metric $(METRIC)) $(if $(STORE),--tracking-uri $(STORE))

benchmarks: setup  ## fetch the paper's ten sets (SETS="math500 aime24", definitions or data files of your own; OUT=folder)
	@$(PY) -m jobs.benchmarks $(if $(SETS),--sets "$(SETS)") $(if $(OUT),--output "$(OUT)")

evaluate: setup  ## measure a policy on held-out sets (POLICY=runs/NAME[:ROUND]|folder|hub id SETS LIMIT SAMPLES PROFILE OUTPUT)
	@$(PY) -m jobs.evaluate --policy "$(POLICY)" --profile $(PROFILE) $(if $(SETS),--sets "$(SETS)") $(if $(LIMIT),--limit $(LIMIT)) \
	  $(if $(SAMPLES),--samples $(SAMPLES)) $(if $(OUTPUT),--output "$(OUTPUT)") $(if $(SET),--set $(SET))

push: setup  ## a policy of a run to the Hub (RUN ROUND REPO=me/name WHAT=solver|challenger|curriculum PUBLIC=1 DRY=1)
	@$(PY) -m jobs.push $(if $(RUN),--run $(RUN)) $(if $(ROUND),--round $(ROUND)) $(if $(REPO),--repo $(REPO)) \
		$(if $(WHAT),--what $(WHAT)) $(if $(PUBLIC),--public) $(if $(DRY),--dry) $(if $(RUNS),--runs-dir "$(RUNS)")

docs: setup  ## write docs/settings.md anew from the schema
	@$(PY) -m jobs.docs

test: setup  ## all tests that this machine can run
	@$(PY) -m pytest -q -n 2 --dist loadfile tests/unit pipeline actors conf examples jobs
	@$(PY) -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder tests/ray
	@$(PY) -m pytest -q tests/gpu tests/real

lint: setup  ## who imports whom, ruff and mypy
	@.venv/bin/lint-imports --no-cache --no-logo
	@$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy

bench: setup  ## speed, as ratios against named peers in the same run
	@$(PY) -m jobs.bench.reward
	@$(PY) -m jobs.bench.learner
	@$(PY) -m jobs.bench.rollout
	@$(PY) -m jobs.bench.evaluation
	@$(PY) -m jobs.bench.round

chaos: setup  ## kills, stops and damages parts of tiny rounds, which have to end in the same result (FAULTS SEED ONLY)
	@$(PY) -m jobs.chaos $(if $(FAULTS),--faults $(FAULTS)) $(if $(SEED),--seed $(SEED)) $(if $(ONLY),--only $(ONLY))

table: setup  ## the paper's table in small, variants of R-Zero over five seeds and more (OPTIONS=1: what helps over many rounds)
	@$(PY) -m jobs.table $(if $(OPTIONS),--options) $(if $(SEEDS),--seeds $(SEEDS))

base: setup  ## rebuild the tiny base model in assets/
	@$(PY) -m jobs.base

real: setup .venv/.installed-real  ## a round on SmolLM2-135M-Instruct, a real pretrained model, and its tests
	@$(PY) -m jobs.real
	@REAL=1 $(PY) -m pytest -q tests/real

dashboard: setup .venv/.installed-dashboard  ## MLflow over the runs, on http://127.0.0.1:5000 (STORE)
	@$(PY) -m jobs.dashboard $(if $(STORE),--tracking-uri $(STORE))

lock: setup  ## compile the locks anew from pyproject.toml
	@sh locks/compile.sh

audit: setup  ## advisories against the pinned packages, at the index that pip is configured with
	@$(PY) -m jobs.audit

clean:  ## remove the environment and the caches (runs/ and mlruns/ stay)
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
