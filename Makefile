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
unexport PYTHONDONTWRITEBYTECODE # compiled once, not by each of the many processes that page and tests start

.PHONY: help setup packages run premium test lint proofs bench-engine pipeline pipeline-wide soak model-gate report demo-model demo-adopt demo-answers screenshots gpu-env wheel space clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

setup: packages $(STAMP) ## .venv with everything, and the embedded model
	@$(PYTHON) -m conversion demo --data-dir $(DATA_DIR) || echo "The embedded model is not there yet; the page tries again and says why." >&2
	@$(PYTHON) -m conversion embedder --data-dir $(DATA_DIR) || echo "The embedder is not there yet; notes are found by words alone." >&2

packages:
	@missing=$$(while read -r p; do case "$$p" in ''|'#'*) ;; *) dpkg -s "$$p" >/dev/null 2>&1 || echo -n "$$p ";; esac; done < apt.txt); \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ]; then echo "Installing $$missing" >&2; apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing >/dev/null; \
	  else echo "These Debian packages are missing: $$missing" >&2; echo "Install them with: sudo apt-get install $$missing" >&2; \
	    command -v g++ >/dev/null || { echo "Without a C++ compiler llama-cpp-python cannot be built: sudo apt-get install g++" >&2; exit 1; }; fi; fi

$(STAMP): requirements.txt pyproject.toml
	@command -v python3.11 >/dev/null || { echo "Python 3.11 is needed: apt-get install python3.11 python3.11-venv" >&2; exit 1; }
	@test -x .venv/bin/pip || python3.11 -m venv --clear .venv
	@echo "Installing the pinned packages; llama-cpp-python is compiled once, which takes 2 to 8 minutes." >&2
	@$(PYTHON) -m pip install --quiet --upgrade pip
	@CMAKE_ARGS="-DLLAVA_BUILD=OFF" CMAKE_BUILD_PARALLEL_LEVEL=$$(nproc) $(PYTHON) -m pip install --quiet --editable ".[dev]"
	@touch $@

run: setup ## open the page on http://127.0.0.1:7860
	@exec $(PYTHON) app.py

premium: setup ## the page with premium: its gateway beside it, over the embedded model or BAF_PREMIUM_ENGINE
	@exec $(PYTHON) -m service premium

AXE := tests/browser/npm/node_modules/axe-core/axe.min.js

$(AXE): tests/browser/npm/package-lock.json
	@if command -v npm >/dev/null; then npm ci --prefix tests/browser/npm --silent --no-audit --no-fund && touch $@; \
	else echo "npm is missing: the page is not checked by axe-core." >&2; fi

# Two at a time: the tests of a file stay together, and those that open a browser follow each other in one row, since
# Chromium, a page and its llama.cpp want more than a core and hold each other up (see tests/conftest.py). Threads that wait
# for each other sleep early: the other row wants the processor.
test: setup lint $(AXE) ## every check that takes seconds, as CI runs it
	@OMP_NUM_THREADS=1 GOMP_SPINCOUNT=1000 $(PYTHON) -m pytest -n 2 --dist loadgroup --no-loadscope-reorder

lint: $(STAMP) ## ruff and mypy
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy .

RESULTS := benchmarks/results
MODEL := $(DATA_DIR)/models/bergson-and-friends-demo.gguf

proofs: $(RESULTS)/slow-tests.xml $(RESULTS)/domains.json $(RESULTS)/demo-exercises.json $(RESULTS)/demo-exercises-free.json $(RESULTS)/demo-perplexity.json $(RESULTS)/ablation.json $(RESULTS)/start.json $(RESULTS)/bare.json ## the slow proofs; a result that exists is kept, remove it to measure again

$(RESULTS)/slow-tests.xml: | setup
	@$(PYTHON) -m pytest -m proof --junit-xml=$@.partial -o junit_log_passing_tests=false && mv $@.partial $@

$(RESULTS)/domains.json: | setup
	@$(PYTHON) -m benchmarks.domains --out $@

$(RESULTS)/demo-exercises.json: | setup
	@$(PYTHON) -m evaluation exercises --engine gguf:$(MODEL) --out $@

$(RESULTS)/demo-exercises-free.json: | setup
	@$(PYTHON) -m evaluation exercises --data data/eval/exercises.jsonl.xz --engine gguf:$(MODEL) --out $@

