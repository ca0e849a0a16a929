"""The journal: the durable log of events, with offsets.

Reading order: `format` (a chunk's row), `chunk` (as a reader gets it), `segment` (one file), `catalog` (the whole),
`writer` and `opening` (appending, and recovery), `committer` (the thread), `reader` (positions, bounds, the end),
`journals` (several as one), `upkeep` with `merging`, `compaction`, `checkpoints` and `retention`, then `verify` and
`repair`.

What lies in a journal's directory:

    00000000000000000000.segment    a SQLite file (WAL): the chunks from this offset on, and the producers' windows
    00000000000003500000.segment    the next; the last one is *active*, the only one that takes events
    catalog.sqlite                  the journal's id, generations, readers, what was dropped and quarantined
    writer.lock                     held by the one writer
    damaged/                        segments that a repair replaced

What is always true:

- An event's offset is given at its commit, one after the other, and never given again.
- The chunks of a segment follow each other without a hole, unless damage made one. The first offset of a segment is
  its name; it is where the segment before ended, or beyond, where that one was damaged.
- A committed event is in exactly one chunk of one segment, before, while and after chunks are merged.
- Whatever is read was checked against its checksum.

What a crash leaves: every commit that returned, perhaps one more, no part of any; and perhaps a file that was being
made or removed, which the next start finishes (`opening`).
"""

from zarkov.journal.catalog import Catalog, Generation, Quarantined, ReaderPosition
from zarkov.journal.chunk import Chunk
from zarkov.journal.committer import Committer
from zarkov.journal.journals import Journals
from zarkov.journal.reader import Journal
from zarkov.journal.segment_reader import CorruptChunk
from zarkov.journal.selection import Selection
from zarkov.journal.writer import JournalWriter

__all__ = [
    "Catalog",
    "Chunk",
    "Committer",
    "CorruptChunk",
    "Generation",
    "Journal",
    "JournalWriter",
    "Journals",
    "Quarantined",
    "ReaderPosition",
    "Selection",
]
