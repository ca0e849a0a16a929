"""Run one script of benchmarks/peers with only the variants that are asked for.

The script itself is unchanged.  What this does is to stand between it and `common.timed`, and
to leave out the variants that a round does not need: a whole script takes a minute and a round
needs one figure of it.  It runs under the peers' own Python (PEERS_DIR/v), which has their
client libraries and not Zarkov.

    $PEERS_DIR/v/bin/python benchmarks/peer_driver.py ingest_redis rows.json 'always, pipeline of 1000 XADD'
"""

import json
import runpy
import sys
from pathlib import Path

PEERS = Path(__file__).resolve().parent / "peers"


def drive(script: str, wanted: set[str]) -> list[dict[str, object]]:
    """The rows that `common.timed` recorded for the wanted variants, in order."""
    sys.path.insert(0, str(PEERS))
    import common

    rows: list[dict[str, object]] = []
    timed = common.timed

    def chosen(part, peer, variant, *args, **options):  # type: ignore[no-untyped-def]
        if variant in wanted:
            rows.extend(timed(part, peer, variant, *args, **options))
        return rows

    common.timed = chosen
    runpy.run_path(str(PEERS / f"{script}.py"), run_name="__main__")
    return rows


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(drive(sys.argv[1], set(sys.argv[3:]))))
