"""Write test_image_data.h and the fuzzer's seeds: make_test_images.py HEADER SEEDS.

Needs Pillow, whose pixels are the ones that test_image.c compares with.  What is written is
committed; run this again only to add a picture.
"""

import io
import os
import struct
import sys
import zlib

from PIL import Image

W, H = 9, 7
SIZES = [(4, 3), (18, 14), (9, 3), (5, 7), (1, 1)]
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def picture():
    im = Image.new("RGBA", (W, H))
    im.putdata([((x * 31 + y * 7) % 256, (y * 40) % 256, (255 - x * 20 + y * 3) % 256,
                 (x * 50 + y * 11) % 256) for y in range(H) for x in range(W)])
    return im


def saved(im, kind, **options):
    out = io.BytesIO()
    im.save(out, kind, **options)
    return out.getvalue()


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def bomb(w, h):
    """The header of a large PNG and a little of its pixels."""
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(b"\0" * 100000)))


def png(depth, colour, interlaced, pixel, chunks=()):
    """A PNG that Pillow does not write: 16-bit colours, interlaced."""
    data = b""
    for x0, y0, dx, dy in ADAM7 if interlaced else [(0, 0, 1, 1)]:
        for y in range(y0, H, dy):
            row = b"".join(pixel(x, y) for x in range(x0, W, dx))
            data += b"\0" + row if row else b""
    header = struct.pack(">IIBBBBB", W, H, depth, colour, 0, 0, int(interlaced))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunk(*c) for c in chunks)
            + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b""))


def pictures():
    rgba = picture()
    rgb, grey = rgba.convert("RGB"), rgba.convert("L")
    trns = rgb.quantize(16)
    gamma = [(b"gAMA", struct.pack(">I", 100000)), (b"tEXt", b"a\0" + b"b" * 40)]
    yield "jpeg_colour", saved(rgb, "JPEG", quality=80)
    yield "jpeg_grey", saved(grey, "JPEG", quality=80)
    yield "jpeg_progressive", saved(rgb, "JPEG", quality=80, progressive=True)
    yield "jpeg_cmyk", saved(rgb.convert("CMYK"), "JPEG", quality=80)
    yield "png_colour", saved(rgb, "PNG")
    yield "png_alpha", saved(rgba, "PNG")
    yield "png_grey", saved(grey, "PNG")
    yield "png_grey_alpha", saved(rgba.convert("LA"), "PNG")
    yield "png_palette", saved(trns, "PNG", transparency=b"\0\x80\xff")
    yield "png_one_bit", saved(grey.convert("1"), "PNG")
    yield "png_16_bit_interlaced", png(16, 2, True, lambda x, y: struct.pack(
        ">HHH", x * 7000, y * 9000, 65535 - x * 100), gamma)
    yield "png_interlaced", png(8, 6, True, lambda x, y: bytes(rgba.getpixel((x, y))))


def array(name, data):
    lines = ["static const unsigned char %s[] = {" % name]
    for i in range(0, len(data), 24):
        lines.append("".join("%d," % b for b in data[i:i + 24]))
    return "\n".join(lines) + "};\n"


def main():
    rows = []
    with open(sys.argv[1], "w") as f:
        f.write("/* Made by make_test_images.py: files, and what Pillow makes of them. */\n"
                "/* clang-format off */\n#include <stddef.h>\n#include <stdint.h>\n\n")
        for name, data in pictures():
            im = Image.open(io.BytesIO(data))
            f.write(array(name, data))
            f.write(array(name + "_rgb", im.convert("RGB").tobytes()))
            f.write(array(name + "_grey", im.convert("L").tobytes()))
            rows.append('{"%s",%s,sizeof %s,%s_rgb,%s_grey},' % ((name,) * 5))
            kind = ".jpg" if name.startswith("jpeg") else ".png"
            with open(os.path.join(sys.argv[2], name + kind), "wb") as seed:
                seed.write(data)
        f.write("enum { PICTURE_W = %d, PICTURE_H = %d };\n" % (W, H))
        f.write("static const struct {const char *name;const unsigned char *bytes;size_t len;"
                "const unsigned char *rgb,*grey;}\npictures[]={\n%s\n};\n" % "\n".join(rows))
        f.write(array("bomb_area", bomb(60000, 60000)) + array("bomb_side", bomb(2 ** 31 - 1, 1)))
        sized = []
        for w, h in SIZES:
            name = "resized_%d_%d" % (w, h)
            for mode in "RGB", "L":
                small = picture().convert(mode).resize((w, h), Image.Resampling.BILINEAR)
                f.write(array(name + "_" + mode, small.tobytes()))
            sized.append("{%d,%d,%s_RGB,%s_L}," % (w, h, name, name))
        f.write("/* of png_colour and png_grey */\n"
                "static const struct {uint32_t w,h;const unsigned char *rgb,*grey;}\n"
                "resized[]={\n%s\n};\n" % "\n".join(sized))


if __name__ == "__main__":
    main()
