"""One module per dataset: where it lies and how its frames are read.

A dataset module has `OPTIONS` ({name: default}, what a user may set), `LAYOUT` (what it expects
to find in the source folder; "" if it needs none) and two functions, of `pipeline.Settings`:

    plan(settings) -> Plan               lists the jobs, cheaply; ValueError if there are none
    read(settings, job) -> iterator of Sample

It may have `LICENCE`, a text for the cards of models that learn from it, and `KEYPOINTS`, the names
of the joints it annotates: then its samples have labels. `SIZE` is the size of frames of whole
pictures where `prepare` names none and the usual one does not fit; it does not hold where an option
`box` asks for another crop than "picture".

`read` yields once for each of the job's frames, in their order. Everything else (crops, shards,
splits, progress, checks) is the same for all of them.
"""

from collections.abc import Mapping
from typing import Any

# Size of frames and factor on boxes by default: to pre-train on; with labels, to fine-tune on
# pictures of 224. There, a crop that is scaled by 1.25 and turned by 45 degrees reaches
# 1.25 * 1.414 of the square.
_PAIRS = ("256", 1.25)
_LABELLED = ("400", 1.77)


def defaults(dataset, options: Mapping[str, Any]) -> tuple[str, float]:
    """Returns a dataset module's size of frames and factor on boxes where the user names none."""
    size, enlarge = _LABELLED if hasattr(dataset, "KEYPOINTS") else _PAIRS
    if options.get("box", "picture") == "picture":  # a smaller box is enlarged as any other
        size = getattr(dataset, "SIZE", size)
    return size, enlarge
