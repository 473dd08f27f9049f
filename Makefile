# Everything from a fresh clone: `make train`, `make test`. `make help` lists the rest.
# Another interpreter: `make PYTHON=python3.12 test`. Another folder for the environment: `make VENV=/tmp/venv test`.

PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
# An old pip warns about packages without a wheel unless it is told to build them the current way.
PIP := PIP_USE_PEP517=1 $(PY) -m pip --quiet --disable-pip-version-check install
ARGS ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv train test test-peers test-cuda test-slow test-faults test-sweeps test-versions test-settings coverage mutants cuda-mutants bench gpu-report results tutorials docs lint format clean

help: ## list the targets
	@echo "make TARGET, one of:"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 16

venv: $(VENV)/.installed ## create $(VENV) with minitrain in it

train: $(VENV)/.installed ## train a small GPT on the text of Python's own manual (one to three minutes)
	@$(VENV)/bin/minitrain train recipe=pydoc $(ARGS)

test: $(VENV)/.installed-dev ## run the tests
	@echo "==> Testing"
	@$(PY) -m pytest -q -n 2 --dist worksteal $(ARGS)

test-peers: $(VENV)/.installed-peers ## compare with PyTorch
	@echo "==> Testing against PyTorch"
	@$(PY) -m pytest -q tests/peers $(ARGS)

test-cuda: $(VENV)/.installed-cuda-test ## compile the CUDA kernels and run them without a GPU (needs g++)
	@echo "==> Testing the CUDA kernels"
	@$(PY) -m pytest -q -n 2 --dist worksteal -m "not slow and not sweeps" \
	  tests/backend/cuda tests/kernels/cuda tests/testing/cuda \
	  tests/training/test_graphed_step.py tests/generation/test_graphed_session.py $(ARGS)

test-slow: $(VENV)/.installed-dev ## run the tests that take minutes
	@echo "==> Testing, the slow part"
	@$(PY) -m pytest -q -n 2 -m slow $(ARGS)

test-faults: $(VENV)/.installed-dev ## kill, stop and starve the ranks of trainings, cut their network (up to an hour; all of it as root)
	@echo "==> Testing what may befall ranks"
	@$(PY) -m pytest -q -m slow tests/distributed/faults $(ARGS)

test-sweeps: $(VENV)/.installed-sweeps ## test sweeps with Ray, all ways to stop them, and ranks on Ray (some minutes)
	@echo "==> Testing sweeps, and ranks on Ray"
	@$(PY) -m pytest -q -m "sweeps or not sweeps" tests/runs/sweep tests/distributed/test_ray.py $(ARGS)

test-versions: $(VENV)/.installed-dev ## run a part of the tests on Python 3.11 to 3.13 and on the lowest versions
	@$(PY) -m tools.other_versions $(ARGS)

test-settings: $(VENV)/.installed-dev ## run a part of the tests without kernels, on narrower processors and with each BLAS
	@$(PY) -m tools.other_settings $(ARGS)

# What pyproject.toml names under [tool.coverage.run]; each part's own tests are to run its lines.
COVERED := training checkpoint data folder records runs
COVERING := $(COVERED:%=tests/%)

coverage: $(VENV)/.installed-dev ## print which lines of training, checkpoints, data and records the tests run: 92 % are needed
	@echo "==> Measuring which lines the tests run"
	@$(PY) -m coverage erase
	@$(PY) -m coverage run -m pytest -q -n 2 $(COVERING) $(ARGS)
	@$(PY) -m coverage combine --quiet
	@$(PY) -m coverage report --skip-covered
	@failed=0; for part in $(COVERED); do \
	  lines=$$($(PY) -m coverage report --include="minitrain/$$part/*" --format=total --precision=1 --fail-under=92) || failed=1; \
	  echo "minitrain/$$part: $$lines % of the lines (92 % needed)"; done; exit $$failed

mutants: $(VENV)/.installed-dev ## plant mistakes in backwards, optimizers, schedules and generation, list those no test notices
	@$(PY) -m tools.mutation $(ARGS)

cuda-mutants: $(VENV)/.installed-cuda-test ## plant mistakes in the CUDA kernels, list those no check notices (needs g++; can be stopped)
	@$(PY) -m tools.cuda_mutants $(ARGS)

bench: $(VENV)/.installed-peers ## measure every figure that is to be reached, against PyTorch (25 minutes)
	@$(PY) -m benchmarks $(ARGS)

