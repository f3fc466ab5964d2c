"""The questions of the study as data, and their answers from paired intervals.

A claim is one or several contrasts, each of which must point the same way. It *holds* when the 95 % interval of every
difference lies above 0, is *reversed* when one of them lies below 0 altogether, and *does not show* otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from evcap_experiments.study.conditions import condition, title_of_measure
from evcap_experiments.study.crossed_bootstrap import difference
from evcap_experiments.study.study_systems import title_of

if TYPE_CHECKING:
    from evcap_cli.scoring.resampling import Difference
    from evcap_experiments.study.study_results import StudyResults

ClaimState = Literal["holds", "does not show", "reversed", "not tested"]


@dataclass(frozen=True)
class StudyCell:
    """A number of the study: a measure of a system under a condition."""

    system: str
    condition: str
    measure: str

    def __str__(self) -> str:
        return f"{title_of(self.system)}, {condition(self.condition).title.lower()}, {title_of_measure(self.measure)}"


@dataclass(frozen=True)
class Contrast:
    """On the same clips, the claim is that ``this`` is above ``other``."""

    this: StudyCell
    other: StudyCell

    @property
    def words(self) -> str:
        """The contrast without its numbers: what both share is said once."""
        a, b = self.this, self.other
        if a.condition == b.condition and a.measure == b.measure:
            place = f"{condition(a.condition).title}, {title_of_measure(a.measure)}"
            return f"{place}: {title_of(a.system)} against {title_of(b.system)}"
        if a.system == b.system:
            pieces = [f"{condition(one.condition).title}, {title_of_measure(one.measure)}" for one in (a, b)]
            return f"{title_of(a.system)}: {pieces[0]} against {pieces[1]}"
        return f"{a} against {b}"


@dataclass(frozen=True)
class Claim:
    """One question.

    Args:
        name: short. question: as a reader asks it. source: who claims it.
        contrasts: all of them must hold.
    """

    name: str
    question: str
    source: str
    contrasts: tuple[Contrast, ...]


def _above(pairs: str, where: str, *measures: str) -> tuple[Contrast, ...]:
    """Contrasts of systems under one condition, written as "this > other, this > other"."""
    systems = [pair.split(" > ") for pair in pairs.split(", ")]
    return tuple(
        Contrast(StudyCell(this, where, measure), StudyCell(other, where, measure))
        for this, other in systems
        for measure in measures
    )


_A_ON, _B_ON = "fusion > a-off, b-off > both-off", "fusion > b-off, a-off > both-off"
_TEXT, _TABLE_3, _OURS = "the paper's text", "Table 3", "a question of ours"
CLAIMS: Final = (
    Claim(
        "A, picture silent",
        "Does A (audio-visual) help the emotion where the picture does not show it?",
        _TEXT,
        _above(_A_ON, "hidden", "emotion"),
    ),
    Claim(
        "sound decides",
        "Does the sound decide the emotion where the picture does not show it?",
        _TEXT,
        (Contrast(StudyCell("fusion", "hidden", "emotion"), StudyCell("fusion", "neither", "emotion")),),
    ),
    Claim(
        "A, no sound",
        "Does the system with A read the emotion in the picture better than without A, where the sound is missing?",
        _OURS,
        _above(_A_ON, "no sound", "emotion"),
    ),
    Claim(
        "B binds",
        "Does B (fine-grained) tell who does what to whom, where there are two subjects?",
        _TEXT,
        _above(_B_ON, "two subjects", "action with roles"),
    ),
    Claim(
        "B, roles",
        "Where both subjects and the action are right: does B get the roles right more often?",
        _OURS,
        _above(_B_ON, "two subjects", "roles"),
    ),
    Claim("A helps", "Does A help, with B and without?", _TABLE_3, _above(_A_ON, "all", "cfs")),
    Claim("B helps", "Does B help, with A and without?", _TABLE_3, _above(_B_ON, "all", "cfs")),
    Claim(
        "A for emotion",
        "Does A help the emotion metrics more than B does?",
        _TABLE_3,
        _above("b-off > a-off", "all", "acc_sw", "acc_c"),
    ),
    Claim(
        "B for words",
        "Does B help the semantic metrics more than A does?",
        _TABLE_3,
        _above("a-off > b-off", "all", "bleu_4", "rouge_l", "cider"),
    ),
    Claim(
        "together best",
        "Are A and B together the best of the four?",
        _TABLE_3,
        _above("fusion > a-off, fusion > b-off, fusion > both-off", "all", "bfs", "cfs"),
    ),
    Claim(
        "sound before face",
        "Where sound and face are in conflict, does the full system follow the sound?",
        _OURS,
        (Contrast(StudyCell("fusion", "conflict", "by sound"), StudyCell("fusion", "conflict", "by face")),),
    ),
    Claim(
        "above baselines",
        "Is every system above one caption for all and above other clips' captions?",
        "what any of this rests on",
        tuple(
            contrast
            for name in ("fusion", "epan", "dcgn", "canet", "sa-lstm", "fusion+")
            for contrast in _above(f"{name} > constant, {name} > shuffled", "all", "cfs")
        ),
    ),
    Claim(
        "ours is better",
        "Is fusion+ better than the paper's system and than DCGN?",
        _OURS,
        _above("fusion+ > fusion, fusion+ > dcgn, fusion+ > dcgn-sc", "all", "cfs"),
    ),
    Claim(
        "objects help",
        "Does a decoder that attends to objects help, and does it bind actor and action?",
        _OURS,
        (
            *_above("objects > fusion, fusion+ > fusion-sc", "all", "cfs"),
            *_above("objects > fusion", "two subjects", "action with roles", "any role", "roles"),
        ),
    ),
    Claim(
        "self-critical helps",
        "Do self-critical epochs help?",
        _OURS,
        _above("fusion-sc > fusion, fusion+ > objects, dcgn-sc > dcgn", "all", "cfs", "acc_sw"),
    ),
    Claim(
        "better than others",
        "Is the full system better than those it is compared with?",
        "Tables 1 and 2",
        _above("fusion > epan, fusion > dcgn, fusion > canet, fusion > sa-lstm", "all", "cfs"),
    ),
)


@dataclass(frozen=True)
class TestedContrast:
    """A contrast and what came out; None where a system was not run."""

    contrast: Contrast
    found: Difference | None

    @property
    def state(self) -> ClaimState:
        """By the interval."""
        if self.found is None:
            return "not tested"
        return "holds" if self.found.low > 0 else "reversed" if self.found.high < 0 else "does not show"

    def to_dict(self) -> dict[str, Any]:
        """As study.json has it: both cells with their values, the state, and difference, interval and p."""
        this, other = dict(vars(self.contrast.this)), dict(vars(self.contrast.other))
        if self.found is None:
            return {"this": this, "other": other, "state": self.state}
        found = self.found.to_dict()
        this["value"], other["value"] = found.pop("this"), found.pop("other")
        return {"this": this, "other": other, "state": self.state, **found}

    def __str__(self) -> str:
        if self.found is None:
            return self.contrast.words
        one = self.found
        return (
            f"{self.contrast.words}: {one.this:.1f} against {one.other:.1f}, difference {one.difference:+.1f}"
            f" ({one.low:+.1f} to {one.high:+.1f}; p {_p(one.p)})"
        )


@dataclass(frozen=True)
class Answer:
    """A claim with its contrasts tested."""

    claim: Claim
    tested: tuple[TestedContrast, ...]

    @property
    def state(self) -> ClaimState:
        """Of all contrasts together."""
        states = {one.state for one in self.tested}
        if "reversed" in states:
            return "reversed"
        if "not tested" in states:
            return "not tested"
        return "does not show" if "does not show" in states else "holds"

    def to_dict(self) -> dict[str, Any]:
        """As study.json has it."""
        return {
            "claim": self.claim.name,
            "question": self.claim.question,
            "source": self.claim.source,
            "state": self.state,
            "contrasts": [one.to_dict() for one in self.tested],
        }


def answers(results: StudyResults, claims: Sequence[Claim] = CLAIMS) -> list[Answer]:
    """Every claim, tested on the runs that are there."""
    return [Answer(claim, tuple(_tested(results, one) for one in claim.contrasts)) for claim in claims]


def _tested(results: StudyResults, contrast: Contrast) -> TestedContrast:
    this, other = (
        results.series(cell.system, cell.condition, cell.measure) for cell in (contrast.this, contrast.other)
    )
    found = None if this is None or other is None else difference(this, other, results.seed)
    return TestedContrast(contrast, found)


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
