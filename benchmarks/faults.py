"""What third-party code can do wrong, for the tests and for `python -m benchmarks.attack_plugins`.

A fault is a piece of Python for a plugin: `installed` writes it as a real distribution. A criterion counts to step 20
and does something wrong at step 37, or at every step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

#: The step of a fault that happens once.
STEP = 37


def installed(site: Path, name: str, code: str, version: str = "1.0", entry_points: str = "") -> Path:
    """Write a distribution `esbench-NAME` of one module into a folder that is, or will be, on sys.path."""
    info = site / f"esbench_{name}-{version}.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: esbench-{name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(entry_points or f"[esbench]\n{name} = esbench_{name}\n")
    (site / f"esbench_{name}.py").write_text(code)
    return site


HEAD = """
import contextlib, ctypes, faulthandler, fcntl, gc, json, logging, math, os, resource, signal, sys, threading, time
from fractions import Fraction
import numpy as np
import torch
import esbench

def info(target):
    own = {key: getattr(target, key) for key in ("batch", "resolve", "probe") if hasattr(target, key)}
    return esbench.CriterionInfo(name=target.__name__.replace("_", "-"), summary="may go wrong", target=target, **own)

@esbench.hookimpl
def esbench_criteria():
    return [info(target) for name, target in sorted(globals().items()) if name.startswith("does_")]

def soft(limit, value):
    resource.setrlimit(limit, (value, resource.getrlimit(limit)[1]))

def fails(*given, **named):
    raise RuntimeError("called")

