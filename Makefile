# The three commands of the README, and what CI calls. `make install` makes .venv; everything else uses it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: install demo test format bench-quality bench-quality-full soak clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip==26.1
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,tune,report,demo]' --group dev
	touch $@

demo: install
	$(BIN)/headrace demo

test: install
	$(BIN)/python -m tests.gate

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Under 30 minutes on two quiet cores; the full form takes a night. DATA is the folder of the public sets.
DATA ?= ../shared/data

bench-quality: install
	$(BIN)/python benchmarks/bench_quality.py --data $(DATA) --quick

bench-quality-full: install
	$(BIN)/python benchmarks/bench_quality.py --data $(DATA)

# An hour at a steady load; the memory must stay within 5 % of its tenth minute.
soak: install
	$(BIN)/python benchmarks/soak.py

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
