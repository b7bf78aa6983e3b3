"""Labelled data: tiny files in the official formats, written here; the real ones where RSRP_DATA says they are."""

import gzip
import hashlib
import importlib.machinery
import io
import os
import pickle
import shutil
import struct
import subprocess
import sys
import tarfile
import types
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import naive
from rsrp_lava.errors import DataError
from rsrp_lava.tasks.data import cifar, data_names, folders, load_data, registry
from rsrp_lava.tasks.data.idx import read_idx, read_idx_labels

REAL = Path(os.environ.get("RSRP_DATA") or "no RSRP_DATA")


def needs(path):
    return pytest.mark.skipif(not (REAL / path).exists(), reason=f"RSRP_DATA names no folder with {path}")


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """No test finds data that it did not write, or loads what another one has; returns the (empty) cache folder."""
    monkeypatch.delenv("RSRP_DATA", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setitem(sys.modules, "torchvision", None)  # cannot be imported
    monkeypatch.setattr(folders.importlib.util, "find_spec", lambda name: sys.modules[name] and sys.modules[name].__spec__)
    registry._load.cache_clear()
    yield tmp_path / "cache" / "rsrp-lava"
    registry._load.cache_clear()


def refused(call, *arguments, **named):
    """What the `DataError` says that the call must raise: one line, with a way out."""
    with pytest.raises(DataError) as caught:
        call(*arguments, **named)
    message = str(caught.value)
    assert "\n" not in message
    assert "; " in message
    assert caught.value.__cause__ is None
    return message


# --- digits ------------------------------------------------------------------------------------------------------------


def test_digits_are_split_by_class():
    digits = load_data("digits")
    assert (digits.name, digits.n_classes, digits.shape, digits.n_inputs) == ("digits", 10, (8, 8, 1), 64)
    assert (len(digits.train), len(digits.test)) == (1442, 355)
    train, test = (np.bincount(part.labels, minlength=10) for part in (digits.train, digits.test))
    assert (test == (train + test) // 5).all()
    for part in (digits.train, digits.test):
        assert part.images.dtype == part.labels.dtype == np.uint8
        assert part.images.flags.c_contiguous
        assert part.images.shape == (len(part), 64)
    assert digits.sha256 == "22341086fe9c57b95dc61803390305bc0f59e5a5a2d61894de530fd84270d38d"


def test_pixels_of_digits_are_stretched_without_loss():
    digits = load_data("digits")
    pixels = np.concatenate([digits.train.images, digits.test.images])
    assert np.unique(pixels).tolist() == [round(k * 255 / 16) for k in range(17)]
    inputs = digits.train.images / 255
    assert (inputs.mean(), inputs.std()) == pytest.approx((digits.mean, digits.std), abs=5e-5)


def test_digits_are_those_of_scikit_learn():
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")
    bunch, digits = datasets.load_digits(), load_data("digits")
    seen, train, test = [0] * 10, [], []
    for image, label in zip(bunch.data, bunch.target, strict=True):
        seen[label] += 1
        (test if seen[label] % 5 == 0 else train).append((image, label))
    for part, expected in ((digits.train, train), (digits.test, test)):
        assert (np.round(part.images * (16 / 255)) == [image for image, _ in expected]).all()
        assert (part.labels == [label for _, label in expected]).all()


def test_loaded_once_and_shared_read_only():
    digits = load_data("digits")
    assert load_data("digits") is digits
    with pytest.raises(ValueError, match="read-only"):
        digits.train.images[0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        digits.test.labels[0] = 1
    assert digits.train.images[[0, 2]].flags.writeable


def test_damaged_digits_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr("rsrp_lava.tasks.data.digits._MD5", "0")
    assert "digits.npz: is missing or damaged (its checksum does not match); install" in refused(load_data, "digits")
    monkeypatch.setattr("importlib.resources.files", lambda _: tmp_path)
    path = tmp_path / "digits.npz"
    assert f"{path}: is missing or damaged (no such file or directory); install" in refused(load_data, "digits")
    path.write_bytes(b"PK\3\4 no archive")
    assert f"{path}: is missing or damaged (" in refused(load_data, "digits")


# --- IDX ---------------------------------------------------------------------------------------------------------------


def idx_bytes(array):
    return bytes([0, 0, 8, array.ndim]) + b"".join(struct.pack(">I", n) for n in array.shape) + array.tobytes()


@given(arrays(np.uint8, array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=9)), st.booleans())
@settings(max_examples=60, deadline=None)
def test_idx_round_trip(tmp_path_factory, array, zipped):
    content = idx_bytes(array)
    path = tmp_path_factory.mktemp("idx") / ("file.gz" if zipped else "file")
    path.write_bytes(gzip.compress(content) if zipped else content)
    found = read_idx(path, array.shape, hashlib.md5(content).hexdigest())
    assert found.dtype == np.uint8
    assert found.shape == array.shape
    assert (found == array).all()
    assert naive.read_idx(content) == (list(array.shape), found.ravel().tolist())


IMAGES = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
GOOD = idx_bytes(IMAGES)
ZIPPED = gzip.compress(GOOD, mtime=0)
WRONG_SUM = ZIPPED[:-8] + bytes([ZIPPED[-8] ^ 1]) + ZIPPED[-7:]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("images", b"", "is no IDX file of 3 dimensions (starts with 0x, expected 0x00000803)"),
        ("images", b"\0\0\x0d\x03" + GOOD[4:], "starts with 0x00000d03, expected 0x00000803"),
        ("images", idx_bytes(IMAGES.ravel()), "starts with 0x00000801, expected 0x00000803"),
        ("images", ZIPPED, "starts with 0x1f8b"),
        ("images", idx_bytes(IMAGES[:2]), "holds 2 × 4 × 5 values, expected 3 × 4 × 5"),
        ("images", GOOD[:10], "is cut short: 10 bytes of 76"),
        ("images", GOOD[:-1], "is cut short: 75 bytes of 76"),
        ("images", GOOD + b"more", "is too long: more than 76 bytes"),
        ("images", GOOD[:-1] + b"x", f"the official file's {hashlib.md5(GOOD).hexdigest()}"),
        ("images.gz", ZIPPED[:-20], "is cut short (its gzip data ends early)"),
        ("images.gz", ZIPPED[:-4], "is cut short (its gzip data ends early)"),
        ("images.gz", b"", "is no IDX file"),
        ("images.gz", GOOD, "is no gzip file or damaged (not a gzipped file"),
        ("images.gz", WRONG_SUM, "is no gzip file or damaged (crc check failed"),
        ("images.gz", ZIPPED[:10] + b"\x07" * 40, "is no gzip file or damaged"),
        ("images.gz", gzip.compress(GOOD + bytes(10**6), mtime=0), "is too long: more than 76 bytes"),
    ],
)
def test_wrong_idx_files_are_refused(tmp_path, name, content, says):
    path = tmp_path / name
    path.write_bytes(content)
    message = refused(read_idx, path, IMAGES.shape, hashlib.md5(GOOD).hexdigest())
    assert message.startswith(f"{path}: ")
    assert says.lower() in message.lower()


