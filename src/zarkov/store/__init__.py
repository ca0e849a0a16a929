"""Is findable: MongoDB's filters over the journal's events and over documents.

contract    what every backend does, in prose and types
parse       a filter's syntax -> nodes; filter: nodes -> one compiled function; bounds: nodes -> what to skip
update      `$set`, `$inc` ... on one document
events      the collections `event`, `event.0` ...: the journal, append-only
documents   every other collection: one SQLite file
sqlite      the embedded store: both together
ming_bind   the store as the database that Ming expects
"""
