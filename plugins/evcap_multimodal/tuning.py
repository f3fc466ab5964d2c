"""LoRA on a model of transformers, by peft: which layers are adapted, the loss of answers, and the adapter as files.

Prompts and frames are prepared by the captioner itself, so that training and captioning see the same input. Nothing is
padded but answers, at their ends, where no token that counts attends to.

Notation: B clips, P tokens of a prompt, L tokens of the longest answer of a batch, V vocabulary.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from evcap_cli.backbones.quiet_transformers import quiet
from evcap_cli.errors import CheckpointError, UsageError, one_line

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter

    from evcap_cli.systems.tunable_captioner import AdapterOptions
    from evcap_multimodal.families import Family
    from evcap_multimodal.folders import ModelFolder

CONFIG_FILE: Final = "adapter_config.json"
WEIGHTS_FILE: Final = "adapter_model.safetensors"
"""The names that peft gives them."""
NAME: Final = "default"
"""Of the adapter within the model."""
_PREFIX: Final = "base_model.model."
"""Of names in peft's files."""
_IGNORED: Final = -100
_MARK: Final = "CAPTION"
_NUMBERS: Final = re.compile(r"\.\d+(?=\.|$)")


def linear_layers(folder: ModelFolder, family: Family) -> list[str]:
    """Names of all linear layers of a model, from its configuration alone: no weights are read.

    Raises:
        CheckpointError: transformers cannot build the model.
    """
    import torch
    from transformers import AutoConfig

    kind = family.model_class()
    try:
        with quiet(), torch.device("meta"):
            config = AutoConfig.from_pretrained(folder.path, local_files_only=True, trust_remote_code=False)
            model = kind.from_config(config) if hasattr(kind, "from_config") else kind._from_config(config)
    except Exception as problem:  # whatever a model's class raises
        raise CheckpointError(
            f"cannot be built ({one_line(problem)})", path=folder.name, hint="copy the model's folder again"
        ) from problem
    return [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]


def target_pattern(family: Family, adapter: AdapterOptions) -> str:
    """A regular expression of the whole names of the layers to adapt; empty where nobody knows which."""
    if adapter.targets:
        return rf"(?:.*\.)?(?:{'|'.join(map(re.escape, adapter.targets))})"
    return family.lora_layers


def check_targets(folder: ModelFolder, family: Family, adapter: AdapterOptions, address: str) -> None:
    """See that there are layers to adapt.

    Raises:
        UsageError: there are none; the line lists the linear layers of the model.
    """
    layers = linear_layers(folder, family)
    pattern = target_pattern(family, adapter)
    if not pattern:
        cause = f"which layers of {folder.model_type} get an adapter is not known here"
    elif adapter.targets:
        last = [target for target in adapter.targets if not any(_named(name, target) for name in layers)]
        if not last:
            return
        cause = f"it has no linear layer {last[0]!r}"
    elif any(re.fullmatch(pattern, name) for name in layers):
        return
    else:
        cause = f"it has none of the layers that {folder.model_type} usually has"
    kinds = dict.fromkeys(_NUMBERS.sub(".*", name) for name in layers)
    raise UsageError(
        f"{cause}; its linear layers are {', '.join(kinds)}",
        path=address,
        hint="name some by their last parts, such as --lora-targets q_proj,v_proj",
    )


def _named(layer: str, target: str) -> bool:
    return layer == target or layer.endswith(f".{target}")


def add_adapter(model: Any, family: Family, adapter: AdapterOptions) -> dict[str, Parameter]:
    """Put an adapter into a loaded model; see ``TunableCaptioner.add_adapter``. Its weights are single precision."""
    import torch
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha,  # type: ignore[arg-type]  # a number; only its type says int
        lora_dropout=adapter.dropout,
        target_modules=target_pattern(family, adapter),
    )
    with torch.random.fork_rng():
        torch.manual_seed(adapter.seed)
        inject_adapter_in_model(config, model, NAME)
    parameters = _parameters(model)
    for parameter in parameters.values():
        parameter.data = parameter.data.float()
        parameter.requires_grad_()
    if adapter.checkpointing and getattr(model, "supports_gradient_checkpointing", False):
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        with quiet():
            enable({"use_reentrant": False})
        # this kind of checkpointing needs no gradient of the inputs, and GIT changes them in place
        model.disable_input_require_grads()
    return parameters


def _parameters(model: Any) -> dict[str, Parameter]:
    """The adapter's weights by their names in peft's files."""
    return {
        _PREFIX + name.replace(f".{NAME}.", "."): parameter
        for name, parameter in model.named_parameters()
        if ".lora_" in name
    }


def adapter_files(
    tensors: Mapping[str, Tensor], family: Family, adapter: AdapterOptions, base: str, revision: str | None
) -> dict[str, bytes]:
    """The adapter as peft has it, so that ``PeftModel.from_pretrained`` reads it too."""
    import safetensors.torch

    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": base,
        "revision": revision,
        "r": adapter.rank,
        "lora_alpha": adapter.alpha,
        "lora_dropout": adapter.dropout,
        "target_modules": target_pattern(family, adapter),
        "inference_mode": True,
    }
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return {
        CONFIG_FILE: (json.dumps(config, indent=1) + "\n").encode(),
        WEIGHTS_FILE: safetensors.torch.save(plain, metadata={"format": "pt"}),
    }