def test_right_shape_with_other_content_is_no_official_file(tmp_path):
    path = tmp_path / "train-labels-idx1-ubyte"
    path.write_bytes(idx_bytes(np.zeros(60_000, np.uint8)))
    known = registry.IDX["fashion_mnist"]
    assert "is damaged or another file" in refused(read_idx_labels, path, 60_000, 10, known.md5[path.name])


def test_labels_must_name_a_class(tmp_path):
    path = tmp_path / "labels"
    path.write_bytes(idx_bytes(np.array([0, 9, 10, 11], np.uint8)))
    assert f"{path}: label 10 of image 2 is none of 0 to 9" in refused(read_idx_labels, path, 4, 10, None)


@pytest.mark.parametrize("name", ["images", "images.gz"])
def test_unreadable_file(tmp_path, name):
    (tmp_path / name).mkdir()  # what root cannot read either
    assert f"{tmp_path / name}: cannot be read (is a directory)" in refused(read_idx, tmp_path / name, (1,), None)


# --- where the files are -----------------------------------------------------------------------------------------------


class TinyMnist:
    """Writes data sets of 6 + 4 images of 3 × 3 in MNIST's layout."""

    def __init__(self, monkeypatch, seed=0):
        random = np.random.default_rng(seed)
        self.arrays = {
            "train-images-idx3-ubyte": random.integers(0, 256, (6, 3, 3), np.uint8),
            "train-labels-idx1-ubyte": np.arange(6, dtype=np.uint8),
            "t10k-images-idx3-ubyte": random.integers(0, 256, (4, 3, 3), np.uint8),
            "t10k-labels-idx1-ubyte": np.arange(4, dtype=np.uint8),
        }
        md5 = {name: hashlib.md5(idx_bytes(array)).hexdigest() for name, array in self.arrays.items()}
        for name in ("mnist", "fashion_mnist"):
            known = registry.IDX[name]._replace(md5=md5, n_train=6, n_test=4, shape=(3, 3, 1))
            monkeypatch.setitem(registry.IDX, name, known)

    def write(self, folder, zipped=()):
        folder.mkdir(parents=True, exist_ok=True)
        for name, array in self.arrays.items():
            if name in zipped or zipped == "all":
                (folder / f"{name}.gz").write_bytes(gzip.compress(idx_bytes(array)))
            else:
                (folder / name).write_bytes(idx_bytes(array))

    def check(self, loaded):
        images, labels, test_images, test_labels = self.arrays.values()
        assert (loaded.train.images == images.reshape(6, 9)).all()
        assert (loaded.train.labels == labels).all()
        assert (loaded.test.images == test_images.reshape(4, 9)).all()
        assert (loaded.test.labels == test_labels).all()
        assert loaded.shape == (3, 3, 1)


