"""SynthPed: a deterministic renderer of walking people, written in Market-1501's own layout.

No real person is in it. People are drawn as solids of revolution (`bodies`) that are seen from all around, so that a
print on the chest is not seen from behind and a backpack is. Each solid knows which part of the person it is: the
part map beside every image says where each attribute is to be found.

    root/bounding_box_train/0002_c1s1_000451_03.jpg      person_camera-sequence_frame_box, 128 x 64 JPEG
    root/query/  root/bounding_box_test/                 the gallery also holds distractors (0000) and junk (-1)
    root/attribute/market_attribute.mat                  fields, order, coding of the original (or duke_attribute.mat)
    root/parts/<split>/<same stem>.png                   uint8 part map, 128 x 64, legend in PARTS
    root/synthped.json                                   what was rendered; only a complete render has it

The pictures are the same to the bit on every x86 CPU that has AVX2. Elsewhere a few differ by a shade, since NumPy's
hyperbolic tangent has another last bit there, and published records do not go with them.

An image depends on nothing but (seed, person, camera, number): how many workers draw, and in which order, changes no
byte. (Other versions of numpy or Pillow may round or compress differently.)
"""

from reidkit.data.synthped.bodies import PARTS
from reidkit.data.synthped.dataset import (
    ATTRIBUTE_PARTS,
    MAT_FIELDS,
    PRESETS,
    RENDERER,
    Cast,
    Preset,
    Shot,
    plan,
    render,
    take,
)

__all__ = [
    "ATTRIBUTE_PARTS",
    "MAT_FIELDS",
    "PARTS",
    "PRESETS",
    "RENDERER",
    "Cast",
    "Preset",
    "Shot",
    "plan",
    "render",
    "take",
]
