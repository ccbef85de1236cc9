"""The machine: composition of everything a QEMU process is, as far as migration goes."""
