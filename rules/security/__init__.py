"""What comes from outside decides what the process does: bytes that run code while they are read, text that becomes SQL,
credentials that leave the machine. These rules follow a value from where it enters, through helpers, attributes and
files, to where it does harm, and say of each finding which way it came."""
