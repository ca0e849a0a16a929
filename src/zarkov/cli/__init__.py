"""zcmd: one module per family of commands; each command parses, wires, runs and prints.

Reading order: `options` and `settings` (what the command line, the environment and the file say),
`app` (the commands and how errors end), `wiring` (the only place where journal, store and ingest
meet), `control` (asking a running server), then one module a family. `serve` and `eventlog` are also
modules to be run: they import neither typer nor rich, which keeps the server's processes small.
"""
