"""Where settings come from: the file, the environment, the flags; and what a settings file must not hold."""

import re
from pathlib import Path

import pytest

from zarkov.cli.options import Options, parse_child
from zarkov.cli.sample import sample
from zarkov.cli.settings import FILE_BYTES_MAX, load
from zarkov.config import Resolved, Settings, table
from zarkov.errors import ConfigError


def load_file(path: Path, text: str | bytes) -> Resolved:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load(Options(str(path)), {})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "zarkov.yaml"


def test_no_file_and_no_environment_give_the_defaults() -> None:
    assert load(Options(), {}).settings == Settings()


def test_the_file_gives_way_to_the_environment_and_that_to_flags(path: Path) -> None:
    path.write_text("web_port: 1001\nmongo_database: file\nzmr:\n  local_workers: 1\n  compress: 1\n")
    environment = {"ZARKOV_WEB_PORT": "1002", "ZARKOV_ZMR__LOCAL_WORKERS": "2", "ZARKOV_ZMR__COMPRESS": "2"}
    resolved = load(Options(str(path), assignments=("web_port=1003", "zmr.compress=3")), environment)
    settings, origins = resolved.settings, resolved.origins
    assert (settings.web_port, settings.zmr.local_workers, settings.zmr.compress) == (1003, 2, 3)
    assert settings.mongo_database == "file"
    assert origins["web_port"] == origins["zmr.compress"] == "the command line"
    assert origins["zmr.local_workers"] == "the environment"
    assert origins["mongo_database"] == str(path)
    assert origins["journal"] == "default"


def test_data_dir_and_verbose_have_flags_of_their_own() -> None:
    resolved = load(Options(data_dir="/srv/z", verbose=True), {"ZARKOV_DATA_DIR": "/elsewhere"})
    assert resolved.settings.data_dir == Path("/srv/z")
    assert resolved.settings.verbose


def test_a_variable_with_file_at_its_end_names_a_file_that_holds_the_value(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("s3cret\n")
    resolved = load(Options(), {"ZARKOV_MONGO_PASSWORD_FILE": str(secret)})
    assert resolved.settings.mongo_password == "s3cret"
    with pytest.raises(ConfigError, match="are both set"):
        load(Options(), {"ZARKOV_MONGO_PASSWORD_FILE": str(secret), "ZARKOV_MONGO_PASSWORD": "x"})
    with pytest.raises(ConfigError, match="cannot be read"):
        load(Options(), {"ZARKOV_MONGO_PASSWORD_FILE": str(tmp_path / "missing")})


def test_an_error_names_the_variable_or_flag_it_came_from() -> None:
    with pytest.raises(ConfigError, match=r"^ZARKOV_WEB_PORT in the environment must be a whole number, not 'x'$"):
        load(Options(), {"ZARKOV_WEB_PORT": "x"})
    with pytest.raises(ConfigError, match=r"^--set zmr.compress in the command line must be at most 19, not 20$"):
        load(Options(assignments=("zmr.compress=20",)), {})
    with pytest.raises(ConfigError, match=r"^--set web_port is not KEY=VALUE$"):
        load(Options(assignments=("web_port",)), {})


def test_an_unknown_variable_is_refused_with_the_nearest_setting() -> None:
    with pytest.raises(ConfigError, match=r"^ZARKOV_WEB_PROT in the environment is not a setting$") as caught:
        load(Options(), {"ZARKOV_WEB_PROT": "1"})
    assert caught.value.hint == "Did you mean web_port?"


def test_variables_that_are_no_settings_are_let_be() -> None:
    environment = {
        "ZARKOV_PORT": "tcp://10.0.0.1:6543",  # Kubernetes, for a service named zarkov
        "ZARKOV_PORT_6543_TCP_ADDR": "10.0.0.1",
        "ZARKOV_SERVICE_HOST": "10.0.0.1",
        "ZARKOV_SERVICE_PORT_BSON": "6543",
        "ZARKOV_CRASH_AT": "in_merge",
        "ZARKOV_TEST_ROUNDS": "3",
        "ZARKOV_WEB_PORT": "",
        "PATH": "/bin",
    }
    assert load(Options(), environment).settings == Settings()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: &x 1\nb: *x\n", "line 1 is not a settings file: anchors and aliases"),
        ("extra: &x {}\n", "line 1 is not a settings file: anchors and aliases"),
        ("web_port: 1\nweb_port: 2\n", "line 2 is not a settings file: the key 'web_port' stands here twice"),
        ("zmr:\n  compress: 1\n  compress: 2\n", "line 3 is not a settings file: the key 'compress'"),
        ("web_port: !!python/object/apply:os.system ['true']\n", "could not determine a constructor"),
        ("web_port: [1\n", "is not a settings file"),
        ("- 1\n", "must hold a mapping"),
        ("just text\n", "must hold a mapping"),
        ("a: " + "[" * 100_000, "nested too deeply"),
        (b"web_port: \xff\n", "is not UTF-8 at byte 10"),
        (b"web_port: \x00\n", "is not a settings file"),
        ("#" * (FILE_BYTES_MAX + 1), "is larger than 1,048,576 bytes"),
        ("? [1]\n: 2\n", "is not a settings file"),
    ],
)
def test_what_is_no_settings_file_is_refused_in_one_sentence(path: Path, text: str | bytes, fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_file(path, text)
    assert fault in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file") as caught:
        load(Options(str(tmp_path / "dev.yaml")), {})
    assert "zcmd init --config" in caught.value.hint


def test_an_empty_file_gives_the_defaults(path: Path) -> None:
    assert load_file(path, "").settings == Settings()
    assert load_file(path, "# nothing\n").settings == Settings()


def test_the_sample_file_changes_nothing_as_it_is_and_when_every_key_is_uncommented(path: Path) -> None:
    assert load_file(path, sample()).settings == Settings()
    uncommented = re.sub(r"^#(?! \S)", "", sample(), flags=re.MULTILINE)
    resolved = load_file(path, uncommented)
    assert resolved.settings == Settings()
    assert resolved.warnings == ()
    left = {key for key, origin in resolved.origins.items() if origin != str(path)}
    assert left == {key for key, row in table().items() if row.default is None}


def test_options_survive_the_way_to_a_child_process() -> None:
    options = Options("a b.yaml", "-odd dir", ("web_port=1", "extra={}"), verbose=True)
    child = parse_child([*options.argv(), "--parent", "12", "--ready-fd", "5"])
    assert child.options == options
    assert (child.parent, child.ready_fd) == (12, 5)
    assert parse_child(Options().argv()).options == Options()
