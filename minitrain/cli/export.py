"""``minitrain export``: a trained model in a format of others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .arguments import Parser
from .failures import say, traceback_kept_in, warn
from .options.plugins import load_plugins

_EPILOG = """\
formats:
{formats}

The model has the newest weights of the run, averaged ones where a callback keeps some. Adapters are merged.
A tokenizer that the format cannot hold exactly is left out, and a line says why.

examples:
  minitrain export runs/NAME --to huggingface --out mine
  minitrain export runs/NAME --to gguf --out mine.gguf --dtype q8_0
  minitrain export model.gguf --to huggingface --out mine --dtype bfloat16"""


def run(argv: Sequence[str]) -> int:
    """Write the model that ``argv`` names; returns the exit code."""
    from ..interop.formats import FORMATS, export, is_published, load_published

    width = max(map(len, FORMATS))
    lines, names = [], dict.fromkeys(name for form in FORMATS.values() for name in form.options)
    for name, form in FORMATS.items():
        lines.append(f"  {name:{width}}  {form.what}")
        lines += [f"  {'':{width}}  --{key} {', '.join(map(str, values))}" for key, values in form.options.items()]
    parser = Parser(
        "export",
        description="Write a trained model in a format that other programs read.",
        epilog=_EPILOG.format(formats="\n".join(lines)),
    )
    parser.add_run()
    parser.add_argument("--to", metavar="FORMAT", required=True, help=" or ".join(FORMATS))
    parser.add_argument("--out", metavar="PATH", required=True, help="the file or folder to write")
    for name in names:
        parser.add_argument(f"--{name}", help="see below; the first one by default")
    parser.add_plugin()
    arguments = parser.parse_args(argv)

    load_plugins(arguments.plugin)
    tokenizer: Any = arguments.run
    if is_published(arguments.run):
        model = load_published(arguments.run)
    else:
        from ..runs import load_run

        with traceback_kept_in(arguments.run):
            loaded = load_run(arguments.run, device="cpu", trusted=arguments.trust, warn=warn)
        model, tokenizer = loaded.model, loaded.tokenizer
        if tokenizer is None and FORMATS.get(arguments.to, FORMATS["onnx"]).tokenizer:
            warn(f"the run in {arguments.run} was made in Python and kept no tokenizer, so none is written")
    options = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    export(model, arguments.to, arguments.out, tokenizer=tokenizer, warn=warn, **options)
    say(f"{arguments.out}: {FORMATS[arguments.to].what.partition(':')[0]}, {model.parameter_count():,} parameters")
    return 0