@pytest.fixture
def tiny(monkeypatch):
    return TinyMnist(monkeypatch)


@pytest.mark.parametrize("zipped", [(), "all", ("train-images-idx3-ubyte", "t10k-labels-idx1-ubyte")])
@pytest.mark.parametrize(("name", "below"), [("mnist", "MNIST/raw"), ("fashion_mnist", "FashionMNIST/raw"), ("mnist", ".")])
def test_layouts(tmp_path, tiny, name, below, zipped):
    tiny.write(tmp_path / "data" / below, zipped)
    loaded = load_data(name, tmp_path / "data")
    tiny.check(loaded)
    assert loaded.name == name
    assert load_data(name, str(tmp_path / "data")) is loaded


def test_named_folder_then_variable_then_cache(tmp_path, tiny, monkeypatch, nowhere):
    named, variable = tmp_path / "named", tmp_path / "variable"
    monkeypatch.setenv("RSRP_DATA", str(variable))
    assert f"in {named};" in refused(load_data, "mnist", named)
    assert f"in {variable};" in refused(load_data, "mnist")
    tiny.write(nowhere / "MNIST" / "raw")  # neither of the others falls back on it
    assert f"in {variable};" in refused(load_data, "mnist")
    monkeypatch.setenv("RSRP_DATA", "")
    tiny.check(load_data("mnist"))
    monkeypatch.chdir(tmp_path)
    tiny.write(named / "MNIST" / "raw")
    tiny.check(load_data("mnist", "named"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RSRP_DATA", "~/named")
    assert load_data("mnist") is load_data("mnist", "named")


def test_missing_file_is_named_with_all_ways_out(tmp_path, tiny, nowhere):
    tiny.write(tmp_path / "MNIST" / "raw")
    (tmp_path / "MNIST" / "raw" / "t10k-images-idx3-ubyte").unlink()
    message = refused(load_data, "mnist", tmp_path)
    assert message.startswith(f"data set mnist: no MNIST/raw/t10k-images-idx3-ubyte[.gz] in {tmp_path};")
    for way_out in ("--data DIR", "RSRP_DATA", 'pip install "rsrp-lava[vision]"'):
        assert way_out in message
        assert way_out in refused(load_data, "mnist")
    assert f"no cifar-10-batches-py/data_batch_1 or cifar-10-python.tar.gz in {nowhere};" in refused(load_data, "cifar10")


def test_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    message = refused(load_data, "mnist", tmp_path / "file")
    assert message == f"{tmp_path / 'file'}: is a file, not a folder; give the folder that holds MNIST/raw"


def test_folder_that_cannot_be_searched(tmp_path, monkeypatch):
    def forbidden(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_file", forbidden)
    assert f"{tmp_path}: cannot be read (permission denied)" in refused(load_data, "mnist", tmp_path)


def test_unknown_name():
    with pytest.raises(DataError, match="unknown data set 'fashion-mnist': did you mean 'fashion_mnist'"):
        load_data("fashion-mnist")
    assert data_names() == ["cifar10", "digits", "fashion_mnist", "mnist"]


def test_digest_tells_data_apart(tmp_path, monkeypatch):
    digests = set()
    for seed in (0, 1):
        tiny = TinyMnist(monkeypatch, seed)
        tiny.write(tmp_path / str(seed) / "MNIST" / "raw")
        digests.add(load_data("mnist", tmp_path / str(seed)).sha256)
    assert len(digests) == 2


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {}, "home/.cache/rsrp-lava"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "home/.cache/rsrp-lava"),
        ("linux", {"XDG_CACHE_HOME": "/elsewhere"}, "/elsewhere/rsrp-lava"),
        ("darwin", {"XDG_CACHE_HOME": "/elsewhere"}, "home/Library/Caches/rsrp-lava"),
        ("win32", {}, "home/AppData/Local/rsrp-lava/Cache"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/rsrp-lava/Cache"),
    ],
)
def test_cache_folder(monkeypatch, tmp_path, platform, variables, expected):
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**variables, "HOME": str(tmp_path / "home")}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert folders.cache_folder() == tmp_path / expected


