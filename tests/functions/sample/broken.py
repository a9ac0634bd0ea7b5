"""It needs what is not there."""

import no_such_module

handler = no_such_module.handler
