"""Events arrive: frames in, validated events to the journal, answers out.

Pure modules (no socket, no clock):

    protocol    the acknowledging channel's frames <-> requests and answers
    intake      bytes -> the events that can be taken and the reasons why the others cannot
    nesting     how deep a BSON document is nested
    newid       the ids that events without one are given
    recent      the latest `_id`s: a retry, or a conflict?
    rendezvous  which of several event servers a producer belongs to
    window      each producer's numbered batches: an answer given before is given again

Around them:

    ports       what this package asks of the journal
    readiness   waiting for a ZeroMQ socket, and for another thread, in a greenlet
    pending     how much was taken and is not synced yet; what pushes back on the clients
    receiver    the PULL sockets
    acknowledger  the ROUTER socket
    publisher   the XPUB socket
    control     commands over a Unix socket
    admission   who is let in, by a list of keys that may change
    zap         keys on the sockets: asks admission, cuts the connections of a revoked key
    doorkeeper  zap's greenlet
    feeders     whether a balancer is connected
    server      EventServer: all of it, started and stopped together

In front of several event servers, in a process without greenlets:

    fanin       PULL sockets to the servers that have room
    switchboard   each producer's requests to its server, and the answers back
    balancer    Balancer: both, and the live tail

Everything but the journal's writer runs in greenlets of one thread; nothing is monkey-patched. The sockets are plain
ZeroMQ sockets used without blocking, so that a drain costs no switch of greenlets a message.
"""
