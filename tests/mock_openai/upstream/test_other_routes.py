"""Completions, embeddings and models."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import openai
import pytest


def test_completions_stream_and_do_not(upstream: Any) -> None:
    client, prompt = upstream.sdk(), upstream.plan(text="One two three.")
    arguments: Any = {"model": "gpt-3.5-turbo-instruct", "prompt": prompt}
    whole = client.completions.create(**arguments)
    assert whole.choices[0].text == "One two three."
    assert whole.usage.completion_tokens == 3
    options: Any = {"include_usage": True}
    chunks = list(client.completions.create(**arguments, stream=True, stream_options=options, stop="th"))
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == "One two "
    assert chunks[-1].usage.completion_tokens == 3
    assert chunks[-2].choices[0].finish_reason == "stop"


def test_each_prompt_has_its_choices(upstream: Any) -> None:
    whole = upstream.sdk().completions.create(model="gpt-3.5-turbo-instruct", prompt=["a", "b"], n=2)
    assert [choice.index for choice in whole.choices] == [0, 1, 2, 3]


def test_embeddings_depend_on_the_text_alone(upstream: Any) -> None:
    client = upstream.sdk()
    # The client asks for base64 and decodes it; asked for floats, it gets numbers.
    both = client.embeddings.create(model="text-embedding-3-small", input=["one", "two"]).data
    floats = client.embeddings.create(model="text-embedding-3-small", input="one", encoding_format="float").data
    assert both[0].embedding == pytest.approx(floats[0].embedding, abs=1e-6)
    assert both[0].embedding != both[1].embedding
    assert math.hypot(*both[0].embedding) == pytest.approx(1, abs=1e-4)
    assert len(both[0].embedding) == 1536
    assert len(client.embeddings.create(model="text-embedding-3-large", input="x", dimensions=8).data[0].embedding) == 8


def test_models_are_listed_and_found(upstream: Any) -> None:
    client = upstream.sdk()
    assert "gpt-4o-mini" in [model.id for model in client.models.list()]
    assert client.models.retrieve("gpt-4o").owned_by == "system"
    with pytest.raises(openai.NotFoundError) as raised:
        client.models.retrieve("no-such-model")
    assert raised.value.code == "model_not_found"


def test_further_models_can_be_named(start_upstream: Callable[..., Any]) -> None:
    named = start_upstream("--profile", "instant", "--model", "house-model").sdk()
    messages: Any = [{"role": "user", "content": "hello"}]
    assert named.chat.completions.create(model="house-model", messages=messages).model == "house-model"
    with pytest.raises(openai.NotFoundError):
        named.chat.completions.create(model="other-model", messages=messages)
    anything = start_upstream("--profile", "instant", "--model", "*").sdk()
    assert anything.models.retrieve("other/model").id == "other/model"
