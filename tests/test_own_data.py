"""One's own images and vectors: what Pillow and NumPy say they hold, what is refused, runs that are pinned to content."""

import io
import itertools
import json
import os
import pickle
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import rsrp_lava.tasks.data.pictures as pictures
from rsrp_lava import Experiment, ExperimentError, RunFolderError, deploy, evaluate, load_run, plot, study, train
from rsrp_lava.errors import DataError
from rsrp_lava.tasks.data import DatasetOptions, load_data, show_reading
from rsrp_lava.tasks.data.coding import CENTRE, PixelCode, VectorCode, draw_test_part, natural

TINY = {"population": 8, "generations": 2, "layers": {"hidden": [4]}}


def load(name, **options):
    return load_data(str(name), options=DatasetOptions(**options))


def refused(name, **options):
    """What the `DataError` says: one line with a way out, and no other exception behind it."""
    with pytest.raises(DataError) as caught:
        load(name, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert ";" in message
    return message


def picture(path, array, mode=None, **save):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(array))
    (image.convert(mode) if mode else image).save(path, **save)
    return path


@pytest.fixture
def folder(tmp_path):
    """Three classes of grey images, five each, that use 0 and 255."""
    random = np.random.default_rng(0)
    for label, k in itertools.product(("a2", "a10", "b"), range(5)):
        array = random.integers(0, 256, (4, 6), dtype=np.uint8)
        array[0, 0], array[0, 1] = 0, 255
        picture(tmp_path / "photos" / label / f"{k}.png", array)
    return tmp_path / "photos"


def npz(path, **arrays):
    np.savez(path, **arrays)
    return f"data:{path}"


@pytest.fixture
def vectors(tmp_path):
    random = np.random.default_rng(1)
    y = np.arange(90) % 3
    x = random.normal(size=(90, 4)) + y[:, None]
    return npz(tmp_path / "v.npz", x=x, y=y)


def everything(data):
    """Images and labels of both parts."""
    return np.concatenate([data.train.images, data.test.images]), np.concatenate([data.train.labels, data.test.labels])


# --- folders of images ---------------------------------------------------------------------------------------------------


def test_a_folder_holds_what_pillow_reads_in_natural_order(folder):
    data = load(f"images:{folder}")
    assert data.classes == ("a2", "a10", "b")
    assert data.shape == (4, 6, 1)
    assert (len(data.train), len(data.test)) == (12, 3)
    images, labels = everything(data)
    found = {(name, image.tobytes()) for name, image in zip(np.array(data.classes)[labels], images, strict=True)}
    ref = {(path.parent.name, np.asarray(Image.open(path)).tobytes()) for path in folder.rglob("*.png")}
    assert found == ref
    assert data.mean == pytest.approx(data.train.images.mean() / 255, rel=1e-12)
    assert data.std == pytest.approx(data.train.images.std() / 255, rel=1e-12)
    assert data is load(f"images:{folder}")


def test_torchvision_finds_the_same_images(folder):
    datasets = pytest.importorskip("torchvision.datasets")
    ref = datasets.ImageFolder(str(folder), loader=lambda path: np.asarray(Image.open(path)).tobytes())
    data = load(f"images:{folder}")
    images, labels = everything(data)
    found = {(data.classes[label], image.tobytes()) for label, image in zip(labels, images, strict=True)}
    assert found == {(ref.classes[label], image) for image, label in ref}


@given(st.lists(st.from_regex(r"[a-c]{0,2}[0-9]{0,3}[a-c]?", fullmatch=True), min_size=2, max_size=6))
def test_natural_order_is_that_of_padded_numbers(names):
    pad = lambda name: "".join(f"{part:0>5}" if part.isdigit() else part for part in _runs(name))  # noqa: E731
    distinct = {pad(name): name for name in names if name}
    assert sorted(distinct.values(), key=natural) == [distinct[key] for key in sorted(distinct)]


def _runs(name):
    return ["".join(group) for _, group in itertools.groupby(name, str.isdigit)]


