"""Section 1.4: emotion perception, which reads categories and then emotion words out of a stream (Eq. 7 and 8).

Notation: B clips, N rows of a stream, N_v moments, N_a audio steps, N_c categories ("catalog words"), N_w emotion words
("lexical words"), d_w width of word vectors, d model width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from evcap_cli.network.config import EmotionConfig, FusionConfig
from evcap_cli.network.layers import AttentionStack, dense, masked_mean
from evcap_cli.network.visual_encoder import Rows

VECTOR_SPREAD = 0.4
"""Standard deviation of a random emotion word vector: about that of GloVe's."""


@dataclass
class Perceived:
    """What one branch makes of its stream.

    Args:
        rows: E_w, (B, N, d).
        categories: logits of P_c, (B, N_c).
        words: logits of P_w, (B, N_w).
        present: (B,), False where the branch had only an absent token to attend to: its result does not count.
    """

    rows: Tensor
    categories: Tensor
    words: Tensor
    present: Tensor


def interpolation(moments: Tensor, steps: Tensor, mask: Tensor) -> Tensor:
    """Weights that carry rows of one clock to another, linearly between the two nearest, constant beyond the ends.

    Args:
        moments: seconds of the expected rows, (B, N_v).
        steps: seconds of the given rows, (B, N_a).
        mask: True where a given row is real, (B, N_a), at least one in each clip.

    Returns:
        (B, N_v, N_a), each row sums to one and has at most two weights.
    """
    given = steps.unsqueeze(1)
    expected = moments.unsqueeze(2)
    real = mask.unsqueeze(1)
    before_time, before = given.masked_fill(~(real & (given <= expected)), -torch.inf).max(dim=2)
    after_time, after = given.masked_fill(~(real & (given >= expected)), torch.inf).min(dim=2)
    before = torch.where(before_time.isinf(), after, before)
    after = torch.where(after_time.isinf(), before, after)
    gap = after_time - before_time
    inside = gap.isfinite() & (gap > 0)
    share = torch.where(inside, (moments - before_time) / gap, 0.0)
    width = steps.shape[1]
    near = nn.functional.one_hot(before, width).to(share.dtype) * (1 - share).unsqueeze(2)
    return near + nn.functional.one_hot(after, width).to(share.dtype) * share.unsqueeze(2)


class EmotionWords(nn.Module):
    """The word vectors D_c and D_w, shared by all branches."""

    def __init__(self, config: EmotionConfig) -> None:
        super().__init__()
        self.categories = nn.Parameter(torch.randn(config.categories, config.word_width) * VECTOR_SPREAD)
        self.words = nn.Parameter(torch.randn(config.words, config.word_width) * VECTOR_SPREAD)
        same = config.word_width == config.width
        self.project = nn.Identity() if same else dense(config.word_width, config.width)

    def forward(self) -> tuple[Tensor, Tensor]:
        """D_c, (1, N_c, d), and D_w, (1, N_w, d), at the model's width."""
        return self.project(self.categories).unsqueeze(0), self.project(self.words).unsqueeze(0)


class TiedEmotionWords(nn.Module):
    """``EmotionWords`` where a category has no vector of its own: it is the emotion word of its name.

    Args:
        config: of the model.
        words_of: (N_c, N_w) bool. Until ``name`` is called, a category is named by its first word.
    """

    names: Tensor

    def __init__(self, config: EmotionConfig, words_of: Tensor) -> None:
        super().__init__()
        self.words = nn.Parameter(torch.randn(config.words, config.word_width) * VECTOR_SPREAD)
        same = config.word_width == config.width
        self.project = nn.Identity() if same else dense(config.word_width, config.width)
        self.register_buffer("names", words_of.int().argmax(dim=1))

    def name(self, words: Sequence[int]) -> None:
        """Say which word names each category, (N_c,) numbers of words."""
        self.names.copy_(torch.tensor(words))

    def forward(self) -> tuple[Tensor, Tensor]:
        """As ``EmotionWords``."""
        words = self.project(self.words)
        # clamped, since a file of weights may hold any number
        return words[self.names.clamp(0, len(words) - 1)].unsqueeze(0), words.unsqueeze(0)


