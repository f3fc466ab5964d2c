"""Files that are something else than a video that can be decoded are named for what they are; covers are not films."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from evcap_cli.errors import DecodeFailed, NoVideoStream, OpenFailed, VideoError
from evcap_cli.media.decoder import Decoder
from tests.media.clips import draw, make_clip, number_in
from tests.media.reading import run


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(timeout=120) as one:
        yield one


def noise(length: int) -> bytes:
    return np.random.default_rng(length).integers(0, 256, length, dtype=np.uint8).tobytes()


def common_encryption(folder: Path, **options: str) -> Path:
    keys = {"encryption_key": "00112233445566778899aabbccddeeff", "encryption_kid": "ff" * 16}
    path = folder / "a.mp4"
    with av.open(str(path), "w", options={"encryption_scheme": "cenc-aes-ctr", **keys, **options}) as container:
        stream: Any = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(10):
            frame = av.VideoFrame.from_ndarray(draw(number, (64, 48)), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def fragments(folder: Path) -> Path:
    return common_encryption(folder, movflags="frag_keyframe+empty_moov")


def bought_film(folder: Path) -> Path:
    """A sample description as of a shop's own protection, and content that is noise."""
    path = make_clip(folder / "a.m4v", seconds=0.4, audio=False, format="mp4")
    data = bytearray(path.read_bytes().replace(b"avc1\x00", b"drmi\x00"))
    start = data.index(b"mdat") + 4
    data[start : data.index(b"moov") - 4] = noise(data.index(b"moov") - 4 - start)
    path.write_bytes(data)
    return path


def scrambled_broadcast(folder: Path, gap: int = 0) -> Path:
    data = make_clip(folder / "a.ts", seconds=1).read_bytes()
    packets = []
    for at in range(0, len(data), 188):
        packet = bytearray(data[at : at + 188])
        if ((packet[1] & 0x1F) << 8 | packet[2]) in (256, 257):
            packet[3] |= 0x80
            content = min(188, 5 + packet[4] if packet[3] & 0x20 else 4)
            packet[content:] = noise(188 - content)
        packets.append(bytes(gap) + bytes(packet))
    path = folder / ("a.m2ts" if gap else "a.ts")
    path.write_bytes(b"".join(packets))
    return path


def scrambled_disc(folder: Path) -> Path:
    return scrambled_broadcast(folder, 4)


def protected_dvd(folder: Path) -> Path:
    """The first sectors are in the clear; of the others the bits are set, and the bytes from 128 on are noise."""
    path = make_clip(folder / "a.vob", seconds=2, codec="mpeg2video", audio=False, format="vob", size=(320, 240))
    data = bytearray(path.read_bytes())
    for at in range(0, len(data), 2048):
        if at > 4096 and data[at + 14 : at + 18] == b"\x00\x00\x01\xe0":
            data[at + 20] |= 0x10
            data[at + 128 : at + 2048] = noise(1920)
    path.write_bytes(data)
    return path


def protected_wmv(folder: Path) -> Path:
    path = make_clip(folder / "a.wmv", seconds=0.4, codec="wmv2", audio=False, bframes=0)
    data = bytearray(path.read_bytes())
    extra = bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e") + (40).to_bytes(8, "little") + bytes(16)
    data[30:30] = extra
    data[16:24] = (int.from_bytes(data[16:24], "little") + 40).to_bytes(8, "little")
    data[24:28] = (int.from_bytes(data[24:28], "little") + 1).to_bytes(4, "little")
    path.write_bytes(data)
    return path


def element(name: str, content: bytes) -> bytes:
    return bytes.fromhex(name) + (len(content) | 1 << 56).to_bytes(8, "big") + content


def protected_webm(folder: Path) -> Path:
    """A stream's file, whose segment has no length, with an encryption in its track."""
    path = make_clip(folder / "a.webm", seconds=0.4, codec="libvpx", audio=False, bframes=0, streamed=True)
    data = path.read_bytes()
    encoding = element(
        "6240", element("5033", b"\x01") + element("5035", element("47E1", b"\x05") + element("47E2", b"k" * 16))
    )
    encodings = element("6D80", encoding)
    tracks = data.rindex(bytes.fromhex("1654AE6B"))
    entry, inside, end = element_at(data, element_at(data, tracks)[1])
    _, _, tracks_end = element_at(data, tracks)
    rest = data[end:tracks_end]
    changed = element("1654AE6B", element("AE", data[inside:end] + encodings) + rest)
    assert data[entry : entry + 1] == b"\xae"
    path.write_bytes(data[:tracks] + changed + data[tracks_end:])
    return path


def element_at(data: bytes, at: int) -> tuple[int, int, int]:
    """(start, start of its content, end) of the element of Matroska at ``at``."""
    name = 9 - data[at].bit_length()
    length = 9 - data[at + name].bit_length()
    size = int.from_bytes(data[at + name : at + name + length], "big") & ((1 << 7 * length) - 1)
    inside = at + name + length
    return at, inside, inside + size


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        common_encryption,
        fragments,
        bought_film,
        scrambled_broadcast,
        scrambled_disc,
        protected_dvd,
        protected_wmv,
        protected_webm,
    ],
)
def test_encrypted_videos_are_said_to_be_encrypted(
    make: Callable[[Path], Path], tmp_path: Path, decoder: Decoder
) -> None:
    with pytest.raises(OpenFailed, match="is encrypted") as caught:
        decoder.open(make(tmp_path))
    assert "copy it again" not in str(caught.value)