def test_modes_become_what_is_documented(tmp_path):
    """Each compared with Pillow's own conversion, or with the arithmetic of a blend on white."""
    random = np.random.default_rng(2)
    rgb, alpha = random.integers(0, 256, (3, 5, 3), dtype=np.uint8), random.integers(0, 256, (3, 5), dtype=np.uint8)
    rgb[0, 0], rgb[0, 1], alpha[0, :2] = 0, 255, 255
    root = tmp_path / "modes"
    cases = {
        "palette.png": Image.fromarray(rgb).quantize(16),
        "cmyk.tif": Image.fromarray(rgb).convert("CMYK"),
        "grey.bmp": Image.fromarray(rgb).convert("L"),
        "bits.png": Image.fromarray(rgb).convert("1"),
        "alpha.png": Image.fromarray(np.dstack([rgb, alpha])),
    }
    (root / "other").mkdir(parents=True)
    Image.fromarray(rgb).save(root / "other" / "rgb.png")
    Image.fromarray(rgb).save(root / "other" / "rgb2.png")
    (root / "modes").mkdir()
    for name, image in cases.items():
        image.save(root / "modes" / name)
    a = alpha[..., None] / 255
    expected = {name: np.asarray(image.convert("RGB")) for name, image in cases.items() if name != "alpha.png"}
    expected["alpha.png"] = rgb * a + 255 * (1 - a)
    files, options = pictures.list_images(root), DatasetOptions()
    images = pictures.read_images(root, files, options)
    for file, image in zip(files.files, images, strict=True):
        if Path(file.path).name in expected:
            assert np.abs(image - expected[Path(file.path).name]).max() <= 1, file.path
    grey = pictures.read_images(root, files, DatasetOptions(color="grey"))
    assert grey.shape == (7, 3, 5, 1)
    assert (grey[-1, ..., 0] == np.asarray(Image.fromarray(rgb).convert("L"))).all()


def test_deep_grey_keeps_its_levels_and_is_not_mixed(tmp_path):
    ramp = np.arange(1000, 1000 + 12 * 20, 20, dtype=np.uint16).reshape(3, 4)  # 12 levels within a 256th of the range
    for label, k in itertools.product("ab", range(2)):
        picture(tmp_path / "deep" / label / f"{k}.png", np.roll(ramp, k))
    data = load(f"images:{tmp_path / 'deep'}")
    assert sorted(set(data.train.images[0])) == [round(255 * k / 11) for k in range(12)]
    picture(tmp_path / "deep" / "a" / "flat.png", np.zeros((3, 4), np.uint8))
    assert "more than 8 bits of grey" in refused(f"images:{tmp_path / 'deep'}")


def test_an_image_on_its_side_is_turned(tmp_path):
    array = np.arange(0, 240, 20, dtype=np.uint8).reshape(3, 4)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(tmp_path / "p" / "a" / "0.png", array, exif=exif)
    picture(tmp_path / "p" / "b" / "0.png", np.rot90(array, -1))
    files = pictures.list_images(tmp_path / "p")
    first, second = pictures.read_images(tmp_path / "p", files, DatasetOptions())
    assert (first == second).all()


def test_sizes_that_differ_name_files_and_the_way_out(folder):
    picture(folder / "b" / "odd.jpg", np.zeros((7, 9, 3), np.uint8))
    message = refused(f"images:{folder}")
    for part in ("2 sizes", "4 high and 6 wide, as 15 of 16", "b/odd.jpg is 7 high and 9 wide", "--resize"):
        assert part in message
    data = load(f"images:{folder}", resize="8x5", color="grey")
    assert data.shape == (8, 5, 1)
    chosen = folder / "b" / "0.png"
    resized = np.asarray(Image.open(chosen).resize((5, 8), Image.Resampling.BILINEAR))
    files = pictures.list_images(folder)
    raw = pictures.read_images(folder, files, DatasetOptions(resize="8x5", color="grey"))
    assert (raw[[file.path for file in files.files].index(str(chosen)), ..., 0] == resized).all()


def test_hidden_and_other_files_are_left_out_and_links_are_followed(folder, tmp_path):
    first = load(f"images:{folder}")
    (folder / "b" / ".hidden.png").write_bytes(b"no image")
    (folder / ".git").mkdir()
    (folder / "b" / "Thumbs.db").write_bytes(b"x")
    (folder / "labels.csv").write_text("x")
    second = load(f"images:{folder}")
    assert second.sha256 == first.sha256
    assert second.notes == ("2 files left out, which end as no image",)
    (tmp_path / "moved").mkdir()
    for name in ("a2", "a10", "b"):
        (tmp_path / "moved" / name).symlink_to(folder / name)
    assert load(f"images:{tmp_path / 'moved'}").sha256 == first.sha256
    (folder / "b" / "loop").symlink_to(folder)
    assert "is a link to a folder it lies in" in refused(f"images:{folder}")


