"""Run one script of benchmarks/peers with only the variants that are asked for.

The script itself is unchanged.  What this does is to stand between it and `common.timed` (in the scripts of
map-reduce `mr_data.measure`), and to leave out the variants that a round does not need: a whole script takes a
minute and a round needs one figure of it.  It runs under the peers' own Python (PEERS_DIR/v), which has their
client libraries and not Zarkov.

    $PEERS_DIR/v/bin/python benchmarks/peer_driver.py ingest_redis rows.json 'always, pipeline of 1000 XADD'
"""

import json
import os
import runpy
import sys
from pathlib import Path

PEERS = Path(__file__).resolve().parent / "peers"


def drive(script: str, wanted: set[str]) -> list[dict[str, object]]:
    """The rows that were recorded for the wanted variants, in order."""
    sys.path.insert(0, str(PEERS))
    import common

    rows: list[dict[str, object]] = []
    record = common.record

    def recorded(part, peer, variant, **fields):  # type: ignore[no-untyped-def]
        row = record(part, peer, variant, **fields)
        if variant in wanted and "rate" in fields:
            rows.append(row)
        return row

    def only_wanted(measure, at):  # type: ignore[no-untyped-def]
        """The function, called for wanted variants alone; the variant is its argument number `at`."""

        def chosen(*args, **options):  # type: ignore[no-untyped-def]
            return measure(*args, **options) if args[at] in wanted else []

        return chosen

    common.record = recorded
    common.timed = only_wanted(common.timed, 2)
    if script.startswith("mr_"):
        import mr_data

        os.environ["BENCH_MEMORY"] = "0"
        mr_data.measure = only_wanted(mr_data.measure, 1)
    runpy.run_path(str(PEERS / f"{script}.py"), run_name="__main__")
    return rows


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(drive(sys.argv[1], set(sys.argv[3:]))))