def read_adapter(files: Mapping[str, bytes], address: str) -> tuple[AdapterOptions, str, dict[str, Tensor]]:
    """Options, pattern of the layers and weights of an adapter's files.

    Raises:
        CheckpointError: they are none of a LoRA adapter.
    """
    import safetensors.torch
    from safetensors import SafetensorError

    from evcap_cli.checkpoints.adapter import COPY_AGAIN
    from evcap_cli.systems.tunable_captioner import AdapterOptions

    try:
        config = json.loads(files[CONFIG_FILE])
        tensors = safetensors.torch.load(files[WEIGHTS_FILE])
        options = AdapterOptions(rank=int(config["r"]), alpha=float(config["lora_alpha"]), checkpointing=False)
        pattern = str(config["target_modules"])
        re.compile(pattern)
    except (KeyError, TypeError, ValueError, SafetensorError, re.error) as problem:
        raise CheckpointError(
            f"its adapter cannot be read ({one_line(problem)})", path=address, hint=COPY_AGAIN
        ) from problem
    return options, pattern, tensors


def apply_adapter(model: Any, files: Mapping[str, bytes], address: str, *, merge: bool) -> None:
    """Put a trained adapter into a loaded model.

    Args:
        model: of transformers.
        files: of the adapter.
        address: named in errors.
        merge: add the changes to the model's own weights, which then cost nothing.

    Raises:
        CheckpointError: the adapter does not fit the model.
    """
    from peft import LoraConfig, inject_adapter_in_model
    from peft.tuners.lora import LoraLayer

    from evcap_cli.checkpoints.adapter import COPY_AGAIN

    options, pattern, tensors = read_adapter(files, address)
    alpha: Any = options.alpha
    config = LoraConfig(r=options.rank, lora_alpha=alpha, target_modules=pattern, inference_mode=True)
    try:
        inject_adapter_in_model(config, model, NAME)
    except ValueError as problem:
        raise CheckpointError(
            f"its adapter does not fit the base ({one_line(problem)})", path=address, hint=COPY_AGAIN
        ) from problem
    parameters = _parameters(model)
    wrong = sorted(parameters.keys() ^ tensors.keys())
    wrong += [name for name in parameters if not wrong and parameters[name].shape != tensors[name].shape]
    if wrong:
        raise CheckpointError(f"its adapter does not fit the base ({wrong[0]})", path=address, hint=COPY_AGAIN)
    for name, parameter in parameters.items():
        parameter.data = tensors[name].to(parameter.device).float()
        parameter.requires_grad_(False)
    model.eval()
    if merge:
        for module in model.modules():
            if isinstance(module, LoraLayer):
                module.merge()


def end_token(model: Any, processor: Any) -> int:
    """The token that ends an answer: the one that the chat template writes after it, if generation ends there."""
    tokenizer = getattr(processor, "tokenizer", processor)
    ends = model.generation_config.eos_token_id
    ends = [ends] if isinstance(ends, int) else list(ends or [])
    chat = [
        {"role": "user", "content": [{"type": "text", "text": "?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": _MARK}]},
    ]
    try:
        text = processor.apply_chat_template(chat, tokenize=False)
        found = tokenizer(text.rpartition(_MARK)[2], add_special_tokens=False)["input_ids"]
    except Exception:  # no template, or one that takes other chats
        found = []
    first = next((token for token in found if token in ends), None)
    return int(first if first is not None else ends[0] if ends else tokenizer.eos_token_id)


def let_end(model: Any, token: int) -> None:
    """Let generation end with a token, where the model's settings name no end or forbid this one."""
    settings = model.generation_config
    if settings.eos_token_id is None:
        settings.eos_token_id = token
    if settings.suppress_tokens:
        settings.suppress_tokens = [other for other in settings.suppress_tokens if other != token] or None


def answer_loss(model: Any, inputs: dict[str, Any], answers: Sequence[Sequence[int]]) -> Tensor:
    """The sum of the negative log-probabilities of all tokens of the answers, in nats.

    Args:
        model: of transformers, with an adapter.
        inputs: of B clips of equal shapes, on the device.
        answers: of each.
    """
    import torch

    longest = max(map(len, answers))
    device = model.device
    filled = torch.tensor([[*tokens, *[tokens[-1]] * (longest - len(tokens))] for tokens in answers], device=device)
    targets = torch.tensor([[*tokens, *[_IGNORED] * (longest - len(tokens))] for tokens in answers], device=device)
    whole = with_answers(inputs, filled, model)
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        whole["logits_to_keep"] = longest + 1
    logits = model(**whole, use_cache=False).logits
    # the token before an answer predicts its first one
    predicting = logits[:, -longest - 1 : -1].float()
    return torch.nn.functional.cross_entropy(
        predicting.flatten(0, 1), targets.flatten(), ignore_index=_IGNORED, reduction="sum"
    )


def with_answers(inputs: Mapping[str, Any], answers: Tensor, model: Any) -> dict[str, Any]:
    """Inputs whose prompts (B, P) go on with answers (B, L)."""
    import torch

    whole = dict(inputs)
    prompts = inputs.get("input_ids")
    if prompts is None:
        # a family without prompt starts from one token
        settings = model.generation_config
        start = settings.bos_token_id if settings.bos_token_id is not None else model.config.bos_token_id
        prompts = torch.full((len(answers), 1), start, dtype=answers.dtype, device=answers.device)
    for name, value in inputs.items():
        if name != "input_ids" and value.shape == prompts.shape:
            # masks count all of it; types of tokens are 0 for text
            fill = torch.full_like(answers, int(name == "attention_mask"), dtype=value.dtype)
            whole[name] = torch.cat([value, fill], 1)
    whole["input_ids"] = torch.cat([prompts, answers], 1)
    return whole
