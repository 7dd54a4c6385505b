"""The command line: parses the arguments and calls a verb; every parameter of a verb's function is an option."""

import inspect
import io
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import takewhile
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import ActionConfigFile, ArgumentParser, set_parsing_settings  # pyright: ignore[reportPrivateImportUsage]

from sparsefuse.cli.argv import on_top, spelled_out
from sparsefuse.cli.complaint import complaint
from sparsefuse.cli.help import HelpFormatter
from sparsefuse.cli.order import check_order
from sparsefuse.cli.streams import as_pairs, streams_of
from sparsefuse.cli.verbs import GRIDS, GROUPS, GUIDES, LIMITED, MANY, POSITIONAL, VERBS, WITH_CONFIG
from sparsefuse.config import Config, read_tree, with_recipe
from sparsefuse.files.lock import in_use
from sparsefuse.parallel.cores import share_cores
from sparsefuse.parallel.memory import keep_memory
from sparsefuse.shown import REASON, shown

_LINES = 40
"""of an error message"""


def main() -> None:
    """Runs `sparsefuse VERB ...`."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[_Stderr()])
    keep_memory()
    share_cores()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a character that the console lacks must not end the work
    argv: list[str] = []
    try:
        argv = spelled_out(sys.argv[1:], WITH_CONFIG)
        verb, arguments = _parsed([*argv])
        check_order(verb, arguments)
        if verb in LIMITED:
            _limit(arguments)
        with in_use(arguments["out"]) if verb in GRIDS else nullcontext():
            VERBS[verb](**arguments)
            sys.stdout.flush()
    except BrokenPipeError:  # whoever reads the output wants no more of it, as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains once more as it ends
        raise SystemExit(141) from None
    except FileNotFoundError as error:
        raise SystemExit(f"error: {_text(error)}{_recipe(argv)}") from error
    except (ValueError, FileExistsError, ImportError) as error:
        raise SystemExit(f"error: {_text(error)}") from error
    except OSError as error:
        raise SystemExit(
            f"error: {_text(error)}; files written so far are complete; run it again to continue"
        ) from error
    except KeyboardInterrupt:
        raise SystemExit("stopped; run it again to continue (train: with --resume)") from None


def _limit(arguments: dict[str, Any]) -> None:
    """Keeps a verb to the folders of --roots, which with --offline are its options too, and takes these out."""
    offline, roots = arguments.pop("offline"), arguments.pop("roots")
    if offline or roots:
        from sparsefuse.files.allowed import allow_only
        from sparsefuse.media.fetch import allowed_roots

        source = arguments.get("source")  # of fit, which makes manifests of it elsewhere
        given = [] if source is None else [source if source.is_dir() else source.parent]
        allow_only([*(allowed_roots(offline, roots) or ()), *given])


def _text(error: Exception) -> str:
    """The message, whose lines may hold names of any length and letter."""
    return "\n".join(shown(line, REASON) for line in str(error).splitlines()[:_LINES])


def _recipe(argv: list[str]) -> str:
    """The commands that make the data of a configuration, if the comments at its head name them."""
    path = Path(argv[argv.index("--config") + 1]) if "--config" in argv[:-1] else None
    if path is None or not path.is_file():
        return ""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    head = [shown(line.lstrip("# "), REASON) for line in takewhile(lambda line: line.startswith("#"), lines)]
    commands = [line for line in head if re.match(r"sparsefuse (prepare|generate|extract) ", line)]
    text = "\n  ".join([f"{path} says how to make its data:", *commands])
    return f"\n{text}" if commands else ""


def _parsed(argv: list[str]) -> tuple[str, dict[str, Any]]:
    """The verb and its arguments."""
    configured = bool(argv) and argv[0] in WITH_CONFIG
    taught = argv[:1] == ["distill"] and "--config" not in argv and not "".join(argv[1:2]).startswith("-")
    if taught or (configured and {"--config", "--recipe"} & {*argv[:-1]}):
        if "--config" not in argv[:-1]:
            argv[1:1] = ["--config", ""]
        place = argv.index("--config") + 1
        tree = read_tree(Path(argv[place])) if argv[place] else _student(argv[place + 1 :]) if taught else {}
        recipe = argv[-argv[::-1].index("--recipe")] if "--recipe" in argv[:-1] else tree.get("recipe", "auto")
        argv[place] = json.dumps(with_recipe(tree | {"recipe": recipe}), default=str)
    streams = streams_of(argv)
    argv, parser = as_pairs(argv, streams), _parser(argv, streams)
    argv = on_top(argv, lambda rest: vars(parser.parse_args(rest)[rest[0]]))
    namespace = parser.instantiate(parser.parse_args(argv))
    verb = namespace.verb
    # jsonargparse marks names that its namespace has methods of, as `values`
    arguments = {name.lstrip("\u200b"): value for name, value in vars(namespace[verb]).items()}
    arguments.pop("config", None)
    if verb in WITH_CONFIG:
        fields = {name: arguments.pop(name) for name in Config.__dataclass_fields__}
        arguments["config"] = Config(**fields)
    return verb, arguments


def _student(argv: list[str]) -> dict[str, Any]:
    """The fields of a student of the first teacher, if there is one."""
    from sparsefuse.distill.settings import student_fields

    return student_fields(argv[0]) if argv else {}


def _parser(argv: list[str], streams: Sequence[str] = ()) -> "_Parser":
    """The parser; only the verb in `argv` gets its options, which keeps every call quick, and `streams` as others."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    from sparsefuse import __version__

    parser = _Top(prog="sparsefuse")
    parser.add_argument("--version", action="version", version=f"sparsefuse {__version__}")
    verbs = parser.add_subcommands(dest="verb", required=True, metavar="COMMAND", title="commands")
    called = argv[0] if argv else ""
    for name, verb in VERBS.items():
        first_line = (verb.__doc__ or "").splitlines()[0]
        places = " ".join(["[CONFIG.yaml]"] * (name in WITH_CONFIG and name != "extract") + [
            argument.upper() + " ..." * (argument in MANY) for argument in POSITIONAL.get(name, ())
        ])  # fmt: skip
        sub = _Parser(description=first_line, usage=f"sparsefuse {name} {places} [options]".replace("  ", " "))
        if name == called:
            _add_arguments(sub, name, verb)
            sub.streams = streams
            sub.guide = GUIDES[name](argv[1]) if name in GUIDES and len(argv) > 1 else ""
        verbs.add_subcommand(name, sub)
    return parser


