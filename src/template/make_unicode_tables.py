#!/usr/bin/env python3
"""Writes unicode_tables.h: which characters are letters, printable, upper or lower case.

usage: make_unicode_tables.py >unicode_tables.h      (what this Python's Unicode version knows)
"""
import sys
import unicodedata

FIRST = 0x80  # ASCII is decided by code
LAST = 0x110000


def ranges(wanted):
    """[(first, last)] of the characters for which wanted(category) holds."""
    found, start = [], None
    for code in range(FIRST, LAST + 1):
        inside = code < LAST and wanted(unicodedata.category(chr(code)))
        if inside and start is None:
            start = code
        elif not inside and start is not None:
            found.append((start, code - 1))
            start = None
    return found


def pairs():
    """[(first, last, step, to lower)] of upper case letters that have one lower case letter."""
    found = []
    for code in range(FIRST, LAST):
        lower = chr(code).lower()
        if unicodedata.category(chr(code)) != "Lu" or len(lower) != 1 or lower == chr(code):
            continue
        delta = ord(lower) - code
        if found and found[-1][3] == delta and code - found[-1][1] in (1, 2):
            first, last, step, _ = found[-1]
            if step in (0, code - last):
                found[-1] = (first, code, code - last, delta)
                continue
        found.append((code, code, 0, delta))
    return [(first, last, step or 1, delta) for first, last, step, delta in found]


def table(name, kind, rows):
    lines, line = [], "   "
    for row in rows:
        cell = " {" + ", ".join(hex(n) if i < 2 else str(n) for i, n in enumerate(row)) + "},"
        if len(line) + len(cell) > 100:
            lines.append(line)
            line = "   "
        line += cell
    return f"static const {kind} {name}[] = {{\n" + "\n".join(lines + [line]) + "\n};\n"


def main():
    print(f"/* Made by make_unicode_tables.py, of Unicode {unicodedata.unidata_version}. */")
    print("/* clang-format off */")
    print("struct span { uint32_t first, last; };")
    print("struct case_span { uint32_t first, last; uint32_t step; int32_t to_lower; };\n")
    print(table("letters", "struct span", ranges(lambda c: c[0] == "L")))
    print(table("printable", "struct span", ranges(lambda c: c[0] in "LMNPS")))
    sys.stdout.write(table("cases", "struct case_span", pairs()))
    print("/* clang-format on */")


if __name__ == "__main__":
    main()
