# One number names a step everywhere: make step3 is about steps/03-close-fds.

GO = go
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2

STEPS := $(sort $(notdir $(wildcard steps/[0-9]*)))

# $(call step,3) and $(call step,03) are 03-close-fds; any other word is an error.
step = $(or $(firstword $(filter $1-% 0$1-%,$(STEPS))),$(error no step "$1"; the steps are $(STEPS)))
# $(call number,03-close-fds) is 3.
number = $(patsubst 0%,%,$(firstword $(subst -, ,$1)))

EXERCISES := $(sort $(notdir $(wildcard exercises/[0-9]*)))
exercise = $(or $(firstword $(filter $1-% 0$1-%,$(EXERCISES))),$(error no exercise "$1"; the exercises are $(EXERCISES)))
# $(call mend,03-close-fds) is the file to change in it: launch.go.
mend = $(notdir $(basename $(wildcard exercises/testdata/answers/$1/*.go.txt)))
# $(call known,03-close-fds) is what isdaemon is given for it: what it has to know of
# the program, and the program with its arguments.
known = $(subst PIDFILE,"$$PWD/bin/exercises/$1.pid",$(subst PROGRAM,bin/exercises/$1,$(shell cat exercises/testdata/answers/$1/isdaemon.args)))

.PHONY: help stop check test race lint stress docs bench cover clean FORCE

help: ## this list
	@echo 'N is the number of a step: $(STEPS)'
	@echo
	@sed -n 's/^\([a-z%]*\):.*## /\1	/p' Makefile | sed 's/%/N/' | expand -t 10

step%: FORCE ## start step N from here, and show what became of it
	@CGO_ENABLED=0 $(GO) build -buildvcs=false -o bin/ ./steps/$(call step,$*) ./cmd/step
	@bin/step start $(call step,$*)

stop: FORCE ## end what make stepN has started
	@$(GO) build -buildvcs=false -o bin/ ./cmd/step
	@bin/step stop

test%: FORCE ## run the tests of step N
	@$(GO) test -count=1 -run 'TestScenarios/$(call step,$*)' .

diff%: FORCE ## show what step N changes in the step before it
	@this=$(call step,$*); \
	before=; for s in $(STEPS); do \
		[ $$s = $$this ] && break; before=$$s; \
	done; \
	if [ -z "$$before" ]; then \
		echo "$$this is the first step. Its files:"; ls -1 steps/$$this/*; \
	else \
		git --no-pager diff --no-index --stat -p steps/$$before steps/$$this || [ $$? -eq 1 ]; \
	fi

# What differs in step N from the last commit is merged into each later step, as git
# merges a branch: the committed step N is what both sides come from. A file that
# conflicts keeps git's marks, and the rest is merged all the same. A new file goes to
# steps that have one of the changed files, too.
carry%: FORCE ## carry your uncommitted change of step N to all later steps
	@this=$(call step,$*); status=0; before=$$(mktemp); trap 'rm -f "$$before"' EXIT; \
	changed=$$(git diff --name-only --relative=steps/$$this HEAD -- steps/$$this; \
		git ls-files --others --exclude-standard steps/$$this | sed 's|.*/||'); \
	[ -n "$$changed" ] || { echo "$$this is as it was committed: nothing to carry" >&2; exit 1; }; \
	for later in $(STEPS); do \
		[ "$$later" \> "$$this" ] || continue; \
		stood=; stands=; \
		for file in $$changed; do \
			git cat-file -e HEAD:steps/$$this/$$file 2>/dev/null || continue; \
			stood=1; [ ! -e steps/$$later/$$file ] || stands=1; \
		done; \
		for file in $$changed; do \
			to=steps/$$later/$$file; new=steps/$$this/$$file; \
			git show HEAD:$$new >"$$before" 2>/dev/null || : >"$$before"; \
			if [ ! -e $$new ]; then \
				if cmp -s "$$before" $$to; then rm $$to; echo "$$to: removed"; \
				elif [ -e $$to ]; then echo "$$to: kept, since it differs from the removed one" >&2; status=1; fi; \
			elif [ ! -e $$to ]; then \
				if [ -s "$$before" ]; then echo "$$to: not there any more" >&2; \
				elif [ -z "$$stood" ] || [ -n "$$stands" ]; then cp $$new $$to; echo "$$to: new"; fi; \
			elif git merge-file -q -L $$later -L 'before the change' -L $$this $$to "$$before" $$new; then echo "$$to: merged"; \
			else echo "$$to: conflict" >&2; status=1; fi; \
		done; \
	done; exit $$status

check: FORCE ## judge a program as a daemon: PROG="./my-daemon -x" STEP=3, or STYLE=new
	$(if $(PROG),,$(error check needs PROG, and may have STEP: make check PROG="./my-daemon -x" STEP=3))
	@$(GO) build -buildvcs=false -o bin/ ./cmd/isdaemon
	@bin/isdaemon $(if $(STYLE),-style $(STYLE)) $(if $(STEP),-through $(call number,$(call step,$(STEP)))) -- $(PROG)

exercise%: FORCE ## judge exercise N, and say whether it is solved
	@this=$(call exercise,$*); \
	CGO_ENABLED=0 $(GO) build -buildvcs=false -o bin/exercises/ ./exercises/$$this && \
	$(GO) build -buildvcs=false -o bin/ ./cmd/isdaemon || exit; \
	bin/isdaemon -through $(call number,$(call exercise,$*)) $(call known,$(call exercise,$*)) || { \
		status=$$?; \
		echo 'exercise $(call number,$(call exercise,$*)) is not solved yet: mend exercises/$(call exercise,$*)/$(call mend,$(call exercise,$*))'; \
		exit $$status; \
	}; \
	echo 'exercise $(call number,$(call exercise,$*)) is solved'

test: ## run all tests
	@$(GO) test ./...

race: ## run the tests with the race detector, which needs a C compiler
	@$(GO) test -race ./internal/... .

lint: ## check format, code and go.mod, also for other systems
	@unformatted=$$("$$($(GO) env GOROOT)/bin/gofmt" -l .) && [ -z "$$unformatted" ] || \
		{ echo "gofmt would change:" $$unformatted >&2; exit 1; }
	@$(GO) mod tidy -diff
	@$(GO) vet ./...
	@for target in darwin/amd64 freebsd/amd64 openbsd/amd64 netbsd/amd64 linux/arm64; do \
		GOOS=$${target%/*} GOARCH=$${target#*/} $(GO) vet ./steps/... || \
			{ echo "in ./steps for $$target" >&2; exit 1; }; \
	done
	@GOOS=darwin $(GO) vet ./cmd/...
	@$(GO) run $(STATICCHECK) ./...

# The load is one busy loop for each CPU. Each ends by itself too, should this
# shell be killed before it can end it.
stress: ## run all tests 25 times, shuffled, while every CPU is busy, and the storms
	@load=; \
	trap '[ -z "$$load" ] || kill $$load' EXIT; trap 'exit 130' INT; trap 'exit 143' TERM; \
	for cpu in $$(seq $$(getconf _NPROCESSORS_ONLN)); do \
		sh -c 'while kill -0 $$1; do n=0; while [ $$n -lt 9999 ]; do n=$$((n+1)); done; done' \
			load $$$$ 2>/dev/null & \
		load="$$load $$!"; \
	done; \
	for run in $$(seq 25); do \
		echo "run $$run of 25"; $(GO) test -count=1 -shuffle=on ./... || exit 1; \
	done; \
	kill $$load; load=; echo "the storms"; \
	$(GO) test -count=1 -timeout 3h -parallel 1 -storm .

docs: ## write the parts of documents and pictures that come from the code
	@$(GO) test -count=1 -run 'TestLessons|TestREADME|TestScoreboard|TestPictures' . -update

bench: ## say what a start costs, and what an idle daemon does
	@$(GO) build -buildvcs=false -o bin/ ./cmd/bench
	@bin/bench

cover: ## say how much of internal/ the tests run
	@mkdir -p bin
	@$(GO) test -coverpkg=./internal/... -coverprofile=bin/cover.out ./...
	@$(GO) tool cover -func=bin/cover.out | tail -n 1

clean: ## remove what make has built
	@rm -rf bin
