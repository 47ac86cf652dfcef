PYTHON ?= python3
BIN := .venv/bin
RUN := runs/demo

.PHONY: help setup demo test lint clean

help:
	@echo "make setup  environment in .venv, command on .venv/bin/a2bgan"
	@echo "make demo   train on generated phantoms and look at the result in runs/demo (minutes)"
	@echo "make test   the tests"
	@echo "make lint   ruff and mypy"

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: setup
	$(BIN)/a2bgan train --data phantom --preset demo --out $(RUN) --overwrite
	$(BIN)/a2bgan evaluate $(RUN)
	$(BIN)/a2bgan figure $(RUN) --out $(RUN)/figure.png

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --dist loadfile

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv runs
