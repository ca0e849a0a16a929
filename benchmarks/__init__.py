"""Zarkov beside its floor and its peers, in one run.

`python -m benchmarks.run` plans the rounds, every measurement is a process of its own
(`benchmarks.measure`, or a script of `benchmarks/peers` under `benchmarks.peer_driver`), and
`benchmarks.report` turns the samples into medians, ratios and verdicts.  docs/benchmarks.md
says how to read the table.
"""
