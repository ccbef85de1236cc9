"""QEMU's command-line language: options to a description of one machine, and what would block it.

* ``parse.parse`` turns an argument list into a ``model.CommandLine`` without touching a file;
  ``parse.early_incoming`` only says where it loads from; ``texts.info_text`` answers ``-version``,
  ``-machine help`` and the like.
* ``build.build`` turns a command line into a ``MachineConfig``, looking at disk images on the way,
  and says what to register with the machine's blockers.
* ``blockers.features`` lists what on a command line forbids migration, also without the images
  (``images.try_probe``).
* ``table.OPTIONS`` has every option with what migsim does with it.

Names and types are facts of QEMU 10.0.2 (``data/*.json``, taken by ``tools/cmdline_facts.py``);
the parsers, the checks and all texts are our own.  Nothing is imported here, so that a front-end
that only parses does not pay for the engines.
"""
