.DEFAULT_GOAL := help
.PHONY: help setup build test check bench lock clean

IMAGE ?= windows-2022-containerd

help:  ## Show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 10

setup:  ## Install what is missing: system tools (Debian, root), the locked Python packages, Azurite
	@infra/setup/setup.sh

build: setup  ## Build an image on the stand-in cloud: make build IMAGE=windows-2025
	@.venv/bin/winvhd build $(IMAGE)

test: setup check  ## Run every check and the whole test suite
	@.venv/bin/pytest -n 2 --dist loadfile

check: setup  ## ruff, mypy --strict, import-linter, PowerShell, YAML and schema
	.venv/bin/ruff check --quiet .
	.venv/bin/ruff format --quiet --check .
	.venv/bin/mypy --no-error-summary flows tasks infra images tests
	.venv/bin/lint-imports --no-cache --no-logo
	.venv/bin/python -m infra.guest.powershell_syntax
	.venv/bin/yamllint --strict .
	.venv/bin/winvhd schema --check

bench: setup  ## Measure: reuse against a reference, then the rest; only some: make bench SCENARIO=cold,package
	.venv/bin/python -m tests.bench.bench_reuse --scenario "$(SCENARIO)"
ifeq ($(SCENARIO),)
	.venv/bin/python -m tests.bench.bench_build
	.venv/bin/python -m tests.bench.bench_year
	.venv/bin/python -m tests.bench.bench_inspect
	.venv/bin/python -m tests.bench.bench_render
	.venv/bin/python -m tests.bench.bench_link transfer
	.venv/bin/python -m tests.bench.bench_link transfer --rtt-ms 20
	.venv/bin/python -m tests.bench.bench_link faults
endif

lock: setup  ## Move the pinned Python packages to their newest versions
	.venv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate \
		--custom-compile-command "make lock" pyproject.toml --group dev --output-file requirements/requirements.lock
	.venv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate \
		--custom-compile-command "make lock" --group node --output-file requirements/node.lock
	grep -A40 '^uv==' requirements/requirements.lock | awk '/^uv==/ || (/^    --hash/ && on) {on=1; print; next} {if (on) exit}' >requirements/bootstrap.lock

clean:  ## Remove everything that was made here: builds, caches, the stand-in's state (the environment stays)
	@if [ -x .venv/bin/winvhd ]; then .venv/bin/winvhd local down; fi
	rm -rf out .winvhd
