"""Problems and sizes of media files before extraction, from probing them."""

from collections import Counter

from sparsefuse.data.check.files import Files, is_remote
from sparsefuse.data.check.report import Footage, Spread
from sparsefuse.data.check.rules import Problem, broken
from sparsefuse.media.part import START_GAP
from sparsefuse.media.probe import SILENT, Probe

APART = (1.0, 2 / 3)
"""Seconds, and share, by which the sound and the picture of a file may differ."""


def odd_media(files: Files) -> list[Problem]:
    """Streams that are missing, of different lengths, silent, black or frozen."""
    problems = []
    for name in files.media:
        probes = list(files.probes(name))
        pictures, sounds = (sum(has(probe) for _, _, probe in probes) for has in (_has_picture, _has_sound))
        sizes = Counter(f"{p.picture.width}x{p.picture.height}" for _, _, p in probes if p.picture)
        if len(sizes) > 1:
            shown = ", ".join(f"{size} ({count})" for size, count in sizes.most_common(5))
            problems.append(broken("sizes", f"{name}: {len(sizes)} picture sizes: {shown}"))
        for row, ref, probe in probes:
            for message in [
                _lacking("picture", _has_picture(probe), pictures, len(probes)),
                _lacking("sound", _has_sound(probe), sounds, len(probes)),
            ]:
                if message:
                    problems.append(broken("streams", f"sample {row.id}: {ref} {message}", row.id))
            problems += [broken(kind, f"sample {row.id}: {ref} {says}", row.id) for kind, says in _looks(probe)]
    remote = Counter(name for _, name, ref in files.cells(files.media) if is_remote(ref))
    return problems + [
        broken("remote", f"{name}: {count} files are URLs, not checked") for name, count in remote.items()
    ]


def footage(files: Files) -> dict[str, Footage]:
    """Column -> a summary of its files, of those that can be read."""
    columns = {}
    for name in files.media:
        probes = [probe for _, _, probe in files.probes(name)]
        pictures = [probe.picture for probe in probes if probe.picture]
        sounds = [probe.sound for probe in probes if probe.sound]
        if probes:
            columns[name] = Footage(
                len(probes),
                Spread.of([probe.seconds for probe in probes]),
                len(pictures),
                len(sounds),
                _counted([f"{picture.width}x{picture.height}" for picture in pictures]),
                _counted([f"{picture.rate:.4g}" for picture in pictures if picture.rate]),
                _counted([f"{sound.rate}" for sound in sounds]),
            )
    return columns


def _counted(names: list[str]) -> dict[str, int]:
    return dict(Counter(names).most_common())


def _has_picture(probe: Probe) -> bool:
    return probe.picture is not None


def _has_sound(probe: Probe) -> bool:
    return probe.sound is not None


def _lacking(what: str, there: bool, have: int, files: int) -> str:
    return "" if there or 2 * have <= files else f"has no {what}; {have} of {files} files have"


def _looks(probe: Probe) -> list[tuple[str, str]]:
    """The problems of one file: the rule and its message."""
    picture, sound = probe.picture, probe.sound
    messages = []
    if probe.silent and sound:
        peak = f"its peak is {sound.peak:.0f} dB" if sound.peak > -120 else "all samples are 0"
        if probe.cancels:
            peak += f" in the mean of its channels, which cancel: one has {sound.loudest:.0f} dB"
        messages.append(("silent", f"is silent: {peak}; {SILENT:.0f} dB is the limit, all of it was checked"))
    elif probe.cancels and sound:
        messages.append(
            ("cancel", f"has channels that cancel: their mean has {sound.peak:.0f} dB, one has {sound.loudest:.0f} dB")
        )
    if sound and sound.holes:
        messages.append(("holes", f"has holes in the time stamps of its sound: {sound.holes}, {sound.silence:.2f} s"))
    if abs(probe.late) > START_GAP:
        alone = "picture" if probe.late > 0 else "sound"
        messages.append(("start", f"begins with {abs(probe.late):.2f} s of {alone} alone"))
    if probe.black and picture:
        messages.append(
            ("black", f"is black: no pixel of {picture.looked_at} frames is brighter than {picture.brightest:g}")
        )
    elif probe.frozen and picture:
        messages.append(
            ("frozen", f"does not move: {picture.looked_at} frames differ by {picture.change:g} of 255 at most")
        )
    if picture and sound and picture.seconds and sound.seconds and picture.rate:
        short, long = sorted((picture.seconds, sound.seconds))
        if long - short > APART[0] and short < APART[1] * long:
            messages.append(("apart", f"has {picture.seconds:.1f} s of picture and {sound.seconds:.1f} s of sound"))
    return messages
