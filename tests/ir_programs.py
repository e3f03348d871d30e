"""Programs for the comparison of the IR with CPython: written ones, and a generator of random ones.

Each program appends what it does, in order, to the list `out` that PRELUDE defines.
"""

from __future__ import annotations

from random import Random

PRELUDE = '''
out = []
fuel = [80]

def log(value, *more):
    out.append((value, *more))
    return value

def fails(kind):
    out.append(kind.__name__)
    raise kind

def tick():
    fuel[0] -= 1
    return fuel[0] > 0

class Manager:
    def __init__(self, name, swallows=False):
        self.name = log(name)
        self.swallows = swallows
    def __enter__(self):
        out.append(("enter", self.name))
        return self
    def __exit__(self, kind, error, trace):
        out.append(("exit", self.name, "NameError" if kind is UnboundLocalError else kind and kind.__name__))
        return self.swallows

class Box:
    __match_args__ = ("n", "m")
    def __init__(self, n=0, m=0):
        self.n = n
        self.m = m
        self.items = [n, m, 7]
    def bump(self, by=1):
        self.n += by
        return log(self.n)
    def __repr__(self):
        return 'Box'
    def __eq__(self, other):
        return isinstance(other, Box)
    @property
    def double(self):
        return log(self.n * 2)

box = Box(3, 4)
counter = 0

def count():
    global counter
    counter += 1
    return counter
'''

