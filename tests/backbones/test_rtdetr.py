"""Boxes, scores and features are those of transformers' RT-DETR v2."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from evcap_backbones.rtdetr import RTDetr
from safetensors.torch import load_file, save_file
from transformers import RTDetrImageProcessor, RTDetrV2ForObjectDetection

from evcap_cli.testing import check_backbone
from tests.backbones.hub_folders import copied, loaded, written
from tests.backbones.small_networks import SmallRTDetr

OPTIONS = {"score_threshold": "0.3", "top_k": "14"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network whose twenty queries give boxes and scores that differ."""
    place = written(SmallRTDetr, tmp_path_factory.mktemp("nets") / "net", spread=False)
    model = RTDetrV2ForObjectDetection.from_pretrained(place).eval()
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        for module in model.modules():
            if type(module).__name__ in ("BatchNorm2d", "RTDetrV2FrozenBatchNorm2d"):
                module.running_var.uniform_(0.5, 2)
                module.weight.uniform_(0.5, 1.5)
        heads = model.model.decoder
        for layer in [*heads.class_embed, *(head.layers[-1] for head in heads.bbox_embed)]:
            torch.nn.init.normal_(layer.weight, std=0.6)
        for layer in heads.class_embed:
            torch.nn.init.constant_(layer.bias, -2.5)
    model.save_pretrained(place)
    return place


def frames(count: int = 3, side: int = 96) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.slow
def test_boxes_scores_and_embeddings_are_transformers_own(folder: Path) -> None:
    model = RTDetrV2ForObjectDetection.from_pretrained(folder).eval()
    with torch.inference_mode():
        theirs = model(frames())
        ours = loaded(SmallRTDetr, folder, **OPTIONS).extract(frames())
    best = theirs.logits.sigmoid().amax(-1)
    counts = set()
    for row, found in enumerate(ours):
        chosen = [query for query in best[row].argsort(descending=True).tolist() if best[row, query] > 0.3][:14]
        centre, size = theirs.pred_boxes[row, chosen].split(2, dim=-1)
        corners = (torch.cat([centre - size / 2, centre + size / 2], -1) * 96).clamp(0, 96)
        torch.testing.assert_close(found.scores, best[row, chosen], atol=1e-5, rtol=0)
        torch.testing.assert_close(found.boxes, corners, atol=1e-3, rtol=0)
        torch.testing.assert_close(found.features, theirs.last_hidden_state[row, chosen], atol=1e-5, rtol=0)
        assert float(found.scores.std()) > 0.01
        assert float(found.features.std()) > 0.1
        counts.add(len(chosen))
    assert counts - {0}


@pytest.mark.slow
def test_boxes_are_those_of_its_own_preprocessor_a_query_once(folder: Path) -> None:
    model = RTDetrV2ForObjectDetection.from_pretrained(folder).eval()
    with torch.inference_mode():
        answer = model(frames())
    theirs = RTDetrImageProcessor().post_process_object_detection(answer, 0.5, target_sizes=[(96, 96)] * 3)
    with torch.inference_mode():
        ours = loaded(SmallRTDetr, folder, score_threshold="0.5").extract(frames())
    for mine, one in zip(ours, theirs, strict=True):
        assert 0 < len(one["boxes"]) < 20  # the preprocessor gives as many as there are queries, whatever their scores
        # and a query's box once for each class above the threshold
        boxes = torch.stack([box for at, box in enumerate(one["boxes"]) if not _among(box, one["boxes"][:at])])
        torch.testing.assert_close(mine.boxes, boxes.clamp(0, 96), atol=1e-3, rtol=0)


def _among(box: torch.Tensor, boxes: torch.Tensor) -> bool:
    return bool((boxes == box).all(-1).any()) if len(boxes) else False


@pytest.mark.slow
def test_a_frame_does_not_depend_on_its_neighbours(folder: Path) -> None:
    backbone = loaded(SmallRTDetr, folder, **OPTIONS)
    with torch.inference_mode():
        together, alone = backbone.extract(frames())[0], backbone.extract(frames()[:1])[0]
        dark = backbone.extract(torch.stack([frames()[0], torch.zeros(3, 96, 96)]))[0]
    for found in (alone, dark):
        torch.testing.assert_close(found.boxes, together.boxes, atol=1e-3, rtol=0)
        torch.testing.assert_close(found.features, together.features, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_counters_of_batches_may_be_missing(folder: Path, tmp_path: Path) -> None:
    place = copied(folder, tmp_path / "net")
    tensors = load_file(place / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if not name.endswith("num_batches_tracked")}
    assert len(kept) < len(tensors)
    save_file(kept, place / "model.safetensors")
    with torch.inference_mode():
        ours, theirs = (loaded(SmallRTDetr, net, **OPTIONS).extract(frames(1))[0] for net in (place, folder))
    assert torch.equal(ours.features, theirs.features)


@pytest.mark.slow
def test_no_frames_and_frames_without_objects_give_no_boxes(folder: Path) -> None:
    backbone = loaded(SmallRTDetr, folder, score_threshold="0.9999")
    found = backbone.extract(frames(1))[0]
    assert [tuple(part.shape) for part in (found.boxes, found.scores, found.features)] == [(0, 4), (0,), (0, 32)]
    assert backbone.extract(frames(0)) == []


@pytest.mark.slow
def test_it_computes_in_float32_whatever_is_requested(folder: Path) -> None:
    backbone = SmallRTDetr()
    backbone.load(str(folder), torch.device("cpu"), torch.bfloat16)
    assert backbone.dtype == torch.float32
    assert {weight.dtype for weight in backbone.network.parameters()} == {torch.float32}


def test_frames_are_prepared_as_transformers_does() -> None:
    declared, theirs = RTDetr.spec.input, RTDetrImageProcessor()
    assert declared.size == (theirs.size["height"], theirs.size["width"])
    assert (declared.fit, declared.interpolation) == ("stretch", "bilinear")
    assert not theirs.do_normalize
    assert (declared.mean, declared.std) == ((0.0,) * 3, (1.0,) * 3)
    assert {RTDetr(name).known_config().d_model for name in RTDetr.published} == {RTDetr.spec.dim}
    assert all(RTDetr(name).known_config().num_labels == 80 for name in RTDetr.published)


@pytest.mark.slow
def test_the_digest_tells_apart_what_the_tensors_do_not(folder: Path, tmp_path: Path) -> None:
    plain = loaded(SmallRTDetr, folder).weights_digest
    assert loaded(SmallRTDetr, copied(folder, tmp_path / "a", num_queries=10)).weights_digest != plain
    assert loaded(SmallRTDetr, copied(folder, tmp_path / "b", matcher_alpha=0.5)).weights_digest == plain


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"top_k": "0"}, "rtdetr.top_k must be a whole number from 1 to 300, got '0'"),
        ({"score_threshold": "1"}, "rtdetr.score_threshold must be a number from 0 to below 1"),
        ({"proposals": "5"}, "no option 'proposals'; it has score_threshold and top_k"),
    ],
)
def test_bad_options_are_one_line(options: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        RTDetr(None, options)


@pytest.mark.slow
def test_it_keeps_the_contract(folder: Path) -> None:
    check_backbone(SmallRTDetr, options={"score_threshold": "0.1"}, weights=str(folder))
