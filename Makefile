# Every target works on a fresh clone with nothing but Python >= 3.11, git and make:
# the environment is made in .venv on first use, and again when pyproject.toml changes.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= runs/demo
WORKERS ?= 2

.PHONY: demo demo-figures demo-pictures test test-slow lint data clean

demo: $(VENV)/demo.done  ## train an NVAE on 4,500 digits, evaluate it, draw pictures
	$(BIN)/python scripts/train_nvae.py --config=configs/nvae/mnist5k.py --workdir=$(DEMO)
	@$(MAKE) --no-print-directory -j2 demo-figures demo-pictures  # 34 s side by side, 42 in turn
	@echo "look at $(DEMO)/samples/samples.png and $(DEMO)/reconstructions.png"

demo-figures:
	$(BIN)/python scripts/evaluate_nvae.py --workdir=$(DEMO) --num_samples=100

demo-pictures:
	$(BIN)/python scripts/sample_nvae.py --workdir=$(DEMO) --temperature=1.2,0.5,0.3,0.3 --reestimate=50

test: $(VENV)/dev.done  ## the fast suite
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

test-slow: $(VENV)/dev.done  ## everything that takes minutes
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/dev.done
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python

data: $(VENV)/demo.done  ## fetch the full sets into $$JAXLAB_DATA or the user's cache folder
	$(BIN)/python scripts/fetch_data.py mnist fashion_mnist

$(VENV)/%.done: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "jaxlab needs Python 3.11 or newer, $(PYTHON) is $$($(PYTHON) -V 2>&1): make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache runs build *.egg-info
