"""What a captioner says of itself before its model is loaded, and to addresses that lead nowhere."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Final

from evcap_cli import plugins
from evcap_cli.backbones.loading import make_backbones
from evcap_cli.conformance.checks import Broken, Check, NotApplicable, check
from evcap_cli.conformance.declaration import HEAVY, answered
from evcap_cli.conformance.refusals import refusal
from evcap_cli.errors import EvcapError, UsageError, one_line
from evcap_cli.systems.captioner_spec import CaptionerSpec
from evcap_cli.systems.clip_captioner import FrameRequest, Reads

if TYPE_CHECKING:
    from evcap_cli.conformance.captioner_candidate import CaptionerCandidate

CHECKS: Final[list[Check[CaptionerCandidate]]] = []

RESERVED: Final = ":/\\#@ \t\n"
"""Signs of folders and addresses, which ``-c NAME`` must differ from."""
NOWHERE: Final = "no-such-model"
DEAD_SERVER: Final = f"127.0.0.1:9/{NOWHERE}"
"""Port 9 is closed on nearly every machine."""

_PROGRAM: Final = """
import importlib, json, sys
path, module, name, heavy = json.loads(sys.argv[1])
sys.path[:] = path
found = []
importlib.import_module(module).register_captioners(lambda spec: found.append(spec.name))
print(json.dumps([name in found, [one for one in heavy if one in sys.modules]]))
"""


@check(CHECKS, "registration", "registers without importing torch or a model library", needs=())
def _registration(candidate: CaptionerCandidate) -> None:
    """Call the plugin's hook in a new interpreter."""
    module = _registering_module(candidate.spec)
    if module is None:
        raise NotApplicable(f"no installed plugin registers {candidate.spec.name} from a module")
    registered, imported = answered(_PROGRAM, module, candidate.spec.name, HEAVY)
    if not registered:
        raise Broken(f"{module} registers {candidate.spec.name} in one process and not in another")
    if imported:
        raise Broken(f"importing {module} imports {', '.join(imported)}; import it inside load and caption")


def _registering_module(spec: CaptionerSpec) -> str | None:
    for plugin in plugins.registry().manager.get_plugins():
        names: list[str] = []
        hook = getattr(plugin, "register_captioners", None)
        if isinstance(plugin, ModuleType) and hook is not None:
            hook(lambda found, names=names: names.append(found.name))
            if spec.name in names:
                return plugin.__name__
    return None


@check(CHECKS, "declaration", "has a name, a class and a line about itself", needs=())
def _declared(candidate: CaptionerCandidate) -> str:
    spec = candidate.spec
    if not isinstance(spec, CaptionerSpec):
        raise Broken(f"what is registered is a {type(spec).__name__}, not a CaptionerSpec")
    bad = next((sign for sign in spec.name if sign in RESERVED), None)
    if bad is not None or not spec.name:
        raise Broken(
            f"the name {spec.name!r} {f'holds {bad!r}' if bad else 'is empty'}: -c takes it for something else"
        )
    if not spec.about.strip() or len(spec.about.splitlines()) > 1:
        raise Broken("about must be one line for `evcap plugins`")
    return spec.captioner_class().__name__


@check(CHECKS, "licence", "names the licence of what it downloads", needs=("declaration",))
def _licence(candidate: CaptionerCandidate) -> str:
    spec = candidate.spec
    if not spec.address and not spec.download:
        raise NotApplicable("it names no model of its own")
    if not spec.license.strip():
        raise Broken('the spec names no license ("unknown" where upstream says nothing)')
    return spec.license


@check(CHECKS, "unknown-address", "refuses an address that leads nowhere by its name", needs=("declaration",))
def _unknown_address(candidate: CaptionerCandidate) -> str:
    """``-c ADDRESS`` of a folder that is not there, or of a server that does not answer."""
    spec = candidate.spec
    if spec.schemes:
        scheme = spec.schemes[0]
        address = scheme + (DEAD_SERVER if scheme.startswith("http") else NOWHERE)
    elif spec.address or spec.config_key:
        address = str(candidate.folder / NOWHERE)
    else:
        raise NotApplicable("it takes no address")

    def opened() -> None:
        try:
            candidate.open(address)
        except UsageError:
            raise
        except Exception as problem:
            raise Broken(f"raise CheckpointError, which ends with exit code 2, not {one_line(problem)}") from problem

    text = refusal(opened, NOWHERE)
    if text is None:
        raise Broken(f"accepted {address}; see in __init__ that the model is there, raise CheckpointError where not")
    return ""


@check(CHECKS, "opening", "opens and declares what it reads", needs=("declaration",))
def _opening(candidate: CaptionerCandidate) -> str:
    captioner = candidate.open()
    reads = getattr(captioner, "reads", None)
    if not isinstance(reads, Reads):
        raise Broken(f"reads is {type(reads).__name__} after __init__, not a Reads")
    _check_backbones(reads)
    if not isinstance(captioner.clips_a_batch, int) or captioner.clips_a_batch < 1:
        raise Broken(f"clips_a_batch is {captioner.clips_a_batch!r}, not a number of clips")
    spec = candidate.spec
    audio = reads.waveform is not None or "audio" in reads.backbones
    if spec.takes_audio and not audio:
        raise Broken("the spec says takes_audio, reads has no waveform")
    if audio and not spec.takes_audio and not spec.schemes and not spec.config_key:
        raise Broken("reads a waveform, the spec does not say takes_audio")
    if candidate.open().reads != reads:
        raise Broken("two instances of one address read something else")
    frames = "" if reads.frames is None else _frames_text(reads.frames)
    sound = "" if reads.waveform is None else f"{reads.waveform.longest_seconds:g} s of audio"
    features = f"features of {', '.join(reads.backbones.values())}" if reads.backbones else ""
    return " and ".join(filter(None, (frames, sound, features)))


def _check_backbones(reads: Reads) -> None:
    """See that the backbones whose features are read are installed; no weights are read.

    Raises:
        Broken: one is not, or is of another kind.
    """
    try:
        make_backbones(reads.backbones, {}, {}, ())
    except EvcapError as problem:
        raise Broken(f"reads features of a backbone that cannot be had: {problem}") from problem


def _frames_text(frames: FrameRequest) -> str:
    return f"{frames.count} frames of at most {frames.longest_side} pixels"
