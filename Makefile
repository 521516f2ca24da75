# Two commands from nothing: `make demo` and `make test`. Needs Python 3.10 to 3.13 and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test browser lint tables clean
.DEFAULT_GOAL := demo

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,bench]"
	touch $@

demo: $(STAMP)
	$(BIN)/samarkand demo

test: $(STAMP)
	$(BIN)/python -m pytest -n auto --dist loadfile $(PYTEST_ARGS)

# The pages that are made of corpora and attention, in Chromium with chromedriver.
browser: $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[browser]"
	$(BIN)/python -m pytest --slow tests/pipeline/test_pages_browser.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The README's tables, made from benchmarks/results/*.json.
tables: $(STAMP)
	$(BIN)/python benchmarks/make_tables.py

clean:
	rm -rf $(VENV) build *.egg-info out
