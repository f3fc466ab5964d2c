import pytest
from evcap_multimodal.answers import begins_reasoning, caption_text
from evcap_multimodal.prompts import emotion_question, instruction

from evcap_cli.data.lexicon import Lexicon
from evcap_cli.errors import CaptionerError
from evcap_cli.systems.clip_captioner import CaptionerOptions


@pytest.mark.parametrize(
    ("answer", "caption"),
    [
        ("A man walks happily.", "A man walks happily."),
        ("  A man walks.  He is sad.", "A man walks."),
        ("A man walks\nand more", "A man walks"),
        ("\n\n**A man** _walks_ in `the` park!", "A man walks in the park!"),
        ("<b>A man</b> walks <|im_end|>", "A man walks"),
        ("{\\an8}A man walks", "A man walks"),
        ("A man --> a dog", "A man a dog"),
        ("a < b", "a b"),
        ('"A man walks."', "A man walks."),
        ("“A man walks”.", "A man walks."),
        ("Caption: A man walks", "A man walks"),
        ("Here is the caption: a man's dog", "a man's dog"),
        ("1. A man walks. Well.", "A man walks."),
        ("- A man walks", "A man walks"),
        ("Mr. Smith smiles at St. Paul. Then more.", "Mr. Smith smiles at St. Paul."),
        ('He says "stop!" and goes. Done', 'He says "stop!" and goes.'),
        ('He says "stop!" Then he goes.', 'He says "stop!"'),
        ('"A man walks. He is sad."', "A man walks."),
        ("“A man walks. He is sad.”", "A man walks."),
        ("3.5 dogs run. Two sit", "3.5 dogs run."),
        ("男人笑了。他走了。", "男人笑了。"),
        ("A\x07 man\ufffd walks", "A man walks"),
        ("<think>He looks sad. Hm.</think>A man cries.", "A man cries."),
        ("<think></think>\n\nA man cries.", "A man cries."),
        ("so he is sad</think> A man cries.", "A man cries."),
        ("<|channel>thought\nsad?<channel|>A man cries.", "A man cries."),
        ("[THINK]a[/THINK]b <think>c</think>d", "b d"),
    ],
)
def test_answer_becomes_one_plain_sentence(answer: str, caption: str) -> None:
    assert caption_text(answer, 15) == caption


def test_words_beyond_the_limit_are_cut_off() -> None:
    assert caption_text("one two three, four five.", 3) == "one two three"
    assert caption_text("one two three.", 3) == "one two three."


@pytest.mark.parametrize("answer", ["", "  \n ", "...", "<|im_end|>", "**", "<think>done</think>", "<b></b>\n-->"])
def test_an_empty_answer_is_a_failure(answer: str) -> None:
    with pytest.raises(CaptionerError, match="empty answer") as caught:
        caption_text(answer, 15)
    assert caught.value.code == "captioner"


@pytest.mark.parametrize(
    ("answer", "open_"), [("<think>A man cries.", False), ("a</think>b<think>c", False), ("he is sad", True)]
)
def test_reasoning_that_does_not_end_is_a_failure(answer: str, open_: bool) -> None:
    with pytest.raises(CaptionerError, match="within its reasoning"):
        caption_text(answer, 15, reasoning_open=open_)


def test_reasoning_that_the_prompt_began_is_removed() -> None:
    assert begins_reasoning("<|assistant|>\n<think>\n")
    assert not begins_reasoning("<|assistant|>\n<think>\n\n</think>\n\n")
    assert caption_text("hm. well</think>A man cries.", 15, reasoning_open=True) == "A man cries."


LEXICON = Lexicon({"joy": ["happily", "glad"], "fear": ["afraid"]})


def test_styles_say_what_they_are_for() -> None:
    emotional, lexicon, factual = (
        instruction(CaptionerOptions(style=style, max_words=9), LEXICON)
        for style in ("emotional", "emotional-lexicon", "factual")
    )
    assert all("at most 9 words" in text for text in (emotional, lexicon, factual))
    assert "emotion" in emotional
    assert "emotion" not in factual
    assert "afraid, glad, happily" in lexicon
    assert "afraid" not in emotional


def test_an_own_prompt_is_taken_as_it_is() -> None:
    options = CaptionerOptions(prompt="  Say {this}\nin French.\n")
    assert instruction(options, LEXICON) == "Say {this}\nin French."
    assert options.style_name == "file"
    assert CaptionerOptions().style_name == "emotional"


def test_question_lists_all_categories() -> None:
    assert "fear, joy?" in emotion_question(LEXICON.categories)
