# The door: it makes .venv from the lock and hands over to the Snakefile (book) and to pytest (test).
#
#   make book                        the toy data set's book: build/synthped/html/index.html
#   make book PROFILE=market1501-small DATA_ROOT=/path/to/Market-1501-v15.09.15
#   make test                        everything that CI checks
#   make zip, make pdf               the book as one file
#   make book REPOSITORY=https://github.com/someone/reid-book BRANCH=main   with launch buttons to its source
#   make book FRESH=1                with every run trained here, the published ones too
#   make lab PORT=8890               JupyterLab, text notebooks opening as notebooks

PROFILE ?= synthped
DATA_ROOT ?=
GPUS ?= 1
export REPOSITORY BRANCH DATA_ROOT ALLOW_PEOPLE
PYTHON ?= python3
BIN := .venv/bin
BUILD := $(or $(REIDKIT_BUILD),build)
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Files are UTF-8 whatever the terminal is, and the kernel `python3` is this environment's, whatever the user calls so.
export PYTHONUTF8 := 1
export JUPYTER_PREFER_ENV_PATH := 1
ifneq ($(shell test -w "$$HOME" && echo writable),writable)  # Snakemake, npm and Jupyter would fail at their caches
export HOME := $(or $(REIDKIT_BUILD),$(CURDIR)/build)/home
$(shell mkdir -p "$(HOME)")
endif
# Of a profile that is not there, the package says which there are; Snakemake would show where it failed.
KNOWN = test -f "parameters/$(PROFILE).yaml" || reidkit plan "$(PROFILE)"
SNAKEMAKE = snakemake $@ --configfile "parameters/$(PROFILE).yaml" --cores all --resources gpu=$(GPUS) \
	--rerun-incomplete --nolock --quiet rules host $(if $(DATA_ROOT),--config data_root="$$DATA_ROOT")

.PHONY: book zip pdf test benchmark lab clean
.DEFAULT_GOAL := book

book: $(BIN)/installed
	@$(KNOWN)
	@$(SNAKEMAKE)
	@realpath "$(BUILD)/$(PROFILE)/html/index.html"

zip pdf: $(BIN)/installed
	@$(KNOWN)
	@$(SNAKEMAKE)
	@realpath "$(BUILD)/$(PROFILE)/reid-book-$(PROFILE).$@"

test: $(BIN)/installed
	@python -m pytest $(PYTEST)

benchmark: $(BIN)/installed
	@python -m tests.benchmarks

lab: $(BIN)/installed
	@JUPYTER_CONFIG_DIR="$(CURDIR)/.jupyter" jupyter lab --notebook-dir book

# Everything that can be made again, but for .venv
clean:
	rm -rf build

$(BIN)/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, not %d.%d; set PYTHON=" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements.lock
	python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@
