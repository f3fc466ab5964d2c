"""HuBERT features are transformers' own, and sound in chunks has the steps of the whole sound."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from evcap_backbones import hub_files
from evcap_backbones.hubert import Hubert
from evcap_backbones.speech import HOP, WINDOW
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from transformers import HubertConfig, HubertForCTC, HubertModel, Wav2Vec2FeatureExtractor

from evcap_cli.backbones.contract import AudioInput
from evcap_cli.errors import WeightsError
from evcap_cli.features.audio_chunks import AudioCutter
from evcap_cli.testing import check_backbone

CPU = torch.device("cpu")
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,  # oneDNN is wrong in bfloat16 on AMX with less than 16 channels a group
}
LARGER = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}
OPTIONS = {"dim": "32"}


@pytest.fixture(scope="module", params=["base", "large"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network built like the base or like the larger ones, as transformers writes it."""
    return written(tmp_path_factory.mktemp(request.param), **(LARGER if request.param == "large" else {}))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("plain"))


def written(place: Path, **changes: object) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = HubertModel(HubertConfig(**{**SMALL, **changes})).eval()
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:  # norms and biases that do something
                torch.nn.init.normal_(parameter, mean=float("norm.weight" in name), std=0.2)
    model.save_pretrained(place)
    return place


def loaded(weights: Path | str, **options: str) -> Hubert:
    backbone = Hubert(None, {**OPTIONS, **options})
    backbone.load(str(weights), CPU, torch.float32)
    return backbone


def copied(folder: Path, place: Path, **config: object) -> Path:
    shutil.copytree(folder, place)
    content = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps({**content, **config}))
    return place


