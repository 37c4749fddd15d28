# Hearth's tasks. `make` or `make help` lists them; CONTRIBUTING.md tells more.

SHELL         := bash
.SHELLFLAGS   := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS     += --no-print-directory

# Where `make up` and `make down` keep and find Hearth: empty means hearth's own
# defaults. For instance: make up DATA=/srv/hearth LISTEN=127.0.0.1:9009
DATA   ?=
LISTEN ?=
# More flags of `hearth bench`, for instance: make bench BENCH='-o json'
BENCH  ?=

# Go is often unpacked here without being on root's PATH.
export PATH := $(PATH):/usr/local/go/bin
# Images of runtimes that tests build are shared between clones.
export HEARTH_RUNTIME_CACHE ?= $(or $(XDG_CACHE_HOME),$(or $(HOME),/root)/.cache)/hearth/runtimes

data   := $(if $(DATA),--data "$(DATA)")
listen := $(if $(LISTEN),--listen "$(LISTEN)")

# The version control stamp is left out: git refuses to tell it to root in a
# clone that belongs to someone else.
gobuild := CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w'

# hearth-init is mapped into every sandbox.
init_limit := 10485760

.PHONY: help
help: ## List these tasks
	@awk 'BEGIN { FS = ":.*## "; print "Usage: make TASK\n" } \
		/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: up
up: build ## Start Hearth, then create and invoke a first function
	@bin/hearth up --detach $(data) $(listen)
	@bin/hearth deploy examples/python-hello --name hello $(data)
	@bin/hearth invoke hello --payload '{"name":"you"}' --timeline $(data)
	@printf '%s\n' '' \
		'Hearth goes on running in the background. What to type next:' '' \
		'  eval "$$(bin/hearth env $(data))"              # any AWS tool now talks to it' \
		'  aws lambda list-functions' \
		'  bin/hearth invoke hello --payload '\''{"name":"world"}'\'' $(data)' \
		'  bin/hearth logs hello -f $(data)' \
		'  bin/hearth deploy DIR $(data)                  # a function of your own' \
		'  make down $(if $(DATA),DATA="$(DATA)")'

.PHONY: down
down: ## Stop the Hearth that make up has started
	@bin/hearth down $(data)

# The go command knows best what is stale, so these builds always run it.
.PHONY: build
build: deps bin/runsc ## Build bin/hearth, bin/hearth-init and bin/runsc
	@mkdir -p bin
	$(gobuild) -o bin/ ./cmd/...
	@size=$$(stat -c %s bin/hearth-init); if (( size >= $(init_limit) )); then \
		echo "bin/hearth-init has $$size bytes, the limit is $(init_limit): see what it imports with go list -deps ./cmd/hearth-init" >&2; exit 1; fi

.PHONY: bin/runsc
bin/runsc: deps
	@scripts/build-tool runsc runsc gvisor.dev/gvisor/runsc

# The S3 server that tests have code fetched from.
.PHONY: bin/gofakes3
bin/gofakes3: deps
	@scripts/build-tool s3server gofakes3 github.com/johannesboyne/gofakes3/cmd/gofakes3

.PHONY: bin/golangci-lint
bin/golangci-lint: deps
	@scripts/build-tool lint golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint

.PHONY: runtimes
runtimes: build ## Build the images of all managed runtimes ahead of their first use
	@bin/hearth runtimes build $(data)

.PHONY: test
test: build bin/gofakes3 clients ## Run all tests, under the race detector
	@scripts/test

.PHONY: soak
soak: build ## Simulate 10,000 hours of a cluster that has bad luck, and break a real one for as long as it must stand
	go test ./internal/sim -run Seeds -v -timeout 0 -args -seeds 1000 -chaos 10h
	CGO_ENABLED=1 go test -race -v -timeout 0 ./test/zones -run 'TestMutex$$' -args -strict -outage 200s
	CGO_ENABLED=1 go test -race -v -timeout 0 ./test/zones -run 'TestEtcdDown$$' -args -strict -outage 600s
	CGO_ENABLED=1 go test -race -v -timeout 0 ./test/zones -run 'TestPauseLeaders$$' -args -strict -outage 30s

.PHONY: lint
lint: bin/golangci-lint clients ## Check the code, its format, its modules and what is generated
	@scripts/lint

.PHONY: bench
bench: build ## Measure the invoke path against its floor and print the ratios
	@bin/hearth bench $(BENCH)

.PHONY: bench-storage
bench-storage: build ## Measure volumes: cold starts of images, reads and builds
	@bin/hearth bench storage $(BENCH)

.PHONY: clean
clean: ## Remove what was built here; data directories and caches stay
	rm -rf bin build

.PHONY: deps
deps:
	@scripts/deps

.PHONY: clients
clients: deps
	@scripts/clients