def _add_arguments(parser: "_Parser", name: str, verb: Callable[..., None]) -> None:
    """One argument per parameter of the verb's function; the help is its entry in the docstring."""
    if name in WITH_CONFIG:
        where = "YAML file of a data set; may also be given first, without --config"
        parser.add_argument("--config", action=ActionConfigFile, help=where)
        parser.add_class_arguments(Config, None)
        _list_methods(parser, _AUTO.get(name, ""))
    for argument, parameter in inspect.signature(verb, eval_str=True).parameters.items():
        match = re.search(rf"^ +{argument}: (.+(?:\n {{12}} *\S.*)*)$", verb.__doc__ or "", re.MULTILINE)
        text = " ".join(match[1].split()) if match else ""
        if argument in POSITIONAL.get(name, ()):
            many = {"nargs": "+", "type": Path} if argument in MANY else {"type": parameter.annotation}
            if parameter.default is None:
                many["nargs"] = "?"
            parser.add_argument(argument, help=text, **many)
        elif parameter.annotation is bool:
            parser.add_argument(f"--{argument}", action="store_true", help=text)
        elif argument != "config":
            required = parameter.default is parameter.empty
            more = {} if required else {"default": parameter.default}
            if parameter.annotation == list[Path]:
                more["metavar"] = "PATH,..."
            parser.add_argument(f"--{argument}", type=parameter.annotation, required=required, help=text, **more)
    if name in LIMITED:
        text = "fetch nothing from the network, and read only files in the manifest's folder and in --roots"
        parser.add_argument("--offline", action="store_true", help=text)
        text = "other folders that may be read with --offline"
        parser.add_argument("--roots", type=list[Path], default=[], metavar="PATH,...", help=text)


_AUTO = {"budget": "; auto = see --methods", "train": "; auto = the best of several, see --time-limit"}


def _list_methods(parser: "_Parser", more: str) -> None:
    from sparsefuse.methods import methods

    action = next(action for action in parser._actions if action.dest == "method")
    action.help = f"a fusion method ({', '.join(methods())}), or a .py file that defines `build`{more}"


class _Stderr(logging.StreamHandler):
    """Writes to the current sys.stderr: a live progress bar replaces it, and prints lines above itself. Warnings begin
    with that word."""

    def format(self, record: logging.LogRecord) -> str:
        return "warning: " * (record.levelno == logging.WARNING) + super().format(record)

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


class _Parser(ArgumentParser):
    """An argument parser whose errors are two lines: what is wrong, and where help is."""

    guide = ""
    """text below the options in --help"""
    streams: Sequence[str] = ()
    """of the run that is called, which are options too"""

    def __init__(self, *args: Any, **kwargs: Any):
        # jsonargparse makes parsers of its own for what is nested, which would be named after the running program
        super().__init__(*args, formatter_class=HelpFormatter, **{"prog": "sparsefuse", **kwargs})
        self.allow_abbrev = False  # of a prefix, nobody says what it was taken for

    def format_help(self, *args: Any, **kwargs: Any) -> str:
        text = super().format_help(*args, **kwargs).replace(" (required)\n", "\n")
        # options as they are typed; fields of the configuration are written as in a YAML
        text = re.sub(r"(?<![\w-])--\w+(?![\w.])", lambda flag: flag[0].replace("_", "-"), text)
        return text + (f"\n{self.guide}\n" if self.guide else "")

    def error(self, message: str, *args: Any, **kwargs: Any) -> NoReturn:
        options = {a.dest for p in self._every_parser() for a in p._actions if a.dest not in ("help", "verb")}
        options |= {name for p in self._every_parser() if isinstance(p, _Parser) for name in p.streams}
        missing = re.search(r"arguments are required: ([\w-]+)\.", message)
        help_of = " ".join([self.prog.replace(" [options]", ""), *([missing[1]] if missing else [])])
        sys.stderr.write(f"error: {complaint(message, options):.800}\nhelp:  {help_of} --help\n")
        raise SystemExit(2)

    def _every_parser(self) -> list[ArgumentParser]:
        subs = [p for action in self._actions if isinstance(action.choices, dict) for p in action.choices.values()]
        return [self, *(p for p in subs if isinstance(p, ArgumentParser))]


class _Top(_Parser):
    """The parser of `sparsefuse` itself, whose help groups the verbs by purpose, with a line each."""

    def format_help(self, *args: Any, **kwargs: Any) -> str:
        names = {verb: name for name, verb in VERBS.items()}
        lines = ["usage: sparsefuse COMMAND ...", "", "Accurate and cheap classifiers for clips with several streams."]
        for purpose, verbs in GROUPS.items():
            lines += ["", f"{purpose}:"]
            lines += [f"  {names[verb]:16}{(verb.__doc__ or '').splitlines()[0].partition('. ')[0]}" for verb in verbs]
        lines = [line.rstrip(".") if line.startswith("  ") else line for line in lines]
        options = ["sparsefuse COMMAND --help  the command's options", "sparsefuse --version       the version"]
        return "\n".join([*lines, "", *options, ""])