# --- torchvision -------------------------------------------------------------------------------------------------------


@pytest.fixture
def torchvision(monkeypatch, tiny):
    """A stand-in that 'downloads' the tiny set; its `before` runs in the middle of it."""
    module = types.ModuleType("torchvision")
    module.__spec__ = importlib.machinery.ModuleSpec("torchvision", None)
    module.roots, module.before = [], lambda: None

    def mnist(root, download):
        assert download
        print("Downloading")
        module.roots.append(Path(root))
        tiny.write(Path(root, "MNIST", "raw"), "all")
        module.before()
        tiny.write(Path(root, "MNIST", "raw"))

    module.datasets = types.SimpleNamespace(MNIST=mnist)
    monkeypatch.setitem(sys.modules, "torchvision", module)
    return module


def test_torchvision_fills_the_cache(torchvision, tiny, nowhere, capsys):
    tiny.check(load_data("mnist"))
    assert capsys.readouterr() == ("", "Downloading\n")  # standard output may be read by a program
    assert [path.name for path in nowhere.iterdir()] == ["MNIST"]
    assert not torchvision.roots[0].exists()
    registry._load.cache_clear()
    tiny.check(load_data("mnist"))
    assert len(torchvision.roots) == 1


def test_torchvision_adds_what_is_missing(torchvision, tiny, nowhere):
    tiny.write(nowhere / "MNIST" / "raw")
    (nowhere / "MNIST" / "raw" / "train-labels-idx1-ubyte").unlink()
    tiny.check(load_data("mnist"))


def test_nothing_is_downloaded_into_a_folder_somebody_named(torchvision, tmp_path, monkeypatch):
    refused(load_data, "mnist", tmp_path)
    monkeypatch.setenv("RSRP_DATA", str(tmp_path))
    refused(load_data, "mnist")
    assert not torchvision.roots


def failing(error):
    def fail():
        raise error

    return fail


