# Two commands do everything on a fresh machine: make run, make test.
#   PYTHON=python3.12   another Python (3.11 or newer)      VENV=folder    another environment
#   ARGS="…"            arguments for govdesk or pytest, for example: make run ARGS='ask "What is a banner line?"'

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
BIN := $(VENV)/bin
SETUP := "$(PYTHON)" -m installer.setup --venv "$(VENV)"

.DEFAULT_GOAL := help
.PHONY: help run setup test check bench peers soak pictures fuzz backends gemma clean

help:           ## this list
	@sed -n 's/^\([a-z]*\): *## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

run:            ## set up what is missing, then open GovDesk (without a display: one turn in the terminal)
	@$(SETUP) run
	@"$(BIN)/govdesk" $(ARGS)

setup:          ## only the set-up of `make run`
	@$(SETUP) run

test:           ## set up what is missing, then run all tests
	@$(SETUP) test
	QT_QPA_PLATFORM=offscreen "$(BIN)/python" -m pytest $(ARGS)

check:          ## ruff, formatting, mypy strict, layer contracts
	@$(SETUP) check
	"$(BIN)/ruff" check .
	"$(BIN)/ruff" format --check .
	"$(BIN)/mypy"
	"$(BIN)/lint-imports"

bench:          ## measure; prints the figures and writes build/bench.json
	@$(SETUP) test
	QT_QPA_PLATFORM=offscreen "$(BIN)/python" -m tests.bench.run $(ARGS)

soak:           ## a thousand turns through the whole line: fails when anything grows
	@$(SETUP) test
	"$(BIN)/python" -m tests.bench.soak $(ARGS)

peers:          ## install what `make bench` measures against, beside GovDesk and never for it
	@"$(PYTHON)" -m installer.setup --venv build/peers peers

pictures:       ## take pictures of the window into build/pictures/
	@$(SETUP) test
	QT_QPA_PLATFORM=offscreen "$(BIN)/python" -m tests.gui.pictures build/pictures $(ARGS)

fuzz:           ## the long property runs: GOVDESK_FUZZ_EXAMPLES examples each
	@$(SETUP) test
	GOVDESK_FUZZ_EXAMPLES=$${GOVDESK_FUZZ_EXAMPLES:-2000} QT_QPA_PLATFORM=offscreen \
		"$(BIN)/python" -m pytest $$(grep -rl --include='*.py' GOVDESK_FUZZ_EXAMPLES tests/security) $(ARGS)

backends:       ## llama.cpp as the package ships it: every processor variant, graphics backends (12 minutes and more)
	@$(SETUP) backends

gemma:          ## obtain the second model, for tests only (Gemma terms: models/LICENSES/Gemma.md)
	@$(SETUP) gemma

clean:          ## remove what the set-up made here (your profile, your cache and other environments stay)
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -f models/*.gguf
