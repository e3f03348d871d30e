"""A handler decides what the bot believes after a failure. These rules look at what a handler catches, what it lets
through, and what the caller is told."""
