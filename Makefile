# Every target sets itself up: Python 3.11+ with venv, make and a package registry are all it needs.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
PRINTED := envoy/basic.yaml envoy/tracing.yaml

.PHONY: help setup demo test test-stack lint proto envoy-files dashboards kubernetes bench bench-micro clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

setup: $(READY) ## create .venv and install extproc with everything that its tests need

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "extproc needs Python 3.11 or newer: make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: setup ## a real Envoy with extproc, two services and an OTLP receiver, for 15 seconds
	@$(BIN)/extproc demo

lint: setup ## ruff, ruff format and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint ## lint, types, unit tests, integration tests with a real Envoy
	$(BIN)/python -m pytest

test-stack: setup ## the whole stack and its files, with programs built from Go modules: minutes the first time
	$(BIN)/python tests/stack/tools.py
	$(BIN)/python -m pytest tests/stack

proto: setup ## regenerate the protobuf code from proto/
	$(BIN)/python -m grpc_tools.protoc -Iproto --python_out=. --pyi_out=. extproc/engine/wire.proto extproc/engine/access_log.proto
	$(BIN)/python -m grpc_tools.protoc -Iproto/extproc/examples/users/v1 \
		--python_out=examples --pyi_out=examples --grpc_python_out=examples users.proto

envoy-files: setup ## print anew what `extproc envoy` prints of envoy/, by the command in each file's header
	@for file in $(PRINTED); do \
	  sed -n '/^#/!q;p' $$file > $$file.new && \
	  sed -n '/^#/!q;s/^#   //p' $$file | PATH="$(BIN):$$PATH" sh >> $$file.new && mv $$file.new $$file || exit 1; \
	done

dashboards: setup ## build Grafana's dashboard anew
	$(BIN)/python deploy/grafana/build.py deploy/grafana/dashboards/extproc.json

kubernetes: setup ## make anew what deploy/kubernetes/ has of envoy/advanced.yaml
	$(BIN)/python deploy/kubernetes/sidecar_envoy.py

bench: setup ## what a request costs, beside what else could do the job: half an hour; needs Go
	$(BIN)/python -m bench
	$(BIN)/python -m bench report

bench-micro: setup ## what the pieces of a request cost, and decisions at 1 to 10,000 policies: ten minutes
	$(BIN)/python -m bench.micro

clean: ## remove .venv and caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info build dist
