"""What tests of rotators, key stores and the engine are made with. Public: third parties test with it, too.

* `ManualClock`: time that moves when told.
* `Fuse`: a crash, or any other deed, before or after the n-th effect, without naming the effect.
* `FaultProxy`: a TCP connection that is refused, swallowed, slow, or cut before the reply.
* `TargetContract`: the tests that every target passes; the test file of a rotator inherits it.

Nothing here needs pytest, though it is the usual runner; what is here may fail by `assert`.
"""

from keywheel.testing.clock import ManualClock
from keywheel.testing.fuse import Crash, Fuse
from keywheel.testing.network import LOOPBACK, FaultProxy, closed_port
from keywheel.testing.targets import ManualContext, TargetContract, captured_log, error_of, told_by

__all__ = [
    "LOOPBACK",
    "Crash",
    "FaultProxy",
    "Fuse",
    "ManualClock",
    "ManualContext",
    "TargetContract",
    "captured_log",
    "closed_port",
    "error_of",
    "told_by",
]
