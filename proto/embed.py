"""Writes descriptor sets as C: embed.py SET... OUT.c

Each set becomes an element of berth_proto_sets (proto/descriptor_sets.h), in the order given.
"""
import pathlib
import sys

sets, out = [pathlib.Path(p) for p in sys.argv[1:-1]], pathlib.Path(sys.argv[-1])
lines = ['#include "proto/descriptor_sets.h"', ""]
for i, path in enumerate(sets):
    text = ",".join(str(b) for b in path.read_bytes())
    lines.append(f"static const unsigned char set_{i}[] = {{{text}}};")
lines.append("const struct berth_proto_set berth_proto_sets[] = {")
lines += [f'    {{"{path.stem}.proto", set_{i}, sizeof set_{i}}},' for i, path in enumerate(sets)]
lines += ["    {0, 0, 0},", "};", ""]
out.write_text("\n".join(lines))
