"""QEMU and migsim by turns on the same RAM, with the physical limits of the machine beside them."""
