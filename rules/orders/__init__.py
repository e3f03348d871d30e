"""Orders: what is sent twice, cancelled in vain, taken for not placed, or sized by what has changed since. These defects cost
money by themselves: a doubled position, an order that nobody knows of, a stop that never fires."""