class Wrong(torch.overrides.TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        return 2 * function(*args, **kwargs or {})

class Own(str):
    def __str__(self):
        raise RuntimeError("no text")

    split = encode = __hash__ = __format__ = __str__

    def __hash__(self):
        return 1

class Proud(float):
    def __float__(self):
        raise RuntimeError("no float")

class Veiled(Exception):
    def __getattribute__(self, name):
        raise RuntimeError("no attributes")

    def __str__(self):
        raise RuntimeError("no text")

class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no text")

class Borrowed(Exception):
    def __str__(self):
        return Own("own text")

class Nameless(type):
    @property
    def __name__(cls):
        raise RuntimeError("no name")

class Anonymous(Exception, metaclass=Nameless):
    pass

class Slow(Exception):
    def __str__(self):
        time.sleep(600)

class Stuck(Exception):
    def __reduce__(self):
        raise RuntimeError("cannot be pickled")

class Crowd(dict):
    def items(self):
        n = 0
        while True:
            n += 1
            yield f"x{n}", 1.0

class Odd:
    __class__ = float

class Handler(logging.Handler):
    emit = handle = fails

def circle():
    error = ValueError("round")
    error.__cause__ = error.__context__ = error
    raise error

def below():
    return below()
"""

ONCE = """
def does_{name}(frame):
    if frame.step == {step}:
        {what}
    return float(abs(frame.step - 20))
"""

ALWAYS = """
def does_{name}(frame):
    step = frame.step
    {what}
    return float(abs(step - 20))
"""

#: What a criterion does once, and what is said of it.
FAULTS = {
    "raise": ("raise RuntimeError('too far')", "raised RuntimeError: too far at step STEP."),
    "leave": ("sys.exit('that is all')", "raised SystemExit: that is all at step STEP."),
    "say": ("return 'low'", "must return a float or None, got a str at step STEP."),
    "give": ("return torch.ones(3)", "must return a float or None, got a Tensor at step STEP."),
    "array": ("return np.ones(1)", "must return a float or None, got a ndarray at step STEP."),
    "uint8": ("frame.uint8[:] = 0", "raised ValueError: assignment destination is read-only at step STEP."),
    "float": ("frame.float[:] = 0", "raised ValueError: assignment destination is read-only at step STEP."),
    "huge": ("return 10**400", "must return a number that a float can hold, got a int at step STEP."),
    "share": (
        "return Fraction(10**400, 3)",
        "must return a number that a float can hold, got a Fraction at step STEP.",
    ),
    "proud": ("return Proud(1.0)", "raised RuntimeError: no float at step STEP."),
    "text": ("return esbench.Value(1.0, parts={'x': 'str'})", "must return parts as numbers by name, got a str as 'x'"),
    "list": (
        "return esbench.Value(1.0, parts=[1, 2])",
        "must return parts as numbers by name, got a list at step STEP.",
    ),
    "name": (
        "return esbench.Value(1.0, parts={'\\udc80': 1.0})",
        "must return parts as numbers by name, got a float as",
    ),
    "taken": (
        "return esbench.Value(1.0, parts={'value': 1.0})",
        "must return parts under other names than step, value, ms, got 'value' at step STEP.",
    ),
    "why": ("return esbench.Value(None, reason=object())", "must return text as reason, got a object at step STEP."),
    "interrupt": ("raise KeyboardInterrupt", "raised KeyboardInterrupt: at step STEP."),
    "generator": ("raise GeneratorExit", "raised GeneratorExit: at step STEP."),
    "stop": ("raise StopIteration('enough')", "raised StopIteration: enough at step STEP."),
    "base": ("raise BaseException('bare')", "raised BaseException: bare at step STEP."),
    "mute": ("raise Mute", "raised Mute: (its text cannot be shown) at step STEP."),
    "veiled": ("raise Veiled", "raised Veiled: (its text cannot be shown) at step STEP."),
    "data": ("raise esbench.errors.DataError('mine')", "mine"),
    "many": ("raise BaseExceptionGroup('many', [ValueError()])", "raised ExceptionGroup: many (1 sub-exception)"),
    "borrowed": ("raise Borrowed", "raised Borrowed: own text at step STEP."),
    "anonymous": ("raise Anonymous('who')", "raised Anonymous: who at step STEP."),
    "circle": ("circle()", "raised ValueError: round at step STEP."),
    "stuck": ("raise Stuck('alone')", "raised Stuck: alone at step STEP."),
    "long": ("raise ValueError('x' * 10**7)", "raised ValueError: xxx"),
    "deep": ("below()", "raised RecursionError: maximum recursion depth exceeded"),
    "much": ("bytearray(10**15)", "raised MemoryError:"),
    "assert": ("frame.step.bit_count() > 99 or fails()", "raised RuntimeError: called at step STEP."),
    "read": ("input()", "raised EOFError: EOF when reading a line at step STEP."),
    "debug": ("breakpoint()", "raised BdbQuit:"),
    "import": ("import a_package_that_nobody_has", "raised ModuleNotFoundError: No module named"),
    "warn": ("import warnings; warnings.simplefilter('error'); warnings.warn('w')", "raised UserWarning: w at step"),
    "odd": ("return Odd()", "raised TypeError: float() argument must be"),
    "nobody": ("return type(frame)", "must return a float or None, got a type at step STEP."),
    "span": ("return np.timedelta64(3, 's')", "at step STEP."),
    "later": ("return (x for x in [1.0])", "must return a float or None, got a generator at step STEP."),
    "meta": ("return torch.ones((), device='meta')", "must return a float or None, got a Tensor at step STEP."),
    "leaf": ("return torch.ones((), requires_grad=True)", "must return a float or None, got a Tensor at step STEP."),
    "future": ("return __import__('asyncio').Future", "must return a float or None, got a type at step STEP."),
    "inside": ("esbench.stopping.criterion.isinstance = fails", "raised RuntimeError: called at step STEP."),
    "crowd": ("return esbench.Value(1.0, parts=Crowd())", "must return at most 100 parts."),
    "parts": ("return esbench.Value(1.0, {str(i): 0.0 for i in range(10**5)})", "must return at most 100 parts."),
    "wide": ("return esbench.Value(1.0, {'x' * 10**7: 1.0})", "must return parts as numbers by name, got a float as"),
}

#: What a criterion does once to its process, which then ends, and what is said of it.
ENDS = {
    "alarm": ("signal.setitimer(signal.ITIMER_REAL, 0.01); time.sleep(9)", "ended its process with SIGALRM at step"),
    "close": ("os.closerange(0, 100)", "ended its process with exit code 1 at step STEP."),
    "hang": ("ctypes.CDLL(None).sleep(600)", "did not return within 3 s at step STEP."),
    "loop": ("while True: pass", "did not return within 3 s at step STEP."),
    "exit": ("os._exit(3)", "ended its process with exit code 3 at step STEP."),
    "crash": ("os.kill(os.getpid(), signal.SIGSEGV)", "ended its process with SIGSEGV at step STEP."),
    "abort": ("os.abort()", "ended its process with SIGABRT at step STEP."),
    "pause": ("os.kill(os.getpid(), signal.SIGSTOP)", "did not return within 3 s at step STEP."),
    "group": ("os.kill(0, signal.SIGTERM); time.sleep(9)", "ended its process with SIGTERM at step STEP."),
    "null": ("ctypes.string_at(0)", "ended its process with SIGSEGV at step STEP."),
    "stack": ("sys.setrecursionlimit(10**9); below()", "at step STEP."),  # a crash, or memory until the time limit
    "lock": ("lock = threading.Lock(); lock.acquire(); lock.acquire()", "did not return within 3 s at step STEP."),
    "slow": ("raise Slow", "did not return within 3 s at step STEP."),
    "open": (
        "with contextlib.suppress(OSError):\n            while True: os.open('/dev/null', 0)",
        "ended its process with exit code 1 at step STEP.",
    ),
    "replace": ("os.execv('/bin/true', ['true'])", "ended its process with exit code 0 at step STEP."),
    "hard": (
        "resource.setrlimit(resource.RLIMIT_NOFILE, (9, 9))",
        "ended its process with exit code 1 at step STEP.",
    ),
}

#: What a criterion returns once, and why there is no value.
MISSING = {
    "nan": ("return math.nan", "it gave nan"),
    "none": ("return None", ""),
    "reason": ("return esbench.Value(None, reason='too dark')", "too dark"),
    "half": ("return esbench.Value(None, reason='\\udc80')", "\\udc80"),
    "own": ("return esbench.Value(None, parts={Own('x'): 1.0}, reason=Own('too red'))", "too red"),
    "payload": ("return np.array([0x7FF8DEADBEEF0001]).view(float)[0]", "it gave nan"),
    "beyond": ("return np.longdouble('1e4000')", "it gave inf"),
    "speech": ("return esbench.Value(None, reason='x' * 10**7)", "x" * 2000),
}

#: What a criterion changes, in its process, in PyTorch or in what it is given, at every step.
CHANGES = {
    "grad": "torch.set_grad_enabled(False)",
    "dtype": "torch.set_default_dtype(torch.float64)",
    "device": "torch.set_default_device('meta')",
    "threads": "torch.set_num_threads(7)",
    "exact": "torch.use_deterministic_algorithms(True)",
    "infer": "torch.inference_mode().__enter__()",
    "seed": "torch.manual_seed(5); np.random.seed(5)",
    "alarm": "signal.setitimer(signal.ITIMER_REAL, 0.5)",
    "profile": "signal.setitimer(signal.ITIMER_PROF, 0.05)",
    "folder": "os.chdir('/')",
    "recursion": "sys.setrecursionlimit(60)",
    "division": "np.seterr(all='raise')",
    "warnings": "__import__('warnings').simplefilter('error')",
    "environment": "os.environ.clear()",
    "umask": "os.umask(0o777)",
    "handler": "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    "mask": "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})",
    "descriptors": "soft(resource.RLIMIT_NOFILE, 3)",
    "size": "soft(resource.RLIMIT_FSIZE, 10)",
    "memory": "soft(resource.RLIMIT_AS, 10_000)",
    "path": "sys.path.clear(); sys.meta_path.clear()",
    "modules": "sys.modules.pop('esbench.bench.finish', None)",
    "output": "sys.stdout = sys.stderr = None",
    "input": "sys.stdin.close()",
    "closed": "os.close(0); os.close(1); os.close(2)",
    "print": "sys.stdout.close()",
    "collector": "gc.disable(); gc.callbacks.append(len)",
    "trace": "sys.settrace(lambda *_: None); sys.setswitchinterval(100)",
    "dump": "step == 0 and faulthandler.dump_traceback_later(1, exit=True)",
    "function": "math.log10 = np.argmax = json.dumps = len",
    "layer": "torch.nn.functional.conv2d = torch.Tensor.clamp = None",
    "hook": "torch.nn.modules.module.register_module_forward_hook(lambda *given: given[-1] * 2)",
    "mode": "Wrong().__enter__()",
    "types": "torch.autocast('cpu').__enter__()",
    "anomaly": "torch.autograd.set_detect_anomaly(True)",
    "onednn": "torch.backends.mkldnn.set_flags(False)",
    "onednn_types": "torch.backends.mkldnn.set_flags(True, True, True)",
    "nnpack": "torch.backends.nnpack.set_flags(False)",
    "saved": "torch.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: 2 * x).__enter__()",
    "unsaved": "torch.autograd.graph.disable_saved_tensors_hooks('no').__enter__()",
    "module": "torch.nn.modules.module.register_module_parameter_registration_hook(fails)",
    "optimiser": "sys.modules['torch.optim.optimizer'].register_optimizer_step_pre_hook(fails)",
    "convolution": "torch.nn.Conv2d.forward = torch.nn.BatchNorm2d.forward = fails",
    "adam": "torch.optim.Adam.step = fails",
    "library": "__import__('PIL.Image').Image.Image.save = __import__('pyarrow.parquet').parquet.write_table = fails",
    "ours": "esbench.stopping.rule.Running.update = esbench.bench.finish.write = fails",
    "logging": "logging.basicConfig(level=0, handlers=[Handler()], force=True); logging.Logger.handle = fails",
    "paths": "__import__('pathlib').Path.write_bytes = __import__('pathlib').Path.open = fails",
    "printing": "np.set_printoptions(precision=1, legacy='1.13'); torch.set_printoptions(precision=1)",
    "buffer": "np.setbufsize(16); np.seterrcall(fails)",
    "digits": "sys.set_int_max_str_digits(640)",
    "decimals": "__import__('decimal').getcontext().prec = 1",
    "zone": "os.environ['TZ'] = 'Asia/Tokyo'; time.tzset()",
    "start": "__import__('multiprocessing').set_start_method('fork', force=True)",
    "frozen": "gc.freeze(); gc.set_threshold(1)",
    "thread": "threading.Thread(target=time.sleep, args=(600,)).start()",
    "fork": "os.fork() if step < 3 else None",
    "orphan": "(step < 3 and os.fork() == 0) and os.execv('/bin/sleep', ['sleep', '600'])",
    "babble": "print('x' * 9999); os.write(1, b'{}'); os.write(2, b'x')",
    "builtins": "__import__('builtins').map = __import__('builtins').setattr = fails",
    "hidden": "esbench.bench.finish.dict = esbench.engine.session.len = fails",
    "pool": "globals().setdefault('held', []).append(open('/dev/null'))",
    "suspended": "iterator = (torch.set_grad_enabled(False) for _ in range(2)); next(iterator)",
    "finalizer": "globals().update(cell=type('Cell', (), {'__del__': lambda self: fails()})())",
    "step": "frame.step = 7; frame.loss = None; frame.probes = None; frame.average = None",
    "delete": "del frame.step, frame.loss, frame.probes, frame.average, frame.problem, frame._pictures",
    "problem": "object.__setattr__(frame.problem, 'sigma', 1.0); object.__setattr__(frame.problem, 'noisy', None)",
    "views": "frame._pictures.__dict__.clear(); frame.average._pictures.__dict__.clear()",
    "exits": "__import__('atexit').register(fails)",
    "audit": "step == 0 and sys.addaudithook(lambda event, _: event == 'open' and fails())",
    "interpreter": "sys.excepthook = sys.displayhook = sys.unraisablehook = fails",
    "arguments": "sys.argv.clear(); sys.executable = sys.prefix = ''",
    "wakeup": "signal.set_wakeup_fd(-1); signal.siginterrupt(signal.SIGTERM, True)",
    "zero": "return -0.0 * step + abs(step - 20)",
    "kinds": "return (np.float16, np.int8, np.uint64, np.longdouble, int, Fraction)[step % 6](abs(step - 20))",
}

#: What a criterion writes to, at every step.
WRITES = ("frame.tensor", "frame.average.tensor", "frame.problem.noisy.tensor")


#: What a criterion with memory saves, and what is said of it; nothing if that is allowed.
STATES = {
    "code": ("{'x': len}", "must return tensors, arrays and plain data from state_dict(), got a builtin_function"),
    "circle": ("circular()", "must return tensors, arrays and plain data from state_dict(), got something nested"),
    "sparse": ("{'x': torch.eye(3).to_sparse()}", "must return tensors, arrays and plain data from state_dict(), got"),
    "fails": ("fails()", "raised RuntimeError: called"),
    "exits": ("sys.exit(1)", "raised SystemExit: 1"),
    "none": ("None", ""),
    "own": ("{Own('x'): Proud(1.0)}", ""),
    "graph": ("{'x': torch.ones(3, requires_grad=True) * 2}", ""),
    "grows": ("{'n': self.n, 'x': self.kept.append(bytes(10**5)) or self.kept}", ""),
}

STATE = """
class does_state_{name}:
    def __init__(self):
        self.n, self.kept = -1, []

    def update(self, frame):
        self.n += 1
        return float(abs(frame.step - 20))

    def state_dict(self):
        return {state}

    def load_state_dict(self, state):
        pass

def circular():
    state = []
    state.append(state)
    return state
"""

#: Other faulty criteria, and what is said of them.
OTHERS = {
    "init": ("class does_init:\n    def __init__(self): sys.exit('no')", "raised SystemExit: no"),
    "dies": ("class does_dies:\n    def __init__(self): os._exit(5)", "ended its process with exit code 5 at step 0."),
    "bare": ("class does_bare: pass", "must have the method update, because it is a class."),
    "endless": (
        "def does_endless(frame): pass\ndoes_endless.batch = lambda frames: iter(float, 1)",
        "must return 1 results for 1 frames, got more from its batch function.",
    ),
    "resolve": (
        "def does_resolve(frame, *, a: float = 1.0): pass\ndoes_resolve.resolve = fails",
        "raised RuntimeError: called",
    ),
    "resolved": (
        "class Bad(dict): items = fails\n"
        "def does_resolved(frame, *, a: float = 1.0): pass\n"
        "does_resolved.resolve = lambda problem, **values: Bad(a=1.0)",
        "raised RuntimeError: called",
    ),
    "probe": (
        "def does_probe(frame): return 1.0\ndoes_probe.probe = fails",
        "raised RuntimeError: called",
    ),
    "probed": (
        "def does_probed(frame): return 1.0\ndoes_probed.probe = lambda step: [1.0]",
        "raised TypeError: the probe must return numbers by name, got a list.",
    ),
    "reading": (
        "def does_reading(frame): return 1.0\ndoes_reading.probe = lambda step: {'value': 1.0}",
        "raised TypeError: the probe must return",
    ),
    "readings": (
        "def does_readings(frame): return 1.0\n"
        "does_readings.probe = lambda step: {f'{step.t} {i}': 1 for i in range(9)}",
        "must return at most 100 parts",
    ),
    "probing": (
        "def does_probing(frame): return float(abs(frame.step - 20))\n"
        "def wipe(step):\n"
        "    step.y.zero_(), step.z.zero_(), step.observation.y.fill(0)\n"
        "    return {}\n"
        "does_probing.probe = wipe",
        "",
    ),
}

GOOD = """
import esbench

@esbench.hookimpl
def esbench_criteria():
    return [esbench.CriterionInfo(name="steps", summary="counts", target=steps)]

def steps(frame):
    return float(frame.step)
"""

#: What a plugin does at import, and how `esbench plugins` lists it.
IMPORTS = {
    "interrupt": ("raise KeyboardInterrupt", "broken", "could not be loaded: KeyboardInterrupt:"),
    "generator exit": ("raise GeneratorExit", "broken", "could not be loaded: GeneratorExit:"),
    "exit": ("import sys; sys.exit('no')", "broken", "could not be loaded: SystemExit: no"),
    "bare": ("raise BaseException", "broken", "could not be loaded: BaseException:"),
    "memory": ("raise MemoryError", "broken", "could not be loaded: MemoryError:"),
    "syntax": ("def", "broken", "could not be loaded: SyntaxError: invalid syntax"),
    "nothing": ("", "broken", "esbench_local has no function marked with @esbench.hookimpl"),
    "missing package": ("import a_package_that_nobody_has", "broken", "could not be loaded: ModuleNotFoundError:"),
    "text that raises": (
        "class Bad(Exception):\n    def __str__(self): raise RuntimeError('no text')\nraise Bad",
        "broken",
        "could not be loaded: Bad: (its text cannot be shown)",
    ),
    "text that exits": (
        "class Bad(Exception):\n    def __str__(self): raise SystemExit(3)\nraise Bad",
        "broken",
        "could not be loaded: Bad: (its text cannot be shown)",
    ),
    "text of its own": (
        "class Own(str):\n    def __format__(self, how): raise RuntimeError('no')\n"
        "class Bad(Exception):\n    def __str__(self): return Own('mine')\nraise Bad",
        "broken",
        "could not be loaded: Bad: mine",
    ),
    "no name": (
        "class Meta(type):\n    @property\n    def __name__(cls): raise RuntimeError('no')\n"
        "class Bad(Exception, metaclass=Meta): pass\nraise Bad",
        "broken",
        "could not be loaded: Bad:",
    ),
    "circle": ("e = ValueError('round')\ne.__cause__ = e\nraise e", "broken", "could not be loaded: ValueError: round"),
    "group": (
        "raise BaseExceptionGroup('many', [ValueError()])",
        "broken",
        "could not be loaded: ExceptionGroup: many (1 sub-exception)",
    ),
    "half a character": ("raise ValueError('a\\udc80b')", "broken", "could not be loaded: ValueError: a\\udc80b"),
    "escapes": ("raise ValueError('\\x1b[2J\\x07')", "broken", "could not be loaded: ValueError: \\x1b[2J\\x07"),
    "half a character in a record": (
        GOOD.replace("counts", "a\\udc80"),
        "broken",
        "esbench_criteria returns 'steps' with invalid Unicode in its summary",
    ),
    "endless recursion": (
        "def f(): f()\nf()",
        "broken",
        "could not be loaded: RecursionError: maximum recursion depth",
    ),
    "print": ("print('lost')\n" + GOOD, "ok", ""),
    "descriptor": ("import os\nos.write(1, b'lost')\n" + GOOD, "ok", ""),
    "process": ("import os\nos.system('echo lost')\n" + GOOD, "ok", ""),
    "at exit": ("import atexit, os\natexit.register(print, 'lost')\n" + GOOD, "ok", ""),
    "process at exit": ("import atexit, os\natexit.register(os.system, 'echo lost')\n" + GOOD, "ok", ""),
    "no output": ("import os, sys\nos.close(1)\n" + GOOD, "ok", ""),
    "folder": ("import os\nos.chdir('/')\n" + GOOD, "ok", ""),
    "process state": (
        "import os, signal, sys, warnings\nos.umask(0o777); sys.setrecursionlimit(60)\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN); signal.setitimer(signal.ITIMER_REAL, 0.2)\n"
        "warnings.simplefilter('error')\n" + GOOD,
        "ok",
        "",
    ),
    "division": ("import numpy\nnumpy.seterr(all='raise')\n" + GOOD, "ok", ""),
}

#: What a plugin does at import that ends the process: the first command is lost.
DEADLY = {
    "exit 3": ("import os; os._exit(3)", "broken", "ended with exit code 3 while it was loaded."),
    "exit 0": ("import os; os._exit(0)", "broken", "ended with exit code 0 while it was loaded."),
    "abort": ("import os; os.abort()", "broken", "ended with SIGABRT while it was loaded."),
    "kill": ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "broken", "ended with SIGKILL"),
    "crash": ("import ctypes; ctypes.string_at(0)", "broken", "ended with SIGSEGV while it was loaded."),
    "replaced": ("import os; os.execv('/bin/true', ['true'])", "broken", "ended with exit code 0 while it was"),
    "deadly hook": (
        GOOD.replace("    return [", "    import os\n    os.abort()\n    return ["),
        "broken",
        "ended with SIGABRT while it was loaded.",
    ),
}

#: Datasets and degradations that break their contracts.
BREACHES = """
import itertools, sys
import numpy as np
import esbench

PICTURE = np.random.default_rng(0).integers(0, 256, (24, 28, 3), np.uint8)

class Set:
    def __init__(self, ids, load):
        self.ids, self.load = lambda: ids() if callable(ids) else ids, load

def fail(error):
    raise error

SETS = {
    "grey": Set(["a"], lambda id: PICTURE[..., 0]),
    "planes": Set(["a"], lambda id: PICTURE.transpose(2, 0, 1)),
    "alpha": Set(["a"], lambda id: np.zeros((24, 28, 4), np.uint8)),
    "void": Set(["a"], lambda id: PICTURE[:0]),
    "unit": Set(["a"], lambda id: PICTURE / 255),
    "list": Set(["a"], lambda id: PICTURE.tolist()),
    "huge": Set(["a"], lambda id: np.broadcast_to(np.uint8(1), (1 << 20, 1 << 20, 3))),
    "lost": Set(["a"], lambda id: fail(RuntimeError("no disk"))),
    "exit": Set(["a"], lambda id: sys.exit("enough")),
    "twice": Set(["a", "a"], lambda id: PICTURE),
    "nobody": Set([], lambda id: PICTURE),
    "text": Set(lambda: fail(KeyError("a")), lambda id: PICTURE),
    "numbers": Set([1, 2], lambda id: PICTURE),
    "escape": Set(["\\x1b[2J"], lambda id: PICTURE),
    "endless": Set(lambda: map(str, itertools.count()), lambda id: PICTURE),
    "fine": Set(lambda: (name for name in ("../a", "x" * 300)), lambda id: PICTURE[::-1]),
}

def change(clean):
    clean *= 0
    return clean + np.float32(0.5)

NOISES = {
    "part": lambda clean: clean[..., :1],
    "none": lambda clean: None,
    "nan": lambda clean: clean * np.nan,
    "wide": lambda clean: clean.astype(float) * 1e300,
    "complex": lambda clean: clean + 1j,
    "words": lambda clean: np.full(clean.shape, "0.5"),
    "raises": lambda clean: fail(ValueError("too dark")),
    "exits": lambda clean: sys.exit(3),
    "changes": change,
}

@esbench.hookimpl
def esbench_datasets():
    return [esbench.DatasetInfo(name=name, summary="s", target=lambda it=it: it, images=1) for name, it in SETS.items()]

@esbench.hookimpl
def esbench_degradations():
    return [
        esbench.DegradationInfo(name=f"{name}-noise", summary="s", target=lambda x, rng, it=it: it(x))
        for name, it in NOISES.items()
    ]
"""

PICTURES, NAMES = (
    "a picture as uint8 of shape (H, W, 1) or (H, W, 3), got ",
    "from ids() the names of its pictures, each once",
)

#: What a plugin's dataset or degradation does -> what is said of it.
CONTRACTS = {
    "grey": f"must return from load('a') {PICTURES}uint8 (24, 28).",
    "planes": f"{PICTURES}uint8 (3, 24, 28).",
    "alpha": f"{PICTURES}uint8 (24, 28, 4).",
    "void": f"{PICTURES}uint8 (0, 28, 3).",
    "unit": f"{PICTURES}float64 (24, 28, 3).",
    "list": "an array, got a list.",
    "huge": "at most 128,000,000 pixels",
    "lost": "raised RuntimeError: no disk",
    "exit": "raised SystemExit: enough",
    "twice": NAMES,
    "nobody": NAMES,
    "text": "raised KeyError: 'a'",
    "numbers": NAMES,
    "escape": NAMES,
    "endless": NAMES,
    "part-noise": "must return a finite array of shape (24, 28, 3), got float32 (24, 28, 1).",
    "none-noise": "got NoneType.",
    "nan-noise": "got float32 (24, 28, 3) with values that are not finite.",
    "wide-noise": "got float64 (24, 28, 3) with values that are not finite.",
    "complex-noise": "got complex64 (24, 28, 3).",
    "words-noise": "got <U3 (24, 28, 3).",
    "raises-noise": "raised ValueError: too dark",
    "exits-noise": "raised SystemExit: 3",
}

#: What a codec does, and what is said of the criterion that is made of it.
CODECS = {
    "word": ("return 'x'", "the codec must return bytes or their number, got a str at step 0."),
    "none": ("return None", "the codec must return bytes or their number, got a NoneType at step 0."),
    "fails": ("fails()", "raised RuntimeError: called at step 0."),
    "writes": ("image[:] = 0", "raised ValueError: assignment destination is read-only at step 0."),
    "huge": ("return 10**400", "raised OverflowError:"),
    "leaves": ("sys.exit(0)", "raised SystemExit: 0 at step 0."),
    "dies": ("os._exit(0)", "ended its process with exit code 0 at step 0."),
}

CODEC = """
def codec_{name}(image):
    {what}
"""

CODEC_HOOK = """
@esbench.hookimpl
def esbench_codecs():
    names = [name for name in globals() if name.startswith("codec_")]
    return [esbench.CodecInfo(name=n.replace("_", "-"), summary="may go wrong", target=globals()[n]) for n in names]
"""

#: What a dataset, a degradation and a listener change in the process of the command.
HARM = {
    name: CHANGES[name]
    for name in (
        *("grad", "dtype", "device", "exact", "infer", "seed", "profile", "folder", "recursion", "division"),
        *(
            "warnings",
            "environment",
            "umask",
            "handler",
            "mask",
            "descriptors",
            "size",
            "path",
            "modules",
            "output",
            "input",
        ),
        *("closed", "print", "collector", "function", "layer", "hook", "mode", "types", "saved", "convolution", "adam"),
        *("library", "ours", "paths", "printing", "babble", "builtins", "hidden", "interpreter", "arguments"),
    )
}

HARMFUL = """
def harm():
    step = 9
    for what in {what}:
        with contextlib.suppress(Exception):
            exec(what)

PICTURE = np.random.default_rng(0).integers(0, 256, (24, 28, 3), np.uint8)

class Set:
    def ids(self):
        harm()
        return ["a"]

    def load(self, id):
        harm()
        return PICTURE

def noise(clean, rng):
    noisy = clean + rng.normal(0, 0.1, clean.shape).astype(np.float32)
    harm()
    return noisy

@esbench.hookimpl
def esbench_datasets():
    return [esbench.DatasetInfo(name="harmful", summary="s", target=Set, images=1)]

@esbench.hookimpl
def esbench_degradations():
    return [esbench.DegradationInfo(name="harmful-noise", summary="s", target=noise)]

@esbench.hookimpl
def esbench_event(event):
    for name in vars(event):
        if isinstance(getattr(event, name), dict):
            getattr(event, name).clear()
        object.__setattr__(event, name, None)
    harm()
"""


def once(faults: Mapping[str, tuple[str, str]], step: int = STEP) -> str:
    """Return criteria that do something at one step."""
    return "".join(ONCE.format(name=name, what=what, step=step) for name, (what, _) in faults.items())


def always(changes: Mapping[str, str]) -> str:
    """Return criteria that do something at every step."""
    return "".join(ALWAYS.format(name=name, what=what) for name, what in changes.items())


def harmful(names: Iterable[str]) -> str:
    """Return a dataset, a degradation and a listener that change some things in the process of the command."""
    return HEAD + HARMFUL.replace("{what}", repr([HARM[name] for name in names]))


def states() -> str:
    """Return criteria with memory, of which some cannot be saved."""
    return "".join(STATE.format(name=name, state=state) for name, (state, _) in STATES.items())


def others() -> str:
    """Return the other faulty criteria."""
    return "\n".join(code for code, _ in OTHERS.values()) + "\n"


def codecs() -> str:
    """Return faulty codecs."""
    return CODEC_HOOK + "".join(CODEC.format(name=name, what=what) for name, (what, _) in CODECS.items())


def criteria(step: Callable[[], int] = lambda: STEP) -> tuple[str, dict[str, tuple[str, str]]]:
    """Return the code of a plugin with all faulty criteria, and for each its kind and what is said of it.

    Args:
        step: gives the step of a fault that happens once.
    """
    code, expected = [HEAD, states(), others(), codecs()], {}
    for name, fault in {**FAULTS, **ENDS, **MISSING}.items():
        code.append(once({name: fault}, at := step()))
        kind = "missing" if name in MISSING else "failed"
        expected[named(name)] = kind, fault[1].replace("STEP", str(at))
    changes = CHANGES | {f"write{i}": f"{view}.zero_()" for i, view in enumerate(WRITES)}
    code.append(always(changes))
    for name, (_, why) in {f"state_{name}": fault for name, fault in STATES.items()}.items():
        expected[named(name)] = ("failed", why) if why else ("", "")
    expected |= {named(name): ("failed", why) if why else ("", "") for name, (_, why) in OTHERS.items()}
    expected |= {f"cifs-codec-{name}[lam=0]": ("failed", why) for name, (_, why) in CODECS.items()}
    return "".join(code), expected | {named(name): ("", "") for name in changes}


def named(name: str) -> str:
    """Return the criterion of a fault."""
    return f"does-{name}".replace("_", "-")
