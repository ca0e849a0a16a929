"""Is computed on: map-reduce over the event log. In reading order:

    values           when two keys are one; a key as bytes, as stored, as shown
    literals,        a function on its way to a worker
    located,
    shipping
    request, job     what is asked for; how far it is, and how it ended
    split            the input in pieces of one task each
    runs             sorted pairs and documents as bytes
    failure,         what is said when a function fails; what it prints
    printed
    forms            one output collection, or several in one pass
    inputs           what a map task reads
    shuffle, merge   from what maps yield to runs; from many runs to one
    results          documents, ready to be stored
    execute,         the tasks of a job
    finalize
    scheduler        which worker does what next

These are pure: bytes or values in, bytes or instructions out.
"""
