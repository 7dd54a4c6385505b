"""The classes of pixels and objects, and which of them only one stream can tell."""

CLASSES = ("wall", "floor", "ceiling", "picture", "rug", "crate", "cabinet", "drum", "pillar", "ball")
WALL, FLOOR, CEILING, PICTURE, RUG, CRATE, CABINET, DRUM, PILLAR, BALL = range(len(CLASSES))
FLAT = (PICTURE, RUG)
"""Paint on a wall or the floor: depth has nothing of them."""
OBJECTS = (CRATE, CABINET, DRUM, PILLAR, BALL)
BOXES, CYLINDERS = (CRATE, CABINET), (DRUM, PILLAR)
"""Pairs of one shape, which their paint tells apart."""