def test_failed_download_leaves_nothing_behind(torchvision, nowhere):
    torchvision.before = failing(RuntimeError("Error downloading\n t10k"))
    message = refused(load_data, "mnist")
    assert message.startswith(f"data set mnist: torchvision could not put it into {nowhere} (error downloading t10k); ")
    assert str(nowhere / "MNIST" / "raw") in message
    assert list(nowhere.iterdir()) == []
    torchvision.before = failing(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        load_data("mnist")
    assert list(nowhere.iterdir()) == []


def test_torchvision_that_cannot_be_imported(torchvision):
    del torchvision.datasets
    assert "cannot import name 'datasets'" in refused(load_data, "mnist")


def test_cache_that_cannot_be_made(torchvision, nowhere):
    nowhere.parent.write_text("a file")
    assert f"torchvision could not put it into {nowhere}" in refused(load_data, "mnist")


def test_torch_is_imported_only_to_download(tmp_path):
    (tmp_path / "torchvision.py").write_text("raise SystemExit('imported')")
    code = """if True:
        import sys
        from rsrp_lava.tasks.data import load_data
        load_data("digits")
        try:
            load_data("mnist", ".")
        except Exception as error:
            print(type(error).__name__, *sys.modules.keys() & {"torch", "sklearn", "matplotlib", "lava"})
    """
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout) == (0, "DataError\n"), done.stderr


# --- CIFAR-10 ----------------------------------------------------------------------------------------------------------


def text(value):
    """A string of bytes as Python 2 pickles it (BINSTRING)."""
    return b"T" + struct.pack("<i", len(value)) + value


def integer(value):
    return b"J" + struct.pack("<i", value)


def array_pickle(planes, kind=b"u1"):
    """A NumPy array as Python 2 pickled it: _reconstruct(ndarray, (0,), 'b'), then its state."""
    shape = b"(" + b"".join(integer(n) for n in planes.shape) + b"t"
    dtype = (
        b"cnumpy\ndtype\n("
        + text(kind)
        + integer(0)
        + integer(1)
        + b"tR("
        + integer(3)
        + text(b"|")
        + b"NNN"
        + integer(-1) * 2
        + integer(0)
        + b"tb"
    )
    call = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(" + integer(0) + b"t" + text(b"b") + b"tR"
    return call + b"(" + integer(1) + shape + dtype + b"\x89" + text(planes.tobytes()) + b"tb"


def list_pickle(labels):
    return b"](" + b"".join(integer(label) for label in labels) + b"e"


def batch_pickle(data, labels):
    """A dict with these (pickled) values, and the label of the batch, as the official files have them."""
    return b"\x80\x02}(" + text(b"batch_label") + text(b"x") + text(b"data") + data + text(b"labels") + labels + b"u."


PLANES = np.random.default_rng(1).integers(0, 256, (2, 3072), np.uint8)
BATCH = batch_pickle(array_pickle(PLANES), list_pickle([3, 9]))


def read(content, md5=None):
    return cifar.read_batch(content, "some file", cifar.Batch(len(content), md5, 2))


def channel_last(planes):
    """Red, green and blue planes to pixels, value by value."""
    return [
        [image[1024 * c + 32 * y + x] for y in range(32) for x in range(32) for c in range(3)] for image in planes.tolist()
    ]


def test_the_pickles_written_here_are_pickles():
    stored = pickle.loads(BATCH, encoding="latin1")
    assert (stored["data"] == PLANES).all()
    assert stored["labels"] == [3, 9]


def test_cifar_batch():
    batch = read(BATCH, hashlib.md5(BATCH).hexdigest())
    assert batch.images.dtype == batch.labels.dtype == np.uint8
    assert batch.images.tolist() == channel_last(PLANES)
    assert batch.labels.tolist() == [3, 9]


class Evil:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (os.mkdir, "posix.mkdir|nt.mkdir"),
        (eval, "__builtin__.eval"),
        (getattr, "__builtin__.getattr"),
        (shutil.rmtree, "shutil.rmtree"),
        (np.load, "numpy.load"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2])
def test_malicious_pickle_is_refused_by_name_and_not_run(tmp_path, monkeypatch, function, name, protocol):
    called = tmp_path / "called"
    argument = f"__import__('os').mkdir({str(called)!r})" if function is eval else str(called)
    message = refused(read, pickle.dumps(Evil(function, argument), protocol))
    assert message.startswith("some file: its pickle asks for ")
    assert any(part in message for part in name.split("|"))
    assert "nothing of it was run" in message
    assert not called.exists()


