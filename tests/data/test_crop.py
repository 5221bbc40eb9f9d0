"""Opening pictures of every kind, and cutting people out of them."""

import numpy as np
import PIL.Image
import pytest

from crocohuman_jax.data import crop
from crocohuman_jax.data.formats import samples


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "I;16", "CMYK", "1", "LA"])
def test_pictures_of_every_mode_become_rgb(tmp_path, mode):
    path = tmp_path / ("p.tif" if mode == "CMYK" else "p.png")
    if mode == "I;16":
        PIL.Image.fromarray(np.full((20, 30), 200 << 8, np.uint16)).save(path)
    else:
        PIL.Image.new("RGB", (30, 20), (200, 200, 200)).convert(mode).save(path)
    picture = crop.open_picture(path)
    assert picture.mode == "RGB" and picture.size == (30, 20)
    assert np.abs(np.asarray(picture).astype(int).mean() - 200) < (60 if mode == "1" else 3)


def test_transparent_pixels_become_black(tmp_path):
    PIL.Image.new("RGBA", (4, 4), (255, 255, 255, 0)).save(tmp_path / "p.png")
    assert not np.asarray(crop.open_picture(tmp_path / "p.png")).any()


def test_pictures_are_turned_as_their_camera_says(tmp_path):
    picture = PIL.Image.new("RGB", (30, 20), "red")
    exif = picture.getexif()
    exif[0x0112] = 6  # turn by 90 degrees
    picture.save(tmp_path / "p.jpg", exif=exif)
    assert crop.open_picture(tmp_path / "p.jpg").size == (20, 30)


def test_a_crop_beyond_the_picture_is_black_there():
    picture = PIL.Image.new("RGB", (40, 40), "white")
    cut = crop.cut(picture, (-20, -20, 20, 20), (32, 32))
    assert not cut[:15].any() and not cut[:, :15].any() and (cut[17:, 17:] == 255).all()


def test_crops_without_box_cover_or_contain():
    assert crop.whole((100, 60), 1.0, "cover") == (20, 0, 80, 60)
    assert crop.whole((100, 60), 1.0, "contain") == (0, -20, 100, 80)
    assert crop.whole((60, 100), 0.5, "cover") == (5, 0, 55, 100)


@pytest.mark.parametrize(
    "box, reason",
    [
        ((5, 5, 5, 9), "is empty"),
        ((5, 5, float("nan"), 9), "not four finite numbers"),
        ((100, 0, 120, 20), "lies outside the picture of 96x80"),
    ],
)
def test_impossible_boxes_are_skipped_with_their_reason(box, reason):
    with pytest.raises(crop.Skip, match=reason):
        crop.around(box, (96, 80), 1.0, 1.25)


@pytest.mark.parametrize(
    "entry, reason",
    [
        ([], "nobody is there"),
        ("5,5", "a box is"),
        ([1, 2, 3], "not \\[x0, y0, x1, y1\\]"),
        ({"anna": ["a", 2, 3, 4]}, "the box of anna"),
    ],
)
def test_impossible_entries_of_a_boxes_file_are_explained(entry, reason):
    with pytest.raises(crop.Skip, match=reason):
        samples.people(entry)
