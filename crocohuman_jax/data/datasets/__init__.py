"""One module per dataset: it lists the dataset's frames and reads them.

A dataset module defines `OPTIONS` ({name: default} of what a user may set), `LAYOUT` (describes the
source folder; "" if the dataset needs none) and two functions, which get a `pipeline.Settings`:

    plan(settings) -> Plan               lists the jobs, cheaply; ValueError if there are none
    read(settings, job) -> iterator of Sample

It may define `LICENCE`, a text for the cards of models trained on it, and `KEYPOINTS`, the names of
the joints that it annotates; its samples then have labels. It may define `SIZE`, its own default
size of frames. `SIZE` applies to whole pictures only, not if an option `box` asks for another crop
than "picture".

`read` yields one Sample for each of the job's frames, in their order. Everything else (crops,
shards, splits, progress, checks) is the same for all datasets.
"""

from collections.abc import Mapping
from typing import Any

# Default size of frames and factor by which boxes are enlarged: for pre-training, and for data with
# labels, used to fine-tune on pictures of 224 pixels. In fine-tuning, a crop that is scaled by 1.25
# and rotated by 45 degrees reaches 1.25 * 1.414 times the square.
_PAIRS = ("256", 1.25)
_LABELLED = ("400", 1.77)


def defaults(dataset, options: Mapping[str, Any]) -> tuple[str, float]:
    """Returns a dataset's default size of frames and factor by which boxes are enlarged."""
    size, enlarge = _LABELLED if hasattr(dataset, "KEYPOINTS") else _PAIRS
    if options.get("box", "picture") == "picture":  # other boxes are enlarged as usual
        size = getattr(dataset, "SIZE", size)
    return size, enlarge