PROGRAMS = {
    "finally over return": """
def f():
    try:
        return log(1)
    finally:
        log(2)
log(f())
""",
    "return in finally wins": """
def f():
    try:
        fails(KeyError)
    finally:
        return log(2)
log(f())
""",
    "break in finally drops a return": """
def f():
    for i in range(3):
        try:
            return log(i)
        finally:
            break
    return 'after'
log(f())
""",
    "continue in finally drops an exception": """
def f():
    for i in range(3):
        try:
            fails(ValueError)
        finally:
            continue
    return 'after'
log(f())
""",
    "a dropped return does not change the pending one": """
def f():
    try:
        return 1
    finally:
        while True:
            try:
                return 2
            finally:
                break
log(f())
""",
    "nested finally": """
def f(n):
    try:
        try:
            try:
                if n == 0:
                    return log('return')
                if n == 1:
                    fails(KeyError)
                log('fall')
            finally:
                log('a')
        finally:
            log('b')
            if n == 2:
                return log('c')
    finally:
        log('d')
    return log('end')
for n in range(4):
    try:
        log(f(n))
    except KeyError:
        log('caught')
""",
    "all ways through one finally": """
def f(ns):
    for n in ns:
        try:
            if n == 0:
                continue
            if n == 1:
                break
            if n == 2:
                return log('returned')
            if n == 3:
                fails(ValueError)
            log(n)
        finally:
            log('finally', n)
    else:
        log('else')
    return log('after')
for ns in ([0, 4], [4, 1, 2], [2], [0, 2], []):
    log(f(ns))
try:
    f([0, 3])
except ValueError:
    log('caught')
""",
    "shared finally with branches and a loop": """
def f(n):
    try:
        if n > 1:
            return log('early')
        if n < 0:
            fails(KeyError)
    finally:
        for i in range(3):
            if i == n:
                log('hit')
            else:
                log(i)
    return log('late')
for n in (0, 1, 2, -1):
    try:
        log(f(n))
    except KeyError:
        log('caught')
""",
    "finally inside finally": """
def f(n):
    try:
        if n: return 1
    finally:
        try:
            if n == 2: fails(KeyError)
        except KeyError:
            log('inner')
        finally:
            log('innermost')
        log('outer')
    return 0
for n in range(3):
    log(f(n))
""",
    "finally that raises": """
def f():
    try:
        fails(KeyError)
    finally:
        fails(ValueError)
try:
    f()
except KeyError:
    log('wrong')
except ValueError:
    log('right')
""",
    "exception in else is not handled here": """
def f():
    try:
        log('body')
    except ValueError:
        log('handler')
    else:
        fails(ValueError)
    finally:
        log('finally')
try:
    f()
except ValueError:
    log('outside')
""",
    "exception in a handler": """
def f():
    try:
        fails(KeyError)
    except KeyError:
        fails(ValueError)
    except ValueError:
        log('no')
    finally:
        log('finally')
try:
    f()
except ValueError:
    log('outside')
""",
    "handlers in order, tuples, computed classes": """
def kinds():
    log('asked')
    return (ZeroDivisionError, IndexError)
def f(kind):
    try:
        fails(kind)
    except (KeyError, ValueError) as error:
        log('first', type(error).__name__)
    except kinds():
        log('second')
    except (*(OSError,), TypeError):
        log('third')
    except:
        log('rest')
for kind in (KeyError, ValueError, IndexError, OSError, TypeError, RuntimeError):
    f(kind)
""",
    "the name of a handler is unbound after it": """
def f():
    e = 1
    try:
        fails(KeyError)
    except KeyError as e:
        log('in')
    return e
try:
    f()
except NameError as error:
    log(type(error).__name__)
""",
    "a handler may delete its name": """
try:
    fails(KeyError)
except KeyError as e:
    del e
log('after')
""",
    "bare raise after an inner handler": """
def f():
    try:
        fails(KeyError)
    except KeyError:
        try:
            fails(ValueError)
        except ValueError:
            log('inner')
        raise
try:
    f()
except KeyError:
    log('outer')
""",
    "bare raise in a loop of handlers": """
def f():
    for kind in (KeyError, ValueError, IndexError):
        try:
            try:
                fails(kind)
            except (KeyError, IndexError):
                raise
            except ValueError:
                log('kept')
        except KeyError as e:
            log('again', type(e).__name__)
try:
    f()
except IndexError:
    log('left')
""",
    "bare raise without exception": """
def f():
    raise
try:
    f()
except RuntimeError:
    log('none active')
""",
    "raise from": """
try:
    try:
        fails(KeyError)
    except KeyError as e:
        raise ValueError('x') from e
except ValueError as e:
    log(type(e.__cause__).__name__)
""",
    "with and return": """
def f(n):
    with Manager('a') as a, Manager('b', swallows=True) as b:
        if n == 0:
            return log(a.name + b.name)
        if n == 1:
            fails(KeyError)
        log('fall')
    return log('after')
for n in range(3):
    log(f(n))
""",
    "with in a loop": """
def f():
    for i in range(4):
        with Manager(i, swallows=True):
            if i == 1:
                continue
            if i == 2:
                fails(KeyError)
            if i == 3:
                break
            log('body', i)
    else:
        log('else')
f()
""",
    "with over a name that the body binds anew": """
def f():
    m = Manager('first')
    with m as n:
        m = Manager('second')
        log(n.name)
    log(m.name)
    with m as m:
        m = None
f()
""",
    "with whose exit raises": """
class Raises(Manager):
    def __exit__(self, *details):
        fails(IndexError)
def f():
    try:
        with Raises('r'):
            fails(KeyError)
    except IndexError:
        log('replaced')
    with Manager('m', swallows=True):
        with Raises('s'):
            return log('value')
    return log('swallowed')
log(f())
""",
    "with whose enter raises": """
class Raises(Manager):
    def __enter__(self):
        fails(IndexError)
try:
    with Manager('out'), Raises('in'):
        log('never')
except IndexError:
    log('caught')
""",
    "finally around with around finally": """
def f(n):
    for i in range(2):
        try:
            with Manager(i):
                try:
                    if n == 0:
                        continue
                    if n == 1:
                        return log('r')
                    fails(KeyError)
                finally:
                    log('inner')
        except KeyError:
            log('k')
        finally:
            log('outer')
    return 'end'
for n in range(3):
    log(f(n))
""",
    "chained comparison": """
def t(n):
    return log(n)
log(t(1) < t(2) < t(3))
log(t(1) < t(0) < t(3))
log(t(1) < t(2) > t(0) != t(5))
log(1 < (x := t(2)) <= x)
""",
    "comparison operators": """
a, b = [1], [1]
log(a == b, a is b, a is not b, 1 in a, 2 not in a, a != b, not a)
""",
    "and, or, not with calls": """
def t(n):
    return log(n)
log(t(0) or t(1) and t(2))
log(t(1) and t(0) or t(3))
log(not t(0) and t(1))
log(t(0) or t(0) or t(4) or t(5))
log((t(1) or t(2)) and (t(0) or t(3)))
if t(1) and not (t(0) or t(2)):
    log('yes')
elif t(0) or t(3):
    log('elif')
""",
    "what is not evaluated cannot fail": """
x, d, zero = None, {}, 0
log(x is not None and x > 3)
log(x and x.n)
log(d and d['k'])
log(1 / zero if zero else 0)
log(d['k'] if 'k' in d else -1)
log(zero and 1 % zero)
log(zero == 0 or 1 / zero > 1)
""",
    "conditional expressions": """
def t(n):
    return log(n)
for n in (0, 1):
    log(t('y') if t(n) else t('z'))
    log('y' if n else 'z')
    log(('a' if n else 'b') if t(n) else t('c') if n else 'd')
""",
    "walrus": """
if (n := log(4)) > 3 and (m := n + 1):
    log(n, m)
log((k := 1) + (k := 2) + k)
def f():
    while (x := count()) < 4:
        log(x)
    return x
log(f())
log([y := 5, y ** 2, (y := 6), y])
""",
    "walrus in a comprehension": """
def f():
    found = [last := x for x in range(4) if (half := x // 2)]
    return found, last, half
log(f())
""",
    "what was read before a call": """
def f(o):
    return o.n + o.bump() + o.n
log(f(box))
log(box.n, box.bump(), box.n)
log([box.n, box.bump()], {box.n: box.bump()})
box.n += box.bump()
log(box.n)
log(f'{box.n} {box.bump()}')
log(box.n < box.bump() < box.n)
log((box.n, box.bump())[0])
log(counter + count() + counter)
""",
    "what was read before a closure changes it": """
def f():
    n = 1
    def g():
        nonlocal n
        n += 10
        return n
    log(n + g())
    log([n, g(), n])
    n += g()
    return n
log(f())
""",
    "arguments in the order of Python": """
def f(*args, **kw):
    return log(args, sorted(kw.items()))
def t(n):
    return log(n)
f(t(1), *[t(2)], k=t(3), **{'m': t(4)})
f(k=t(1), *[t(2)], m=t(3))
log(f(*(1, 2), 3, *[4]))
""",
    "parameters and defaults": """
def d(n):
    return log(n)
def f(a, b=d(2), /, c=d(3), *rest, e, g=d(5), **more):
    return (a, b, c, rest, e, g, more)
log(f(1, e=4))
log(f(1, 9, 8, 7, 6, e=4, z=0))
def g(x, seen=[]):
    seen.append(x)
    return list(seen)
log(g(1), g(2))
h = lambda x, y=d(6): (x, y)
log(h(1), h(1, 2))
for bad in (lambda: f(1), lambda: f(1, 2, a=3, e=4), lambda: f()):
    try:
        bad()
    except TypeError:
        log('refused')
""",
    "decorators": """
def twice(function):
    log('decorating')
    return lambda *args: (function(*args), function(*args))
def named(name):
    log(name)
    return lambda function: log(function) and function
@named('outer')
@twice
def f(x):
    return x + 1
log(f(1))
out[:] = [o for o in out if not callable(o[0])]
""",
    "closures see later values": """
def f():
    made = []
    for i in range(3):
        made.append(lambda: i)
    made.append(lambda i=i: i * 10)
    i = 7
    return [g() for g in made]
log(f())
""",
    "nested functions and cells": """
def outer():
    total = 0
    def add(n):
        nonlocal total
        def inner():
            return total + n
        total = inner()
        return total
    return add
a, b = outer(), outer()
log(a(1), a(2), b(5), a(3))
""",
    "recursion": """
def fact(n):
    return 1 if n < 2 else n * fact(n - 1)
def fib(n):
    if n < 2:
        return n
    return fib(n - 1) + fib(n - 2)
log(fact(6), fib(9))
""",
    "class bodies": """
x = 'module'
class A:
    x = x + '!'
    y = [x for _ in range(2)]
    z = [i for i in x]
    def m(self):
        return x, self.x
    class B:
        w = x
log(A.x, A.y, A.z, A().m(), A.B.w)
""",
    "methods, properties, class attributes": """
class A:
    n = 0
    def __init__(self, k):
        self.k = k
        A.n += 1
    @classmethod
    def make(cls):
        return cls(9)
    @staticmethod
    def twice(x):
        return 2 * x
    def __add__(self, other):
        return A(self.k + other.k)
    def __getitem__(self, key):
        return log(key)
class C(A):
    def m(self):
        return self.k
log((A(1) + A.make()).k, A.n, A.twice(4), C(3).m(), C.make().m())
A(0)[1:2]
A(0)[1]
A(0)[1,]
A(0)[1, 2:3, ::4]
A(0)[*[1, 2]]
log(box.double)
""",
    "match on values and sequences": """
def f(x):
    match x:
        case 0 | 1:
            return 'small'
        case -5:
            return 'minus five'
        case 'a' 'b':
            return 'text'
        case None | True:
            return 'single'
        case [] | ():
            return 'empty'
        case [y]:
            return 'one', y
        case [1, *rest]:
            return 'from one', rest
        case [*head, 9]:
            return 'to nine', head
        case (a, [b, *_], c) if c:
            return 'nested', a, b, c
        case [x, _, 3]:
            return 'three', x
        case [_, _, *_]:
            return 'long'
        case str() | bytes():
            return 'chars'
        case y:
            return 'other', y
for x in (0, 1, -5, 'ab', None, True, [], (), [7], [1, 2, 3], (5, 9), [4, [5, 6], 7], [4, [5], 0], [8, 8, 3], [2, 2],
          'xyz', b'q', 2.5, {1}, range(3)):
    log(f(x))
""",
    "match on mappings and classes": """
def f(x):
    match x:
        case {'kind': 'a', 'n': int(n) | float(n)}:
            return 'number', n
        case {'kind': 'a', **rest}:
            return 'rest', rest
        case {1: [p, q]}:
            return 'pair', p, q
        case Box(n=0):
            return 'zero'
        case Box(1, m) | Box(2, m=m):
            return 'box', m
        case Box(n, m) as whole if n > m:
            return 'ordered', whole.n
        case Manager(missing=1):
            return 'never'
        case str(s):
            return 'text', s
        case {}:
            return 'mapping'
    return 'none'
for x in ({'kind': 'a', 'n': 3}, {'kind': 'a', 'n': 'x', 'z': 1}, {1: (2, 3)}, {1: 2}, Box(), Box(1, 5), Box(2, 6),
          Box(9, 3), Box(3, 9), 's', {}, [], 5, Manager('m')):
    log(f(x))
""",
    "a failed pattern binds nothing": """
def f(x):
    y = 'old'
    match x:
        case [y, 1]:
            return 'first', y
        case [1, 2] | [2, 1]:
            return 'second', y
        case {'a': y, 'b': 1}:
            return 'third', y
    return y
for x in ([5, 1], [1, 2], [3, 3], {'a': 1, 'b': 2}, {'a': 1, 'b': 1}):
    log(f(x))
def g(x):
    match x:
        case [x, y] if y:
            return x
        case _:
            return 'kept', x
log(g([1, 0]), g([1, 2]), g(3))
""",
    "match reads its subject once": """
def f(o):
    match o.bump():
        case 1: return 'one'
        case 2: return 'two'
        case n: return n
log(f(Box(0)), f(Box(1)), f(Box(5)))
match box.double:
    case 0: log('zero')
    case n if n > 100: log('big')
    case n: log(n)
""",
    "unpacking": """
a, b = 1, 2
a, b = b, a
log(a, b)
first, *rest = 'abcd'
*init, last = [1, 2, 3]
p, (q, *r), s = 1, (2, 3, 4), 5
[u, v] = {'x': 1, 'y': 2}
log(first, rest, init, last, p, q, r, s, u, v)
for bad in ([1], [1, 2, 3]):
    try:
        m, n = bad
    except ValueError:
        log('wrong count')
try:
    x, *y, z = [1]
except ValueError:
    log('too few')
log([*range(3), *'ab'], (*[1], 2), {**{'a': 1}, 'b': 2, **{'a': 3}}, {*[1], *[1, 2]})
""",
    "targets are set in order": """
xs = [0, 0, 0]
i = 0
i, xs[i] = 1, 'one'
log(xs)
i = 0
xs[i], i = 'zero', 2
log(xs, i)
pair = (0, 'first')
i, xs[i] = pair
log(xs)
xs[i], i = ('third', 2)
log(xs, i)
(i, j), i = (5, 6), 7
log(i, j)
for i, xs[i] in enumerate('abc'):
    pass
log(xs)
""",
    "several targets": """
class Node:
    def __init__(self, value, next=None):
        self.value, self.next = value, next
class List:
    head = tail = None
chain = Node(1, Node(2, Node(3)))
lst = List()
lst.head = lst.tail = chain
lst.head = lst.tail = lst.head.next
log(lst.head.value, lst.tail.value)
cursor = chain
cursor = cursor.next = Node(9)
log(cursor.value, cursor.next.value, chain.next.value)
a = b = c = log(3)
log(a, b, c)
x, y = z = 'xy'
log(x, y, z)
""",
    "targets with calls": """
def at(n):
    return log(n)
xs = [0, 0, 0]
xs[at(0)] = at('value')
xs[at(1)] += at(5)
xs[at(0)], xs[at(2)] = at('p'), at('q')
box.items[at(1)] = xs
log(xs)
Box(1).n = at(3)
def pick():
    log('picked')
    return box
pick().n += 10
pick().items[0] -= 1
log(box.n, box.items[0])
""",
    "augmented assignment": """
n = 7
for word in ('+', '-', '*'):
    n += 2
    n -= 1
    n *= 2
n //= 3
n **= 2
n %= 1000
n <<= 2
n >>= 1
n &= 0xFF
n |= 0b1000
n ^= 0o17
log(n)
n /= 4
log(n)
xs = ys = [1]
xs += [2]
log(ys, xs is ys)
s = 'a'
s += 'b'
s *= 3
log(s)
d = {'k': [1]}
d['k'] += (2,)
d['k'][0] += 5
log(d)
""",
    "delete": """
d = {'a': 1, 'b': 2, 'c': [1, 2, 3]}
del d['a'], (d['b'], d['c'][0])
log(d)
box.extra = 1
del box.extra
log(hasattr(box, 'extra'))
x = 1
del x
try:
    x
except NameError:
    log('gone')
def f():
    y = 1
    del y
    return y
try:
    f()
except UnboundLocalError:
    log('unbound')
""",
    "an expression that only reads": """
d = {}
try:
    d['missing']
except KeyError:
    log('key')
try:
    box.nothing
except AttributeError:
    log('attribute')
try:
    undefined
except NameError:
    log('name')
box.double
log('text').upper
""",
    "for and else": """
def f(xs):
    for x in xs:
        if x == 2:
            break
        log(x)
    else:
        log('else')
    return x
log(f([1, 2, 3]), f([1, 3]))
try:
    f([])
except UnboundLocalError:
    log('unbound')
for x in []:
    pass
else:
    log('empty')
for i in range(3):
    for j in range(3):
        if j == 1:
            continue
        if i == 1:
            break
        log(i, j)
    else:
        continue
    log('broken')
""",
    "while and else": """
def f(n):
    while n > 0:
        n -= 1
        if n == 5:
            break
        if n % 2:
            continue
        log(n)
    else:
        return 'else'
    return 'break'
log(f(4), f(8), f(0))
n = 0
while True:
    n += 1
    if n > 3:
        break
else:
    log('never')
while 1:
    break
log(n)
while not (n := n - 1) == 0 and tick():
    log(n)
""",
    "comprehensions": """
log([x * y for x in range(3) if x for y in range(x) if y or x])
log({x: [y for y in range(x)] for x in range(3)})
log(sorted({x % 3 for x in range(9)}))
log(list(x + 1 for x in range(3)))
log([[i * j for j in range(3)] for i in range(3)])
log([(x, x) for x in [x for x in 'ab']])
x = 'kept'
log([x for x in (1, 2)], x)
log([f() for f in [lambda: n for n in range(3)]])
log([a + b for a, b in zip('ab', 'cd')], {k: v for k, *v in ['abc']})
log([y for y in [1, 2] if y > 1 and log(y)], [z if z else 'no' for z in (0, 1)])
def f(limit):
    return [v for v in range(9) if v < limit], {v: limit for v in range(2)}
log(f(3))
log([log(i) for i in log([1, 2])])
""",
    "numbers and strings": """
log(0x1F, 0b101, 0o17, 1_000, 1e3, 1_0.5, .5, 2j, -3, - -3, -2 ** 2, (-2) ** 2, ~5, +4)
log(7 // 2, -7 // 2, 7 % 3, -7 % 3, 2 ** -1, 1 << 4, 6 & 3, 6 | 1, 6 ^ 3, 7 / 2)
log('a\\tb\\x41\\u00e9\\N{EM DASH}\\101\\
c', r'\\n', b'\\xff\\n', 'x' 'y' "z", '''m
n''', 'it\\'s', '\\d')
""",
    "f-strings": """
n, w, s = 3.14159, 8, 'text'
log(f'{n:.2f}|{s!r}|{s:>{w}}|{n:{w}.{2}f}|{{}}|{s}{n}|{s!s:<{w}}|', f'{n=}', f'{s = }', f'{n=:.1f}', f'{s=!s}')
log('a' f'{s}' 'b', rf'\\d{s}', f'\\t{s}\\x41', f'', f'{s[0]}{box.m + 1}{"q" + s}')
""",
    "slices and keys": """
xs = list(range(10))
log(xs[1:3], xs[:2], xs[8:], xs[::3], xs[-2], xs[::-1][0])
xs[2:4] = ['a']
del xs[0:2]
i = 1
log(xs, xs[i], xs[i + 1], xs[i:][0], {'a': {'b': [1, 2]}}['a']['b'][i])
deep = {'a': {'b': {'c': {'d': {'e': {'f': 1}}}}}}
deep['a']['b']['c']['d']['e']['f'] += 1
log(deep['a']['b']['c']['d']['e']['f'])
""",
    "assert": """
def f(x):
    assert x, log('message')
    assert x > 0 and x < 9
    return x
for x in (1, 0, -1, 10):
    try:
        log(f(x))
    except AssertionError:
        log('refused')
""",
    "global names": """
total = 0
def add(n):
    global total
    total += n
    def inner():
        return total
    return inner()
log(add(2), add(3), total)
def shadow():
    total = 'local'
    return total
log(shadow(), total)
""",
    "generators": """
def g(n):
    try:
        for i in range(n):
            got = yield i
            log('got', got)
    finally:
        log('closed')
    return 'done'
def h():
    result = yield from g(2)
    log(result)
    yield from 'ab'
log(list(h()))
it = g(3)
log(next(it), it.send('x'))
it.close()
def squares():
    x = 0
    while True:
        x += 1
        yield x * x
for s in squares():
    if s > 20:
        break
log(s)
""",
    "coroutines": """
async def value(n):
    return log(n)
class Async:
    def __init__(self, n):
        self.n = n
    async def __aenter__(self):
        return log(self.n)
    async def __aexit__(self, kind, error, trace):
        log('aexit', kind and kind.__name__)
        return self.n == 'swallow'
    def __aiter__(self):
        self.left = 3
        return self
    async def __anext__(self):
        if not self.left:
            raise StopAsyncIteration
        self.left -= 1
        return self.left
    async def bump(self):
        self.n += 1
        return self.n
async def main():
    a = Async(1)
    log(a.n + await a.bump())
    log([a.n, await a.bump(), a.n])
    a.n += await a.bump()
    log(a.n)
    xs = {}
    xs[a.n] = await a.bump()
    log(sorted(xs), a.n < await a.bump() < 99)
    async with Async('swallow') as s, Async('in'):
        log(s)
        fails(KeyError)
    async for i in Async(0):
        if i == 1:
            continue
        log(i)
    else:
        log('else')
    log([i async for i in Async(0)], [await value(i) for i in range(2)])
    try:
        async with Async('r'):
            return await value('returned')
    finally:
        await value('cleanup')
def drive(coroutine):
    steps = coroutine.__await__()
    try:
        while True:
            next(steps)
    except StopIteration as stop:
        return stop.value
log(drive(main()))
""",
}


