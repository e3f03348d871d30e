"""One executed demonstration for every fault of `fixtures/flawed`: the harm happens there, and not in the clean twin.

A demonstration is a function: a `Stage` of one twin in, the `Harm` that was looked for out. `@demonstrates` names the
faults that it shows, as the file and the rule of their marks. `test_demonstrations.py` runs each of them on both twins,
`test_fixtures.py` checks that no mark is without one. To add one: write the function in the module of its chapter.
"""

from demonstrations import leakage, locks, loop, money, orders, resources, risk, security
from demonstrations.table import Demonstration, demonstrations_of

MODULES = (leakage, locks, loop, money, orders, resources, risk, security)
DEMONSTRATIONS: tuple[Demonstration, ...] = tuple(
    item for module in MODULES for item in demonstrations_of(module.__name__)
)
