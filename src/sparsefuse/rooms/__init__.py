"""Rooms with known truth, in numpy: pictures, depth, labels, boxes and clouds that tell what fusion is worth."""

from sparsefuse.rooms.cloud import Points, cloud
from sparsefuse.rooms.folder import generate
from sparsefuse.rooms.names import CLASSES
from sparsefuse.rooms.scene import Boxes, Room, room

__all__ = ["CLASSES", "Boxes", "Points", "Room", "cloud", "generate", "room"]
