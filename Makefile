# Kindred's house work. "make help" says what there is. What a target needs it installs, or says plainly that it is
# missing. KINDRED_DATA, where it is set, is passed on to the tests: the folder of real inputs that some of them check.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS   += --no-print-directory

GO       ?= go
# Without gRPC's tracing pages (of CometBFT, and never served) the linker can drop methods that nobody calls: 6 MB.
FLAGS    := -tags grpcnotrace -trimpath -ldflags "-s -w"
BUILD    := CGO_ENABLED=0 $(GO) build $(FLAGS)
PLATFORMS := amd64 arm64 arm

ARGS     ?=
FUZZTIME ?= 3s
SOAKTIME ?= 2m
SOAKS    ?= 10
PLAYS    ?= 5000
MEMBERS  ?= 1000
COUNT    ?= 3

.DEFAULT_GOAL := help
.PHONY: help run build test race order fuzz compile lint bench soak go gcc curl ffmpeg nft miniupnpd

help: ## what there is
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

run: build ## build bin/kindred and show a whole home on this machine (ARGS="--once" ends after the story)
	bin/kindred demo $(ARGS)

build: go ## build bin/kindred, bin/thermometer and bin/reader, one file each, no cgo
	$(BUILD) -o bin/ ./cmd/kindred ./examples/thermometer ./examples/reader

test: race order fuzz compile ## all tests with the race detector, a short run of every fuzz target, and a compile for each platform

race: go gcc curl ffmpeg nft miniupnpd
	$(GO) test -race -json -timeout 20m ./... | $(GO) run .ci/summary.go

order: go ## the tests of who runs when, of which the race detector makes a matter of chance
	$(GO) test -json -run SharePackets ./peer | $(GO) run .ci/summary.go

fuzz: go ## run every fuzz target for FUZZTIME (3s)
	.ci/fuzz $(FUZZTIME)

compile: go
	@for arch in $(PLATFORMS); do \
		GOOS=linux GOARCH=$$arch $(BUILD) -o bin/kindred-linux-$$arch ./cmd/kindred; \
		echo "compiled linux/$$arch: $$(wc -c <bin/kindred-linux-$$arch) bytes"; \
	done

lint: go ## gofmt, go vet, staticcheck, and the import table
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	for tool in .ci/*.go; do $(GO) vet $$tool; $(GO) tool staticcheck $$tool; done
	$(GO) tool staticcheck ./...
	$(GO) test -run 'TestImports|TestFences|TestPackages|TestTable' .

bench: build ## every benchmark COUNT (3) times, and tables of the figures promised, and of bounds of our own, beside those measured
	@{ $(GO) test -run '^$$' -bench . -benchmem -count $(COUNT) -timeout 60m $$($(GO) list ./... | tail -n +2); \
	   (cd grant/compare && $(GO) test -mod=mod -bench . -benchtime 1000x -count $(COUNT) -timeout 20m .); \
	   $(GO) test -run '^$$' -bench 'Unshare|FirstAnswer' -benchtime 100x -timeout 20m .; \
	   $(GO) test -run '^$$' -bench 'Warm|Actions' -benchtime 1x -count $(COUNT) -timeout 20m .; \
	   $(GO) test -run '^$$' -bench FarAnswer -benchtime 20x -timeout 20m .; \
	   KINDRED_TEST_MEMBERS=1000 $(GO) test -run '^$$' -bench Remove -benchtime 20x -timeout 20m ./gateway; \
	   $(GO) run .ci/measure.go bin/kindred; } | $(GO) run .ci/figures.go

soak: go gcc curl nft ## everything with a model, a crash or a fault in it and a crowd of MEMBERS (1000) SOAKS (10) times, PLAYS (5000) histories of grants, and every fuzz target for SOAKTIME (2m)
	$(GO) test -race -json -timeout 4h -count $(SOAKS) -run 'Model|Fault|Crash|Kill' ./... | $(GO) run .ci/summary.go
	KINDRED_TEST_PLAYS=$(PLAYS) $(GO) test -json -timeout 4h -run DecideAgainstModel ./grant | $(GO) run .ci/summary.go
	KINDRED_TEST_MEMBERS=$(MEMBERS) $(GO) test -json -timeout 4h -count $(SOAKS) -run Crowd ./peer | $(GO) run .ci/summary.go
	.ci/fuzz $(SOAKTIME)

go:
	@if ! command -v $(GO) >/dev/null; then echo "Kindred is built with Go 1.26 or newer, which is not here: https://go.dev/dl/" >&2; exit 1; fi
	@$(GO) list -m >/dev/null

gcc:
	@if command -v "$$($(GO) env CC)" >/dev/null; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends gcc libc6-dev; \
	else \
		echo "the race detector needs a C compiler, which is not here: install gcc" >&2; exit 1; \
	fi

curl:
	@if command -v curl >/dev/null; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends curl; \
	else \
		echo "the tests of HTTPS need curl, which is not here: install curl" >&2; exit 1; \
	fi

ffmpeg:
	@if command -v ffmpeg >/dev/null && command -v ffprobe >/dev/null; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ffmpeg >/dev/null; \
	else \
		echo "a test watches a camera with ffmpeg, which is not here: install ffmpeg" >&2; exit 1; \
	fi

# Without these, tests that need networks of their own are skipped, and say so.
nft:
	@if command -v ip >/dev/null && command -v nft >/dev/null; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends iproute2 nftables; \
	else \
		echo "tests in networks of their own are skipped without root, ip and nft: install iproute2 and nftables" >&2; \
	fi

miniupnpd:
	@if command -v miniupnpd >/dev/null; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends miniupnpd-nftables; \
	else \
		echo "tests with a router that forwards ports are skipped without root and miniupnpd: install miniupnpd-nftables" >&2; \
	fi
