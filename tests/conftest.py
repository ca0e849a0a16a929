"""Settings shared by every ring of tests."""

import os

from hypothesis import HealthCheck, settings

# No deadline: the machine is shared, and speed belongs to the benchmarks.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("soak", parent=settings.get_profile("default"), max_examples=2000)
settings.load_profile("soak" if int(os.environ.get("ZARKOV_TEST_ROUNDS", "0")) > 100 else "default")
