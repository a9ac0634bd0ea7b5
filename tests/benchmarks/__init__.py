"""How fast the server is beside its peers and beside what bounds it, from one run: `python -m tests.benchmarks`.

Absolute rates say how busy the machine is. What counts are the ratios, each taken inside a round, and the CPU time of
a request. Nothing here is a test: a benchmark always ends with success.
"""
