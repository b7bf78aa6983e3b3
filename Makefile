# PYTHON=… chooses the interpreter; DEMO_ARGS, TEST_ARGS and BENCH_ARGS are passed on.
.DEFAULT_GOAL := help
.PHONY: help install demo test bench lint clean FORCE

BIN := .venv/bin
READY := .venv/ready

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(READY) ## create .venv and install the project into it

demo: $(READY) ## train a spiking network on CartPole
	$(BIN)/rsrp-lava train cartpole $(DEMO_ARGS)

test: $(READY) ## run the tests (TEST_ARGS="-m slow": the long learning runs)
	$(BIN)/python -m pytest -n 2 --dist worksteal $(TEST_ARGS)

bench: $(READY) ## measure speed and memory against plain NumPy, JAX (extra jax) and stock Lava
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

# Types are checked on the installed wheel: static tools cannot follow the package-dir mapping in the source tree.
lint: $(READY) ## check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@rm -rf build
	$(BIN)/python -m build --quiet --no-isolation --outdir build
	@$(BIN)/python -m pip install --quiet --no-deps --target build/site build/*.whl
	cd build/site && ../../$(BIN)/mypy --config-file ../../pyproject.toml --cache-dir ../../.mypy_cache -p rsrp_lava
	@rm -rf build

clean: ## remove all that can be made again (runs/ stays)
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage* htmlcov
	find . -name __pycache__ -prune -exec rm -rf {} +

# Candidates are run, not only found: a pyenv shim can exist and refuse, a system Python can lack ensurepip.
PYENV = "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions
ifeq ($(PYTHON),)
UV = "$$(uv python find --system $$version 2>/dev/null)"
CANDIDATES = python$$version $(PYENV)/$$version.*[0-9]/bin/python $(UV) python3
else
CANDIDATES = "$(PYTHON)" $(PYENV)/$(PYTHON:python%=%).*[0-9]/bin/python
endif

# A .venv that was made for another Python, or came here with a moved or copied folder, is made again.
MADE_FOR := $(shell cat $(READY) 2>/dev/null)
REBUILD := $(if $(MADE_FOR)$(PYTHON),$(if $(findstring $(CURDIR)|$(PYTHON),$(MADE_FOR)),,FORCE))

# `unfinished` becomes `ready` at the end, so an interrupted install starts over. pip is upgraded first: the one bundled
# with Python 3.10 can search for many minutes among lava-nc's pins. PATH: an active .venv must not be rebuilt from itself.
$(READY): pyproject.toml $(REBUILD)
	@if [ "$(REBUILD)" ] || [ -e .venv/unfinished ] || ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	  PATH=$${PATH#"$(CURDIR)/$(BIN):"}; \
	  for version in 3.10 3.11 3.12 3.13; do for python in $(CANDIDATES); do \
	    found=$$("$$python" -c 'import ensurepip, sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null); \
	    [ "$$found" = $$version ] && break 2; \
	  done; done; \
	  [ "$$found" = $$version ] || { echo "$(if $(PYTHON),$(PYTHON) is not a,Found no) Python 3.10 to 3.13 that can \
	create a virtual environment. Install Python 3.10, or name one: make install PYTHON=/path/to/python3.10" >&2; exit 1; }; \
	  [ $$version = 3.10 ] || echo "Python $$version: the Lava engine is left out, lava-nc supports Python 3.10 only." >&2; \
	  rm -rf .venv && mkdir .venv && touch .venv/unfinished && "$$python" -m venv .venv; \
	fi
	@echo "$(CURDIR)|$(PYTHON)" > .venv/unfinished
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	@mv .venv/unfinished $@
