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
    document_file,
    documents
    sqlite           the embedded store: both together
    ming_bind        the store as the database that Ming expects

The model and the commands use `sqlite`, `parse`, `filter` and `bounds`; the rest serves these.
"""
