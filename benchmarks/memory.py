"""Zarkov's rows about memory: an idle `serve`, and the growth during a long ingest."""

import time
from statistics import median

from benchmarks import dataset
from benchmarks.eventserver import EventServer
from benchmarks.peerage import peer_module
from benchmarks.sizes import Sizes
from benchmarks.timing import Sample
from zarkov.client import ZarkovClient

IDLE_S = 5.0
SAMPLES = 200
FLUSH_S_MAX = 1800.0


def idle(_sizes: Sizes) -> Sample:
    """Summed PSS of every process of `zcmd serve` some seconds after it answers."""
    common = peer_module("common")
    pace = common.calibrate()
    with EventServer("serve") as server:
        time.sleep(IDLE_S)
        processes = len(common.tree(server.pid))
        return Sample({"pss_mb": server.pss_mb()}, pace, 0.0, notes=(f"{processes} processes",))


def growth(sizes: Sizes) -> Sample:
    """PSS of the event server in the last tenth of a long ingest, less that in its second tenth.

    The first tenth is left out: queues, windows and caches fill there, up to their limits.
    """
    common = peer_module("common")
    pace = common.calibrate()
    base = dataset.encoded(min(dataset.BASE_COUNT, sizes.growth // 10))
    step = sizes.growth // SAMPLES
    samples: list[float] = []  # PSS in MB after each step
    with EventServer() as server:
        started_mb = server.pss_mb()
        with ZarkovClient(server.address["ack_bind_address"], ack=True) as client:
            for part in dataset.renumbered(base, sizes.growth):
                for i in range(0, len(part), step):
                    client.send_encoded(part[i : i + step])
                    samples.append(server.pss_mb())
            client.flush(FLUSH_S_MAX)
        if (stored := server.next_offset()) != sizes.growth:
            raise AssertionError(f"{stored} events are in the journal, and not {sizes.growth}")
    tenth = len(samples) // 10
    early, late, peak = median(samples[tenth : 2 * tenth]), median(samples[-tenth:]), max(samples)
    notes = (
        f"{sizes.growth:,} events over the acknowledging channel; PSS {started_mb:.0f} MB before the first, "
        f"{early:.0f} MB in the second tenth, {late:.0f} MB in the last, {peak:.0f} MB at the most",
    )
    return Sample({"growth_mb": late - early, "peak_mb": peak}, pace, 0.0, notes=notes)
