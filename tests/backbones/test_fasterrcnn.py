"""Detections are torchvision's own, and the features are those of its box head."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from evcap_backbones.fasterrcnn import FasterRCNN
from safetensors.torch import load_file, save_file
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_V2_Weights, fasterrcnn_resnet50_fpn_v2

from evcap_cli.errors import WeightsError
from evcap_cli.features.runner import BackboneRunner
from evcap_cli.testing import check_backbone
from tests.backbones.natural import natural_pictures
from tests.backbones.small_frames import SIZE, SmallFrames

CPU = torch.device("cpu")
OPTIONS = {"score_threshold": "0.02", "top_k": "12", "proposals": "40"}


def detector(**changed):
    """torchvision's detector; at this size its own resizing leaves frames as they are."""
    settings = {"box_score_thresh": 0.02, "box_detections_per_img": 12, "rpn_post_nms_top_n_test": 40}
    settings.update({"min_size": SIZE[1], "max_size": SIZE[0], **changed})
    return fasterrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None, **settings).eval()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory, pictures) -> str:
    """Random weights that give boxes of several classes, with scores that differ."""
    seen = []
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(1)
        model = detector()
        predictor = model.roi_heads.box_predictor
        handle = predictor.register_forward_hook(lambda _module, given, output: seen.append((given[0], *output)))
        model(given(pictures))
        handle.remove()
        known, logits, deltas = seen[0]
        # features of at most one, so that differences can be read as what they are
        last = model.roi_heads.box_head[-2]
        for part in (last.weight, last.bias):
            part.div_(known.max())
        # drawn weights answer every proposal alike: centre the answers and spread them out
        for layer, answers, spread in ((predictor.cls_score, logits, 2.0), (predictor.bbox_pred, deltas, 1.0)):
            scale = spread / (answers - answers.mean(0)).std()
            layer.bias.copy_((layer.bias - answers.mean(0)) * scale)
            layer.weight.mul_(scale * known.max())
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
    return str(path)


@pytest.fixture(scope="module")
def upstream(weights: str):
    model = detector()
    model.load_state_dict(load_file(weights))
    return model


@pytest.fixture(scope="module")
def backbone(weights: str) -> FasterRCNN:
    made = FasterRCNN(None, OPTIONS)
    made.load(weights, CPU, torch.float32)
    return made


@pytest.fixture(scope="module")
def pictures():
    return [*natural_pictures(1, SIZE, seed=3), *natural_pictures(1, SIZE, seed=4)]


def rows(backbone, pictures):
    runner = BackboneRunner(backbone, batch_size=len(pictures), device="cpu", owner=lambda ticket: ticket)
    with torch.inference_mode():
        return backbone.extract(runner.prepare(pictures))


def given(pictures):
    return [torch.from_numpy(np.ascontiguousarray(picture)).movedim(-1, 0) / 255 for picture in pictures]


@pytest.mark.slow
def test_boxes_and_scores_are_torchvisions_on_the_same_pixels(backbone, upstream, pictures) -> None:
    with torch.inference_mode():
        theirs = upstream(given(pictures))
    ours = rows(backbone, pictures)
    for mine, one in zip(ours, theirs, strict=True):
        assert len(one["scores"]) == 12
        assert len(one["labels"].unique()) > 1
        torch.testing.assert_close(mine.scores, one["scores"], atol=2e-5, rtol=0)  # of about 0.5
        torch.testing.assert_close(mine.boxes, one["boxes"], atol=1e-3, rtol=0)


@pytest.mark.slow
def test_features_are_the_box_heads_of_the_proposal_that_became_the_box(backbone, upstream, pictures) -> None:
    """Independently: run the parts one by one, and find each box among what every proposal gives for its class."""
    ours = rows(backbone, pictures)
    heads = upstream.roi_heads
    with torch.inference_mode():
        theirs = upstream(given(pictures))
        images, _ = upstream.transform(given(pictures))
        pyramid = upstream.backbone(images.tensors)
        proposals, _ = upstream.rpn(images, pyramid)
        for number, (mine, one) in enumerate(zip(ours, theirs, strict=True)):
            alone = {level: maps[number : number + 1] for level, maps in pyramid.items()}
            known = heads.box_head(heads.box_roi_pool(alone, [proposals[number]], [images.image_sizes[number]]))
            logits, deltas = heads.box_predictor(known)
            every = heads.box_coder.decode(deltas, [proposals[number]])
            scores = logits.softmax(-1)
            origins = set()
            for box, score, label, feature in zip(
                one["boxes"], one["scores"], one["labels"], mine.features, strict=True
            ):
                fits = [
                    at
                    for at in range(len(every))
                    if abs(scores[at, label] - score) < 1e-5 and _cut(every[at, label]).allclose(box, atol=1e-2)
                ]
                assert len(fits) == 1, "these weights give two proposals the same box: draw others"
                torch.testing.assert_close(feature, known[fits[0]], atol=1e-5, rtol=0)
                origins.add(fits[0])
            assert len(origins) > 3
            assert 0.1 < float(mine.features.max()) < 10


