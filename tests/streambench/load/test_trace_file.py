"""Published traces, in rows of our own with the columns that they really have."""

from __future__ import annotations

import json

import pytest

from streambench.load.trace_file import Trace, TraceError, read_trace

MS = 1_000_000
S = 1_000_000_000

AZURE = """\
TIMESTAMP,ContextTokens,GeneratedTokens
2030-01-31 23:59:59.5000000,374,44
2030-02-01 00:00:00.2500001,396,109
2030-02-01 00:00:00.0000000,879,55
"""
AZURE_2024 = """\
TIMESTAMP,ContextTokens,GeneratedTokens
2030-05-10 00:00:00.009930+00:00,2162,5
2030-05-10 00:00:00.017335+00:00,2399,6
"""
BURSTGPT = """\
Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45.5,GPT-4,1087,1237,2324,API log
118,GPT-4,417,0,417,Conversation log
"""
BURSTGPT_WITH_SESSIONS = """\
Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type
5,a,1.5,ChatGPT,472,18,490,Conversation log
"""
MOONCAKE = "\n".join(
    json.dumps({"timestamp": at, "input_length": 6758, "output_length": length, "hash_ids": [0, 1, 2]})
    for at, length in ((27000, 500), (30000, 490), (30001, 12))
)


@pytest.mark.parametrize(
    ("text", "at_ns", "tokens"),
    [
        (AZURE, (0, S // 2, 3 * S // 4), (44, 55, 110)),  # in their order
        (AZURE_2024, (0, 7405 * 1000), (5, 6)),
        (BURSTGPT, (0, 40 * S + S // 2, 113 * S), (18, 1200, 1)),
        (BURSTGPT_WITH_SESSIONS, (0,), (18,)),
        (MOONCAKE, (0, 3 * S, 3001 * MS), (500, 490, 12)),
        ("at,tokens\n1.5,7\n1,8\n", (0, S // 2), (8, 7)),
        ("at,note\n1.5,7\n1,8\n", (0, S // 2), None),
        ("3\n1\n\n2\n", (0, S, 2 * S), None),
        ('{"timestamp": 5}\n{"timestamp": 7}\n', (0, 2 * MS), None),
    ],
)
def test_the_columns_of_published_traces(text: str, at_ns: tuple[int, ...], tokens: tuple[int, ...] | None) -> None:
    assert read_trace(text) == Trace(at_ns, tokens)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (AZURE + "yesterday,1,1\n", 5, "'TIMESTAMP' is a date and time"),
        (AZURE + "2030-02-01 00:00:00,1,many\n", 5, "'GeneratedTokens' is a whole number"),
        (AZURE + "2030-02-01 00:00:00\n", 5, "'GeneratedTokens'"),
        (BURSTGPT + "soon,GPT-4,1,1,2,x\n", 5, "'Timestamp' is a number of seconds"),
        (BURSTGPT + "1,GPT-4,1,100001,2,x\n", 5, "up to 100,000"),
        (MOONCAKE + '\n{"timestamp": "5"}', 4, "'timestamp' is a number of ms"),
        (MOONCAKE + "\n[1]", 4, "one JSON object"),
        (MOONCAKE + "\n" + "[" * 100_000, 4, "one JSON object"),
        ("1\ninf\n", 2, "number of seconds"),
        ("seconds\n", None, "no arrival"),
        ("", None, "no arrival"),
        ("1\n" * 1_000_001, None, "head -n"),
    ],
)
def test_a_mistake_has_its_line(text: str, line: int | None, said: str) -> None:
    with pytest.raises(TraceError) as caught:
        read_trace(text)
    assert caught.value.line == line
    assert said in str(caught.value)


def test_a_trace_in_less_time() -> None:
    assert Trace((0, S, 3 * S), (1, 2, 3)).faster(10) == Trace((0, S // 10, 3 * S // 10), (1, 2, 3))


def test_lengths_are_few_enough_to_be_plans() -> None:
    rows = "".join(f"{at},{at}\n" for at in range(100_000))
    tokens = read_trace("at,tokens\n" + rows).tokens
    assert tokens is not None
    assert len(set(tokens)) < 400
    assert all(abs(told - real) <= max(1, 0.05 * real) for real, told in enumerate(tokens))