@pytest.mark.parametrize("labels", [[3], [3, 4, 5], [3, 10], [3, -1], [3, 2**31 - 1]])
def test_cifar_labels_must_fit(labels):
    assert "label" in refused(read, batch_pickle(array_pickle(PLANES), list_pickle(labels)))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            batch_pickle(array_pickle(PLANES[:1]), list_pickle([3, 9])),
            "holds 1 × 3,072 as its images, expected 2 × 3,072 bytes",
        ),
        (batch_pickle(array_pickle(PLANES.ravel()), list_pickle([3, 9])), "holds 6,144 as its images"),
        (batch_pickle(array_pickle(PLANES, b"i8"), list_pickle([3, 9])), "holds no array of bytes"),
        (batch_pickle(array_pickle(PLANES, b"O8"), list_pickle([3, 9])), "holds no array of bytes"),
        (batch_pickle(text(PLANES.tobytes()), list_pickle([3, 9])), "holds no array of bytes"),
        (batch_pickle(array_pickle(PLANES)[:-2] + b"0tb", list_pickle([3, 9])), "holds no array of bytes"),
        (batch_pickle(array_pickle(PLANES).replace(b"\x89T", b"\x88T"), list_pickle([3, 9])), "holds no array of bytes"),
        (batch_pickle(array_pickle(PLANES), text(b"39")), "its labels must be a list of 2 integers"),
        (batch_pickle(array_pickle(PLANES), b"](" + integer(3) + text(b"9") + b"e"), "its labels must be a list"),
        (b"\x80\x02}.", "holds no array of bytes"),
        (b"\x80\x02].", "holds no array of bytes"),
        (b"\x80\x02cnumpy\nndarray\n(" + integer(10**9) + b"tR.", "is no pickle or damaged"),
        (b"\x80\x02cnumpy\ndtype\n}" + text(b"name") + text(b"u1") + b"sb.", "is no pickle or damaged"),
        (b"no pickle", "is no pickle or damaged"),
        (b"", "is no pickle or damaged"),
        (BATCH[:-200], "is no pickle or damaged"),
    ],
)
def test_wrong_cifar_batches_are_refused(content, says):
    message = refused(read, content)
    assert message.startswith("some file: ")
    assert says in message


def test_cifar_size_and_checksum_come_first():
    evil = pickle.dumps(Evil(os.mkdir, "never"), 2)
    known = cifar.Batch(len(evil), "0" * 32)
    assert "is damaged or another file" in refused(cifar.read_batch, evil, "file", known)
    assert f"is cut short: {len(evil) - 1} bytes of {len(evil)}" in refused(cifar.read_batch, evil[:-1], "file", known)
    assert "is too long" in refused(cifar.read_batch, evil + b"x", "file", known)


@pytest.fixture
def batches(monkeypatch):
    """The content of six batches of two images, which pass for the official ones."""
    random = np.random.default_rng(2)
    content = {}
    for known in (cifar.TRAIN, cifar.TEST):
        for name in known:
            planes = random.integers(0, 256, (2, 3072), np.uint8)
            content[name] = batch_pickle(array_pickle(planes), list_pickle(random.integers(0, 10, 2)))
            md5 = hashlib.md5(content[name]).hexdigest()
            monkeypatch.setitem(known, name, cifar.Batch(len(content[name]), md5, 2))
    return content


def write_archive(path, content, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for name in sorted(content, reverse=True):
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content[name])
            archive.addfile(member, io.BytesIO(content[name]))


def test_cifar_from_folder_or_archive(tmp_path, batches):
    for folder in (tmp_path / "whole" / "cifar-10-batches-py", tmp_path / "itself"):
        folder.mkdir(parents=True)
        for name, content in batches.items():
            (folder / name).write_bytes(content)
    (tmp_path / "zipped").mkdir()
    write_archive(tmp_path / "zipped" / "cifar-10-python.tar.gz", {**batches, "readme.html": b"hello"})
    first, *others = [load_data("cifar10", tmp_path / where) for where in ("whole", "itself", "zipped")]
    assert (first.shape, first.n_classes, first.mean, first.std) == ((32, 32, 3), 10, 0.5, 0.5)
    assert (first.train.images.shape, first.test.images.shape) == ((10, 3072), (2, 3072))
    for k, name in enumerate(batches):
        stored = pickle.loads(batches[name], encoding="latin1")
        part, start = (first.train, 2 * k) if name in cifar.TRAIN else (first.test, 0)
        assert part.images[start : start + 2].tolist() == channel_last(stored["data"])
        assert part.labels[start : start + 2].tolist() == stored["labels"]
    assert {other.sha256 for other in others} == {first.sha256}
    assert sorted(path.name for path in (tmp_path / "zipped").iterdir()) == ["cifar-10-python.tar.gz"]  # not extracted


