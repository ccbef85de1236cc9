"""The guest of the ladder: a boot sector that counts in the first byte of every page.

It prints ``A``, zeroes the first byte of each page from 1 MiB to 100 MiB, and then adds 1 to them,
pass after pass, with a ``B`` after every 64th.  With byte 190 set it falls asleep after the first
``B`` unless the word at 0x100004 says that it has slept before (spec frontend.md section 6).  A
processor executes it; migsim knows it by its constants.
"""

from __future__ import annotations

SECTOR_BYTES = 512
SUSPEND_AT = 190
FIRST_ADDR = 0x100000
END_ADDR = 0x6400000
PAGE_BYTES = 4096

_CODE = (
    # 16 bit, loaded at 0x7c00.
    ("fa", "cli"),
    ("fc", "cld"),
    ("31 c0", "xor ax, ax"),
    ("8e d8", "mov ds, ax"),
    ("e4 92", "in al, 0x92: address line 20 on"),
    ("0c 02", "or al, 2"),
    ("24 fe", "and al, 0xfe"),
    ("e6 92", "out 0x92, al"),
    ("0f 01 16 b0 7c", "lgdt [0x7cb0]"),
    ("0f 20 c0", "mov eax, cr0"),
    ("0c 01", "or al, 1"),
    ("0f 22 c0", "mov cr0, eax"),
    ("ea 20 7c 08 00", "jmp 8:0x7c20"),
    # 32 bit, flat; offset 0x20.
    ("66 b8 10 00", "mov ax, 16"),
    ("8e d8", "mov ds, ax"),
    ("8e c0", "mov es, ax"),
    ("8e d0", "mov ss, ax"),
    ("66 ba f8 03", "mov dx, 0x3f8"),
    ("b0 41", "mov al, 'A'"),
    ("ee", "out dx, al"),
    ("bf 00 00 10 00", "mov edi, 0x100000"),
    ("c6 07 00", "zero: mov byte [edi], 0"),
    ("81 c7 00 10 00 00", "add edi, 0x1000"),
    ("81 ff 00 00 40 06", "cmp edi, 0x6400000"),
    ("72 ef", "jb zero"),
    ("31 db", "xor ebx, ebx"),
    ("bf 00 00 10 00", "pass: mov edi, 0x100000"),
    ("fe 07", "count: inc byte [edi]"),
    ("81 c7 00 10 00 00", "add edi, 0x1000"),
    ("81 ff 00 00 40 06", "cmp edi, 0x6400000"),
    ("72 f0", "jb count"),
    ("43", "inc ebx"),
    ("f6 c3 3f", "test bl, 63"),
    ("75 e5", "jnz pass"),
    ("66 ba f8 03", "mov dx, 0x3f8"),
    ("b0 42", "mov al, 'B'"),
    ("ee", "out dx, al"),
    ("80 3d be 7c 00 00 00", "cmp byte [0x7cbe], 0: byte 190 of the sector"),
    ("74 d5", "je pass"),
    ("83 3d 04 00 10 00 01", "cmp dword [0x100004], 1"),
    ("74 cc", "je pass"),
    ("c7 05 04 00 10 00 01 00 00 00", "mov dword [0x100004], 1"),
    ("b0 f1", "mov al, 0xf1: power management by ACPI"),
    ("e6 b2", "out 0xb2, al"),
    ("66 ba 04 06", "mov dx, 0x604"),
    ("66 b8 01 24", "mov ax, 0x2401: sleep state S3"),
    ("66 ef", "out dx, ax"),
    ("eb b2", "jmp pass"),
    ("90", "fills up to 8 bytes"),
    # Segments: none, code, data; then size and address of this table, at 0xb0.
    ("00 00 00 00 00 00 00 00", "no segment"),
    ("ff ff 00 00 00 9a cf 00", "code: 4 GiB from 0"),
    ("ff ff 00 00 00 92 cf 00", "data: 4 GiB from 0"),
    ("17 00 98 7c 00 00", "table: 24 bytes at 0x7c98"),
)


def boot_image(*, suspends: bool = False) -> bytes:
    """Return the sector; ``suspends`` is whether the guest falls asleep once."""
    code = b"".join(bytes.fromhex(text) for text, _ in _CODE)
    sector = bytearray(code.ljust(SECTOR_BYTES - 2, b"\0") + b"\x55\xaa")
    sector[SUSPEND_AT] = suspends
    return bytes(sector)
