"""What the service must survive: each fault a row, with real processes, a real Redis and real signals.

`make test` runs every row once with short durations; `make faults` asserts the figures, with the real ones too.
"""
