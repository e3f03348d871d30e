"""Faults put into code that has none: files in, sites out, and the files with the fault at any of the sites.

An injector knows one fault and every place where it may legally be put: the result compiles, and a person who reads it
calls it a fault of that rule. What the rule then finds, of how many sites, is its recall. The faults of rules that do
not exist yet are here as well: their sites are counted and wait.
"""

from seeding import asynchronous, frames, general, handlers, numbers, payloads
from seeding.site import Edit, Seeded, Site, seed
from seeding.source import Injector, Source, sites_of

INJECTORS: tuple[Injector, ...] = tuple(
    injector for module in (asynchronous, frames, general, handlers, numbers, payloads) for injector in module.INJECTORS
)

__all__ = ["INJECTORS", "Edit", "Injector", "Seeded", "Site", "Source", "seed", "sites_of"]
