# Two commands do it all: `make run` opens the page, `make test` proves it. `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON := .venv/bin/python
STAMP := .venv/.installed
DATA_DIR := $(or $(BAF_DATA_DIR),.data)
LLAMA := $(shell sed -n 's/^llama-cpp-python==//p' requirements.txt)
# Every x86-64 server since 2013 has these; named one by one, because a build flag of the machine would leak in else.
PORTABLE := -DGGML_NATIVE=OFF -DGGML_SSE42=ON -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON -DLLAVA_BUILD=OFF
HUB_REPO ?= OWNER/bergson-and-friends
export OMP_NUM_THREADS ?= 2
export GRADIO_ANALYTICS_ENABLED := False
export HF_HUB_DISABLE_TELEMETRY := 1

.PHONY: help setup packages run test lint check proofs demo-model demo-answers wheel space clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

setup: packages $(STAMP) ## .venv with everything, and the embedded model
	@$(PYTHON) -m conversion demo --data-dir $(DATA_DIR) || echo "The embedded model is not there yet; the page tries again and says why." >&2

packages:
	@missing=$$(while read -r p; do case "$$p" in ''|'#'*) ;; *) dpkg -s "$$p" >/dev/null 2>&1 || echo -n "$$p ";; esac; done < apt.txt); \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ]; then echo "Installing $$missing" >&2; apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing >/dev/null; \
	  else echo "These Debian packages are missing: $$missing" >&2; echo "Install them with: sudo apt-get install $$missing" >&2; \
	    command -v g++ >/dev/null || { echo "Without a C++ compiler llama-cpp-python cannot be built: sudo apt-get install g++" >&2; exit 1; }; fi; fi

$(STAMP): requirements.txt pyproject.toml
	@command -v python3.11 >/dev/null || { echo "Python 3.11 is needed: apt-get install python3.11 python3.11-venv" >&2; exit 1; }
	@test -x $(PYTHON) || python3.11 -m venv .venv
	@echo "Installing the pinned packages; llama-cpp-python is compiled once, which takes 2 to 8 minutes." >&2
	@$(PYTHON) -m pip install --quiet --upgrade pip
	@CMAKE_ARGS="-DLLAVA_BUILD=OFF" CMAKE_BUILD_PARALLEL_LEVEL=$$(nproc) $(PYTHON) -m pip install --quiet --editable ".[dev]"
	@touch $@

run: setup ## open the page on http://127.0.0.1:7860
	@exec $(PYTHON) app.py

test: setup lint ## every check that takes seconds, as CI runs it
	@$(PYTHON) -m pytest

lint: $(STAMP) ## ruff and mypy
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy .

check: test

proofs: setup ## the slow proofs: answers, perplexity, exercises, start-up times (resumable)
	@$(PYTHON) -m benchmarks.first_light --data-dir $(DATA_DIR)

demo-model: setup ## train the embedded model's adapter anew, and measure it (needs BAF_CORPORA_DIR)
	@benchmarks/demo_model.sh $(DATA_DIR)

demo-answers: setup ## ask the embedded model 75 questions: models/demo/ANSWERS.md
	@$(PYTHON) -m evaluation demo-answers --engine gguf:$$($(PYTHON) -m conversion demo --data-dir $(DATA_DIR)) --out models/demo/ANSWERS.md

wheel: $(STAMP) ## build the portable llama-cpp-python wheel a Space can install: dist/
	@ls dist/llama_cpp_python-$(LLAMA)-*.whl 2>/dev/null && exit 0; \
	command -v g++ >/dev/null || { echo "A C++ compiler is needed: apt-get install g++" >&2; exit 1; }; \
	CMAKE_ARGS="$(PORTABLE)" CMAKE_BUILD_PARALLEL_LEVEL=$$(nproc) $(PYTHON) -m pip wheel --quiet --no-deps --no-cache-dir --no-binary llama-cpp-python --wheel-dir dist llama-cpp-python==$(LLAMA) && ls dist/llama_cpp_python-$(LLAMA)-*.whl

space: wheel ## prepare the folder to upload as a Space: dist/space (HUB_REPO=owner/name will hold the wheel)
	@rm -rf dist/space
	@$(PYTHON) -m conversion space --wheel dist/llama_cpp_python-$(LLAMA)-*.whl --hub-repo $(HUB_REPO) --out dist/space

clean: ## remove the .venv and what was built, keep the data
	@rm -rf .venv build dist *.egg-info
