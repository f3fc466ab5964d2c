"""Each promise of the conformance kit can fail: a backbone that breaks just this one gets just this failure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from evcap_cli import Backbone, Detections, WeightsSource, random_seed
from evcap_cli.conformance.comparing import difference
from evcap_cli.testing import CheckReport, check_backbone, examine_backbone
from tests.conformance.heavy import Heavy
from tests.conformance.kept import DIM, KEPT, Keeping, KeepingAudio, KeepingMotion, KeepingObject, save_weights

RANDOM = "random:0"


def skipped(report: CheckReport) -> set[str]:
    return {result.name for result in report.results if result.status == "skip"}


def failed(report: CheckReport) -> set[str]:
    return {result.name for result in report.failed}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KEPT)
def test_a_backbone_that_keeps_its_promises_passes_every_check(kind: str, tmp_path: Path) -> None:
    others = {"appearance": {"boxes", "steps", "short-sound"}, "motion": {"boxes", "steps", "short-sound"}}
    others |= {"object": {"steps", "short-sound"}, "audio": {"boxes"}}
    report = check_backbone(KEPT[kind], "small", {"gain": "1"}, RANDOM)
    assert skipped(report) == others[kind]
    assert len(report.results) == 22
    from_file = examine_backbone(KEPT[kind], weights=str(save_weights(tmp_path, KEPT[kind].cells)))
    assert from_file.ok, str(from_file)


def changed(cls: type[Keeping] = Keeping, spec: dict[str, Any] | None = None, **members: Any) -> type[Backbone]:
    """A subclass with other members; ``spec`` changes fields of its spec."""
    return type("Changed", (cls,), {"spec": replace(cls.spec, **(spec or {})), "__qualname__": "f.Changed", **members})


def extracting(made: Callable[[Keeping, Any, Any], Any], cls: type[Keeping] = Keeping) -> type[Backbone]:
    """A subclass whose ``extract`` returns ``made(self, batch, honest features)``."""
    return changed(cls, extract=lambda self, batch: made(self, batch, cls.extract(self, batch)))


def loading(done: Callable[[Keeping, str | None], Any], cls: type[Keeping] = Keeping) -> type[Backbone]:
    """A subclass that does something else after an honest ``load``."""

    def load(self: Keeping, weights: str | None, device: torch.device, dtype: torch.dtype) -> None:
        cls.load(self, weights, device, dtype)
        done(self, weights)

    return changed(cls, load=load)


def found(change: Callable[[Detections], Detections]) -> type[Backbone]:
    return extracting(lambda self, batch, honest: [change(d) for d in honest], KeepingObject)


def only_lines_of_upstream(self: Keeping, weights: str, device: Any, dtype: Any) -> None:
    if random_seed(weights) is None:
        raise KeyError("conv1.weight")
    Keeping.load(self, weights, device, dtype)


def talkative(self: Keeping, weights: str, device: Any, dtype: Any) -> None:
    if random_seed(weights) is None:
        raise ValueError(f"{weights} cannot be read\nbecause of\n" + "a stack of things\n" * 20)
    Keeping.load(self, weights, device, dtype)


def careless(self: Keeping, weights: str, device: Any, dtype: Any) -> None:
    Keeping.load(self, RANDOM if random_seed(weights) is None else weights, device, dtype)


def never_bfloat(self: Keeping, weights: str, device: Any, dtype: Any) -> None:
    Keeping.load(self, weights, device, torch.float32)


def no_learning(self: Keeping, weights: str | None) -> None:
    torch.set_grad_enabled(False)


def batch_norm(self: Keeping, batch: Any, honest: Any) -> Any:
    return honest - honest.mean(0) if len(batch) > 1 else honest


def dropout(self: Keeping, batch: Any, honest: Any) -> Any:
    return torch.nn.functional.dropout(honest, 0.5, training=True)


def by_place(self: Keeping, batch: Any, honest: Any) -> Any:
    return honest + torch.arange(len(honest))[:, None]


def drawn_late(self: Keeping, weights: str | None) -> None:
    with torch.no_grad():
        self.model.bias.copy_(torch.rand(DIM))


def shaky_half(self: Keeping, batch: Any, honest: Any) -> Any:
    return honest if batch.dtype == torch.float32 else honest + 1


def divides_by_contrast(self: Keeping, batch: Any, honest: Any) -> Any:
    return honest / (batch.amax((1, 2, 3)) - batch.amin((1, 2, 3)))[:, None]


def hurt_by_nothing(self: Keeping, batch: Any, honest: Any) -> Any:
    return honest + batch.amax() * 0


def loses_sound(self: Keeping, batch: Any, honest: Any) -> Any:
    return honest if batch.shape[1] == 16000 else honest[:, :0]


def source(**fields: str) -> Callable[[Backbone], WeightsSource]:
    given = {"name": "n", "location": "l", "license": "MIT", **fields}
    return lambda self: WeightsSource(**given)


BROKEN: dict[str, tuple[type[Backbone], set[str]]] = {
    "torch at the top of its module": (Heavy, {"registration"}),
    "a name that --weights cannot read": (changed(spec={"name": "a=b"}), {"declaration"}),
    "another kind than it registers": (
        changed(spec_for=classmethod(lambda cls, variant, options: KeepingMotion.spec)),
        {"declaration"},
    ),
    "a blank version": (changed(spec={"version": " "}), {"version"}),
    "no licence": (changed(spec={"license": ""}), {"licence"}),
    "weights without a licence": (changed(weights_source=source(license="")), {"licence"}),
    "any variant is fine": (
        changed(spec_for=classmethod(lambda cls, variant, options: Keeping.spec_for(None, options))),
        {"unknown-variant"},
    ),
    "any option is fine": (
        changed(spec_for=classmethod(lambda cls, variant, options: Keeping.spec_for(variant, {}))),
        {"unknown-option"},
    ),
    "weights read without a look": (changed(load=careless), {"missing-weights", "damaged-weights"}),
    "upstream's errors": (changed(load=only_lines_of_upstream), {"missing-weights", "damaged-weights"}),
    "errors of a page": (changed(load=talkative), {"missing-weights", "damaged-weights"}),
    "learning switched off for everybody": (loading(no_learning), {"loading"}),
    "a spec that load corrects": (
        loading(lambda self, weights: setattr(self, "spec", replace(self.spec, version="2"))),
        {"loading"},
    ),
    "weights without a digest": (
        changed(load=lambda self, *given: (Keeping.load(self, *given), setattr(self, "weights_digest", ""))),
        set(),  # load_one notes the path or the seed where the backbone does not
    ),
    "a width that its spec does not say": (changed(spec={"dim": 7}), {"shape"}),
    "a squeezed row": (extracting(lambda self, batch, honest: honest.squeeze(0)), {"one-row"}),
    "whole numbers": (extracting(lambda self, batch, honest: (honest * 100).long()), {"number-format"}),
    "NaN for flat pictures": (extracting(divides_by_contrast), {"finite"}),
    "dropout": (extracting(dropout), {"repeatable"}),
    "weights drawn again each time": (loading(drawn_late), {"fresh-instance"}),
    "batch norm over the batch": (extracting(batch_norm), {"neighbours", "batch-size", "one-row"}),
    "a row that knows its place": (extracting(by_place), {"batch-size"}),
    "no answer to no rows": (extracting(hurt_by_nothing), {"no-rows"}),
    "a model that stays in float32": (changed(load=never_bfloat), {"half-precision"}),
    "other features in bfloat16": (extracting(shaky_half), {"half-precision"}),
    "fractions for boxes": (found(lambda d: replace(d, boxes=d.boxes / 32)), {"boxes"}),
    "boxes beyond the picture": (found(lambda d: replace(d, boxes=d.boxes + 5)), {"boxes"}),
    "width and height for a corner": (found(lambda d: replace(d, boxes=d.boxes[:, [2, 3, 0, 1]])), {"boxes"}),
    "the least confident first": (found(lambda d: replace(d, scores=d.scores.flip(0))), {"boxes"}),
    "one score too few": (found(lambda d: replace(d, scores=d.scores[:1])), {"shape"}),
    "tensors for detections": (extracting(lambda self, batch, honest: honest[0].features, KeepingObject), {"shape"}),
    "another hop than it says": (
        changed(KeepingAudio, {"input": replace(KeepingAudio.spec.input, hop_seconds=0.01)}),
        {"steps", "short-sound"},
    ),
    "nothing for short sound": (extracting(loses_sound, KeepingAudio), {"short-sound"}),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.slow
def test_a_broken_promise_has_its_failure_and_no_other(name: str) -> None:
    cls, expected = BROKEN[name]
    try:
        report = examine_backbone(cls, weights=RANDOM)
    finally:
        torch.set_grad_enabled(True)
    assert failed(report) == expected, str(report)
    for result in report.failed:
        assert result.detail
        assert "\n" not in str(result)
    if expected:
        with pytest.raises(AssertionError, match=f"FAIL  {min(expected)}"):
            check_backbone(cls, weights=RANDOM)
        torch.set_grad_enabled(True)


def test_default_weights_without_a_digest_are_found(tmp_path: Path) -> None:
    file = save_weights(tmp_path, Keeping.cells)

    def load(self: Keeping, weights: str | None, device: Any, dtype: Any) -> None:
        Keeping.load(self, weights or str(file), device, dtype)
        self.weights_digest = ""

    report = examine_backbone(changed(load=load))
    assert "loading" in failed(report)
    assert "weights_digest" in str(report)


def test_a_backbone_that_does_not_load_is_reported_once(tmp_path: Path) -> None:
    report = examine_backbone(Keeping, weights=str(tmp_path / "nowhere.safetensors"))
    assert failed(report) == {"loading"}
    assert "nowhere.safetensors" in str(report)
    assert {"shape", "finite", "half-precision"} <= skipped(report)


def test_a_class_without_a_spec_is_a_report_and_not_a_crash() -> None:
    class Bare:
        pass

    report = examine_backbone(Bare)  # type: ignore[arg-type]
    assert "declaration" in failed(report)
    assert "Bare" in str(report)


def test_the_report_is_read_line_by_line() -> None:
    reported: list[str] = []
    report = examine_backbone(Keeping, weights=RANDOM, report=lambda result: reported.append(str(result)))
    lines = str(report).splitlines()
    assert lines[:-1] == reported
    assert lines[-1] == "keeping: 19 passed, 0 failed, 3 not applicable"
    assert all(line.split()[0] in ("pass", "FAIL", "skip") for line in reported)


def test_detections_are_compared_box_by_box_whatever_their_order() -> None:
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand(20, 4, generator=generator) * 100
    scores = torch.rand(20, generator=generator)
    row = (boxes, scores, torch.rand(20, 3, generator=generator))
    order = torch.randperm(20, generator=generator)
    assert difference(row, tuple(part[order] for part in row)) == 0
    assert difference(row, tuple(part[2:] for part in row)) == 0  # two of twenty may fall to a threshold
    assert difference(row, tuple(part[3:] for part in row)) == float("inf")
    moved = (boxes, scores, row[2].clone())
    moved[2][4:8] += 0.5
    assert difference(row, moved) > 0.1
    empty = tuple(part[:0] for part in row)
    assert difference(empty, empty) == 0
    assert difference(row, empty) == float("inf")
