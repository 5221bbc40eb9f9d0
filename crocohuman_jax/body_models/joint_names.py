"""The names of joints, the order in which formats list them, and their mirrored partners."""

SMPL = (
    *("pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2"),
    *("left_ankle", "right_ankle", "spine3", "left_foot", "right_foot", "neck", "left_collar"),
    *("right_collar", "head", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow"),
    *("left_wrist", "right_wrist", "left_hand", "right_hand"),
)
# The 24 keypoints that SPIN trains with: LSP's 14, additions of MPII and Human3.6M, COCO's face. A
# suffix names the dataset if datasets define the point differently.
PEOPLE = (
    *("right_ankle", "right_knee", "right_hip_lsp", "left_hip_lsp", "left_knee", "left_ankle"),
    *("right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist"),
    *("neck_lsp", "head_top", "pelvis_mpii", "thorax_mpii", "spine_h36m", "jaw_h36m", "head_h36m"),
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear"),
)
# The rows of Human3.6M's regressors. Files of the same shape differ: METRO's file, like the dataset
# itself, has the right leg first, SPIN's the left leg.
_RIGHT, _LEFT = (
    tuple(f"{side}_{j}" for j in ("hip", "knee", "ankle")) for side in ("right", "left")
)
_UPPER = (
    *("spine", "neck", "head", "head_top", "left_shoulder", "left_elbow", "left_wrist"),
    *("right_shoulder", "right_elbow", "right_wrist"),
)
H36M = ("pelvis", *_RIGHT, *_LEFT, *_UPPER)
H36M_SPIN = ("pelvis", *_LEFT, *_RIGHT, *_UPPER)
# The 14 joints of LSP, in the order of evaluations on 3DPW and Human3.6M.
LSP = (
    *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle"),
    *("right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist"),
    *("neck", "head_top"),
)
MANO = (
    *("wrist", "index1", "index2", "index3", "middle1", "middle2", "middle3"),
    *("pinky1", "pinky2", "pinky3", "ring1", "ring2", "ring3", "thumb1", "thumb2", "thumb3"),
)
# FreiHAND's and HanCo's order: from the wrist, each finger from its root to its tip.
HAND = (
    *("wrist", "thumb1", "thumb2", "thumb3", "thumb_tip", "index1", "index2", "index3"),
    *("index_tip", "middle1", "middle2", "middle3", "middle_tip", "ring1", "ring2", "ring3"),
    *("ring_tip", "pinky1", "pinky2", "pinky3", "pinky_tip"),
)


def mirrored(name: str) -> str:
    """Returns the name of a joint's partner on the other side; middle joints keep their name."""
    for side, other in (("left_", "right_"), ("right_", "left_")):
        if name.startswith(side):
            return other + name.removeprefix(side)
    return name


def mirror(names: tuple[str, ...]) -> tuple[int, ...]:
    """Returns the index of every joint's partner on the other side.

    Raises:
        ValueError: a joint's partner is not among the names.
    """
    lone = [name for name in names if mirrored(name) not in names]
    if lone:
        raise ValueError(f"Mirrored partners of {', '.join(lone)} are not in {', '.join(names)}.")
    return tuple(names.index(mirrored(name)) for name in names)


def positions(wanted: tuple[str, ...], among: tuple[str, ...]) -> list[int]:
    """Returns the index of each wanted name in `among`, -1 if it is missing there."""
    return [among.index(name) if name in among else -1 for name in wanted]
