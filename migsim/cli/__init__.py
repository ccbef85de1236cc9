"""The ``migsim`` command: a leaf that turns words into calls and results into text (extra `cli`).

A command's own module holds its options and imports everything else when it runs, so that
``migsim --help`` stays quick.
"""
