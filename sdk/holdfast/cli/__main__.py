"""`python -m holdfast.cli`: the command line, where `holdfast` is not on the PATH."""

from holdfast.cli import main

main()
