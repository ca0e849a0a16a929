"""Settings as data: their table, the checks of one value, layers over each other, keys of 2011."""

import dataclasses
from pathlib import Path

import pytest

from zarkov.config import (
    RETIRED,
    ExtraDatabase,
    IngestSettings,
    JournalSettings,
    Layer,
    LogStream,
    Resolved,
    Settings,
    is_loopback,
    loopback_uri,
    resolve,
    table,
    value_of,
)
from zarkov.errors import ConfigError

ORIGINAL = {
    "bson_bind_address": "tcp://0.0.0.0:6543",
    "json_bind_address": "tcp://0.0.0.0:6544",
    "publish_bind_address": "tcp://0.0.0.0:6545",
    "bson_uri": "tcp://localhost:6543",
    "json_uri": "tcp://localhost:6544",
    "web_port": 8081,
    "mongo_uri": "mongodb://localhost:27017",
    "mongo_database": "zarkov",
    "mongo_username": None,
    "mongo_password": None,
    "verbose": True,
    "incremental": 0,
    "extra": {},
    "extra_dbs": [{"name": "other", "master": "mongodb://localhost:27017", "database": "other"}],
    "journal": "journal",
    "journal_file_size": 128 * 2**20,
    "journal_min_files": 2,
    "flush_mmap": False,
    "num_event_servers": 1,
    "num_event_logs": 2,
    "backdoor": [{"command": "serve", "port": 6550}],
    "logstream": [{"entry_point": "apache", "port": 6551}],
    "loadbalance": {"incoming_bind": "tcp://0.0.0.0:6560", "outgoing_uris": ["tcp://a:6543", "tcp://b:6543"]},
    "webevent": {"bind": "0.0.0.0:8082"},
    "zmr": {
        "req_uri": "tcp://127.0.0.1:5555",
        "req_bind": "tcp://0.0.0.0:5555",
        "worker_uri": "tcp://0.0.0.0",
        "local_workers": 2,
        "job_root": "/tmp/zmr",
        "map_page_size": 250000000,
        "map_job_size": 10000,
        "outstanding_maps": 16,
        "outstanding_reduces": 16,
        "request_greenlets": 16,
        "compress": 0,
        "src_port": 0,
        "sink_port": 0,
        "processes_per_worker": None,
        "reduce_count": 256,
        "event_limit": 1000,
        "max_chunk_timeout": 600,
        "requests_per_worker_process": 256,
        "suicide_level": 500,
        "map_chunk_size": 1000,
        "map_chunks_per_page": 10,
        "outstanding_chunks": 16,
    },
}


def of(text: bool = False, **values: object) -> Resolved:
    return resolve([Layer("a.yaml", values, text=text)])


def refusal(text: bool = False, **values: object) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        of(text, **values)
    return caught.value


def test_everything_has_a_default_that_passes_its_own_checks() -> None:
    for key, row in table().items():
        values: dict[str, object] = {row.name: row.default}
        if row.section:
            values = {row.section: values}
        if isinstance(row.default, Path):
            continue
        assert value_of(of(**values).settings, key) == row.default


def test_settings_without_any_layer_are_the_defaults() -> None:
    assert resolve([]).settings == Settings()
    assert set(resolve([]).origins.values()) == {"default"}


def test_every_bind_is_loopback_by_default() -> None:
    binds = [row for row in table().values() if row.info.kind == "bind" and row.default is not None]
    assert len(binds) == 5
    assert [row.key for row in binds if not is_loopback(str(row.default))] == []


def test_every_field_of_every_component_says_what_it_means_in_one_line() -> None:
    for row in table().values():
        assert row.info.meaning, row.key
        assert len(row.info.meaning) <= 110, row.key
        assert "\n" not in row.info.meaning, row.key


def test_a_key_held_by_two_components_is_given_to_both() -> None:
    settings = of(window_max=7).settings
    assert (settings.ingest.window_max, settings.log.window_max) == (7, 7)
    shared = {f.name for f in dataclasses.fields(IngestSettings)} & {
        f.name for f in dataclasses.fields(JournalSettings)
    }
    assert shared == {"window_max"}


def test_a_settings_file_of_2011_loads_with_one_warning_for_each_key_without_a_meaning() -> None:
    resolved = of(**ORIGINAL)
    retired = [warning.split(" ")[0] for warning in resolved.warnings]
    assert sorted(retired) == sorted(RETIRED)
    assert resolved.settings.log.segment_bytes_max == 128 * 2**20
    assert resolved.settings.zmr.event_limit == 1000
    assert resolved.settings.extra_dbs == (ExtraDatabase("other", "mongodb://localhost:27017", "other"),)
    assert resolved.settings.logstream == (LogStream("apache", 6551),)
    assert resolved.settings.loadbalance.outgoing_uris == ("tcp://a:6543", "tcp://b:6543")


