"""Property tests of `make test` try the same examples on every run and on every machine.

A verdict on a change must not depend on luck or on load. `make fuzz` looks for new examples.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

_TOO_SLOW = (HealthCheck.too_slow,)  # Says how busy the machine is, not what the code does.

settings.register_profile(
    "steady", derandomize=True, deadline=None, database=None, suppress_health_check=_TOO_SLOW
)
settings.register_profile("explore", deadline=None, suppress_health_check=_TOO_SLOW, print_blob=True)
settings.load_profile("steady")
