# What one does with this project, from a machine that has only make and Python 3.11 or 3.12. `make help` lists it.

# Names of one's own: make PYTHON=python3.12 run
PYTHON ?= $(shell for p in python3 python3.11 python3.12; do "$$p" -c '' >/dev/null 2>&1 && echo "$$p" && break; done)
# -E -s: no PYTHONPATH, no packages of the user's.
SET_UP = $(or $(PYTHON),$(error Python 3.11 or 3.12 is needed, and there is no python3 on PATH)) -E -s -m app.environments

# Processes that share the tests. The slow ones wait for servers most of the time.
JOBS ?= 2

# Of `make load`. Plain =: HOST is also a variable of some shells.
HOST = http://127.0.0.1:8000
USERS = 8
RATE = 4
TIME = 1m

TESTS = $(wildcard tests/unit tests/service tests/contract tests/e2e)

# --universal: one file for Python 3.11 and 3.12 and all platforms. No index or path gets into the files.
UV_VERSION = 0.13.9
UV = build/uv-$(UV_VERSION)
COMPILE = $(UV)/bin/uv pip compile --quiet --no-config --universal --fork-strategy fewest --python-version 3.11 \
	--override requirements/overrides.txt --generate-hashes --no-emit-index-url --custom-compile-command "make requirements" $(if $(UPGRADE),--upgrade)

# In an environment of its own, like uv: what looks for holes is no part of what is looked at.
AUDIT_VERSION = 2.10.1
AUDIT = build/pip-audit-$(AUDIT_VERSION)

# Without compiled modules every start takes five seconds longer.
unexport PYTHONDONTWRITEBYTECODE

MAKEFLAGS += --no-print-directory
.NOTPARALLEL:
.PHONY: help run models load test check bench requirements audit clean

help: ## list what there is
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1	\2/p' Makefile | expand -t 20

# exec: the service is make's own child and gets the signals that stop it.
run: ## install what is missing, build the models, run the service with its own Triton and database
	@$(SET_UP) service $(if $(LIKENESS_TRITON_URL),,triton)
	@.venv/bin/likeness models build
	@exec .venv/bin/likeness serve

models: ## build the model repository
	@$(SET_UP) service
	@.venv/bin/likeness models build

load: ## load a running service (HOST, USERS, RATE, TIME, PHOTOS=folder, WEB=1 for a page)
	@$(SET_UP) dev
	@exec .venv/bin/locust --locustfile loadtest/locustfile.py --host '$(HOST)' --users $(USERS) --spawn-rate $(RATE) \
		--run-time $(TIME) --stop-timeout 30 $(if $(PHOTOS),--photos '$(PHOTOS)') \
		$(if $(WEB),--web-host 127.0.0.1,--headless --only-summary) $(ARGS)

test: ## run all tests (ARGS="-k name" goes to pytest, JOBS=1 for one after the other)
	@$(SET_UP) dev triton
	@.venv/bin/likeness models build
	@.venv/bin/python -m pytest -n $(JOBS) --dist loadscope --no-loadscope-reorder $(TESTS) $(ARGS)

check: ## lint, format, types and layers
	@$(SET_UP) dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

bench: ## measure the service beside the limit of this machine (ARGS="--quick" for a minute's look)
	@$(SET_UP) dev triton
	@.venv/bin/likeness models build
	@.venv/bin/python -m loadtest.bench $(ARGS)

requirements: ## pin the requirement files anew from pyproject.toml (UPGRADE=1 for newer versions)
	@test -x $(UV)/bin/uv || { $(PYTHON) -m venv $(UV) && $(UV)/bin/pip install --quiet uv==$(UV_VERSION); }
	$(COMPILE) pyproject.toml --output-file requirements/service.txt
	$(COMPILE) pyproject.toml --extra dev --extra tracing --constraint requirements/service.txt --output-file requirements/dev.txt
	$(COMPILE) triton/requirements.in --no-deps --output-file triton/requirements.txt

# --strict: a package that the database does not know, or cannot be asked about, is a failure and no clean bill.
audit: ## ask pypi.org which of the pinned packages have known vulnerabilities
	@test -x $(AUDIT)/bin/pip-audit || { $(PYTHON) -m venv $(AUDIT) && $(AUDIT)/bin/pip install --quiet pip-audit==$(AUDIT_VERSION); }
	@for file in requirements/service.txt requirements/dev.txt triton/requirements.txt; do \
		echo "== $$file"; \
		$(AUDIT)/bin/pip-audit --strict --progress-spinner off --require-hashes --disable-pip --requirement $$file || { \
			echo "make audit: $$file has vulnerable packages, listed above, or the database could not be asked about all" \
				"of them; then nothing is known, and it has to be run where https://pypi.org can be reached." >&2; \
			exit 1; }; \
	done

clean: ## delete the environments and caches; data and models stay
	rm -rf .venv .venv-triton build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find app tests loadtest triton -name __pycache__ -type d -prune -exec rm -rf {} +
