"""The order map: a linked project in, every path from an entry point to a call that places, changes or cancels an order out,
with what guards it on the way."""
