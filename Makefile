# Copyright (c) 2026 Weft contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Everything a maintainer runs.  Each target sets up what it needs (tools/setup); `make` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Tools come from the tool environment; their caches and their state stay in build/.
# ssh's control sockets do not: a long path to the checkout would exceed a socket's 108 characters.
export PATH := $(CURDIR)/build/venv/bin:$(PATH)
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/build/ac
export ANSIBLE_HOME := $(CURDIR)/build/ansible/$(WEFT_CLUSTER)
export ANSIBLE_SSH_CONTROL_PATH_DIR := /run/weft/ssh
export MOLECULE_GLOB := molecule/*/molecule.yml
export HYPOTHESIS_STORAGE_DIRECTORY := $(CURDIR)/build/hypothesis
export PYTHONPYCACHEPREFIX := $(CURDIR)/build/pycache
export CONTAINER_ENGINE ?= podman
export NO_COLOR := 1

# Name, network and first port of the machines: change all three to have a second cluster beside it.
export WEFT_CLUSTER ?= weft
export WEFT_NET ?= 172.30.78
export WEFT_PORT_BASE ?= 42210

# The Debian release of the machines, by its code name.
export WEFT_RELEASE ?= bookworm

# What `make vm` runs: files of tests/agent/vm, or any other test that runs between namespaces. Time runs slower there.
VM_TESTS ?= -m 'not long' tests/agent/vm
VM_SECONDS ?= 2400

# What `make bench` measures, and how: sections, --rounds, --peer PATH (a flanneld that is run beside ours).
BENCH ?=
SOAK ?=

# What hosts run: the distribution's Python and libraries.
host_python := /usr/bin/python3
pytest := -m pytest
step := /usr/bin/python3 tools/step.py
# Templates as they come out: the rendered ones are among the tests.
shell_scripts = .ci/run $(shell grep --files-with-matches --max-count=1 '^#!.*sh$$' --recursive --exclude='*.j2' tools molecule roles tests/unit/roles/golden)
in_cluster := tools/with-cgroup2
# Scenarios that `make molecule` leaves to `make molecule-long`, because they take many minutes.
molecule_long := site-change site-firewall site-migrate site-podman site-udp site-vagrant site-zero

.PHONY: help setup check python-lint types yaml-lint docs-lint ansible-lint unit bundle contract contract-modules contract-latest \
	netns vm vm-long vm-image sanity cores artifact image molecule molecule-long molecule-trixie molecule-create molecule-destroy test test-agents test-collection bench soak bench-provisioning demo demo-down clean shell-lint

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-17s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## install missing Debian packages and the tool environment (every target does)
	@tools/setup

# Two at a time, the long ones first; what one of them says comes in one piece, when it ends.
check: setup ## the quick part: lint, types, unit tests
	@$(MAKE) --jobs=2 --output-sync=target ansible-lint unit docs-lint types yaml-lint python-lint shell-lint

python-lint: setup
	ruff check .
	ruff format --check .

types: setup
	tools/check-types

shell-lint: setup
	shellcheck $(shell_scripts)

yaml-lint: setup
	yamllint --strict .

docs-lint: setup
	antsibull-docs lint-collection-docs --plugin-docs --validate-collection-refs self --check-extra-docs-refs .
	antsibull-changelog lint

ansible-lint: setup
	ansible-lint --offline --profile production

unit: setup ## unit tests: rules and modules under the tool environment, the agent under the host's Python
	python $(pytest) -n 2 tests/unit
	$(host_python) $(pytest) -n 2 tests/agent/unit

bundle: setup ## write build/flanneld.pyz, the program that hosts run
	$(host_python) plugins/plugin_utils/_bundle.py build/flanneld.pyz
	$(host_python) plugins/module_utils/_bytecode.py compile build/flanneld.pyz build/flanneld-compiled.pyz

# Contract and namespace tests mostly wait for faults and repairs, so several at a time fit two cores.
contract: setup ## store and leases against real etcd, with the distribution's libraries
	$(host_python) $(pytest) -n 3 tests/agent/contract

contract-modules: setup ## the modules, some of them run by Ansible, against real etcd
	$(host_python) $(pytest) -n 2 tests/contract_modules

contract-latest: bundle ## the same, and a few namespace tests, with the newest libraries from PyPI
	tools/make-venv build/venv-newest requirements/newest.txt
	build/venv-newest/bin/python $(pytest) -m newest tests/agent/contract
	build/venv-newest/bin/python $(pytest) -m newest tests/agent/netns

netns: bundle ## agents between network namespaces on this kernel
	$(host_python) $(pytest) -n 4 tests/agent/netns

vm-image: setup
	tools/vm/build

# An idle machine takes a few minutes for it, a busy one much longer: so are the limits.
vm: bundle vm-image ## agents on Debian's stock kernel, in an emulated machine: modules that this kernel may lack
	$(host_python) tools/vm/run.py --timeout $(VM_SECONDS) /usr/bin/python3 $(pytest) -v -n 2 --dist loadgroup --durations 20 --timeout 600 $(VM_TESTS)

vm-long: ## what takes longer there: every repair, other configs, from and to upstream, backend by backend
	$(MAKE) vm VM_TESTS='--timeout 1800 -m long tests/agent/vm' VM_SECONDS=7200

sanity: setup ## ansible-test sanity
	tools/sanity

cores: setup ## sanity and the unit tests of the collection on the other supported versions of ansible-core
	tools/cores test

artifact: setup ## build the collection twice to the same bytes, import it as Galaxy does, install and use it
	tools/vendor --check
	tools/check-artifact

image: setup
	$(in_cluster) tools/build-image

molecule-create: image ## three machines with systemd, ready for a play
	$(in_cluster) molecule create --no-command-borders

molecule-destroy: setup ## remove them
	$(in_cluster) molecule destroy --no-command-borders

molecule: image ## site.yml on three machines: traffic, a power cut; then TLS, IPv6, two networks
	$(in_cluster) molecule test --all $(molecule_long:%=--exclude=%) --no-command-borders

molecule-long: image ## what changes a whole cluster: another authority, renumber, upgrade, decommission, teardown; firewalls; migrate; podman; udp; a NAT first interface; three members of etcd at once
	$(in_cluster) molecule test --all --exclude=site-etcd --exclude=site-secure --no-command-borders

molecule-trixie: ## the same as the first part of `make molecule`, on Debian 13
	$(MAKE) image WEFT_RELEASE=trixie
	WEFT_RELEASE=trixie $(in_cluster) molecule test --scenario-name=default --scenario-name=site --no-command-borders

# Each step with its limit in seconds, cheap ones first. Then two lanes: agents mostly wait, plays mostly compute. The
# emulated machine comes last and alone, because it takes all there is.
test: setup ## everything; a line for each step, its output in build/log
	@$(step) python-lint 120 $(MAKE) python-lint
	@$(step) types 300 $(MAKE) types
	@$(step) shell-lint 60 $(MAKE) shell-lint
	@$(step) yaml-lint 120 $(MAKE) yaml-lint
	@$(step) docs-lint 300 $(MAKE) docs-lint
	@$(MAKE) test-agents & $(MAKE) test-collection && wait $$! || { wait; exit 1; }
	@$(step) vm 2460 $(MAKE) vm
	@tools/cores missing
	@echo "make test: every step passed"

test-agents:
	@$(step) unit 600 $(MAKE) unit
	@$(step) bundle 120 $(MAKE) bundle
	@$(step) contract 900 $(MAKE) contract
	@$(step) netns 2700 $(MAKE) netns
	@$(step) contract-latest 900 $(MAKE) contract-latest
	@$(step) contract-modules 1200 $(MAKE) contract-modules
	@$(step) cores 1200 $(MAKE) cores
	@$(step) vm-image 900 $(MAKE) vm-image

test-collection:
	@$(step) ansible-lint 600 $(MAKE) ansible-lint
	@$(step) sanity 900 $(MAKE) sanity
	@$(step) artifact 600 $(MAKE) artifact
	@$(step) image 900 $(MAKE) image
	@$(step) molecule 3600 $(MAKE) molecule

bench: bundle ## data path, control plane and allocation measured on this machine: tables, and JSON and plots in build/bench (BENCH: sections, options)
	$(host_python) -m tests.bench $(BENCH)

soak: bundle ## for a long time: a million lease events, minutes of churn, 500 hosts at once, ten thousand leases (SOAK: scenarios)
	$(host_python) -m tests.bench.soak $(SOAK)

bench-provisioning: image ## what the site playbook costs on ten machines, from nothing and unchanged: a table
	@tools/bench-provisioning

demo: image ## a cluster to look at: three machines, site.yml, verification, a summary
	@tools/demo up

demo-down: setup ## remove the demo cluster
	@tools/demo down

clean: ## remove all that these targets made, outside the checkout too
	tools/clean