@pytest.mark.parametrize(
    ("content", "why"), [(b"", "is empty or no image"), (b"not an image", "is empty or no image"), (None, "truncated")]
)
def test_what_is_named_as_an_image_must_be_one(folder, content, why):
    whole = (folder / "b" / "0.png").read_bytes()
    (folder / "b" / "bad.png").write_bytes(whole[: len(whole) - 30] if content is None else content)
    message = refused(f"images:{folder}")
    assert "b/bad.png (" in message
    assert why in message or content is None
    for k in range(5):
        (folder / "a2" / f"x{k}.jpg").write_bytes(b"")
    assert "and 3 more" in refused(f"images:{folder}")


def test_postscript_is_not_run(folder):
    (folder / "b" / "0.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 4\n%%EndComments\nshowpage\n")
    assert "b/0.png (is empty or no image)" in refused(f"images:{folder}")


def _chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@pytest.mark.parametrize("side", [10_000, 60_000])
def test_decompression_bombs_are_refused_before_they_are_unpacked(folder, side):
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", b"") + _chunk(b"IEND", b"")
    (folder / "b" / "bomb.png").write_bytes(bomb)
    assert "b/bomb.png (has more than 89,478,485 pixels)" in refused(f"images:{folder}", resize="4x4")


def test_images_too_large_for_a_network_say_resize(tmp_path):
    for label in "ab":
        picture(tmp_path / "p" / label / "0.png", np.zeros((1100, 1000), np.uint8))
    assert "1,100,000 inputs, at most 1,048,576" in refused(f"images:{tmp_path / 'p'}")


def test_folders_that_hold_no_classes(tmp_path, folder):
    assert "no such folder" in refused(f"images:{tmp_path / 'nowhere'}")
    (tmp_path / "file").write_text("")
    assert "is a file, not a folder" in refused(f"images:{tmp_path / 'file'}")
    (tmp_path / "empty").mkdir()
    assert "holds no folders" in refused(f"images:{tmp_path / 'empty'}")
    (folder / "c").mkdir()
    assert "c: holds no image" in refused(f"images:{folder}")
    assert "names no folder" in refused("images:")
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a").symlink_to(folder / "b")
    assert "has classes: 1" in refused(f"images:{tmp_path / 'one'}")


def test_train_and_test_folders_are_the_two_parts(folder, tmp_path):
    root = tmp_path / "parts"
    for part, names in (("train", ("a2", "a10", "b")), ("test", ("b", "a2"))):
        (root / part).mkdir(parents=True)
        for name in names:
            (root / part / name).symlink_to(folder / name)
    data = load(f"images:{root}")
    assert (len(data.train), len(data.test)) == (15, 10)
    assert data.test.labels.tolist() == [0] * 5 + [2] * 5
    assert "says itself what is for testing" in refused(f"images:{root}", test_share=0.5)
    (root / "test" / "c").symlink_to(folder / "b")
    assert "class c of test is no class of train" in refused(f"images:{root}")


def test_a_class_of_one_image_trains_only(folder):
    for k in range(1, 5):
        (folder / "b" / f"{k}.png").unlink()
    data = load(f"images:{folder}")
    assert 2 in data.train.labels
    assert 2 not in data.test.labels
    assert data.notes == ("classes with one image, which are not tested: b",)


# --- arrays --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        (np.array([3, -1, 10] * 4), ("-1", "3", "10")),
        (np.array([3.0, 1.0, 10.0] * 4), ("1", "3", "10")),
        (np.array(["c10", "c9", "ä"] * 4), ("c9", "c10", "ä")),
        (np.array([b"x", b"y", b"z"] * 4), ("x", "y", "z")),
        (np.array([True, False, True] * 4), ("False", "True")),
        (np.array([[3], [1], [2]] * 4), ("1", "2", "3")),
    ],
)
def test_labels_of_any_kind_name_classes(tmp_path, y, classes):
    x = np.arange(12.0)
    data = load(npz(tmp_path / "f.npz", x=x, y=y))
    assert data.classes == classes
    images, labels = everything(data)
    whole = VectorCode.of(x[:, None])  # the features' order tells which row is which
    assert len(whole.edges) == 1
    kept, testing = draw_test_part(np.array([classes.index(str(v.decode() if isinstance(v, bytes) else v)
                                   if y.dtype.kind != "f" else str(int(v))) for v in y.ravel().tolist()]),
                                   len(classes), 0.2, 0)  # fmt: skip
    assert len(images) == len(kept) + len(testing)
    assert sorted(np.bincount(labels).tolist()) == sorted(np.unique(y, return_counts=True)[1].tolist())


