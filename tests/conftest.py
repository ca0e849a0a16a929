"""Settings shared by every ring of tests."""

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from mongod import MongoServer, need_mongo

# A shell starts what it puts in the background with SIGINT ignored, and nohup with SIGHUP ignored: processes started
# by tests would inherit that and not hear the signals they are sent.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)

# No deadline: the machine is shared, and speed belongs to the benchmarks.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("soak", parent=settings.get_profile("default"), max_examples=2000)
settings.load_profile("soak" if int(os.environ.get("ZARKOV_TEST_ROUNDS", "0")) > 100 else "default")


@pytest.fixture(scope="session")
def mongo() -> Iterator[MongoServer]:
    """One MongoDB-wire server for all tests that neither kill nor pause it; each test takes a `database()`."""
    need_mongo()
    with MongoServer() as server:
        yield server
