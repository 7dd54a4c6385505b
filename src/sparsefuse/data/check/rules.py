"""The rules of `check`, each with its severity and nearest fix; docs/data-format.md explains them."""

import re
from typing import Literal, NamedTuple

Severity = Literal["error", "warning", "note"]


class Rule(NamedTuple):
    """One rule. An error loses data or invalidates results; a warning may be intended; a note is information."""

    severity: Severity
    says: str
    fix: str
    wrong: str
    """what is wrong where it is broken; see `found`"""

    def found(self, n: int) -> str:
        """`1 file cannot be read`, `2 files cannot be read`: of [is/are], or [s], what suits the number."""
        return re.sub(r"\[(?:([^/\]]*)/)?([^\]]*)\]", lambda m: (m[1] or "") if n == 1 else m[2], self.wrong).format(
            n=n
        )


RULES = {
    "manifest": Rule(
        "error",
        "The manifest is a UTF-8 table with an id, a label and a column of files, as many cells in every row as in "
        "the header, and known splits.",
        "correct the line that is named; nothing else can be checked until then",
        "The manifest cannot be read as a table with an id, a label and a column of files",
    ),
    "id": Rule(
        "error",
        "Every row has its own id.",
        "rename or remove the rows that are named",
        "{n} id[s] [is/are] empty or used by several rows",
    ),
    "unusable": Rule(
        "error",
        "The rows can be divided into splits, and the training rows show at least two classes, or numbers.",
        "follow the message: it names the option or the column",
        "The rows cannot be divided into splits and trained on",
    ),
    "missing": Rule(
        "error",
        "Every file is there; paths are relative to the manifest.",
        "copy the file, or empty its cell",
        "{n} file[s] [is/are] not there",
    ),
    "unreadable": Rule(
        "error",
        "Every file can be read: features are (N, F) numbers in a known format, media can be decoded to their end.",
        "write or copy the file again, or empty its cell",
        "{n} file[s] cannot be read",
    ),
    "nonfinite": Rule(
        "error",
        "Features are finite.",
        "replace NaN and infinite values where the features are made",
        "{n} file[s] hold[s/] values that are not finite",
    ),
    "width": Rule(
        "error",
        "All clips have as many features F in a modality as most training clips.",
        "make the features of all clips with one extractor and the same options",
        "{n} file[s] [has/have] another number of features than most training clips",
    ),
    "label": Rule(
        "error",
        "Every row has a label that training can use.",
        "correct the label, or take out the row",
        "{n} label[s] cannot be used in training",
    ),
    "dropped": Rule(
        "error",
        "Every row has a file that can be used.",
        "correct one of its files, or take out the row",
        "{n} row[s] [has/have] no file that can be used",
    ),
    "mismatch": Rule(
        "error",
        "The pictures of a row have one size; where pixels.height and pixels.width are set, one shape.",
        "crop or resize them before, so that the same pixel of each shows the same place",
        "{n} picture[s] [is/are] not of the size of [its/their] row's label or target",
    ),
    "segment": Rule(
        "error",
        "`start` and `end` are seconds within the file, and `end` comes after `start`.",
        "correct the cells; an empty `start` is the beginning, an empty `end` the end",
        "{n} row[s] [has/have] a `start` or `end` that does not fit the file",
    ),
    "leak-file": Rule(
        "error",
        "No file, or overlapping part of it, is in two splits.",
        "give the rows one `group` and set data.split.by=group, or take one of them out",
        "{n} file[s] [is/are] in two splits, whole or in part",
    ),
    "leak-content": Rule(
        "error",
        "No two files of different splits have the same contents.",
        "give the rows one `group` and set data.split.by=group, or take one of them out",
        "The same contents are in files of different splits, {n} time[s]",
    ),
    "leak-group": Rule(
        "warning",
        "No group, and no recording, is in two splits.",
        "set data.split.by and data.split.valid_by to group, which keeps them together",
        "{n} time[s], groups or recordings are in two splits",
    ),
    "one-group": Rule(
        "warning",
        "Two groups or more validate, where training has others.",
        "put more groups into valid, or set data.split.by=group and data.split.valid_by=stratified",
        "One group alone validates, where training has others",
    ),
    "group-apart": Rule(
        "warning",
        "No group differs from the others: the means and deviations of its streams are not twice as far from those of "
        "the median group as is usual, and 5 scaled MADs more.",
        "look at how it was recorded (side, unit, device); let it train, or validate together with others",
        "{n} group[s] differ[s/] from the others",
    ),
    "duplicate": Rule(
        "warning",
        "No two clips of a split have the same contents.",
        "remove all but one",
        "The same contents are in several clips of a split, {n} time[s]",
    ),
    "constant": Rule(
        "warning",
        "Every feature changes within the set.",
        "remove the columns where the features are made",
        "Features of {n} [modality/modalities] never change",
    ),
    "rising": Rule(
        "warning",
        "No feature rises through every clip, as a clock or a counter does.",
        "take the column out; of a sensor file, say which one is `time`",
        "{n} feature[s] rise[s/] through every clip, as a clock or a counter does",
    ),
    "extreme": Rule(
        "warning",
        "No value is 50 scaled MADs off the median of all clips and 10 times as far as clips usually reach.",
        "open the file and compare it with its source; correct the value, or leave its cell empty",
        "{n} value[s] [lies/lie] far beyond all others",
    ),
    "sentinel": Rule(
        "warning",
        "No number stands for a missing value: none such as -9999, or whole and repeated, is far from all others.",
        "leave the cell empty, or name the number in `missing` of the extractor `series`",
        "{n} number[s] seem[s/] to stand for a missing value",
    ),
    "saturated": Rule(
        "warning",
        "A feature does not stay at its lowest or highest value, as beyond the limits of a device.",
        "record again with a wider range, or leave the feature out (`data.modalities`, `columns` of a sensor file)",
        "{n} feature[s] stay[s/] at [its/their] lowest or highest value",
    ),
    "time": Rule(
        "warning",
        "No column of a .csv of features is called time, timestamp or date.",
        "make features with the extractor series, which leaves its `time` out; or take the column out",
        "{n} column[s] of .csv features [is/are] called as a time is",
    ),
    "clock": Rule(
        "warning",
        "The clock of a sensor's file does not step back, its time stamps do not come in bursts, and its options take "
        "effect.",
        "set `unsorted: error` to leave such files out; of bursts, leave out `time` and set `file_rate`; "
        "leave out what is not used",
        "The clock steps back, comes in bursts, or has options that are not used, in {n} sensor file[s]",
    ),
    "table": Rule(
        "warning",
        "Where features are to be extracted, every column of .csv files has an extractor.",
        "name the column as `source` of one in `features`, such as series; nothing to do if it holds features",
        "{n} column[s] of .csv files [has/have] no extractor",
    ),
    "length": Rule(
        "warning",
        "Lengths are alike: none is half or twice the median and 5 scaled MADs off it (on a log scale).",
        "look at the clips; cut them, set data.max_length, or take them out",
        "{n} clip[s] [is/are] far longer or shorter than the others",
    ),
    "rate": Rule(
        "warning",
        "Tokens per second, a clip's lengths in different modalities, frames per second and samples per second go "
        "together: none is 1.5 times the median or more and 5 scaled MADs off it (on a log scale).",
        "make the features again with one rate; convert the media",
        "{n} clip[s] [has/have] rates or lengths that do not match",
    ),
    "streams": Rule(
        "warning",
        "A media column's files have picture if most have, and sound if most have.",
        "replace the file",
        "{n} file[s] lack[s/] the picture or the sound that most have",
    ),
    "apart": Rule(
        "warning",
        "A file's picture and sound are equally long, to a third and a second.",
        "cut the longer one",
        "Picture and sound of {n} file[s] are not equally long",
    ),
    "start": Rule(
        "warning",
        "A file's picture and sound begin within 50 ms of each other.",
        "nothing is shifted: the late one begins with silence or black frames; or leave that out by a `start`",
        "Picture and sound of {n} file[s] begin more than 50 ms apart",
    ),
    "holes": Rule(
        "warning",
        "The time stamps of a sound have no holes of half a packet or more.",
        "nothing, if the sound was really cut: `extract` puts silence there; else write the file again from its source",
        "The sound of {n} file[s] has holes",
    ),
    "silent": Rule(
        "warning",
        "The mean of the channels is louder than -60 dB below full scale somewhere.",
        "play it: if it is silent, remove the row or its sound; if not, its channels cancel: set `channels: left` (or "
        "right, max) in `features`",
        "{n} file[s] [is/are] silent",
    ),
    "cancel": Rule(
        "warning",
        "The mean of the channels is at most 20 dB quieter than the loudest one.",
        "set `channels: left` (or right, max) in `features`",
        "The channels of {n} file[s] cancel each other",
    ),
    "black": Rule(
        "warning",
        "A picture has a pixel brighter than 16 of 255.",
        "open it: if it is black, remove its row, or copy the file again from its source",
        "{n} picture[s] or film[s] [is/are] black",
    ),
    "frozen": Rule(
        "warning",
        "Something moves in a film.",
        "play it: if its picture stands still, remove its row, or copy the file again from its source",
        "Nothing moves in {n} film[s]",
    ),
    "flat": Rule(
        "warning",
        "The pixels of a picture differ, and depth was measured somewhere.",
        "open it: if it shows nothing, empty its cell in the manifest",
        "{n} picture[s] [is/are] of one value, or depth without a measurement",
    ),
    "unit": Rule(
        "warning",
        "Half of all depth pictures lie from 1 cm to 200 m away on average.",
        "set pixels.streams, {depth: {unit: 0.001}}: the metres of one step",
        "The depth of {n} stream[s] seems to be in another unit",
    ),
    "metres": Rule(
        "warning",
        "Half of all clouds are from 0.5 to 200 m across.",
        "multiply points, boxes and poses by the metres of one step: 0.001 for millimetres",
        "The clouds seem to be in another unit than metres",
    ),
    "outside": Rule(
        "warning",
        "Every box holds points of its cloud, in it or within 5 cm.",
        "look whether boxes and cloud have one origin, one unit and one direction of yaw",
        "Boxes of {n} scene[s] hold no point",
    ),
    "camera": Rule(
        "warning",
        "Every camera sees points of its cloud in its picture.",
        "look whether its pose is camera to world, and its K that of the picture as it is",
        "Cameras of {n} scene[s] see nothing of the cloud",
    ),
    "split": Rule(
        "warning",
        "Train, valid and test have rows.",
        "set data.split, or fill the `split` column",
        "{n} split[s] [has/have] no usable row",
    ),
    "absent": Rule(
        "warning",
        "Every class is in every split.",
        "collect more clips, about 10 of each class; or divide by data.split.by=stratified",
        "Classes are missing from {n} split[s]",
    ),
    "uneven": Rule(
        "warning",
        "No class has ten times as many training clips as another.",
        "collect more clips of the small classes; judge by mAP or macro-F1, not top-1 alone",
        "One class has at least ten times as many training clips as another",
    ),
    "alike": Rule(
        "warning",
        "No two classes, or groups, differ only in case, spaces, the encoding of accents, or how a number is written.",
        "spell it in one way",
        "Names differ only in case, spaces, accents or how a number is written, in {n} way[s]",
    ),
    "several": Rule(
        "warning",
        "No label of one class is a list of several.",
        "set data.separator to what stands between them",
        "Labels of one class seem to be lists of several",
    ),
    "gaps": Rule(
        "note",
        "Every row has every modality.",
        "nothing to do: every method takes any subset",
        "{n} [modality is/modalities are] missing from some rows",
    ),
    "nowhere": Rule(
        "note",
        "Every row of a cloud is a point.",
        "nothing to do: rows that are NaN or infinite are left out, as cameras write them where nothing came back",
        "Clouds hold rows that are no points",
    ),
    "sizes": Rule(
        "note",
        "The pictures of a column have one size.",
        "nothing to do: `extract` scales them",
        "Pictures of {n} column[s] differ in size",
    ),
    "media": Rule(
        "note",
        "Columns hold features, or all hold media.",
        "make features of them: sparsefuse extract MANIFEST",
        "{n} column[s] hold[s/] media beside features",
    ),
    "remote": Rule(
        "note",
        "Files are on this machine.",
        "nothing to do: `extract` reads them; they are not checked",
        "{n} column[s] name[s/] files that are not on this machine",
    ),
    "skipped": Rule(
        "note",
        "`extract` left out nothing.",
        "read skipped.jsonl beside the manifest",
        "`extract` left out clips or modalities",
    ),
}


class Problem(NamedTuple):
    """One finding."""

    severity: Severity
    kind: str
    """the name of the rule that is broken"""
    message: str
    ids: tuple[str, ...] = ()
    """the samples it is about; empty when it is about all"""


def broken(kind: str, message: str, *ids: str) -> Problem:
    """The finding that a rule is broken."""
    return Problem(RULES[kind].severity, kind, message, ids)
