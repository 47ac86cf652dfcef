"""`python -m a2bgan`, the same as the command `a2bgan`."""

from a2bgan.cli.app import main

main()