def test_only_encrypted_sound_is_left_out(tmp_path: Path, decoder: Decoder) -> None:
    clear = make_clip(tmp_path / "clear.mp4", seconds=1, audio=False)
    with av.open(str(clear)) as source:
        pictures = [bytes(packet) for packet in source.demux(video=0) if packet.size]
    path = tmp_path / "both.mp4"
    keys = {"encryption_key": "00112233445566778899aabbccddeeff", "encryption_kid": "ff" * 16}
    options = {"encryption_scheme": "cenc-aes-ctr", **keys}
    with av.open(str(path), "w", options=options) as container, av.open(str(clear)) as source:
        film: Any = container.add_stream_from_template(source.streams.video[0])
        track: Any = container.add_stream("aac", rate=16000, layout="mono")
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = film
                container.mux(packet)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 16000, 0, Fraction(1, 16000)
        container.mux(track.encode(frame))
        container.mux(track.encode())
    # the picture's packets back in the clear, and no word of their encryption
    with av.open(str(path)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for place, picture in zip(places, pictures, strict=True):
        assert place is not None
        data[place : place + len(picture)] = picture
    for word, other in ((b"encv", b"avc1"), (b"senc", b"free"), (b"sinf", b"free")):
        data[data.index(word) : data.index(word) + 4] = other
    path.write_bytes(data)
    timeline = decoder.open(path)
    assert not timeline.info.has_audio
    assert timeline.warnings == ("its sound is encrypted: captioned without sound",)
    assert number_in(run(decoder, [9]).frames[9]) == 9


@pytest.mark.slow
def test_the_same_files_without_encryption_are_videos(tmp_path: Path, decoder: Decoder) -> None:
    for name, codec in (("a.vob", "mpeg2video"), ("a.wmv", "wmv2"), ("a.webm", "libvpx")):
        bframes = 2 if codec == "mpeg2video" else 0
        decoder.open(make_clip(tmp_path / name, seconds=0.4, codec=codec, audio=False, bframes=bframes))
        assert run(decoder).frames


def animated(folder: Path) -> Path:
    pictures = [Image.fromarray(draw(number, (64, 48))) for number in range(4)]
    path = folder / "a.webp"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=100)
    return path


def beginning(data: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / "a.mp4").write_bytes(data + noise(5000))
        return folder / "a.mp4"

    return write


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (animated, "animated WebP"),
        (beginning(b"Salted__"), "OpenSSL"),
        (beginning(b"age-encryption.org/v1\n"), "age"),
        (beginning(b"PK\x03\x04\x14\x00"), "ZIP"),
        (beginning(b"\x1f\x8b\x08\x00"), "gzip"),
        (beginning(b"Rar!\x1a\x07\x01\x00"), "RAR"),
    ],
)
def test_other_kinds_of_files_are_named(
    make: Callable[[Path], Path], words: str, tmp_path: Path, decoder: Decoder
) -> None:
    with pytest.raises(OpenFailed, match=words) as caught:
        decoder.open(make(tmp_path))
    assert caught.value.hint
    assert "copy it again" not in caught.value.hint


TEXT = "This film was brought to you by nobody.\n" * 100


@pytest.mark.parametrize("suffix", ["nfo", "ans", "asc", "art", "diz", "ice", "txt", "vt", "bin", "xb", "adf", "idf"])
@pytest.mark.parametrize("text", [TEXT.encode(), b"\x1b[1;31m" + TEXT.encode(), TEXT.encode("utf-16")])
def test_a_text_is_no_video_whatever_its_suffix(suffix: str, text: bytes, tmp_path: Path, decoder: Decoder) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(text)
    with pytest.raises((NoVideoStream, OpenFailed)) as caught:
        decoder.open(path)
    assert isinstance(caught.value, VideoError)


def test_a_name_like_a_pattern_is_one_file(tmp_path: Path, decoder: Decoder) -> None:
    for name, shade in (("a%03d.jpg", 50), ("a001.jpg", 200)):
        Image.fromarray(np.full((48, 64, 3), shade, np.uint8)).save(tmp_path / name)
    decoder.open(tmp_path / "a%03d.jpg")
    assert run(decoder).frames[0].mean() == pytest.approx(50, abs=2)


def film_with_cover(path: Path, *, cover_first: bool) -> Path:
    """A film and a single large picture of noise, no stream of which says which is which."""
    cover = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:

        def film_stream() -> Any:
            film: Any = container.add_stream("libx264", rate=25)
            film.width, film.height, film.pix_fmt = 160, 120, "yuv420p"
            return film

        film = None if cover_first else film_stream()
        still: Any = container.add_stream("mjpeg", rate=25)
        still.width, still.height, still.pix_fmt = 320, 240, "yuvj420p"
        film = film_stream() if film is None else film
        for stream, pictures in ((still, [cover]), (film, [draw(number, (160, 120)) for number in range(25)])):
            for number, picture in enumerate(pictures):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    return path


@pytest.mark.parametrize("cover_first", [True, False])
@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv"])
def test_a_cover_that_does_not_say_so_is_not_the_film(
    name: str, cover_first: bool, tmp_path: Path, decoder: Decoder
) -> None:
    timeline = decoder.open(film_with_cover(tmp_path / name, cover_first=cover_first))
    assert (timeline.info.width, timeline.info.height) == (160, 120)
    assert timeline.warnings == ()
    frames = run(decoder).frames
    assert [number_in(frames[place]) for place in (0, 7, 24)] == [0, 7, 24]


@pytest.mark.slow
def test_a_cover_is_no_replacement_for_a_film_that_cannot_be_decoded(tmp_path: Path, decoder: Decoder) -> None:
    path = film_with_cover(tmp_path / "a.mp4", cover_first=True)
    path.write_bytes(path.read_bytes().replace(b"avc1\x00", b"nope\x00"))
    with pytest.raises(DecodeFailed, match="codec"):
        decoder.open(path)
