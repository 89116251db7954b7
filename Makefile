# Two commands for newcomers: make cluster, make test.
.DEFAULT_GOAL := help

.PHONY: help
help: ## Say what can be made
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

.PHONY: cluster
cluster: ## Make a cluster named "petri", with everything that it takes
	@hack/cluster.sh

.PHONY: build
build: ## Build bin/petri
	@hack/build.sh

.PHONY: node-image
node-image: ## Build the node image from this tree
	@hack/node-image.sh

.PHONY: verify
verify: ## Check form: gofmt, vet, staticcheck, modules, generated files
	@hack/verify.sh

.PHONY: unit
unit: ## Run unit, script and architecture tests
	@hack/unit.sh

.PHONY: e2e
e2e: ## Run tests on real clusters
	@hack/e2e.sh

.PHONY: e2e-full
e2e-full: ## Run every test on real clusters, also those that take long
	@PETRI_E2E_TAGS=e2e,full PETRI_E2E_TIMEOUT=3h hack/e2e.sh

.PHONY: test
test: ## Run every check and test, on real clusters too
	@hack/test.sh

.PHONY: fuzz
fuzz: ## Run every fuzz target for some seconds
	@hack/fuzz.sh

.PHONY: release
release: ## Make a release of this commit in dist/
	@hack/release.sh

.PHONY: update
update: ## Write generated files anew
	@hack/update.sh

.PHONY: clean
clean: ## Remove bin/ and petri's clusters
	@hack/clean.sh
