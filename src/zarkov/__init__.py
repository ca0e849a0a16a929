"""Zarkov: an append-only event log with offsets, and readers that remember how far they have read.

The packages are the stages of an event's journey; read them in this order:

    event, codec, errors,     the words: what an event is, as bytes and as a document; every error; settings;
    config, batch, position,  what travels between the stages
    metrics, keyfiles
    client                    arrives: programs send events (needs only pyzmq and bson)
    ingest                    arrives: frames in, events out; sockets; acknowledgements
    journal                   is kept: the event log on SQLite, one synced commit a group of batches
    store, model              is findable: MongoDB's filters over the journal; ZM, the Ming mappings
    cli                       run: zcmd wires these together

Imports only go up this list, never down.
"""

__version__ = "1.0.0.dev1"
