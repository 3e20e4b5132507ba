# Everything sets itself up: the first target that is asked for makes the virtual environment it needs.
PYTHON ?= python3
VENV   ?= .venv
WORKERS ?= 2
PIP     = $(VENV)/bin/python -m pip --disable-pip-version-check --quiet
BIN     = $(VENV)/bin

export OMP_NUM_THREADS ?= 1

.PHONY: help demo test test-faults test-old test-peers check doctest benchmark test-captum readme stubs docs tutorials clean

help:
	@echo "make demo        five metrics, six explanations, a pretrained network and four photographs"
	@echo "make test        the tests"
	@echo "make test-faults workers, drivers and machines that die, hang or run out of disk"
	@echo "make check       linter, types, doctests"
	@echo "make test-old    the tests against captum 0.7"
	@echo "make test-peers  the scores against those of Quantus under the same settings"
	@echo "make tutorials   every notebook of tutorials/, from start to end"
	@echo "make readme      the table of metrics in README.md, made anew from the metrics"
	@echo "make stubs       the type stubs of functions whose signatures are put together at run time, made anew"
	@echo "make docs        the documentation, docs/_build/html; a warning is an error, as is a link inside that leads nowhere"
	@echo "make benchmark   what the metrics cost beside the bare model"
	@echo "make test-captum CAPTUM=path   Captum's own tests of the two metrics, from a checkout of its source, on ours"

# One stamp for each set of extras, so that a changed setup.cfg installs again.
$(VENV)/%.stamp: setup.cfg constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --upgrade "pip<26" "setuptools>=64" wheel
	$(PIP) install --constraint constraints.txt torch numpy
	$(PIP) install --constraint constraints.txt --no-build-isolation --editable ".[$*]"
	@touch $@

demo: $(VENV)/demo.stamp
	OMP_NUM_THREADS=2 $(BIN)/captum-ext demo

test: $(VENV)/test.stamp
	$(BIN)/python -m pytest -q -n $(WORKERS) tests

test-faults: $(VENV)/test.stamp
	$(BIN)/python -m pytest -q -m faults tests

check: $(VENV)/check.stamp $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q --doctest-modules captum_ext

# What meets Captum: its conventions, its objects, its numbers.
OF_CAPTUM = core metrics evaluation/test_methods.py evaluation/test_evaluate.py test_captum_parity.py test_where_captum_is_wrong.py test_plots.py
# captum 0.7 is the oldest release that is supported; an environment of its own keeps the other one as it is.
test-old:
	$(MAKE) $(VENV)-old/test.stamp VENV=$(VENV)-old
	$(VENV)-old/bin/python -m pip --disable-pip-version-check --quiet install --constraint constraints.txt "captum==0.7.0"
	$(VENV)-old/bin/python -m pytest -q -n $(WORKERS) $(addprefix tests/,$(OF_CAPTUM))

# Other packages, against which scores are compared, bring requirements of their own.
test-peers:
	$(MAKE) $(VENV)-peers/test.stamp VENV=$(VENV)-peers
	$(VENV)-peers/bin/python -m pip --disable-pip-version-check --quiet install --constraint constraints.txt "quantus==0.6.0"
	$(VENV)-peers/bin/python -m pytest -q tests/peers

benchmark: $(VENV)/demo.stamp
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/evaluate.py
	$(BIN)/python benchmarks/scaling.py

test-captum: $(VENV)/test.stamp
	CAPTUM_SOURCE=$(CAPTUM) $(BIN)/python -m pytest -q tests/peers/test_captums_own_tests.py

tutorials: $(VENV)/tutorials.stamp
	$(BIN)/python tutorials/run.py

# The table of metrics in README.md, from their cards.
readme: $(VENV)/test.stamp
	$(BIN)/python -m tests.readme_metrics

# Type stubs, from the signatures at run time.
stubs: $(VENV)/test.stamp
	$(BIN)/python -m tests.stubs

docs: $(VENV)/docs.stamp
	$(BIN)/python -m sphinx -b html -W --keep-going docs docs/_build/html

clean:
	rm -rf $(VENV) $(VENV)-old $(VENV)-peers build docs/_build docs/made *.egg-info .pytest_cache .hypothesis
