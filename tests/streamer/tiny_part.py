"""A part for tests of the supervisor: it tells what happens to it through a pipe. Usage: NAME DESCRIPTOR BEHAVIOUR."""

import os
import signal
import sys

name, descriptor, behaviour = sys.argv[1], int(sys.argv[2]), sys.argv[3]


def tell(what: str) -> None:
    os.write(descriptor, f"{name} {what} {os.getpid()}\n".encode())


if signal.pthread_sigmask(signal.SIG_BLOCK, ()):
    tell("masked")
stops = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
signal.pthread_sigmask(signal.SIG_BLOCK, {*stops, signal.SIGUSR1})
if behaviour == "forks" and os.fork() == 0:
    tell("forked")
    signal.sigwait(stops - {signal.SIGTERM})
tell("started")
if behaviour == "dies":
    sys.exit(3)
tell(signal.Signals(signal.sigwait(stops)).name)
if behaviour == "lingers":
    signal.sigwait({signal.SIGUSR1})
tell("gone")
