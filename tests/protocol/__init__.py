"""The protocol as a model, explored to its end: two workers, crashes anywhere, a net that loses, delays and repeats.

`make model` prints the whole table; the test run explores what fits into a minute.
"""
