# `make demo` shows the product; `make test` proves it. Both do all their set-up themselves.

VENV := .venv
BIN := $(VENV)/bin
PYTEST_WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test check fix bench certificate chaos fuzz soak model mutants shapes docs requirements clean

help: ## Show this
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.demo ## Rotate live PostgreSQL passwords in front of you (KEEP=1 leaves everything running)
	@$(BIN)/python -m demo $(if $(filter-out 0,$(KEEP)),--keep)

test: $(VENV)/.dev ## Install what the tests need, then run the whole suite against real servers
	@tools/install_system_packages.sh
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist worksteal $(ARGS)

check: $(VENV)/.dev ## Formatting, lint, types, one-way doors, dependencies, generated files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry src
	$(BIN)/python tools/generate_shapes.py --check
	$(BIN)/python tools/check_help.py --check
	$(BIN)/python tools/generate_rotator_pages.py --check
	$(BIN)/python tools/check_docs.py
	$(BIN)/python tools/check_tree.py
	$(BIN)/python -m tools.check_deploy

fix: $(VENV)/.dev ## Format and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev ## Measure against moto's server, bare SQL and bare cryptography, in one run (ARGS=--only kms)
	@tools/install_system_packages.sh
	$(BIN)/python -m tests.benchmarks $(ARGS)

certificate: $(VENV)/.dev ## Every fault at every boundary of a rotation, on live targets; writes docs/certificate.md
	@tools/install_system_packages.sh
	$(BIN)/python -m tests.certificate --write docs/certificate.md $(ARGS)

chaos: $(VENV)/.dev ## Three servers killed, frozen and cut off for 20 minutes while they rotate (SECONDS=n, SEED=n)
	@tools/install_system_packages.sh
	$(BIN)/python -m tests.chaos $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED)) $(ARGS)

fuzz: $(VENV)/.dev ## 100,000 spoiled requests and bare-socket garbage at real servers (SEED=n for others)
	@tools/install_system_packages.sh
	$(BIN)/python -m tests.fuzz $(if $(SEED),--seed $(SEED)) $(ARGS)

soak: $(VENV)/.dev ## Two hours of work in ten minutes (SECONDS=n for less): memory, p99 and errors
	@tools/install_system_packages.sh
	$(BIN)/python -m tests.soak $(if $(SECONDS),--seconds $(SECONDS)) $(ARGS)

model: $(VENV)/.dev ## Explore the protocol's model to its end; writes the table of docs/protocol.md
	$(BIN)/python -m tests.protocol --write docs/protocol.md

mutants: $(VENV)/.mutants ## Change the rules one by one and see that a test notices (MODULES="access.sigv4 ..." for some)
	$(BIN)/python tools/mutants.py $(MODULES)

shapes: $(VENV)/.dev ## Generate the wire shapes from botocore's service model
	$(BIN)/python tools/generate_shapes.py

docs: $(VENV)/.dev ## Write the generated pages of docs/
	$(BIN)/python tools/check_help.py
	$(BIN)/python tools/generate_rotator_pages.py

requirements: ## Pin every dependency by hash (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links --upgrade --group demo pyproject.toml -o requirements/demo.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links --upgrade --group dev --extra aws --extra hsm pyproject.toml -o requirements/dev.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links -c requirements/dev.txt --group mutants -o requirements/mutants.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links -c requirements/demo.txt pyproject.toml -o requirements/server.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links -c requirements/demo.txt --group build -o requirements/build.txt

clean: ## Remove what was built
	rm -rf $(VENV) .work dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/.demo: requirements/demo.txt pyproject.toml tools/make_venv.sh
	@tools/make_venv.sh $(VENV) requirements/demo.txt
	@touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml tools/make_venv.sh
	@tools/make_venv.sh $(VENV) requirements/dev.txt
	@touch $@ $(VENV)/.demo

$(VENV)/.mutants: $(VENV)/.dev requirements/mutants.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/mutants.txt
	@touch $@
