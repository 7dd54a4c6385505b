"""A media file from a stranger comes in, its length comes out; nothing is decoded, and no other file is opened."""

from pathlib import Path

from sparsefuse.media.open import check_on_disk, import_av, unreadable
from sparsefuse.skipped import Unusable

# Playlists (hls, dash, concat, ...) are left out: they name other files, which FFmpeg would open and read as the clip.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,asf,mpeg,mpegvideo,mpegts,m4v,h264,hevc,wav,w64,mp3,flac,ogg,aac,"
    "aiff,caf,amr,gif,image2,jpeg_pipe,png_pipe,bmp_pipe,webp_pipe"
)


def probe(path: str | Path) -> float:
    """The length in seconds of a file's picture or sound, whichever is longer, by the times of its packets.

    Whatever the header says: a browser's recording does not say, and a stranger may say anything. Raises Unusable for a
    file that is missing, empty, in none of `FORMATS`, or without picture and sound.
    """
    av = import_av()
    path = Path(path)
    check_on_disk(path)
    first: dict[int, float] = {}
    last: dict[int, float] = {}
    try:
        options = {"format_whitelist": FORMATS}
        with av.open(f"file:{path}", metadata_errors="ignore", options=options) as container:
            streams = [stream for stream in container.streams if stream.type in ("video", "audio")]
            if not streams:
                raise Unusable(f"{path}: has neither picture nor sound")
            for packet in container.demux(streams):
                if packet.pts is not None and packet.time_base is not None:
                    start = float(packet.pts * packet.time_base)
                    end = start + float((packet.duration or 0) * packet.time_base)
                    index = packet.stream.index
                    first[index], last[index] = min(first.get(index, start), start), max(last.get(index, end), end)
    except av.error.FFmpegError as error:
        raise Unusable(unreadable(path, error.strerror or type(error).__name__)) from error
    return max((last[index] - first[index] for index in first), default=0.0)
