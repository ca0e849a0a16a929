"""The error tree: stable codes, each once, each with a way out."""

import re

from zarkov import errors


def test_every_error_of_the_tree_stands_in_the_drawing() -> None:
    drawn = dict(re.findall(r"── (\w+) +([a-z_]+)", errors.__doc__ or ""))
    classes = {cls.__name__: code for code, cls in errors.error_codes().items()}
    assert {name: code for name, code in classes.items() if name in drawn} == {
        name: code for name, code in drawn.items() if name != "EventRefused"
    }
    missing = set(classes) - set(drawn)
    assert missing == {"ZarkovError", "JournalError", "StoreError", "ProtocolError", "ClientError", "MapReduceError"}


def test_retry_in_the_drawing_is_what_the_classes_say() -> None:
    drawn = set(re.findall(r"── (\w+) +[a-z_]+ +retry", errors.__doc__ or ""))
    assert drawn == {cls.__name__ for cls in errors.error_codes().values() if cls.retryable}


def test_an_error_on_the_wire_has_its_code_its_sentence_and_its_hint() -> None:
    wire = errors.JournalFull("the disk is full").to_dict()
    assert wire == {
        "code": "journal_full",
        "message": "the disk is full",
        "retryable": True,
        "hint": errors.JournalFull.hint,
    }
    assert errors.ConfigError("no", hint="do this").to_dict()["hint"] == "do this"
