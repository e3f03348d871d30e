"""auditor: static audit of Python trading code. See `pipeline` for the program on one screen."""

import os as _os

__version__ = "0.1.0"

# In a checkout the rules stand beside this package, in `rules/`; in a wheel they are `auditor/rules/`. Both import as
# `auditor.rules`. Only a checkout takes this path: both files must stand beside us.
_parent = _os.path.dirname(_os.path.dirname(_os.path.abspath(__file__)))
if _os.path.isfile(_os.path.join(_parent, "rules", "__init__.py")) and _os.path.isfile(
    _os.path.join(_parent, "pyproject.toml")
):
    __path__.append(_parent)
