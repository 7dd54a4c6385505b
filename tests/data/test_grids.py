"""Which streams have several tokens a frame."""

from sparsefuse.data.grids import patches_of


def test_frames_and_flow_with_patches_have_one_token_for_each() -> None:
    assert patches_of(
        {
            "rgb": {"extractor": "frames", "size": [16, 24], "patch": 8},
            "flow": {"extractor": "flow", "size": [80, 80], "patch": 16},
            "whole": {"extractor": "frames", "size": [16, 24], "patch": None},
            "one": {"extractor": "frames", "size": [16, 16], "patch": 16},
            "sound": {"extractor": "spectrogram", "bins": 64},
        }
    ) == {"rgb": 6, "flow": 25}