@pytest.mark.parametrize(("shape", "expected"), [((12, 3, 4), (3, 4, 1)), ((12, 3, 4, 2), (3, 4, 2))])
def test_pictures_keep_their_linear_scale_whatever_it_is(tmp_path, shape, expected):
    random = np.random.default_rng(3)
    levels = random.integers(0, 256, shape)
    levels[0, 0, 0], levels[1, 0, 0] = 0, 255
    levels[6:] = levels[:6]  # whichever rows train, all values are among them
    y = np.arange(12) % 2
    usual = load(
        npz(tmp_path / "usual.npz", x=levels.astype(np.uint8), y=y, x_test=levels[:2].astype(np.uint8), y_test=y[:2])
    )
    assert usual.shape == expected
    assert (usual.train.images == levels.reshape(12, -1)).all()
    for scale, offset in ((1e-12, 0.0), (1e300, -1e302), (3e-7, 1e-3), (1.0, -5e6)):
        x = levels * scale + offset
        data = load(npz(tmp_path / f"{scale}.npz", x=x, y=y, x_test=x[:2], y_test=y[:2]))
        assert np.abs(data.train.images.astype(int) - levels.reshape(12, -1)).max() <= (0 if len(shape) == 3 else 128)
        if len(shape) == 3:
            assert (data.test.images == usual.test.images).all()


def test_rare_peaks_do_not_eat_the_grey_levels():
    x = np.random.default_rng(4).random((100, 8, 8, 1))
    x[3, 2, 2] = 1e6
    x[5, 2, 2] = -9999.0
    coded = PixelCode.of(x).encode(x)
    assert len(np.unique(coded)) > 200
    assert (coded[3].max(), coded[5].min()) == (255, 0)
    sparse = np.zeros((100, 40, 40, 1))
    sparse[:, 3, 3, 0] = np.arange(100)  # one pixel of 1,600 says all
    assert len(np.unique(PixelCode.of(sparse).encode(sparse))) == 100


@settings(max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1e-300, 1e-12, 1e-3, 1.0, 1e3, 1e12, 1e300]),
    st.sampled_from([0.0, 1.0, -1e3, 1e6]),
)
def test_a_vectors_unit_and_offset_change_nothing(seed, scale, offset):
    x = np.random.default_rng(seed).normal(size=(50, 2))
    ref = VectorCode.of(x).encode(x)
    x[:, 0] = (x[:, 0] + offset) * scale
    comp = VectorCode.of(x).encode(x)
    assert np.abs(comp.astype(int) - ref).max() <= 1  # the offset rounds the numbers themselves


def test_ramps_are_standardised_and_order_is_kept():
    x = np.sort(np.random.default_rng(5).lognormal(0, 2, 4000))[:, None]
    code = VectorCode.of(x)
    coded = code.encode(x).astype(int) - CENTRE
    ramps = coded[:, : -code.n_biases]
    assert ramps.shape[1] == 8
    assert (np.diff(ramps, axis=0) >= 0).all()
    assert (np.abs(ramps.mean(axis=0)) < 2).all()  # of the last, what is cut off at four deviations
    assert ((ramps.std(axis=0)[:-1] > 28) & (ramps.std(axis=0)[:-1] < 33)).all()
    assert len(np.unique(ramps, axis=0)) > 400
    assert (coded[:, -code.n_biases :] == 32).all()


def test_integers_beyond_float64_keep_their_units():
    x = (1_700_000_000_000_000_000 + np.arange(64, dtype=np.int64))[:, None]  # nanoseconds
    assert (VectorCode.of(x).encode(x) == VectorCode.of(x - x[0]).encode(x - x[0])).all()
    unsigned = np.arange(64, dtype=np.uint64)[:, None] + np.uint64(2**64 - 65)
    assert (VectorCode.of(unsigned).encode(unsigned) == VectorCode.of(x).encode(x)).all()


def test_constant_features_become_nothing_and_levels_are_a_setting(tmp_path):
    x = np.c_[np.full(40, 7.0), np.arange(40.0), np.arange(40) % 2]
    name = npz(tmp_path / "f.npz", x=x, y=np.arange(40) % 2)
    assert load(name).shape == (1, 8 + 1 + 3, 1)
    assert load(name, levels=3).shape == (1, 3 + 1 + 2, 1)
    wide = np.random.default_rng(0).normal(size=(8, 600))
    assert VectorCode.of(wide).n_inputs == 1200 + 35


