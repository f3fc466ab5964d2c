"""A backbone of each kind that keeps every promise, with weights that are really read. It imports no torch."""

from __future__ import annotations

from pathlib import Path

from evcap_cli import (
    AudioInput,
    Backbone,
    BackboneSpec,
    ClipInput,
    Detections,
    FrameInput,
    WeightsSource,
    load_strictly,
    random_seed,
    read_tensors,
    seeded,
    state_digest,
)

DIM = 6


class Keeping(Backbone):
    """Mean colour of a grid through one linear layer."""

    spec = BackboneSpec(
        "keeping", "appearance", DIM, "1", FrameInput(size=(16, 24), mean=(0.4, 0.4, 0.4)), license="MIT"
    )
    cells = 3 * 2 * 3

    @classmethod
    def spec_for(cls, variant, options):
        if variant not in (None, "small"):
            raise ValueError(f"{cls.spec.name} has no variant {variant!r}")
        if set(options) - {"gain"}:
            raise ValueError(f"{cls.spec.name} has no option {sorted(set(options) - {'gain'})[0]!r}")
        return cls.spec

    def weights_source(self):
        return WeightsSource("nobody's", "https://example.org/keeping.safetensors", "CC0-1.0")

    def load(self, weights, device, dtype):
        import torch

        seed = random_seed(weights)
        with seeded(seed or 0):
            self.model = torch.nn.Linear(self.cells, DIM)
        if seed is None:
            load_strictly(self.model, read_tensors(weights), source=weights)
        self.weights_digest = state_digest(self.model.state_dict())
        self.model.to(device, dtype).eval().requires_grad_(False)

    def extract(self, batch):
        from torch.nn.functional import avg_pool2d

        return self.model(avg_pool2d(batch, 8).flatten(1))


class KeepingMotion(Keeping):
    spec = BackboneSpec("keeping", "motion", DIM, "1", ClipInput(size=(8, 8), frames=4), license="MIT")
    cells = 12

    def extract(self, batch):
        return self.model(batch.mean((3, 4)).flatten(1))


class KeepingObject(Keeping):
    """Two boxes: the brightest half and everything."""

    spec = BackboneSpec("keeping", "object", DIM, "1", FrameInput(short_side=16, fit="keep"), license="MIT")
    cells = 3

    def extract(self, batch):
        import torch

        height, width = batch.shape[2:]
        found = []
        for picture in batch:
            halves = [picture[:, :, : width // 2], picture[:, :, width // 2 :]]
            left = bool(halves[0].mean() > halves[1].mean())
            box = [0, 0, width // 2, height] if left else [width // 2, 0, width, height]
            boxes = torch.tensor([box, [0, 0, width, height]], dtype=torch.float32)
            means = torch.stack([halves[not left].mean((1, 2)), picture.mean((1, 2))])
            found.append(Detections(boxes, torch.tensor([0.9, 0.5]), self.model(means)))
        return found


class KeepingAudio(Keeping):
    """Loudness, mean and reach of every 20 ms through one linear layer."""

    spec = BackboneSpec("keeping", "audio", DIM, "1", AudioInput(chunk_seconds=1.0, hop_seconds=0.02), license="MIT")
    cells = 3

    def extract(self, batch):
        import torch

        steps = batch[:, : batch.shape[1] // 320 * 320].unflatten(1, (-1, 320))
        return self.model(torch.stack([steps.square().mean(2), steps.mean(2), steps.amax(2)], dim=2))


KEPT = {"appearance": Keeping, "motion": KeepingMotion, "object": KeepingObject, "audio": KeepingAudio}


def save_weights(folder: Path, cells: int) -> Path:
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(1)
    file = folder / "keeping.safetensors"
    save_file(torch.nn.Linear(cells, DIM).state_dict(), file)
    return file
