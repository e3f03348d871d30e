"""A lock that is held too long stops the bot, and one that is held too little lets two tasks spend the same balance. These
rules follow each lock by what it is, through helpers, managers, awaits and constructors, to where it is taken again,
never given back, or guards nothing."""
