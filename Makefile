# Every target sets up what it needs in a virtual environment of its own: python3 and make are enough.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test lint docs wheel clean

demo: $(VENV)/.user  ## a first look: a small picture, a few criteria, about two minutes
	$(BIN)/esbench run --preset quick

test: $(VENV)/.developer  ## the whole suite
	$(BIN)/python -m pytest -n auto --dist worksteal

lint: $(VENV)/.developer  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.developer  ## the site, into site/
	$(BIN)/mkdocs build --strict

wheel: $(VENV)/.developer  ## what is published, into dist/
	$(BIN)/python -m build

clean:
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.user: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) -e .
	touch $@

$(VENV)/.developer: $(VENV)/.user
	$(PIP) -e '.[dev]'
	touch $@