def test_each_warning_names_what_took_the_place_of_the_key() -> None:
    warnings = of(**ORIGINAL).warnings
    for key, retired in RETIRED.items():
        (warning,) = [warning for warning in warnings if warning.startswith(f"{key} in a.yaml ")]
        assert retired.instead in warning
        assert retired.taken_by is None or retired.taken_by in table()


def test_a_file_size_of_2011_below_todays_least_is_raised_to_it() -> None:
    resolved = of(journal_file_size=1000)
    assert resolved.settings.log.segment_bytes_max == 2**20
    assert resolved.origins["segment_bytes_max"] == "a.yaml"
    assert "1,048,576 bytes" in resolved.warnings[0]


def test_a_later_layer_wins_key_by_key_also_inside_a_section() -> None:
    resolved = resolve(
        [
            Layer("a.yaml", {"web_port": 1000, "zmr": {"local_workers": 1, "compress": 3}}),
            Layer("the environment", {"zmr": {"local_workers": "4"}}, text=True),
        ]
    )
    assert resolved.settings.zmr.local_workers == 4
    assert resolved.settings.zmr.compress == 3
    assert resolved.origins["zmr.local_workers"] == "the environment"
    assert resolved.origins["zmr.compress"] == "a.yaml"
    assert resolved.origins["web_port"] == "a.yaml"
    assert resolved.origins["journal"] == "default"


