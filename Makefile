# `make bench` runs the shipped cases with speed, `make test` the tests. Both set everything up first.
VENV ?= .venv
PYTHON ?= python3
EXTRAS ?= cases,dev,docs,history,litert,litert-torch,mlflow,openvino,pruning,ray,s3,search,sign,torchao,torchmetrics
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TF_VENV ?= .venv-tensorflow
TF_READY := $(TF_VENV)/.ready
SIGNING_VENV ?= .venv-signing
SIGNING_READY := $(SIGNING_VENV)/.ready
LOWEST_VENV ?= .venv-lowest
LOWEST_READY := $(LOWEST_VENV)/.ready
FLAGS ?=
FUZZ ?= 100000

# Containers often set it. Tests start many interpreters, and each would compile the same files anew.
unexport PYTHONDONTWRITEBYTECODE

# torch goes first and pinned: anything that depends on it would otherwise bring gigabytes of CUDA.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

# TensorFlow holds packages back that the rest does not, and takes 2 GB.
$(TF_READY): pyproject.toml constraints-tensorflow.txt
	$(PYTHON) -m venv $(TF_VENV)
	$(TF_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-tensorflow.txt torch
	$(TF_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-tensorflow.txt \
		-e '.[litert,tensorflow]' pytest-xdist scikit-learn
	@touch $@

# sigstore, on which model-signing stands, wants other versions of what litert-torch holds back.
$(SIGNING_READY): pyproject.toml constraints-signing.txt
	$(PYTHON) -m venv $(SIGNING_VENV)
	$(SIGNING_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-signing.txt torch
	$(SIGNING_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-signing.txt \
		-e '.[model-signing]' pytest-xdist
	@touch $@

# The lowest versions that pyproject.toml allows. What they need in turn is as new as they bear.
$(LOWEST_READY): pyproject.toml constraints-lowest.txt
	$(PYTHON) -m venv $(LOWEST_VENV)
	$(LOWEST_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-lowest.txt torch
	$(LOWEST_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-lowest.txt \
		-e '.[cases,completion,pruning,search,sign,torchmetrics]' jsonschema pytest-xdist
	@touch $@

.PHONY: setup docs pictures bench test test-slow torture fuzz test-thorough test-tensorflow test-signing test-lowest lint types check schema clean
setup: $(READY)

bench: $(READY)  ## run the shipped cases, speed included, and print the table
	$(BIN)/python -m pytest cases --bench -q --benchmark-quiet

test: $(READY)  ## the package's own tests
	$(BIN)/python -m pytest tests -n 2 -q -m "not slow" $(FLAGS)

test-slow: $(READY)  ## the tests that take minutes
	$(BIN)/python -m pytest tests -n 2 -q -m slow $(FLAGS)

torture: $(READY)  ## runs killed at 300 random moments, and cases that harm their process
	$(BIN)/python -m pytest tests/torture/long.py -n 2 -q

fuzz: $(READY)  ## 100,000 mutations of right files for the readers of a stranger's bytes; FUZZ=... for another number
	WEIGHBRIDGE_FUZZ=$(FUZZ) $(BIN)/python -m pytest tests/hostile/test_fuzz.py -n 2 -q

test-thorough: $(READY)  ## every quantizer against every property for minutes
	$(BIN)/python -m pytest tests/numerics/test_quantizers.py --hypothesis-profile=thorough -n 2 -q

test-tensorflow: $(TF_READY)  ## Keras, tfmot and TFLite: tests and shipped cases, in an environment of their own
	$(TF_VENV)/bin/python -m pytest tests/with_tensorflow tests/litert cases/mobile/keras.yaml cases/sheets/tf_*.yaml -n 2 -q $(FLAGS)

test-signing: $(SIGNING_READY)  ## signatures in OpenSSF's format, in an environment of their own
	$(SIGNING_VENV)/bin/python -m pytest tests/audit/test_model_signature.py -n 2 -q $(FLAGS)

test-lowest: $(LOWEST_READY)  ## with the lowest versions that pyproject.toml allows, what touches the libraries most
	$(LOWEST_VENV)/bin/python -m pytest tests/plugin tests/formats tests/quantize tests/numerics/test_round_trip.py \
		tests/numerics/test_round_trip_item.py tests/hostile/test_files.py tests/hostile/test_trust.py tests/speed/test_plugin.py -n 2 -q -m "not slow" $(FLAGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

check: lint types test  ## everything a merge needs

schema: $(READY)  ## the JSON Schema that editors complete case files with
	$(BIN)/weighbridge schema > cases/case.schema.json

docs: $(READY)  ## the documentation as a site, in docs/_build/html
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html

pictures: $(READY)  ## the pictures of the documentation: the tutorial is run for them; needs a Chromium
	$(BIN)/python docs/pictures.py

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
