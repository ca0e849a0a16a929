"""The document file under several threads and processes, damage and crashes."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import apsw
import pytest

from waiting import wait_until
from zarkov.errors import StoreFailed
from zarkov.store.document_file import DocumentFile
from zarkov.store.documents import DocumentCollection

ROUNDS = 25

WRITER = """
import sys
from pathlib import Path
from zarkov.store.document_file import DocumentFile
from zarkov.store.documents import DocumentCollection
things = DocumentCollection(DocumentFile(Path(sys.argv[1])), "things")
number = 0
while True:
    things.insert_many({"_id": {"n": number, "part": part}} for part in range(3))
    number += 1
    print(number, flush=True)
"""


def collection(path: Path) -> DocumentCollection:
    return DocumentCollection(DocumentFile(path), "things")


def test_no_change_is_lost_when_threads_and_connections_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "documents.sqlite"
    shared, other = collection(path), collection(path)
    shared.insert_one({"_id": 1, "n": 0})
    failures: list[BaseException] = []

    def count_up(things: DocumentCollection) -> None:
        try:
            for _ in range(ROUNDS):
                things.update_one({"_id": 1}, {"$inc": {"n": 1}})
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=count_up, args=(things,)) for things in (shared, shared, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert shared.find_one(1) == other.find_one(1) == {"_id": 1, "n": 3 * ROUNDS}


def test_a_long_read_goes_on_while_documents_before_and_behind_it_change(tmp_path: Path) -> None:
    things = collection(tmp_path / "documents.sqlite")
    things.insert_many({"_id": n} for n in range(3000))
    cursor = things.find()
    seen = [next(cursor)["_id"]]
    things.delete_many({"_id": {"$lt": 10}})
    things.insert_one({"_id": 2500.5})
    seen += [document["_id"] for document in cursor]
    assert seen == sorted([*range(3000), 2500.5])


def test_an_exception_inside_a_transaction_undoes_all_of_it(tmp_path: Path) -> None:
    file = DocumentFile(tmp_path / "documents.sqlite")
    things = DocumentCollection(file, "things")

    def fail() -> None:
        with file.transaction():
            things.insert_one({"_id": 1})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert things.count_documents({}) == 0
    with file.transaction():
        things.insert_one({"_id": 1})
        things.insert_one({"_id": 2})
    assert things.count_documents({}) == 2


def test_after_a_kill_every_insert_that_returned_is_there_and_each_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "documents.sqlite"
    process = subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    printed = [process.stdout.readline() for _ in range(20)]
    os.kill(process.pid, signal.SIGKILL)
    printed += process.stdout.readlines()
    process.wait(30)
    process.stdout.close()
    things = collection(path)
    returned = sum(line.endswith("\n") for line in printed)
    stored = things.count_documents({})
    assert stored % 3 == 0
    assert returned <= stored // 3 <= returned + 1
    things.insert_one({"_id": "again"})
    assert things.count_documents({}) == stored + 1


def test_what_is_not_a_document_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "documents.sqlite"
    path.write_bytes(b"not a database, whatever its name says" * 200)
    with pytest.raises(StoreFailed, match=r"documents\.sqlite cannot be used"):
        collection(path).insert_one({"_id": 1})
    assert path.read_bytes().startswith(b"not a database")


def test_a_file_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "documents.sqlite"
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA user_version=3")
    connection.close()
    with pytest.raises(StoreFailed, match="format 3"):
        collection(path).find_one(1)


def test_a_write_waits_for_another_processs_transaction(tmp_path: Path) -> None:
    path = tmp_path / "documents.sqlite"
    first, second, reader = DocumentFile(path), collection(path), collection(path)
    DocumentCollection(first, "things").insert_one({"_id": 0})
    waiting = threading.Thread(target=second.insert_one, args=({"_id": 2},))
    with first.transaction():
        waiting.start()
        DocumentCollection(first, "things").insert_one({"_id": 1})
        assert reader.count_documents({}) == 1
    wait_until(lambda: reader.count_documents({}) == 3)
    waiting.join(30)


def test_a_closed_file_opens_again_at_the_next_use(tmp_path: Path) -> None:
    file = DocumentFile(tmp_path / "documents.sqlite")
    things = DocumentCollection(file, "things")
    things.insert_one({"_id": 1})
    file.close()
    file.close()
    assert things.find_one(1) == {"_id": 1}
    file.close()
