# make demo and make test do their own set-up on a fresh Debian 12 or 13.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

# A Go that scripts/go-toolchain fetched comes first; mkfs and its like are not
# in every user's PATH.
export PATH := $(CURDIR)/.cache/go/bin:$(PATH):/usr/local/go/bin:/usr/sbin:/sbin

export ABUPDATE_CACHE ?= $(CURDIR)/.cache
FUZZTIME ?= 30s
LDFLAGS  := -s -w
# PID 1 needs less memory than a huge page has, which the kernel would clear first; and names for its memory are of no use.
INITFLAGS := $(LDFLAGS) -X runtime.godebugDefault=disablethp=1,decoratemappings=0
UNIT      = $$(go list ./... | grep -v -e '/qemu-tests' -e '/internal/conformance' -e '/internal/interop')

.PHONY: help
help:
	@echo "make demo    boot a real Debian image, update it, break it, reset it (in QEMU)"
	@echo "make test    check, differential, qemu"
	@echo "make check   gofmt, vet, staticcheck, import rules, unit tests with -race, arm64 build"
	@echo "make differential   Debian images against umoci, kernel and unsquashfs; images that want to hurt"
	@echo "make interop signatures against cosign, both ways"
	@echo "make qemu    the QEMU tests alone"
	@echo "make build   bin/abupdate, bin/abinit, bin/guest"
	@echo "make fuzz    every fuzz target for FUZZTIME=$(FUZZTIME)"
	@echo "make campaign   every power cut and much damage, in memory and replayed: counts what was tried"
	@echo "make bench   abupdate against the tools that do the same: docs/benchmarks.md"
	@echo "make microbench   the benchmarks of single functions"
	@echo "make clean   removes bin/ and dist/; 'make distclean' .cache/ too"

.PHONY: packages toolchain
packages:
	@scripts/packages
toolchain: packages
	@scripts/go-toolchain

.PHONY: build
build: toolchain
	CGO_ENABLED=0 go build -buildvcs=false -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/abupdate ./qemu-tests/guest
	CGO_ENABLED=0 go build -buildvcs=false -trimpath -ldflags '$(INITFLAGS)' -o bin/ ./cmd/abinit

.PHONY: check gofmt vet unit arm64
check: toolchain gofmt vet unit arm64

gofmt: toolchain
	@list=$$(find . -name '*.go' -not -path './.cache/*' -print0 | xargs -0 gofmt -l); \
	if [ -n "$$list" ]; then echo "gofmt is needed for:"; echo "$$list"; exit 1; fi

vet: toolchain
	go vet ./...
	go tool staticcheck ./...

# The import rules are a test like the others (internal/depcheck).
unit: toolchain
	CGO_ENABLED=1 go test -race -p 2 -timeout 15m $(UNIT)
	go test -run 'TestModel$$' ./bootctl

arm64: toolchain
	CGO_ENABLED=0 GOARCH=arm64 go build ./...

# Root also mounts; what the images are made of stays in the cache.
.PHONY: differential
differential: build
	ABUPDATE_BIN=$(CURDIR)/bin go test -count=1 -timeout 30m ./internal/conformance

# Signatures against cosign, which is built the first time: some minutes, and 1
# GB of modules. ABUPDATE_FIXTURES=1 makes the testdata of updater/trust anew.
.PHONY: interop
interop: toolchain
	scripts/cosign $(ABUPDATE_CACHE)/cosign
	ABUPDATE_COSIGN=$(ABUPDATE_CACHE)/cosign go test -count=1 -timeout 15m ./internal/interop

.PHONY: qemu
qemu: build
	ABUPDATE_BIN=$(CURDIR)/bin go test -count=1 -timeout 60m ./qemu-tests/...

# What qemu takes a sample of: an hour of two processors at most.
.PHONY: campaign
campaign: build
	go test -count=1 -timeout 3h ./qemu-tests/campaign -full -v | grep -v -e '^=== '
	ABUPDATE_BIN=$(CURDIR)/bin go test -count=1 -timeout 3h ./qemu-tests -run '^(TestReplay|TestLife|TestDamageBoots|TestSelectorUpdate|TestSecureBoot)' -full -v | grep -v -e '^=== '

# One after the other also under make -j: the machines want the processors.
.PHONY: test
test:
	$(MAKE) check
	$(MAKE) differential
	$(MAKE) qemu

.PHONY: demo
demo: build
	@bin/abupdate demo

.PHONY: fuzz bench microbench
fuzz: toolchain
	scripts/fuzz $(FUZZTIME)

# As root, or without the rows that need mounts. A quarter of an hour on two
# processors, and some minutes more the first time.
bench: build
	scripts/packages --bench
	CGO_ENABLED=0 go run -trimpath ./internal/bench -o docs/benchmarks.md $(BENCHFLAGS)
microbench: toolchain
	go test -run '^$$' -bench . -benchmem $(UNIT)

.PHONY: clean distclean
clean:
	rm -rf bin dist
distclean: clean
	rm -rf .cache