$(RESULTS)/demo-perplexity.json: | setup $(DATA_DIR)/measure/base.gguf $(DATA_DIR)/measure/merged.gguf $(DATA_DIR)/training/demo.eval.jsonl
	@$(PYTHON) -m evaluation perplexity --model base=$(DATA_DIR)/measure/base.gguf --model merged=$(DATA_DIR)/measure/merged.gguf \
	  --model ours=$(MODEL) --kl $(MODEL) $(DATA_DIR)/measure/merged.gguf --out $@

$(RESULTS)/start.json: | setup
	@$(PYTHON) -m benchmarks.start --out $@

$(RESULTS)/bare.json: | setup
	@$(PYTHON) -m benchmarks.bare --out $@

$(RESULTS)/ablation.json: | setup $(DATA_DIR)/measure/base-q8_0.gguf
	@$(PYTHON) -m evaluation ablation --base gguf:$(DATA_DIR)/measure/base-q8_0.gguf --adapted gguf:$(MODEL) \
	  --out $(DATA_DIR)/evaluation/ablation
	@cp $(DATA_DIR)/evaluation/ablation/ablation.json $(DATA_DIR)/evaluation/ablation/ablation.png $(RESULTS)/

model-gate: setup ## fails when the embedded model is worse than the committed one beyond its interval: minutes
	@$(PYTHON) -m evaluation schemes --engine gguf:$(MODEL) --out $(DATA_DIR)/evaluation/model-gate --force
	@$(PYTHON) -m evaluation gate --candidate $(DATA_DIR)/evaluation/model-gate

report: $(STAMP) ## what ships, what does not, why, from all results: docs/report
	@$(PYTHON) -m evaluation report --force

HOURS ?= 1

bench-engine: setup ## our engine beside its peers, on the 7B shape and the embedded model: hours, goes on where it was stopped
	@for model in demo mistral-7b-v0.3; do \
	  $(PYTHON) -m benchmarks.engine $$model --data-dir $(DATA_DIR) $(BENCH) || exit 1; done

pipeline: setup ## the optimisation plan step by step on the embedded model; goes on where it was stopped (PIPELINE=--force measures anew)
	@$(PYTHON) -m evaluation pipeline --summary $(RESULTS)/pipeline.json $(PIPELINE) >/dev/null
	@$(PYTHON) -m evaluation acceptance

LAYERS ?= 2

pipeline-wide: setup ## the same at the width of a 7B, random weights, LAYERS of its 32 layers
	@$(PYTHON) -m evaluation pipeline --shape mistral-7b --layers $(LAYERS) --summary $(RESULTS)/pipeline-mistral-7b.json $(PIPELINE) >/dev/null
	@$(PYTHON) -m evaluation acceptance

soak: setup ## our server for HOURS under load and faults
	@$(PYTHON) -m benchmarks.soak demo --hours $(HOURS) --data-dir $(DATA_DIR)

$(DATA_DIR)/measure/base-q8_0.gguf: | setup
	@mkdir -p $(@D); $(PYTHON) -m conversion cut --data-dir $(DATA_DIR) --outtype q8_0 --out $@ >/dev/null

$(DATA_DIR)/measure/base.gguf: | setup
	@mkdir -p $(@D); $(PYTHON) -m conversion cut --data-dir $(DATA_DIR) --outtype f32 --out $@ >/dev/null

$(DATA_DIR)/measure/merged.gguf: | setup
	@mkdir -p $(@D); $(PYTHON) -m conversion cut --data-dir $(DATA_DIR) --outtype f32 --adapter models/demo/adapter --out $@ >/dev/null

$(DATA_DIR)/training/demo.eval.jsonl: | setup
	@$(PYTHON) -m corpus mix --out $(DATA_DIR)/training/demo.train.jsonl --eval-out $@ >/dev/null

