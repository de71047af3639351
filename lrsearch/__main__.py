"""`python -m lrsearch`."""

from lrsearch.cli.main import main

main()
