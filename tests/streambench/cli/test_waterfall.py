from streambench.cli.waterfall import density, waterfall
from streambench.dialects.milestone import Milestone
from streambench.record.model import EventColumns, StreamRecord, UpstreamExchange

MS = 1_000_000


def record() -> StreamRecord:
    events = EventColumns(
        at_ns=[500 * MS, 600 * MS, 990 * MS], name=["c", "c", "done"], chars=[4, 4, 0], read=[0, 1, 2]
    )
    return StreamRecord(
        id="s",
        target="t",
        dialect="d",
        intended_ns=0,
        start_ns=0,
        connected_ns=100 * MS,
        sent_ns=100 * MS,
        headers_ns=200 * MS,
        end_ns=1000 * MS,
        events=events,
    )


def test_phases_share_one_axis() -> None:
    lines = waterfall(record(), width=10)
    assert lines == [
        "             0   1.00 s",
        "  connect    ━           100 ms",
        "  headers     ━          100 ms",
        "  waiting      ━━━       300 ms",
        "  text            ██     2 chunks, 8 characters",
    ]


def test_the_way_to_a_milestone_is_a_bar() -> None:
    named = [Milestone("finished", ("done",)), Milestone("a_long_name_of_one", ("done",), "sent"), Milestone("x", ())]
    assert waterfall(record(), width=10, milestones=named) == [
        "                     0   1.00 s",
        "  connect            ━           100 ms",
        "  headers             ━          100 ms",
        "  waiting              ━━━       300 ms",
        "  finished           ━━━━━━━━━   990 ms",
        "  a_long_name_of_one  ━━━━━━━━   890 ms",
        "  text                    ██     2 chunks, 8 characters",
    ]


def test_the_upstream_is_drawn_below_the_text() -> None:
    two_sided = record()
    two_sided.upstream = [
        UpstreamExchange(attempt=1, arrived_ns=0, status=200, text="x" * 8, written_ns=[400 * MS], offset=[8])
    ]
    assert waterfall(two_sided, width=10)[-1] == "  upstream       █       1 writes"


def test_a_stream_that_brought_nothing_is_said_so() -> None:
    empty = StreamRecord(id="s", target="t", dialect="d", intended_ns=0, start_ns=0)
    assert waterfall(empty) == ["  (nothing came)"]


def test_little_text_is_never_invisible() -> None:
    assert density([0, 1], [1000, 1], 3) == "█▁ "
