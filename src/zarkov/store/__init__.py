"""Is findable: MongoDB's filters over the journal's events and over documents. In reading order:

    contract         what every backend does, in prose and types
    compare, paths   BSON's order of values; where a dotted path leads
    parse, nodes     a filter's syntax, read once into a tree
    operators,       the tree as one compiled function of a document
    filter
    bounds, scan     what a filter says of whole chunks; from a chunk's bytes to its matches
    ordering,        sort, fields, and the cursor that a `find` is
    projection,
    cursor
    update,          `$set`, `$inc`, `$push` ... on one document
    array_update
    events           the collections `event`, `event.0` ...: the journal, append-only
    keys,            every other collection: one SQLite file, in the order of `_id`
    encoded,
    document_table,
    output_files,
    document_file,
    documents
    sqlite_output    many documents at once, each commit once; large ones in a file of their own
    sqlite           the embedded store: all together
    names,           what a collection may be called; the generations of events as one; who may not write to them
    generations,
    append_only
    mongo_errors,    the driver's errors as ours; what is never sent to a server
    mongo_guard
    mongo_reading,   a collection in MongoDB: reading, documents, events
    mongo_documents,
    mongo_events
    mongo_commits,   many documents at once, each commit once: staged, decided, published
    mongo_stage,
    mongo_output
    mongo            the store on MongoDB, by its address
    extra            other databases, by the names of the settings
    checksum,        for moving everything from one store to the other
    document_transfer,
    mongo_transfer
    ming_bind        the store as the database that Ming expects

The model and the commands use `sqlite`, `mongo`, `parse`, `filter`, `bounds`, `generations`; the rest serves these.
"""
