#!/usr/bin/env python3
"""Draws a small 8-bit grey PNG in the terminal: draw_png.py FILE.png"""
import struct
import sys
import zlib

SHADES = " ░▒▓█"


def grey_rows(data):
    """Rows of a grey PNG that was written without filters or interlacing, as make_digits.py does."""
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError("not a PNG")
    at, body, header = 8, b"", None
    while at + 12 <= len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        if kind == b"IHDR":
            header = struct.unpack(">IIBBBBB", data[at + 8 : at + 8 + size])
        elif kind == b"IDAT":
            body += data[at + 8 : at + 8 + size]
        at += 12 + size
    if header is None or header[2:] != (8, 0, 0, 0, 0):
        raise ValueError("not an 8-bit grey PNG")
    width, height = header[:2]
    flat = zlib.decompress(body)
    if len(flat) != (width + 1) * height or any(flat[:: width + 1]):
        raise ValueError("a filtered PNG")
    return [flat[y * (width + 1) + 1 : (y + 1) * (width + 1)] for y in range(height)]


def main():
    try:
        rows = grey_rows(open(sys.argv[1], "rb").read())
    except (OSError, ValueError, zlib.error) as e:
        sys.exit(f"draw_png: {sys.argv[1]}: {e}")
    sys.stdout.reconfigure(encoding="utf-8")
    for row in rows:
        # Two characters to a pixel: a character is about twice as high as wide.
        print("   " + "".join(SHADES[p * len(SHADES) // 256] * 2 for p in row))


if __name__ == "__main__":
    main()
