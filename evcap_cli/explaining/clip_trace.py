"""What a captioning system did with one clip, as plain numbers; nothing here depends on files or pages.

A caption is searched as ``evcap caption`` searches it; then the decoder goes over it once more, word by word, and
forward hooks keep what the modules computed on the way. Whatever a system does not have is None.

Notation: N real moments, M objects that were found, L words without the end mark.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn

from evcap_cli.captioning.checkpoint_captioner import CLIPS_A_BATCH
from evcap_cli.data.special_tokens import END, START
from evcap_cli.explaining.trace_values import END_MARK, Branch, ClipTrace, DecodedWord, ObjectAttention, Row
from evcap_cli.network.collate import collate, thinned
from evcap_cli.network.emotion import Perceived
from evcap_cli.network.fine_grained import FineGrainedFusion
from evcap_cli.search.beam_search import BeamConfig, Hypothesis
from evcap_cli.search.reranking import best_captions
from evcap_cli.systems.aligned_system import AlignedSystem
from evcap_cli.systems.fusion import Fusion

if TYPE_CHECKING:
    from evcap_cli.checkpoints.checkpoint import Checkpoint
    from evcap_cli.features.streams import ClipFeatures
    from evcap_cli.network.audio_visual import AudioVisualFusion
    from evcap_cli.network.decoder_state import WordAttention
    from evcap_cli.network.visual_encoder import Streams
    from evcap_cli.systems.contract import CaptionModel

ALTERNATIVES: Final = 3
"""Other words that are named next to the predicted one."""
EMOTION_WORDS: Final = 5
"""Words of P_w that are named for each branch."""


def trace_clip(checkpoint: Checkpoint, features: ClipFeatures, beam: BeamConfig) -> ClipTrace:
    """Caption one clip and keep what was computed on the way.

    Args:
        checkpoint: its model in evaluation mode, where it shall compute.
        features: of the clip.
        beam: how to search.

    Raises:
        CheckpointError: when a score is not a number.
    """
    model = checkpoint.model
    device = next(model.parameters()).device
    # as many rows as ``evcap caption`` decodes at once: other shapes may round otherwise
    batch = collate([features] * CLIPS_A_BATCH, model.config).to(device)
    with torch.inference_mode(), _outputs(_watched_modules(model)) as outputs:
        prepared = model.prepare(batch)
        hypothesis = best_captions(model, prepared, beam, checkpoint.vocabulary, checkpoint.lexicon)[0][0]
        tokens = torch.tensor([[START, *hypothesis.tokens]], device=device)
        clips = torch.zeros(1, dtype=torch.long, device=device)
        if isinstance(model, Fusion):
            scores, words = model.decoder.with_attention(prepared.memory, tokens, clips)
            attention = torch.cat([word.moments for word in words])
            object_weights = _object_weights(words, outputs["streams"])
            found = _of_fusion(model, outputs, checkpoint)
        else:
            scores, attention, object_weights = model(batch, tokens, clips), None, None
            found = _of_other(outputs, checkpoint)
    real = batch.visual_mask[0]
    return ClipTrace(
        hypothesis=hypothesis,
        words=_words(scores.logits, hypothesis, attention, real, object_weights, checkpoint, beam),
        moments=_row(batch.moment_times[0][real]),
        categories=None if prepared.categories is None else _row(prepared.categories[0]),
        **_with_times(found, features, model),
    )


def _watched_modules(model: CaptionModel) -> dict[str, nn.Module]:
    """The modules whose results are kept, by the name they get."""
    if isinstance(model, AlignedSystem):
        return {"encoder": model.encoder}
    if not isinstance(model, Fusion):
        return {}
    watched: dict[str, nn.Module] = {"streams": model.streams, "emotion": model.emotion}
    if isinstance(model.fusion, FineGrainedFusion):
        watched["by_appearance"] = model.fusion.appearance_looks_at_objects
        watched["by_motion"] = model.fusion.motion_looks_at_objects
    if model.audio_visual is not None:
        for level, layer in enumerate(model.audio_visual.visual_layers):
            watched[f"audio_attention {level}"] = layer.get_submodule("attention")
    return watched


@contextmanager
def _outputs(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, Any]]:
    """What each module returned the last time it was called; nothing is left on the modules afterwards."""
    found: dict[str, Any] = {}

    def keep(name: str, _module: nn.Module, _given: Any, result: Any) -> None:
        found[name] = result

    handles = [module.register_forward_hook(partial(keep, name)) for name, module in modules.items()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _object_weights(words: Sequence[WordAttention], streams: Streams) -> Tensor | None:
    """Weights of each word over the objects of the first clip, (L + 1, M); None where the decoder has none."""
    seen = [word.objects for word in words if word.objects is not None]
    if not seen or streams.objects is None or not bool(streams.objects.present[0]):
        return None
    return torch.cat(seen)[:, streams.objects.mask[0]]


def _of_fusion(model: Fusion, outputs: Mapping[str, Any], checkpoint: Checkpoint) -> dict[str, Any]:
    """What the encoder of the paper's system did with the first clip."""
    streams = outputs["streams"]
    real = streams.mask[0]
    branches = tuple(
        _branch(name, perceived, checkpoint)
        for key, name in (("visual", "picture"), ("audio", "sound"))
        if (perceived := outputs["emotion"][1].get(key)) is not None
    )
    found: dict[str, Any] = {"branches": branches, "lacks": _lacks(model, branches, streams.objects)}
    if isinstance(model.fusion, FineGrainedFusion):
        gate = model.fusion.appearance_gate(streams.appearance, streams.motion, streams.mask)
        found["appearance_share"] = _row(gate[0].mean(dim=-1)[real])
        if bool(streams.objects.present[0]):
            seen = streams.objects.mask[0]
            by_appearance, by_motion = (outputs[name][1][0][real][:, seen] for name in ("by_appearance", "by_motion"))
            found["weights"] = (by_appearance.T, by_motion.T)
        else:
            found["objects"] = ()
    if model.audio_visual is not None and branches[-1].present:
        found["audio_attention"] = _row(_audio_attention(model.audio_visual, outputs)[0][real])
    return found


