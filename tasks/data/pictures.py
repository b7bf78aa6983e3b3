"""A folder with a folder of images a class, read by Pillow.

Files are images if their names end as those of a format that Pillow reads; others, and hidden ones, are left out. What is
named as an image must be one. EPS and WMF are not read: other programs would have to be run for them.

| in the file | becomes |
|---|---|
| grey, 1 or 8 bits | grey |
| grey, 16 or 32 bits, or floats | grey with all its bits; all images must be so |
| colour; palette; CMYK, YCbCr, Lab | RGB of 8 bits each |
| transparency | as it looks on white |
| several frames | the first |
| an orientation (EXIF) | turned as it says |

If any image has colours, all become RGB, unless `color` says otherwise.
"""

from __future__ import annotations

import os
import stat
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rsrp_lava.errors import DataError, counted
from rsrp_lava.tasks.data.arrays import check_memory
from rsrp_lava.tasks.data.base import reason, unreadable
from rsrp_lava.tasks.data.coding import natural
from rsrp_lava.tasks.data.options import MOST_PIXELS, DatasetOptions
from rsrp_lava.tasks.data.progress import reading

#: Formats for which Pillow runs another program, or asks the operating system to draw.
_NOT_READ = ("EPS", "WMF")
_GREY, _DEEP = ("1", "L", "LA", "La"), ("I;16", "I;16L", "I;16B", "I;16N", "I;16S", "I", "F")
_TRANSPARENT = ("LA", "La", "PA", "RGBA", "RGBa")
_ORIENTATION = 0x0112
#: Pixels of a file, before it is resized; Pillow's own limit against files that unpack to gigabytes.
_MOST_IN_A_FILE = 89_478_485
#: Files that an error names.
_NAMED = 3


class File(NamedTuple):
    """A file of the folder, as it was when it was listed."""

    path: str
    size: int
    changed_ns: int


class Listing(NamedTuple):
    """The images of a folder: of every class in natural order, training part first."""

    classes: tuple[str, ...]
    files: tuple[File, ...]
    labels: tuple[int, ...]
    n_train: int | None  #: None: the folder has no parts of its own
    n_left_out: int  #: files that are neither hidden nor named as an image


class Header(NamedTuple):
    """What is known of an image before it is decoded."""

    height: int
    width: int
    kind: str  #: grey, color or deep


# --- the folder --------------------------------------------------------------------------------------------------------


def list_images(root: Path) -> Listing:
    """All images below a folder; `train` and `test` in it, alone, are its two parts. Raises `DataError`."""
    endings = _endings()
    try:
        parts = _subfolders(root)
        if {name for name, _ in parts} == {"train", "test"} and all(_subfolders(folder) for _, folder in parts):
            train, test = (_Part.read(dict(parts)[name], endings) for name in ("train", "test"))
            unknown = [name for name in test.classes if name not in train.classes]
            if unknown:
                raise DataError(f"{root}: class {unknown[0]} of test is no class of train; leave it out, or add it to train")
            labels = train.labels + [train.classes.index(test.classes[label]) for label in test.labels]
            left_out = train.n_left_out + test.n_left_out
            return Listing(tuple(train.classes), tuple(train.files + test.files), tuple(labels), len(train.files), left_out)
        whole = _Part.read(root, endings)
    except OSError as error:
        raise unreadable(error.filename or root, error) from None
    return Listing(tuple(whole.classes), tuple(whole.files), tuple(whole.labels), None, whole.n_left_out)


def _endings() -> frozenset[str]:
    from PIL import Image

    return frozenset(ending for ending, name in Image.registered_extensions().items() if name in _formats())


def _formats() -> list[str]:
    from PIL import Image

    Image.init()
    return sorted(set(Image.OPEN) - set(_NOT_READ))


def _subfolders(folder: Path) -> list[tuple[str, Path]]:
    """Folders in it that are not hidden, in natural order."""
    if not folder.is_dir():
        problem = "is a file, not a folder" if folder.exists() else "no such folder"
        raise DataError(f"{folder}: {problem}; give a folder with a folder of images a class")
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    return [(name, folder / name) for name in sorted(names, key=natural)]


class _Part:
    """Classes and files of one folder."""

    def __init__(self) -> None:
        self.classes: list[str] = []
        self.files: list[File] = []
        self.labels: list[int] = []
        self.n_left_out = 0

    @classmethod
    def read(cls, root: Path, endings: frozenset[str]) -> _Part:
        part = cls()
        folders = _subfolders(root)
        if not folders:
            raise DataError(f"{root}: holds no folders; give a folder with a folder of images a class")
        with os.scandir(root) as entries:
            part.n_left_out += sum(entry.is_file() and not entry.name.startswith(".") for entry in entries)
        for name, folder in folders:
            if not name.isprintable():  # a line break, or bytes that are no text
                raise DataError(f"{root}: a folder is called {name!a}; give it a name that can be printed")
            before = len(part.files)
            part._take(folder, endings, (os.path.realpath(root),))
            if len(part.files) == before:
                raise DataError(f"{folder}: holds no image (a file that ends in .png, .jpg, …); fill or remove this folder")
            part.classes.append(name)
            part.labels += [len(part.classes) - 1] * (len(part.files) - before)
        return part

    def _take(self, folder: Path, endings: frozenset[str], above: tuple[str, ...]) -> None:
        """The images in a folder and in those below it, links followed."""
        here = os.path.realpath(folder)
        if here in above:
            raise DataError(f"{folder}: is a link to a folder it lies in; remove it")
        with os.scandir(folder) as entries:
            shown = [entry for entry in entries if not entry.name.startswith(".")]
        shown.sort(key=lambda entry: natural(entry.name))
        for entry in shown:
            if entry.is_dir():
                self._take(Path(entry.path), endings, (*above, here))
            elif os.path.splitext(entry.name)[1].lower() in endings:
                status = os.stat(entry.path)
                if not stat.S_ISREG(status.st_mode):
                    raise DataError(f"{entry.path}: is no file; remove it")
                self.files.append(File(entry.path, status.st_size, status.st_mtime_ns))
            else:
                self.n_left_out += 1


