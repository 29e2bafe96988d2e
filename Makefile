# Each target is one script, which runs without make too.
.PHONY: install run test bench faults

install:
	@scripts/install

# make run [PORT=8000] [HOST=127.0.0.1] [DATA=./data]
run:
	@PORT='$(PORT)' HOST='$(HOST)' DATA='$(DATA)' scripts/run

test:
	@scripts/test

bench:
	@scripts/bench

faults:
	@scripts/faults
