"""The event loop runs one thing at a time: while a coroutine blocks, no order, cancel or stop is processed. These rules
follow calls through helpers, files and classes to what really blocks, and show the way."""