def test_the_drawn_test_part_is_stratified_seeded_and_mixed():
    labels = np.repeat([0, 1, 2, 3], [100, 10, 2, 1])
    kept, testing = draw_test_part(labels, 4, 0.3, 5)
    assert sorted([*kept, *testing]) == list(range(113))
    assert np.bincount(labels[testing], minlength=4).tolist() == [30, 3, 1, 0]
    assert (np.diff(labels[testing]) < 0).any()
    again, other = draw_test_part(labels, 4, 0.3, 5)[1], draw_test_part(labels, 4, 0.3, 6)[1]
    assert (testing == again).all()
    assert set(testing) != set(other)


def test_a_given_test_part_keeps_its_order_and_is_not_split(tmp_path):
    x, y = np.arange(20.0), np.array(["a", "b"] * 10)
    name = npz(tmp_path / "f.npz", x=x, y=y, x_test=x[3:0:-1], y_test=y[3:0:-1], names=np.arange(3))
    data = load(name)
    assert (len(data.train), data.test.labels.tolist()) == (20, [1, 0, 1])
    assert data.notes == ("arrays left out: names",)
    assert (data.test.images == data.train.images[3:0:-1]).all()
    assert "says itself" in refused(name, split_seed=3)
    assert "class c is none of y" in refused(npz(tmp_path / "g.npz", x=x, y=y, x_test=x[:1], y_test=np.array(["c"])))


class _Armed:
    def __reduce__(self):
        return os.mkdir, ("was run",)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((4, 2))}, "has no array y (it holds x)"),
        ({"X": np.zeros((4, 2)), "labels": np.zeros(4)}, "has no array x (it holds X, labels)"),
        ({"x": np.zeros((4, 2)), "y": [0, 1, 0]}, "y: has 3 labels for 4 rows"),
        ({"x": np.zeros((4, 2)), "y": np.eye(4)}, "argmax"),
        ({"x": np.zeros((4, 2)), "y": [0.5, 1, 0, 1]}, "y: 0.5 names no class"),
        ({"x": np.zeros((4, 2)), "y": [np.nan, 1, 0, 1]}, "y: nan names no class"),
        ({"x": np.zeros((4, 2)), "y": [1, 1, 1, 1]}, "has classes: 1"),
        ({"x": np.arange(4.0), "y": [1, 2, 3, 4]}, "no class has more than one row"),
        ({"x": np.ones((4, 2)), "y": [0, 1, 0, 1]}, "all training inputs are alike"),
        ({"x": np.ones((4, 2, 2, 2, 2)), "y": [0, 1, 0, 1]}, "has shape 4 × 2 × 2 × 2 × 2"),
        ({"x": np.ones((4, 0)), "y": [0, 1, 0, 1]}, "none of them 0"),
        ({"x": np.array(5.0), "y": [0, 1]}, "has shape ()"),
        ({"x": np.array([[1, np.inf]] * 4), "y": [0, 1, 0, 1]}, "x: is inf at [0, 1]"),
        ({"x": np.array(["a", "b", "a", "b"]), "y": [0, 1, 0, 1]}, "not numbers"),
        ({"x": np.array([1j, 2, 3, 4]), "y": [0, 1, 0, 1]}, "complex128, which are not read"),
        ({"x": np.zeros(4), "y": np.array(["2020-01-01"] * 4, "M8[D]")}, "which are not read"),
        ({"x": np.arange(4.0), "y": [0, 1, 0, 1], "x_test": np.zeros(1)}, "has one of x_test and y_test"),
        ({"x": np.arange(4.0), "y": [0, 1, 0, 1], "x_test": np.zeros((1, 2)), "y_test": [0]}, "rows of one shape"),
        ({"x": np.array([_Armed()] * 4), "y": [0, 1, 0, 1]}, "Python objects, which are not read"),
        ({"x": np.zeros((4, 2)), "y": np.array(["a", _Armed(), None, 1], object)}, "Python objects, which are not read"),
    ],
)
def test_arrays_that_cannot_be_learned_from_are_refused(tmp_path, monkeypatch, arrays, message):
    monkeypatch.chdir(tmp_path)
    assert message in refused(npz(tmp_path / "f.npz", **arrays))
    assert os.listdir(tmp_path) == ["f.npz"]


