# Every target makes what it needs: a new machine has Python, make and a compiler, nothing else.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: demo test lint bench bench-small versus-qemu conformance properties quality kill fuzz-qemu fuzz-streams notebooks docs clean
.DEFAULT_GOAL := test

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --group test --group lint --group docs --editable '.[all]'
	touch $@

demo: $(STAMP)
	$(BIN)/migsim demo cpr-reboot

test: $(STAMP)
	$(BIN)/python -m pytest -n auto
	$(BIN)/python -m pytest -q -n auto --nbmake notebooks

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Every scenario of the kit against the recorded answers of both releases; then every case of the
# ladder, launched as the outside client does it: migsim on both sides, and beside a real QEMU.
LADDER := PYTHONPATH=.:tests $(BIN)/python -m conformance.ladder
QEMU   ?= qemu-system-x86_64

conformance: $(STAMP)
	$(BIN)/python tests/conformance/forked.py --release 10.0
	$(BIN)/python tests/conformance/forked.py --release 11.1
	$(LADDER) --least 43
	if command -v $(QEMU); then $(LADDER) --source $(QEMU) --least 44; fi
	if command -v $(QEMU); then $(LADDER) --target $(QEMU) --least 41; fi

# The rule-based machines at length, with other inputs every time; says how many steps they made.
properties: $(STAMP)
	HYPOTHESIS_PROFILE=long $(BIN)/python -m pytest -q -n auto tests/property -k machine

# Bugs of one line, planted into a copy of the package: the suite has to find each of them.
quality: $(STAMP)
	MIGSIM_QUALITY=1 $(BIN)/python -m pytest -q -n auto tests/quality

# 500 processes killed with SIGKILL while they save, load or convert.
kill: $(STAMP)
	PYTHONPATH=tests $(BIN)/python -m fault.killing --count 500

# The same generated commands to migsim and to a real QEMU, until they differ or time is up.
MINUTES ?= 5
fuzz-qemu: $(STAMP)
	PYTHONPATH=tests $(BIN)/python -m fuzzing.beside_qemu --minutes $(MINUTES)

# 200,000 damaged streams and every cut of the recorded ones; goes on where it was stopped.
fuzz-streams: $(STAMP)
	PYTHONPATH=tests $(BIN)/python -m fuzzing.streams --count 200000
	PYTHONPATH=tests $(BIN)/python -m fuzzing.cuts

bench: $(STAMP)
	$(BIN)/python -m pytest benchmarks -p no:xdist -c benchmarks/pytest.ini

# The same, small: shows that every benchmark still runs, and prints the ratios; no time counts.
bench-small: $(STAMP)
	MIGSIM_BENCH_SMALL=1 $(BIN)/python -m pytest benchmarks -q -p no:xdist -c benchmarks/pytest.ini --benchmark-quiet
	$(BIN)/python -m benchmarks.versus_qemu --size-gib 0.03125 --pairs 1

# A real QEMU and migsim by turns, and the limits of the machine; needs 6 GiB of /dev/shm.
versus-qemu: $(STAMP)
	$(BIN)/python -m benchmarks.versus_qemu

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks .fuzz

# Runs the notebooks and writes them with their outputs; the text forms are the source.
notebooks: $(STAMP)
	$(BIN)/python tools/run_notebooks.py notebooks/*.py

# The documentation as pages in docs/_build; a warning is an error.
docs: $(STAMP)
	$(BIN)/python -m sphinx -q -W --keep-going docs docs/_build
