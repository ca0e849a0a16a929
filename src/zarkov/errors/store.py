"""What a store cannot do."""

from __future__ import annotations

from zarkov.errors.root import ZarkovError


class StoreError(ZarkovError):
    """The store cannot do what was asked."""

    code = "store_error"


class FilterInvalid(StoreError):
    """A filter has an operator or a value that the store does not know."""

    code = "filter_invalid"
    hint = "docs/querying.md lists the operators."


class UpdateInvalid(StoreError):
    """An update has an operator or a value that does not fit the document it is for."""

    code = "update_invalid"
    hint = "docs/querying.md lists the update operators."


class DocumentExists(StoreError):
    """A document or a collection with this name is there already."""

    code = "document_exists"
    hint = "Use replace_one with upsert, or another `_id`."


class AppendOnly(StoreError):
    """An event cannot be changed or deleted: the journal is append-only."""

    code = "append_only"
    hint = "Send a new event that corrects the old one; `rotate` and retention remove old events."


class StoreFailed(StoreError):
    """The document file could not be read or written."""

    code = "store_failed"
    hint = "Check the disk and the rights on `data_dir`."


class StoreUnreachable(StoreError):
    """MongoDB does not answer, or takes no writes now; events wait in the journal."""

    code = "store_unreachable"
    retryable = True
    hint = "Check that MongoDB runs at `mongo_uri`; what waits is loaded when it is back."


class StoreBehind(StoreError):
    """The store holds less than the loader's checkpoint says: it was restored from a backup, emptied or exchanged."""

    code = "store_behind"
    hint = "Run `zcmd loader status` to see what is missing, and `zcmd loader rewind` to load it again."
