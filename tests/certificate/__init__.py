"""The crash certificate: every boundary of a rotation's input and output, with every fault at it, on live targets.

`make certificate` runs the whole of it and writes docs/certificate.md; the test run takes a sample. Nothing here names
a boundary, a strategy or a target: boundaries are counted in an undisturbed rotation, strategies are the built-in ones,
and a target is live when `live/` has a file of its rotator's name.
"""
