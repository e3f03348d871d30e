"""Money is exact or it is wrong: a float beside a Decimal raises on the first trade that reaches it, and a Decimal made
from a float carries noise that limits and comparisons see. These rules decide by type and flow, never by the word float;
a bot that uses float everywhere is told of zeros that are taken for None, and of nothing else here."""