RUN = '''
for args in ((0, 1, 2), (3, 0, 1)):
    try:
        log('result', main(*args))
    except Exception as error:
        log('raised', 'NameError' if isinstance(error, NameError) else type(error).__name__)
'''


class Writer:
    """Writes one random program: functions of nested statements, bounded by `tick`, that log what they do."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.pick = random.choice
        self.handlers = 0  # around the statement that is written: only there may a bare raise stand

    def program(self) -> str:
        body = self.block(3, in_loop=False, indent="    ")
        return f"def main(a, b, c):\n{body}\n{RUN}"

    def number(self, depth: int) -> str:
        if depth <= 0:
            return self.pick(("a", "b", "c", "0", "1", "2", "box.n", "box.m", "xs[1]", "counter"))
        left, right = self.number(depth - 1), self.number(depth - 1)
        return self.pick((
            f"({left} + {right})", f"({left} - {right})", f"({left} * {right})", f"({left} // {right})",
            f"({left} % {right})", f"({left} and {right})", f"({left} or {right})", f"(not {left})",
            f"({left} if {right} else {self.number(depth - 1)})", f"({left} < {right} < {self.number(depth - 1)})",
            f"({left} == {right})", f"log({left})", "count()", f"box.bump({left})", f"(a := {left})",
            f"[{left}, {right}, a][{self.pick('012')}]", f"sum([i + {left} for i in range(2) if i or {right}])",
            f"(lambda z, y={left}: z + y)({right})", f"max({left}, {right})", left,
        ))  # fmt: skip

    def block(self, depth: int, *, in_loop: bool, indent: str) -> str:
        return "\n".join(self.statement(depth, in_loop, indent) for _ in range(self.random.randint(1, 3)))

    def statement(self, depth: int, in_loop: bool, indent: str) -> str:
        simple = depth <= 0 or self.random.random() < 0.3
        return (self.simple if simple else self.compound)(depth, in_loop, indent)

    def simple(self, depth: int, in_loop: bool, indent: str) -> str:
        value = self.number(2)
        choices = [
            f"log({value})", f"a = {value}", f"b, c = {value}, {self.number(1)}", f"c += {value}", f"box.n = {value}",
            f"box.m -= {value}", f"xs[1] = {value}", f"xs[a % 3], a = {value}, b", f"a = box.n = {value}",
            f"return {value}", f"fails({self.pick(('KeyError', 'ValueError', 'IndexError'))})",
            f"assert {value}, log('assert')", "raise" if self.handlers else "pass", f"log(f'{{{value}}} {{box.n!r:>3}}')",
        ]  # fmt: skip
        if in_loop:
            choices += ["break", "continue"] * 3
        return indent + self.pick(choices)

    def compound(self, depth: int, in_loop: bool, indent: str) -> str:
        inner = indent + "    "

        def part(in_loop: bool = in_loop) -> str:
            return self.block(depth - 1, in_loop=in_loop, indent=inner)

        kind = self.pick(("if", "while", "for", "try", "try", "finally", "finally", "with", "match", "def"))
        if kind == "if":
            text = f"{indent}if {self.number(2)}:\n{part()}\n"
            if self.random.random() < 0.5:
                text += f"{indent}elif {self.number(1)}:\n{part()}\n"
            return text + f"{indent}else:\n{part()}"
        if kind in ("while", "for"):
            head = f"while tick() and {self.number(1)}" if kind == "while" else f"for {self.pick('abc')} in range({self.pick('0123')})"
            text = f"{indent}{head}:\n{part(True)}"
            return text + f"\n{indent}else:\n{part()}" if self.random.random() < 0.5 else text
        if kind == "with":
            swallows = self.pick(("True", "False"))
            return f"{indent}with Manager({self.number(0)}, {swallows}) as m, Manager('n'):\n{part()}"
        if kind == "match":
            value = self.pick((self.number(1), f"[{self.number(1)}, {self.number(0)}]", "box"))
            return (
                f"{indent}match {value}:\n{indent}  case 0 | 1:\n{part()}\n{indent}  case [a, 1] | [1, a]:\n{part()}\n"
                f"{indent}  case Box(n=b, m=1):\n{part()}\n{indent}  case c if {self.number(1)}:\n{part()}"
            )
        if kind == "def":
            handlers, self.handlers = self.handlers, 0
            text = f"{indent}def inner(a=a, b=b, c=1):\n{part(False)}\n{indent}log(inner({self.number(1)}))"
            self.handlers = handlers
            return text
        text = f"{indent}try:\n{part()}"
        if kind == "try" or self.random.random() < 0.4:
            self.handlers += 1
            text += f"\n{indent}except (KeyError, ValueError){self.pick((' as e', ''))}:\n{part()}"
            if self.random.random() < 0.3:
                text += f"\n{indent}except Exception:\n{part()}"
            self.handlers -= 1
            if self.random.random() < 0.3:
                text += f"\n{indent}else:\n{part()}"
        if kind == "finally":
            text += f"\n{indent}finally:\n{part()}"
        return text


def random_program(random: Random) -> str:
    """A program after PRELUDE."""
    return "xs = [5, 6, 7]\n" + Writer(random).program()