class EmotionPerception(nn.Module):
    """One set of weights that reads a stream X: categories first, then the words of the likeliest categories.

    Args:
        config: of the model.
        head_width, feed_forward: of the encoders' layers, where they are not the model's.
        category_head, word_head: (B, d) means of rows to logits, where they are not one linear map each.
    """

    most_words: int
    """As many as the largest category has, known to the host (``count_words``)."""

    def __init__(
        self,
        config: EmotionConfig,
        *,
        head_width: int | None = None,
        feed_forward: int | None = None,
        category_head: nn.Module | None = None,
        word_head: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.top_k, self.most_words = config.emotion_top_k, config.words

        def encoder() -> AttentionStack:
            return AttentionStack(
                config.emotion_layers,
                config.width,
                config.emotion_heads,
                config.feed_forward if feed_forward is None else feed_forward,
                config.dropout,
                pre_norm=config.pre_norm,
                head_width=head_width,
            )

        self.category_encoder = encoder()
        self.category_head = dense(config.width, config.categories) if category_head is None else category_head
        self.word_encoder = encoder()
        self.word_head = dense(config.width, config.words) if word_head is None else word_head

    def forward(self, stream: Rows, vectors: tuple[Tensor, Tensor], words_of: Tensor) -> Perceived:
        """Eq. 7, the mask of the likeliest categories, Eq. 8.

        The mask uses the predicted categories, in training too.

        Args:
            stream: X.
            vectors: D_c and D_w of ``EmotionWords``.
            words_of: (N_c, N_w), True where a word belongs to a category; more than one category: their union.
        """
        category_vectors, word_vectors = vectors
        category_rows = self.category_encoder(stream.values, category_vectors[0])
        categories = self.category_head(masked_mean(category_rows, stream.mask))
        chosen = categories.topk(self.top_k, dim=1).indices
        allowed = words_of[chosen].any(dim=1)
        # a category has few of the words: attention over those, not over all with a mask
        candidates = allowed.int().topk(min(self.top_k * self.most_words, allowed.shape[1]), dim=1).indices
        rows = self.word_encoder(stream.values, word_vectors[0], allowed.gather(1, candidates), candidates)
        words = self.word_head(masked_mean(rows, stream.mask))
        return Perceived(rows, categories, words, stream.present)


def count_words(module: nn.Module) -> None:
    """Set ``most_words`` of every ``EmotionPerception`` in ``module`` by the module's buffer ``words_of``.

    To be called again when other weights were loaded.
    """
    words_of = module.get_buffer("words_of")
    if words_of.is_meta:  # a model without numbers: nothing to count
        return
    most = max(int(words_of.sum(dim=1).max()), 1)
    for reader in module.modules():
        if isinstance(reader, EmotionPerception):
            reader.most_words = most


class EmotionCues(nn.Module):
    """Section 1.4 as a whole: the visual and the audio branch, and the heads of the sub-modules for training."""

    words_of: Tensor

    def __init__(self, config: FusionConfig, lexicon_mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("words_of", lexicon_mask.bool().clone())
        self.vectors = EmotionWords(config)
        self.visual = EmotionPerception(config)
        self.audio = EmotionPerception(config) if config.audio_visual else None
        # Decision: the three sub-modules of 1.2 share one set of weights, which only training uses.
        self.parts = EmotionPerception(config) if config.fine_grained else None
        self.join = dense((2 if config.audio_visual else 1) * config.width, config.width)
        count_words(self)
        self.register_load_state_dict_post_hook(lambda module, _: count_words(module))  # type: ignore[no-untyped-call]

    def forward(self, visual: Rows, audio: Rows | None, clock: Tensor | None) -> tuple[Tensor, dict[str, Perceived]]:
        """E and what each branch perceived.

        Args:
            visual: V^{k+1}, (B, N_v, d).
            audio: A^{k+1}, (B, N_a, d); None with module A off.
            clock: weights of ``interpolation``, (B, N_v, N_a), that carry audio rows to the moments (*Decision*).

        Returns:
            E, (B, N_v, d), and the branches by name: ``visual``, ``audio``.
        """
        vectors = self.vectors()
        by_picture = self.visual(visual, vectors, self.words_of)
        if self.audio is None:
            return self.join(by_picture.rows), {"visual": by_picture}
        if audio is None or clock is None:
            raise ValueError("emotion perception with module A needs the audio stream and its clock")
        by_audio = self.audio(audio, vectors, self.words_of)
        rows = torch.cat([clock.to(by_audio.rows.dtype) @ by_audio.rows, by_picture.rows], dim=-1)
        return self.join(rows), {"visual": by_picture, "audio": by_audio}

    def perceive_parts(
        self, parts: tuple[Tensor, Tensor, Tensor], mask: Tensor, has_objects: Tensor
    ) -> dict[str, Perceived]:
        """The auxiliary heads on V_am, V_ao and V_mo, in one pass over 3 B rows.

        Args:
            parts: V_am, V_ao, V_mo, each (B, N_v, d).
            mask: (B, N_v).
            has_objects: (B,); without objects only V_am counts.
        """
        if self.parts is None:
            raise ValueError("there are no sub-modules with module B off")
        present = torch.cat([torch.ones_like(has_objects), has_objects, has_objects])
        stream = Rows(torch.cat(parts), mask.repeat(3, 1), present)
        joint = self.parts(stream, self.vectors(), self.words_of)
        split = zip(*(t.chunk(3) for t in (joint.rows, joint.categories, joint.words, joint.present)), strict=True)
        names = ("appearance_motion", "appearance_object", "motion_object")
        return {name: Perceived(*tensors) for name, tensors in zip(names, split, strict=True)}


def reported_categories(branches: dict[str, Perceived]) -> Tensor:
    """The emotion reported for a clip: the mean of the branches' P_c; a branch without its stream has no say.

    Returns:
        (B, N_c) probabilities.
    """
    weights = torch.stack([branch.present for branch in branches.values()]).float().unsqueeze(-1)
    probabilities = torch.stack([branch.categories.float().softmax(dim=-1) for branch in branches.values()])
    return (probabilities * weights).sum(dim=0) / weights.sum(dim=0)