# --- the images --------------------------------------------------------------------------------------------------------


def read_images(root: Path, listing: Listing, options: DatasetOptions) -> np.ndarray:
    """All images, shape (n, height, width, channels): uint8, or what deep ones hold. Raises `DataError`."""
    paths = [file.path for file in listing.files]
    with _quiet():
        headers = _all_of(root, paths, "looking at images", _header)
        kind = _common_kind(root, paths, headers, options.color)
        height, width = options.resize or _common_size(root, paths, headers)
        channels = 3 if kind == "color" else 1
        if height * width * channels > MOST_PIXELS:
            raise DataError(
                f"{root}: images of {height:,} × {width:,} × {channels} are {height * width * channels:,} inputs, at most "
                f"{MOST_PIXELS:,} are possible; resize them (--resize 64x64)"
            )
        bytes_each = height * width * channels * (4 if kind == "deep" else 1)
        check_memory(str(root), len(paths) * bytes_each, f"{counted(len(paths), 'image')} of {height:,} × {width:,}")
        if kind == "deep":
            decoded = np.stack(_all_of(root, paths, "reading images", lambda path: _decode(path, kind, options.resize)))
            return decoded[..., None]
        images = np.empty((len(paths), height, width, channels), np.uint8)
        places = dict(zip(paths, images, strict=True))

        def place(path: str) -> None:
            places[path][:] = _decode(path, kind, options.resize).reshape(height, width, channels)

        _all_of(root, paths, "reading images", place)
        return images


class _quiet(warnings.catch_warnings):
    """Pillow's warnings about odd files are not for the user; that one about size is an error."""

    def __enter__(self) -> Any:
        entered = super().__enter__()
        from PIL import Image

        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return entered


def _all_of(root: Path, paths: list[str], what: str, read: Callable[[str], Any]) -> list[Any]:
    """What `read` makes of every file; `DataError` names those it fails at."""
    made, failed = [], []
    with reading(what, len(paths)) as report:
        for done, path in enumerate(paths, 1):
            try:
                made.append(read(path))
            except MemoryError:
                raise DataError(f"{root}: the images do not fit in memory; give fewer or smaller ones") from None
            except Exception as error:  # a damaged file can fail in any way
                failed.append(f"{os.path.relpath(path, root)} ({_problem(error)})")
            report(done)
    if failed:
        more = f" and {len(failed) - _NAMED:,} more" if len(failed) > _NAMED else ""
        raise DataError(f"{root}: cannot read {', '.join(failed[:_NAMED])}{more}; replace or remove what is damaged")
    return made


def _problem(error: Exception) -> str:
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "is empty or no image"
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return f"has more than {_MOST_IN_A_FILE:,} pixels"
    return reason(error)[:100]


def _open(path: str) -> Any:
    from PIL import Image

    return Image.open(path, formats=_formats())


def _header(path: str) -> Header:
    with _open(path) as image:
        width, height = image.size
        if width * height > _MOST_IN_A_FILE:
            raise ValueError(f"has more than {_MOST_IN_A_FILE:,} pixels")
        if image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8):  # lies on its side
            width, height = height, width
        kind = "deep" if image.mode in _DEEP else "grey" if image.mode in _GREY else "color"
        return Header(height, width, kind)


def _common_kind(root: Path, paths: list[str], headers: list[Header], color: str) -> str:
    kinds = {header.kind: os.path.relpath(path, root) for path, header in zip(paths, headers, strict=True)}
    if "deep" not in kinds:
        return {"auto": "color" if "color" in kinds else "grey", "grey": "grey", "rgb": "color"}[color]
    if len(kinds) > 1 or color == "rgb":
        deep, other = kinds.pop("deep"), next(iter(kinds.values()), None)
        problem = f"{deep} has more than 8 bits of grey" + (f", {other} has not" if other else ", and cannot become rgb")
        raise DataError(f"{root}: {problem}; convert all to one kind")
    return "deep"


def _common_size(root: Path, paths: list[str], headers: list[Header]) -> tuple[int, int]:
    sizes = Counter(header[:2] for header in headers)
    (usual, n), *others = sizes.most_common()
    if others:
        example = {header[:2]: os.path.relpath(path, root) for path, header in zip(paths, headers, strict=True)}
        other, _ = others[0]
        raise DataError(
            f"{root}: images have {len(sizes):,} sizes, and a network one: {example[usual]} is {usual[0]:,} high and "
            f"{usual[1]:,} wide, as {n:,} of {len(paths):,} are, {example[other]} is {other[0]:,} high and {other[1]:,} "
            "wide; bring all to one size (--resize 32x32)"
        )
    return usual


def _decode(path: str, kind: str, resize: tuple[int, int] | None) -> np.ndarray:
    from PIL import Image, ImageOps

    with _open(path) as opened:
        image = ImageOps.exif_transpose(opened)
        if kind == "deep":
            image = image.convert("F") if resize else image
        else:
            image = _on_white(image) if image.mode in _TRANSPARENT or "transparency" in image.info else image
            image = image if image.mode in ("1", "L", "RGB") else image.convert("RGB")
            image = image.convert("L" if kind == "grey" else "RGB")
        if resize:
            image = image.resize(resize[::-1], Image.Resampling.BILINEAR)
        return np.asarray(image)


def _on_white(image: Any) -> Any:
    from PIL import Image

    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
