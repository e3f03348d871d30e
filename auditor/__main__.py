"""Front door: answers `--version` at once, then hands over to the command line.

`python -m auditor` puts the working directory first on the path, and an audited folder may hold a `click.py`: the entry
is dropped before anything else is imported. What fails unforeseen ends with status 2: 1 would promise a complete list.
"""

import sys

if __name__ == "__main__" and sys.path and sys.path[0] in ("", __import__("os").getcwd()) and not sys.flags.safe_path:
    del sys.path[0]


def main() -> None:
    """The console script."""
    if sys.argv[1:] == ["--version"]:
        from auditor import __version__

        sys.stdout.write(f"auditor {__version__}\n")
        return
    import gc

    gc.disable()  # decoding facts makes millions of small records and no cycles that matter
    try:
        from auditor.warm import answer

        status = answer(sys.argv[1:])
        if status is not None:
            sys.exit(status)
        from auditor.cli import cli

        cli.main(prog_name="auditor")
    except Exception:  # noqa: BLE001 - the last line of defence: whatever it is, it is told and sets the status
        import traceback

        traceback.print_exc()
        sys.stderr.write("auditor: internal error, nothing was decided; please report it with the lines above\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