def sound(samples: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    time = np.arange(samples) / 16000
    loudness = 0.1 + 0.1 * np.sin(2 * np.pi * 0.7 * time)
    return (loudness * generator.normal(size=samples) + 0.05).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("normalise", [None, True, False])
def test_features_are_those_of_transformers_called_directly(folder: Path, normalise: bool | None, tmp_path) -> None:
    place = copied(folder, tmp_path / "net")
    if normalise is not None:
        Wav2Vec2FeatureExtractor(do_normalize=normalise).save_pretrained(place)
    # what transformers does where a folder does not say
    prepare = Wav2Vec2FeatureExtractor.from_pretrained(place) if normalise is not None else Wav2Vec2FeatureExtractor()
    model = HubertModel.from_pretrained(place).eval()
    samples = sound(9000)
    with torch.inference_mode():
        given = prepare(samples, sampling_rate=16000, return_tensors="pt").input_values
        theirs = model(given).last_hidden_state
        ours = loaded(place).extract(torch.from_numpy(samples)[None])
    assert ours.shape == (1, (9000 - 400) // 320 + 1, 32)
    assert float(theirs.std()) > 0.1
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_layers_count_as_transformers_counts_hidden_states(folder: Path) -> None:
    samples = torch.from_numpy(sound(4000))[None]
    model = HubertModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        answer = model((samples - samples.mean()) / samples.std(correction=0), output_hidden_states=True)
        expected = [*answer.hidden_states[:-1], answer.last_hidden_state]
        assert len(expected) == 4
        for layer, theirs in enumerate(expected):
            ours = loaded(folder, layer=str(layer)).extract(samples)
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def test_a_row_knows_nothing_of_its_neighbours(folder: Path) -> None:
    backbone = loaded(folder)
    rows = torch.stack([torch.from_numpy(sound(3000, seed) * (1 + seed)) for seed in range(3)])
    with torch.inference_mode():
        together = backbone.extract(rows)
        for row, result in zip(rows, together, strict=True):
            torch.testing.assert_close(backbone.extract(row[None])[0], result, atol=1e-5, rtol=0)


@pytest.mark.parametrize("samples", [0, 1, 399, 400, 719, 720, 1600, 16000])
def test_short_sound_and_silence_have_the_steps_they_can_have(folder: Path, samples: int) -> None:
    backbone = loaded(folder)
    with torch.inference_mode():
        for given in (torch.zeros(2, samples), torch.full((2, samples), 0.3), torch.from_numpy(sound(samples))[None]):
            features = backbone.extract(given)
            assert features.shape == (len(given), max((samples - 400) // 320 + 1, 0), 32)
            assert bool(features.isfinite().all())
        assert backbone.extract(torch.zeros(0, samples)).shape[0] == 0


@pytest.mark.slow
def test_it_keeps_the_contract(base: Path) -> None:
    class Brief(Hubert):
        """The same with chunks of a second."""

        @classmethod
        def spec_for(cls, variant, options):
            from dataclasses import replace

            spec = super().spec_for(variant, options)
            return replace(spec, input=AudioInput(16000, 16400 / 16000, 3600 / 16000, 0.02, 0.025))

    check_backbone(Brief, options=OPTIONS, weights=str(base))


def test_the_steps_of_chunks_are_those_of_the_whole_sound(base: Path) -> None:
    """With statistics over time taken away, only the far context differs: each step is where it should be."""
    backbone = loaded(base)
    backbone.normalise = False
    norm = backbone.network.feature_extractor.conv_layers[0].layer_norm
    norm.forward = lambda hidden: hidden * 3
    backbone.network.encoder.layers = backbone.network.encoder.layers[:0]
    declared = AudioInput(16000, (50 * HOP + WINDOW - HOP) / 16000, (20 * HOP + WINDOW - HOP) / 16000, 0.02, 0.025)
    samples = sound(16000 * 3 + 777)
    cutter = AudioCutter(declared, 0.0, 100.0)
    chunks = cutter.add(0.0, samples) + cutter.finish()
    assert len(chunks) == 5
    kept, times = [], []
    with torch.inference_mode():
        whole = backbone.extract(torch.from_numpy(samples)[None])[0]
        for chunk in chunks:
            steps = backbone.extract(torch.from_numpy(chunk.samples)[None])[0]
            middles = chunk.start + (np.arange(len(steps)) * HOP + WINDOW / 2) / 16000
            own = (middles >= chunk.keep_from) & (middles < chunk.keep_until)
            kept.append(steps[torch.from_numpy(own)])
            times += middles[own].tolist()
    np.testing.assert_allclose(times, (np.arange(len(whole)) * HOP + WINDOW / 2) / 16000, atol=1e-9)
    # ten steps on either side are given up, and the convolution of positions reaches eight
    torch.testing.assert_close(torch.cat(kept), whole, atol=1e-4, rtol=0)


def test_the_published_sizes_are_what_their_configs_say() -> None:
    base, large, huge = (
        Hubert(f"facebook/hubert-{name}").known_config() for name in ("base-ls960", "large-ll60k", "xlarge-ll60k")
    )
    plain = HubertConfig()
    for field in (*SMALL, *LARGER):
        assert getattr(base, field) == getattr(plain, field), field
    assert (large.hidden_size, large.num_hidden_layers, large.num_attention_heads) == (1024, 24, 16)
    assert (huge.hidden_size, huge.num_hidden_layers, huge.intermediate_size) == (1280, 48, 5120)
    assert large.do_stable_layer_norm
    assert large.feat_extract_norm == "layer"
    assert [Hubert(name).spec.dim for name in (None, "facebook/hubert-large-ll60k")] == [768, 1024]


def test_half_of_the_overlap_reaches_further_than_the_convolution_of_positions() -> None:
    declared = Hubert.spec.input
    assert isinstance(declared, AudioInput)
    assert declared.chunk_seconds * 16000 == pytest.approx(1500 * 320 + 80)
    assert declared.overlap_seconds / 2 / 0.02 > HubertConfig().num_conv_pos_embeddings / 2


@pytest.mark.parametrize(
    ("variant", "options", "said"),
    [
        ("large", {}, "no variant 'large'"),
        ("someone/hubert", {}, "give --option hubert.dim=N"),
        (None, {"layer": "13"}, "from 0 to 12, got 13"),
        (None, {"layer": "last"}, "hubert.layer must be a whole number, got 'last'"),
        (None, {"dim": "0"}, "at least 1"),
        (None, {"pool": "mean"}, "no option 'pool'"),
    ],
)
def test_what_cannot_be_is_refused_by_name(variant: str | None, options: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Hubert(variant, options)


def broken(base: Path, place: Path, how: str) -> Path:
    """A folder, or a file, with one thing wrong."""
    copied(
        base,
        place,
        **{
            "another type": {"model_type": "wav2vec2"},
            "other steps": {"conv_stride": [4] + [2] * 6},
            "a million layers": {"num_hidden_layers": 10**6},
            "no end of width": {"intermediate_size": 10**12},
        }.get(how, {}),
    )
    weights = place / "model.safetensors"
    if how == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif how == "a pickle":
        torch.save(load_file(weights), place / "pytorch_model.bin")
        weights.unlink()
    elif how == "no weights":
        weights.unlink()
    elif how == "no config":
        (place / "config.json").unlink()
    elif how == "no JSON":
        (place / "config.json").write_text("{")
    elif how == "nonsense in the config":
        (place / "config.json").write_text('{"model_type": "hubert", "hidden_size": "wide"}')
    elif how == "nonsense in the preprocessor":
        (place / "preprocessor_config.json").write_text('{"do_normalize": "yes"}')
    elif how == "one tensor less":
        tensors = load_file(weights)
        del tensors["encoder.layers.2.final_layer_norm.bias"]
        save_file(tensors, weights)
    elif how == "another network":
        save_file({"conv1.weight": torch.zeros(3)}, weights)
    elif how == "a file of its own":
        return weights.rename(place / "mine.safetensors")
    return place


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("truncated", "model.safetensors: is not a whole safetensors file"),
        (
            "a pickle",
            "holds no model.safetensors; turn pytorch_model.bin into .* import NAME .*pytorch_model.bin -o ",
        ),
        ("no weights", "holds no model.safetensors"),
        ("no config", "has no config.json"),
        ("no JSON", "config.json: line 1: is not JSON"),
        ("nonsense in the config", "config.json: does not describe a hubert network"),
        ("nonsense in the preprocessor", "do_normalize is 'yes'"),
        ("another type", "config.json: describes a model of type 'wav2vec2', not 'hubert'"),
        ("other steps", "makes steps of .* samples every 256, not of 400 every 320"),
        ("a million layers", "config.json claims 1000000 layers, it holds"),
        ("no end of width", "weights of another architecture: .*intermediate_dense"),
        ("one tensor less", "lacks encoder.layers.2.final_layer_norm.bias"),
        ("another network", "these are not HuBERT's weights"),
        ("a file of its own", "has no config.json"),
    ],
)
def test_a_folder_with_something_wrong_gives_one_line(base: Path, tmp_path: Path, how: str, said: str) -> None:
    with pytest.raises(WeightsError, match=said) as caught:
        loaded(broken(base, tmp_path / "net", how))
    assert "\n" not in str(caught.value)


def test_another_width_or_depth_than_asked_for_is_refused(base: Path) -> None:
    with pytest.raises(WeightsError, match=r"has 32 features a step, not 768; .*hubert\.dim=32"):
        Hubert().load(str(base), CPU, torch.float32)
    with pytest.raises(WeightsError, match="has 3 layers, not 4"):
        loaded(base, layer="4")


def test_weights_in_several_files_are_one_network(base: Path, tmp_path: Path) -> None:
    place = copied(base, tmp_path / "net")
    tensors = load_file(place / "model.safetensors")
    (place / "model.safetensors").unlink()
    parts = {name: f"model-0000{number % 2 + 1}-of-00002.safetensors" for number, name in enumerate(sorted(tensors))}
    for part in set(parts.values()):
        save_file({name: tensors[name] for name in tensors if parts[name] == part}, place / part)
    (place / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": parts}))
    assert loaded(place).weights_digest == loaded(base).weights_digest
    (place / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../model.safetensors"}}))
    with pytest.raises(WeightsError, match="is not an index of files next to it"):
        loaded(place)


def test_the_digest_tells_apart_what_the_tensors_do_not(base: Path, tmp_path: Path) -> None:
    plain = loaded(base).weights_digest
    assert loaded(copied(base, tmp_path / "a", num_attention_heads=4)).weights_digest != plain
    assert loaded(copied(base, tmp_path / "b", hidden_dropout=0.5)).weights_digest == plain
    quiet = copied(base, tmp_path / "c")
    (quiet / "preprocessor_config.json").write_text('{"do_normalize": false}')
    assert loaded(quiet).weights_digest != plain


@pytest.mark.slow
def test_an_old_fine_tuned_pickle_has_the_tensors_of_the_network(base: Path, tmp_path: Path) -> None:
    model = HubertForCTC.from_pretrained(base)
    old = {}
    for name, tensor in model.state_dict().items():
        name = name.replace("parametrizations.weight.original0", "weight_g")
        old[name.replace("parametrizations.weight.original1", "weight_v")] = tensor
    assert {"hubert.encoder.pos_conv_embed.conv.weight_g", "lm_head.weight", "hubert.masked_spec_embed"} < old.keys()
    place = copied(base, tmp_path / "net")
    save_file(Hubert().import_state(old), place / "model.safetensors")
    assert loaded(place).weights_digest == loaded(base).weights_digest
    with pytest.raises(WeightsError, match="another architecture"):
        Hubert().check_state(Hubert().import_state(old))
    with pytest.raises(ValueError, match="not HuBERT's weights"):
        Hubert().import_state({"lm_head.weight": torch.zeros(1)})


def put_in_the_hubs_cache(cache: Path, folder: Path, reference: str) -> None:
    repository = cache / "models--facebook--hubert-base-ls960"
    shutil.copytree(folder, repository / "snapshots" / ("5" * 40))
    (repository / "refs" / reference).parent.mkdir(parents=True)
    (repository / "refs" / reference).write_text("5" * 40)


@pytest.mark.parametrize("reference", ["main", "refs/pr/2"])
def test_what_the_hubs_cache_holds_loads_without_a_network(base, tmp_path, monkeypatch, reference: str) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    put_in_the_hubs_cache(tmp_path, base, reference)
    backbone = Hubert(None, OPTIONS)
    backbone.load(None, CPU, torch.float32)
    assert backbone.weights_digest == loaded(base).weights_digest


def test_without_a_network_one_line_names_repository_and_option(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    calls = (
        lambda: Hubert().load(None, CPU, torch.float32),
        Hubert().fetch_weights,
        lambda: Hubert(None, OPTIONS).load("facebook/hubert-base-ls960", CPU, torch.float32),
    )
    for call in calls:
        with pytest.raises(WeightsError) as caught:
            call()
        text = str(caught.value)
        assert "\n" not in text
        for part in ("model.safetensors", "hf-hub:facebook/hubert-base-ls960", "--weights NAME=PATH"):
            assert part in text


def test_a_repository_of_pickles_is_fetched_as_its_converted_copy(base, tmp_path, monkeypatch, capsys) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    requested = []

    def snapshot(repository: str, *, revision: str | None = None, allow_patterns: list[str]) -> str:
        assert repository == "facebook/hubert-base-ls960"
        assert not any(pattern.endswith(".bin") for pattern in allow_patterns)
        requested.append(revision)
        return str(base if revision else bare)

    class Hub:
        offers = (SimpleNamespace(git_reference="refs/pr/2"),)

        def get_repo_discussions(self, repository: str, **filters: str):
            assert filters["author"] == "SFconvertbot"
            return iter(self.offers)

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    assert hub_files.fetch(Hubert().weights_source()) == base
    assert requested == [None, "refs/pr/2"]
    Hub.offers = ()
    with pytest.raises(
        WeightsError,
        match=r"has no model\.safetensors on the hub; download its pytorch_model\.bin, run `evcap weights import",
    ):
        Hubert().fetch_weights()
