"""Writes a program as the files of a strategy: `strategy.py`, and what it imports."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from textwrap import indent

from leakage.operations import BY_NAME
from leakage.programs import Program, Step
from leakage.running import ENTRY

CLASS, BASE = "Strategy", "Base"
LIBRARY, SETTINGS = "indicators", "settings"
FLAG = "fast"
IMPORTS = "import numpy as np\nimport pandas as pd\n"
REDUCE = "from functools import reduce\n\n"
SINK = {
    "loc": 'dataframe.loc[dataframe["feature"] > 0, "enter_long"] = 1',
    "where": 'dataframe["enter_long"] = np.where(dataframe["feature"] > 0, 1, 0)',
    "conditions": (
        'conditions = [dataframe["feature"] > 0]\nconditions.append(dataframe["volume"] > 0)\n'
        'dataframe.loc[reduce(lambda one, other: one & other, conditions), "enter_long"] = 1'
    ),
    "tagged": 'dataframe.loc[dataframe["feature"] > 0, ["enter_long", "enter_tag"]] = (1, "feature")',
    "both sides": (
        'dataframe["enter_long"] = 0\ndataframe.loc[(dataframe["feature"] > 0) & (dataframe["volume"] > 0), "enter_long"] = 1\n'
        'dataframe.loc[dataframe["feature"] < 0, "enter_short"] = 1'
    ),
    "astype": 'dataframe["enter_long"] = (dataframe["feature"] > 0).astype(int)',
}
COLUMN_LINES = {
    "column": 'dataframe["{c}"] = {e}',
    "f-string": 'name{i} = "c"\ndataframe[f"{{name{i}}}{i}"] = {e}',
    "assign": "dataframe = dataframe.assign({c}={e})",
    "loc": 'dataframe.loc[:, "{c}"] = {e}',
    "alias": 'frame{i} = dataframe\nframe{i}["{c}"] = {e}',
    "copy": 'copy{i} = dataframe.copy()\ncopy{i}["{c}"] = {e}',
    "renamed": 'dataframe["t{i}"] = {e}\ndataframe = dataframe.rename(columns={{"t{i}": "{c}"}})',
    "joined": 'dataframe = dataframe.join({p}.rename("{c}"))',
    "filled in": 'dataframe["{c}"] = 0.0\ndataframe.loc[dataframe.index[0] :, "{c}"] = {e}',
}
"""How a column is written: `e` is the expression, `p` the same in parentheses, `c` the column and `i` the step."""
KEPT = {
    "attribute": ("self.v{i} = {e}", "self.v{i}"),
    "mapping": ('values{i} = {{}}\nvalues{i}["v{i}"] = {e}', 'values{i}["v{i}"]'),
    "kept in a mapping": ('self.values{i} = {{"v": {e}}}', 'self.values{i}["v"]'),
    "kept in an object": ("self.box{i} = Box()\nself.box{i}.value = {e}", "self.box{i}.value"),
}
"""How a result is kept outside of the frame: the lines, and how it is read."""
CONSTANTS: dict[str, tuple[Callable[[int], int], str]] = {
    "constant": (lambda v: v, "{}"),
    "sum": (lambda v: v - 1, "{} + 1"),
    "negated": (lambda v: -v, "-{}"),
    "quotient": (lambda v: 2 * v, "{} // 2"),
}
"""How a number is written as a constant of the module: its value, and how it is read."""
BOX = "class Box:\n    def __init__(self):\n        self.value = None"
_NAME = re.compile(r"(?<![\w.\"])([xyza])(?![\w\"])")
_SIMPLE = re.compile(r"[\w.]+|[\w.]+\[[^\[\]]*\]")


def written(program: Program) -> dict[str, str]:
    """The files by path, those that are imported first."""
    return Writer(program).files()


def configuration(program: Program) -> dict[str, object]:
    """What the strategy is given: the numbers that its code does not know, and a flag."""
    numbers = {f"n{i}": step.number for i, step in enumerate(program.steps) if step.number_form == "config"}
    return {**numbers, FLAG: True}


class Writer:
    """Collects the parts of the files while the steps are written one after the other."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.constants: list[str] = []
        self.helpers: list[str] = []
        self.library: list[str] = []
        self.settings: list[str] = []
        self.imported: list[str] = []
        self.attributes: list[str] = []
        self.parameters: dict[str, int] = {}
        self.methods: list[str] = []
        self.inherited: list[str] = []
        self.hooks: tuple[list[str], list[str]] = ([], [])
        self.values: dict[int, str] = {}
        self.mapped: set[int] = set()
        last = max((step.hook for step in program.steps), default=0)
        for i, step in enumerate(program.steps):
            self._step(i, step)
        self.hooks[last].append(f'dataframe["feature"] = {self._read(len(program.steps) - 1, last)}')
        self.hooks[1].append(SINK[program.sink])

    def files(self) -> dict[str, str]:
        found: dict[str, str] = {}
        if self.settings:
            found[f"{SETTINGS}.py"] = "\n".join(self.settings) + "\n"
        if self.inherited:
            self.library.append(f"class {BASE}:\n" + indent("\n\n".join(self.inherited), "    "))
            self.imported.append(f"{LIBRARY} {BASE}")
        if self.library:
            used = sorted(set(re.findall(r"\bK\d+\b", "".join(self.library))))
            needed = f"\nfrom {SETTINGS} import {', '.join(used)}\n" if used else ""
            found[f"{LIBRARY}.py"] = f"{IMPORTS}{needed}\n\n" + "\n\n\n".join(self.library) + "\n"
        found[ENTRY] = self._strategy()
        return found

    def _strategy(self) -> str:
        lines = "".join(
            f"from {module} import {name}\n" for module, name in (text.split(" ") for text in self.imported)
        )
        head = (REDUCE if self.program.sink == "conditions" else "") + IMPORTS + (f"\n{lines}" if lines else "")
        head += "\n" + "\n".join(self.constants) + "\n" if self.constants else ""
        helpers = "".join(f"\n\n{helper}\n" for helper in self.helpers)
        attributes = ['timeframe = "5m"', *self.attributes]
        if self.parameters:
            attributes.append("parameters = {" + ", ".join(f'"{k}": {v}' for k, v in self.parameters.items()) + "}")
        blocks = ["\n".join(attributes)]
        if configuration(self.program).keys() - {FLAG} or self.program.flagged:
            blocks.append("def __init__(self, config: dict) -> None:\n    self.config = config")
        blocks += self.methods
        names = ("populate_indicators", "populate_entry_trend")
        for name, body in zip(names, self.hooks, strict=True):
            header = f"def {name}(self, dataframe: pd.DataFrame, metadata: dict) -> pd.DataFrame:\n"
            blocks.append(header + indent("\n".join([*body, "return dataframe"]), "    "))
        return (
            f"{head}{helpers}\n\nclass {CLASS}{f'({BASE})' if self.inherited else ''}:\n"
            + indent("\n\n".join(blocks), "    ")
            + "\n"
        )

    # --- values ---
    def _read(self, i: int, hook: int) -> str:
        """The expression by which a later step reads a value; what one hook computes the other finds on the instance."""
        step = self.program.steps[i]
        if step.hook < hook and not self.values[i].startswith("dataframe[") and not self.values[i].startswith("self."):
            self.hooks[step.hook].append(f"self.v{i} = {self.values[i]}")
            self.values[i] = f"self.v{i}"
        return self.values[i]

    def _number(self, i: int, step: Step) -> str:
        if not step.number or not BY_NAME[step.operation].numbers:
            return ""
        value, form, name = step.number, step.number_form, f"n{i}"
        if step.place in ("default",) or form == "literal":
            return str(value)
        if form in CONSTANTS:
            stored, read = CONSTANTS[form]
            self.constants.append(f"K{i} = {stored(value)}")
            return read.format(f"K{i}")
        if form == "owner":
            self.constants.append(f"class Limits{i}:\n    BARS = {value}\n")
            return f"Limits{i}.BARS"
        if form == "looked up":
            self.constants.append(f'K{i} = {{"5m": {value}, "1h": 1}}')
            return f"K{i}[self.timeframe]"
        if form == "setting":
            self.settings.append(f"K{i} = {value}")
            if step.place not in ("library", "object"):
                self.imported.append(f"{SETTINGS} K{i}")
            return f"K{i}"
        if form == "attribute":
            self.attributes.append(f"{name} = {value}")
            return f"self.{name}"
        if form == "parameter":
            self.parameters[name] = value
            return f'self.parameters["{name}"]'
        if form == "property":
            self.methods.append(f"@property\ndef {name}(self):\n    return {value}")
            return f"self.{name}"
        if form == "config":
            return f'self.config["{name}"]'
        self.hooks[step.hook].append(f"{name} = {value}")
        return name

    # --- steps ---
    def _step(self, i: int, step: Step) -> None:
        if step.source:
            self.values[i] = f'dataframe["{step.operation}"]'
            return
        inputs = [self._read(j, step.hook) for j in step.inputs]
        number = self._number(i, step)
        self._hold(i, step, inputs, number)

    def _expression(self, i: int, step: Step, inputs: list[str], number: str) -> str:
        """The call or the code of an operation, on given texts."""
        operation = BY_NAME[step.operation]
        place = step.place
        if operation.body and place in ("here", "lambda"):
            place = "helper"
        if place == "piped" and operation.takes[0] not in "sb":
            place = "helper"
        names = "xyz"[: len(inputs)]
        if place == "here":
            return substituted(operation.code, dict(zip(names, inputs, strict=True)) | {"a": number})
        inside = (
            number
            if place in ("library", "object") and step.number_form == "setting" and number.startswith("K")
            else ""
        )
        takes_number = bool(number) and not inside
        parameters = [*names, *(["a"] if takes_number else [])]
        given = [*inputs, *([number] if takes_number else [])]
        code = substituted(operation.code, {"a": inside}) if inside else operation.code
        body = indent(code if operation.body else f"return {code}", "    ")
        name = f"op{i}"
        if place == "lambda":
            self._once(self.hooks[step.hook], f"{name} = lambda {', '.join(parameters)}: {code}")
            return f"{name}({', '.join(given)})"
        if place == "nested":
            self._function(f"def inner{i}({', '.join(parameters)}):\n{body}", f"inner{i}", library=True)
            call = f"    result = inner{i}({', '.join(parameters)})\n    return result"
            self._function(f"def {name}({', '.join(parameters)}):\n{call}", name, library=False)
            return f"{name}({', '.join(given)})"
        if place in ("helper", "piped", "library", "default"):
            stated = place == "default" and takes_number and number.lstrip("-").isdigit()
            signature = ", ".join(f"a={number}" if p == "a" and stated else p for p in parameters)
            self._function(f"def {name}({signature}):\n{body}", name, library=place == "library")
            if stated:
                given = given[:-1]
            if place == "piped":
                return f"{parenthesised(given[0])}.pipe({', '.join([name, *given[1:]])})"
            return f"{name}({', '.join(given)})"
        if place in ("method", "inherited", "static"):
            first, mark = ([], "@staticmethod\n") if place == "static" else (["self"], "")
            methods = self.inherited if place == "inherited" else self.methods
            self._once(methods, f"{mark}def _{name}({', '.join([*first, *parameters])}):\n{body}")
            last = [f"a={number}"] if takes_number else []
            return f"self._{name}({', '.join([*inputs, *last])})"
        if place == "closure":
            inner = f"def {name}({', '.join(names)}):\n{body}\n\nreturn {name}"
            outer = "a" if takes_number else ""
            self._function(f"def make{i}({outer}):\n" + indent(inner, "    "), f"make{i}", library=False)
            return f"make{i}({number if takes_number else ''})({', '.join(inputs)})"
        stored = substituted(code, {"a": "self.a"}) if takes_number else code
        stored = indent(stored if operation.body else f"return {stored}", "        ")
        init = "    def __init__(self, a):\n        self.a = a\n\n" if takes_number else ""
        compute = f"    def compute(self, {', '.join(names)}):\n{stored}"
        self._function(f"class Op{i}:\n{init}{compute}", f"Op{i}", library=True)
        return f"Op{i}({number if takes_number else ''}).compute({', '.join(inputs)})"

    def _function(self, text: str, name: str, *, library: bool) -> None:
        self._once(self.library if library else self.helpers, text)
        if library:
            self._once(self.imported, f"{LIBRARY} {name}")

    def _once(self, lines: list[str], text: str) -> None:
        if text not in lines:
            lines.append(text)

    def _hold(self, i: int, step: Step, inputs: list[str], number: str) -> None:
        """Write what keeps the result of a step, and note how it is read."""
        lines, column, name = self.hooks[step.hook], f"c{i}", f"v{i}"
        hold = step.hold
        if hold == "loop":
            other = 1 if step.number > 0 else -1
            inner = self._expression(i, step, inputs, f"k{i}")
            lines.append(f'for k{i} in ({other}, {number}):\n    dataframe[f"{column}_{{k{i}}}"] = {inner}')
            self.values[i] = f'dataframe["{column}_{step.number}"]'
            return
        if hold == "accumulated":
            other = 1 if step.number > 0 else -1
            inner = self._expression(i, step, inputs, f"k{i}")
            lines.append(f"{name} = {inputs[0]}\nfor k{i} in ({other}, {number}):\n    {name} = {name} + {inner}")
            self.values[i] = name
            return
        self.values[i] = f'dataframe["{column}"]'
        if hold in ("mutated", "returned"):
            self._written_by_helper(i, step, inputs, number)
            return
        expression = self._expression(i, step, inputs, number)
        if hold in COLUMN_LINES:
            lines.append(COLUMN_LINES[hold].format(i=i, c=column, e=expression, p=parenthesised(expression)))
            if hold == "copy":
                self.values[i] = f'copy{i}["{column}"]'
        elif hold == "assigned by lambda":
            inner = expression.replace("dataframe[", "d[")
            lines.append(f"dataframe = dataframe.assign({column}=lambda d: {inner})")
        elif hold in KEPT:
            if hold == "kept in an object":
                self._once(self.helpers, BOX)
            line, self.values[i] = (text.format(i=i, e=expression) for text in KEPT[hold])
            lines.append(line)
        elif hold == "inline":
            self.values[i] = parenthesised(expression)
        else:
            lines.append(self._bound(hold, name, expression, inputs))
            self.values[i] = name

    def _written_by_helper(self, i: int, step: Step, inputs: list[str], number: str) -> None:
        """A function that is given the frame and writes the column, or gives back a frame that has it."""
        names = [f"in{j}" for j in range(len(inputs))]
        column = f"c{i}"
        if step.hold == "mutated":
            inner, start = f'frame["{column}"] = ', ""
        else:
            inner, start = f"return frame.assign({column}=", "dataframe = "
        stored = replace(step, place="here")
        code = self._expression(i, stored, names, "amount" if number else "")
        parameters = ", ".join(["frame", *names, *(["amount"] if number else [])])
        end = ")" if step.hold == "returned" else ""
        self._function(f"def add{i}({parameters}):\n    {inner}{code}{end}", f"add{i}", library=False)
        given = ", ".join(["dataframe", *inputs, *([number] if number else [])])
        self.hooks[step.hook].append(f"{start}add{i}({given})")

    def _bound(self, hold: str, name: str, expression: str, inputs: list[str]) -> str:
        """Lines that bind a local name."""
        flag = f'self.config["{FLAG}"]'
        if hold == "tuple":
            return f"{name}, _ = {expression}, 0"
        if hold == "branch":
            return f"if {flag}:\n    {name} = {expression}\nelse:\n    {name} = {inputs[0]}"
        if hold == "choice":
            return f"{name} = {parenthesised(expression)} if {flag} else {inputs[0]}"
        if hold == "guarded":
            return f"try:\n    {name} = {expression}\nexcept ValueError:\n    {name} = None"
        return f"{name} = {expression}"


def substituted(code: str, names: Mapping[str, str]) -> str:
    """Code with its placeholders replaced by expressions."""
    return _NAME.sub(lambda match: parenthesised(names[match[1]]) if match[1] in names else match[0], code)


def parenthesised(text: str) -> str:
    """An expression that keeps its meaning wherever it is put."""
    if _SIMPLE.fullmatch(text) or _enclosed(text):
        return text
    return f"({text})"


def _enclosed(text: str) -> bool:
    """Whether the first parenthesis is closed by the last character."""
    depth = 0
    for i, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if not depth:
            return i == len(text) - 1 and i > 0
    return False