@pytest.mark.parametrize(
    ("values", "nearest"),
    [
        ({"web_prot": 1}, "web_port"),
        ({"bson_bind_addres": "x"}, "bson_bind_address"),
        ({"zmr": {"local_wokers": 1}}, "zmr.local_workers"),
        ({"local_workers": 1}, "zmr.local_workers"),
        ({"zrm": {}}, "zmr"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(values: dict[str, object], nearest: str) -> None:
    error = refusal(**values)
    assert "in a.yaml is not a setting" in str(error)
    assert error.hint == f"Did you mean {nearest}?"


def test_an_unknown_key_like_no_other_points_to_the_list_of_settings() -> None:
    assert "check-config" in refusal(qqqqqq=1).hint


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"web_port": "8081"}, "web_port in a.yaml must be a whole number, not '8081'"),
        ({"web_port": True}, "web_port in a.yaml must be a whole number, not True"),
        ({"web_port": 1.5}, "web_port in a.yaml must be a whole number, not 1.5"),
        ({"web_port": 70000}, "web_port in a.yaml must be at most 65,535, not 70,000"),
        ({"window_max": 0}, "window_max in a.yaml must be at least 1 batches, not 0"),
        (
            {"sync_gather_s": float("nan")},
            "sync_gather_s in a.yaml must be a number of seconds or a text as '30 d', not nan",
        ),
        ({"verbose": "maybe"}, "verbose in a.yaml must be true or false, not 'maybe'"),
        ({"log_format": "xml"}, "log_format in a.yaml must be one of text, json, not 'xml'"),
        ({"mongo_database": 12}, "mongo_database in a.yaml must be text, not 12; put it in quotes"),
        ({"journal": "../elsewhere"}, "journal in a.yaml must be a path below data_dir, not '../elsewhere'"),
        ({"bson_bind_address": "0.0.0.0:6543"}, "must be an address as 'tcp://127.0.0.1:6543'"),
        ({"zmr": {"worker_uri": "localhost"}}, "zmr.worker_uri in a.yaml must be an address as 'tcp://127.0.0.1'"),
        ({"zmr": 3}, "zmr in a.yaml must be a mapping of settings, not 3"),
        ({"extra": []}, "extra in a.yaml must be a mapping, not []"),
        ({"backdoor": [{"command": "serve"}]}, "backdoor in a.yaml must give port in each item"),
        ({"backdoor": [{"command": "serve", "port": 0}]}, "has an item {'command': 'serve', 'port': 0} with a value"),
        ({"backdoor": {"command": "serve"}}, "backdoor in a.yaml must be a list"),
        ({"segment_bytes_max": "128 parsecs"}, "must be a whole number of bytes or a text as '128 MiB'"),
        ({"message_bytes_max": 4096}, "message_bytes_max (a.yaml) must not be below event_bytes_max (default)"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_in_one_sentence(values: dict[str, object], sentence: str) -> None:
    error = refusal(**values)
    assert sentence in str(error)
    assert error.hint


def test_two_sockets_on_one_address_are_refused() -> None:
    error = refusal(bson_bind_address="tcp://127.0.0.1:6544")
    assert "json_bind_address" in str(error)
    assert "bson_bind_address" in str(error)
    assert of(bson_bind_address="tcp://127.0.0.1:*", json_bind_address="tcp://127.0.0.1:*").warnings == ()


def test_a_refused_secret_is_not_shown() -> None:
    assert "s3cret" not in str(refusal(mongo_uri="s3cret"))
    assert "1234" not in str(refusal(mongo_password=1234))


def test_sizes_and_times_may_carry_a_unit() -> None:
    settings = of(segment_bytes_max="64 MiB", retention_age_s="30 d", handshake_s="500 ms").settings
    assert settings.log.segment_bytes_max == 64 * 2**20
    assert settings.log.retention_age_s == 30 * 86_400
    assert settings.ingest.handshake_s == 0.5


def test_text_of_the_environment_is_read_by_the_type_of_the_setting() -> None:
    settings = of(
        True,
        web_port="9000",
        verbose="yes",
        sync_gather_s="0.5",
        mongo_password="1234",
        loadbalance={"outgoing_uris": "tcp://a:1, tcp://b:2"},
        extra='{"a": [1]}',
        backdoor='[{"command": "serve", "port": 6550}]',
        zmr={"event_limit": "null"},
    ).settings
    assert (settings.web_port, settings.verbose, settings.log.sync_gather_s) == (9000, True, 0.5)
    assert settings.mongo_password == "1234"
    assert settings.loadbalance.outgoing_uris == ("tcp://a:1", "tcp://b:2")
    assert settings.extra == {"a": [1]}
    assert settings.backdoor[0].port == 6550
    assert settings.zmr.event_limit is None


def test_an_empty_key_of_a_file_keeps_its_default() -> None:
    assert of(web_port=None, zmr=None, journal=None).settings == Settings()


def test_a_single_event_server_has_the_settings_as_they_are() -> None:
    settings = of(num_event_servers=1).settings
    assert settings.event_servers() == [settings]


def test_several_event_servers_have_files_and_sockets_of_their_own() -> None:
    resolved = of(num_event_servers=3, data_dir="data", journal="log")
    assert resolved.warnings == ()
    servers = resolved.settings.event_servers()
    assert [str(server.journal_dir) for server in servers] == ["data/log", "data/log.1", "data/log.2"]
    assert [server.rejected_path.name for server in servers] == [
        "rejected.sqlite",
        "rejected.1.sqlite",
        "rejected.2.sqlite",
    ]
    assert [server.control_path.name for server in servers] == ["control.sock", "control.1.sock", "control.2.sock"]
    addresses = {
        getattr(server.ingest, field.name)
        for server in servers
        for field in dataclasses.fields(server.ingest)
        if field.name.endswith("_bind_address")
    }
    assert len(addresses) == 12
    assert all(address.startswith("ipc://data/run/") for address in addresses)
    assert servers[2].event_servers() == [servers[2]]


def test_event_servers_behind_the_balancer_ask_for_no_keys() -> None:
    curve = {"server_key_file": "server.key_secret", "allow": "keys"}
    server = of(num_event_servers=2, curve=curve).settings.event_servers()[1]
    assert server.curve.server_key_file is None
    assert server.curve.allow is None


@pytest.mark.parametrize(
    "address",
    ["tcp://127.0.0.1:1", "tcp://127.9.9.9:1", "tcp://localhost:1", "tcp://[::1]:1", "ipc:///tmp/x", "inproc://x"],
)
def test_loopback_and_local_addresses_are_closed_to_other_machines(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.parametrize(
    "address",
    ["tcp://0.0.0.0:1", "tcp://*:1", "tcp://[::]:1", "tcp://10.0.0.1:1", "tcp://eth0:1", "tcp://example.org:1"],
)
def test_other_addresses_are_open_to_other_machines(address: str) -> None:
    assert not is_loopback(address)


def test_a_client_on_this_machine_reaches_a_wide_bind_through_loopback() -> None:
    assert loopback_uri("tcp://0.0.0.0:6543") == "tcp://127.0.0.1:6543"
    assert loopback_uri("tcp://*:6543") == "tcp://127.0.0.1:6543"
    assert loopback_uri("tcp://10.0.0.1:6543") == "tcp://10.0.0.1:6543"
    assert loopback_uri("ipc:///tmp/x") == "ipc:///tmp/x"


def test_the_journal_lies_in_the_data_directory() -> None:
    settings = of(data_dir="/srv/z", journal="events/log").settings
    assert settings.journal_dir == Path("/srv/z/events/log")
    assert settings.control_path == Path("/srv/z/control.sock")


def test_clients_follow_the_bind_address_unless_told_otherwise() -> None:
    assert of(bson_bind_address="tcp://0.0.0.0:7000").settings.bson_client_uri == "tcp://127.0.0.1:7000"
    assert of(bson_uri="tcp://far:7000").settings.bson_client_uri == "tcp://far:7000"


def test_two_extra_databases_of_one_name_are_refused() -> None:
    one = {"name": "old", "master": "mongodb://a", "database": "x"}
    error = refusal(extra_dbs=[one, {**one, "database": "y"}])
    assert str(error) == "extra_dbs (a.yaml) has the name 'old' twice"