def test_cifar_batch_missing_or_unreadable(tmp_path, batches):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in list(batches)[1:]:
        (folder / name).write_bytes(batches[name])
    assert "no cifar-10-batches-py/data_batch_1 " in refused(load_data, "cifar10", tmp_path)
    assert f"{folder}: cannot be read" in refused(
        cifar.read_files, {"data_batch_1": folder}, {"data_batch_1": cifar.Batch(1, None)}
    )


def test_wrong_cifar_archives_are_refused(tmp_path, batches):
    path = tmp_path / "cifar-10-python.tar.gz"
    write_archive(path, {name: content for name, content in batches.items() if name != "data_batch_3"})
    assert f"{path}: holds no cifar-10-batches-py/data_batch_3" in refused(load_data, "cifar10", tmp_path)
    write_archive(path, {**batches, "data_batch_2": batches["data_batch_2"] + b"x"})
    assert f"{path}: cifar-10-batches-py/data_batch_2: is too long" in refused(load_data, "cifar10", tmp_path)
    write_archive(path, batches)
    whole = path.read_bytes()
    for content in (b"", b"no archive", whole[: len(whole) // 2], whole[:100] + b"\xff" * 100 + whole[200:]):
        path.write_bytes(content)
        assert f"{path}: " in refused(load_data, "cifar10", tmp_path)
    with tarfile.open(path, "w:gz") as archive:  # a link instead of a file
        member = tarfile.TarInfo("cifar-10-batches-py/data_batch_1")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(member)
    assert "holds no cifar-10-batches-py/data_batch_1" in refused(load_data, "cifar10", tmp_path)


# --- the real files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        pytest.param("mnist", "MNIST", marks=needs("MNIST/raw")),
        pytest.param("fashion_mnist", "FashionMNIST", marks=needs("FashionMNIST/raw")),
    ],
)
def test_official_idx_files(name, folder):
    loaded = load_data(name, REAL)
    for prefix, part, n in (("train", loaded.train, 60_000), ("t10k", loaded.test, 10_000)):
        for array, kind in ((part.images, "images-idx3"), (part.labels, "labels-idx1")):
            path = REAL / folder / "raw" / f"{prefix}-{kind}-ubyte"
            content = path.read_bytes() if path.exists() else gzip.decompress(Path(f"{path}.gz").read_bytes())
            shape, values = naive.read_idx(content)
            assert shape == [n, 28, 28][: len(shape)]
            assert array.tobytes() == bytes(values)
        assert part.images.shape == (n, 784)
    inputs = loaded.train.images.astype(np.float32) / 255
    assert (inputs.mean(dtype=float), inputs.std(dtype=float)) == pytest.approx((loaded.mean, loaded.std), abs=5e-5)


@needs("cifar-10-batches-py")
def test_official_cifar_files():
    loaded = load_data("cifar10", REAL)
    assert (loaded.train.images.shape, loaded.test.images.shape) == ((50_000, 3072), (10_000, 3072))
    assert np.bincount(loaded.train.labels).tolist() == [5000] * 10
    for name, part, start in (("data_batch_2", loaded.train, 10_000), ("test_batch", loaded.test, 0)):
        with open(REAL / "cifar-10-batches-py" / name, "rb") as file:
            stored = pickle.load(file, encoding="bytes")  # official, so it may run
        assert part.labels[start : start + 10_000].tolist() == stored[b"labels"]
        assert part.images[start + 9_990 : start + 10_000].tolist() == channel_last(stored[b"data"][9_990:])
