"""How --help words an option: its type in plain words, and no default where there is none."""

import re
from argparse import Action

from jsonargparse import DefaultHelpFormatter  # pyright: ignore[reportPrivateImportUsage]

_WORDS = {
    "int": "whole number",
    "float": "number",
    "str": "text",
    "bool": "true or false",
    "<class 'Path'>": "path",
    "Path": "path",
    "list[Path]": "paths",
    "list[str]": "texts, as [a,b]",
    "list[int]": "whole numbers, as [1,2]",
}


class HelpFormatter(DefaultHelpFormatter):
    """jsonargparse's, which writes types as Python does."""

    def _get_help_string(self, action: Action) -> str:
        text = super()._get_help_string(action)
        if action.default in (None, "") or action.nargs == 0:
            text = re.sub(r"(, )?default: %\(default\)s", "", text)
        return text.removesuffix(" ()")

    def _get_type_str(self, action: Action) -> str | None:
        """None for what Python's words do not make clearer: choices stand before the text, and mappings in it."""
        written = super()._get_type_str(action)
        if written is None or re.search(r"Literal|Union|dict|Mapping|tuple|list\[list", written):
            return None
        return _WORDS.get(written := written.removesuffix(" | null"), written)