# A step frees and takes gigabytes of activations; given back to the system each time, they cost a quarter of the time.
demo-model: export MALLOC_MMAP_THRESHOLD_ = 34359738368
demo-model: export MALLOC_TRIM_THRESHOLD_ = 34359738368
demo-model: setup ## train the embedded model's adapter anew, two hours on two cores (needs BAF_CORPORA_DIR)
	@test ! -e $(DATA_DIR)/runs || { echo "$(DATA_DIR)/runs exists: move it away first." >&2; exit 1; }
	@$(PYTHON) -m corpus check
	@$(PYTHON) -m conversion vocabulary --data-dir $(DATA_DIR)
	@rm -rf $(DATA_DIR)/checkpoints/demo-base $(DATA_DIR)/measure
	@$(PYTHON) -m conversion checkpoint --data-dir $(DATA_DIR) --out $(DATA_DIR)/checkpoints/demo-base
	@$(PYTHON) -m corpus mix --force --out $(DATA_DIR)/training/demo.train.jsonl --eval-out $(DATA_DIR)/training/demo.eval.jsonl
	@$(PYTHON) -m training run training/recipes/demo_philosophers.yaml
	@$(PYTHON) -m corpus mix-notes --force --out $(DATA_DIR)/training/demo-notes.train.jsonl
	@$(PYTHON) -m training run training/recipes/demo_notes.yaml
	@$(PYTHON) -m corpus mix-schemes --force --out $(DATA_DIR)/training/demo-schemes.train.jsonl
	@$(PYTHON) -m training run training/recipes/demo_schemes.yaml
	@$(PYTHON) -m corpus mix-notes --seed 2 --dialogues 20 --exercises 100 --force --out $(DATA_DIR)/training/demo-recall.train.jsonl
	@$(PYTHON) -m training run training/recipes/demo_recall.yaml
	@$(MAKE) --no-print-directory demo-adopt

demo-adopt: ## make the last training runs the embedded model: adapter, summaries, manifest
	@rm -rf models/demo/adapter && cp -r $(DATA_DIR)/runs/demo_recall/adapter models/demo/adapter
	@cp $(DATA_DIR)/runs/demo_philosophers/training_summary.json models/demo/training_summary.1.json
	@cp $(DATA_DIR)/runs/demo_notes/training_summary.json models/demo/training_summary.2.json
	@cp $(DATA_DIR)/runs/demo_schemes/training_summary.json models/demo/training_summary.3.json
	@cp $(DATA_DIR)/runs/demo_recall/training_summary.json models/demo/training_summary.4.json
	@cp $(DATA_DIR)/runs/demo_philosophers/loss.png models/demo/loss.png
	@rm -rf $(DATA_DIR)/measure
	@$(PYTHON) -m conversion manifest --data-dir $(DATA_DIR)
	@$(PYTHON) -m conversion demo --data-dir $(DATA_DIR)

demo-answers: setup ## ask the embedded model 75 questions: models/demo/ANSWERS.md
	@$(PYTHON) -m evaluation demo-answers --engine gguf:$(MODEL) --force --out models/demo/ANSWERS.md

screenshots: setup ## take the README's pictures anew with the embedded model: docs/img (look at them)
	@$(PYTHON) -m docs.screenshots

gpu-env: setup ## the environment that quantises for a GPU (llm-compressor), 1.5 GB
	@$(PYTHON) -m conversion gpu4-env --data-dir $(DATA_DIR)

wheel: $(STAMP) ## build the portable llama-cpp-python wheel a Space can install: dist/
	@ls dist/llama_cpp_python-$(LLAMA)-*.whl 2>/dev/null && exit 0; \
	command -v g++ >/dev/null || { echo "A C++ compiler is needed: apt-get install g++" >&2; exit 1; }; \
	CMAKE_ARGS="$(PORTABLE)" CMAKE_BUILD_PARALLEL_LEVEL=$$(nproc) $(PYTHON) -m pip wheel --quiet --no-deps --no-cache-dir --no-binary llama-cpp-python --wheel-dir dist llama-cpp-python==$(LLAMA) && ls dist/llama_cpp_python-$(LLAMA)-*.whl

space: wheel ## prepare the folder to upload as a Space: dist/space (HUB_REPO=owner/name will hold the wheel)
	@rm -rf dist/space
	@$(PYTHON) -m conversion space --wheel dist/llama_cpp_python-$(LLAMA)-*.whl --hub-repo $(HUB_REPO) --out dist/space

clean: ## remove the .venv and what was built, keep the data
	@rm -rf .venv build dist *.egg-info
