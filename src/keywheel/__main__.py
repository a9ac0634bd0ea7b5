"""`python -m keywheel` is `keywheel`."""

from keywheel.cli.main import main

main()
