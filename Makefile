# Each target is one script, which runs without make too.
.PHONY: install run test bench faults cluster

install:
	@scripts/install

# make run [PORT=8000] [HOST=127.0.0.1] [DATA=./data] [MODEL=local:smollm2]; exec, so that a signal to make reaches the service itself
run:
	@exec env PORT='$(PORT)' HOST='$(HOST)' DATA='$(DATA)' MODEL='$(MODEL)' scripts/run

test:
	@scripts/test

bench:
	@scripts/bench

faults:
	@scripts/faults

cluster:
	@scripts/cluster