def _of_other(outputs: Mapping[str, Any], checkpoint: Checkpoint) -> dict[str, Any]:
    """What is known of any other system: the emotion it perceives, if it does."""
    perceived = outputs["encoder"].perceived if "encoder" in outputs else None
    lacks = [f"Attention, gates and objects are shown for fusion only, not yet for {checkpoint.system}."]
    if perceived is None:
        lacks.append(f"{checkpoint.system} has no branch that perceives emotion.")
        return {"lacks": tuple(lacks)}
    return {"branches": (_branch("picture", perceived, checkpoint),), "lacks": tuple(lacks)}


def _audio_attention(module: AudioVisualFusion, outputs: Mapping[str, Any]) -> Tensor:
    """Weight of the global audio vector, the first row that each moment attends to, over all levels: (B, N_v)."""
    levels = [outputs[f"audio_attention {level}"][1][:, 1:, 0] for level in range(len(module.visual_layers))]
    return torch.stack(levels).mean(dim=0)


def _lacks(model: Fusion, branches: tuple[Branch, ...], objects: Any) -> tuple[str, ...]:
    sentences = []
    if not model.config.fine_grained:
        sentences.append("Module B (fine-grained fusion) is off in this checkpoint: no gate, no objects.")
    elif not bool(objects.present[0]):
        sentences.append("No object was found in this clip: a trained token replaces the objects.")
    if not model.config.audio_visual:
        sentences.append("Module A (audio-visual fusion) is off in this checkpoint: the sound is not used.")
    elif not branches[-1].present:
        sentences.append("This clip has no sound: a trained token replaces it, and its emotion does not count.")
    return tuple(sentences)


def _branch(name: str, perceived: Perceived, checkpoint: Checkpoint) -> Branch:
    words = perceived.words[0].float().softmax(dim=-1)
    best = words.topk(min(EMOTION_WORDS, len(words)))
    return Branch(
        name=name,
        present=bool(perceived.present[0]),
        categories=_row(perceived.categories[0].float().softmax(dim=-1)),
        words=tuple(
            (checkpoint.lexicon.words[number], probability)
            for probability, number in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ),
    )


def _with_times(found: dict[str, Any], features: ClipFeatures, model: CaptionModel) -> dict[str, Any]:
    """``found`` with the weights of objects as ``ObjectAttention``s."""
    weights = found.pop("weights", None)
    if weights is not None:
        _, times = thinned(features.streams["object"], "object", model.config.objects)
        rows = zip(times.tolist(), *(each.tolist() for each in weights), strict=True)
        found["objects"] = tuple(ObjectAttention(seconds, tuple(a), tuple(m)) for seconds, a, m in rows)
    return found


def _words(
    logits: Tensor,
    hypothesis: Hypothesis,
    attention: Tensor | None,
    real: Tensor,
    object_weights: Tensor | None,
    checkpoint: Checkpoint,
    beam: BeamConfig,
) -> tuple[DecodedWord, ...]:
    """Each word of the caption and its end, from logits (L + 1, V), attention (L + 1, N_v) and objects (L + 1, M)."""
    chances = logits.float().log_softmax(dim=-1)
    spelled = {END: END_MARK}
    decoded = []
    for step, token in enumerate((*hypothesis.tokens, END)):
        others = chances[step].clone()
        others[[token, *beam.forbidden]] = float("-inf")
        best = others.topk(min(ALTERNATIVES, len(others) - 1 - len(beam.forbidden)))
        decoded.append(
            DecodedWord(
                text=spelled.get(token, checkpoint.vocabulary.words[token]),
                log_probability=float(chances[step, token]),
                others=tuple(
                    (spelled.get(number, checkpoint.vocabulary.words[number]), probability)
                    for probability, number in zip(best.values.exp().tolist(), best.indices.tolist(), strict=True)
                ),
                attention=None if attention is None else _row(attention[step][real]),
                objects=None if object_weights is None else _row(object_weights[step]),
            )
        )
    return tuple(decoded)


def _row(values: Tensor) -> Row:
    return tuple(values.float().tolist())
