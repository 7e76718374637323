# `make run ARGS="model=vgg16 mode=train"` and `make test` need nothing but Python: they make .venv first.
PYTHON ?= python3
BIN := .venv/bin
# Every test that runs the command would compile the package anew where a shell or an image has set this.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test test-long test-gpu test-isa test-torch-floor lint
run: .venv/installed
	@$(BIN)/python -m microbench $(ARGS)

# Two at once, then those that no other may run beside, of the files that have any: to collect them all takes
# longer. 5 is pytest's way of saying that there are none. Where two run at once, threads that wait sleep rather
# than spin.
test: .venv/installed
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n 2 --dist worksteal -m "not alone and not long" $(ARGS) || test $$? -eq 5
	$(BIN)/python -m pytest -m alone $(or $(ARGS),$(shell grep -rlF mark.alone tests)) || test $$? -eq 5

# What takes some minutes by itself: every command of the README, every classifier beside torch's counter, layers.
test-long: .venv/installed
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n 2 --dist loadfile -m long $(ARGS)

# What needs an NVIDIA GPU, which no other test sees.
test-gpu: .venv/installed
	$(BIN)/python -m pytest -m gpu $(ARGS)

# Engines, formats, profiles and the doctor as on older CPUs; SHORT=1 for a selection of a minute and a half.
test-isa: .venv/installed
	tests/isa/run $(if $(SHORT),short)

# The oldest torch that pyproject.toml allows, on Python 3.12 if there is one: some minutes, and 6 GB in build/floor.
test-torch-floor:
	tests/floor/run

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@
