# make demo   sets everything up, runs the simulated-against-real scenario, prints the verdict and the report's path
# make test   sets everything up and runs the tests
# make check  lint, format, types, layers and circles of imports
# make pages  writes the pages that are made from the code
# make sample makes the committed example run again
# make wheel  builds the wheel, installs it into an empty environment and uses it there
# make locusts  tests the web UI with the two minor versions of Locust before the newest, and in a tab that stays open
# make hostile  meets every hostile server of the corpus, and reads 10,000 edited files
# make audit  looks up known vulnerabilities of the dependencies; says so where it cannot ask

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
NODE_FOLDERS := tests/node tests/gateway
NODE_INSTALLED := node_modules/.package-lock.json

.PHONY: demo test check lint format types layers pages wheel locusts hostile audit sample clean

demo: $(INSTALLED)
	@$(BIN)/streambench run scenarios/simulated-vs-real.yaml || { code=$$?; [ $$code -eq 4 ] || exit $$code; \
	echo; echo "Nothing is broken: the first lines above say why this run is inconclusive. Close other programs on this machine and try make demo again."; }

# Three at a time, a file each: most tests wait for servers, on two cores as well.
test: $(INSTALLED) node-packages
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

check: lint types layers

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(INSTALLED)
	$(BIN)/mypy

layers: $(INSTALLED)
	$(BIN)/lint-imports
	$(BIN)/python -m tools.imports

pages: $(INSTALLED)
	$(BIN)/python -m tools.modules
	$(BIN)/python -m tools.rules
	$(BIN)/python -m tools.conformance
	$(BIN)/python tests/streambench/load/test_reference_page.py
	$(BIN)/python tests/streambench/dialects/test_reference_pages.py

wheel: $(INSTALLED)
	$(BIN)/python -m pytest -m wheel tests/wheel

locusts: $(INSTALLED)
	$(BIN)/python -m pytest -m locusts tests/streambench/locust

hostile: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 -m hostile tests/hostile

audit: $(INSTALLED)
	$(BIN)/python -m tools.audit

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

# What the tests run against: the official Node clients and servers, and a gateway; without npm they are skipped.
.PHONY: node-packages
node-packages:
	@if ! command -v npm >/dev/null; then echo "npm not found: the Node tests will be skipped (install Node.js 18 or newer)"; exit 0; fi; \
	for folder in $(NODE_FOLDERS); do \
	  if [ -f $$folder/package-lock.json ] && [ ! $$folder/$(NODE_INSTALLED) -nt $$folder/package-lock.json ]; then \
	    npm ci --prefix $$folder --no-audit --no-fund --silent && touch $$folder/$(NODE_INSTALLED) || exit 1; \
	  fi; \
	done

# What the README shows: a run, whose records are too large to commit, and the live page, which takes Chromium.
sample: $(INSTALLED)
	rm -rf build/sample reports/sample
	$(BIN)/streambench run scenarios/simulated-vs-real.yaml -o build/sample
	mkdir -p reports/sample
	cp -r build/sample/simulated-vs-real/latest/report.html build/sample/simulated-vs-real/latest/summary.json \
	  build/sample/simulated-vs-real/latest/summary.md build/sample/simulated-vs-real/latest/junit.xml \
	  build/sample/simulated-vs-real/latest/plots reports/sample/
	$(BIN)/python -m tools.live_page docs/images/live-page.png

clean:
	rm -rf $(VENV) dist build $(NODE_FOLDERS:=/node_modules)
