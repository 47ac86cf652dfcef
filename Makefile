PYTHON ?= python3
BIN := .venv/bin
RUN := runs/demo

.PHONY: help setup demo test lint docs packages licences sbom audit clean

TOOLS := dist/tools

help:
	@echo "make setup  environment in .venv, command on .venv/bin/a2bgan"
	@echo "make demo   train on generated phantoms and look at the result in runs/demo (minutes)"
	@echo "make test   the tests"
	@echo "make lint   ruff and mypy"
	@echo "make docs   the documentation as a site in dist/site"
	@echo "make packages  the wheel and the source distribution in dist/packages, tried once"
	@echo "make licences, sbom, audit   licences, bill of materials and known weaknesses of all dependencies"

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

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# The wheel alone, away from the sources: what it lacks would be found in the clone.
packages: setup
	rm -rf dist/packages dist/installed
	$(BIN)/python -m hatchling build -d dist/packages > /dev/null
	$(BIN)/python -m pip install --quiet --no-deps --target dist/installed dist/packages/*.whl
	cd dist && for command in --version methods config; do \
	  PYTHONPATH=installed ../$(BIN)/python -P -m a2bgan $$command > /dev/null || exit 1; done
	cd dist && PYTHONPATH=installed ../$(BIN)/python -P -c \
	  "import a2bgan; assert 'installed' in a2bgan.__file__, a2bgan.__file__"
	@ls dist/packages

licences: setup
	$(BIN)/python .ci/licences.py

# Tools of their own, so that what they need does not end up among the dependencies.
$(TOOLS)/ready:
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet cyclonedx-bom pip-audit
	touch $@

sbom: setup $(TOOLS)/ready
	$(TOOLS)/bin/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml --of JSON -o dist/sbom.cdx.json
	@echo dist/sbom.cdx.json

# A finding fails; an index that cannot be asked does not.
audit: $(TOOLS)/ready
	@grep -v "^nvidia-\|^cuda-" constraints.txt > dist/audit.txt; \
	$(TOOLS)/bin/pip-audit --no-deps --disable-pip --progress-spinner off -r dist/audit.txt > dist/audit.out 2>&1; \
	status=$$?; skipped=$$(grep -c "could not be audited" dist/audit.out); \
	if grep -q "^Found [0-9]" dist/audit.out; then cat dist/audit.out; exit $$status; fi; \
	if [ $$status != 0 ] || [ $$skipped -gt 5 ]; then \
	  echo "not audited: the data on known weaknesses cannot be reached (dist/audit.out)"; \
	else cat dist/audit.out; fi

clean:
	rm -rf .venv runs dist
