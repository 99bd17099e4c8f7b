# Builds, tests and runs linktrail. Nothing but Go has to be there; `make test` gets its servers itself.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

# go-zero's tag leaves its Kubernetes resolver, and with that most of client-go, out. Whatever else GOFLAGS holds stays.
ifeq (,$(findstring no_k8s,$(GOFLAGS)))
GOFLAGS := $(strip $(GOFLAGS) -tags=no_k8s)
endif
export GOFLAGS

# The commit is stamped into the binary where git can tell it.
BUILDVCS := $(shell git status --porcelain >/dev/null 2>&1 && echo true || echo false)
TEST_TIMEOUT ?= 20m
PKG ?= ./...
# Package by package as `go test` has it, and at the end what failed, with what it said.
GOTESTSUM := hack/tools/run gotestsum --format standard-quiet
# What counts allocations cannot do so under the race detector.
ALLOCATIONS := ./apps/url-api/internal/door ./internal/clickstream/journal
FUZZ ?= 1000000x

##@ Use

.PHONY: run
run: build ## build and start everything on this machine; ends with an example, Ctrl-C stops it
	@exec bin/linktrail up

.PHONY: build
build: ## build bin/linktrail
	@mkdir -p bin
	@[ -e bin/linktrail ] || echo "building bin/linktrail; the first time, fetching modules and compiling takes some minutes" >&2
	@go build -buildvcs=$(BUILDVCS) -trimpath -o bin/linktrail ./apps/linktrail

.PHONY: images
images: ## build the container images for this platform into Docker and print their names (ARGS=--platform=… for more)
	@exec hack/images $(ARGS)

.PHONY: kind-up
kind-up: ## install linktrail on a kind cluster of this machine, from nothing to the printed address; again: upgrade
	@exec hack/kind/up

.PHONY: kind-down
kind-down: ## remove the kind cluster
	@exec hack/kind/down

##@ Develop

.PHONY: test
test: bin/testenv ## run all tests with the race detector on real servers (PKG=./internal/store/... for some)
	@bin/testenv run -- $(GOTESTSUM) -- -race -count=1 -timeout $(TEST_TIMEOUT) $(PKG)
	@[ '$(PKG)' != ./... ] || go test -count=1 -run Allocations $(ALLOCATIONS)

.PHONY: e2e
e2e: ## show the charts to an API server; run linktrail by Compose and on a kind cluster as its users do
	@exec hack/e2e/run

.PHONY: fuzz
fuzz: ## run every fuzz target for a million executions (FUZZ=30s for so long; TARGET=Decode for some); needs no servers
	@hack/fuzz '$(FUZZ)' '$(TARGET)'

.PHONY: testenv
testenv: bin/testenv ## start the servers for tests and keep them up; eval "$(go run ./hack/testenv/cmd env)" elsewhere
	@exec bin/testenv up

.PHONY: bin/testenv
bin/testenv:
	@go build -o $@ ./hack/testenv/cmd

.PHONY: bench
bench: build ## measure redirects and the telemetry controller, write docs/performance.md (ARGS=-help for more)
	@CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o bin/telemetry-controller ./apps/telemetry-controller
	@go build -o bin/bench ./hack/bench
	@exec bin/bench $(ARGS)

.PHONY: soak
soak: build ## run all services at half load for 30 minutes, tell whether what they take grows (ARGS="-for 10m -write=")
	@go build -o bin/bench ./hack/bench
	@exec bin/bench soak $(ARGS)

.PHONY: chaos
chaos: ## break things under load and compare what was answered with what is stored; write docs/reliability.md (ARGS=-help for more)
	@go build -o bin/chaos ./hack/chaos
	@exec bin/chaos $(ARGS)

.PHONY: console
console: build ## try the console in a real browser; needs Node and Chromium (ARGS=--screenshots for docs/images)
	@exec hack/console/run $(ARGS)

.PHONY: generate
generate: ## make the generated code afresh from url.api and analytics.proto
	@hack/tools/generate

.PHONY: charts
charts: ## make the charts' schemas and READMEs afresh from their values.yaml
	@hack/charts generate

.PHONY: lint
lint: ## run golangci-lint
	@hack/tools/run golangci-lint run

.PHONY: verify
verify: ## check generated code, go.mod, formatting, lint, vet, charts, known vulnerabilities, workflows
	@hack/verify

.PHONY: clean
clean: ## remove what was built; data/ stays
	@rm -rf bin

.PHONY: help
help:
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z0-9-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
