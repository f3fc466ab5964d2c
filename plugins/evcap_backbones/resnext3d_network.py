"""3D-ResNeXt-101 as a network of torch: structure, names and shapes of Hara's Kinetics weights, nothing about files.

Hara, Kataoka, Satoh, "Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet?" (CVPR 2018), after
Xie et al., "Aggregated Residual Transformations" (CVPR 2017). Importing this module loads torch.

Notation: N windows, T frames of H x W pixels, C channels. A stage's width is that of its grouped convolutions.
"""

from __future__ import annotations

from typing import Final

from torch import Tensor, nn

BLOCKS: Final = (3, 4, 23, 3)
"""Bottlenecks of each stage."""
WIDTHS: Final = (128, 256, 512, 1024)
CARDINALITY: Final = 32
"""Groups of the middle convolution of each bottleneck."""
EXPANSION: Final = 2
"""Channels that leave a bottleneck, over its width."""
STEM_WIDTH: Final = 64
CLASSES: Final = 400


class Bottleneck(nn.Module):
    """1x1x1 down, 3x3x3 in groups, 1x1x1 up, each with batch norm, added to the input (shortcut B where it changes)."""

    def __init__(self, incoming: int, width: int, stride: int) -> None:
        super().__init__()
        outgoing = EXPANSION * width
        self.conv1 = nn.Conv3d(incoming, width, 1, bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2 = nn.Conv3d(width, width, 3, stride=stride, padding=1, groups=CARDINALITY, bias=False)
        self.bn2 = nn.BatchNorm3d(width)
        self.conv3 = nn.Conv3d(width, outgoing, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(outgoing)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or incoming != outgoing:
            projection = nn.Conv3d(incoming, outgoing, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm3d(outgoing))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) -> (N, 2 width, T / stride, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x))
        x += shortcut
        out: Tensor = self.relu(x)
        return out


class ResNeXt3D(nn.Module):
    """The whole network; ``forward`` stops before the classifier, which is there because the weights have it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(3, STEM_WIDTH, 7, stride=(1, 2, 2), padding=3, bias=False)
        self.bn1 = nn.BatchNorm3d(STEM_WIDTH)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool3d(3, stride=2, padding=1)
        incoming = STEM_WIDTH
        for number, (blocks, width) in enumerate(zip(BLOCKS, WIDTHS, strict=True), 1):
            stage = nn.Sequential()
            for place in range(blocks):
                stage.append(Bottleneck(incoming, width, stride=2 if number > 1 and place == 0 else 1))
                incoming = EXPANSION * width
            self.add_module(f"layer{number}", stage)
        self.fc = nn.Linear(incoming, CLASSES)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Windows (N, 3, T, H, W) -> features (N, 2048), the mean over what is left of time and space.

        Upstream averages 1 x 4 x 4 places, which is all that 16 frames of 112 x 112 leave.
        """
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for number in range(1, len(BLOCKS) + 1):
            x = self.get_submodule(f"layer{number}")(x)
        return x.mean((2, 3, 4))
