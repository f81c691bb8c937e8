# What there is to do here; `make` alone lists it. Everything is installed into .venv, nothing outside,
# but for Debian's chromium and PostgreSQL, where `setup` is run by root and does not find them.

BIN := .venv/bin
UV := $(BIN)/uv
LOCK := $(UV) pip compile --universal --python-version 3.11 --generate-hashes --no-annotate \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --quiet

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all test-faults check bench lock clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

setup: .venv/.ready .venv/.debian ## Install all that the other targets need into .venv
	@echo "setup: .venv is ready"

demo: .venv/.ready ## Encode docstrings, images and a graph that every machine has, and search them
	@sh examples/demo.sh

# Two processes on two cores: with two threads each, they spend half of the time waiting for each other.
test: setup ## Run the tests, without the long ones
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

test-all: setup ## Run all tests
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

test-faults: setup ## Kill runs and upkeep some 350 times, on disk and S3, and look at what is left
	$(BIN)/python -m tests.faults.matrix

check: setup ## Check style, types and who imports whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: setup ## Measure speed and memory, side by side with what users do today
	$(BIN)/python -m benchmarks.run

lock: .venv/.uv ## Write the locks anew after a change of dependencies in pyproject.toml
	echo uv | $(LOCK) - -o requirements-uv.lock
	$(LOCK) pyproject.toml --all-extras -o requirements.lock

clean: ## Remove what the other targets made: .venv, build/, caches
	rm -rf .venv build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache

# uv itself comes from a lock of its own, since pip takes hashes for all of a file or for none.
.venv/.uv: requirements-uv.lock
	@echo "setup: making .venv"
	@for python in python3.11 python3.12 python3.13 python3; do \
	    if $$python -c 'import ensurepip, ssl, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	    then exec $$python -m venv --clear .venv; fi; \
	done; \
	echo "setup: needs Python 3.11 or newer with its venv module (Debian: python3-venv)" >&2; exit 1
	@echo "setup: installing uv, by hash"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
	    -r requirements-uv.lock
	@touch $@

.venv/.ready: pyproject.toml requirements.lock .venv/.uv
	@echo "setup: installing the packages of requirements.lock, by hash (7 GB; a minute or two)"
	@$(UV) pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes \
	    requirements.lock requirements-uv.lock
	@echo "setup: installing vectorline itself, editable"
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --offline -e .
	@touch $@

# A browser for the tests of pages, which are skipped without it, and PostgreSQL for those of schedules,
# which take SQLite without it: never a reason for setup to fail.
APT := DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::Retries=0 -o Acquire::http::Timeout=20
.venv/.debian: .venv/.uv
	@missing=""; \
	command -v chromium >/dev/null || missing="chromium"; \
	ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || \
	    missing="$$missing postgresql"; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	without="without:$$missing; tests that look at pages are skipped, those of schedules use SQLite"; \
	if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
	    echo "setup: $$without"; exit 0; fi; \
	echo "setup: installing Debian's $$missing, for tests (half a minute)"; \
	mkdir -p /etc/postgresql-common; \
	[ -e /etc/postgresql-common/createcluster.conf ] || \
	    echo "create_main_cluster = false" > /etc/postgresql-common/createcluster.conf; \
	install="$(APT) install -y --no-install-recommends $$missing"; \
	eval "$$install" >/dev/null 2>&1 </dev/null || \
	    { $(APT) update && eval "$$install"; } >/dev/null 2>&1 </dev/null || echo "setup: $$without"
	@touch $@
