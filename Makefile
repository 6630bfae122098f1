# make quickstart   set up, then the whole pipeline on config/quickstart.yaml and its report
# make test         set up, then lint and all quick tests
# make test-all     the slow tests too
# make stress       the long ones: every fault on the cluster, the whole chain through it, hostile files for an hour
# make bench        the kernel against LAMMPS, time and memory of the energies, predictions against the published method
#                   and pw.x, predictions of 256 to 16,384 atoms, energies against Quantum ESPRESSO, precision: tables,
#                   figures and CSV in bench/results (half an hour; up to 14 GiB of memory)
# make sanitize     the kernel's tests under AddressSanitizer and UndefinedBehaviorSanitizer
# make setup        set up alone: .venv, and Quantum ESPRESSO where it is missing
# make lint         lint alone
# make wheel        Nearsight as a wheel in dist/, which predicts without compiler, Quantum ESPRESSO and LAMMPS
# make ro-crate     report and RO-Crate of a finished study (STUDY=config/laptop.yaml; the quickstart)
# make format       format the sources

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := quickstart
.PHONY: quickstart test test-all stress bench sanitize lint format wheel ro-crate programs test-programs setup

CORES ?= 2
PYTHON ?= python3
VENV ?= .venv
export PYTHON VENV

BIN := $(VENV)/bin
# as many processes as cores: the tests on the Slurm cluster wait most of the time
PYTEST := $(BIN)/python -m pytest -rs --numprocesses=$(CORES) --no-loadscope-reorder
STAMP := $(VENV)/.complete
KERNEL := workflow/nearsight/descriptors/bispectrum/native
KERNEL_SOURCES := $(wildcard $(addprefix $(KERNEL)/,CMakeLists.txt src/* generator/*.py))
SOURCES := workflow tests bench

quickstart: setup
	$(BIN)/snakemake --cores $(CORES)
	@[ report.html -nt results/quickstart/summary.md ] || $(BIN)/snakemake --report report.html
	@echo "Read results/quickstart/summary.md, or open report.html in a browser."

setup: programs $(STAMP) $(VENV)/.kernel

programs:
	@tools/setup.sh programs

test-programs:
	@tools/setup.sh tests

$(STAMP): requirements.lock requirements-source.lock requirements-torch.lock pyproject.toml tools/setup.sh
	@tools/setup.sh python
	@touch $@

# Nearsight itself with its compiled kernel; ninja compiles again only what changed
$(VENV)/.kernel: $(STAMP) $(KERNEL_SOURCES)
	@tools/setup.sh package
	@touch $@

# lint first: it takes seconds; pytest last: its closing line says how many tests passed
test: setup test-programs lint
	$(PYTEST) -m "not slow and not stress and not gpu"

test-all: setup test-programs lint
	$(PYTEST) -m "not stress"

stress: setup test-programs
	$(BIN)/python -m pytest -rs -m "stress"

# PAGE=docs/performance.md writes the tables of that page; LARGEST atoms at most, 524288 take an hour and 65 GB of disk
LARGEST ?= 16384
bench: setup
	$(BIN)/python bench/bispectrum.py $(PAGE:%=--page %)
	$(BIN)/python bench/energies.py $(PAGE:%=--page %)
	$(BIN)/python bench/mala.py $(PAGE:%=--page %)
	$(BIN)/python bench/inference.py --largest $(LARGEST) $(PAGE:%=--page %)
	$(BIN)/python bench/free_energy.py $(PAGE:%=--page %)
	$(BIN)/python bench/precision.py $(PAGE:%=--page %)

sanitize: setup
	tools/sanitize.sh

wheel: setup
	tools/wheel.sh dist

# the working directory is the crate: ro-crate-metadata.json names the files of the study
ro-crate: setup
	$(BIN)/snakemake --report report.html $(STUDY:%=--configfile %)
	PYTHONPATH=workflow/plugins $(BIN)/snakemake --reporter ro-crate $(STUDY:%=--configfile %)

lint: setup
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/snakefmt --check Snakefile workflow/Snakefile rules
	$(BIN)/snakemake --lint

format: setup
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/snakefmt Snakefile workflow/Snakefile rules