gpu-report: $(VENV)/.installed-gpu ## check and measure the GPU code on this machine's card (8 minutes; nothing here has met one yet)
	@$(PY) -m benchmarks.gpu $(ARGS)

results: $(VENV)/.installed-tutorials ## train the recipes of all tasks over three seeds (hours; can be stopped and continued)
	@$(PY) -m benchmarks.task_results $(ARGS)

tutorials: $(VENV)/.installed-tutorials ## run the notebooks and the gallery, and write them with their outputs to tutorials/out/
	@echo "==> Running the notebooks"
	@$(PY) -m tools.tutorials $(ARGS)
	@touch tutorials/out/.built

tutorials/out/.built: $(wildcard tutorials/*.py)
	@$(MAKE) --no-print-directory tutorials ARGS=

# The theme's banner about its own future says nothing about this site.
docs: $(VENV)/.installed-docs tutorials/out/.built ## build the documentation into site/
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet $(ARGS)
	@echo "==> Built site/index.html"

lint: $(VENV)/.installed-dev ## check style and types
	@echo "==> Checking style"
	@$(PY) -m ruff check
	@$(PY) -m ruff format --check --quiet || { echo "Run 'make format'."; exit 1; }
	@echo "==> Checking types"
	@$(PY) -m mypy

format: $(VENV)/.installed-dev ## put imports and layout in order
	@$(PY) -m ruff check --quiet --select I --fix
	@$(PY) -m ruff format

clean: ## remove the environment and the caches, not the runs
	@echo "==> Removing $(VENV), caches and build results"
	@rm -rf "$(VENV)" .venvs build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage* htmlcov
	@find minitrain tests benchmarks tools -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is as new as what was installed: after a change of pyproject.toml pip runs again, otherwise it does not.
$(VENV)/.created:
	@command -v "$(PYTHON)" >/dev/null || { echo "$(PYTHON) was not found: install Python 3.11 or newer," \
	  "or name one with 'make PYTHON=/path/to/python3 ...'."; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "minitrain needs Python 3.11 or newer," \
	  "and $$("$(PYTHON)" --version 2>&1) is older: name a newer one with 'make PYTHON=python3.12 ...'."; exit 1; }
	@echo "==> Creating $(VENV) with $$("$(PYTHON)" --version)"
	@"$(PYTHON)" -m venv "$(VENV)" || { echo "$(PYTHON) could not create $(VENV): the lines above say why" \
	  "(on Debian and Ubuntu, install the package python3-venv)."; exit 1; }
	@touch $@

$(VENV)/.installed: $(VENV)/.created pyproject.toml
	@echo "==> Installing minitrain and what it needs (NumPy, numba, SciPy, ...)"
	@$(PIP) --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "==> Installing what the tests need (pytest, Hypothesis, CuPy, mypy, ...)"
	@$(PIP) --editable '.[dev]'
	@touch $@

$(VENV)/.installed-peers: $(VENV)/.installed-dev
	@echo "==> Installing PyTorch to compare with (some platforms' package is large)"
	@$(PIP) --editable '.[peers]'
	@touch $@

$(VENV)/.installed-cuda-test: $(VENV)/.installed-dev
	@echo "==> Installing NVRTC and its headers (250 MB on disk)"
	@$(PIP) --editable '.[cuda-test]'
	@# Without its dependencies: half a gigabyte of CUTLASS, which attention does not use. Older versions need cuDNN itself.
	@$(PIP) --no-deps "nvidia-cudnn-frontend==1.32.*; sys_platform == 'linux'"
	@touch $@

$(VENV)/.installed-gpu: $(VENV)/.installed-peers
	@echo "==> Installing CuPy, cuBLASLt, NVRTC and its headers (2 GB on disk)"
	@$(PIP) --editable '.[gpu]'
	@touch $@

$(VENV)/.installed-sweeps: $(VENV)/.installed-dev
	@echo "==> Installing the engines of sweeps (Ray is 250 MB)"
	@$(PIP) --editable '.[sweep]'
	@touch $@

$(VENV)/.installed-tutorials: $(VENV)/.installed
	@echo "==> Installing what runs the notebooks (jupytext, nbclient, ipykernel, scikit-learn)"
	@$(PIP) --editable '.[tutorials]'
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	@echo "==> Installing what builds the documentation (MkDocs, mkdocstrings, latex2mathml)"
	@$(PIP) --editable '.[docs]'
	@touch $@