def _cut(box: torch.Tensor) -> torch.Tensor:
    limits = torch.tensor([SIZE[0], SIZE[1], SIZE[0], SIZE[1]])
    return torch.minimum(box.clamp(min=0), limits)


@pytest.mark.slow
def test_there_is_one_forward_pass(backbone, pictures) -> None:
    calls = []
    handle = backbone.model.backbone.register_forward_hook(lambda *_: calls.append("backbone"))
    other = backbone.model.roi_heads.heads.box_head.register_forward_hook(lambda *_: calls.append("head"))
    rows(backbone, pictures)
    handle.remove()
    other.remove()
    assert calls == ["backbone", "head"]


@pytest.mark.slow
def test_a_frame_does_not_know_its_neighbours(backbone, pictures) -> None:
    together, alone = rows(backbone, pictures)[0], rows(backbone, pictures[:1])[0]
    other = rows(backbone, [pictures[0], np.zeros_like(pictures[0])])[0]
    for found in (alone, other):
        torch.testing.assert_close(found.boxes, together.boxes, atol=1e-3, rtol=0)
        torch.testing.assert_close(found.features, together.features, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_frames_of_any_size_pass_unchanged(backbone, weights) -> None:
    """Neither side is 800 or divided by 32, and boxes are in these pixels."""
    picture = natural_pictures(1, (150, 90), seed=3)
    found = rows(backbone, picture)[0]
    model = detector(min_size=90, max_size=150)
    model.load_state_dict(load_file(weights))
    with torch.inference_mode():
        one = model(given(picture))[0]
    torch.testing.assert_close(found.boxes, one["boxes"], atol=1e-3, rtol=0)
    assert float(found.boxes[:, 2].max()) > 100


@pytest.mark.slow
def test_no_frames_and_frames_without_objects_are_no_trouble(weights) -> None:
    strict = FasterRCNN(None, {**OPTIONS, "score_threshold": "0.999"})
    strict.load(weights, CPU, torch.float32)
    found = rows(strict, natural_pictures(1, (64, 64)))
    assert [tuple(part.shape) for part in (found[0].boxes, found[0].scores, found[0].features)] == [
        (0, 4),
        (0,),
        (0, 1024),
    ]
    assert strict.extract(torch.zeros(0, 3, 64, 64)) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"top_k": "0"}, "top_k must be a whole number from 1 to 1000, got '0'"),
        ({"top_k": "2.5"}, "top_k must be"),
        ({"proposals": "99999"}, "proposals must be"),
        ({"score_threshold": "1"}, "score_threshold must be a number from 0 to below 1"),
        ({"score_threshold": "nan"}, "score_threshold must be"),
        ({"nms": "0.5"}, "no option 'nms'; one of: score_threshold, top_k, proposals"),
    ],
)
def test_bad_options_are_one_line(options, said) -> None:
    with pytest.raises(ValueError, match=said):
        FasterRCNN(None, options)


def test_there_are_no_variants() -> None:
    with pytest.raises(ValueError, match="no variant 'v3'"):
        FasterRCNN("v3")


@pytest.mark.slow
def test_the_declaration_is_torchvisions() -> None:
    spec, default = FasterRCNN().spec, fasterrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None)
    assert (spec.input.short_side, spec.input.max_side) == (default.transform.min_size[-1], default.transform.max_size)
    assert list(spec.input.mean) == default.transform.image_mean
    assert list(spec.input.std) == default.transform.image_std
    assert spec.dim == default.roi_heads.box_predictor.cls_score.in_features
    assert FasterRCNN().weights_source().location == FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1.url


@pytest.mark.slow
def test_weights_of_another_detector_are_one_line(tmp_path: Path) -> None:
    state = {"backbone.body.conv1.weight": torch.zeros(64, 3, 7, 7)}
    with pytest.raises(WeightsError, match="weights of another architecture: lacks"):
        FasterRCNN().check_state(FasterRCNN().import_state({f"module.{k}": v for k, v in state.items()}))


@pytest.mark.slow
def test_in_half_precision_features_still_belong_to_their_boxes(weights, pictures) -> None:
    """A drawn network finds other boxes when it is rounded; but each feature must explain its own box's score."""
    half = FasterRCNN(None, OPTIONS)
    half.load(weights, CPU, torch.bfloat16)
    found = rows(half, pictures)[0]
    assert found.features.dtype == torch.float32
    assert len(found.scores) == 12
    with torch.inference_mode():
        logits, _ = half.model.roi_heads.heads.box_predictor(found.features)
    apart = (logits.softmax(-1)[:, 1:] - found.scores[:, None]).abs().min(1).values
    assert float(apart.max()) < 0.02
    assert float(found.scores.std()) > 0.02


@pytest.mark.slow
def test_it_keeps_the_contract(weights) -> None:
    # most of the time goes with the proposals
    check_backbone(SmallFrames, options={**OPTIONS, "proposals": "12"}, weights=weights)
