"""Animations, written picture by picture, so that they may be of any length: .gif with Pillow, .mp4 with ffmpeg."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from rsrp_lava.errors import ExperimentError

#: Hundredths of a second that a picture of a GIF is shown at least: most players show shorter ones for a tenth of a second.
_SHORTEST = 2
#: Of ffmpeg, from 1 to 10.
_QUALITY = 7


class Animation(Protocol):
    """A file being written. `fps`: pictures a second that it shows."""

    fps: float

    def add(self, picture: np.ndarray) -> None:
        """Append a picture, uint8, shape (height, width, 3): of the size of the first one."""
        ...

    def close(self) -> None:
        """Write what is left. Raises `OSError` if the file is not whole."""
        ...


class Gif:
    """Every picture in 256 colours of its own.

    Pillow's own animations, and imageio's with it, hold all pictures until the end, and leave out those that equal the last.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self._hundredths = max(_SHORTEST, round(100 / fps))
        self.fps = 100 / self._hundredths
        self._file = open(path, "wb")  # noqa: SIM115 (closed by close)
        self._pictures = 0

    def add(self, picture: np.ndarray) -> None:
        """See `Animation.add`."""
        from PIL import GifImagePlugin, Image

        image = Image.fromarray(picture).quantize()
        if self._pictures == 0:
            size = b"".join(side.to_bytes(2, "little") for side in image.size)
            self._file.write(b"GIF89a" + size + b"\x70\0\0")  # no colours for all pictures
            self._file.write(b"!\xff\x0bNETSCAPE2.0\x03\x01\0\0\0")  # for ever
        parts = GifImagePlugin.getdata(image, duration=10 * self._hundredths, include_color_table=True)
        self._file.write(b"".join(parts))
        self._pictures += 1

    def close(self) -> None:
        """See `Animation.close`."""
        with self._file:
            self._file.write(b";")


class Mp4:
    """H.264, in a process of its own; a side of an odd length is a pixel longer."""

    def __init__(self, path: Path, fps: float) -> None:
        self._path, self.fps = path.absolute(), fps  # ffmpeg takes what is before a colon for a protocol
        self._pictures = 0
        self._frames: Generator[None, Any, None] | None = None

    def add(self, picture: np.ndarray) -> None:
        """See `Animation.add`."""
        height, width, _ = picture.shape
        picture = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
        if self._frames is None:
            import imageio_ffmpeg

            size, told = (width + width % 2, height + height % 2), {"macro_block_size": 2, "ffmpeg_log_level": "error"}
            self._frames = imageio_ffmpeg.write_frames(self._path, size, fps=self.fps, quality=_QUALITY, **told)
            self._frames.send(None)
        self._frames.send(picture.tobytes())
        self._pictures += 1

    def close(self) -> None:
        """See `Animation.close`."""
        if self._frames is None:
            return
        import imageio_ffmpeg

        self._frames.close()
        try:
            written, _ = imageio_ffmpeg.count_frames_and_secs(self._path)
        except RuntimeError:
            written = 0
        if written != self._pictures:  # write_frames does not look at how ffmpeg ended
            raise OSError(0, f"ffmpeg wrote {written} of {self._pictures} pictures")


_FORMATS: dict[str, type[Gif] | type[Mp4]] = {".gif": Gif, ".mp4": Mp4}
#: Of files that can be written.
SUFFIXES = tuple(_FORMATS)


def animation_format(suffix: str) -> type[Gif] | type[Mp4]:
    """What writes files of this suffix; `ExperimentError` if that is not installed."""
    if suffix == ".mp4":
        try:
            import imageio_ffmpeg  # noqa: F401
        except ImportError:
            raise ExperimentError(
                ".mp4 files need imageio-ffmpeg, which is not installed; pip install 'rsrp-lava[record]', or write a .gif"
            ) from None
    return _FORMATS[suffix]


__all__ = ["SUFFIXES", "Animation", "animation_format"]