def test_files_that_are_no_archives_of_arrays_are_refused(tmp_path):
    whole = io.BytesIO()
    np.savez_compressed(whole, x=np.random.default_rng(0).random((40, 3)), y=np.arange(40) % 2)
    content, path = whole.getvalue(), tmp_path / "f.npz"
    for cut in (0, 10, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:cut])
        assert "no .npz file, cut short or damaged" in refused(f"data:{path}")
    at = content.index(b"y.npy") - 40
    path.write_bytes(content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :])
    refused(f"data:{path}")
    path.write_bytes(pickle.dumps(_Armed()))
    assert "no .npz file" in refused(f"data:{path}")
    assert "cannot be read (no such file or directory)" in refused(f"data:{tmp_path / 'no.npz'}")
    assert "is no .npz file; write np.savez" in refused(f"data:{tmp_path / 'f.csv'}")
    assert f"images:{tmp_path}" in refused(f"data:{tmp_path}")


def member(shape, dtype="<f8"):
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": dtype, "fortran_order": False, "shape": shape})
    return head.getvalue()


def archive(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as written:
        for name, content in members.items():
            written.writestr(f"{name}.npy", content)
    return f"data:{path}"


def test_bombs_and_lying_headers_are_refused_before_they_are_unpacked(tmp_path, monkeypatch):
    y = member((4,)) + bytes(32)
    name = archive(tmp_path / "f.npz", x=member((10**7, 10**7)) + bytes(100), y=y)
    assert "would take" in refused(name) or "announces" in refused(name)
    assert "its header announces 4 of float64" in refused(archive(tmp_path / "g.npz", x=member((4,)) + bytes(10**7), y=y))
    assert "is no array of NumPy's" in refused(archive(tmp_path / "h.npz", x=member((-4, -1)) + bytes(32), y=y))
    assert "is no array of NumPy's" in refused(archive(tmp_path / "i.npz", x=b"\x93NUMPY\x07\x00" + bytes(99), y=y))
    assert "is no array of NumPy's" in refused(archive(tmp_path / "j.npz", x=b"print(1)", y=y))
    monkeypatch.setattr(os, "sysconf", lambda name: 2**12 if name == "SC_PAGE_SIZE" else 2**8)
    assert "more than half of this machine's" in refused(
        npz(tmp_path / "k.npz", x=np.zeros((10**5, 1)), y=np.arange(10**5) % 2)
    )


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f8", ">f4", "<i2", ">u8", "<f2", "?"])
def test_any_layout_of_numbers_is_read(tmp_path, order, dtype):
    x = np.asarray(np.random.default_rng(6).integers(0, 2, (30, 5)), dtype=dtype, order=order)
    ref = VectorCode.of(np.ascontiguousarray(x, np.float64))
    data = load(npz(tmp_path / "f.npz", x=x, y=np.arange(30) % 2, x_test=x[:3], y_test=[0, 1, 0]))
    assert (data.train.images == ref.encode(x.astype(np.float64))).all()


def test_the_same_content_as_images_and_as_arrays_is_the_same_data(folder, tmp_path):
    files = pictures.list_images(folder)
    x = pictures.read_images(folder, files, DatasetOptions())
    name = npz(tmp_path / "same.npz", x=x[..., 0], y=np.array(files.classes)[list(files.labels)])
    assert load(name).sha256 == load(f"images:{folder}").sha256


# --- experiments ---------------------------------------------------------------------------------------------------------


def test_settings_that_would_not_be_used_are_refused(folder, vectors, tmp_path):
    for settings_, message in (
        ({"task": "digits", "data": "x.npz"}, "data .*: 'x.npz' — digits takes no folder"),
        ({"task": "digits", "rule": "stdp", "data": "x.npz"}, "data .*: 'x.npz' — digits takes no folder"),
        ({"task": vectors, "data": "x"}, "takes no folder, its path is part of its name"),
        ({"task": "digits", "dataset": {"resize": "8x8"}}, r"dataset.resize .*'8x8' — is for your own data"),
        ({"task": "cartpole", "dataset": {"test_share": 0.3}}, r"dataset.test_share .*0.3 — is for tasks that classify"),
        (
            {"task": f"images:{folder}", "dataset": {"resiz": 3}},
            "dataset.resiz: no such setting; did you mean 'dataset.resize'",
        ),
        ({"task": f"images:{folder}", "dataset": {"resize": "3xa"}}, "dataset.resize.1: a"),
        ({"task": f"images:{folder}", "dataset": {"resize": 0}}, "dataset.resize: 0 × 0 must be"),
        ({"task": f"images:{folder}", "dataset": {"test_share": 1}}, "dataset.test_share: 1"),
        ({"task": f"images:{folder}", "engine": "lava"}, "is classified in batches"),
        ({"task": vectors, "layers": {"conv": [16]}}, "nothing is left of 1 × "),
    ):
        with pytest.raises((DataError, ExperimentError), match=message.replace("(", r"\(")):
            Experiment(**settings_)
    for name, options, setting in (
        (f"images:{folder}", {"levels": 4}, "levels"),
        (vectors, {"resize": 3}, "resize"),
        (vectors, {"color": "rgb"}, "color"),
        (npz(tmp_path / "p.npz", x=np.random.default_rng(0).random((8, 2, 2)), y=np.arange(8) % 2), {"levels": 3}, "levels"),
    ):
        assert f"dataset.{setting}: " in refused(name, **options)
    with pytest.raises(DataError, match="data: digits takes no folder"):
        load_data("digits", "anywhere")
    for settings_, setting in (
        ({"layers": {"neurons": "lif"}, "network": {"n_neurons": 8}}, "network.n_neurons: layers.hidden says this"),
        ({"layers": {"neurons": "lif"}, "network": {"excitatory_ratio": 0.9}}, "network.excitatory_ratio: layers.ei"),
        (
            {"profile_overrides": {"synapse.rounding": "floor"}},
            "profile_overrides.synapse.rounding: digits is",
        ),
    ):
        others = {name: value for name, value in settings_.items() if name not in ("network", "profile_overrides")}
        unused = Experiment(task="digits", generations=1, population=4, **others).replace(**settings_)
        with pytest.raises(ExperimentError, match=setting):
            train(unused)


def test_settings_that_are_refused_did_decide_nothing():
    """The judge of the refusals above: what such a run would learn, its releases drawn from its own settings."""
    network = {"n_neurons": 8, "excitatory_ratio": 0.9}
    plain = Experiment(task="digits", layers={"neurons": "lif"})
    assert plain.build_network() == plain.replace(network=network).build_network()


def test_a_run_of_digits_that_names_a_folder_still_opens(tmp_path):
    train(Experiment(task="digits", **TINY), out=tmp_path / "run", threads=1)
    config = tmp_path / "run" / "config.yaml"
    text = config.read_text("utf-8")
    assert "data:" not in text
    config.write_text(text + "data: somewhere\n", "utf-8")
    assert evaluate(tmp_path / "run")["episodes"] == 355
    assert train(load_run(tmp_path / "run").experiment.replace(generations=3), resume=tmp_path / "run").summary


def test_recipes_follow_what_the_data_are(folder, vectors):
    assert Experiment(task=f"images:{folder}").dataset.content.vectors is False
    spiking = Experiment(task=vectors, layers={"neurons": "lif"})
    assert spiking.dataset.content.vectors
    assert spiking.layers.mirror_input
    assert Experiment.from_yaml is not None
    assert Experiment(**json.loads(json.dumps(spiking.model_dump()))) == spiking


def test_a_run_is_pinned_to_content_not_to_a_path(vectors, tmp_path, call):
    out = tmp_path / "run"
    result = train(Experiment(task=vectors, **TINY), out=out, threads=1)
    whole = train(Experiment(task=vectors, **{**TINY, "generations": 3}), threads=1)
    moved = tmp_path / "there" / "moved.npz"
    moved.parent.mkdir()
    original = Path(vectors.removeprefix("data:"))
    original.rename(moved)
    plot(out, output=tmp_path / "c.png")  # needs no data
    with pytest.raises(DataError, match="cannot be read"):
        evaluate(out)
    code, _, err = call("train", f"data:{moved}", "--resume", out, "--generations", "3")
    assert code == 0, err
    assert load_run(out).experiment.task == f"data:{moved}"
    assert evaluate(out)["release_sha256"] == whole.summary["release_sha256"]
    with np.load(moved) as stored:
        x, y = stored["x"].copy(), stored["y"]
    x[7, 2] += 0.5
    np.savez(moved, x=x, y=y)
    for again in (lambda: evaluate(out), lambda: train(load_run(out).experiment.replace(generations=4), resume=out)):
        with pytest.raises(DataError, match=r"moved\.npz: is not the data of this run"):
            again()
    code, _, err = call("train", f"data:{moved}", "--resume", out, "--generations", "4")
    assert code == 2
    assert "is not the data of this run" in err
    np.savez(original, x=x, y=y)
    with pytest.raises(RunFolderError, match=r"other settings \(dataset.content.sha256"):
        train(Experiment(task=vectors, **{**TINY, "generations": 4}), resume=out)
    assert result.summary["task"] == vectors


def test_the_command_does_with_own_images_what_it_does_with_digits(folder, call):
    small = ("--population", 8, "--generations", 2, "--hidden", 4, "--test-share", 0.4)
    code, out, err = call("train", f"images:{folder}", *small, "--out", "run", "--json")
    assert code == 0, err
    assert f"images:{folder}: 9 to train, 6 to test, 3 classes, 4 × 6 × 1" in err
    assert json.loads(out)["final_test_accuracy"] == json.loads(out)["final_eval_return"]
    code, out, err = call("evaluate", "run", "--json")
    assert json.loads(out)["episodes"] == 6
    code, out, err = call("watch", "run")
    assert code == 0, err
    code, out, err = call("train", f"images:{folder}", "--population", 8, "--generations", 1)
    assert code == 0, err
    assert next(Path("runs").iterdir()).name.startswith("images-photos-seed0")
    code, out, err = call("tasks")
    assert "images:DIR" in out
    assert "data:FILE.npz" in out
    code, out, err = call("train", "images:nowhere")
    assert (code, err.count("\n")) == (2, 1)


def test_spiking_runs_are_deployed_and_verified(vectors, tmp_path):
    out = tmp_path / "run"
    train(Experiment(task=vectors, population=16, generations=3, layers={"neurons": "lif", "hidden": [16]}), out=out)
    report = deploy(out, to="npz", output=tmp_path / "chip", profile="loihi2", verify=True, episodes=3)
    assert report["mismatches"] == 0
    assert report["spikes"] > 0


@pytest.mark.slow
def test_other_rules_and_studies_take_own_data(folder, tmp_path):
    task = f"images:{folder}"
    options = {"neurons": 4, "labelling_images": 4, "presentation_ms": 20.0, "rest_ms": 5.0, "presentations": 1}
    result = train(Experiment(task=task, rule="stdp", population=4, generations=1, rule_options=options))
    assert 0 <= result.summary["final_test_accuracy"] <= 1
    studied = study(
        "rewards", task, tmp_path / "study", seeds=1, rewards="accuracy,recall", baseline=False,
        settings={"population": 8, "generations": 2, "dataset": {"test_share": 0.4}},
    )  # fmt: skip
    assert studied


def test_long_reading_is_shown(folder, monkeypatch):
    seen = []

    class Shown:
        def __init__(self, what):
            self.what = what

        def __enter__(self):
            return lambda done, of: seen.append((self.what, done, of))

        def __exit__(self, *error):
            return None

    monkeypatch.setattr("rsrp_lava.tasks.data.progress._PATIENCE_S", -1.0)
    monkeypatch.setattr("rsrp_lava.tasks.data.progress._show", Shown)
    pictures.read_images(folder, pictures.list_images(folder), DatasetOptions())
    assert seen[-1] == ("reading images", 15, 15)
    assert callable(show_reading)


def ring(scales, offsets):
    """Three classes on circles around each other, which no lines tell apart, among features of noise."""
    random = np.random.default_rng(7)
    y = np.arange(1200) % 3
    angle, radius = random.uniform(0, 2 * np.pi, 1200), 1.0 + y + random.normal(0, 0.1, 1200)
    x = np.c_[radius * np.cos(angle), radius * np.sin(angle), random.normal(size=(1200, 2))]
    return x * scales + offsets, y


@pytest.mark.slow
def test_vectors_of_any_unit_are_learned_as_well_as_standardised_by_hand(tmp_path):
    reached = []
    for name, scales, offsets in (("unit", 1.0, 0.0), ("scaled", np.array([1e-3, 1e3, 1e3, 1e-3]), 1e4)):
        x, y = ring(scales, offsets)
        experiment = Experiment(task=npz(tmp_path / f"{name}.npz", x=x, y=y))
        reached.append(train(experiment).summary["final_test_accuracy"])
    assert min(reached) >= 0.95
    assert abs(reached[0] - reached[1]) <= 0.02
